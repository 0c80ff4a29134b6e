"""Sound from trained DeepSynths: whole films sampled, and the temperature that suits a network."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.deepsynth import DeepSynth
from models.deepsynth_config import DeepSynthConfig
from models.generation import Generator
from tasks.errors import DamagedData
from tasks.families.base import Film, n_samples_of
from tasks.families.deepsynth.crops import PICTURES_AT_A_TIME, ScoreFilms, first_samples
from tasks.families.deepsynth.params import DeepSynthParams
from tasks.families.networks import deterministic_torch, load_network, torch_device
from tasks.features.mu_law import mu_law_decode
from tasks.instruments.keyboard import shown_at
from tasks.metrics.sound import scores_of_sounds


def load(stem: Path) -> tuple[DeepSynth, dict[str, Any]]:
    """Read a trained network and what its sampling needs; raises DamagedData."""
    needed: dict[str, Any] = dict.fromkeys(("code_rate", "n_streams", "n_threads", "seed"), int)
    needed |= {"temperature": float, "kernel": str, "generation_precision": str}
    return load_network(stem, _make, needed)


def _make(facts: dict[str, Any]) -> DeepSynth:
    if "drive" not in facts["network"]:
        raise ValueError("a network without the option drive")
    return DeepSynth(DeepSynthConfig(**facts["network"]))


def sample_films(
    network: DeepSynth, facts: Mapping[str, Any], films: Mapping[str, Film], *, accelerator: str
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the sound of each film, sampled from its start to its end.

    Raises:
        DamagedData: the network was trained on pictures of another size.
    """
    names = sorted(films)
    expected = (network.config.picture_height, network.config.picture_width)
    for name in names:
        size = films[name].pictures.shape[1:]
        if network.config.use_video and size != expected:
            raise DamagedData(f"film {name}: pictures of {size} pixels, expected {expected}, as in training")
    is_compiled = facts["kernel"] == "compiled"
    if not is_compiled:
        network = network.to(torch_device(accelerator))
    n_streams = 1 if is_compiled else facts["n_streams"]
    groups = [names[i : i + n_streams] for i in range(0, len(names), n_streams)]
    # The compiled kernel leaves Python's lock alone: films are drawn side by side, each by itself.
    n_workers = facts["n_threads"] if is_compiled else 1
    with deterministic_torch(seed=0, n_threads=facts["n_threads"]), ThreadPoolExecutor(n_workers) as pool:
        some = [{name: films[name] for name in group} for group in groups]
        for drawn in pool.map(partial(_draw, network, facts, n_streams=n_streams), some):
            for take, codes in drawn.items():
                yield take, mu_law_decode(codes, network.config.n_classes)


def response_sounds(
    network: DeepSynth,
    facts: Mapping[str, Any],
    films: Mapping[str, Film],
    *,
    accelerator: str,  # noqa: ARG001 - sums of responses are made on the CPU
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the sum of the keys' responses that each film shows, without any network: ``key_response``."""
    rate = facts["code_rate"]
    with deterministic_torch(seed=0, n_threads=facts["n_threads"]):
        for take, film in sorted(films.items()):
            amplitude = _drive(network, film, n_samples_of(film, rate), rate)
            if amplitude is None:
                raise ValueError("a network without a drive has no responses")
            yield take, np.clip(amplitude.numpy(), -1, 1)


def best_temperature(
    network: DeepSynth,
    facts: Mapping[str, Any],
    films: ScoreFilms,
    takes: Sequence[str],
    params: DeepSynthParams,
    *,
    accelerator: str,
) -> float:
    """Return the temperature whose sound is nearest to that of validation takes: least multi-resolution STFT distance.

    It weighs spectrum and level alike; the sound is made of the begin of each take.
    """
    if len(params.temperatures) == 1:
        return params.temperatures[0]
    n_samples = round(params.temperature_s * films.code_rate)
    begins = {take: _begin(films, take, n_samples) for take in takes}
    truth = {
        take: mu_law_decode(films[take].codes[: n_samples_of(film, films.code_rate)]) for take, film in begins.items()
    }
    found = {}
    for temperature in params.temperatures:
        at_this = {**facts, "temperature": temperature}
        distances = [
            scores_of_sounds(truth[take], [sound], sample_rate=films.code_rate)[0]["mr_stft"]
            for take, sound in sample_films(network, at_this, begins, accelerator=accelerator)
        ]
        found[temperature] = float(np.mean(distances))
    return min(found, key=lambda temperature: found[temperature])


def _begin(films: ScoreFilms, take: str, n_samples: int) -> Film:
    film = films[take]
    end_s = min(n_samples, len(film.codes)) / films.code_rate
    n_pictures = int(np.searchsorted(film.picture_time_s, end_s))
    return Film(pictures=film.pictures[:n_pictures], time_s=film.picture_time_s[:n_pictures], duration_s=end_s)


def _draw(
    network: DeepSynth, facts: Mapping[str, Any], films: Mapping[str, Film], *, n_streams: int
) -> dict[str, NDArray[np.uint8]]:
    """Sample the codes of up to ``n_streams`` films side by side. Each has its own random numbers."""
    rate = facts["code_rate"]
    lengths = {take: n_samples_of(film, rate) for take, film in films.items()}
    n_samples = max(lengths.values())
    uniforms = np.full((n_streams, n_samples), 0.5)
    shown = np.zeros((n_streams, n_samples), np.int64)
    drives: list[Tensor] = []
    n_pictures = 0
    for stream, (take, film) in enumerate(films.items()):
        name = int.from_bytes(hashlib.sha256(take.encode()).digest()[:8], "big")
        uniforms[stream] = np.random.default_rng((facts["seed"], name)).random(n_samples)
        shown[stream] = n_pictures + shown_at(film.time_s, rate=Fraction(rate), start=0, count=n_samples)
        n_pictures += len(film.pictures)
        if network.keys is not None and (drive := _drive(network, film, n_samples, rate)) is not None:
            drives.append(drive)
    generator = Generator(
        network,
        n_streams=n_streams,
        kernel=facts["kernel"],
        precision=facts["generation_precision"],
        temperature=facts["temperature"],
    )
    device = network.hidden.weight.device
    video: dict[str, Tensor] = {}
    if network.config.takes_pictures:
        pictures = np.concatenate([film.pictures for film in films.values()])
        video = {"pictures": torch.from_numpy(pictures).to(device), "shown": torch.from_numpy(shown).to(device)}
    if drives:
        idle = [torch.zeros_like(drives[0])] * (n_streams - len(drives))
        video["drive"] = torch.stack([*drives, *idle]).to(device)
    codes = generator.generate(uniforms, **video)
    return {take: codes[stream, : lengths[take]] for stream, take in enumerate(films)}


def _drive(network: DeepSynth, film: Film, n_samples: int, rate: int) -> Tensor | None:
    """Return what a film's pictures drive, (T,) or (T, C); None for a network without a drive."""
    if network.keys is None:
        return None
    device = network.keys.reader.keys.device
    pictures = torch.from_numpy(film.pictures)
    blocks = (block.to(device) for block in torch.split(pictures, PICTURES_AT_A_TIME))
    strokes = network.keys.strokes(blocks, first_samples(film.time_s, rate=rate, n_samples=n_samples), n_samples)
    return network.keys.follow(strokes, n_samples).at(0, n_samples)
