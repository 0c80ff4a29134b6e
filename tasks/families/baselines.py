"""Family ``baselines``: what a model must beat to have learned anything, and what no model can beat.

``mean`` is a steady sound with the spectrum of the training sound; ``silence`` is silence; ``nearest`` plays the
training sound of the training picture whose keys are most alike; ``unigram`` draws codes by how often each
occurs; ``upper_bound`` is handed the true notes, plays them through the synthesizer, and is never ranked.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from tasks.errors import ParamsError
from tasks.families.base import CodeFamily, Film, Performance, Role, n_samples_of
from tasks.families.trained import load_facts, load_trained, save_trained, write_curve
from tasks.features.mu_law import mu_law_decode
from tasks.instruments.keyboard import read_keyboard
from tasks.instruments.notes import Notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.params import Section
from tasks.store.segments import ScoreSet, Segment

MEAN, SILENCE, NEAREST, UNIGRAM, UPPER_BOUND = "mean", "silence", "nearest", "unigram", "upper_bound"
SYNTHESIZER_RATE = 48_000  # Hz, of the upper bound
STATES_AT_A_TIME = 256
NEEDED = {"sample_rate": int, "n_classes": int, "seed": int}

State = Mapping[str, NDArray[Any]]
Facts = Mapping[str, Any]


class BaselinesParams(Section):
    """What the baselines keep of the training takes."""

    n_fft: int  # samples of a window of the mean spectrum
    n_pictures: int  # of the training takes that `nearest` chooses from, at most
    kept_s: float  # sound kept from each of those pictures on
    grain_s: float  # length of the windows that `nearest` adds up, half overlapping
    gain: float  # of the upper bound's synthesizer: as in render
    program: int  # general MIDI, of the same
    seed: int


class Baselines(CodeFamily[BaselinesParams, ScoreSet]):
    """All baselines: fitted by counting."""

    params_class: ClassVar[type[Section]] = BaselinesParams
    systems: ClassVar[tuple[str, ...]] = (MEAN, SILENCE, NEAREST, UNIGRAM, UPPER_BOUND)
    roles: ClassVar[Mapping[str, Role]] = {MEAN: "reference", SILENCE: "idle", UPPER_BOUND: "bound"}
    data = "scores"

    def fit(
        self,
        data: ScoreSet,
        out: Path,
        *,
        params: BaselinesParams,
        resume: Path,  # noqa: ARG002 - done in seconds
        accelerator: str,  # noqa: ARG002
    ) -> None:
        """Count codes, average spectra and keep sounds of the training takes.

        Raises:
            ParamsError: a value makes no sense.
        """
        _check(params)
        rate = data.code_rate
        takes = data.takes("train")
        n_classes = int(data.open(takes[0]).attributes["n_classes"])
        facts = {"sample_rate": rate, "n_classes": n_classes, "seed": params.seed}

        power, n_windows = np.zeros(params.n_fft // 2 + 1), 0
        counts = np.ones(n_classes)  # one of each: a code that training lacks is rare, not impossible
        for take in takes:
            codes = data.open(take)["codes"][:]
            counts += np.bincount(codes, minlength=n_classes)
            windows_power, n_more = _power(mu_law_decode(codes, n_classes), params.n_fft)
            power += windows_power
            n_windows += n_more
        amplitude = np.sqrt(power / max(n_windows, 1))
        save_trained(out / MEAN, {"amplitude": amplitude}, facts)
        save_trained(out / SILENCE, {}, facts)

        keys, sounds = _bank(data, takes, params, rate=rate, silence=n_classes // 2)
        bank = {"keys": keys, "codes": sounds}
        save_trained(out / NEAREST, bank, {**facts, "grain_s": params.grain_s})

        chance = counts / counts.sum()
        save_trained(out / UNIGRAM, {"chance": chance}, facts)
        nats = [_mean_nats(data, data.takes(part), chance) for part in ("train", "validation")]
        write_curve(out / "curves" / f"{UNIGRAM}.csv", ("step", "train_nats", "validation_loss"), [(0, *nats)])
        save_trained(out / UPPER_BOUND, {}, {"gain": params.gain, "program": params.program})

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,  # noqa: ARG002
        truth: Mapping[str, Notes] | None,
    ) -> Iterator[Performance]:
        """Make each baseline's sound; the upper bound's only where the truth is given.

        Raises:
            DamagedData: what was fitted is missing or damaged.
        """
        makers: dict[str, Callable[[Film, State, Facts, np.random.Generator], NDArray[np.float32]]] = {
            MEAN: _mean_sound,
            SILENCE: _silence,
            NEAREST: _nearest_sound,
            UNIGRAM: _unigram_sound,
        }
        for system, make in makers.items():
            state, facts = load_trained(trained / system, NEEDED)
            for take, film in films.items():
                audio = make(film, state, facts, _generator(facts["seed"], system, take))
                yield Performance(system=system, take=take, audio=audio, sample_rate=facts["sample_rate"], notes=None)
        if truth is not None:
            yield from _play_truth(trained, films, truth)

    def nats(
        self,
        trained: Path,
        data: ScoreSet,
        rows: Sequence[Segment],
        *,
        accelerator: str,  # noqa: ARG002
        pictures_of: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the unigram's nats, which are exact; the others give codes no probability.

        It is not conditioned on pictures: with those of other takes nothing is returned.

        Raises:
            DamagedData: what was fitted is missing or damaged.
        """
        if pictures_of is not None:
            return {}
        state, _ = load_trained(trained / UNIGRAM, NEEDED)
        nats_of_code = -np.log(state["chance"])
        codes: dict[str, NDArray[np.uint8]] = {}
        found = np.empty(len(rows))
        for number, row in enumerate(rows):
            if row.take not in codes:
                codes = {row.take: data.open(row.take)["codes"][:]}
            own = codes[row.take][row.start_sample : row.start_sample + row.n_samples]
            found[number] = nats_of_code[own].mean()
        return {UNIGRAM: found}


