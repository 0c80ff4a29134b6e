"""The adapter from films of pianos to notes and sound."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.key_strokes import KeyStrokes, KeyStrokesConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families.base import CaptureTruth, Film, Performance, Role, VideoFamily, below_full_scale
from tasks.families.keyboard_camera.examples import Example, Sampler, example_of, parted, validation_batches
from tasks.families.keyboard_camera.params import KeyboardCameraParams
from tasks.families.keyboard_camera.strokes import fit_threshold, strokes
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.families.trained import Needed, config_of, load_trained, save_trained
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.keyboards.key_features import FEATURES, READER_HELD, READER_ONSET, KeyFeatures, key_features
from tasks.keyboards.stored import keyboard_of
from tasks.params import Section
from tasks.store.views import View, ViewSet, check_disjoint_views

LEARNED, READER, MEAN, TRUE = "keyboard_camera", "keyboard_reader", "mean_keys", "true_keys"
INSTRUMENT = "piano"
PROGRAM = 0  # General MIDI: grand piano
SAMPLE_RATE = 22_050  # Hz, of the synthesis
KEYS_AT_A_TIME = 16
_NO_NOTES = sorted_notes(np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
_MEAN_HELD_S = 0.3


class KeyboardCamera(VideoFamily[KeyboardCameraParams, ViewSet]):
    """Four systems: one is a network."""

    params_class: ClassVar[type[Section]] = KeyboardCameraParams
    systems: ClassVar[tuple[str, ...]] = (LEARNED, READER, MEAN, TRUE)
    roles: ClassVar[Mapping[str, Role]] = {MEAN: "reference", TRUE: "bound"}
    data = "captures"

    def fit(self, data: ViewSet, out: Path, *, params: KeyboardCameraParams, resume: Path, accelerator: str) -> None:
        """Train on the training views, keep the best on the validation views, fit the threshold of onsets there.

        Without a piano among the validation takes the last part of each training film is validated on.

        Raises:
            ParamsError: a value makes no sense, or no view shows a keyboard to learn from.
            DamagedData: an array is missing or damaged.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        section = f"train.{LEARNED}"
        params.check(section)
        views = data.only(instrument=INSTRUMENT, cameras=params.cameras)
        parts = {part: views.views(part) for part in ("train", "validation")}
        check_disjoint_views(list(parts.values()))
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            training, validation = (_examples(views, parts[part], params) for part in ("train", "validation"))
            if not training:
                raise ParamsError(
                    f"{section}: in none of {len(parts['train'])} training views of pianos with a camera like "
                    f"{params.cameras!r} a keyboard was found whose keys are pressed; film from above, or name the "
                    "corners in take.yaml"
                )
            notes_a_second = _notes_a_second(training)
            velocity = _mean_velocity(training)
            if not validation:
                training, validation = (list(part) for part in zip(*_parted(training, params), strict=True))
            config = config_of(KeyStrokesConfig, params, n_features=len(FEATURES), reader=(READER_ONSET, READER_HELD))
            network = KeyStrokes(config)
            best = fit_network(
                network,
                partial(stroke_loss, onset_weight=params.onset_weight),
                partial(_optimizer, params=params),
                Sampler(training, params).batch,
                validation_batches(validation),
                system=LEARNED,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
                precision=params.precision,
                gradient_clip_norm=params.clip_norm,
            )
            network.load_state_dict(best)
            network = network.to(torch_device(accelerator)).eval()
            threshold = fit_threshold([probabilities(network, one.features) for one in validation], validation)
        shared = {
            "instrument": INSTRUMENT,
            "inputs": "keyboard",
            "gain": params.gain,
            "reader": params.reader.model_dump(mode="json"),
            "n_threads": params.n_threads,
        }
        learned = {"network": asdict(config), "threshold": threshold, "velocity": velocity, "features": FEATURES}
        save_network(out / LEARNED, network.state_dict(), shared | learned)
        save_trained(out / READER, {}, shared)
        save_trained(out / MEAN, {"notes_a_second": notes_a_second}, shared | {"velocity": velocity})
        save_trained(out / TRUE, {}, shared)

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,
    ) -> Iterator[Performance]:
        """Read the notes of every film of a piano, and play them; a film without a keyboard that was found has none.

        Raises:
            DamagedData: what was trained is missing or damaged, or a film's arrays are.
            ToolError: the synthesizer or its SoundFont is missing.
        """
        network, facts = load_network(trained / LEARNED, _network_of, {"threshold": float, "velocity": int, **_SHARED})
        if tuple(facts["features"]) != FEATURES:
            raise DamagedData(f"{trained / LEARNED}.json was trained on other features: train the family again")
        network = network.to(torch_device(accelerator))
        mean, mean_facts = load_trained(trained / MEAN, {"velocity": int})
        synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SAMPLE_RATE, gain=facts["gain"]
        )
        with synthesizer:
            for name, film in films.items():
                if film.instrument not in (None, facts["instrument"]):
                    continue
                with deterministic_torch(seed=0, n_threads=facts["n_threads"]):
                    learned, reader = read_film(network, facts, film)
                played: dict[str, Notes] = {
                    LEARNED: learned,
                    READER: reader,
                    MEAN: evenly_played(mean["notes_a_second"], film.duration_s, mean_facts["velocity"]),
                }
                if truth is not None and isinstance(known := truth[name], CaptureTruth):
                    onset_s = known.notes.onset_s
                    played[TRUE] = known.notes.take((onset_s >= 0) & (onset_s < film.duration_s))
                for system, notes in played.items():
                    yield _performance(system, name, film, notes, synthesizer)


