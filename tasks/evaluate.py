"""Verb ``evaluate``: how near each system's performances of the test takes are to the truth.

Every system is compared at the codes' rate, so that a figure means the same in every row; on captures at the rate of
the master's sound. Notes are those that a system says it played, or else those that ``tasks.features.polyphony`` hears
in its sound.

What was really played in a capture is known from the film that it is, or from the MIDI that was recorded with it; of
any other take it is what the true amplitudes' rises say. Each camera is a row of its own, ``TAKE/CAMERA``, and notes
and amplitudes count while it films.

Separated mixes are held against their true stems at the mix's rate: `tasks.metrics.separation` says how.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasks.errors import DamagedData
from tasks.families import load_family
from tasks.families.base import LEVELS, CodeFamily, VideoFamily
from tasks.families.probes import read_causality
from tasks.families.separated import Evaluation as SeparationEvaluation
from tasks.families.separated import score_separation, summed_up, write_evaluations
from tasks.families.separation import SeparationFamily
from tasks.features.note_picking import CAREFUL, pick_notes
from tasks.features.polyphony import TranscribeParams, transcribe
from tasks.features.resample import resample
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes, sorted_notes
from tasks.intake.notes import read_notes
from tasks.metrics.amplitudes import amplitude_scores, onset_sweep
from tasks.metrics.frames import WINDOW_FRAMES, frame_rate_comb_db
from tasks.metrics.intervals import paired_interval
from tasks.metrics.notes import fundamental_hz, note_scores, pitch_counts
from tasks.metrics.sound import scores_of_sounds
from tasks.params import Section
from tasks.rig.truth import read_truth
from tasks.step import whole_folder, write_whole
from tasks.store.audio import read_audio
from tasks.store.ensembles import EnsembleSet
from tasks.store.rendered import read_rendered_sound
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table, write_table
from tasks.store.views import View, ViewSet

KEYBOARD = np.arange(LOWEST_PITCH, LOWEST_PITCH + N_KEYS)
FILMED = Path("data/filmed")
SOUNDING = 0.05  # of a take's loudest amplitude: above it a note counts as on

E = TypeVar("E")
J = TypeVar("J")


class EvaluateParams(Section):
    """How performances are scored."""

    onset_tolerance_s: float
    n_resamples: int  # draws behind an interval
    seed: int  # of those draws
    museval_players: int  # in a mix at most, for museval's ISR, SIR and SAR: their cost grows with the cube


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One system's performance of one take, scored."""

    system: str
    take: str
    piece: str
    notes_from: str  # "model", or "sound" where they were heard in it
    scores: Mapping[str, float]  # a figure that has no value is left out
    pitches: Mapping[int, tuple[int, int, int]]  # hits, false alarms, misses of each pitch
    segment_ids: Sequence[str]
    camera: str = ""  # of a capture


