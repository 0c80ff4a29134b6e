"""Family ``capture_baselines``: what a figure on captures is worth.

``mean_features`` predicts the training takes' mean amplitudes for every window, ``nearest_features`` those of the most
similar training pictures, and ``true_features`` is an upper bound: the measured amplitudes, through the same picker of
notes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import CaptureTruth, Film, Performance, Role, VideoFamily
from tasks.families.note_regression.examples import examples_of
from tasks.families.note_regression.inputs import FilmInputs, PictureFormat, n_windows_of, stack_film
from tasks.families.note_regression.notes import (
    check_sounding,
    fit_picker_on,
    fit_reference_picker,
    performance_of,
)
from tasks.families.note_regression.params import CORRECTED, Count
from tasks.families.trained import Arrays, config_of, load_trained, save_trained, write_curve
from tasks.features.note_picking import CAREFUL, Picker
from tasks.params import Section
from tasks.store.views import ViewSet

MEAN, NEAREST, TRUE = "mean_features", "nearest_features", "true_features"
COMPARED_AT_A_TIME = 256


class CaptureBaselinesParams(Section):
    """How the baselines are made.

    Attributes:
        instrument: whose captures are learned from.
        cameras: regular expression of the cameras that are learned from.
        height: of the pictures that are compared, in pixels.
        width: of them.
        n_windows: of training, that the nearest one is chosen from.
        seed: of which those are.
    """

    instrument: str
    cameras: str
    height: Count
    width: Count
    n_windows: Count
    seed: int


class CaptureBaselines(VideoFamily[CaptureBaselinesParams, ViewSet]):
    """Three systems: nothing is trained in steps."""

    params_class: ClassVar[type[Section]] = CaptureBaselinesParams
    systems: ClassVar[tuple[str, ...]] = (MEAN, NEAREST, TRUE)
    roles: ClassVar[Mapping[str, Role]] = {MEAN: "reference", TRUE: "bound"}
    data = "captures"

    def fit(
        self,
        data: ViewSet,
        out: Path,
        *,
        params: CaptureBaselinesParams,
        resume: Path,  # noqa: ARG002
        accelerator: str,  # noqa: ARG002
    ) -> None:
        """Take the mean, draw the windows that are kept, and fit the pickers on the validation takes.

        Raises:
            ParamsError: no view is left to learn from, or all is silent.
        """
        views = data.only(instrument=params.instrument, cameras=params.cameras)
        train, validation = views.views("train"), views.views("validation")
        if not train or not validation:
            raise ParamsError(
                f"train.capture_baselines: {len(train)} training and {len(validation)} validation views of "
                f"{params.instrument} have a camera like {params.cameras!r}, expected at least one of both"
            )
        amplitudes = np.concatenate([views.amplitudes(take) for take in views.takes("train")])
        maximum = float(amplitudes.max())
        if not maximum > 0:
            raise ParamsError("train.capture_baselines: every training take is silent")
        check_sounding(views.pitches, params.instrument, "train.capture_baselines")
        pictures = config_of(PictureFormat, params, n_pictures=3, subtract_still=True)
        training, held_out = (
            examples_of(views, part, pictures=pictures, maximum=maximum, fidelity=CORRECTED, onset_weight=0.0)
            for part in (train, validation)
        )
        rows = [
            (number, int(window))
            for number, one in enumerate(training)
            for window in np.flatnonzero(one.inputs.is_filmed)
        ]
        drawn = np.random.default_rng(params.seed).permutation(len(rows))[: params.n_windows]
        kept = [rows[row] for row in sorted(drawn)]
        bank = np.stack([training[number].inputs.frames(window, window + 1).ravel() for number, window in kept])
        values = np.stack([training[number].target[window] for number, window in kept])
        reference_picker = fit_reference_picker(views, views.takes("validation"), maximum=maximum)
        found = [nearest_amplitudes(one.inputs, bank, values) for one in held_out]
        picker = fit_picker_on(found, held_out, views, maximum=maximum, reference_picker=reference_picker)
        mean = np.asarray(amplitudes.mean(axis=0) / maximum, np.float32)
        facts = {
            "maximum": maximum,
            "pictures": asdict(pictures),
            "pitches": list(views.pitches),
            "frame_rate": str(views.frame_rate),
            "instrument": views.instrument,
        }
        states: dict[str, dict[str, NDArray[np.float32]]] = {
            MEAN: {"amplitudes": mean},
            NEAREST: {"amplitudes": values, "pictures": bank},
            TRUE: {},
        }
        pickers = {MEAN: CAREFUL, NEAREST: picker, TRUE: reference_picker}
        for system in self.systems:
            save_trained(out / system, states[system], {**facts, "picker": asdict(pickers[system])})
        errors = {
            MEAN: [one.target - mean for one in held_out],
            NEAREST: [one.target - estimate for one, estimate in zip(held_out, found, strict=True)],
        }
        for system, error in errors.items():
            squared = float(np.mean(np.concatenate(error) ** 2))
            write_curve(out / "curves" / f"{system}.csv", ("step", "validation_loss"), [(0, squared)])

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,  # noqa: ARG002
        truth: Mapping[str, Any] | None,
    ) -> Iterator[Performance]:
        """Play every film of the instrument by every system.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        loaded = {system: _load(trained / system) for system in self.systems}
        for name, film in films.items():
            for system in self.systems:
                state, facts = loaded[system]
                if film.instrument not in (None, facts["instrument"]):
                    continue
                frame_rate, pitches = facts["frame_rate"], facts["pitches"]
                n_windows = n_windows_of(film.duration_s, frame_rate)
                if system == TRUE:
                    known = None if truth is None else truth[name]
                    if not isinstance(known, CaptureTruth):
                        continue
                    amplitudes = np.asarray(known.amplitudes.values / np.float32(facts["maximum"]), np.float32)
                elif system == MEAN:
                    amplitudes = np.tile(state["amplitudes"], (n_windows, 1))
                else:
                    inputs = stack_film(film, facts["pictures"], n_windows=n_windows, frame_rate=frame_rate)
                    amplitudes = nearest_amplitudes(inputs, state["pictures"], state["amplitudes"])
                yield performance_of(
                    amplitudes,
                    system=system,
                    name=name,
                    film=film,
                    maximum=facts["maximum"],
                    picker=facts["picker"],
                    pitches=pitches,
                    frame_rate=frame_rate,
                )


