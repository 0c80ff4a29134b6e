"""One device on the master's clock: by its sound, or else by what moves in its pictures.

Sound is compared with sound. A camera whose sound is related to nothing is placed by its pictures, with a wider error
bar. A device that cannot be read or placed is ``unrelated``, with the reason; no clock is guessed for it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.clock.envelopes import EnvelopeParams, fit_envelopes
from tasks.clock.fit import ClockFit, Method, Span, WindowTable
from tasks.clock.motion import HEIGHT, WIDTH, motion_flux, summed
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
        fit = estimate_clock(master, sound, sample_rate=params.sample_rate, params=params.clock)
    duration_s = float(device.facts["duration_s"])
    # Sound that leaves a choice is not overruled by pictures, which are weaker evidence.
    if (fit is None or fit.verdict == "unrelated") and device.role == "camera":
        try:
            by_motion = place_pictures(
                device.path,
                master,
                params,
                duration_s=duration_s,
                policy=NO_LIMITS,
                crop=device.crop,
                stream=device.picture_stream,
            )
            of_sound = fit.reason if fit is not None else fault
            fit = by_motion if of_sound is None else replace(by_motion, reason=f"{by_motion.reason}; {of_sound}")
        except BadInput as error:
            fault = str(error) if fault is None else f"{fault}; {error}"
    if fit is None:
        reason = fault or "it has neither sound nor pictures"
        fit = without_evidence(reason, reference_s=len(master) / params.sample_rate, duration_s=duration_s)
    return Placed(name=device.name, role=device.role, fit=fit)


def place_file(path: Path, reference: NDArray[np.int16], params: PlaceParams, policy: MediaPolicy) -> ClockFit:
    """Place any file on the clock of a sound (m,), as `place_device` places a take's device.

    Raises:
        MediaError: the file cannot be read.
    """
    facts = probe(path, policy=policy)
    fit: ClockFit | None = None
    remarks: list[str] = []
    if facts.audio is not None:
        try:
            sound = read_pcm(path, sample_rate=params.sample_rate, policy=policy, remark=remarks.append)
            fit = estimate_clock(reference, sound, sample_rate=params.sample_rate, params=params.clock)
        except BadInput as error:
            if facts.video is None:
                raise
            remarks.append(str(error))
    if facts.video is not None and (fit is None or fit.verdict == "unrelated"):
        film = check_film(path, policy, lenient=True)
        if fit is not None:
            remarks.append(fit.reason)
        fit = place_pictures(path, reference, params, duration_s=film.end_s, policy=policy, crop=None)
        if film.truncated_at_s is not None:
            remarks.insert(0, f"its pictures end at {film.truncated_at_s:.3f} s, cut short")
    if fit is not None:
        return replace(fit, reason="; ".join([fit.reason, *remarks]))
    return without_evidence("it has no stream", reference_s=len(reference) / params.sample_rate, duration_s=0.0)


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
    return fit_envelopes(
        summed(onset_flux(reference, params.sample_rate)),
        motion[:1],
        fine=motion[1:],
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
