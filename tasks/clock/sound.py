"""The clock of a recording against another's, from their sound alone.

Stages: onsets say to 10 ms where the recordings may belong together (`onsets`); windows of sound are held against
each such place, and only one that many windows agree on to half a millisecond counts (`spectra`, `lines`); stretches
that disagree are looked for nearby, as a device may have dropped a block; phases of all windows then settle delay
and drift together, or a curve when the clock wanders. What stands against the answer is kept: the rivals.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.clock.fit import ClockFit, Rival, Span, Times, WindowTable
from tasks.clock.lines import Line, Polished, envelope, find_lines, find_path, polish, robust_line
from tasks.clock.onsets import FLUX_RATE, Place, find_places, onset_flux
from tasks.clock.spectra import Samples, Sound, Spectra, correlation, frequencies_hz, window_spectra
from tasks.params import Section

_N_PLACES = 64  # that the onsets propose: a loop has many
_N_SURELY_SCREENED, _LIKELY = 6, 0.7  # looked at: the first few, and what is nearly as good as the best
_N_EXAMINED = 5  # of them looked at closely, if they have a part of the best one's evidence:
_WORTH = 0.3

_SHORTEST_S = 2.0  # recordings that anything can be said of
_LEAST_SHARED = 0.6  # of the shorter recording, when that is less than the overlap asked for
_QUIETEST = 1e-20  # peak under which a recording is silent
_PART_LENGTH = 1 << 20
_SCREEN_WINDOWS, _SCREEN_WINDOW_S = 8, 2.0
_REACH_S = 0.06  # farther than a place may be wrong
_BIN_S = 0.0005
_HALF_SLACK_S = 0.025  # how far a place's line may be wrong at its ends
_APART_S = 0.005  # places nearer than this are one
_LEAST_WEIGHT = 0.05  # of a window without onsets
_CHANCE_HEIGHT = 2.0  # mean height of the envelope where nothing agrees

_WINDOW_S, _HOP_S = 4.0, 2.0
_MAX_WINDOWS = 160  # of a long recording, which has them farther apart
_PIECE_HOP_S = 0.192  # of a window's pieces
_SPEAKS = 7.0  # standard deviations; a window with a lower peak says nothing
_AGREES_S = 0.0005
_GOOD_AGREEMENT = 0.9  # of the windows that speak: then the line is the answer
_MIN_USED = 3  # windows of a lock
_MIN_SPREAD = 0.2  # of the shared time from the first to the last of them: one note of a sampler agrees too
_CHANCE_EVIDENCE = 4.0  # that the best of some places reaches when nothing is related
_N_RIVALS = 64
_LISTED = 0.5  # of the best one's evidence, of few windows: enough to be named as a rival
_FLUX_ERROR_S = 0.01  # of a place
_BESIDE_S = 0.0015  # from a line to one beside it
_BESIDE_MARGIN = 1.1  # reflections stand beside a true line, and are nearly as high in a large room
_CLOSE = 0.7  # a line a few ms beside that is so high is settled too, before one of them is believed

_CURVE_WINDOW_S = 2.0
_MIN_CURVE_WINDOWS = 12
_MAX_BEND = 0.001  # seconds a second that a wandering clock may leave its mean drift by
_LEAST_CURVED = 0.25  # of the windows leave a line that is not one
_JUMP_COST = 12.0  # standard deviations
_JUMP_S = 0.005  # a path with a larger one is no curve

_MAX_DROPS = 12
_LIVELY = 0.3  # of the onsets of windows that agree
_MIN_DROP_WINDOWS = 2
_MIN_DROP_EVIDENCE = 7.0
_DROP_REACH_S = 5.0  # largest sum of blocks dropped between two stretches
_LEAST_DROP_S = 0.015  # what is nearer is more likely the period of a tone
_N_NEAR_PLACES = 8
_SEAM_HOP_S = 0.032

_FIT_TOLERANCE_S = 0.00025
_KNOT_S = 5.0
_BEND_S = 0.001  # second difference of a wandering clock's delay over knots, as it is expected
_POLARITY_HZ = 1500.0
_CURVE_RMS_S, _CURVE_CORRELATION = 0.00003, 0.5  # of a line's residuals, over which they ask for a curve
_SHARP_S = 0.00001  # a map that moves less within a window need not be listened along again
_LEAST_ERROR_MS = 0.02  # reflections and filters move all windows together, which their scatter does not show


class ClockParams(Section):
    """How far apart two clocks may be, and what evidence a lock needs.

    Attributes:
        max_drift_ppm: largest drift that is looked for, parts in a million; at most 2,000.
        min_overlap_s: shortest shared time that is looked for, or 0.6 of the shorter recording if that is less: a
            few notes may agree by chance at the far ends of two long recordings.
        min_margin: evidence of the best place over the next, under which the answer is ambiguous; above 1.
        min_peak: evidence of the best place, in standard deviations of chance, under which the recordings are
            unrelated.
        min_agreement: part of the windows with something to say, 0 to 1, that must agree with the fit.
    """

    max_drift_ppm: Annotated[float, Field(gt=0, le=2000)]
    min_overlap_s: Annotated[float, Field(ge=1)]
    min_margin: Annotated[float, Field(gt=1)]
    min_peak: Annotated[float, Field(gt=0)]
    min_agreement: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Both recordings, with what is made of them once."""

    reference: Sound
    other: Sound
    reference_flux: NDArray[np.float32]
    other_flux: NDArray[np.float32]
    params: ClockParams

    @property
    def rate(self) -> int:
        return self.reference.sample_rate

    @cached_property
    def rising(self) -> Times:
        """(n_steps + 1,) all onsets of the other before each step."""
        return np.asarray(np.cumsum(np.append(0.0, np.maximum(self.other_flux, 0).sum(axis=0) ** 2)), np.float64)


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Part of the other's time with a map to the reference's: straight lines between knots.

    Attributes:
        start_s: of the other's time.
        end_s: of the other's time.
        knot_s: (k,) at least 2, in the other's time.
        delay_s: (k,) at the knots; the outer lines go on.
    """

    start_s: float
    end_s: float
    knot_s: Times
    delay_s: Times

    def delay_at(self, time_s: Times) -> Times:
        number = np.clip(np.searchsorted(self.knot_s, time_s, side="right") - 1, 0, len(self.knot_s) - 2)
        slope = np.diff(self.delay_s) / np.diff(self.knot_s)
        return np.asarray(self.delay_s[number] + slope[number] * (time_s - self.knot_s[number]))


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A straight map, and what speaks for it.

    Attributes:
        delay_s: at the other's time 0.
        drift: seconds a second.
        height: mean over the windows of the correlation along it, less what chance gives; lively windows weigh more.
        n_windows: that were held against it, as many of one weight as say as much.
        near: the best line elsewhere within the reach, if any was looked for.
    """

    delay_s: float
    drift: float
    height: float
    n_windows: float
    near: "_Candidate | None" = None

    @property
    def evidence(self) -> float:
        """In standard deviations of chance."""
        return float(self.height * np.sqrt(self.n_windows))

    def delay_at(self, time_s: Times) -> Times:
        return self.delay_s + self.drift * time_s


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """Windows along a map, and what they say about it.

    Attributes:
        time_s: (n,) their middles, in the other's time.
        spectra: (n, n_frequencies).
        height: (n,) of the highest peak within the reach, in standard deviations of chance.
        lag_s: (n,) of that peak, from the map.
        at_map: (n,) height of the highest peak so near that it agrees with the map.
        lag_at_map_s: (n,) of that.
    """

    time_s: Times
    spectra: Spectra
    height: Times
    lag_s: Times
    at_map: Times
    lag_at_map_s: Times
    correlation: NDArray[np.float32]  # (n, lags), signed

    @property
    def speaks(self) -> NDArray[np.bool_]:
        return np.asarray(self.height >= _SPEAKS)

    @property
    def agrees(self) -> NDArray[np.bool_]:
        return np.asarray(self.speaks & (self.at_map >= 0.8 * self.height))


