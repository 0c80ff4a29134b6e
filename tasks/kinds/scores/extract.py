"""Extract the targets of one score from its rendered sound."""

from collections.abc import Sequence
from pathlib import Path

from tasks.extract import ExtractParams
from tasks.features.targets import write_targets
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.store.rendered import RENDERED, read_rendered_sound
from tasks.takes import Take

TOOLS: tuple[str, ...] = ()

KEYBOARD_PITCHES = tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS))


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what render wrote."""
    return [RENDERED / take.name]


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one score: amplitudes (frames - 2, 88) float32 and codes (samples,) uint8.

    Raises:
        DamagedData: what render wrote is missing or damaged.
    """
    audio, sample_rate = read_rendered_sound(take.name)
    write_targets(
        out / "arrays.zarr",
        audio,
        sample_rate=sample_rate,
        pitches=KEYBOARD_PITCHES,
        frame_rate=params.frame_rate,
        code_rate=params.code_rate,
        n_classes=params.n_classes,
    )
