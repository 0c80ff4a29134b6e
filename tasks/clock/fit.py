"""What is known of one device's clock against another's: spans of delay and drift, their error, and the verdict.

On a span, the device's time t is the reference's time ``t + delay_s + drift * (t - start_s)``. A block that the
device dropped is a step of delay between two spans, a clock that wanders a chain of many short spans.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Verdict = Literal["locked", "ambiguous", "unrelated"]
Method = Literal["sound", "motion", "notes", "genlock"]
Times = NDArray[np.float64]

_MIN_STEP_S = 0.0005  # of delay between two spans that is told as one
_LISTED_STEPS = 3
_SILENT_S = 2.0  # at an end of the shared time, without a sound in common: longer ones are told


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of the device's time with one delay and one drift.

    Attributes:
        start_s: of the device's time, from the file's time zero.
        end_s: of the device's time, after ``start_s``.
        delay_s: the reference's time minus the device's at ``start_s``.
        drift_ppm: parts in a million by which the reference's time passes faster than the device's.
    """

    start_s: float
    end_s: float
    delay_s: float
    drift_ppm: float

    def __post_init__(self) -> None:
        # Written so that what is not a number is refused too.
        if not (self.start_s < self.end_s and abs(self.drift_ppm) < 1e5 and np.isfinite(self.delay_s)):
            raise ValueError(f"{self} has no length, or a delay or drift that no clock has")

    @property
    def drift(self) -> float:
        """Seconds a second."""
        return self.drift_ppm * 1e-6

    def delay_at(self, time_s: float) -> float:
        """Return the delay at a moment of the device's time, inside the span or beyond it."""
        return self.delay_s + self.drift * (time_s - self.start_s)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another place of the device on the reference's clock that the recordings are evidence for.

    Attributes:
        delay_s: the reference's time at the device's time zero, as if the rival were the answer.
        score: evidence as a part of the best place's, at most 1.
    """

    delay_s: float
    score: float


@dataclass(frozen=True, kw_only=True)
class WindowTable:
    """Windows of the recordings against the fit, in order of time; arrays of one length.

    Attributes:
        time_s: middle of the window, in the device's time.
        residual_ms: the delay by the window alone minus that of the fit; NaN when the window is no evidence.
        weight: of it as evidence, 0 to 1.
        used: whether the fit rests on it; the others are silent, or disagree with it.
    """

    time_s: Times
    residual_ms: Times
    weight: Times
    used: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> Self:
        """Return a table of no windows."""
        nothing = np.zeros(0)
        return cls(time_s=nothing, residual_ms=nothing, weight=nothing, used=np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(frozen=True, kw_only=True)
class ClockFit:
    """A device's clock against the reference's.

    Attributes:
        verdict: ``locked``: the spans give the device's place. ``ambiguous``: it stands at one of the rivals.
            ``unrelated``: there is no evidence that both recorded the same event.
        reason: one line for people.
        method: by which evidence.
        reference_duration_s: length of the reference.
        duration_s: length of the device's recording.
        spans: in order, from the device's time 0 to its end without a gap; empty unless locked.
        residual_p50_ms: median distance of the used windows from the fit; NaN unless locked.
        residual_p95_ms: their 95th percentile; NaN unless locked.
        margin: evidence of the best place over that of the next; infinite when there is no other.
        coverage: part of the shared time, 0 to 1, that windows in agreement with the fit cover.
        error_ms: a bound of the fit's own error that holds in 95 of 100 cases, within ``heard_s``; NaN unless locked.
        heard_s: from where to where in the device's time both recordings have sound in common; None where that is not
            known. Beyond it the map goes on, and a lost block would not be seen.
        rivals: best first, the best place itself among them when ambiguous.
        windows: the evidence over time.
    """

    verdict: Verdict
    reason: str
    method: Method
    reference_duration_s: float
    duration_s: float
    spans: tuple[Span, ...] = ()
    residual_p50_ms: float = np.nan
    residual_p95_ms: float = np.nan
    margin: float = np.nan
    coverage: float = 0.0
    error_ms: float = np.nan
    heard_s: tuple[float, float] | None = None
    rivals: tuple[Rival, ...] = ()
    windows: WindowTable

    def __post_init__(self) -> None:
        if (self.verdict == "locked") != bool(self.spans):
            raise ValueError(f"a fit that is {self.verdict} has {len(self.spans)} spans")
        for earlier, later in zip(self.spans[:-1], self.spans[1:], strict=True):
            if earlier.end_s != later.start_s:
                raise ValueError(f"a span ends at {earlier.end_s} s and the next one begins at {later.start_s} s")

    @property
    def delay_s(self) -> float:
        """The reference's time at the device's time zero.

        Raises:
            ValueError: the fit is not locked.
        """
        return self._locked_spans()[0].delay_at(0.0)

    @property
    def drift_ppm(self) -> float:
        """The mean drift over the recording; steps between spans are no drift.

        Raises:
            ValueError: the fit is not locked.
        """
        spans = self._locked_spans()
        return sum(span.drift_ppm * (span.end_s - span.start_s) for span in spans) / (
            spans[-1].end_s - spans[0].start_s
        )

    @property
    def steps(self) -> tuple[tuple[float, float], ...]:
        """Moments of the device's time at which its delay steps, and by how much, in s: it grows by what was lost."""
        pairs = zip(self.spans[:-1], self.spans[1:], strict=True)
        found = [(later.start_s, later.delay_s - earlier.delay_at(earlier.end_s)) for earlier, later in pairs]
        return tuple((at_s, step_s) for at_s, step_s in found if abs(step_s) >= _MIN_STEP_S)

    def with_remarks(self) -> Self:
        """Return the fit with a reason that also tells what is no part of one line: steps, windows that disagree."""
        remarks = []
        sizes_ms = [1e3 * step_s for _, step_s in self.steps]
        if 0 < len(sizes_ms) <= _LISTED_STEPS:
            remarks += [
                f"the delay steps by {size_ms:+.1f} ms at {at_s:.2f} s"
                for size_ms, (at_s, _) in zip(sizes_ms, self.steps, strict=True)
            ]
        elif sizes_ms:
            least, most = min(map(abs, sizes_ms)), max(map(abs, sizes_ms))
            remarks.append(
                f"the delay steps {len(sizes_ms)} times, by {least:.1f} to {most:.1f} ms,"
                f" from {self.steps[0][0]:.1f} to {self.steps[-1][0]:.1f} s: blocks were lost or recorded twice"
            )
        against = np.isfinite(self.windows.residual_ms) & ~self.windows.used
        if self.spans and against.any():
            time_s, away_ms = self.windows.time_s[against], float(np.abs(self.windows.residual_ms[against]).max())
            if len(time_s) == 1:
                remarks.append(f"1 window disagrees, by {away_ms:.1f} ms, at {time_s[0]:.1f} s")
            else:
                remarks.append(
                    f"{len(time_s)} windows disagree, by up to {away_ms:.1f} ms,"
                    f" between {time_s.min():.1f} and {time_s.max():.1f} s"
                )
        remarks += self._silence()
        return replace(self, reason="; ".join([self.reason, *remarks]))

    def _silence(self) -> list[str]:
        """Return a remark where nothing is heard for long at an end of the time that both recorded."""
        if self.heard_s is None or not self.spans:
            return []
        first, last = np.clip(self.from_reference([0.0, self.reference_duration_s]), 0.0, self.duration_s)
        told = []
        if self.heard_s[0] - first > _SILENT_S:
            told.append(f"before {self.heard_s[0]:.1f} s")
        if last - self.heard_s[1] > _SILENT_S:
            told.append(f"after {self.heard_s[1]:.1f} s")
        return [f"nothing is heard {' and '.join(told)}: a block lost there is not seen"] if told else []

    def to_reference(self, time_s: ArrayLike) -> Times:
        """Return the reference's time at moments of the device's; the outer spans go on beyond the ends.

        Raises:
            ValueError: the fit is not locked.
        """
        spans = self._locked_spans()
        time = np.asarray(time_s, np.float64)
        number = np.searchsorted(self._starts[1:], time, side="right")
        delay = np.array([span.delay_s for span in spans])[number]
        drift = np.array([span.drift for span in spans])[number]
        return np.asarray(time + (delay + drift * (time - self._starts[number])))

    def from_reference(self, time_s: ArrayLike) -> Times:
        """Return the device's time at moments of the reference's; the outer spans go on beyond the ends.

        A moment of a block that the device dropped gives the seam. Where the device has more time than the
        reference (the reference dropped a block, or the device repeated one), the later span begins in the
        middle of what both cover.

        Raises:
            ValueError: the fit is not locked.
        """
        spans = self._locked_spans()
        time = np.asarray(time_s, np.float64)
        # Where the spans begin and end on the reference's clock.
        begin = np.array([span.start_s + span.delay_s for span in spans])
        end = np.array([span.end_s + span.delay_at(span.end_s) for span in spans])
        number = np.searchsorted((end[:-1] + begin[1:]) / 2, time, side="right")
        lowest = np.append(-np.inf, np.where(begin[1:] > end[:-1], begin[1:], -np.inf))[number]
        highest = np.append(np.where(begin[1:] > end[:-1], end[:-1], np.inf), np.inf)[number]
        drift = np.array([span.drift for span in spans])[number]
        inside = np.clip(time, lowest, highest)
        return np.asarray(self._starts[number] + (inside - begin[number]) / (1 + drift))

    def inverse(self) -> "ClockFit":
        """Return the reference's clock against the device's: the same knowledge, in the other direction."""
        if not self.spans:
            return replace(
                self,
                reference_duration_s=self.duration_s,
                duration_s=self.reference_duration_s,
                rivals=tuple(replace(rival, delay_s=-rival.delay_s) for rival in self.rivals),
                windows=WindowTable.empty(),
            )
        heard = [] if self.heard_s is None else self.to_reference(self.heard_s).tolist()
        return replace(
            self,
            reference_duration_s=self.duration_s,
            duration_s=self.reference_duration_s,
            spans=self._inverse_spans(),
            heard_s=None if self.heard_s is None else (heard[0], heard[1]),
            rivals=tuple(replace(rival, delay_s=-rival.delay_s / (1 + self.drift_ppm * 1e-6)) for rival in self.rivals),
            windows=replace(
                self.windows,
                time_s=self.to_reference(self.windows.time_s),
                residual_ms=-self.windows.residual_ms,
            ),
        )

    def _inverse_spans(self) -> tuple[Span, ...]:
        spans = self._locked_spans()
        after = [span.start_s + span.delay_s for span in spans]
        before = [span.end_s + span.delay_at(span.end_s) for span in spans]
        seams = [(a + b) / 2 for a, b in zip(before[:-1], after[1:], strict=True)]
        starts, ends = [-np.inf, *seams], [*seams, np.inf]
        turned = []
        for span, start, end in zip(spans, starts, ends, strict=True):
            first, last = max(start, 0.0), min(end, self.reference_duration_s)
            if first < last:
                drift = -span.drift / (1 + span.drift)
                delay = -span.delay_s + drift * (first - (span.start_s + span.delay_s))
                turned.append(Span(start_s=first, end_s=last, delay_s=delay, drift_ppm=drift * 1e6))
        return tuple(turned)

    @cached_property
    def _starts(self) -> Times:
        return np.array([span.start_s for span in self.spans])

    def _locked_spans(self) -> tuple[Span, ...]:
        if not self.spans:
            raise ValueError(f"the clocks are {self.verdict}: {self.reason}")
        return self.spans


