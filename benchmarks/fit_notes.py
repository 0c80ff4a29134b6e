"""Fit the decision trees of ``tasks/features/polyphony.py`` to music that this program makes up.

    python -m benchmarks.fit_notes --salamander FOLDER --write

No recording of music and no score of anybody goes in: a seeded process (`_made_up_music`) writes two hands, chords,
arpeggios, scales, tunes, repeated notes and single keys, with pedal. Salamander's recorded keys (`_sampled_piano`, a
real piano, CC BY 3.0), General MIDI instruments of TimGM6mb and made-up instruments play it; made-up rooms,
microphones, gain, noise, codecs and tunings (`_recorded`) change the sound, and some pieces are hiss alone. A note
begins when its own sound does, which is measured of each source, so that what is fitted is how late a rise is seen.
Without ``--write`` the trees are fitted to three quarters of it and their score on the rest is printed. Set
OMP_NUM_THREADS=1 where the processor is shared: the library's threads wait for each other.
"""

import argparse
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from benchmarks._made_up_music import made_up_piece
from benchmarks._recorded import in_a_room, through_a_microphone
from benchmarks._sampled_piano import SampledPiano, damped, first_heard
from tasks.features.decision_trees import DecisionTrees
from tasks.features.note_context import CONTEXT_NAMES
from tasks.features.note_ends import ENDS_NAMES, Moments, moments_after
from tasks.features.note_spectrum import BAR_PARTIALS, Resonator, SpectrumGrid, pitch_to_hz
from tasks.features.polyphony import Analysis, Decision, analyses, in_context, trees_path
from tasks.features.resample import resample
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import Synthesizer, find_soundfont

SEED = 20
SAMPLE_RATE = 24_000
PIECE_S = 22.0
TAIL_S = 2.0
N_PIECES = {"string": 160, "bar": 60}
N_ITERATIONS = 40
MATCH_S = 0.07
USUALLY_LATE_S = 0.01
MADE_UP_RATE = 16_000
SALAMANDER_SHARE, MADE_UP_SHARE, NOISE_SHARE = 0.45, 0.25, 0.04
NOTE, NO_NOTE, BESIDE = 1, 0, -1
NO_NOTES_USED = 0.25  # of those seen alone; the rest are much the same
# General MIDI programs (counted from 0) with how often each plays.
PROGRAMS: dict[Resonator, dict[int, float]] = {
    "string": {0: 0.5, 1: 0.12, 2: 0.1, 3: 0.06, 4: 0.06, 5: 0.05, 6: 0.06, 7: 0.05},
    "bar": {12: 0.45, 11: 0.25, 13: 0.15, 9: 0.08, 8: 0.07},
}
KEYS: dict[Resonator, tuple[int, int]] = {"string": (21, 108), "bar": (45, 108)}
BOOSTING: dict[str, Any] = {
    "min_samples_leaf": 40,
    "l2_regularization": 2.0,
    "max_features": 0.3,
    "early_stopping": False,
    "random_state": SEED,
}
N_TREES = 220
N_LATENESS_TREES = 100
N_HELD_TREES = 80
NEAR_END_S = 0.4
MOMENTS_USED = 0.3
LONGEST_HELD_S = 15.0
Rng = np.random.Generator


