"""Values by seed become the spread that two trainings differ by."""

import numpy as np
import pytest
import scipy.stats

from tasks.versions.noise import read_noise, replicates_text

VALUES = [0.4, 0.45, 0.5, 0.42, 0.48]


class Kept:
    name = "v"

    def text(self, path):
        return replicates_text(range(5), {"s": {"onset_f1": VALUES}}) if path == "data/replicates/f.json" else None


def test_two_trainings_differ_by_the_root_of_two_of_what_one_varies_by():
    (key, noise) = next(iter(read_noise(Kept(), ["f", "unmeasured"]).items()))
    assert key == ("f", "s", "onset_f1")
    assert noise.error == pytest.approx(np.sqrt(2) * np.std(VALUES, ddof=1))
    assert noise.p_value(0.1) == pytest.approx(2 * scipy.stats.t.sf(0.1 / noise.error, 4))