def stroke_loss(network: nn.Module, batch: tuple[Tensor, Tensor], *, onset_weight: float) -> Tensor:
    """Return the cross-entropy of onsets and held keys; moments at an onset count more.

    Args:
        network: `models.key_strokes.KeyStrokes`.
        batch: features (B, features, G) and targets (B, 2, G).
        onset_weight: what a moment at an onset counts more.
    """
    features, target = batch
    loss = functional.binary_cross_entropy_with_logits(network(features), target, reduction="none")
    weight = torch.ones_like(target)
    weight[:, 0] += onset_weight * target[:, 0]
    mean: Tensor = (weight * loss).mean()
    return mean


@torch.inference_mode()
def probabilities(network: nn.Module, features: KeyFeatures) -> NDArray[np.float32]:
    """Return the probability of an onset and of a held key at each moment, (K, 2, G)."""
    place = next(network.parameters()).device
    found = [
        torch.sigmoid(network(torch.from_numpy(features.values[first : first + KEYS_AT_A_TIME]).to(place))).cpu()
        for first in range(0, len(features.values), KEYS_AT_A_TIME)
    ]
    return torch.cat(found).numpy()


def read_film(network: nn.Module, facts: Mapping[str, Any], film: Film) -> tuple[Notes, Notes]:
    """Return what the network and what the classical reader read; where keys light up, what the reader does.

    Args:
        network: trained, in evaluation mode.
        facts: that were trained beside it.
        film: of a piano.

    Raises:
        DamagedData: its arrays are not those of a keyboard.
    """
    if film.keyboard is None or len(film.keyboard.get("time_s", ())) < 3:
        return _NO_NOTES, _NO_NOTES
    evidence, keys = keyboard_of(film.keyboard)
    features = key_features(evidence, keys, duration_s=film.duration_s, **facts["reader"])
    if features.mode == "lit":
        return features.notes, features.notes
    learned = strokes(
        probabilities(network, features),
        keys,
        start_s=features.start_s,
        duration_s=film.duration_s,
        threshold=facts["threshold"],
        velocity=facts["velocity"],
    )
    return learned, features.notes


def evenly_played(notes_a_second: NDArray[np.float64], duration_s: float, velocity: int) -> Notes:
    """Return each of 88 keys struck at even intervals, as often as given, (88,)."""
    onset_s, pitch = [], []
    for key, rate in enumerate(notes_a_second.tolist()):
        n_notes = round(rate * duration_s)
        onset_s += [(number + 0.5) * duration_s / n_notes for number in range(n_notes)]
        pitch += [LOWEST_PITCH + key] * n_notes
    onsets = np.array(onset_s, np.float64)
    offsets = np.minimum(onsets + _MEAN_HELD_S, duration_s)
    return sorted_notes(onsets, offsets, np.array(pitch, np.uint8), np.full(len(pitch), velocity, np.uint8))


def _examples(views: ViewSet, chosen: Sequence[View], params: KeyboardCameraParams) -> list[Example]:
    made = (example_of(views, view, params) for view in chosen)
    return [one for one in made if one is not None]


def _parted(training: Sequence[Example], params: KeyboardCameraParams) -> list[tuple[Example, Example]]:
    return [parted(one, params.held_out) for one in training]


def _notes_a_second(training: Sequence[Example]) -> NDArray[np.float64]:
    """Return how often each of 88 keys is struck in a second of the films."""
    seconds = sum(float(one.features.time_s[-1] - one.features.time_s[0]) for one in training)
    pitches = np.concatenate([one.notes.pitch for one in training]).astype(np.intp)
    return np.bincount(pitches - LOWEST_PITCH, minlength=N_KEYS)[:N_KEYS] / seconds


def _mean_velocity(training: Sequence[Example]) -> int:
    velocities = np.concatenate([one.notes.velocity for one in training])
    return round(float(velocities.mean())) if len(velocities) else 64


def _optimizer(
    parameters: Iterable[nn.Parameter], params: KeyboardCameraParams
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(parameters, lr=params.learning_rate, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=params.learning_rate, total_steps=params.n_steps, pct_start=0.15
    )
    return optimizer, schedule


def _network_of(facts: Mapping[str, Any]) -> KeyStrokes:
    return KeyStrokes(KeyStrokesConfig(**facts["network"]))


_SHARED: Needed = {
    "instrument": str,
    "gain": float,
    "n_threads": int,
    "features": tuple,
    "reader": lambda found: {"lead_s": float(found["lead_s"]), "velocity": int(found["velocity"])},
}


def _performance(system: str, name: str, film: Film, notes: Notes, synthesizer: Synthesizer) -> Performance:
    take, _, camera = name.partition("/")
    if len(notes):
        loud = synthesizer.render(notes, None, program=PROGRAM, duration_s=film.duration_s, may_be_loud=True)
    else:
        loud = np.zeros(max(1, round(film.duration_s * SAMPLE_RATE)), np.float32)
    audio, gain_db = below_full_scale(loud)
    return Performance(
        system=system,
        take=take,
        audio=audio,
        sample_rate=SAMPLE_RATE,
        notes=notes,
        camera=camera or film.camera,
        gain_db=gain_db,
    )