def estimate_clock(reference: Samples, other: Samples, *, sample_rate: int, params: ClockParams) -> ClockFit:
    """Place a recording on the clock of another one.

    Args:
        reference: (n,) samples, mono; int16 halves the memory of a long recording and changes nothing.
        other: (m,) samples at the same rate.
        sample_rate: Hz, of both; at least 16,000.
        params: what is looked for and believed.

    Returns:
        The clock of ``other`` against ``reference``. Swapped arguments give exactly the inverse.

    Raises:
        ValueError: an argument is not one-dimensional, or has a sample that is not a number.
    """
    if sample_rate < 16_000:
        raise ValueError(f"sample_rate is {sample_rate} Hz, expected at least 16000")
    peaks = _peak("reference", reference), _peak("other", other)
    if _comes_first(reference, other):
        return _estimate(reference, other, peaks, sample_rate, params)
    return _estimate(other, reference, peaks[::-1], sample_rate, params).inverse()


def _peak(name: str, audio: Samples) -> float:
    if audio.ndim != 1:
        raise ValueError(f"{name} has shape {audio.shape}, expected (n,)")
    peak = max(float(audio.max(initial=0)), -float(audio.min(initial=0)))
    if not np.isfinite(peak):
        raise ValueError(f"{name} has samples that are not numbers")
    return peak


def _comes_first(one: Samples, other: Samples) -> bool:
    """Whether a recording plays the reference's part, whichever way round a pair is given: the longer one does."""
    if len(one) != len(other):
        return len(one) > len(other)
    for first in range(0, len(one), _PART_LENGTH):
        differs = one[first : first + _PART_LENGTH] != other[first : first + _PART_LENGTH]
        if differs.any():
            at = first + int(np.argmax(differs))
            return bool(one[at] > other[at])
    return True


def _estimate(
    reference: Samples, other: Samples, peaks: tuple[float, ...], sample_rate: int, params: ClockParams
) -> ClockFit:
    nothing = ClockFit(
        verdict="unrelated",
        reason="",
        method="sound",
        reference_duration_s=len(reference) / sample_rate,
        duration_s=len(other) / sample_rate,
        windows=WindowTable.empty(),
    )
    for name, audio, peak in zip(("longer", "shorter"), (reference, other), peaks, strict=True):
        if len(audio) < _SHORTEST_S * sample_rate:
            length_s = len(audio) / sample_rate
            reason = f"the {name} recording is {length_s:.1f} s long, shorter than {_SHORTEST_S:g} s"
            return replace(nothing, reason=reason)
        if peak < _QUIETEST:
            return replace(nothing, reason=f"the {name} recording is silent")
    pair = _Pair(
        reference=Sound(samples=reference, sample_rate=sample_rate, scale=1 / peaks[0]),
        other=Sound(samples=other, sample_rate=sample_rate, scale=1 / peaks[1]),
        reference_flux=onset_flux(reference, sample_rate),
        other_flux=onset_flux(other, sample_rate),
        params=params,
    )
    places = find_places(
        pair.reference_flux,
        pair.other_flux,
        max_drift_ppm=params.max_drift_ppm,
        min_overlap_s=min(params.min_overlap_s, _LEAST_SHARED * nothing.duration_s),
        n_places=_N_PLACES,
    )
    if not places:
        return replace(nothing, reason="no place where the onsets of both agree")
    likely = [place for place in places[_N_SURELY_SCREENED:] if place.score > _LIKELY * places[0].score]
    screened = [_screen(pair, place) for place in places[:_N_SURELY_SCREENED] + likely]
    screened.sort(key=lambda one: -one.evidence)
    distinct = _distinct(pair, screened)
    worth = [one for one in distinct[1:_N_EXAMINED] if one.evidence >= _WORTH * distinct[0].evidence]
    examined = [_examine(pair, one) for one in distinct[:1] + worth]
    examined.sort(key=lambda one: -one.evidence)
    best = examined[0]
    return _judge(pair, nothing, best, examined, screened)


