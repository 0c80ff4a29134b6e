"""Random music for two hands, and what keys allow: a key is up for a moment before it is struck again."""

from dataclasses import replace

import numpy as np

from tasks.instruments.keyboard import HIGHEST_PITCH, LOWEST_PITCH
from tasks.instruments.notes import Notes, sorted_notes

_SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
_SHORTEST_S = 0.06  # of a note
_SHORTEST_MUSIC_S = 0.4
_CLOSEST_S = 0.1  # of two strokes of one key
_SPAN_STEPS = 5  # of the scale, between the lowest and the highest note that a hand holds


def random_music(
    rng: np.random.Generator,
    *,
    start_s: float,
    end_s: float,
    pitches: tuple[int, int] = (LOWEST_PITCH, HIGHEST_PITCH),
    repeats: float = 0.1,
) -> Notes:
    """Return notes that two hands can play: each walks along a scale, now in single notes, now in chords.

    Args:
        rng: that draws them.
        start_s: the first stroke comes soon after it.
        end_s: the last key is up by then.
        pitches: lowest and highest, two octaves apart at least.
        repeats: share of strokes that strike the hand's last keys again.
    """
    low, high = pitches
    if high - low < 24 or end_s - start_s < _SHORTEST_MUSIC_S:
        raise ValueError(
            f"pitches {pitches} from {start_s} to {end_s} s, expected two octaves and {_SHORTEST_MUSIC_S} s at least"
        )
    root = int(rng.integers(12))
    scale = np.array([pitch for pitch in range(low, high + 1) if (pitch - root) % 12 in _SCALE])
    beat_s = float(rng.uniform(0.35, 0.75))
    columns: list[tuple[float, float, int, int]] = []
    middle = len(scale) // 2
    for first, last in ((0, middle), (middle, len(scale))):  # degrees of each hand
        place = int(rng.integers(first, last))
        moment_s = start_s + float(rng.uniform(0.0, min(beat_s, (end_s - start_s) / 3)))
        loudness = rng.uniform(45, 95)
        degrees = [place]
        while moment_s < end_s - 0.15:
            step_s = beat_s * float(rng.choice([0.25, 0.5, 0.5, 1.0, 1.0, 2.0]))
            if rng.random() >= repeats:
                place = int(np.clip(place + rng.integers(-4, 5), first, last - 1))
                n_notes = int(rng.choice([1, 1, 1, 2, 3]))
                reach = np.arange(place, min(place + _SPAN_STEPS, last))
                degrees = sorted(rng.choice(reach, min(n_notes, len(reach)), replace=False).tolist())
            until_s = min(moment_s + step_s * float(rng.uniform(0.5, 1.0)), end_s)
            for degree in degrees:
                velocity = int(np.clip(rng.normal(loudness, 14), 15, 120))
                columns.append((moment_s, until_s, int(scale[degree]), velocity))
            moment_s += step_s
    onsets, offsets, keys, velocities = (np.array(column) for column in zip(*columns, strict=True))
    return sorted_notes(onsets, offsets, keys, velocities)


def with_keys_released(notes: Notes, *, gap_s: float) -> Notes:
    """Return notes whose key is up for ``gap_s`` before it is struck again.

    Of strokes of one key closer than a key can be struck again, the first stays.
    """
    kept = np.ones(len(notes), bool)
    offset_s = notes.offset_s.copy()
    for pitch in np.unique(notes.pitch):
        before = -1
        for row in np.flatnonzero(notes.pitch == pitch):
            if before >= 0 and notes.onset_s[row] - notes.onset_s[before] < _CLOSEST_S + gap_s:
                kept[row] = False
                continue
            if before >= 0:
                offset_s[before] = min(offset_s[before], notes.onset_s[row] - gap_s)
            before = int(row)
    offset_s = np.maximum(offset_s, notes.onset_s + _SHORTEST_S)
    return replace(notes, offset_s=offset_s, sounding_offset_s=offset_s).take(kept)


def excerpt_of(notes: Notes, *, from_s: float, to_s: float, start_s: float, pitches: tuple[int, int]) -> Notes:
    """Return the notes between two moments, moved so that ``from_s`` is ``start_s``, of these pitches alone."""
    inside = (notes.onset_s >= from_s) & (notes.onset_s < to_s - _SHORTEST_S)
    inside &= (notes.pitch >= pitches[0]) & (notes.pitch <= pitches[1])
    part = notes.take(inside)
    onset_s = part.onset_s - from_s + start_s
    offset_s = np.minimum(part.offset_s, to_s) - from_s + start_s
    return sorted_notes(onset_s, offset_s, part.pitch, part.velocity)


def held_till_struck_again(notes: Notes, *, longest_rest_s: float = 0.8) -> Notes:
    """Return notes that last until their key is struck again, where that is soon."""
    offset_s = notes.offset_s.copy()
    for pitch in np.unique(notes.pitch):
        rows = np.flatnonzero(notes.pitch == pitch)
        rest_s = notes.onset_s[rows[1:]] - offset_s[rows[:-1]]
        soon = rest_s < longest_rest_s
        offset_s[rows[:-1][soon]] = notes.onset_s[rows[1:][soon]]
    return replace(notes, offset_s=offset_s, sounding_offset_s=offset_s)
