"""Metrics of source separation.

Shapes: K sources, C channels, n samples. Three rules are fixed, so that a figure means the same everywhere:

- A source is **active** in a window of `ACTIVE_WINDOW_S` whose level is within `ACTIVE_DB` of its own loudest one.
  Scale-invariant figures are taken over all active windows together: rests, in which any estimate is wrong by any
  number of decibels, count for `leakage` alone.
- A source is **silent** in a window of `SILENT_WINDOW_S` whose level is `SILENT_DB` below its own loudest one, or more.
  Windows in between, of notes that die away, are neither.
- A ratio in decibels stays within `LIMIT_DB`: 16 bits hold no more, and a mean would be nothing but the perfect take.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.metric import Metric

ACTIVE_WINDOW_S = 1.0
ACTIVE_DB = -40.0
SILENT_WINDOW_S = 0.25
SILENT_DB = -60.0
LIMIT_DB = 100.0
BSS_WINDOW_S = 1.0

_separated = partial(Metric, unit="dB", direction="higher", digits=2, kinds=("ensembles",))
_bss = partial(_separated, source="BSS Eval v4, Stöter, Liutkus & Ito 2018")
_leakage = partial(_separated, direction="lower", digits=1, source="this project: see `leakage`")
_si_sdr = partial(_separated, source="Le Roux, Wisdom, Erdogan & Hershey 2019, equation 4")
_above = partial(_si_sdr, direction="none", group="Beside the family's first system")
METRICS = (
    _si_sdr(
        key="si_sdr_improvement_db",
        label="SI-SDRi",
        meaning="a player's SI-SDR less that of the mix itself, mean over the players",
    ),
    _si_sdr(
        key="si_sdr_db",
        label="SI-SDR",
        meaning="scale-invariant signal-to-distortion ratio while a player is active, mean over the players",
    ),
    _bss(
        key="sdr_db",
        label="SDR",
        meaning="BSS Eval's signal-to-distortion ratio, median over the seconds in which all are active",
    ),
    _bss(
        key="sir_db",
        label="SIR",
        meaning="BSS Eval's signal-to-interference ratio: interference is what comes from the other players",
    ),
    _leakage(
        key="leakage_db",
        label="Leakage",
        meaning="level of a player's estimate while the player is silent, against the mix there, mean over all rests",
    ),
    _bss(
        key="isr_db",
        label="ISR",
        meaning="of BSS Eval's distortion, against what is the player's own but filtered",
        group="BSS Eval, and the worst leakage",
    ),
    _bss(
        key="sar_db",
        label="SAR",
        meaning="of BSS Eval's distortion, against what comes from no player",
        group="BSS Eval, and the worst leakage",
    ),
    _leakage(
        key="leakage_worst_db",
        label="Worst leakage",
        meaning="leakage in the worst quarter of a second of a take",
        group="BSS Eval, and the worst leakage",
    ),
    _above(
        key="si_sdr_above_first_db",
        label="SI-SDR above it",
        meaning="SI-SDR less that of the family's first system, over the same takes",
    ),
    _above(key="si_sdr_above_first_low_db", label="from", meaning="lower end of its 95 % interval over pieces"),
    _above(key="si_sdr_above_first_high_db", label="to", meaning="upper end of its 95 % interval over pieces"),
)


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What an estimate lets through of the other sources while its own source is silent.

    Attributes:
        power: energy of the estimate over the mix's, of each silent window in which the mix is not silent too.
    """

    power: NDArray[np.float64]

    @property
    def mean_db(self) -> float:
        """Mean in the power domain; NaN without a silent window."""
        return _db(float(self.power.mean()), 1.0) if len(self.power) else float("nan")

    @property
    def worst_db(self) -> float:
        """Of the worst window; NaN without a silent window."""
        return _db(float(self.power.max()), 1.0) if len(self.power) else float("nan")