def evaluate_family(
    name: str,
    *,
    data: Path,
    trained: Path,
    synthesized: Path,
    out: Path,
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
    workers: int,
    accelerator: str,
) -> dict[str, dict[str, float]]:
    """Write ``takes.parquet`` and ``pitches.parquet``, and return each system's means over the test takes.

    Of a family that separates ``players.parquet`` stands in the place of ``pitches.parquet``.

    Raises:
        DamagedData: the data set, the weights or a performance are not whole.
        ToolError: the disk is full.
    """
    family = load_family(name)
    if isinstance(family, SeparationFamily):
        return _evaluate_ensembles(family, data, synthesized, out, params=params, workers=workers)
    if family.data == "captures" and isinstance(family, VideoFamily):
        found = _evaluate_captures(
            family, data, trained, synthesized, params=params, transcribe_params=transcribe_params, workers=workers
        )
        with whole_folder(out) as half:
            _write(half, found)
        by_system = {system: [one for one in found if one.system == system] for system in family.systems}
        return {system: _means(own, _first(found, family.systems), params) for system, own in by_system.items() if own}
    scores = ScoreSet(data)
    rows = scores.segments("test")
    nats = family.nats(trained, scores, rows, accelerator=accelerator) if isinstance(family, CodeFamily) else {}

    def nats_of(system: str, take: str) -> dict[str, float]:
        chosen = np.array([row.take == take for row in rows], bool)
        return {"nats_per_sample": float(nats[system][chosen].mean())} if system in nats and chosen.any() else {}

    def score(take: str, systems: Sequence[str]) -> list[Evaluation]:
        true_audio = _at(scores.code_rate, *read_rendered_sound(take))
        sounds = [_at(scores.code_rate, *read_audio(synthesized / name / take / "audio.flac")) for name in systems]
        distances = _distances(true_audio, sounds, sample_rate=scores.code_rate)
        return [
            _score(
                synthesized / system / take,
                system,
                take,
                sound,
                piece=scores.piece(take),
                code_rate=scores.code_rate,
                known=distance | nats_of(system, take),
                segment_ids=[row.segment_id for row in rows if row.take == take],
                params=params,
                transcribe_params=transcribe_params,
            )
            for system, sound, distance in zip(systems, sounds, distances, strict=True)
        ]

    found = _by_take(score, [(take, system) for system in family.systems for take in scores.takes("test")], workers)
    with whole_folder(out) as half:
        _write(half, found)
    return {
        system: _means([one for one in found if one.system == system], _first(found, family.systems), params)
        for system in family.systems
    }


def _evaluate_captures(
    family: VideoFamily[Any, Any],
    data: Path,
    trained: Path,
    synthesized: Path,
    *,
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
    workers: int,
) -> list[Evaluation]:
    """Score every system on every view that it performed: a family need not play every instrument.

    Raises:
        DamagedData: a system has performed no test view, or not those that the family's first one has.
    """
    views, systems = ViewSet(data), family.systems
    performed = {
        system: [view for view in views.views("test") if (synthesized / system / view.name / "audio.flac").exists()]
        for system in systems
    }
    for system, own in performed.items():
        if not own or own != performed[systems[0]]:
            raise DamagedData(
                f"{synthesized / system} has {len(own)} views of test takes, expected {len(performed[systems[0]]) or 1}"
            )
    frame_rates = {system: family.frame_rate(trained, system) for system in systems}
    levels: dict[str, dict[str, float]] = {}
    if (synthesized / LEVELS).exists():
        levels = json.loads((synthesized / LEVELS).read_text(encoding="utf-8"))
    ids: dict[str, list[str]] = {}
    for row in ScoreSet(data).segments("test"):
        ids.setdefault(row.take, []).append(row.segment_id)

    def score(take: str, performances: Sequence[tuple[str, View]]) -> list[Evaluation]:
        true_audio, rate = views.sound(take)
        folders = [synthesized / system / view.name for system, view in performances]
        sounds = [_at(rate, *read_audio(folder / "audio.flac")) for folder in folders]
        distances = _distances(true_audio, sounds, sample_rate=rate)
        return [
            _score_view(
                folder,
                system,
                view,
                views,
                sound,
                known=distance | levels.get(system, {}) | _combs(true_audio, sound, rate, frame_rates[system]),
                segment_ids=ids.get(take, []),
                params=params,
                transcribe_params=transcribe_params,
            )
            for folder, (system, view), sound, distance in zip(folders, performances, sounds, distances, strict=True)
        ]

    jobs = [(view.take, (system, view)) for system in systems for view in performed[system]]
    return _by_take(score, jobs, workers)


def _evaluate_ensembles(
    family: SeparationFamily[Any], data: Path, synthesized: Path, out: Path, *, params: EvaluateParams, workers: int
) -> dict[str, dict[str, float]]:
    ensembles = EnsembleSet(data)
    probed = read_causality(synthesized)
    ids: dict[str, list[str]] = {}
    for row in ensembles.segments("test"):
        ids.setdefault(row.take, []).append(row.segment_id)

    def score(take: str, systems: Sequence[str]) -> list[SeparationEvaluation]:
        return [
            score_separation(
                ensembles,
                take,
                synthesized / system / take,
                system=system,
                ordered_by="truth" if system in family.unordered else "system",
                known=probed.get(system, {}).get(take, {}),
                museval_players=params.museval_players,
                segment_ids=ids.get(take, []),
            )
            for system in systems
        ]

    found = _by_take(score, [(take, system) for system in family.systems for take in ensembles.takes("test")], workers)
    with whole_folder(out) as half:
        write_evaluations(half, found)
    by_system = {system: [one for one in found if one.system == system] for system in family.systems}
    first = by_system[family.systems[0]]
    return {
        system: summed_up(own, first, n_resamples=params.n_resamples, seed=params.seed)
        for system, own in by_system.items()
        if own
    }


