"""Fit the decision trees of ``tasks/features/polyphony.py`` to music that this program makes up.

    python -m benchmarks.fit_notes --write

No recording and no score of anybody goes in: a seeded process writes chords, arpeggios, scales, tunes, repeated
notes and single keys; General MIDI instruments of TimGM6mb and made-up instruments play them; a made-up room,
equalizer, tuning and hiss change the sound, and some pieces are hiss alone. Without ``--write`` the trees are fitted
to three quarters of it and their score on the rest is printed.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tasks.features.decision_trees import DecisionTrees
from tasks.features.note_spectrum import BAR_PARTIALS, Resonator, pitch_to_hz
from tasks.features.polyphony import analyses, lateness_path, trees_path
from tasks.features.resample import resample
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import Synthesizer, find_soundfont

SEED = 20
SAMPLE_RATE = 48_000
PIECE_S = 30.0
TAIL_S = 2.0
N_PIECES = {"string": 120, "bar": 60}
N_ITERATIONS = 40
MATCH_S = 0.07
# General MIDI programs (counted from 0) with how often each plays.
PROGRAMS: dict[Resonator, dict[int, float]] = {
    "string": {0: 0.5, 1: 0.12, 2: 0.1, 3: 0.06, 4: 0.06, 5: 0.05, 6: 0.06, 7: 0.05},
    "bar": {12: 0.45, 11: 0.25, 13: 0.15, 9: 0.08, 8: 0.07},
}
KEYS: dict[Resonator, tuple[int, int]] = {"string": (21, 108), "bar": (45, 108)}
BOOSTING: dict[str, Any] = {
    "learning_rate": 0.1,
    "min_samples_leaf": 40,
    "l2_regularization": 2.0,
    "max_features": 0.3,
    "early_stopping": False,
    "random_state": SEED,
}
N_DECISION_TREES = 200
N_LATENESS_TREES = 60
Rng = np.random.Generator
Row = tuple[float, float, int, float]  # onset_s, length_s, pitch, velocity
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11), (0, 2, 3, 5, 7, 9, 10), tuple(range(12)))


def made_up_notes(rng: Rng, low: int, high: int) -> Notes:
    """Write a piece of 30 seconds for keys low to high."""
    textures: Sequence[Callable[[Rng, int, int], list[Row]]]
    textures = [_tune_and_chords] * 6 + [_single_keys] * 2 + [_any_keys]
    texture = textures[rng.integers(len(textures))]
    rows = [row for row in texture(rng, low, high) if 0 <= row[0] < PIECE_S and low <= row[2] <= high]
    by_key: dict[int, list[Row]] = {}
    for row in sorted(rows):
        before = by_key.setdefault(row[2], [])
        if before and row[0] - before[-1][0] < 0.08:
            continue
        if before:  # a key comes up before it is struck again
            onset, length, pitch, velocity = before[-1]
            before[-1] = (onset, min(length, row[0] - onset - 0.02), pitch, velocity)
        before.append(row)
    onset, length, pitch, velocity = np.array([row for key in by_key.values() for row in key]).T
    return sorted_notes(
        onset + 0.2,
        onset + 0.2 + np.maximum(length, 0.05),
        pitch.astype(np.uint8),
        np.clip(velocity, 8, 127).astype(np.uint8),
    )


def _tune_and_chords(rng: Rng, low: int, high: int) -> list[Row]:
    """Write one to three voices over an accompaniment, in a key, with a pulse."""
    scale = np.array(SCALES[rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]) + rng.integers(12)
    ladder = np.array([p for p in range(low, high + 1) if (p - scale).min(initial=0) <= 0 and p % 12 in scale % 12])
    pulse_s = rng.uniform(0.09, 0.5)
    loudness = rng.uniform(35, 100)
    rows: list[Row] = []

    def play(onset: float, length: float, step: int, accent: float) -> None:
        pitch = int(ladder[np.clip(step, 0, len(ladder) - 1)])
        rows.append((onset + abs(rng.normal(0, 0.008)), length, pitch, loudness + accent + rng.normal(0, 9)))

    for _ in range(rng.integers(1, 4)):
        step = int(rng.integers(len(ladder) // 4, len(ladder)))
        doubled = rng.random() < 0.25
        time, leap = 0.0, rng.choice([1, 2, 4])
        while time < PIECE_S:
            beats = rng.choice([1, 1, 1, 2, 2, 3, 4, 6])
            length = beats * pulse_s
            if rng.random() > 0.1:
                play(time, length * rng.uniform(0.3, 1.1), step, 12)
                if doubled:
                    play(time, length * rng.uniform(0.3, 1.1), step + 7, 6)
            if rng.random() > 0.15:  # else the same key again
                step += int(rng.integers(-leap, leap + 1))
            step = int(np.clip(step, 0, len(ladder) - 1))
            time += length
    time, figure = 0.0, rng.integers(5)
    while time < PIECE_S:
        root = int(rng.integers(0, max(len(ladder) // 2, 1)))
        chord = root + np.array([0, 2, 4, 7, 9, 11, 14])[: rng.integers(2, 8)]
        bar_s = pulse_s * rng.choice([4, 6, 8])
        if figure == 0:
            for step in chord:
                play(time, bar_s * rng.uniform(0.3, 1), int(step), 0)
        elif figure == 1:
            for beat in range(round(bar_s / pulse_s)):
                play(time + beat * pulse_s, pulse_s * rng.uniform(0.5, 3), int(chord[beat % len(chord)]), -5)
        elif figure == 2:
            for beat in range(0, round(bar_s / pulse_s), 2):
                for step in chord[1:4] if beat else (root, root + 7):
                    play(time + beat * pulse_s, pulse_s * rng.uniform(0.5, 2), int(step), -3)
        elif figure == 3:
            direction = rng.choice([-1, 1])
            for beat in range(round(bar_s / pulse_s)):
                play(time + beat * pulse_s, pulse_s * rng.uniform(0.4, 1.2), root + 5 + direction * beat, 0)
        else:
            for beat in range(round(bar_s / pulse_s)):
                for step in chord[: rng.integers(1, 3)]:
                    play(time + beat * pulse_s, pulse_s * 0.8, int(step), -3)
        time += bar_s
    return rows


def _single_keys(rng: Rng, low: int, high: int) -> list[Row]:
    """Write keys one after the other, from anywhere and at any velocity."""
    onset = np.arange(0, PIECE_S, rng.uniform(0.3, 0.9))
    return [(float(t), rng.uniform(0.1, 1.2), int(rng.integers(low, high + 1)), rng.uniform(10, 127)) for t in onset]


def _any_keys(rng: Rng, low: int, high: int) -> list[Row]:
    """Write keys that have nothing to do with each other, several at a time."""
    n = rng.integers(60, 300)
    return [
        (float(t), rng.exponential(0.4), int(rng.integers(low, high + 1)), rng.uniform(25, 120))
        for t in rng.uniform(0, PIECE_S, n)
    ]


def made_up_pedal(rng: Rng) -> Controls:
    """Press the sustain pedal for most of every bar, or never."""
    if rng.random() < 0.5:
        return Controls(time_s=np.zeros(0), control=np.zeros(0, np.uint8), value=np.zeros(0, np.uint8))
    changes = np.arange(0.3, PIECE_S, rng.uniform(0.7, 3.0))
    time_s = np.stack([changes - 0.05, changes + 0.1], axis=1).ravel()
    value = np.tile(np.array([0, 127], np.uint8), len(changes))
    return Controls(time_s=time_s, control=np.full(len(value), 64, np.uint8), value=value)


def made_up_instrument(rng: Rng, notes: Notes, resonator: Resonator) -> NDArray[np.float32]:
    """Play notes as sums of decaying sines, another instrument every time."""
    sample_rate = SAMPLE_RATE // 3
    audio = np.zeros(round((PIECE_S + TAIL_S) * sample_rate))
    ratio, strength = np.array(BAR_PARTIALS).T
    if resonator == "string":
        ratio = np.arange(1, rng.integers(2, 20)) * 1.0
        strength = rng.uniform(0.4, 0.95) ** ratio * 10 ** (rng.normal(0, 4, len(ratio)) / 20)
        ratio *= np.sqrt(1 + rng.uniform(0, 8e-4) * ratio**2)
    attack_s, release_s, decay_s = rng.uniform(0.001, 0.012), rng.uniform(0.01, 0.15), rng.uniform(0.2, 2.0)
    tilt = rng.uniform(0, 1)  # how much faster higher partials die away
    for onset_s, offset_s, pitch, velocity in zip(
        notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, strict=True
    ):
        start, stop = round(onset_s * sample_rate), round((offset_s + 5 * release_s) * sample_rate)
        time_s = np.arange(min(stop, len(audio)) - start) / sample_rate
        frequency_hz = float(pitch_to_hz(np.array([pitch]))[0]) * ratio
        frequency_hz = frequency_hz[frequency_hz < sample_rate / 2.1]
        held = np.minimum(time_s / attack_s, 1) * np.exp(-np.maximum(time_s - (offset_s - onset_s), 0) / release_s)
        for n, hz in enumerate(frequency_hz):
            wave = np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6.28))
            fading = np.exp(-time_s / decay_s * (1 + tilt * n) * float(pitch) / 60)
            audio[start : start + len(time_s)] += (velocity / 127) ** 2 * strength[n] * held * fading * wave
    return resample((audio / np.abs(audio).max()).astype(np.float32), sample_rate, SAMPLE_RATE)


def in_a_room(rng: Rng, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Give sound an equalizer of at most some 8 dB, often a room, and hiss 10 to 90 dB below its peak."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    points = np.log(np.array([20, 60, 150, 400, 1000, 2500, 6000, 24000]))
    gain_db = np.interp(np.log(np.maximum(hz, 20)), points, rng.normal(0, 3.0, len(points)))
    sound: NDArray[np.float64] = np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(audio))
    if rng.random() < 0.6:
        decay_s = rng.uniform(0.15, 0.8)
        time_s = np.arange(int(decay_s * sample_rate)) / sample_rate
        tail = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / decay_s)
        tail *= 10 ** (rng.uniform(-20, -4) / 20) / np.sqrt((tail**2).sum())
        tail[0] = 1
        sound = fftconvolve(sound, tail)[: len(sound)]
    sound /= np.abs(sound).max()
    loudest_db = 10 if rng.random() < 0.15 else 35
    sound += rng.normal(size=len(sound)) * 10 ** (-rng.uniform(loudest_db, 90) / 20)
    return sound.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Evidence with whether it was a note and how late it was seen; others near a note's best are left out."""

    evidence: NDArray[np.float32]
    is_note: NDArray[np.bool_]
    names: tuple[str, ...]
    n_missed: int
    late_s: NDArray[np.float64]