def made_up_instrument(rng: Rng, notes: Notes, controls: Controls, resonator: Resonator) -> NDArray[np.float32]:
    """Play notes as sums of decaying sines with a stroke's noise, another instrument every time."""
    sample_rate = MADE_UP_RATE
    audio = np.zeros(round((PIECE_S + TAIL_S) * sample_rate))
    ratio, strength = np.array(BAR_PARTIALS).T
    stiffness = rng.uniform(0, 2)
    if resonator == "string":
        ratio = np.arange(1, rng.integers(3, 24)) * 1.0
        strength = rng.uniform(0.4, 0.95) ** ratio
    strength = strength * 10 ** (rng.normal(0, 4, len(ratio)) / 20)
    attack_s, release_s, decay_s = rng.uniform(0.001, 0.012), rng.uniform(0.02, 0.2), np.exp(rng.uniform(-1.6, 1.8))
    tilt, second = rng.uniform(0, 1), rng.uniform(0, 0.3)  # of decay over partials; of a second, slower decay
    detune, stroke, bright = rng.uniform(0, 1.5), rng.uniform(0, 0.15) ** 2 * 10, rng.uniform(0, 0.6)
    formant_db = rng.normal(0, 3, 40)  # of the sound board, over the keyboard's frequencies
    stretch = rng.uniform(0, 0.004)  # semitones a key from the middle
    ends_s = damped(notes, controls)
    for onset_s, end_s, pitch, velocity in zip(notes.onset_s, ends_s, notes.pitch, notes.velocity, strict=True):
        length_s = min(float(end_s) - onset_s, 12.0)
        start, stop = round(onset_s * sample_rate), round((onset_s + length_s + 5 * release_s) * sample_rate)
        time_s = np.arange(min(stop, len(audio)) - start) / sample_rate
        hz0 = float(pitch_to_hz(np.array([pitch]))[0]) * 2 ** (stretch * (int(pitch) - 60) / 12)
        inharmonic = np.exp(0.09 * (pitch - 60.0) - 7.9) + np.exp(-0.09 * (pitch - 60.0) - 11.5)
        bend = np.sqrt(1 + stiffness * inharmonic * ratio**2) if resonator == "string" else 1.0
        frequency_hz = hz0 * ratio * bend
        frequency_hz = frequency_hz[frequency_hz < sample_rate / 2.1]
        held = np.minimum(time_s / attack_s, 1) * np.exp(-np.maximum(time_s - length_s, 0) / release_s)
        loudness = (velocity / 127) ** 2
        for n, hz in enumerate(frequency_hz):
            beating = rng.uniform(0, detune)
            wave = np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6.28))
            wave += second * np.sin(2 * np.pi * (hz + beating) * time_s + rng.uniform(0, 6.28))
            rate = (1 + tilt * n) * float(pitch) / 60 / decay_s
            fading = (1 - second) * np.exp(-time_s * rate) + second * np.exp(-time_s * rate / 6)
            gain = loudness * strength[n] * (velocity / 90) ** (bright * n)
            gain *= 10 ** (np.interp(np.log2(hz / 20), np.linspace(0, 9, 40), formant_db) / 20)
            audio[start : start + len(time_s)] += gain * held * fading * wave
        knock = min(round(0.03 * sample_rate), len(time_s))
        noise = rng.normal(size=knock) * np.exp(-time_s[:knock] / 0.006)
        audio[start : start + knock] += loudness * stroke * np.convolve(noise, np.ones(4) / 4, "same")
    return resample((audio / np.abs(audio).max()).astype(np.float32), sample_rate, SAMPLE_RATE)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A recording and what was struck in it.

    Attributes:
        audio: (n,) samples with a peak of about 1.
        sample_rate: of the audio, Hz.
        pitches: that are looked for.
        onset_s: (k,) when each note begins to be heard.
        damped_s: (k,) when its damper falls, or its key is struck again; infinity where there is none.
        pitch: (k,) MIDI numbers.
        source: what played.
    """

    audio: NDArray[np.float32]
    sample_rate: int
    pitches: NDArray[np.uint8]
    onset_s: NDArray[np.float64]
    damped_s: NDArray[np.float64]
    pitch: NDArray[np.uint8]
    source: str


class Sources:
    """What plays: a SoundFont, recorded keys of a piano, made-up instruments."""

    def __init__(self, salamander: Path | None) -> None:
        soundfont = find_soundfont()
        sha256 = hashlib.sha256(soundfont.read_bytes()).hexdigest()
        self.synthesizer = Synthesizer(soundfont, sha256=sha256, sample_rate=SAMPLE_RATE, gain=0.2)
        self.piano = None if salamander is None else SampledPiano(salamander, sample_rate=SAMPLE_RATE)
        self._delays: dict[int, NDArray[np.float64]] = {}

    def delay_s(self, program: int) -> NDArray[np.float64]:
        """Return how long after its note-on each MIDI number of a program begins to be heard, (128,)."""
        if program not in self._delays:
            every_s, lead_s = 1.5, 0.2
            pitch = np.arange(21, 109, dtype=np.uint8)
            onset_s = lead_s + every_s * np.arange(len(pitch), dtype=np.float64)
            notes = sorted_notes(onset_s, onset_s + 0.8, pitch, np.full(len(pitch), 80, np.uint8))
            duration_s = every_s * len(pitch) + lead_s
            audio = self.synthesizer.render(notes, None, program=program, duration_s=duration_s, may_be_loud=True)
            delay_s = np.zeros(128)
            for key, struck_s in zip(pitch, onset_s, strict=True):
                start = round((struck_s - 0.01) * SAMPLE_RATE)
                sound = audio[start : start + round((every_s - 0.1) * SAMPLE_RATE)]
                if np.abs(sound).max() > 0:
                    delay_s[key] = max(first_heard(sound, SAMPLE_RATE) / SAMPLE_RATE - 0.01, 0.0)
            self._delays[program] = delay_s
        return self._delays[program]

    def play(
        self, rng: Rng, notes: Notes, controls: Controls, resonator: Resonator
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], str]:
        """Play notes with one source that is drawn, and say how late each begins to be heard."""
        kind = rng.random()
        duration_s = PIECE_S + TAIL_S
        if self.piano is not None and resonator == "string" and kind < SALAMANDER_SHARE:
            curve = np.exp(rng.uniform(-0.5, 0.4))
            velocity = np.clip(np.rint(127 * (notes.velocity / 127) ** curve), 1, 127).astype(np.uint8)
            touched = replace(notes, velocity=velocity)
            audio = self.piano.render(touched, controls, duration_s=duration_s, release_s=rng.uniform(0.03, 0.15))
            return audio, np.zeros(len(notes)), "salamander"
        if kind > 1 - MADE_UP_SHARE:
            return made_up_instrument(rng, notes, controls, resonator), np.zeros(len(notes)), "made up"
        program = int(rng.choice(list(PROGRAMS[resonator]), p=list(PROGRAMS[resonator].values())))
        audio = self.synthesizer.render(notes, controls, program=program, duration_s=duration_s, may_be_loud=True)
        return audio, self.delay_s(program)[notes.pitch], "timgm6mb"


def make_piece(rng: Rng, resonator: Resonator, sources: Sources) -> Piece:
    """Make up a piece, play it and record it."""
    low, high = KEYS[resonator]
    notes, controls = made_up_piece(rng, low, high, length_s=PIECE_S)
    if rng.random() < NOISE_SHARE:
        notes = notes.take(np.zeros(len(notes), np.bool_))
        audio = rng.normal(size=round((PIECE_S + TAIL_S) * SAMPLE_RATE)).astype(np.float32)
        late_s, source = np.zeros(0), "noise"
    else:
        audio, late_s, source = sources.play(rng, notes, controls, resonator)
    if rng.random() < 0.75:
        audio = in_a_room(rng, audio, SAMPLE_RATE)
    audio = through_a_microphone(rng, audio, SAMPLE_RATE)
    # Read at another rate than it was played at, the instrument is out of tune by up to a fifth of a semitone.
    played_at = round(SAMPLE_RATE * 2 ** (float(np.clip(rng.normal(0, 0.07), -0.2, 0.2)) / 12))
    sample_rate = int(rng.choice([16_000, 8_000, 4_000], p=[0.86, 0.08, 0.06]))
    audio = resample(audio, played_at, sample_rate)
    pitches = np.arange(low, high + 1, dtype=np.uint8)
    pitches = pitches[pitch_to_hz(pitches) < sample_rate / 2]
    slower = SAMPLE_RATE / played_at
    onset_s, damped_s, pitch = (notes.onset_s + late_s) * slower, damped(notes, controls) * slower, notes.pitch
    if rng.random() < 0.3:  # a short recording tells less of its instrument
        length_s = rng.uniform(2, 8)
        start = round(rng.uniform(0, PIECE_S - length_s) * sample_rate)
        audio = audio[start : start + round(length_s * sample_rate)]
        onset_s, damped_s = onset_s - start / sample_rate, damped_s - start / sample_rate
        inside = (onset_s > 0) & (onset_s < length_s - MATCH_S)
        onset_s, damped_s, pitch = onset_s[inside], damped_s[inside], pitch[inside]
    return Piece(
        audio=audio / np.abs(audio).max(),
        sample_rate=sample_rate,
        pitches=pitches,
        onset_s=onset_s,
        damped_s=damped_s,
        pitch=pitch,
        source=source,
    )


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a piece shows, and which of its candidates are notes.

    Attributes:
        analysis: with (C,) candidates.
        label: (C,) ``NOTE``, ``NO_NOTE``, or ``BESIDE`` one: another rise of a note that has one already.
        late_s: (C,) how late a note's rise is seen; 0 for others.
        held_until_s: (C,) when a note's damper falls or its key is struck again; 0 for others.
        n_missed: notes without any candidate.
        pitches: of the analysis.
        hop_s: seconds between its columns.
    """

    analysis: Analysis
    label: NDArray[np.int8]
    late_s: NDArray[np.float64]
    held_until_s: NDArray[np.float64]
    n_missed: int
    pitches: NDArray[np.uint8]
    hop_s: float

    @property
    def evidence(self) -> NDArray[np.float32]:
        """(C, n) of each candidate alone."""
        return self.analysis.candidates.evidence

    def second_look(self, alone: DecisionTrees) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return which candidates are looked at again, and the evidence on them with that of others."""
        return in_context(self.analysis, alone.total(self.evidence))


def labelled(piece: Piece, resonator: Resonator) -> Labelled:
    """Analyse a piece and label its candidates."""
    [(analysis, _, grid)] = analyses(piece.audio, piece.sample_rate, piece.pitches, resonator, N_ITERATIONS)
    return label_candidates(piece, analysis, grid)


def label_candidates(piece: Piece, analysis: Analysis, grid: SpectrumGrid) -> Labelled:
    """Give each note its candidate: the steepest near it, of alike ones the nearest."""
    found, pitches = analysis.candidates, piece.pitches
    time_s = (analysis.start + found.time_column) * grid.hop_s
    label = np.full(len(time_s), NO_NOTE, np.int8)
    late_s, held_until_s = np.zeros(len(time_s)), np.zeros(len(time_s))
    log_rise = found.evidence[:, found.names.index("rise")]
    n_missed = 0
    for onset, key, end_s in zip(piece.onset_s, piece.pitch, piece.damped_s, strict=True):
        near = np.flatnonzero((pitches[found.row] == key) & (np.abs(time_s - onset) <= MATCH_S) & (label != NOTE))
        if len(near) == 0:
            n_missed += int(key in pitches)
            continue
        best = near[np.argmax(log_rise[near] - np.abs(time_s[near] - onset - USUALLY_LATE_S) / MATCH_S)]
        label[near] = BESIDE
        label[best] = NOTE
        late_s[best] = time_s[best] - onset
        held_until_s[best] = end_s
    return Labelled(
        analysis=analysis,
        label=label,
        late_s=late_s,
        held_until_s=held_until_s,
        n_missed=n_missed,
        pitches=pitches,
        hop_s=grid.hop_s,
    )


def fit_alone(pieces: list[Labelled], *, seed: int) -> DecisionTrees:
    """Fit what tells notes from other rises by their own evidence: trees whose sum is log odds."""
    rng = np.random.default_rng(seed)
    evidence, is_note = [], []
    for piece in pieces:
        used = (piece.label == NOTE) | ((piece.label == NO_NOTE) & (rng.random(len(piece.label)) < NO_NOTES_USED))
        evidence.append(piece.evidence[used])
        is_note.append(piece.label[used] == NOTE)
    model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=16, learning_rate=0.15, **BOOSTING)
    model.fit(np.concatenate(evidence), np.concatenate(is_note))
    trees = flat_trees(model, pieces[0].analysis.candidates.names)
    return replace(trees, bias=trees.bias + float(np.log(NO_NOTES_USED)))  # the odds among all of them


def fit_all(pieces: list[Labelled]) -> dict[Decision, DecisionTrees]:
    """Fit all decisions; what the second weighs comes from first trees that were not fitted to the same piece."""
    halves = [fit_alone(pieces[1::2], seed=1), fit_alone(pieces[::2], seed=2)]
    looked_at = [piece.second_look(halves[k % 2]) for k, piece in enumerate(pieces)]
    evidence = np.concatenate([found for _, found in looked_at])
    is_note = np.concatenate([piece.label[rows] == NOTE for piece, (rows, _) in zip(pieces, looked_at, strict=True)])
    late_s = np.concatenate([piece.late_s[rows] for piece, (rows, _) in zip(pieces, looked_at, strict=True)])
    names = pieces[0].analysis.candidates.names + CONTEXT_NAMES
    together = HistGradientBoostingClassifier(max_iter=N_TREES, max_leaf_nodes=24, learning_rate=0.08, **BOOSTING)
    together.fit(evidence, is_note)
    lateness = HistGradientBoostingRegressor(
        max_iter=N_LATENESS_TREES, max_leaf_nodes=12, learning_rate=0.1, loss="absolute_error", **BOOSTING
    )
    lateness.fit(evidence[is_note], late_s[is_note])
    return {
        "alone": fit_alone(pieces, seed=0),
        "together": flat_trees(together, names),
        "lateness": flat_trees(lateness, names),
        "held": fit_held(pieces),
    }


def fit_held(pieces: list[Labelled]) -> DecisionTrees:
    """Fit whether a note is still held, at moments after its onset, most of them around its end."""
    rng = np.random.default_rng(SEED)
    evidence, is_held = [], []
    for piece in pieces:
        moments, held_until_s = held_moments(piece)
        time_s = (piece.analysis.start + moments.column) * piece.hop_s
        share = np.where(np.abs(time_s - held_until_s) < NEAR_END_S, MOMENTS_USED, MOMENTS_USED / 6)
        used = rng.random(len(time_s)) < share
        evidence.append(moments.evidence[used])
        is_held.append((time_s < held_until_s)[used])
    model = HistGradientBoostingClassifier(
        max_iter=N_HELD_TREES, max_leaf_nodes=12, learning_rate=0.12, **(BOOSTING | {"max_features": 0.5})
    )
    model.fit(np.concatenate(evidence), np.concatenate(is_held))
    return flat_trees(model, ENDS_NAMES)


def held_moments(piece: Labelled) -> tuple[Moments, NDArray[np.float64]]:
    """Return the moments of a piece's notes, and for each when its note is damped."""
    found = piece.analysis.candidates
    rows = np.flatnonzero(piece.label == NOTE)
    rows = rows[np.lexsort((found.column[rows], found.row[rows]))]
    row, column = found.row[rows], found.column[rows]
    stop = np.minimum(column + round(LONGEST_HELD_S / piece.hop_s), piece.analysis.core[1])
    again = row[:-1] == row[1:]
    stop[:-1][again] = np.minimum(stop[:-1][again], column[1:][again])
    activity, level = piece.analysis.activity, piece.analysis.level
    moments = moments_after(activity, row, column, stop, piece.pitches[row], level=level)
    return moments, np.repeat(piece.held_until_s[rows], np.diff(moments.first))


