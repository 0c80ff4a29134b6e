"""Family ``conv_lstm``: LSTMs whose gates are convolutions, from pictures to the amplitude of every note."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from models.conv_lstm import ConvLstm, ConvLstmConfig
from tasks.families.note_regression import Count, Instrument, NoteRegressionFamily, NoteRegressionParams, Share
from tasks.params import Section


class ConvLstmParams(NoteRegressionParams):
    """Section ``train.conv_lstm``; the sizes are explained at `models.conv_lstm.ConvLstmConfig`."""

    original_names_its_optimizer: ClassVar[bool] = False  # the one script that hands the optimizer over

    layers: Annotated[tuple[tuple[Count, Count, Count], ...], Field(min_length=1)]
    n_hidden: tuple[Count, ...]
    dropout: Share
    init_std: Annotated[float, Field(ge=0)]
    normalize: bool
    sees_age: bool
    remembered_kernel: Annotated[int, Field(ge=0)]
    n_ahead: Annotated[int, Field(ge=0)]


class ConvLstmFamily(NoteRegressionFamily[ConvLstmParams]):
    """The ConvLSTM's adapter: one system."""

    params_class: ClassVar[type[Section]] = ConvLstmParams
    systems: ClassVar[tuple[str, ...]] = ("conv_lstm",)

    def network_config(self, params: ConvLstmParams, instrument: Instrument) -> ConvLstmConfig:
        """Return the network's sizes."""
        return ConvLstmConfig(
            n_notes=len(instrument.pitches),
            n_pictures=self.n_pictures,
            height=params.height,
            width=params.width,
            layers=params.layers,
            n_hidden=params.n_hidden,
            dropout=params.dropout,
            init_std=params.init_std,
            sees=params.sees,
            columns=instrument.columns if params.sees == "bars" else (),
            window_width=params.window_width if params.sees == "bars" else 0,
            normalize=params.normalize,
            sees_age=params.sees_age,
            remembered_kernel=params.remembered_kernel,
            n_ahead=params.n_ahead,
        )

    def make_network(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a network from its config as JSON holds it."""
        layers = tuple((int(n), int(kernel), int(stride)) for n, kernel, stride in config["layers"])
        sizes = {name: tuple(config[name]) for name in ("n_hidden", "columns")}
        return ConvLstm(ConvLstmConfig(**{**config, **sizes, "layers": layers}))