def labelled_piece(rng: Rng, resonator: Resonator, synthesizer: Synthesizer) -> Labelled:
    """Make up a piece, play it, change its sound, and label its candidates."""
    low, high = KEYS[resonator]
    notes, controls = made_up_notes(rng, low, high), made_up_pedal(rng)
    kind = rng.random()
    if kind < 0.06:
        notes = notes.take(np.zeros(len(notes), np.bool_))
        audio = rng.normal(size=round((PIECE_S + TAIL_S) * SAMPLE_RATE)).astype(np.float32)
    elif kind < 0.3:
        audio = made_up_instrument(rng, notes, resonator)
    else:
        program = int(rng.choice(list(PROGRAMS[resonator]), p=list(PROGRAMS[resonator].values())))
        audio = synthesizer.render(notes, controls, program=program, duration_s=PIECE_S + TAIL_S)
    # Read at another rate than it was played at, the instrument is out of tune by up to a fifth of a semitone.
    stretch = 2 ** (float(np.clip(rng.normal(0, 0.07), -0.2, 0.2)) / 12)
    sample_rate = int(rng.choice([48_000, 16_000, 8_000, 4_000], p=[0.7, 0.1, 0.1, 0.1]))
    audio = resample(in_a_room(rng, audio, SAMPLE_RATE), round(SAMPLE_RATE * stretch), sample_rate)
    pitches = np.arange(low, high + 1, dtype=np.uint8)
    pitches = pitches[pitch_to_hz(pitches) < sample_rate / 2]
    onset_s = notes.onset_s / (round(SAMPLE_RATE * stretch) / SAMPLE_RATE)
    pitch = notes.pitch
    if rng.random() < 0.4:  # a short recording tells less of its instrument
        length_s = rng.uniform(2, 8)
        start = round(rng.uniform(0, PIECE_S - length_s) * sample_rate)
        audio = audio[start : start + round(length_s * sample_rate)]
        onset_s = onset_s - start / sample_rate
        inside = (onset_s > 0) & (onset_s < length_s - MATCH_S)
        onset_s, pitch = onset_s[inside], pitch[inside]
    audio /= np.abs(audio).max()
    return _label(audio, sample_rate, pitches, resonator, onset_s, pitch)


