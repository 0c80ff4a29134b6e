"""Extract the targets of one capture from its master's sound, so that targets and frames share a clock."""

from collections.abc import Sequence
from pathlib import Path

from tasks.clock.record import SYNCHRONIZED, read_clocks
from tasks.extract import ExtractParams
from tasks.features.targets import write_targets
from tasks.intake.record import INGESTED, Device, read_capture
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound
from tasks.takes import Take

TOOLS = ("ffmpeg",)

SOUND_RATE = 48_000  # Hz, that the master's sound is read at


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest and synchronize wrote, and the master's file."""
    return [INGESTED / take.name, SYNCHRONIZED / take.name, _master(take).path]


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one capture: amplitudes (frames - 2, notes) float32 and codes (samples,) uint8.

    Amplitudes are those of the instrument's own notes; a capture whose instrument has none has codes alone.

    Raises:
        MediaError: the master's sound cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    # Ingest has found out what of it decodes; a recording that ends too early ends so here too.
    master = _master(take)
    sound = read_sound(master.path, sample_rate=SOUND_RATE, policy=NO_LIMITS, stream=master.sound_stream, lenient=True)
    write_targets(
        out / "arrays.zarr",
        sound.samples,
        sample_rate=SOUND_RATE,
        pitches=read_capture(take.name).pitches,
        frame_rate=params.frame_rate,
        code_rate=params.code_rate,
        n_classes=params.n_classes,
    )


def _master(take: Take) -> Device:
    master, _ = read_clocks(take.name)
    return read_capture(take.name).device(master)