def si_sdr_db(reference: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Return the scale-invariant signal-to-distortion ratio, in dB within ±`LIMIT_DB`; higher is better.

    Args:
        reference: samples, any shape; channels share one scale.
        estimate: as many.

    Returns:
        NaN for a silent estimate: it has no direction that could be right or wrong.

    Raises:
        ValueError: shapes differ, a sample is not finite, or the reference is silent.

    Source:
        Le Roux, Wisdom, Erdogan & Hershey 2019, "SDR - half-baked or well done?", equation 4, without removing means;
        torchmetrics' function of that name but for its epsilon, which gives silence 0 dB.
    """
    true, found = _checked(reference, estimate)
    true, found = true.ravel(), found.ravel()
    energy = float(true @ true)
    if not energy > 0:
        raise ValueError("the reference is silent, expected a source to compare with")
    if not found.any():
        return float("nan")
    target = true * (float(true @ found) / energy)
    distortion = target - found
    return _db(float(target @ target), float(distortion @ distortion))


def active_windows(source: NDArray[np.floating], *, sample_rate: int) -> NDArray[np.bool_]:
    """Return which samples (n,) lie in active windows of a source (C, n); a rest shorter than a window is one too."""
    length = max(1, round(ACTIVE_WINDOW_S * sample_rate))
    power = _window_power(source, length)
    is_active = (power > 0) & (power >= power.max(initial=0.0) * 10 ** (ACTIVE_DB / 10))
    return np.repeat(is_active, length)[: source.shape[1]]


def active_si_sdr_db(reference: NDArray[np.floating], estimate: NDArray[np.floating], *, sample_rate: int) -> float:
    """Return `si_sdr_db` over the active windows of a reference (C, n), all of them together.

    Returns:
        NaN where the reference is silent throughout, or the estimate while it is active.

    Raises:
        ValueError: shapes differ, or a sample is not finite.
    """
    true, found = _checked(reference, estimate)
    active = active_windows(true, sample_rate=sample_rate)
    return si_sdr_db(true[:, active], found[:, active]) if active.any() else float("nan")


def leakage(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], mix: NDArray[np.floating], *, sample_rate: int
) -> Leakage:
    """Measure how much of a mix an estimate (C, n) lets through while its source is silent.

    Raises:
        ValueError: shapes differ, or a sample is not finite.
    """
    true, found = _checked(reference, estimate)
    _, mixed = _checked(reference, mix)
    length = max(1, round(SILENT_WINDOW_S * sample_rate))
    of_true, of_found, of_mix = (_window_power(one, length) for one in (true, found, mixed))
    silent = of_true <= of_true.max(initial=0.0) * 10 ** (SILENT_DB / 10)
    # A mix that is silent itself has nothing to leak.
    silent &= of_mix > of_mix.max(initial=0.0) * 10 ** (SILENT_DB / 10)
    return Leakage(power=of_found[silent] / of_mix[silent])


def bss_eval_db(
    references: NDArray[np.floating], estimates: NDArray[np.floating], *, sample_rate: int
) -> dict[str, NDArray[np.float64]]:
    """Return museval's figures: medians over its windows of 1 s of SDR, ISR, SIR and SAR (K,), in dB.

    The package refuses sources that are silent throughout, true or estimated: they are left out and read NaN, the
    others are scored without them. It has no figure for a window in which any source is silent; without another
    window all read NaN, and so they do of sources that are one another's echo. Its cost grows with the cube of the
    sources: of 20 s at 8 kHz, 0.3 s of CPU for 2 sources, 1.4 for 4, 7.3 for 7.

    Args:
        references: (K, C, n).
        estimates: (K, C, n), in the references' order.
        sample_rate: of both.

    Returns:
        ``sdr_db``, ``isr_db``, ``sir_db``, ``sar_db``: within ±`LIMIT_DB`, where the package says infinity of a perfect
        estimate.

    Raises:
        ValueError: shapes differ, or a sample is not finite.

    Source:
        Stöter, Liutkus & Ito 2018, "The 2018 signal separation evaluation campaign" (BSS Eval v4); the package's own
        defaults: distortion filters of 512 samples over the whole sound.
    """
    # A second of imports, which only ensembles are worth.
    from museval import evaluate

    true, found = _checked(references, estimates)
    names = ("sdr_db", "isr_db", "sir_db", "sar_db")
    figures = {name: np.full(len(true), np.nan) for name in names}
    # The package calls a source silent whose channels add up to nothing.
    sounding = np.flatnonzero(true.sum(axis=1).any(axis=1) & found.sum(axis=1).any(axis=1))
    window = max(1, round(BSS_WINDOW_S * sample_rate))
    if not len(sounding):
        return figures
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            by_window = evaluate(
                true[sounding].transpose(0, 2, 1),
                found[sounding].transpose(0, 2, 1),
                win=window,
                hop=window,
                padding=False,
            )
    except AttributeError as error:
        if "linalg" not in str(error):
            raise
        # Sources that are one another's echo. The package means to go on then, but looks for the error's name where
        # numpy 2 no longer has it.
        return figures
    for name, values in zip(names, by_window, strict=True):
        for source, own in zip(sounding, values, strict=True):
            if not np.isnan(own).all():
                figures[name][source] = np.clip(np.median(own[~np.isnan(own)]), -LIMIT_DB, LIMIT_DB)
    return figures


def sdr_db(
    references: NDArray[np.floating], estimates: NDArray[np.floating], *, sample_rate: int
) -> NDArray[np.float64]:
    """Return the SDR (K,) of `bss_eval_db` at no cost: the distortion filters cancel in it, and only there.

    Every source, silent estimates too, is scored: silence reads 0 dB.

    Raises:
        ValueError: shapes differ, or a sample is not finite.
    """
    true, found = _checked(references, estimates)
    window = max(1, round(BSS_WINDOW_S * sample_rate))
    n_windows = max(1, (true.shape[2] - window + window) // window)
    medians = np.full(len(true), np.nan)
    spans = [slice(start * window, (start + 1) * window) for start in range(n_windows)]
    sounding = true.sum(axis=1).any(axis=1)
    spans = [span for span in spans if true[sounding, :, span].sum(axis=1).any(axis=1).all()]
    for source in np.flatnonzero(sounding) if spans else ():
        ratios = [
            _db(
                float(np.sum(np.square(true[source, :, span]))),
                float(np.sum(np.square(true[source, :, span] - found[source, :, span]))),
            )
            for span in spans
        ]
        medians[source] = np.median(ratios)
    return medians


def best_permutation(references: NDArray[np.floating], estimates: NDArray[np.floating]) -> tuple[int, ...]:
    """Return which estimate is each source's, so that the sum of SI-SDR is highest.

    Args:
        references: (K, C, n).
        estimates: (K, C, n).

    Returns:
        ``order`` with ``estimates[order[k]]`` belonging to ``references[k]``. Where no order fits better, as among
        silent sources, the given one stays.

    Raises:
        ValueError: shapes differ, or a sample is not finite.
    """
    true, found = _checked(references, estimates)
    flat_true, flat_found = true.reshape(len(true), -1), found.reshape(len(found), -1)
    products = flat_true @ flat_found.T  # (K, K)
    energies = np.einsum("kn,kn->k", flat_true, flat_true)[:, None]
    target = np.square(products) / np.where(energies > 0, energies, 1.0)
    noise = np.maximum(np.einsum("kn,kn->k", flat_found, flat_found)[None, :] - target, 0.0)
    fits = np.array([[_db(t, e) for t, e in zip(*row, strict=True)] for row in zip(target, noise, strict=True)])
    fits[np.isnan(fits)] = -LIMIT_DB
    from scipy.optimize import linear_sum_assignment  # most modules that import this one want another function

    # A hair for the given order, far below what anybody measures: among equals it wins.
    _, order = linear_sum_assignment(fits + 1e-9 * np.eye(len(fits)), maximize=True)
    return tuple(int(one) for one in order)


def _checked(
    reference: NDArray[np.floating], estimate: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if reference.shape != estimate.shape or not reference.size:
        raise ValueError(f"reference has shape {reference.shape}, estimate {estimate.shape}: expected the same")
    for name, one in (("reference", reference), ("estimate", estimate)):
        if not np.isfinite(one).all():
            raise ValueError(f"{name}: a sample is {one[~np.isfinite(one)][0]}, expected finite numbers")
    return np.asarray(reference, np.float64), np.asarray(estimate, np.float64)


def _window_power(sound: NDArray[np.floating], length: int) -> NDArray[np.float64]:
    """Return the mean power (windows,) of a sound (C, n) in windows side by side; the last one may be shorter."""
    squares = np.square(np.asarray(sound, np.float64)).mean(axis=0)
    starts = np.arange(0, len(squares), length)
    sums = np.add.reduceat(squares, starts)
    return np.asarray(sums / np.diff(np.append(starts, len(squares))), np.float64)


def _db(power: float, of: float) -> float:
    """Return a power ratio in dB within ±`LIMIT_DB`; NaN for nothing over nothing."""
    if not power and not of:
        return float("nan")
    if not power:
        return -LIMIT_DB
    if not of:
        return LIMIT_DB
    return float(np.clip(10.0 * np.log10(power / of), -LIMIT_DB, LIMIT_DB))