def _by_take(score: Callable[[str, Sequence[J]], list[E]], jobs: Sequence[tuple[str, J]], workers: int) -> list[E]:
    """Score performances, those of one take together, and return them in the order of ``jobs``.

    A take is shared by as many workers as there are: what is true of it is read and measured once by each.
    """
    rows: dict[str, list[int]] = {}
    for row, (take, _) in enumerate(jobs):
        rows.setdefault(take, []).append(row)
    shares = []
    for take, own in rows.items():
        size = ceil(len(own) / workers)
        shares += [(take, own[start : start + size]) for start in range(0, len(own), size)]
    # One share a worker fills the cores, and a product summed by two threads has other last bits than by one.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(lambda share: score(share[0], [jobs[row][1] for row in share[1]]), shares))
    found = dict(zip([row for _, own in shares for row in own], [one for ones in done for one in ones], strict=True))
    return [found[row] for row in range(len(jobs))]


def _distances(
    truth: NDArray[np.float32], sounds: Sequence[NDArray[np.float32]], *, sample_rate: int
) -> list[dict[str, float]]:
    """Measure how far sounds are from the true one; a rate that does not divide the duration leaves a sample more."""
    lengths = [min(len(truth), len(sound)) for sound in sounds]
    # Systems that do not look at the film sound alike for every camera.
    contents = [hashlib.sha256(sound[:n].tobytes()).digest() for sound, n in zip(sounds, lengths, strict=True)]
    first = {content: row for row, content in reversed(list(enumerate(contents)))}
    found: dict[bytes, dict[str, float]] = {}
    for length in sorted(set(lengths)):
        some = [row for row in first.values() if lengths[row] == length]
        scored = scores_of_sounds(truth[:length], [sounds[row][:length] for row in some], sample_rate=sample_rate)
        found |= {contents[row]: scores for row, scores in zip(some, scored, strict=True)}
    return [found[content] for content in contents]


def _combs(
    truth: NDArray[np.float32], sound: NDArray[np.float32], sample_rate: int, frame_rate: Fraction | None
) -> dict[str, float]:
    """Measure how much of a buzz at the frame rate there is; nothing for a system without one, or short of a second."""
    if frame_rate is None or min(len(truth), len(sound)) < WINDOW_FRAMES * sample_rate / frame_rate + 1:
        return {}
    return {
        "comb_db": frame_rate_comb_db(sound, sample_rate, frame_rate),
        "true_comb_db": frame_rate_comb_db(truth, sample_rate, frame_rate),
    }


def _score_view(
    folder: Path,
    system: str,
    view: View,
    views: ViewSet,
    audio: NDArray[np.float32],
    *,
    known: Mapping[str, float],
    segment_ids: Sequence[str],
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
) -> Evaluation:
    scores = dict(known)
    arrays = views.open(view.take)
    said = folder / "notes.parquet"
    pitches: dict[int, tuple[int, int, int]] = {}
    if "amplitudes" in arrays:
        instrument = tuple(int(pitch) for pitch in arrays.attributes["pitches"])
        if said.exists():
            notes = Notes(**read_table(said))
        else:
            notes = _hear(audio, int(arrays.attributes["sound_rate"]), transcribe_params, keys=np.array(instrument))
        seen = folder / "amplitudes.parquet"
        values = None
        if seen.exists():
            table = read_table(seen, [str(pitch) for pitch in instrument])
            values = np.stack([table[str(pitch)] for pitch in instrument], axis=1)
        found, pitches = played_scores(view, views, notes, values, params=params)
        scores |= found
    return Evaluation(
        system=system,
        take=view.name,
        piece=view.piece,
        notes_from="model" if said.exists() else "sound",
        scores=scores,
        pitches=pitches,
        segment_ids=segment_ids,
        camera=view.camera,
    )


