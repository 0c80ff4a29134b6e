"""One grid of times for picture and sound: where the synthesizer can start an event and every code rate has a sample.

FluidSynth lets an event take effect at the start of a block of 64 samples alone. A picture at the written time and a
sound that begins with the nearest block are apart by up to half a block, by another part of it for each note: at 48 kHz
by up to 0.7 ms either way, more than a period at 1 kHz in all. So notes and pedals are moved to a grid before either is
made. Its step is the least common multiple of the block and of the periods of all code rates: each of its points is the
start of a block and a sample of every code rate.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ParamsError
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import BLOCK_LENGTH

COARSEST_STEP_S = Fraction(4, 1000)  # moves a time by 2 ms at most


def grid_step_s(sample_rate: int, code_rates: Iterable[int]) -> Fraction:
    """Return the step of the grid in s: the shortest time that is whole blocks and whole samples of every code rate.

    Args:
        sample_rate: Hz, of the synthesis.
        code_rates: Hz.

    Raises:
        ValueError: a rate is not positive.
    """
    rates = tuple(code_rates)
    if min(sample_rate, *rates) < 1:
        raise ValueError(f"sample rate {sample_rate} and code rates {rates}, expected all above 0")
    periods_s = [Fraction(BLOCK_LENGTH, sample_rate), *(Fraction(1, rate) for rate in rates)]
    # In lowest terms the least common multiple of fractions is that of the numerators over the common divisor below.
    return Fraction(
        math.lcm(*(period.numerator for period in periods_s)), math.gcd(*(period.denominator for period in periods_s))
    )


def fine_step_s(sample_rate: int, code_rates: Iterable[int], *, section: str) -> Fraction:
    """Return the step of the grid in s, or refuse one that would move notes audibly.

    Args:
        sample_rate: Hz, of the synthesis.
        code_rates: Hz.
        section: of params.yaml that has both.

    Raises:
        ParamsError: the step is longer than 4 ms.
        ValueError: a rate is not positive.
    """
    rates = tuple(code_rates)
    step_s = grid_step_s(sample_rate, rates)
    if step_s > COARSEST_STEP_S:
        raise ParamsError(
            f"params.yaml: {section}.sample_rate {sample_rate} and {section}.code_rates {list(rates)} share a grid of"
            f" {float(step_s):g} s, expected at most {float(COARSEST_STEP_S)} s: take sample_rate 48000, or other rates"
        )
    return step_s


def on_grid(notes: Notes, step_s: Fraction) -> Notes:
    """Move notes to the grid.

    Onsets and offsets go to the nearest point, a time halfway between two to the later one. A note that would have no
    length lasts a step. Strokes of one key that come to one point are one note: the hardest, held until the last of
    them ends; the picture could show no other. The dampers' times follow, and never come before the offset.

    Args:
        notes: in any order, times at least 0.
        step_s: of the grid.

    Returns:
        The notes in order of onset, then pitch; perhaps fewer.
    """
    onset, offset, sounding = _points_of(notes, step_s)
    order = np.lexsort((onset, notes.pitch))
    pitch, onset = notes.pitch[order], onset[order]
    first = np.flatnonzero((np.diff(pitch.astype(np.int16), prepend=-1) != 0) | (np.diff(onset, prepend=-1) != 0))
    if not len(first):
        return notes
    return sorted_notes(
        times_s(onset[first], step_s),
        times_s(np.maximum.reduceat(offset[order], first), step_s),
        pitch[first],
        np.maximum.reduceat(notes.velocity[order], first),
        times_s(np.maximum.reduceat(sounding[order], first), step_s),
    )


def controls_on_grid(controls: Controls, step_s: Fraction) -> Controls:
    """Move pedals to the nearest points of the grid.

    Several moves of a pedal that come to one point stay, in their order: a pedal that comes up and goes down again
    damps what sounded, which the last move alone would not.
    """
    return replace(controls, time_s=times_s(nearest_points(controls.time_s, step_s), step_s))


def largest_move_s(notes: Notes, controls: Controls | None, step_s: Fraction) -> float:
    """Return by how much the grid moves a time at most, in s: half a step, or more where a note was shorter than one.

    Dampers' times are not counted.
    """
    onset, offset, _ = _points_of(notes, step_s)
    moved = [(notes.onset_s, times_s(onset, step_s)), (notes.offset_s, times_s(offset, step_s))]
    if controls is not None:
        moved.append((controls.time_s, controls_on_grid(controls, step_s).time_s))
    return max(float(np.abs(after - before).max(initial=0.0)) for before, after in moved)


def nearest_points(time_s: NDArray[np.float64], step_s: Fraction) -> NDArray[np.int64]:
    """Return the number of the grid's point nearest to each time; halfway between two the later one."""
    points: NDArray[np.int64] = np.floor(time_s * step_s.denominator / step_s.numerator + 0.5).astype(np.int64)
    return points


def times_s(points: NDArray[np.int64], step_s: Fraction) -> NDArray[np.float64]:
    """Return the time of each point of the grid, the float64 nearest to it."""
    moments: NDArray[np.float64] = points * step_s.numerator / step_s.denominator  # products are exact: rounded once
    return moments


def _points_of(notes: Notes, step_s: Fraction) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the points of onsets, offsets and dampers."""
    onset = nearest_points(notes.onset_s, step_s)
    offset = np.maximum(nearest_points(notes.offset_s, step_s), onset + 1)
    return onset, offset, np.maximum(nearest_points(notes.sounding_offset_s, step_s), offset)