def _label(
    audio: NDArray[np.float32],
    sample_rate: int,
    pitches: NDArray[np.uint8],
    resonator: Resonator,
    onset_s: NDArray[np.float64],
    pitch: NDArray[np.uint8],
) -> Labelled:
    [(analysis, _, grid)] = analyses(audio, sample_rate, pitches, resonator, N_ITERATIONS)
    found = analysis.candidates
    time_s = (analysis.start + found.time_column) * grid.hop_s
    label, late_s = np.zeros(len(time_s), np.int8), np.zeros(len(time_s))
    n_missed = 0
    for onset, key in zip(onset_s, pitch, strict=True):
        near = np.flatnonzero((pitches[found.row] == key) & (np.abs(time_s - onset) <= MATCH_S) & (label != 1))
        if len(near) == 0:
            n_missed += int(key in pitches)
            continue
        best = near[np.argmax(found.evidence[near, found.names.index("rise")])]
        label[near] = -1
        label[best] = 1
        late_s[best] = time_s[best] - onset
    used = label >= 0
    return Labelled(
        evidence=found.evidence[used],
        is_note=label[used] == 1,
        names=found.names,
        n_missed=n_missed,
        late_s=late_s[used],
    )


def fit_decision(pieces: list[Labelled], *, n_trees: int) -> DecisionTrees:
    """Fit what tells notes from other rises: trees whose sum is log odds."""
    model = HistGradientBoostingClassifier(max_iter=n_trees, max_leaf_nodes=16, **BOOSTING)
    model.fit(np.concatenate([p.evidence for p in pieces]), np.concatenate([p.is_note for p in pieces]))
    return flat_trees(model, pieces[0].names)