def played_scores(
    view: View,
    views: ViewSet,
    notes: Notes,
    amplitudes: NDArray[np.floating] | None,
    *,
    params: EvaluateParams,
) -> tuple[dict[str, float], dict[int, tuple[int, int, int]]]:
    """Score notes, and note amplitudes if there are, that were found in a view, while its camera films.

    Args:
        view: whose instrument has notes.
        views: the data set.
        notes: on the master's clock.
        amplitudes: (F, n) on the scale of the true ones, a column for each note of the instrument; or None.
        params: how they are scored.

    Returns:
        The figures by name, and hits, false alarms and misses of each pitch.
    """
    arrays = views.open(view.take)
    time_s = views.time_s(view)
    span_s = max(0.0, float(time_s[0])), min(views.duration_s(view.take), float(time_s[-1]))
    truth, notes = _between(played_notes(view, views), *span_s), _between(notes, *span_s)
    limits: dict[str, Any] = {
        "onset_tolerance_s": params.onset_tolerance_s,
        "max_frequency_hz": int(arrays.attributes["sound_rate"]) / 2,
    }
    scores = note_scores(truth, notes, **limits)
    scores |= {f"onset_f1_{round(1000 * tolerance_s)}_ms": f1 for tolerance_s, f1 in onset_sweep(truth, notes).items()}
    pitches = {pitch: (c.tp, c.fp, c.fn) for pitch, c in pitch_counts(truth, notes, **limits).items()}
    if amplitudes is not None:
        true_values = views.amplitudes(view.take)
        frame_rate = Fraction(arrays.attributes["frame_rate"])
        first, last = (int(moment * frame_rate) for moment in span_s)
        n_windows = min(len(true_values), len(amplitudes))  # a duration's rounding may leave one more or less
        rows = slice(first + 1, min(max(last - 2, first + 2), n_windows))
        threshold = SOUNDING * float(true_values.max())
        scores |= amplitude_scores(true_values[rows], amplitudes[rows], frame_rate=frame_rate, threshold=threshold)
    return scores, pitches


def _between(notes: Notes, start_s: float, end_s: float) -> Notes:
    return notes.take((notes.onset_s >= start_s) & (notes.onset_s < end_s))


def played_notes(view: View, views: ViewSet) -> Notes:
    """Return what was played in a take whose instrument has notes, on its master's clock.

    Of a filmed take that is its truth; else the MIDI that was recorded along; else what the true amplitudes' rises say.
    """
    facts = views.open(view.take).attributes
    master = str(facts["master"])
    if (FILMED / view.take / "truth.json").exists():
        truth = read_truth(FILMED / view.take)
        onset_s, offset_s = (
            truth.clocks[master].to_device(truth.notes[:, column] + truth.flight_s[master]) for column in (0, 1)
        )
        return sorted_notes(onset_s, offset_s, *truth.notes[:, 2:].astype(np.uint8).T)
    recorded = views.notes(view.take)
    if recorded is not None:
        return sorted_notes(
            recorded["onset_s"],
            recorded["offset_s"],
            recorded["pitch"].astype(np.uint8),
            recorded["velocity"].astype(np.uint8),
        )
    values = views.amplitudes(view.take)
    relative = values / max(float(values.max()), 1e-12)
    picked = pick_notes(relative, frame_rate=Fraction(facts["frame_rate"]), picker=CAREFUL)
    velocity = np.clip(np.rint(127 * np.sqrt(picked.amplitude)), 1, 127).astype(np.uint8)
    return sorted_notes(picked.onset_s, picked.offset_s, np.asarray(facts["pitches"], np.uint8)[picked.note], velocity)


