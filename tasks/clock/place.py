"""One device on the master's clock: by its sound, or else by what moves in its pictures.

Sound is compared with sound. A camera whose sound is related to nothing is placed by its pictures, with a wider error
bar. A device that cannot be read or placed is ``unrelated``, with the reason; no clock is guessed for it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.clock.envelopes import EnvelopeParams, fit_envelopes
from tasks.clock.fit import ClockFit, Method, Span, WindowTable
from tasks.clock.motion import HEIGHT, MIN_PICTURES, WIDTH, motion_flux, summed
from tasks.clock.onsets import onset_flux
from tasks.clock.record import Placed
from tasks.clock.sound import ClockParams, estimate_clock
from tasks.errors import BadInput
from tasks.intake.record import Device
from tasks.media.pictures import check_film, iter_pictures
from tasks.media.probe import NO_LIMITS, MediaPolicy, probe
from tasks.media.sound import read_pcm
from tasks.params import Section

# By how much an onset in a film lies beside that in the sound. On filmed takes whose truth is known, mallets were found
# to stop within 14 ms of the sound, and piano keys to come to rest 47 ms after it.
MOTION_MS = 50.0

# What a device's own data can raise, which becomes its verdict; all else is a fault of the machine or of the code.
OF_THE_INPUT = (BadInput, ArithmeticError, np.linalg.LinAlgError)


class PlaceParams(Section):
    """What evidence places a device.

    Attributes:
        sample_rate: Hz, at which sound is compared; at least 16,000.
        clock: the evidence that a lock needs when sound is compared with sound.
        onsets: the evidence that a lock needs when only onsets can be compared.
    """

    sample_rate: int
    clock: ClockParams
    onsets: EnvelopeParams


def place_device(
    device: Device,
    sound: NDArray[np.int16] | None,
    master: NDArray[np.int16],
    params: PlaceParams,
    fault: str | None = None,
) -> Placed:
    """Place a camera or a microphone on the master's clock.

    Args:
        device: the device.
        sound: its sound (n,), at ``params.sample_rate``; None where it has none that can be read.
        master: the master's sound (m,), at the same rate.
        params: the evidence that is needed.
        fault: why its sound could not be read; it goes into the reason.
    """
    fit: ClockFit | None = None
    if sound is not None:
        try:
            fit = estimate_clock(master, sound, sample_rate=params.sample_rate, params=params.clock)
        except OF_THE_INPUT as error:
            fault = _one_line(error)
    duration_s = float(device.facts["duration_s"])
    if device.role == "camera":
        fit, fault = _by_pictures_too(
            fit,
            fault,
            lambda: place_pictures(
                device.path,
                master,
                params,
                duration_s=duration_s,
                policy=NO_LIMITS,
                crop=device.crop,
                stream=device.picture_stream,
            ),
        )
    if fit is None:
        reason = fault or "it has neither sound nor pictures"
        fit = without_evidence(reason, reference_s=len(master) / params.sample_rate, duration_s=duration_s)
    return Placed(name=device.name, role=device.role, fit=fit)


def _by_pictures_too(
    fit: ClockFit | None, fault: str | None, place: Callable[[], ClockFit]
) -> tuple[ClockFit | None, str | None]:
    """Place a film by its pictures where its sound is related to nothing.

    Args:
        fit: by its sound; None where it has none.
        fault: why its sound could not be used.
        place: by its pictures.

    Returns:
        The better fit with the reasons of both, and what could not be used, where there is no fit.
    """
    # Sound that leaves a choice is not overruled by pictures, which are weaker evidence.
    if fit is not None and fit.verdict != "unrelated":
        return fit, fault
    try:
        by_motion = place()
    except OF_THE_INPUT as error:
        failed = _one_line(error)
        if fit is None:
            return None, failed if fault is None else f"{fault}; {failed}"
        return replace(fit, reason=f"{fit.reason}; {failed}"), fault
    also = fault if fit is None else f"its sound: {fit.reason}"
    if also is None or (fit is not None and by_motion.verdict == "locked"):
        return by_motion, fault
    return replace(by_motion, reason=f"{by_motion.reason}; {also}"), fault


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def place_file(path: Path, reference: NDArray[np.int16], params: PlaceParams, policy: MediaPolicy) -> ClockFit:
    """Place any file on the clock of a sound (m,), as `place_device` places a take's device.

    Raises:
        BadInput: the file cannot be read, or neither its sound nor its pictures can be used.
    """
    facts = probe(path, policy=policy)
    reference_s = len(reference) / params.sample_rate
    fit: ClockFit | None = None
    fault: str | None = None
    remarks: list[str] = []
    if facts.audio is not None:
        try:
            sound = read_pcm(path, sample_rate=params.sample_rate, policy=policy, remark=remarks.append)
            fit = estimate_clock(reference, sound, sample_rate=params.sample_rate, params=params.clock)
        except OF_THE_INPUT as error:
            if facts.video is None and isinstance(error, BadInput):
                raise
            fault = _one_line(error)
    if facts.video is not None:
        fit, fault = _by_pictures_too(fit, fault, lambda: _place_film(path, reference, params, policy))
    if fit is not None:
        return replace(fit, reason="; ".join(filter(None, [fit.reason, *remarks])))
    if fault is not None:
        raise BadInput(fault, kind="UNUSABLE")
    return without_evidence("it has no stream", reference_s=reference_s, duration_s=0.0)


def _place_film(path: Path, reference: NDArray[np.int16], params: PlaceParams, policy: MediaPolicy) -> ClockFit:
    film = check_film(path, policy, lenient=True)
    fit = place_pictures(path, reference, params, duration_s=film.end_s, policy=policy, crop=None)
    if film.truncated_at_s is None:
        return fit
    return replace(fit, reason=f"{fit.reason}; its pictures end at {film.truncated_at_s:.3f} s, cut short")


def place_pictures(
    path: Path,
    reference: NDArray[np.int16],
    params: PlaceParams,
    *,
    duration_s: float,
    policy: MediaPolicy,
    crop: tuple[int, int, int, int] | None,
    stream: int | None = None,
) -> ClockFit:
    """Place a film on the clock of a sound (m,) by the onsets of what moves.

    Raises:
        MediaError: the film cannot be read.
    """
    parts = iter_pictures(path, width=WIDTH, height=HEIGHT, policy=policy, crop=crop, lenient=True, stream=stream)
    motion = motion_flux(parts, duration_s=duration_s)
    if motion.n_pictures < MIN_PICTURES:
        reason = f"too few pictures: {motion.n_pictures}, expected at least {MIN_PICTURES}"
        fit = without_evidence(reason, reference_s=len(reference) / params.sample_rate, duration_s=duration_s)
        return replace(fit, method="motion")
    return fit_envelopes(
        summed(onset_flux(reference, params.sample_rate)),
        motion.flux[:1],
        fine=motion.flux[1:],
        method="motion",
        systematic_ms=MOTION_MS,
        params=params.onsets,
    )


def by_definition(reason: str, *, method: Method, master_s: float, duration_s: float) -> ClockFit:
    """Return the clock of the master itself, or of a device that runs on it."""
    return ClockFit(
        verdict="locked",
        reason=reason,
        method=method,
        reference_duration_s=master_s,
        duration_s=duration_s,
        spans=(Span(start_s=0.0, end_s=duration_s, delay_s=0.0, drift_ppm=0.0),),
        residual_p50_ms=0.0,
        residual_p95_ms=0.0,
        margin=np.inf,
        coverage=1.0,
        error_ms=0.0,
        windows=WindowTable.empty(),
    )


def place_master(name: str, duration_s: float) -> Placed:
    """Return the device whose clock the take lives on."""
    fit = by_definition("it is the clock", method="sound", master_s=duration_s, duration_s=duration_s)
    return Placed(name=name, role="master", fit=fit)


def without_evidence(reason: str, *, reference_s: float, duration_s: float) -> ClockFit:
    """Return the verdict on what holds nothing to compare: ``unrelated``."""
    return ClockFit(
        verdict="unrelated",
        reason=reason,
        method="sound",
        reference_duration_s=reference_s,
        duration_s=duration_s,
        windows=WindowTable.empty(),
    )
