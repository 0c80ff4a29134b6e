"""The notes that were played in a capture: the reference of its evaluation."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from tasks.features.note_picking import CAREFUL, pick_notes
from tasks.instruments.notes import Notes, sorted_notes
from tasks.rig.truth import read_truth
from tasks.store.views import View, ViewSet

FILMED = Path("data/filmed")


def played_notes(view: View, views: ViewSet) -> Notes:
    """Return what was played in a take whose instrument has notes, on its master's clock.

    For a filmed take that is its truth, else the MIDI that was recorded with it, else the rises of the true amplitudes.
    """
    facts = views.open(view.take).attributes
    master = str(facts["master"])
    if (FILMED / view.take / "truth.json").exists():
        truth = read_truth(FILMED / view.take)
        onset_s, offset_s = (
            truth.clocks[master].to_device(truth.notes[:, column] + truth.flight_s[master]) for column in (0, 1)
        )
        return sorted_notes(onset_s, offset_s, *truth.notes[:, 2:].astype(np.uint8).T)
    recorded = views.notes(view.take)
    if recorded is not None:
        return sorted_notes(
            recorded["onset_s"],
            recorded["offset_s"],
            recorded["pitch"].astype(np.uint8),
            recorded["velocity"].astype(np.uint8),
        )
    values = views.amplitudes(view.take)
    relative = values / max(float(values.max()), 1e-12)
    picked = pick_notes(relative, frame_rate=Fraction(facts["frame_rate"]), picker=CAREFUL)
    velocity = np.clip(np.rint(127 * np.sqrt(picked.amplitude)), 1, 127).astype(np.uint8)
    return sorted_notes(picked.onset_s, picked.offset_s, np.asarray(facts["pitches"], np.uint8)[picked.note], velocity)
