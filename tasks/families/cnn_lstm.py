"""Family ``cnn_lstm``: convolutions over space-time stacks, then LSTMs, to the amplitude of every note."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from models.cnn_lstm import CnnLstm, CnnLstmConfig
from tasks.families.note_regression import Count, Instrument, NoteRegressionFamily, NoteRegressionParams, Share
from tasks.params import Section


class CnnLstmParams(NoteRegressionParams):
    """Section ``train.cnn_lstm``; the sizes are explained at `models.cnn_lstm.CnnLstmConfig`."""

    layers: tuple[tuple[Count, Count, Count], ...]
    n_hidden: tuple[Count, ...]
    n_recurrent: Annotated[tuple[Count, ...], Field(min_length=1)]
    dropout: Share
    init_std: Annotated[float, Field(ge=0)]
    bidirectional: bool
    normalize: bool
    sees_age: bool


class CnnLstmFamily(NoteRegressionFamily[CnnLstmParams]):
    """The CNN-LSTM's adapter: one system."""

    params_class: ClassVar[type[Section]] = CnnLstmParams
    systems: ClassVar[tuple[str, ...]] = ("cnn_lstm",)

    def network_config(self, params: CnnLstmParams, instrument: Instrument) -> CnnLstmConfig:
        """Return the network's sizes."""
        return CnnLstmConfig(
            n_notes=len(instrument.pitches),
            n_pictures=self.n_pictures,
            height=params.height,
            width=params.width,
            layers=params.layers,
            n_hidden=params.n_hidden,
            n_recurrent=params.n_recurrent,
            dropout=params.dropout,
            init_std=params.init_std,
            sees=params.sees,
            columns=instrument.columns if params.sees == "bars" else (),
            window_width=params.window_width if params.sees == "bars" else 0,
            bidirectional=params.bidirectional,
            normalize=params.normalize,
            sees_age=params.sees_age,
        )

    def make_network(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a network from its config as JSON holds it."""
        layers = tuple((int(n), int(kernel), int(stride)) for n, kernel, stride in config["layers"])
        sizes = {name: tuple(config[name]) for name in ("n_hidden", "n_recurrent", "columns")}
        return CnnLstm(CnnLstmConfig(**{**config, **sizes, "layers": layers}))