def write_metrics(path: Path, means: Mapping[str, Mapping[str, float]]) -> None:
    """Write the figures that ``dvc metrics`` compares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(means, indent=1) + "\n")


def _score(
    folder: Path,
    system: str,
    take: str,
    audio: NDArray[np.float32],
    *,
    piece: str,
    code_rate: int,
    known: Mapping[str, float],
    segment_ids: Sequence[str],
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
) -> Evaluation:
    truth = read_notes(take)
    said = folder / "notes.parquet"
    notes = Notes(**read_table(said)) if said.exists() else _hear(audio, code_rate, transcribe_params)
    limits: dict[str, Any] = {"onset_tolerance_s": params.onset_tolerance_s, "max_frequency_hz": code_rate / 2}
    return Evaluation(
        system=system,
        take=take,
        piece=piece,
        notes_from="model" if said.exists() else "sound",
        scores={**known, **note_scores(truth, notes, **limits)},
        pitches={pitch: (c.tp, c.fp, c.fn) for pitch, c in pitch_counts(truth, notes, **limits).items()},
        segment_ids=segment_ids,
    )


def _at(rate: int, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    return audio if sample_rate == rate else resample(audio, sample_rate, rate)


def _hear(
    audio: NDArray[np.float32],
    sample_rate: int,
    params: TranscribeParams,
    *,
    keys: NDArray[np.integer] = KEYBOARD,
) -> Notes:
    heard = transcribe(
        audio, sample_rate=sample_rate, pitches=keys[fundamental_hz(keys) < sample_rate / 2], params=params
    )
    return sorted_notes(
        np.asarray(heard["onset_s"], np.float64),
        np.asarray(heard["offset_s"], np.float64),
        np.asarray(heard["pitch"], np.uint8),
        np.asarray(heard["velocity"], np.uint8),
    )


def _write(out: Path, found: Sequence[Evaluation]) -> None:
    figures = sorted({name for one in found for name in one.scores})
    write_table(
        out / "takes.parquet",
        {
            "system": [one.system for one in found],
            "take": [one.take for one in found],
            "piece": [one.piece for one in found],
            **({"camera": [one.camera for one in found]} if any(one.camera for one in found) else {}),
            "notes_from": [one.notes_from for one in found],
            **{name: np.array([one.scores.get(name, np.nan) for one in found]) for name in figures},
            "segment_ids": [list(one.segment_ids) for one in found],
        },
    )
    pitches = [(one.system, one.take, pitch, *counts) for one in found for pitch, counts in one.pitches.items()]
    names = ("system", "take", "pitch", "tp", "fp", "fn")
    columns: list[list[Any]] = [list(column) for column in zip(*pitches, strict=True)] or [[] for _ in names]
    write_table(
        out / "pitches.parquet",
        {
            name: column if name in ("system", "take") else np.array(column, np.int64)
            for name, column in zip(names, columns, strict=True)
        },
    )


def _first(found: Sequence[Evaluation], systems: Sequence[str]) -> list[Evaluation]:
    return [one for one in found if one.system == systems[0]]


def _means(own: Sequence[Evaluation], first: Sequence[Evaluation], params: EvaluateParams) -> dict[str, float]:
    names = sorted({name for one in own for name in one.scores})
    means = {name: float(np.mean([one.scores[name] for one in own if name in one.scores])) for name in names}
    pairs = [
        (a, b)
        for a, b in zip(own, first, strict=True)
        if "nats_per_sample" in a.scores and "nats_per_sample" in b.scores
    ]
    groups = [a.piece for a, _ in pairs]
    if own[0].system != first[0].system and len(set(groups)) > 1:
        # A variant beside the family's own system: the difference that only the same takes can show.
        difference, low, high = paired_interval(
            [a.scores["nats_per_sample"] for a, _ in pairs],
            [b.scores["nats_per_sample"] for _, b in pairs],
            groups,
            n_resamples=params.n_resamples,
            rng=np.random.default_rng(params.seed),
        )
        means |= {"nats_above_first": difference, "nats_above_first_low": low, "nats_above_first_high": high}
    return {name: round(value, 6) for name, value in means.items()}
