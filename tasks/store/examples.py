"""Training examples: the segments of a data set with their arrays, each read when it is asked for."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ParamsError

Kind = Literal["scores", "captures", "ensembles"]
Part = Literal["train", "validation", "test"]
Example = dict[str, NDArray[Any] | str]


class Examples(Sequence[Example]):
    """The segments of one part of a data set, as PyTorch takes them: ``len`` and ``[number]``.

    Each is a dictionary of arrays, read when it is asked for, with the words ``segment_id``, ``take`` and ``piece``.

    Attributes:
        kind: of data.
        part: of the split; no piece is in two.
        takes: whose segments these are, sorted.
    """

    kind: Kind
    part: Part
    takes: list[str]

    def __iter__(self) -> Iterator[Example]:
        return (self[number] for number in range(len(self)))


def examples_of(kind: Kind, part: Part, folder: Path, **options: Any) -> Examples:
    """Open one part of a data set.

    Args:
        kind: ``scores``, ``captures`` or ``ensembles``.
        part: ``train``, ``validation`` or ``test``.
        folder: of the data set, ``data/chunked/KIND``.
        options: of the kind, as `audiate.dataset` lists them.

    Raises:
        DamagedData: the data set is missing or damaged.
        ParamsError: an instrument has to be named.
        TypeError: an option is none of this kind's.
        ValueError: there is no such kind or part.
    """
    makers: dict[str, Callable[..., Examples]] = {"scores": _Scores, "captures": _Captures, "ensembles": _Ensembles}
    if kind not in makers:
        raise ValueError(f"kind {kind!r}, expected one of {', '.join(makers)}")
    return makers[kind](folder, part, **options)


class _Scores(Examples):
    def __init__(self, folder: Path, part: Part, *, picture_rate: float = 25.0) -> None:
        from tasks.store.segments import ScoreSet

        self.kind, self.part, self._rate = "scores", part, picture_rate
        self._set = ScoreSet(folder)
        self._segments = self._set.segments(part)
        self.takes = self._set.takes(part)

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, number: Any) -> Any:
        from tasks.store.views import pictures_at

        segment = self._segments[number]
        arrays = self._set.open(segment.take)
        code_rate = int(arrays.attributes["code_rate"])
        start_s, length_s = segment.start_sample / code_rate, segment.n_samples / code_rate
        moments_s = start_s + np.arange(round(length_s * self._rate)) / self._rate
        shown = pictures_at(arrays["picture_time_s"][:], moments_s)
        codes = arrays["codes"][segment.start_sample : segment.start_sample + segment.n_samples]
        return _words(segment) | {"pictures": _rows(arrays["pictures"], shown), "codes": codes}


class _Captures(Examples):
    def __init__(self, folder: Path, part: Part, *, instrument: str | None = None, cameras: str = ".*") -> None:
        from tasks.store.segments import ScoreSet
        from tasks.store.views import ViewSet

        self.kind, self.part = "captures", part
        self._set = ViewSet(folder, instrument=instrument, cameras=cameras)
        views = self._set.views(part)
        played = sorted({str(self._set.open(view.take).attributes["instrument"]) for view in views})
        if len(played) > 1:
            raise ParamsError(f"{folder} has takes of several instruments: instrument=, one of {', '.join(played)}")
        segments = ScoreSet(folder).segments(part)
        self._examples = [(view, segment) for view in views for segment in segments if segment.take == view.take]
        self.takes = self._set.takes(part)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: Any) -> Any:
        from tasks.store.views import pictures_of_frames

        view, segment = self._examples[number]
        arrays = self._set.open(view.take)
        code_rate, frame_rate = int(arrays.attributes["code_rate"]), Fraction(arrays.attributes["frame_rate"])
        first = round(segment.start_sample * frame_rate / code_rate)
        n_windows = round(segment.n_samples * frame_rate / code_rate) - 2
        time_s = self._set.time_s(view)
        shown = pictures_of_frames(time_s, n_frames=first + n_windows + 2, frame_rate=frame_rate)[first:]
        pictures = _rows(self._set.pictures(view), shown)
        stacks = np.stack([pictures[after : after + n_windows] for after in range(3)], axis=1)
        amplitudes = arrays["amplitudes"][first : first + n_windows]
        return _words(segment) | {"camera": view.camera, "pictures": stacks, "amplitudes": amplitudes}


class _Ensembles(Examples):
    def __init__(self, folder: Path, part: Part, *, n_players: int | None = None) -> None:
        from tasks.store.ensembles import EnsembleSet

        self.kind, self.part = "ensembles", part
        self._set = EnsembleSet(folder)
        self.takes = [take for take in self._set.takes(part) if n_players in (None, len(self._set.instruments(take)))]
        self._segments = [segment for segment in self._set.segments(part) if segment.take in self.takes]
        # A take is stored whole; the last ones stay, as their segments follow each other.
        self._of_take = lru_cache(maxsize=4)(
            lambda take: (self._set.mix(take), self._set.stems(take), self._set.motion(take))
        )

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, number: Any) -> Any:
        segment = self._segments[number]
        span = slice(segment.start_sample, segment.start_sample + segment.n_samples)
        rate = self._set.frame_rate / self._set.sample_rate
        first, n_frames = round(segment.start_sample * rate), round(segment.n_samples * rate)
        mix, stems, motion = self._of_take(segment.take)
        return _words(segment) | {
            "instruments": " ".join(self._set.instruments(segment.take)),
            "mix": mix[:, span],
            "stems": stems[..., span],
            "motion": motion[:, first : first + n_frames],
        }


def _words(segment: Any) -> dict[str, Any]:
    return {"segment_id": segment.segment_id, "take": segment.take, "piece": segment.piece}


def _rows(stored: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows of a stored array, each read once; ``rows`` rise."""
    first = int(rows[0])
    read: NDArray[Any] = stored[first : int(rows[-1]) + 1]
    return read[rows - first]
