"""A rig to film with."""

from fractions import Fraction

import pytest

from tasks.rig.rigs import RigParams, rig_of


@pytest.fixture
def rig_params():
    return RigParams(
        sizes=((160, 90), (192, 108)),
        frame_rates=(Fraction(25), Fraction(30000, 1001)),
        n_cameras=3,
        n_microphones=2,
        views_held_out=("side_left",),
        max_early_s=1.0,
        max_late_s=0.5,
        max_drift_ppm=100.0,
        t60_s=(0.2, 0.3),
        max_wander_s=0.005,
        lost_s=(0.2, 0.4),
    )


@pytest.fixture
def draw_rig(rig_params):
    """Return a function that draws a rig."""

    def draw(seed=1, *, instrument="marimba-18", is_test=False, trait="plain", duration_s=30.0, **changes):
        return rig_of(
            seed,
            instrument=instrument,
            is_test=is_test,
            trait=trait,
            duration_s=duration_s,
            params=rig_params.model_copy(update=changes),
        )

    return draw