def _shared(pair: _Pair, delay_s: float, drift: float) -> tuple[float, float]:
    """Return the stretch of the other's time that lies inside the reference by a straight map."""
    start = max(0.0, -delay_s / (1 + drift))
    end = min(pair.other.duration_s, (pair.reference.duration_s - delay_s) / (1 + drift))
    return start, max(end, start)


def _pieces(middle_s: Times, window_s: float) -> Times:
    """Return (n, p) middles of the pieces of windows."""
    count = max(1, int((window_s - 0.1) / _PIECE_HOP_S))
    return np.asarray(middle_s[:, None] + (np.arange(count) - (count - 1) / 2) * _PIECE_HOP_S)


def _screen(pair: _Pair, place: Place, within: tuple[float, float] | None = None) -> _Candidate:
    """Hold a few windows, each the liveliest of its part of the shared time, against a place."""
    drift = place.drift_ppm * 1e-6
    start, end = _shared(pair, place.delay_s, drift)
    if within is not None:
        start, end = max(start, within[0]), min(end, within[1])
    length = end - start
    if length < 1.0:
        return _Candidate(delay_s=place.delay_s, drift=drift, height=0.0, n_windows=0)
    n = int(np.clip(length, 2, _SCREEN_WINDOWS))
    window_s = min(_SCREEN_WINDOW_S, length / n)
    lively = np.cumsum(np.append(0.0, np.maximum(pair.other_flux.sum(axis=0), 0)))
    steps = int(window_s * FLUX_RATE)
    middle = np.empty(n)
    for number in range(n):
        first = int((start + length * number / n) * FLUX_RATE)
        last = max(first, min(int((start + length * (number + 1) / n) * FLUX_RATE), len(lively) - 1) - steps)
        ends = np.minimum(np.arange(first, last + 1) + steps, len(lively) - 1)
        middle[number] = (first + int(np.argmax(lively[ends] - lively[first : last + 1]))) / FLUX_RATE + window_s / 2
    moments = _pieces(middle, window_s)
    spectra = window_spectra(pair.reference, pair.other, moments, moments * (1 + drift) + place.delay_s)
    max_slope = min(pair.params.max_drift_ppm * 1e-6 + abs(drift), 2 * _HALF_SLACK_S / length)
    weight = _weights(pair, middle, window_s)
    lines = _lines_through(pair, spectra, middle, weight, max_slope=max_slope)
    return _moved(_Candidate(delay_s=place.delay_s, drift=drift, height=0.0, n_windows=_number_of(weight)), lines)


def _lines_through(
    pair: _Pair, spectra: Spectra, time_s: Times, weight: Times, *, max_slope: float
) -> tuple[Line, Line]:
    lags = correlation(spectra, pair.rate, reach_s=_REACH_S)
    heights = envelope(lags, round(_BIN_S * pair.rate))
    return find_lines(heights, time_s, weight=weight, bin_s=_BIN_S, max_slope=max_slope, apart_s=_BESIDE_S)


def _weights(pair: _Pair, time_s: Times, window_s: float) -> Times:
    """Return how much windows of the other ought to say: those with many onsets 1, silent ones next to nothing."""
    onsets = _onsets(pair, time_s, window_s)
    return np.asarray(np.clip(onsets / max(float(np.percentile(onsets, 75)), 1e-9), _LEAST_WEIGHT, 1.0))


def _number_of(weight: Times) -> float:
    """Return how many windows of one weight say as much as windows of these weights."""
    return float(weight.sum() ** 2 / np.square(weight).sum())


def _moved(candidate: _Candidate, lines: tuple[Line, Line]) -> _Candidate:
    """Return the candidate on the line that its windows found, with the next best one beside it."""
    best, near = (
        replace(
            candidate,
            delay_s=candidate.delay_s + line.offset_s - line.slope * line.middle_s,
            drift=candidate.drift + line.slope,
            height=line.height - _CHANCE_HEIGHT,
            near=None,
        )
        for line in lines
    )
    return replace(best, near=near)


def _distinct(pair: _Pair, candidates: list[_Candidate]) -> list[_Candidate]:
    """Leave out candidates that are the same place as a better one."""
    kept: list[_Candidate] = []
    for one in candidates:
        middle = np.array([sum(_shared(pair, one.delay_s, one.drift)) / 2])
        if all(abs(one.delay_at(middle) - other.delay_at(middle))[0] > _APART_S for other in kept):
            kept.append(one)
    return kept


def _examine(pair: _Pair, candidate: _Candidate) -> _Candidate:
    """Hold windows all over the shared time against a candidate, twice: the second time from a better line."""
    for window_s in (2.0, 4.0):
        start, end = _shared(pair, candidate.delay_s, candidate.drift)
        length = end - start
        if length < 1.0:
            return replace(candidate, height=0.0)
        n = int(np.clip(length / window_s, 3, 32))
        middle = start + length * (np.arange(n) + 0.5) / n
        moments = _pieces(middle, min(window_s, length / n))
        weight = _weights(pair, middle, min(window_s, length / n))
        spectra = window_spectra(pair.reference, pair.other, moments, moments + candidate.delay_at(moments))
        lines = _lines_through(pair, spectra, middle, weight, max_slope=min(0.001, _HALF_SLACK_S / length))
        candidate = _moved(replace(candidate, n_windows=_number_of(weight)), lines)
    return candidate


