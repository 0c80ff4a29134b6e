"""Family ``conv_lstm``: LSTMs whose gates are convolutions, from pictures to the amplitude of every note."""

from typing import Annotated, ClassVar

from pydantic import Field

from models.conv_lstm import ConvLstm, ConvLstmConfig
from tasks.families.note_regression.adapter import NoteRegressionFamily
from tasks.families.note_regression.params import Count, NoteRegressionParams, Share
from tasks.params import Section


class ConvLstmParams(NoteRegressionParams):
    """Section ``train.conv_lstm``; the sizes are explained at `models.conv_lstm.ConvLstmConfig`."""

    original_names_its_optimizer: ClassVar[bool] = False  # the one script that hands the optimizer over

    layers: Annotated[tuple[tuple[Count, Count, Count], ...], Field(min_length=1)]
    n_hidden: tuple[Count, ...]
    dropout: Share
    init_std: Annotated[float, Field(ge=0)]
    normalize: bool
    picture_age: bool
    recurrent_kernel: Annotated[int, Field(ge=0)]
    n_ahead: Annotated[int, Field(ge=0)]


class ConvLstmFamily(NoteRegressionFamily[ConvLstmParams]):
    """The ConvLSTM's adapter: one system."""

    params_class: ClassVar[type[Section]] = ConvLstmParams
    systems: ClassVar[tuple[str, ...]] = ("conv_lstm",)
    network_class = ConvLstm
    config_class = ConvLstmConfig
