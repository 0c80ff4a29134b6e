"""Ablation of DeepSynth: each of its choices undone or replaced, one row a choice, medians over seeds.

Each row trains the network of ``params.yaml`` (section ``train.deepsynth``) with some values changed, and measures it
on the test takes: nats per sample with their own pictures and with those of another take; and of the sound that it
makes of the begin of each film, onset F1 against its notes and against another take's, the correlation of note
amplitudes, distance and level. The last rows are what it must beat. *Above the first*: nats over those of the first
row that was asked for, with the 95 % interval over pieces (means over seeds). Run it after the stage ``chunk``:
``python -m benchmarks.deepsynth [ROW ...] [--seeds 3] [--data DIR] [--excerpt-s 10] [--set n_steps=100 ...]``
With ``--data`` of a run with ``render.pedal: unseen`` the rows are those of a pedal that no picture shows.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tasks.evaluate import means
from tasks.families.base import Film, n_samples_of
from tasks.families.deepsynth.crops import ScoreFilms
from tasks.families.deepsynth.keys import LearnedKeys, learn_keys
from tasks.families.deepsynth.params import BLIND, LINEAR, PREDICTION, RESPONSE, SYSTEM, DeepSynthParams, check
from tasks.families.deepsynth.sampling import load, response_sounds, sample_films
from tasks.families.deepsynth.training import fit_system, measure_nats
from tasks.families.networks import deterministic_torch
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.mu_law import mu_law_decode
from tasks.features.polyphony import TranscribeParams
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.intake.notes import read_notes
from tasks.metrics.amplitudes import correlation_scores
from tasks.metrics.controls import takes_of_other_pieces
from tasks.metrics.intervals import paired_test
from tasks.metrics.notes import fundamental_hz, note_scores
from tasks.metrics.performances import transcribed_notes
from tasks.metrics.sound import scores_of_sounds
from tasks.params import read_params, section_values
from tasks.store.segments import ScoreSet

SECTION = "train.deepsynth"
KEYBOARD = np.arange(LOWEST_PITCH, LOWEST_PITCH + N_KEYS)
FRAME_RATE = Fraction(25)
NO_DRIVE = {"drive": "none", "drive_as": "code"}
SOFTMAX = {"output": "softmax", "n_taps": 0, "running_scale": False, "n_past": 1}

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "as shipped: response as mean, picture in gates": (SYSTEM, {}),
    "its twin without pictures": (BLIND, {}),
    "without the gates": (SYSTEM, {"gates": False}),
    "responses learned from all training takes": (SYSTEM, {"n_folds": 1}),
    "no window of the past, the last sample alone": (SYSTEM, {"n_past": 1}),
    "no running scale": (SYSTEM, {"running_scale": False}),
    "no linear prediction": (SYSTEM, {"n_taps": 0}),
    "oscillators as mean": (SYSTEM, {"drive": "oscillators"}),
    "oscillators at input and skips": (SYSTEM, {"drive": "oscillators", "drive_as": "code"}),
    "response as code at input and skips, softmax": (SYSTEM, {"drive_as": "code", **SOFTMAX}),
    "oscillators at input and skips, softmax": (SYSTEM, {"drive": "oscillators", "drive_as": "code", **SOFTMAX}),
    "picture in the gates alone": (SYSTEM, NO_DRIVE),
    "picture in the gates alone, softmax": (SYSTEM, {**NO_DRIVE, **SOFTMAX, "learning_rate": 8e-3}),
    "response alone": (RESPONSE, {}),
    "response and linear prediction": (LINEAR, {}),
    "linear prediction alone": (PREDICTION, {}),
}
FIGURES = (
    "nats",
    "other",
    "onset_f1",
    "other_onset_f1",
    "note_correlation",
    "amplitude_correlation",
    "mr_stft",
    "level",
    "cpu_s",
)
N_RESAMPLES = 2000


class Study:
    """Trains and measures rows over one data set."""

    def __init__(self, data: Path, transcribe: TranscribeParams, folder: Path, excerpt_s: float) -> None:
        self.scores, self.films = ScoreSet(data / "chunked/scores"), ScoreFilms(ScoreSet(data / "chunked/scores"))
        self.folder, self.transcribe = folder, transcribe
        self.rate = self.scores.code_rate
        takes = self.scores.takes("test")
        self.others = takes_of_other_pieces({take: self.scores.piece(take) for take in takes})
        self.excerpts = {take: self._excerpt(take, excerpt_s) for take in takes}
        self.truth = {
            take: mu_law_decode(self.films[take].codes[: n_samples_of(film, self.rate)])
            for take, film in self.excerpts.items()
        }
        self.nats: dict[str, NDArray[np.float64]] = {}  # of each row, by test take: means over seeds
        self.notes = {
            take: _until(read_notes(take, data / "rendered"), film.duration_s) for take, film in self.excerpts.items()
        }

    def row(self, system: str, params: DeepSynthParams) -> tuple[dict[str, float], NDArray[np.float64] | None]:
        """Train one system and return its figures, means over the test takes, and its nats by take if it has any."""
        check(params)
        out = Path(tempfile.mkdtemp(dir=self.folder))
        start = process_time()
        learned = self._learned(params)
        trained = LINEAR if system == RESPONSE else system
        fit_system(trained, self.scores, learned, out, params=params, resume=out / "resume", accelerator="cpu")
        found = {"cpu_s": process_time() - start}
        network, facts = load(out / trained)
        make = response_sounds if system == RESPONSE else sample_films
        sounds = make(network, facts, self.excerpts, accelerator="cpu")
        found |= means(self.scored(take, sound) for take, sound in sounds)
        nats = None
        if system != RESPONSE:
            measured = partial(
                measure_nats, out / trained, self.scores, self.scores.segments("test"), accelerator="cpu"
            )
            nats = self._by_take(measured())
            found["nats"] = float(nats.mean())
            if system in (SYSTEM, LINEAR):
                found["other"] = float(self._by_take(measured(pictures_of=self.others)).mean())
        shutil.rmtree(out)
        return found, nats

    def above_first(self, name: str) -> str:
        """Return a row's nats over those of the first row that has any, with the interval over pieces."""
        first = next(iter(self.nats), name)
        if name == first or name not in self.nats:
            return "–"
        pieces = [self.scores.piece(take) for take in self.scores.takes("test")]
        difference = self.nats[name] - self.nats[first]
        test = paired_test(difference, pieces, n_resamples=N_RESAMPLES, rng=np.random.default_rng(0))
        return f"{test.mean[0]:.3f} [{test.low[0]:.3f}, {test.high[0]:.3f}]"

    def scored(self, take: str, sound: NDArray[np.float32]) -> dict[str, float]:
        """Return the figures of one sound."""
        truth = self.truth[take]
        estimate = transcribed_notes(sound, sample_rate=self.rate, pitches=KEYBOARD, params=self.transcribe)
        limits: dict[str, Any] = {"onset_tolerance_s": 0.05, "max_frequency_hz": self.rate / 2}
        distance = scores_of_sounds(truth, [sound], sample_rate=self.rate)[0]
        both = correlation_scores(self._amplitudes(truth), self._amplitudes(sound))
        return {
            "onset_f1": note_scores(self.notes[take], estimate, **limits)["onset_f1"],
            "other_onset_f1": note_scores(self.notes[self.others[take]], estimate, **limits)["onset_f1"],
            "note_correlation": both["note_correlation"],
            "amplitude_correlation": both.get("amplitude_correlation", 0.0),
            "mr_stft": distance["mr_stft"],
            "level": distance["level_difference_db"],
        }

    def _learned(self, params: DeepSynthParams) -> LearnedKeys:
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            cache = self.folder / f"keys-{params.n_folds}-{params.response_s}"
            return learn_keys(self.films, self.scores.takes("train"), params, cache=cache)

    def _excerpt(self, take: str, seconds: float) -> Film:
        film = self.films[take]
        end_s = min(seconds, len(film.codes) / self.rate)
        count = int(np.searchsorted(film.picture_time_s, end_s))
        return Film(pictures=film.pictures[:count], time_s=film.picture_time_s[:count], duration_s=end_s)

    def _amplitudes(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        pitches = KEYBOARD[fundamental_hz(KEYBOARD) < self.rate / 2]
        return note_amplitudes(
            sound,
            sample_rate=self.rate,
            frame_rate=FRAME_RATE,
            frequency_hz=note_frequencies_hz(pitches),
            n_frames=int(len(sound) * FRAME_RATE / self.rate),
        )

    def _by_take(self, nats: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over each test take's segments, in order of `ScoreSet.takes`."""
        of_take = np.array([row.take for row in self.scores.segments("test")])
        return np.array([nats[of_take == take].mean() for take in self.scores.takes("test")])


def _until(notes: Notes, end_s: float) -> Notes:
    return notes.take(notes.onset_s < end_s)


def lines(study: Study, names: Sequence[str], shipped: Mapping[str, Any], n_seeds: int) -> Iterator[str]:
    """Yield the table, a line as soon as its row is measured."""
    ceiling = means(study.scored(take, sound) for take, sound in study.truth.items())
    heads = ("NLL", "other pictures", "onset F1", "of another take", "note corr.", "amplitude corr.", "MR-STFT")
    yield f"| row | {' | '.join(heads)} | level, dB | training, CPU-s | NLL above the first |"
    yield f"|---|{(len(heads) + 3) * '---|'}"
    true = f"{ceiling['onset_f1']:.3f} | {ceiling['other_onset_f1']:.3f}"
    yield f"| the true sound, as codes | – | – | {true} | 1 | 1 | 0 | 0 | – | – |"
    for name in names:
        system, changes = ROWS[name]
        seeds = [
            study.row(system, DeepSynthParams.parse({**shipped, **changes, "seed": seed}, SECTION))
            for seed in range(n_seeds)
        ]
        if nats := [by_take for _, by_take in seeds if by_take is not None]:
            study.nats[name] = np.mean(nats, axis=0)
        cells = []
        for key in FIGURES:
            values = [one[key] for one, _ in seeds if key in one]
            digits = 0 if key == "cpu_s" else 3
            cells.append(_cell(values, digits))
        yield f"| {name} | {' | '.join(cells)} | {study.above_first(name)} |"


def _cell(values: Sequence[float], digits: int) -> str:
    """Return a median, and the least and the greatest value where seeds differ."""
    if not values:
        return "–"
    middle = f"{np.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="*", default=list(ROWS), help=f"of {'; '.join(ROWS)}")
    parser.add_argument("--data", type=Path, default=Path("data"), help="with chunked/scores and rendered")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--excerpt-s", type=float, default=10.0, help="of each test film that is given sound")
    parser.add_argument("--set", nargs="*", default=[], help="NAME=VALUE, for all rows")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.row) - set(ROWS)):
        parser.error(f"no row {unknown[0]!r}, there are {'; '.join(ROWS)}")
    params = read_params(arguments.params)
    changed = {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in arguments.set)}
    shipped = {**section_values(params, SECTION), **changed}
    transcribe = TranscribeParams.parse(section_values(params, "notes"), "notes")
    with tempfile.TemporaryDirectory() as scratch:
        study = Study(arguments.data, transcribe, Path(scratch), arguments.excerpt_s)
        print(f"{len(study.excerpts)} test takes, {arguments.excerpt_s:g} s of each sampled, {arguments.seeds} seeds\n")
        for line in lines(study, arguments.row, shipped, arguments.seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