@dataclass(frozen=True, kw_only=True)
class ScoreFit:
    """A score's time against the recording's.

    Attributes:
        verdict: ``followed``: the recording is a performance of the score, of which every moment is known.
            ``unrelated``: there is no evidence of that.
        reason: one line for people.
        score_s: moments of the score that rise; none unless followed.
        reference_s: their times in the recording, never falling.
        lag_s: of each note, by how much later than expected its own onset was found; NaN where none was.
        margin: cost of the best control over the score's own.
        agreement: part of the notes that were found within 50 ms.
    """

    verdict: Literal["followed", "unrelated"]
    reason: str
    score_s: Times
    reference_s: Times
    lag_s: Times
    margin: float
    agreement: float

    def to_reference(self, time_s: NDArray[np.float64]) -> Times:
        """Return the recording's time at moments of the score; beyond its ends by the tempo of the whole.

        Raises:
            ValueError: the score was not followed.
        """
        if self.verdict != "followed":
            raise ValueError(f"the score is {self.verdict}: {self.reason}")
        inside = np.interp(time_s, self.score_s, self.reference_s)
        tempo = (self.reference_s[-1] - self.reference_s[0]) / (self.score_s[-1] - self.score_s[0])
        outside = np.minimum(time_s - self.score_s[0], 0) + np.maximum(time_s - self.score_s[-1], 0)
        return np.asarray(inside + tempo * outside)