def _judge(
    pair: _Pair, nothing: ClockFit, best: _Candidate, examined: list[_Candidate], screened: list[_Candidate]
) -> ClockFit:
    """Follow the best place through the recording, and say what it is worth."""
    params = pair.params
    if best.evidence < params.min_peak:
        reason = f"no place stands out: the best reaches {best.evidence:.1f}, expected {params.min_peak:g}"
        return replace(nothing, reason=reason)
    stretches, settled = _follow_and_settle(pair, best)
    # A tone's period beside the truth, windows agree nearly as well one by one; together, on a settled line, less.
    if best.near is not None and best.near.height > _CLOSE * best.height:
        beside = _follow_and_settle(pair, best.near)
        if beside[1].height > settled.height:
            stretches, settled = beside
    nearby = settled.near_height / max(settled.height, 1e-9)
    # A line is a poor witness of a clock that wandered or of a device that dropped a block.
    best = replace(best, height=max(best.height, settled.line_height))
    others = [one for one in examined if _is_elsewhere(one, stretches)]
    strongest = max((_strength(one, best) for one in others), default=0.0)
    margin = 1 / max(strongest, nearby, _CHANCE_EVIDENCE / best.evidence)
    facts = replace(nothing, margin=margin, coverage=settled.coverage, windows=settled.windows)
    if strongest * params.min_margin > 1:
        rivals = _rivals([(one, _strength(one, best)) for one in examined], 1 / params.min_margin)
        rivals += _rivals([(one, _strength(one, screened[0])) for one in screened], _LISTED, beside=rivals)
        reason = f"{len(rivals)} places fit about as well; the next has {strongest:.0%} of the best one's evidence"
        return replace(facts, verdict="ambiguous", reason=reason, rivals=rivals[:_N_RIVALS])
    if nearby * _BESIDE_MARGIN > 1:
        return replace(facts, reason=f"a line some ms beside the best one has {nearby:.0%} of its evidence")
    if settled.agreement < params.min_agreement or not settled.spans:
        reason = f"{settled.n_used} windows agree, {settled.agreement:.0%} of those with something to say"
        return replace(facts, reason=reason)
    if settled.spread < _MIN_SPREAD:
        return replace(facts, reason=f"only {settled.spread:.0%} of the shared time agrees, as a repeated sample does")
    used = np.abs(settled.windows.residual_ms[settled.windows.used])
    return replace(
        facts,
        verdict="locked",
        reason=f"{settled.n_used} windows agree within {np.percentile(used, 95):.3f} ms",
        spans=settled.spans,
        residual_p50_ms=float(np.percentile(used, 50)),
        residual_p95_ms=float(np.percentile(used, 95)),
        error_ms=settled.error_ms,
        rivals=_rivals([(one, _strength(one, best)) for one in others], 0.0),
    )


def _follow_and_settle(pair: _Pair, best: _Candidate) -> tuple[list[_Stretch], "_Settled"]:
    stretches, heard = _follow(pair, best)
    return stretches, _settle(pair, stretches, heard)


def _strength(one: _Candidate, best: _Candidate) -> float:
    """Return a place's evidence as a part of the best one's.

    Heights are compared and not their sums: a place with less shared time is no worse for it, when all of that
    time agrees. Under a third of the best one's windows it counts less and less, as few windows agree by chance.
    """
    fewer = min(1.0, float(np.sqrt(3 * one.n_windows / best.n_windows))) if best.n_windows else 0.0
    return max(one.height, 0.0) / max(best.height, 1e-9) * fewer


def _rivals(
    candidates: list[tuple[_Candidate, float]], least: float, *, beside: tuple[Rival, ...] = ()
) -> tuple[Rival, ...]:
    """Return places of at least some strength, best first, without those that stand already beside them."""
    found: list[Rival] = []
    for one, strength in sorted(candidates, key=lambda pair: -pair[1]):
        known = any(abs(one.delay_s - rival.delay_s) < 2 * _FLUX_ERROR_S for rival in (*beside, *found))
        if strength > least and not known:
            found.append(Rival(delay_s=one.delay_s, score=min(strength, 1.0)))
    return tuple(found)


def _is_elsewhere(one: _Candidate, stretches: list[_Stretch]) -> bool:
    """Whether a candidate is no part of the answer."""
    for stretch in stretches:
        moment = np.linspace(stretch.start_s, stretch.end_s, 9)
        if np.abs(one.delay_at(moment) - stretch.delay_at(moment)).min() < 4 * _APART_S:
            return False
    return True


def _listen(pair: _Pair, stretches: list[_Stretch], middle_s: Times, window_s: float) -> _Heard:
    """Hear windows along a map."""
    moments = _pieces(middle_s, window_s)
    # A window follows the map of its middle, even when a seam runs through it.
    number = np.searchsorted([stretch.start_s for stretch in stretches[1:]], middle_s, side="right")
    delay = np.empty(moments.shape)
    for index, stretch in enumerate(stretches):
        delay[number == index] = stretch.delay_at(moments[number == index])
    spectra = window_spectra(pair.reference, pair.other, moments, moments + delay)
    signed = correlation(spectra, pair.rate, reach_s=_REACH_S)
    lags = np.abs(signed)
    middle = lags.shape[1] // 2
    slack = round(_AGREES_S * pair.rate)
    near = lags[:, middle - slack : middle + slack + 1]
    rows = np.arange(len(lags))
    peak, near_peak = lags.argmax(axis=1), near.argmax(axis=1)
    return _Heard(
        time_s=middle_s,
        spectra=spectra,
        height=lags[rows, peak].astype(np.float64),
        lag_s=(peak - middle) / pair.rate,
        at_map=near[rows, near_peak].astype(np.float64),
        lag_at_map_s=(near_peak - slack) / pair.rate,
        correlation=signed,
    )