def fit_lateness(pieces: list[Labelled], *, n_trees: int) -> DecisionTrees:
    """Fit how many seconds after its onset a note's rise is seen."""
    model = HistGradientBoostingRegressor(max_iter=n_trees, max_leaf_nodes=12, **BOOSTING)
    model.fit(
        np.concatenate([p.evidence[p.is_note] for p in pieces]),
        np.concatenate([p.late_s[p.is_note] for p in pieces]),
    )
    return flat_trees(model, pieces[0].names)


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
    parser.add_argument("--write", action="store_true", help="fit to all of it and write the files of the package")
    options = parser.parse_args()
    soundfont = find_soundfont()
    sha256 = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    with Synthesizer(soundfont, sha256=sha256, sample_rate=SAMPLE_RATE, gain=0.2) as synthesizer:
        for resonator in ("string", "bar"):
            seeds = np.random.SeedSequence(SEED).spawn(N_PIECES[resonator])
            pieces = [labelled_piece(np.random.default_rng(seed), resonator, synthesizer) for seed in seeds]
            late_s = np.concatenate([piece.late_s[piece.is_note] for piece in pieces])
            print(
                f"{resonator}: {len(late_s)} notes, {sum(piece.n_missed for piece in pieces)} without a candidate,"
                f" {sum(len(piece.is_note) for piece in pieces)} candidates; late by"
                f" {np.median(late_s) * 1000:.1f} ms, quartiles {np.percentile(late_s, [25, 75]) * 1000}"
            )
            if options.write:
                for path, trees in (
                    (trees_path(resonator), fit_decision(pieces, n_trees=N_DECISION_TREES)),
                    (lateness_path(resonator), fit_lateness(pieces, n_trees=N_LATENESS_TREES)),
                ):
                    trees.save(path)
                    print(f"  {path.name}: {path.stat().st_size} bytes")
            else:
                print_held_out(pieces)


def print_held_out(pieces: list[Labelled]) -> None:
    """Fit to three quarters of the pieces and say how well that does on the others."""
    held, fitted = pieces[: len(pieces) // 4], pieces[len(pieces) // 4 :]
    decision = fit_decision(fitted, n_trees=N_DECISION_TREES)
    lateness = fit_lateness(fitted, n_trees=N_LATENESS_TREES)
    right = wrong = missed = 0
    left_s = []
    for piece in held:
        chosen = decision.probability(piece.evidence) >= 0.5
        right += int((chosen & piece.is_note).sum())
        wrong += int((chosen & ~piece.is_note).sum())
        missed += int((~chosen & piece.is_note).sum()) + piece.n_missed
        left_s.append(piece.late_s[piece.is_note] - lateness.total(piece.evidence[piece.is_note]))
    print(
        f"  held-out pieces: F1 {2 * right / (2 * right + wrong + missed):.3f};"
        f" late by {np.percentile(np.concatenate(left_s), [25, 50, 75]) * 1000} ms after correction"
    )


if __name__ == "__main__":
    main()
