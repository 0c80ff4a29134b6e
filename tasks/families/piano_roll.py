"""Family ``piano_roll``: pictures to keys, keys to notes, notes to the synthesizer.

The way without a model of sound: predict from each picture which keys are pressed and how hard, turn the changes into
notes, and play those.
"""

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

from models.piano_roll import KeyReader, KeyReaderConfig
from tasks.errors import ParamsError
from tasks.families.base import Film, Performance, VideoFamily, below_full_scale
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.families.trained import config_of
from tasks.instruments.keyboard import HEIGHT, LOWEST_PITCH, N_KEYS, PEDAL_HEIGHT, WIDTH, key_columns
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.params import Section
from tasks.store.segments import ScoreSet

SYSTEM = "piano_roll"
SAMPLE_RATE = 48_000  # Hz, of the synthesizer
PICTURES_AT_A_TIME = 64
THRESHOLDS = np.arange(0.05, 0.951, 0.05)


class PianoRollParams(Section):
    """How the key reader is trained, and how its notes are played."""

    n_rows: int  # that a picture is averaged to
    window_width: int  # pixels around the middle of a key
    n_hidden: int
    n_steps: int
    steps_per_epoch: int  # between two validations
    batch_size: int  # pictures
    learning_rate: float  # falls to 0 over the steps, as half a cosine
    velocity_weight: float  # of the velocities' squared error beside the keys' cross-entropy
    n_pictures: int  # kept in memory to train on, at most: 44 kB each
    n_validation_pictures: int
    jitter_luma: float  # brightness and contrast of training pictures vary by so many levels
    noise_luma: float  # standard deviation of noise added to training pictures, at most
    blur: float  # 0 to 1: how much of a pixel's neighbours is mixed in, at most
    gain: float  # of the synthesizer: as in render, or the pieces' loudness differs
    program: int  # general MIDI: 0 is the grand piano
    n_threads: int  # of the CPU: another number may give other weights
    seed: int


class PianoRollFamily(VideoFamily[PianoRollParams, ScoreSet]):
    """The piano roll's adapter: one system."""

    params_class: ClassVar[type[Section]] = PianoRollParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM,)
    data = "scores"

    def fit(self, data: ScoreSet, out: Path, *, params: PianoRollParams, resume: Path, accelerator: str) -> None:
        """Train the key reader on single pictures and fit the threshold of a pressed key on validation.

        Raises:
            ParamsError: a value makes no sense.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        _check(params)
        pictures, velocities = sample_pictures(data, "train", params.n_pictures, seed=params.seed)
        validation = _validation_batches(data, params)

        def make_batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
            rng = np.random.default_rng((params.seed, epoch, step))
            rows = rng.integers(len(pictures), size=params.batch_size)
            return degrade(torch.from_numpy(pictures[rows]), rng, params), torch.from_numpy(velocities[rows])

        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            config = _config(params)
            network = KeyReader(config)
            best = fit_network(
                network,
                partial(key_loss, velocity_weight=params.velocity_weight),
                partial(_optimizer, params=params),
                make_batch,
                validation,
                system=SYSTEM,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
            )
            network.load_state_dict(best)
            threshold = _fit_threshold(network.cpu().eval(), validation)
        facts = {"pressed_threshold": threshold, "gain": params.gain, "program": params.program}
        save_network(out / SYSTEM, network.state_dict(), {"network": asdict(config), **facts})

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Notes] | None,  # noqa: ARG002 - no system is a bound
    ) -> Iterator[Performance]:
        """Detect the notes of every film and play them.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        network, facts = _load(trained / SYSTEM)
        network = network.to(torch_device(accelerator))
        synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SAMPLE_RATE, gain=facts["gain"]
        )
        with synthesizer:
            for take, film in films.items():
                velocity = read_keys(network, film.pictures, threshold=facts["pressed_threshold"])
                notes = notes_of_keys(velocity, film.time_s, duration_s=film.duration_s)
                loud = synthesizer.render(
                    notes, None, program=facts["program"], duration_s=film.duration_s, may_be_loud=True
                )
                audio, gain_db = below_full_scale(loud)
                yield Performance(
                    system=SYSTEM, take=take, audio=audio, sample_rate=SAMPLE_RATE, notes=notes, gain_db=gain_db
                )