def flat_trees(
    model: HistGradientBoostingClassifier | HistGradientBoostingRegressor, names: tuple[str, ...]
) -> DecisionTrees:
    """Lay scikit-learn's trees out as flat arrays."""
    nodes = [iteration[0].nodes for iteration in model._predictors]
    roots = np.cumsum([0] + [len(tree) for tree in nodes[:-1]])
    flat = np.concatenate(nodes)
    start = np.repeat(roots, [len(tree) for tree in nodes])
    leaf, itself = flat["is_leaf"].astype(bool), np.arange(len(flat))
    return DecisionTrees(
        names=names,
        root=roots.astype(np.int32),
        feature=np.where(leaf, 0, flat["feature_idx"]).astype(np.uint8),
        threshold=np.where(leaf, 0, flat["num_threshold"]).astype(np.float32),
        left=np.where(leaf, itself, start + flat["left"]).astype(np.int32),
        right=np.where(leaf, itself, start + flat["right"]).astype(np.int32),
        value=flat["value"].astype(np.float32),
        depth=int(flat["depth"].max()),
        bias=float(np.asarray(model._baseline_prediction).item()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--salamander", type=Path, required=True, help="folder with v1/ to v16/ of recorded keys")
    parser.add_argument("--write", action="store_true", help="fit to all of it and write the files of the package")
    options = parser.parse_args()
    sources = Sources(options.salamander)
    for resonator in ("string", "bar"):
        pieces = []
        for number in range(N_PIECES[resonator]):
            piece = make_piece(np.random.default_rng([SEED, number]), resonator, sources)
            pieces.append(labelled(piece, resonator))
        print_seen(resonator, pieces)
        if options.write:
            write(resonator, fit_all(pieces))
        else:
            print_held_out(pieces)


def print_seen(resonator: Resonator, pieces: list[Labelled]) -> None:
    """Say how many notes and candidates there are, and how late notes are seen."""
    late_s = np.concatenate([piece.late_s[piece.label == NOTE] for piece in pieces])
    print(
        f"{resonator}: {len(late_s)} notes, {sum(piece.n_missed for piece in pieces)} without a candidate,"
        f" {sum(len(piece.label) for piece in pieces)} candidates; late by"
        f" {np.median(late_s) * 1000:.1f} ms, quartiles {np.percentile(late_s, [25, 75]) * 1000}"
    )


def write(resonator: Resonator, fitted: dict[Decision, DecisionTrees]) -> None:
    """Write the files that the package carries."""
    for what, trees in fitted.items():
        path = trees_path(resonator, what)
        trees.save(path)
        print(f"  {path.name}: {path.stat().st_size} bytes")


def print_held_out(pieces: list[Labelled]) -> None:
    """Fit to three quarters of the pieces and say how well that does on the others."""
    held, fitted = pieces[: len(pieces) // 4], pieces[len(pieces) // 4 :]
    trees = fit_all(fitted)
    right = wrong = missed = 0
    left_s = []
    for piece in held:
        rows, evidence = piece.second_look(trees["alone"])
        chosen, is_note = trees["together"].probability(evidence) >= 0.5, piece.label[rows] == NOTE
        right += int((chosen & is_note).sum())
        wrong += int((chosen & (piece.label[rows] == NO_NOTE)).sum())
        missed += int((piece.label == NOTE).sum()) - int((chosen & is_note).sum()) + piece.n_missed
        left_s.append(piece.late_s[rows][is_note] - trees["lateness"].total(evidence[is_note]))
    print(
        f"  held-out pieces: F1 {2 * right / (2 * right + wrong + missed):.3f};"
        f" late by {np.percentile(np.concatenate(left_s), [25, 50, 75]) * 1000} ms after correction"
    )


if __name__ == "__main__":
    main()
