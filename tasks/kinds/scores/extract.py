"""Extract the targets of one score from its rendered sound."""

from collections.abc import Sequence
from pathlib import Path

from tasks.errors import ParamsError
from tasks.extract import ExtractParams
from tasks.features.targets import write_targets
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.store.rendered import RENDERED, read_rendered_sound, read_step_s
from tasks.takes import Take

TOOLS: tuple[str, ...] = ()

KEYBOARD_PITCHES = tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS))


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what render wrote."""
    return [RENDERED / take.name]


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one score: amplitudes (frames - 2, 88) float32 and codes (samples,) uint8.

    Raises:
        ParamsError: the codes have no sample at each point of the grid that the notes are on.
        DamagedData: what render wrote is missing or damaged.
    """
    step_s = read_step_s(take.name)
    if (params.code_rate * step_s).denominator != 1:
        raise ParamsError(
            f"params.yaml: extract.code_rate is {params.code_rate} Hz, and the notes of {RENDERED / take.name} are on a"
            f" grid of {step_s} s, expected a whole number of samples in a step: add the rate to render.code_rates"
        )
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
