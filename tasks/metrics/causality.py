"""Whether what a system takes out of a duet follows the players' videos.

A duet is separated again with the two videos exchanged, and again with the first player's video black.

Shapes: C channels, n samples.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.metric import Metric
from tasks.metrics.separation import si_sdr_db
from tasks.metrics.sound import level_dbfs

_probe = partial(
    Metric,
    unit="dB",
    direction="none",
    digits=1,
    kinds=("ensembles",),
    source="this project: see `causality`",
    group="Does the sound follow the video?",
)
METRICS = (
    _probe(
        key="swap_follows_db",
        label="Videos exchanged",
        direction="higher",
        meaning="how much nearer each sound of a duet of one instrument comes to the other player's stem once their "
        "videos are exchanged: far above 0 for a system that follows the video",
    ),
    _probe(
        key="swap_against_labels_db",
        label="… against labels",
        meaning="the same in a duet of two instruments, whose labels stay: above 0 the video outweighs the labels",
    ),
    _probe(
        key="blank_fades_db",
        label="Video black",
        meaning="by how much the sound of a player fades once that player's video is black",
    ),
    _probe(key="blank_keeps_db", label="… of the other", meaning="by how much the other player's sound grows by that"),
)


def causality(
    truth: NDArray[np.float32],
    instruments: Sequence[str],
    *,
    sounds: NDArray[np.float32],
    swapped: NDArray[np.float32],
    blanked: NDArray[np.float32],
) -> dict[str, float]:
    """Measure whether a system's sounds (2, C, n) of a duet follow the video.

    Args:
        truth: (2, C, n).
        instruments: of both players.
        sounds: of the take.
        swapped: of the take with the videos exchanged.
        blanked: of the take with the first player's video black.

    Returns:
        ``swap_follows_db`` for two of one instrument: by how much SI-SDR against the *other* stem grows once the videos
        are exchanged. Of two instruments, whose labels stay and contradict the videos, that is
        ``swap_against_labels_db``. ``blank_fades_db``: by how much the first player's level falls.
        ``blank_keeps_db``: by how much the other's changes. A figure without a value is left out.
    """
    name = "swap_follows_db" if instruments[0] == instruments[1] else "swap_against_labels_db"
    figures: dict[str, float] = {}
    if truth.any(axis=(1, 2)).all():
        moved = [
            si_sdr_db(truth[1 - k], swapped[k]) - si_sdr_db(truth[1 - k], sounds[k])
            for k in range(2)
            if swapped[k].any() and sounds[k].any()
        ]
        if len(moved) == 2:
            figures[name] = float(np.mean(moved))
    before, after = ([level_dbfs(one.ravel()) for one in of_both] for of_both in (sounds, blanked))
    figures["blank_fades_db"] = before[0] - after[0]
    figures["blank_keeps_db"] = after[1] - before[1]
    return figures