def _windows(start_s: float, end_s: float) -> tuple[Times, float]:
    """Return middles and length of windows for a stretch of time, shorter ones for a short stretch."""
    length = end_s - start_s
    window_s = float(np.clip(length / 6, 1.0, _WINDOW_S))
    hop_s = max(window_s * _HOP_S / _WINDOW_S, length / _MAX_WINDOWS)
    count = max(1, int((length - window_s) / hop_s) + 1)
    first = start_s + (length - (count - 1) * hop_s) / 2
    return np.asarray(first + hop_s * np.arange(count), np.float64), window_s


def _straight(one: _Candidate, start_s: float, end_s: float) -> _Stretch:
    knots = np.array([start_s, end_s])
    return _Stretch(start_s=start_s, end_s=end_s, knot_s=knots, delay_s=one.delay_at(knots))


def _follow(pair: _Pair, best: _Candidate) -> tuple[list[_Stretch], _Heard | None]:
    """Find where the best place's line stops being right, and what is right there; with the windows of a line."""
    start, end = _shared(pair, best.delay_s, best.drift)
    middle, window_s = _windows(start, end)
    stretches = [_straight(best, start, end)]
    heard = _listen(pair, stretches, middle, window_s)
    lively = _lively(pair, middle, window_s, heard.agrees) | heard.speaks
    if (heard.agrees & lively).sum() >= _GOOD_AGREEMENT * lively.sum():
        return stretches, heard
    curved = _bend(pair, stretches)
    if curved is not None:
        return curved, None
    return _with_drops(pair, best, heard, window_s), None