def _check(params: BaselinesParams) -> None:
    if params.n_fft < 2 or params.n_fft % 2 or params.n_pictures < 1:
        raise ParamsError(
            f"train.baselines: n_fft {params.n_fft} and n_pictures {params.n_pictures}, expected an even number "
            "of at least 2, and at least 1"
        )
    if not 0 < params.grain_s <= params.kept_s:
        raise ParamsError(
            f"train.baselines.grain_s is {params.grain_s}, expected above 0 and at most kept_s, {params.kept_s}"
        )


def _generator(seed: int, system: str, take: str) -> np.random.Generator:
    """Return random numbers of their own for each performance, whatever else is performed beside it."""
    digest = hashlib.sha256(f"{system}/{take}".encode()).digest()
    return np.random.default_rng((seed, int.from_bytes(digest[:8])))


def _windows(audio: NDArray[np.float32], n_fft: int) -> NDArray[np.float32]:
    """Cut sound into half overlapping windows, (n, n_fft); sound shorter than one window is padded."""
    padded = np.pad(audio, (0, max(0, n_fft - len(audio))))
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 2]


def _power(audio: NDArray[np.float32], n_fft: int) -> tuple[NDArray[np.float64], int]:
    """Return the summed power spectrum of the windows of a sound, per unit of the window's own power, and how many.

    White noise of variance 1 gives 1 in every bin.
    """
    window = np.hanning(n_fft)
    cut = _windows(audio, n_fft)
    total = np.zeros(n_fft // 2 + 1)
    for start in range(0, len(cut), STATES_AT_A_TIME):
        spectra = np.fft.rfft(cut[start : start + STATES_AT_A_TIME] * window)
        total += (spectra.real**2 + spectra.imag**2).sum(axis=0)
    return total / np.square(window).sum(), len(cut)


def _mean_sound(film: Film, state: State, facts: Facts, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise with the mean spectrum of the training sound: white noise through a filter of that amplitude."""
    amplitude = state["amplitude"]
    taps = np.fft.irfft(amplitude)
    taps = np.roll(taps, len(taps) // 2)  # the filter's middle, and so its peak, away from its ends
    n_samples = n_samples_of(film, facts["sample_rate"])
    white = rng.standard_normal(n_samples + len(taps) - 1)
    audio: NDArray[np.float32] = scipy.signal.fftconvolve(white, taps, mode="valid").astype(np.float32)
    return np.clip(audio, -1.0, 1.0)


def _silence(
    film: Film,
    state: State,  # noqa: ARG001
    facts: Facts,
    rng: np.random.Generator,  # noqa: ARG001
) -> NDArray[np.float32]:
    return np.zeros(n_samples_of(film, facts["sample_rate"]), np.float32)


def _unigram_sound(film: Film, state: State, facts: Facts, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return sound whose codes are drawn one by one, each by its share of the training codes."""
    edges = np.cumsum(state["chance"])
    drawn = np.searchsorted(edges, rng.random(n_samples_of(film, facts["sample_rate"])) * edges[-1], side="right")
    return mu_law_decode(drawn.astype(np.uint8), facts["n_classes"])


def _nearest_sound(
    film: Film,
    state: State,
    facts: Facts,
    rng: np.random.Generator,  # noqa: ARG001
) -> NDArray[np.float32]:
    """Return windows of training sound, each from the picture whose keys are most alike, and as long after it."""
    sample_rate, sounds = facts["sample_rate"], state["codes"]
    keys, known = _key_vectors(_read_keys(film.pictures)), _key_vectors(state["keys"])
    nearest = np.concatenate(
        [_nearest(keys[start : start + STATES_AT_A_TIME], known) for start in range(0, len(keys), STATES_AT_A_TIME)]
    )
    hop = max(1, round(facts["grain_s"] * sample_rate / 2))
    # Two of these, half a length apart, add up to 1 everywhere.
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) ** 2
    n_samples = n_samples_of(film, sample_rate)
    n_ticks = -(-n_samples // hop)
    shown = np.searchsorted(film.time_s, np.arange(n_ticks) * hop / sample_rate, side="right") - 1
    first = np.rint(film.time_s * sample_rate).astype(np.int64)
    audio = np.zeros((n_ticks + 1) * hop)
    for tick, picture in enumerate(shown):
        age = min(max(0, tick * hop - int(first[picture])), max(0, sounds.shape[1] - 2 * hop))
        grain = mu_law_decode(sounds[nearest[picture], age : age + 2 * hop], facts["n_classes"])
        audio[tick * hop : tick * hop + len(grain)] += window[: len(grain)] * grain
    return np.clip(audio[:n_samples], -1.0, 1.0).astype(np.float32)


def _nearest(keys: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the row of ``known`` with the least squared distance to each of ``keys``; of equals the first."""
    distance = np.square(known).sum(axis=1) - 2 * keys @ known.T
    nearest: NDArray[np.intp] = np.argmin(distance, axis=1)
    return nearest


def _key_vectors(velocity: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return key states (P, 88) as vectors in which another key weighs more than another velocity."""
    pressed = velocity > 0
    return np.where(pressed, np.float32(0.5) + velocity / np.float32(254), np.float32(0))


def _read_keys(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate(
        [
            read_keyboard(pictures[start : start + STATES_AT_A_TIME])
            for start in range(0, len(pictures), STATES_AT_A_TIME)
        ]
    )


def _bank(
    data: ScoreSet, takes: Sequence[str], params: BaselinesParams, *, rate: int, silence: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return key states (N, 88) as the pictures show them, and the codes (N, L) that follow each picture."""
    n_of_take = {take: len(data.open(take)["picture_time_s"]) for take in takes}
    n_all = sum(n_of_take.values())
    rng = np.random.default_rng((params.seed, n_all))
    drawn = np.sort(rng.permutation(n_all)[: params.n_pictures])
    length = round(params.kept_s * rate)
    keys, sounds, before = [], [], 0
    for take, n_pictures in n_of_take.items():
        rows = drawn[(drawn >= before) & (drawn < before + n_pictures)] - before
        before += n_pictures
        if not len(rows):
            continue
        arrays = data.open(take)
        codes = np.append(arrays["codes"][:], np.full(length, silence, np.uint8))
        starts = np.rint(arrays["picture_time_s"][:][rows] * rate).astype(np.int64)
        starts = np.minimum(starts, len(codes) - length)
        sounds.append(codes[starts[:, None] + np.arange(length)])
        chunk_length = arrays["pictures"].chunk_length
        step = chunk_length * max(1, STATES_AT_A_TIME // chunk_length)  # whole chunks, so that each is read once
        for start in range(0, n_pictures, step):
            inside = rows[(rows >= start) & (rows < start + step)] - start
            if len(inside):
                keys.append(read_keyboard(arrays["pictures"][start : start + step][inside]))
    return np.concatenate(keys), np.concatenate(sounds)


def _mean_nats(data: ScoreSet, takes: Sequence[str], chance: NDArray[np.float64]) -> float:
    """Return the mean nats per sample over whole takes."""
    counts = sum(np.bincount(data.open(take)["codes"][:], minlength=len(chance)) for take in takes)
    return float(-(counts * np.log(chance)).sum() / np.sum(counts))


def _play_truth(trained: Path, films: Mapping[str, Film], truth: Mapping[str, Notes]) -> Iterator[Performance]:
    """Play the notes that were really played, each for as long as it sounded."""
    facts = load_facts(trained / UPPER_BOUND, {"gain": float, "program": int})
    synthesizer = Synthesizer(
        find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SYNTHESIZER_RATE, gain=facts["gain"]
    )
    with synthesizer:
        for take, film in films.items():
            notes = truth[take]
            # The pedal is in the sounding offsets; as key releases they need no pedal.
            sounding = replace(notes, offset_s=notes.sounding_offset_s)
            audio = synthesizer.render(sounding, None, program=facts["program"], duration_s=film.duration_s)
            yield Performance(system=UPPER_BOUND, take=take, audio=audio, sample_rate=SYNTHESIZER_RATE, notes=notes)
