"""Family ``fc_lstm``: a fixed image network's features of each stack, then LSTMs, to the amplitude of every note.

The image network's ImageNet weights come from a safetensors file that params.yaml names: EfficientNet-lite0's, which
``setup.sh weights`` fetches (`tasks.families.image_weights`), or one of the user's with the weights of the published
AlexNet or VGG19. Without one they are drawn at random; a warning in the log and ``fc_lstm.json`` show it.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes

from models.fc_lstm import FcLstm, FcLstmConfig, ImageEncoder, Kind, Layer
from tasks.errors import DamagedData, ParamsError
from tasks.families.networks import torch_device
from tasks.families.note_regression.adapter import Instrument, NoteRegressionFamily
from tasks.families.note_regression.inputs import EncodedFilm, FilmInputs, StackedFilm
from tasks.families.note_regression.params import Count, NoteRegressionParams, Share
from tasks.families.trained import config_of
from tasks.params import Section

STACKS_AT_A_TIME = 16
_LOG = logging.getLogger("audiate")


class FcLstmParams(NoteRegressionParams):
    """Section ``train.fc_lstm``.

    Attributes:
        encoder: the image network; efficientnet_lite0 is a departure from the published ones.
        layer: whose output is taken: fc1 or fc2, and pooled of efficientnet_lite0.
        image_side: pixels that stacks are scaled to before; 224 published.
        weights: safetensors file with the image network's weights, as ``setup.sh weights`` writes it or under
            torchvision's names; null draws them.
        weights_sha256: of that file.
        n_recurrent: of the LSTM layers.
        dropout: of the LSTMs' input and between them.
        bidirectional: the LSTMs also run from the end.
    """

    encoder: Kind
    layer: Layer
    image_side: Annotated[int, Field(ge=64)]
    weights: str | None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    n_recurrent: Annotated[tuple[Count, ...], Field(min_length=1)]
    dropout: Share
    bidirectional: bool


class FcLstmFamily(NoteRegressionFamily[FcLstmParams]):
    """The FC-LSTM's adapter: one system."""

    params_class: ClassVar[type[Section]] = FcLstmParams
    systems: ClassVar[tuple[str, ...]] = ("fc_lstm",)
    network_class = FcLstm
    config_class = FcLstmConfig

    def check_more(self, params: FcLstmParams) -> None:
        """Refuse what this family cannot do.

        Raises:
            ParamsError: names the value.
        """
        if params.input != "picture":
            raise ParamsError(f"train.fc_lstm.input is {params.input}, expected picture: its features are of all of it")
        if params.subtract_still:
            raise ParamsError(
                "train.fc_lstm.subtract_still is true, expected false: ImageNet's networks take pictures as they are"
            )
        if (params.encoder == "efficientnet_lite0") != (params.layer == "pooled"):
            expected = "pooled" if params.encoder == "efficientnet_lite0" else "fc1 or fc2"
            raise ParamsError(f"train.fc_lstm.layer is {params.layer}, expected {expected} of {params.encoder}")
        if (params.weights is None) != (params.weights_sha256 is None):
            raise ParamsError("train.fc_lstm has one of weights and weights_sha256, expected both or none")

    def encoding(self, params: FcLstmParams) -> dict[str, Any]:
        """Return what makes features of stacks, for the model's JSON."""
        names = ("encoder", "layer", "image_side", "weights", "weights_sha256", "seed")
        return {name: getattr(params, name) for name in names}

    def encode(self, film: StackedFilm, encoding: Mapping[str, Any], *, accelerator: str) -> FilmInputs:
        """Return the image network's features of every stack of a film."""
        device = torch_device(accelerator)
        encoder = self._encoder(encoding).to(device)
        n_windows = len(film.is_filmed)
        features = np.zeros((n_windows, encoder.n_features), np.float32)
        with torch.inference_mode():
            for start in range(0, n_windows, STACKS_AT_A_TIME):
                last = min(start + STACKS_AT_A_TIME, n_windows)
                shown = film.shown[np.arange(start, last)[:, None] + np.arange(film.n_more + 1)]
                stacks = torch.from_numpy(film.pictures[shown]).to(device)
                features[start:last] = encoder(stacks).cpu().numpy()
        return EncodedFilm(features=features, is_filmed=film.is_filmed)

    def network_config(self, params: FcLstmParams, instrument: Instrument) -> FcLstmConfig:
        """Return the network's sizes."""
        with torch.device("meta"):
            encoder = ImageEncoder(params.encoder, params.layer)
        return config_of(FcLstmConfig, params, n_notes=len(instrument.pitches), n_features=encoder.n_features)

    def _encoder(self, encoding: Mapping[str, Any]) -> ImageEncoder:
        key = tuple(sorted((name, str(value)) for name, value in encoding.items()))
        if getattr(self, "_made_for", None) != key:
            self._made: ImageEncoder = image_encoder(**encoding)
            self._made_for = key
        return self._made


def image_encoder(
    *,
    encoder: Kind,
    layer: Layer,
    image_side: int,
    weights: str | None,
    weights_sha256: str | None,
    seed: int,
) -> ImageEncoder:
    """Return an image network with the weights of a file, or drawn.

    Args:
        encoder: which network.
        layer: whose output is taken.
        image_side: pixels that stacks are scaled to.
        weights: a safetensors file with the network's names; what lies behind the layer is left alone.
        weights_sha256: that the file must have.
        seed: of weights that are drawn.

    Raises:
        ParamsError: the file is not there, or is another one.
        DamagedData: it is no safetensors file, or a weight is missing, of another shape, or not finite.
    """
    if weights is None:
        _LOG.warning("fc_lstm: no weights file for %s is named, its features are those of random weights", encoder)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return ImageEncoder(encoder, layer, image_side).eval()
    path = Path(weights)
    try:
        data = path.read_bytes()
    except OSError as error:
        remedy = "; run ./setup.sh weights" if encoder == "efficientnet_lite0" else ""
        raise ParamsError(
            f"train.fc_lstm.weights names {path}, which cannot be read: {error.strerror}{remedy}"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != weights_sha256:
        raise ParamsError(f"{path} has sha256 {found}, expected {weights_sha256} by train.fc_lstm.weights_sha256")
    try:
        state = tensors_from_bytes(data)
    except (SafetensorError, ValueError) as error:
        raise DamagedData(f"{path} is not a whole safetensors file: {' '.join(str(error).split())}") from None
    with torch.device("meta"):
        network = ImageEncoder(encoder, layer, image_side)
    for name, wanted in network.state_dict().items():
        if name not in state:
            raise DamagedData(f"{path}: weight {name} of {encoder} is missing")
        if state[name].shape != wanted.shape:
            expected = tuple(wanted.shape)
            raise DamagedData(f"{path}: weight {name} has shape {tuple(state[name].shape)}, expected {expected}")
        if not torch.isfinite(state[name]).all():
            raise DamagedData(f"{path}: weight {name} is not finite")
    network = network.to_empty(device="cpu")
    network.load_state_dict({name: state[name].float() for name in network.state_dict()})
    return network.eval()
