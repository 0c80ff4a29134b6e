"""The clock of a recording against another's, from their sound alone.

Onsets give places, to 10 ms, where the recordings may belong together (`onsets`). Windows of sound are correlated at
each such place (`candidates`). The best place is followed through the recording (`follow`), and the phases of all
windows then give delay and drift together (`settle`). The evidence against the answer is kept: the rivals.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.clock.candidates import APART_S, Candidate, distinct, examine, screen
from tasks.clock.fit import ClockFit, Rival, WindowTable
from tasks.clock.follow import follow
from tasks.clock.onsets import find_places, onset_flux
from tasks.clock.settle import Settled, settle
from tasks.clock.spectra import Samples, Sound
from tasks.clock.windows import Pair, Stretch
from tasks.params import Section

_N_PLACES = 64  # that the onsets propose: a loop has many
_N_ALWAYS_SCREENED, _MIN_SCORE = 6, 0.7  # screened: the first few, and what is nearly as good as the best
_N_EXAMINED = 5  # of them examined, if they have this part of the best one's evidence:
_MIN_EVIDENCE = 0.3
_MIN_LENGTH_S = 2.0  # of a recording that can be placed
_MIN_SHARED = 0.6  # of the shorter recording, when that is less than ``min_overlap_s``
_MIN_PEAK = 1e-20  # peak under which a recording is silent
_PART_LENGTH = 1 << 20
_MIN_SPREAD = 0.2  # of the shared time from the first to the last of them: one note of a sampler agrees too
_USED_A_PART = 2  # windows, on the mean: a curve is a staircase too, of one window a step
_CHANCE_EVIDENCE = 4.0  # that the best of some places reaches when nothing is related
_N_RIVALS = 64
_LISTED = 0.5  # of the best one's evidence, of few windows: enough to be named as a rival
_FLUX_ERROR_S = 0.01  # of a place
_BESIDE_MARGIN = 1.1  # reflections stand beside a true line, and are nearly as high in a large room
_CLOSE = 0.7  # a line a few ms beside that is so high is settled too, before one of them is chosen


class ClockParams(Section):
    """How far apart two clocks may be, and what evidence a lock needs.

    Attributes:
        max_drift_ppm: largest drift that is looked for, parts in a million; at most 2,000.
        min_overlap_s: shortest shared time that is looked for, or 0.6 of the shorter recording if that is less: a
            few notes may agree by chance at the far ends of two long recordings.
        min_margin: evidence of the best place over the next, under which the answer is ambiguous; above 1.
        min_peak: evidence of the best place, in standard deviations of chance, under which the recordings are
            unrelated.
        min_agreement: part of the significant windows, 0 to 1, that must agree with the fit.
    """

    max_drift_ppm: Annotated[float, Field(gt=0, le=2000)]
    min_overlap_s: Annotated[float, Field(ge=1)]
    min_margin: Annotated[float, Field(gt=1)]
    min_peak: Annotated[float, Field(gt=0)]
    min_agreement: Annotated[float, Field(ge=0, le=1)]


def estimate_clock(reference: Samples, other: Samples, *, sample_rate: int, params: ClockParams) -> ClockFit:
    """Place a recording on the clock of another one.

    Args:
        reference: (n,) samples, mono; int16 halves the memory of a long recording and changes nothing.
        other: (m,) samples at the same rate.
        sample_rate: Hz, of both; at least 16,000.
        params: what is searched for, and what evidence a lock needs.

    Returns:
        The clock of ``other`` against ``reference``. Swapped arguments give exactly the inverse.

    Raises:
        ValueError: an argument is not one-dimensional, or has a sample that is not a number.
    """
    if sample_rate < 16_000:
        raise ValueError(f"sample_rate is {sample_rate} Hz, expected at least 16000")
    peaks = _peak("reference", reference), _peak("other", other)
    if _comes_first(reference, other):
        return _estimate(reference, other, peaks, sample_rate, params).with_remarks()
    return _estimate(other, reference, peaks[::-1], sample_rate, params).inverse().with_remarks()


def _peak(name: str, audio: Samples) -> float:
    if audio.ndim != 1:
        raise ValueError(f"{name} has shape {audio.shape}, expected (n,)")
    peak = max(float(audio.max(initial=0)), -float(audio.min(initial=0)))
    if not np.isfinite(peak):
        raise ValueError(f"{name} has samples that are not numbers")
    return peak


def _comes_first(one: Samples, other: Samples) -> bool:
    """Return whether a recording is the reference, whichever way round a pair is given: the longer one is."""
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
        if len(audio) < _MIN_LENGTH_S * sample_rate:
            length_s = len(audio) / sample_rate
            reason = f"the {name} recording is {length_s:.1f} s long, shorter than {_MIN_LENGTH_S:g} s"
            return replace(nothing, reason=reason)
        if peak < _MIN_PEAK:
            return replace(nothing, reason=f"the {name} recording is silent")
    pair = Pair(
        reference=Sound(samples=reference, sample_rate=sample_rate, scale=1 / peaks[0]),
        other=Sound(samples=other, sample_rate=sample_rate, scale=1 / peaks[1]),
        reference_flux=onset_flux(reference, sample_rate),
        other_flux=onset_flux(other, sample_rate),
        max_drift_ppm=params.max_drift_ppm,
    )
    places = find_places(
        pair.reference_flux,
        pair.other_flux,
        max_drift_ppm=params.max_drift_ppm,
        min_overlap_s=min(params.min_overlap_s, _MIN_SHARED * nothing.duration_s),
        n_places=_N_PLACES,
    )
    if not places:
        return replace(nothing, reason="no place where the onsets of both agree")
    likely = [place for place in places[_N_ALWAYS_SCREENED:] if place.score > _MIN_SCORE * places[0].score]
    screened = [screen(pair, place) for place in places[:_N_ALWAYS_SCREENED] + likely]
    screened.sort(key=lambda one: -one.evidence)
    apart = distinct(pair, screened)
    worth = [one for one in apart[1:_N_EXAMINED] if one.evidence >= _MIN_EVIDENCE * apart[0].evidence]
    examined = [examine(pair, one) for one in apart[:1] + worth]
    examined.sort(key=lambda one: -one.evidence)
    best = examined[0]
    return _verdict(pair, params, nothing, best, examined, screened)


def _verdict(
    pair: Pair,
    params: ClockParams,
    nothing: ClockFit,
    best: Candidate,
    examined: list[Candidate],
    screened: list[Candidate],
) -> ClockFit:
    """Follow the best place through the recording, and decide whether the evidence for it is enough."""
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
    # A line is poor evidence of a clock that wandered or of a device that dropped a block.
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
        reason = f"{settled.n_used} windows agree, {settled.agreement:.0%} of those that are significant"
        return replace(facts, reason=reason)
    if len(stretches) > 1 and settled.n_used < _USED_A_PART * len(stretches):
        parts = f"{settled.n_used} windows agree on {len(stretches)} parts"
        return replace(facts, reason=f"{parts}: too few to tell lost blocks from a clock that wanders")
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
        heard_s=settled.heard_s,
        rivals=_rivals([(one, _strength(one, best)) for one in others], 0.0),
    )


def _follow_and_settle(pair: Pair, best: Candidate) -> tuple[list[Stretch], Settled]:
    stretches, windows = follow(pair, best)
    return stretches, settle(pair, stretches, windows)


def _strength(one: Candidate, best: Candidate) -> float:
    """Return a place's evidence as a part of the best one's.

    Heights are compared and not their sums: a place with less shared time is no worse for it, when all of that
    time agrees. Under a third of the best one's windows it counts less and less, as few windows agree by chance.
    """
    fewer = min(1.0, float(np.sqrt(3 * one.n_windows / best.n_windows))) if best.n_windows else 0.0
    return max(one.height, 0.0) / max(best.height, 1e-9) * fewer


def _rivals(
    candidates: list[tuple[Candidate, float]], least: float, *, beside: tuple[Rival, ...] = ()
) -> tuple[Rival, ...]:
    """Return places of at least some strength, best first, without those that stand already beside them."""
    found: list[Rival] = []
    for one, strength in sorted(candidates, key=lambda pair: -pair[1]):
        known = any(abs(one.delay_s - rival.delay_s) < 2 * _FLUX_ERROR_S for rival in (*beside, *found))
        if strength > least and not known:
            found.append(Rival(delay_s=one.delay_s, score=min(strength, 1.0)))
    return tuple(found)


def _is_elsewhere(one: Candidate, stretches: list[Stretch]) -> bool:
    """Return whether a candidate is no part of the answer."""
    for stretch in stretches:
        moment = np.linspace(stretch.start_s, stretch.end_s, 9)
        if np.abs(one.delay_at(moment) - stretch.delay_at(moment)).min() < 4 * APART_S:
            return False
    return True