def _bend(pair: _Pair, stretches: list[_Stretch]) -> list[_Stretch] | None:
    """Return the map along a path through the windows' peaks, when nearly all agree with one."""
    start, end = stretches[0].start_s, stretches[0].end_s
    length = end - start
    hop_s = max(_CURVE_WINDOW_S / 2, length / (2 * _MAX_WINDOWS))
    count = max(2, int((length - _CURVE_WINDOW_S) / hop_s) + 1)
    middle: Times = np.asarray(start + (length - (count - 1) * hop_s) / 2 + hop_s * np.arange(count), np.float64)
    line = delay = stretches[0]
    for least in (_SPEAKS / 2, _SPEAKS):  # the second time along the path, where windows are sharper
        near = _listen(pair, [delay], middle, _CURVE_WINDOW_S)
        heights = envelope(near.correlation, round(_BIN_S * pair.rate))
        steps = int(np.ceil(_MAX_BEND * hop_s / _BIN_S)) + 1
        path = find_path(heights, max_step=steps, step_cost=1.0, jump_cost=_JUMP_COST)
        if np.abs(np.diff(path)).max() * _BIN_S > _JUMP_S:
            return None
        along = heights[np.arange(count), path]
        sure = along >= least
        lively = _lively(pair, middle, _CURVE_WINDOW_S, sure)
        if sure.sum() < _MIN_CURVE_WINDOWS or (sure & lively).sum() < _GOOD_AGREEMENT * lively.sum():
            return None
        leaves = np.abs(path[sure] - heights.shape[1] // 2) > 1
        if delay is line and leaves.mean() < _LEAST_CURVED:
            return None  # the line is right, and some windows are wild
        total = delay.delay_at(middle[sure]) + (path[sure] - heights.shape[1] // 2) * _BIN_S
        model = _curve([line], middle[sure], np.zeros(int(sure.sum()), np.int64))
        values = robust_line(
            total - line.delay_at(middle[sure]),
            np.ones(int(sure.sum())),
            model.basis,
            tolerance_s=np.inf,  # the path has no wild ones
            prior=model.prior * (_BIN_S / 2) ** 2,
        )
        delay = model.applied(line, 0, values)
    return [delay]


def _with_drops(pair: _Pair, best: _Candidate, heard: _Heard, window_s: float) -> list[_Stretch]:
    """Give stretches that disagree with the best line lines of their own, parallel to it, found nearby."""
    maps = [best]
    owner = np.where(heard.agrees, 0, -1)
    tried: set[tuple[int, int]] = set()
    # A window that says nothing may be silent, or held against the wrong place: only its own sound tells.
    lively = _lively(pair, heard.time_s, window_s, heard.agrees)
    for _ in range(_MAX_DROPS):
        run = _longest_run(owner < 0, lively, tried)
        if run is None:
            break
        tried.add(run)
        first, last = run
        # Windows that a seam runs through belong to neither side, but their outer halves help the search.
        within = heard.time_s[first] - window_s / 2, heard.time_s[last] + window_s / 2
        found = _search_near(pair, best, within)
        if found is None:
            continue
        mine = _listen(pair, [_straight(found, *within)], heard.time_s[first : last + 1], window_s)
        if mine.agrees.sum() < _MIN_DROP_WINDOWS:
            continue
        maps.append(found)
        owner[first : last + 1][mine.agrees] = len(maps) - 1
    return _chain(pair, maps, owner, heard, window_s)


def _lively(pair: _Pair, time_s: Times, window_s: float, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which windows of the other have so many onsets that they ought to say something.

    Args:
        pair: the recordings.
        time_s: (n,) middles.
        window_s: length.
        known: (n,) windows that do say something, for comparison.
    """
    onsets = _onsets(pair, time_s, window_s)
    return np.asarray(onsets >= _LIVELY * np.median(onsets[known]) if known.any() else onsets > 0)


def _onsets(pair: _Pair, time_s: Times, window_s: float) -> Times:
    """Return how much sets on in windows of the other, in no unit."""
    edges = [np.rint((time_s + side * window_s / 2) * FLUX_RATE).astype(np.int64) for side in (-1, 1)]
    first, last = (np.clip(edge, 0, len(pair.rising) - 1) for edge in edges)
    return np.asarray(pair.rising[last] - pair.rising[first])


def _longest_run(
    lost: NDArray[np.bool_], lively: NDArray[np.bool_], tried: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """Return first and last window of the longest run without an owner in which enough windows are lively."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    runs = [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]
    runs = [run for run in runs if run not in tried and lively[run[0] : run[1] + 1].sum() >= _MIN_DROP_WINDOWS]
    return max(runs, key=lambda run: int(lively[run[0] : run[1] + 1].sum()), default=None)


def _search_near(pair: _Pair, best: _Candidate, within: tuple[float, float]) -> _Candidate | None:
    """Look for a place of part of the recording within some seconds of where the best line has it."""
    middle = sum(within) / 2
    expected = float(best.delay_at(np.array([middle]))[0])
    first, last = (max(0, round(edge * FLUX_RATE)) for edge in within)
    low = max(0, round((within[0] + expected - _DROP_REACH_S) * FLUX_RATE))
    high = max(low, round((within[1] + expected + _DROP_REACH_S) * FLUX_RATE))
    places = find_places(
        pair.reference_flux[:, low:high],
        pair.other_flux[:, first:last],
        max_drift_ppm=1.0,
        min_overlap_s=0.5 * (within[1] - within[0]),
        n_places=_N_NEAR_PLACES,
    )
    candidates = []
    for place in places:
        delay = place.delay_s + (low - first) / FLUX_RATE  # at the middle, as the drift is none
        parallel = Place(delay_s=delay - best.drift * middle, drift_ppm=best.drift * 1e6, score=place.score)
        candidates.append(_screen(pair, parallel, within))
    candidates.sort(key=lambda one: -one.evidence)
    if not candidates or candidates[0].evidence < _MIN_DROP_EVIDENCE:
        return None
    found = candidates[0]
    at = float(found.delay_at(np.array([middle]))[0])
    if abs(at - expected) < _LEAST_DROP_S:
        return None
    return replace(found, drift=best.drift, delay_s=at - best.drift * middle)


def _chain(
    pair: _Pair, maps: list[_Candidate], owner: NDArray[np.int64], heard: _Heard, window_s: float
) -> list[_Stretch]:
    """Cut the shared time where the windows' owners change, each cut where the sound itself changes sides."""
    owned = np.flatnonzero(owner >= 0)
    start, end = _shared(pair, maps[0].delay_s, maps[0].drift)
    runs = [run for run in np.split(owned, np.flatnonzero(np.diff(owner[owned])) + 1) if len(run) >= _MIN_DROP_WINDOWS]
    if not runs:
        return [_straight(maps[0], start, end)]
    chain = [runs[0]]
    for run in runs[1:]:  # what was left out between two runs may have parted one stretch
        if owner[run[0]] == owner[chain[-1][0]]:
            chain[-1] = np.append(chain[-1], run)
        else:
            chain.append(run)
    order = [maps[owner[run[0]]] for run in chain]
    edges = [_shared(pair, order[0].delay_s, order[0].drift)[0]]
    for before, after, left, right in zip(order[:-1], order[1:], chain[:-1], chain[1:], strict=True):
        edges.append(_seam(pair, before, after, heard.time_s[left[-1]], heard.time_s[right[0]], window_s))
    edges.append(_shared(pair, order[-1].delay_s, order[-1].drift)[1])
    edges = list(np.maximum.accumulate(edges))
    return [
        _straight(one, float(first), float(last))
        for one, first, last in zip(order, edges[:-1], edges[1:], strict=True)
        if last - first > _PIECE_HOP_S
    ]


def _seam(pair: _Pair, before: _Candidate, after: _Candidate, left_s: float, right_s: float, window_s: float) -> float:
    """Return the moment at which the sound goes over from one map to another."""
    first, last = left_s - window_s / 4, right_s + window_s / 4
    moment = np.arange(first, last, _SEAM_HOP_S)
    sides = []
    for one in (before, after):
        spectra = window_spectra(pair.reference, pair.other, moment[:, None], (moment + one.delay_at(moment))[:, None])
        slack = round(_AGREES_S * pair.rate)
        sides.append(np.abs(correlation(spectra, pair.rate, reach_s=slack / pair.rate)).max(axis=1))
    gain = np.cumsum(np.append(0.0, sides[0] - sides[1]))
    return float(first + int(np.argmax(gain)) * _SEAM_HOP_S - _SEAM_HOP_S / 2)


@dataclass(frozen=True, kw_only=True)
class _Settled:
    spans: tuple[Span, ...]
    windows: WindowTable
    coverage: float
    agreement: float
    n_used: int
    spread: float  # part of the shared time from the first to the last window in agreement
    error_ms: float
    line_height: float  # mean of the windows' highest peaks that agree, less what chance gives
    height: float  # of the correlation of all windows together, each moved to the fit
    near_height: float  # the same, elsewhere


def _settle(pair: _Pair, stretches: list[_Stretch], along: _Heard | None) -> _Settled:
    """Fit delays, drift and, where the windows ask for it, a curve to the phases of all windows together."""
    middle, owner, window_s = _windows_of(stretches)
    is_curved = any(len(stretch.knot_s) > 2 for stretch in stretches)
    base = [_straightened(stretch) for stretch in stretches]
    for final in (False, True):
        heard = along if along is not None else _listen(pair, stretches, middle, window_s)
        along = None
        if heard.agrees.sum() < max(_MIN_USED, len(stretches) + 1):
            return _unsettled(heard)
        offset = _delay_of(stretches, middle, owner) - _delay_of(base, middle, owner)
        model = _curve(stretches, middle, owner) if is_curved else _lines(middle, owner)
        fitted, used = _fit(pair, model, heard, offset)
        if not is_curved and _asks_for_a_curve(fitted.lag_s - model.basis @ fitted.values, used):
            is_curved = True
            model = _curve(stretches, middle, owner)
            fitted, used = _fit(pair, model, heard, offset)
        before, stretches = stretches, [model.applied(one, number, fitted.values) for number, one in enumerate(base)]
        # Pieces of a window that followed the map before would now stand otherwise to each other.
        if final or _smear_s(before, stretches, middle, owner, window_s) < _SHARP_S:
            break
    residual = fitted.lag_s - model.basis @ fitted.values
    residual = np.where(used, residual, np.where(heard.speaks, heard.lag_s, np.nan))
    heights = envelope(heard.correlation, round(_BIN_S * pair.rate))
    weight = _weights(pair, heard.time_s, window_s)
    line, _ = find_lines(heights, heard.time_s, weight=weight, bin_s=_BIN_S, max_slope=0.0, apart_s=_BESIDE_S)
    height, near_height = _contrast(pair, heard, offset, model.basis @ fitted.values)
    deviation = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", model.basis, fitted.covariance, model.basis), 0))
    return _Settled(
        spans=_spans(stretches, pair.other.duration_s),
        windows=_table(heard, residual, used),
        coverage=float(used.mean()),
        agreement=float(used.sum() / max(int(heard.speaks.sum()), 1)),
        n_used=int(used.sum()),
        spread=float(np.ptp(middle[used]) + window_s) / (stretches[-1].end_s - stretches[0].start_s),
        error_ms=float(2e3 * deviation.max() + _LEAST_ERROR_MS),
        line_height=line.height - _CHANCE_HEIGHT,
        height=height,
        near_height=near_height,
    )


def _smear_s(
    before: list[_Stretch], after: list[_Stretch], middle: Times, owner: NDArray[np.int64], window_s: float
) -> float:
    """Return how far two maps part within a window, at most."""
    edges = [_delay_of(after, middle + side, owner) - _delay_of(before, middle + side, owner) for side in (0, window_s)]
    return float(np.abs(edges[1] - edges[0]).max())


def _contrast(pair: _Pair, heard: _Heard, offset_s: Times, fitted_s: Times) -> tuple[float, float]:
    """Return how high the windows correlate together at the fit, and at most elsewhere within the reach.

    Each frequency weighs as much as the windows agree there, and no more for being loud: a tone's period beside
    the truth, loud low tones correlate nearly as well as at it.
    """
    heard_s = (fitted_s - offset_s)[heard.speaks]  # whatever they say, for the fit or against it
    turn = np.exp(2j * np.pi * np.outer(heard_s, frequencies_hz(pair.rate))).astype(np.complex64)
    turn *= heard.spectra[heard.speaks]
    agreement = turn.sum(axis=0) / np.maximum(np.abs(turn).sum(axis=0), np.float32(1e-20))
    together = np.abs(correlation(agreement[None], pair.rate, reach_s=_REACH_S)[0])
    middle = len(together) // 2
    away = np.abs(np.arange(len(together)) - middle) > _BESIDE_S * pair.rate
    return float(together[middle - 1 : middle + 2].max()), float(together[away].max())


def _unsettled(heard: _Heard) -> _Settled:
    nothing = np.zeros(len(heard.time_s), bool)
    return _Settled(
        spans=(),
        windows=_table(heard, np.where(heard.speaks, heard.lag_s, np.nan), nothing),
        coverage=0.0,
        agreement=float(heard.agrees.sum() / max(int(heard.speaks.sum()), 1)),
        n_used=int(heard.agrees.sum()),
        spread=0.0,
        error_ms=np.nan,
        line_height=0.0,
        height=0.0,
        near_height=0.0,
    )


def _table(heard: _Heard, residual_s: Times, used: NDArray[np.bool_]) -> WindowTable:
    weight = np.minimum(heard.height / (2 * _SPEAKS), 1.0)
    return WindowTable(time_s=heard.time_s, residual_ms=residual_s * 1e3, weight=weight, used=used)


def _straightened(stretch: _Stretch) -> _Stretch:
    """Return the line through a stretch's knots."""
    slope, delay = np.polyfit(stretch.knot_s, stretch.delay_s, 1)
    edges = np.array([stretch.start_s, stretch.end_s])
    return replace(stretch, knot_s=edges, delay_s=delay + slope * edges)


def _delay_of(stretches: list[_Stretch], time_s: Times, owner: NDArray[np.int64]) -> Times:
    delay = np.empty(len(time_s))
    for number, stretch in enumerate(stretches):
        delay[owner == number] = stretch.delay_at(time_s[owner == number])
    return delay


def _windows_of(stretches: list[_Stretch]) -> tuple[Times, NDArray[np.int64], float]:
    """Return middles of windows that lie inside one stretch each, the number of that stretch, and their length."""
    total = stretches[-1].end_s - stretches[0].start_s
    _, window_s = _windows(stretches[0].start_s, stretches[-1].end_s)
    hop_s = max(window_s * _HOP_S / _WINDOW_S, total / _MAX_WINDOWS)
    middles, owners = [], []
    for number, stretch in enumerate(stretches):
        length = stretch.end_s - stretch.start_s
        count = max(1, int((length - window_s) / hop_s) + 1)
        first = stretch.start_s + (length - (count - 1) * hop_s) / 2
        middles.append(first + hop_s * np.arange(count))
        owners.append(np.full(count, number))
    return np.concatenate(middles), np.concatenate(owners), window_s


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What straight stretches are moved by: values of a basis.

    Attributes:
        basis: (n, p), a row a window.
        prior: (p, p) curvature of what is known beforehand of the values, 1/s^2.
        knot_s: (k,) of a curve; none for lines.
        middle_s: where a line's change of drift moves nothing.
    """

    basis: NDArray[np.float64]
    prior: NDArray[np.float64]
    knot_s: Times
    middle_s: float

    def applied(self, stretch: _Stretch, number: int, values: NDArray[np.float64]) -> _Stretch:
        """Return a stretch, moved."""
        if not len(self.knot_s):
            change = values[number] + values[-1] * (stretch.knot_s - self.middle_s)
            return replace(stretch, delay_s=stretch.delay_s + change)
        inside = self.knot_s[(self.knot_s > stretch.start_s) & (self.knot_s < stretch.end_s)]
        knots = np.concatenate([[stretch.start_s], inside, [stretch.end_s]])
        count = len(self.knot_s)
        change = np.interp(knots, self.knot_s, values[:count]) + values[count : count + number].sum()
        return replace(stretch, knot_s=knots, delay_s=stretch.delay_at(knots) + change)


def _lines(middle_s: Times, owner: NDArray[np.int64]) -> _Model:
    """A step for each stretch, and one drift for all: they are of one device."""
    steps = (owner[:, None] == np.arange(owner.max() + 1)).astype(np.float64)
    centre = float(middle_s.mean())
    basis = np.column_stack([steps, middle_s - centre])
    return _Model(basis=basis, prior=np.zeros((basis.shape[1],) * 2), knot_s=np.zeros(0), middle_s=centre)


def _curve(stretches: list[_Stretch], middle_s: Times, owner: NDArray[np.int64]) -> _Model:
    """Lines between knots, bent as little as the windows allow, and a step at each seam."""
    start, end = stretches[0].start_s, stretches[-1].end_s
    count = max(3, round((end - start) / _KNOT_S) + 1)
    knots = np.linspace(start, end, count)
    spacing = knots[1] - knots[0]
    hats = np.maximum(1 - np.abs(middle_s[:, None] - knots) / spacing, 0)
    steps = (owner[:, None] >= np.arange(1, owner.max() + 1)).astype(np.float64)
    bends = np.diff(np.eye(count), 2, axis=0) * (_KNOT_S / spacing) ** 2
    prior = np.zeros((count + steps.shape[1],) * 2)
    prior[:count, :count] = bends.T @ bends / _BEND_S**2
    return _Model(basis=np.column_stack([hats, steps]), prior=prior, knot_s=knots, middle_s=float(middle_s.mean()))


def _fit(pair: _Pair, model: _Model, heard: _Heard, offset_s: Times) -> tuple[Polished, NDArray[np.bool_]]:
    """Fit a model, first to the windows' peaks, then to their phases; return which windows it rests on."""
    frequency = frequencies_hz(pair.rate)
    turned = heard.spectra * np.exp(-2j * np.pi * np.outer(offset_s, frequency)).astype(np.complex64)
    used = heard.agrees
    lag = heard.lag_at_map_s + offset_s
    noise_s = 0.25 / pair.rate  # of a peak that is read to a sample
    start = robust_line(
        lag[used], heard.at_map[used] ** 2, model.basis[used], tolerance_s=_AGREES_S, prior=model.prior * noise_s**2
    )
    polarity = _polarity(turned[used], frequency, model.basis[used] @ start)
    values, scale = start, 1.0
    for tolerance_s in (_AGREES_S, _FIT_TOLERANCE_S):
        fitted = polish(
            turned[used], frequency, model.basis[used], values, prior=model.prior * scale, polarity=polarity
        )
        values = fitted.values
        everywhere = polish(
            turned, frequency, model.basis, values, prior=model.prior * scale, polarity=polarity, steps=0
        )
        away = np.abs(everywhere.lag_s - model.basis @ values)
        kept = heard.agrees & (everywhere.stiffness > 0) & (away < tolerance_s)
        if kept.sum() >= max(_MIN_USED, np.linalg.matrix_rank(model.basis[kept])):
            used = kept
        scale = fitted.variance
    fitted = polish(turned[used], frequency, model.basis[used], values, prior=model.prior * scale, polarity=polarity)
    everywhere = polish(
        turned, frequency, model.basis, fitted.values, prior=model.prior * scale, polarity=polarity, steps=0
    )
    return replace(everywhere, covariance=fitted.covariance), used


def _polarity(spectra: Spectra, frequency_hz: NDArray[np.float64], lag_s: Times) -> int:
    """Return -1 when one recording is turned upside down."""
    turned = spectra * np.exp(2j * np.pi * np.outer(lag_s, frequency_hz)).astype(np.complex64)
    # Low frequencies decide, which an error of the lags does not turn.
    return 1 if turned.real[:, frequency_hz < _POLARITY_HZ].sum() >= 0 else -1


def _asks_for_a_curve(residual_s: Times, used: NDArray[np.bool_]) -> bool:
    """Whether windows far enough apart to share no sound still leave the line together."""
    rows = np.flatnonzero(used)
    if len(rows) < max(_MIN_CURVE_WINDOWS, len(used) / 2):
        return False
    left = residual_s[rows] - residual_s[rows].mean()
    near = left[:-2] * left[2:]
    spread = float(np.mean(left**2))
    return spread > _CURVE_RMS_S**2 and float(near.mean()) > _CURVE_CORRELATION * spread


def _spans(stretches: list[_Stretch], duration_s: float) -> tuple[Span, ...]:
    """Return the chain as spans from the recording's begin to its end."""
    spans = []
    for number, stretch in enumerate(stretches):
        knots = stretch.knot_s.copy()
        knots[0] = 0.0 if number == 0 else stretch.start_s
        knots[-1] = duration_s if number == len(stretches) - 1 else stretch.end_s
        delays = stretch.delay_at(knots)
        for first, last, delay, next_delay in zip(knots[:-1], knots[1:], delays[:-1], delays[1:], strict=True):
            drift = (next_delay - delay) / (last - first)
            spans.append(
                Span(start_s=float(first), end_s=float(last), delay_s=float(delay), drift_ppm=float(drift * 1e6))
            )
    return tuple(spans)
