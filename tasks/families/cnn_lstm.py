"""Family ``cnn_lstm``: convolutions over space-time stacks, then LSTMs, to the amplitude of every note."""

from typing import Annotated, ClassVar

from pydantic import Field

from models.cnn_lstm import CnnLstm, CnnLstmConfig
from tasks.families.note_regression.adapter import NoteRegressionFamily
from tasks.families.note_regression.params import Count, NoteRegressionParams, Share
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
    picture_age: bool


class CnnLstmFamily(NoteRegressionFamily[CnnLstmParams]):
    """The CNN-LSTM's adapter: one system."""

    params_class: ClassVar[type[Section]] = CnnLstmParams
    systems: ClassVar[tuple[str, ...]] = ("cnn_lstm",)
    network_class = CnnLstm
    config_class = CnnLstmConfig