def key_loss(network: KeyReader, batch: tuple[Tensor, Tensor], *, velocity_weight: float) -> Tensor:
    """Return the keys' cross-entropy and, weighted, the squared error of the pressed keys' velocities.

    Args:
        network: the key reader.
        batch: pictures (B, 57, 780) and MIDI velocities (B, 88), 0 where a key is up.
        velocity_weight: of the squared error.
    """
    pictures, velocities = batch
    logit, velocity = network(pictures)
    is_pressed = (velocities > 0).float()
    keys = functional.binary_cross_entropy_with_logits(logit, is_pressed)
    # A key at rest shows no velocity: it counts only where there is one to see.
    squared = (velocity - velocities.float() / 127).square() * is_pressed
    loss: Tensor = keys + velocity_weight * squared.sum() / is_pressed.sum().clamp(min=1)
    return loss


def _optimizer(
    parameters: Iterable[nn.Parameter], params: PianoRollParams
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.n_steps)


def sample_pictures(
    data: ScoreSet, part: str, n_pictures: int, *, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read up to ``n_pictures`` pictures of a part and their key states, whole chunks drawn at random.

    Returns:
        Pictures (n, 57, 780) and velocities (n, 88).
    """
    chunks: list[tuple[str, int, int]] = []
    for take in data.takes(part):
        stored = data.open(take)["pictures"]
        length = stored.chunk_length
        chunks += [(take, start, min(start + length, len(stored))) for start in range(0, len(stored), length)]
    order = np.random.default_rng((seed, len(chunks))).permutation(len(chunks))
    n_each = np.array([chunks[row][2] - chunks[row][1] for row in order])
    n_needed = int(np.searchsorted(np.cumsum(n_each), n_pictures)) + 1
    drawn = sorted(chunks[row] for row in order[:n_needed])
    pictures, velocities = [], []
    for take, start, stop in drawn:
        arrays = data.open(take)
        pictures.append(arrays["pictures"][start:stop])
        velocities.append(arrays["velocities"][start:stop])
    return np.concatenate(pictures)[:n_pictures], np.concatenate(velocities)[:n_pictures]


def degrade(pictures: Tensor, rng: np.random.Generator, params: PianoRollParams) -> Tensor:
    """Give clean pictures (B, 57, 780) the exposure, softness and noise of a recorded or encoded film."""
    B = len(pictures)

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (B, 1, 1)).astype(np.float32))

    made = pictures.float()
    jitter = params.jitter_luma
    made = 128 + (made - 128) * (1 + drawn(-jitter, jitter) / 128) + drawn(-jitter, jitter)
    beside = (torch.roll(made, 1, dims=2) + torch.roll(made, -1, dims=2)) / 2
    mixed = drawn(0.0, params.blur)
    made = made * (1 - mixed) + beside * mixed
    noise = torch.from_numpy(rng.standard_normal(made.shape, dtype=np.float32))
    return (made + noise * drawn(0.0, params.noise_luma)).clamp(0, 255)


def read_keys(network: KeyReader, pictures: NDArray[np.uint8], *, threshold: float) -> NDArray[np.uint8]:
    """Predict the state of every key in pictures (P, 57, 780).

    Returns:
        (P, 88): 0 where a key is up, else the velocity it was struck with, 1 to 127.
    """
    network.eval()
    place = network.windows.device
    states = []
    with torch.inference_mode():
        for start in range(0, len(pictures), PICTURES_AT_A_TIME):
            some = torch.from_numpy(np.ascontiguousarray(pictures[start : start + PICTURES_AT_A_TIME]))
            logit, velocity = network(some.to(place))
            struck = (velocity * 127).round().clamp(1, 127)
            states.append(torch.where(torch.sigmoid(logit) > threshold, struck, 0).to(torch.uint8).cpu())
    return torch.cat(states).numpy()


def notes_of_keys(velocity: NDArray[np.uint8], time_s: NDArray[np.float64], *, duration_s: float) -> Notes:
    """Turn the keys' states into notes: each from a picture that shows a key down to one that does not.

    A key that is struck again is up in a picture in between, and so becomes two notes. A note's velocity is the
    median over its pictures.

    Args:
        velocity: (P, 88), 0 where a key is up.
        time_s: (P,) when each picture comes up.
        duration_s: end of the last picture, and of the notes that are still held.
    """
    edges_s = np.append(time_s, duration_s)
    is_down = np.zeros((len(velocity) + 2, N_KEYS), np.int8)
    is_down[1:-1] = velocity > 0
    moves = np.diff(is_down, axis=0)  # (P + 1, 88): 1 where a key goes down, -1 where it comes up
    key, first = np.nonzero((moves == 1).T)
    _, last = np.nonzero((moves == -1).T)  # by key and time too, so that the rows pair up
    struck = [np.median(velocity[a:b, k]) for k, a, b in zip(key, first, last, strict=True)]
    return sorted_notes(edges_s[first], edges_s[last], key + LOWEST_PITCH, np.rint(struck).astype(np.uint8))


def _check(params: PianoRollParams) -> None:
    if params.steps_per_epoch < 1 or params.n_steps < 1 or params.n_steps % params.steps_per_epoch:
        raise ParamsError(
            f"train.piano_roll.n_steps is {params.n_steps}, expected a multiple of steps_per_epoch, "
            f"{params.steps_per_epoch}"
        )
    for name in ("n_rows", "window_width", "n_hidden", "batch_size", "n_pictures", "n_validation_pictures"):
        if getattr(params, name) < 1:
            raise ParamsError(f"train.piano_roll.{name} is {getattr(params, name)}, expected at least 1")


def _config(params: PianoRollParams) -> KeyReaderConfig:
    return config_of(
        KeyReaderConfig,
        params,
        height=HEIGHT - PEDAL_HEIGHT,  # the last rows show the pedal, not a key
        width=WIDTH,
        key_column=tuple(int(column) for column in key_columns().mean(axis=1)),
        key_class=tuple((LOWEST_PITCH + key) % 12 for key in range(N_KEYS)),
    )


def _validation_batches(data: ScoreSet, params: PianoRollParams) -> list[tuple[Tensor, Tensor]]:
    """Return validation pictures, every other batch as clean as drawn, the rest degraded once and for all."""
    pictures, velocities = sample_pictures(data, "validation", params.n_validation_pictures, seed=params.seed)
    rng = np.random.default_rng((params.seed, 1))
    batches = []
    for number, start in enumerate(range(0, len(pictures), PICTURES_AT_A_TIME)):
        rows = slice(start, start + PICTURES_AT_A_TIME)
        drawn = torch.from_numpy(pictures[rows])
        inputs = degrade(drawn, rng, params) if number % 2 else drawn.float()
        batches.append((inputs, torch.from_numpy(velocities[rows])))
    return batches


def _fit_threshold(network: KeyReader, validation: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the middle of the thresholds at which the fewest keys of the validation pictures are predicted wrong."""
    with torch.inference_mode():
        chance = torch.cat([torch.sigmoid(network(pictures)[0]) for pictures, _ in validation]).numpy()
    is_pressed = torch.cat([struck > 0 for _, struck in validation]).numpy()
    n_wrong = np.array([int(((chance > threshold) != is_pressed).sum()) for threshold in THRESHOLDS])
    best = np.flatnonzero(n_wrong == n_wrong.min())
    return round(float(THRESHOLDS[best[len(best) // 2]]), 6)


def _load(stem: Path) -> tuple[KeyReader, dict[str, Any]]:
    """Read a trained key reader and what was fitted beside it; raises DamagedData."""
    return load_network(
        stem,
        lambda facts: KeyReader(KeyReaderConfig(**facts["network"])),
        {"pressed_threshold": float, "gain": float, "program": int},
    )
