"""Views to learn from: a film's inputs, the targets of its windows, and what each counts in the loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.base import film_of_view
from tasks.families.note_regression.inputs import FilmInputs, PictureFormat, StackedFilm, n_windows_of, stack_film
from tasks.families.note_regression.params import Fidelity
from tasks.features.note_picking import CAREFUL, pick_notes
from tasks.store.views import View, ViewSet


@dataclass(frozen=True, kw_only=True)
class Example:
    """A view to learn from.

    Attributes:
        view: which.
        inputs: of its film.
        target: (F, n) amplitudes, 1 for the loudest of training.
        weight: (F, n) of each in the loss.
        strokes: (S, 2) window and note of each stroke that is filmed.
    """

    view: View
    inputs: FilmInputs
    target: NDArray[np.float32]
    weight: NDArray[np.float32]
    strokes: NDArray[np.int64]


def targets_of(amplitudes: NDArray[np.floating], *, maximum: float, fidelity: Fidelity) -> NDArray[np.float32]:
    """Return the target of every stack of a take (F, n), 1 for the loudest.

    Args:
        amplitudes: as ``extract`` measures them (F, n).
        maximum: the loudest of all training takes.
        fidelity: what of the published code is kept.

    Returns:
        F rows; with the defects of the original kept, fewer: those without a target are missing at the end.
    """
    scale = float(amplitudes.max()) if fidelity.per_take_maximum else maximum
    n_kept = len(amplitudes) - max(fidelity.lead_frames, fidelity.n_dropped)
    moved = amplitudes[fidelity.lead_frames : fidelity.lead_frames + n_kept]
    return np.asarray(moved / max(scale, 1e-12), np.float32)


def strokes_in(target: NDArray[np.float32], frame_rate: Fraction) -> NDArray[np.int64]:
    """Return window and note (S, 2) of each stroke in amplitudes: the window in whose middle it falls."""
    picked = pick_notes(target, frame_rate=frame_rate, picker=CAREFUL)
    window = np.rint(picked.onset_s * float(frame_rate) - 1.5).astype(np.int64)
    return np.stack([np.clip(window, 0, max(len(target) - 1, 0)), picked.note.astype(np.int64)], axis=1)


def examples_of(
    data: ViewSet,
    views: Sequence[View],
    *,
    pictures: PictureFormat,
    maximum: float,
    fidelity: Fidelity,
    onset_weight: float,
    encode: Callable[[StackedFilm], FilmInputs] | None = None,
) -> list[Example]:
    """Read views to learn from; those that do not film a whole training sequence are left out.

    Args:
        data: that the views are of.
        views: which.
        pictures: the format of the inputs.
        maximum: the loudest amplitude of training.
        fidelity: what of the published code is kept.
        onset_weight: what a window around a stroke counts more than another.
        encode: from stacks to a network's inputs; None takes the stacks.

    Raises:
        DamagedData: a take has amplitudes for another length than its own.
    """
    found = []
    for view in views:
        amplitudes = data.amplitudes(view.take)
        n_windows = n_windows_of(data.duration_s(view.take), data.frame_rate)
        if abs(len(amplitudes) - n_windows) > 1:  # rounding of the duration
            raise DamagedData(
                f"{data.folder}: take {view.take} has {len(amplitudes)} windows of amplitudes, its "
                f"{data.duration_s(view.take):.3f} s of sound have {n_windows}"
            )
        target = targets_of(amplitudes, maximum=maximum, fidelity=fidelity)
        film = stack_film(film_of_view(data, view), pictures, n_windows=len(target), frame_rate=data.frame_rate)
        if film.is_filmed.sum() < fidelity.sequence_length:
            continue
        strokes = strokes_in(target, data.frame_rate)
        weight = np.ones_like(target)
        for window, note in strokes:
            weight[max(window - 2, 0) : window + 3, note] = 1 + onset_weight
        strokes = strokes[film.is_filmed[strokes[:, 0]]]
        inputs = film if encode is None else encode(film)
        found.append(Example(view=view, inputs=inputs, target=target, weight=weight, strokes=strokes))
    return found
