"""Synchronize one ensemble: its cameras on the clock of its mix, which is that of its stems.

A camera that take.yaml calls genlocked has that clock by definition; any other is placed as a capture's is.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.clock.place import by_definition, place_device, place_master
from tasks.clock.record import Placed
from tasks.errors import BadInput
from tasks.intake.ensemble import Ensemble, read_ensemble, read_mix
from tasks.intake.layouts import MIX
from tasks.intake.record import INGESTED, Device
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import FULL_SCALE, read_pcm
from tasks.synchronize import SynchronizeParams, write_clocks
from tasks.takes import Take

TOOLS = ("ffmpeg",)


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest wrote, and the files to compare where a camera is not genlocked."""
    ensemble = read_ensemble(take.name)
    free = [device.path for device in _free(ensemble)]
    return [INGESTED / take.name, *(sorted({*free, *ensemble.master_paths}) if free else [])]


def synchronize_take(take: Take, out: Path, params: SynchronizeParams) -> None:
    """Write ``clock.parquet``, ``windows.parquet``, ``clock.json`` and ``residuals.png`` of one ensemble.

    Raises:
        MediaError: the mix is needed and cannot be read.
    """
    ensemble = read_ensemble(take.name)
    rate = params.sample_rate
    n_samples = round(ensemble.duration_s * rate)
    master = np.zeros(n_samples, np.int16)
    if _free(ensemble):  # the mix is decoded only where a device is compared with it
        mix = read_mix(ensemble, sample_rate=rate, channels=1, n_samples=n_samples)[0]
        master = np.rint(mix / max(1.0, float(np.abs(mix).max(initial=0.0))) * FULL_SCALE).astype(np.int16)
    placed = [place_master(MIX, n_samples / rate)]
    for device in ensemble.devices:
        if device.name in ensemble.genlocked:
            placed.append(_genlocked(device, ensemble.duration_s))
            continue
        sound, fault = None, None
        if device.has_sound:
            try:
                sound = read_pcm(device.path, sample_rate=rate, policy=NO_LIMITS, stream=device.sound_stream)
            except BadInput as error:
                fault = str(error)
        placed.append(place_device(device, sound, master, params, fault))
    write_clocks(out, MIX, ensemble.duration_s, placed)


def _free(ensemble: Ensemble) -> list[Device]:
    """Return the devices that have a clock of their own."""
    return [device for device in ensemble.devices if device.name not in ensemble.genlocked]


def _genlocked(device: Device, master_s: float) -> Placed:
    reason = "it runs on the master's clock by definition"
    fit = by_definition(reason, method="genlock", master_s=master_s, duration_s=float(device.facts["duration_s"]))
    return Placed(name=device.name, role=device.role, fit=fit)
