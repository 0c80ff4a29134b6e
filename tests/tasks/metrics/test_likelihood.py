"""The likelihood of a take, and what its pictures are worth."""

import numpy as np

from tasks.metrics.likelihood import nats_of_segments


def test_the_worth_of_the_pictures_is_what_others_add():
    nats, other = np.array([1.0, 2.0]), np.array([4.0, 3.5])
    assert nats_of_segments(nats) == {"nats_per_sample": 1.5}
    assert nats_of_segments(nats, other) == {
        "nats_per_sample": 1.5,
        "nats_other_pictures": 3.75,
        "picture_worth": 2.25,
    }
    assert nats_of_segments(nats, nats)["picture_worth"] == 0.0


def test_a_take_without_segments_has_no_likelihood():
    assert nats_of_segments(np.empty(0)) == nats_of_segments(np.empty(0), np.empty(0)) == {}
