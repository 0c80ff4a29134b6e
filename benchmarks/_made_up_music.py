"""Music that a seeded program writes: chords, arpeggios, scales, tunes, repeated notes, single keys, with pedal."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.instruments.midi import SUSTAIN, Controls
from tasks.instruments.notes import Notes, sorted_notes

LEAD_S = 0.2
SHORTEST_REPEAT_S = 0.08
Rng = np.random.Generator
Row = tuple[float, float, int, float]  # onset_s, length_s, pitch, velocity
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11), (0, 2, 3, 5, 7, 9, 10), tuple(range(12)))
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 6, 9), (0, 3, 7, 10), (0, 4, 7, 11), (0, 5, 7), (0, 4, 8))


def made_up_piece(rng: Rng, low: int, high: int, *, length_s: float) -> tuple[Notes, Controls]:
    """Write a piece for keys ``low`` to ``high``, and its moves of the sustain pedal."""
    textures: Sequence[Callable[[Rng, int, int, float], tuple[list[Row], list[float]]]]
    textures = [_two_hands] * 6 + [_tune_and_chords] * 4 + [_single_keys] * 2 + [_any_keys]
    texture = textures[rng.integers(len(textures))]
    found, bars_s = texture(rng, low, high, length_s)
    rows = [row for row in found if 0 <= row[0] < length_s and low <= row[2] <= high]
    by_key: dict[int, list[Row]] = {}
    for row in sorted(rows):
        before = by_key.setdefault(row[2], [])
        if before and row[0] - before[-1][0] < SHORTEST_REPEAT_S:
            continue
        if before:  # a key comes up before it is struck again
            onset, length, pitch, velocity = before[-1]
            before[-1] = (onset, min(length, row[0] - onset - 0.02), pitch, velocity)
        before.append(row)
    onset, length, pitch, velocity = np.array([row for key in by_key.values() for row in key]).T
    notes = sorted_notes(
        onset + LEAD_S,
        onset + LEAD_S + np.maximum(length, 0.05),
        pitch.astype(np.uint8),
        np.clip(velocity, 5, 127).astype(np.uint8),
    )
    return notes, _pedal(rng, bars_s, length_s)


def _pedal(rng: Rng, bars_s: list[float], length_s: float) -> Controls:
    """Press the sustain pedal anew at each bar or every few, or never."""
    if rng.random() < 0.4:
        return Controls(time_s=np.zeros(0), control=np.zeros(0, np.uint8), value=np.zeros(0, np.uint8))
    if bars_s:
        every = int(rng.choice([1, 1, 1, 2]))
        changes = np.array(bars_s[::every]) + LEAD_S
    else:
        changes = np.arange(0.3, length_s, rng.uniform(0.7, 3.0))
    up_s = np.maximum(changes + rng.uniform(-0.05, 0.06), 0.0)
    down_s = up_s + rng.uniform(0.05, 0.2)
    value = np.tile(np.array([0, 127], np.uint8), len(changes))
    time_s = np.stack([up_s, down_s], axis=1).ravel()
    order = np.argsort(time_s, kind="stable")
    return Controls(time_s=time_s[order], control=np.full(len(value), SUSTAIN, np.uint8), value=value[order])


def _two_hands(rng: Rng, low: int, high: int, length_s: float) -> tuple[list[Row], list[float]]:
    """Write a right hand over a left, bar by bar on one chord, loud and soft by turns, as piano music is laid out."""
    pulse_s = float(np.exp(rng.uniform(np.log(0.065), np.log(0.4))))
    loudness, accent = rng.uniform(30, 95), rng.uniform(3, 28)
    swell, swell_s = rng.uniform(0, 25), rng.uniform(3, 15)
    spread_s = rng.choice([0.003, 0.01, 0.02])
    middle = int(np.clip(low + (high - low) * rng.uniform(0.35, 0.6), low, high))
    scale = np.array(SCALES[rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]) + int(rng.integers(12))
    ladder = np.array([p for p in range(low, high + 1) if p % 12 in scale % 12])
    held = float(rng.choice([0.5, 0.9, 1.05]))  # staccato, detached, legato
    rows: list[Row] = []
    bars_s: list[float] = []

    def play(onset: float, length: float, pitches: Sequence[int], gain: float) -> None:
        for pitch in pitches:
            at = onset + abs(rng.normal(0, spread_s))
            level = loudness + gain + swell * np.sin(2 * np.pi * at / swell_s) + rng.normal(0, 6)
            rows.append((at, length * held, int(pitch), level))

    def in_chord(chord: Sequence[int], root: int, start: int, stop: int) -> list[int]:
        return [p for p in range(max(start, low), min(stop, high) + 1) if (p - root) % 12 in chord] or [start]

    time, left, right = 0.0, int(rng.integers(7)), int(rng.integers(8))
    step = int(np.searchsorted(ladder, middle + 7))
    while time < length_s:
        bars_s.append(time)
        if rng.random() < 0.25:
            left, right = int(rng.integers(7)), int(rng.integers(8))
        chord = CHORDS[rng.choice(len(CHORDS), p=[0.3, 0.25, 0.15, 0.08, 0.08, 0.06, 0.04, 0.04])]
        root = int(ladder[rng.integers(len(ladder))])
        beats = int(rng.choice([4, 6, 8, 8, 12, 16]))
        bass = max(low, middle - 12 - int(rng.integers(1, 13)))
        bass = in_chord(chord[:1], root, bass - 11, bass)[-1]
        tones = in_chord(chord, root, bass + 5, middle + 4)
        wide = in_chord(chord, root, bass, middle + 12)
        for beat in range(beats):
            at = time + beat * pulse_s
            if left == 0 and beat % 2 == 0:  # a bass, then chords
                play(at, 2 * pulse_s, [bass, bass - 12][: rng.integers(1, 3)] if beat % 4 == 0 else tones[:3], -3)
            elif left == 1:  # up and down the chord, from octave to octave
                place = beat % (2 * len(wide) - 2) if len(wide) > 1 else 0
                play(at, 2 * pulse_s, [wide[place if place < len(wide) else 2 * len(wide) - 2 - place]], -5)
            elif left == 2:  # low, high, middle, high
                play(at, pulse_s, [(tones * 3)[(0, 2, 1, 2)[beat % 4]]], -6)
            elif left == 3 and beat == 0:  # a chord that is held
                play(at, beats * pulse_s, [bass, *tones[: rng.integers(1, 4)]], 0)
            elif left == 4 and beat % 2 == 0:  # octaves
                play(at, 2 * pulse_s, [bass, bass + 12], 0)
            elif left == 5:  # tremolo
                play(at, pulse_s, [bass + 12] if beat % 2 else [bass], -4)
            elif left == 6 and beat % int(rng.choice([2, 3, 4])) == 0:  # the same chord again and again
                play(at, pulse_s, tones[-3:], -5)
            length = pulse_s * float(rng.choice([1, 1, 2, 2, 4]))
            step = int(np.clip(step + rng.integers(-3, 4), np.searchsorted(ladder, middle - 3), len(ladder) - 1))
            top = int(ladder[step])
            below = [p for p in in_chord(chord, root, top - 12, top - 1) if p >= low]
            moves = rng.random() < 0.55
            if right in (0, 1) and moves:  # a tune
                play(at, length, [top], accent)
            elif right == 2 and moves:  # in octaves
                play(at, length, [top, top - 12], accent)
            elif right == 3 and moves:  # on top of chords, often with its octave
                play(at, length, [top], accent)
                play(
                    at, length, [*below[-rng.integers(1, 4) :], *([top - 12] if rng.random() < 0.5 else [])], accent / 2
                )
            elif right == 4:  # a scale
                step = int(np.clip(step + rng.choice([-1, 1, 1]), 0, len(ladder) - 1))
                play(at, pulse_s, [int(ladder[step])], accent / 2)
            elif right == 5:  # a broken chord over two octaves
                span = in_chord(chord, root, middle, min(middle + 26, high))
                play(at, pulse_s, [span[beat % len(span)]], accent / 2)
            elif right == 6 and moves:  # thirds and sixths
                play(at, length, [top, int(ladder[max(step - int(rng.choice([2, 5])), 0)])], accent / 2)
            elif right == 7:  # the same key again, or two by turns
                play(at, pulse_s, [int(ladder[step - step % 5]) + (12 if beat % 2 and beats == 8 else 0)], accent / 2)
        time += beats * pulse_s
    return rows, bars_s


def _tune_and_chords(rng: Rng, low: int, high: int, length_s: float) -> tuple[list[Row], list[float]]:
    """Write one to three voices over an accompaniment, in a key, with a pulse."""
    scale = np.array(SCALES[rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]) + rng.integers(12)
    ladder = np.array([p for p in range(low, high + 1) if (p - scale).min(initial=0) <= 0 and p % 12 in scale % 12])
    pulse_s = rng.uniform(0.09, 0.5)
    loudness = rng.uniform(35, 100)
    rows: list[Row] = []
    bars_s: list[float] = []

    def play(onset: float, length: float, step: int, accent: float) -> None:
        pitch = int(ladder[np.clip(step, 0, len(ladder) - 1)])
        rows.append((onset + abs(rng.normal(0, 0.008)), length, pitch, loudness + accent + rng.normal(0, 9)))

    for _ in range(rng.integers(1, 4)):
        step = int(rng.integers(len(ladder) // 4, len(ladder)))
        doubled = rng.random() < 0.25
        time, leap = 0.0, rng.choice([1, 2, 4])
        while time < length_s:
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
    while time < length_s:
        bars_s.append(time)
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
    return rows, bars_s


def _single_keys(rng: Rng, low: int, high: int, length_s: float) -> tuple[list[Row], list[float]]:
    """Write keys one after the other, from anywhere and at any velocity."""
    onset = np.arange(0, length_s, rng.uniform(0.3, 0.9))
    rows = [(float(t), rng.uniform(0.1, 1.2), int(rng.integers(low, high + 1)), rng.uniform(10, 127)) for t in onset]
    return rows, []


def _any_keys(rng: Rng, low: int, high: int, length_s: float) -> tuple[list[Row], list[float]]:
    """Write keys that have nothing to do with each other, several at a time."""
    n = rng.integers(50, 240)
    rows = [
        (float(t), rng.exponential(0.4), int(rng.integers(low, high + 1)), rng.uniform(15, 120))
        for t in rng.uniform(0, length_s, n)
    ]
    return rows, []