def nearest_amplitudes(
    inputs: FilmInputs, bank: NDArray[np.float32], amplitudes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return for each window of a film the amplitudes (F, n) of the training stack that is nearest to its own.

    Args:
        inputs: the film's stacks.
        bank: stacks of training (K, pixels).
        amplitudes: theirs (K, n).
    """
    import torch  # only training and synthesis compute with it

    found = np.zeros((len(inputs.is_filmed), amplitudes.shape[1]), np.float32)
    known = torch.from_numpy(bank)
    squares = known.square().sum(dim=1)
    filmed = np.flatnonzero(inputs.is_filmed)
    for start in range(0, len(filmed), COMPARED_AT_A_TIME):
        windows = filmed[start : start + COMPARED_AT_A_TIME]
        stacks = np.stack([inputs.frames(int(window), int(window) + 1).ravel() for window in windows])
        # Squared distances but for the stack's own square, which is the same to all: half the time of cdist.
        apart = torch.addmm(squares, torch.from_numpy(stacks), known.T, alpha=-2)
        found[windows] = amplitudes[apart.argmin(dim=1).numpy()]
    return found


def _load(stem: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `CaptureBaselines.fit` wrote of a system.

    Raises:
        DamagedData: a file is missing, or not what is written there.
    """
    arrays, facts = load_trained(
        stem,
        {
            "picker": lambda found: Picker(**found),
            "pictures": lambda found: PictureFormat(**found),
            "frame_rate": Fraction,
            "maximum": float,
            "pitches": tuple,
        },
    )
    n_notes = len(facts["pitches"])
    if "amplitudes" in arrays and arrays["amplitudes"].shape[-1] != n_notes:
        raise DamagedData(
            f"{stem}.safetensors has amplitudes of shape {arrays['amplitudes'].shape}, of {n_notes} notes"
        )
    return arrays, facts
