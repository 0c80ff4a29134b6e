"""What a data version is made of: the figures of ``data/metrics/data.json``, which `tasks.chunk` counts.

None of them is better or worse: more data is another data version.
"""

from functools import partial

from tasks.metrics.metric import Metric

_ALL = ("scores", "captures", "ensembles")
_data = partial(Metric, unit="", direction="none", digits=0, kinds=_ALL, source="the catalog", group="Data", low=0.0)
_hours = partial(_data, unit="h", digits=2, source="the chunked takes")
METRICS = (
    _data(key="n_takes", label="Takes", meaning="takes that were accepted"),
    _data(key="n_captures", label="Captures", meaning="captures among them", kinds=("captures",)),
    _data(key="n_ensembles", label="Ensembles", meaning="ensembles among them", kinds=("ensembles",)),
    _data(key="n_pieces", label="Pieces", meaning="pieces that the takes are performances of"),
    _data(key="n_quarantined", label="Quarantined", meaning="takes that were refused"),
    _hours(key="hours", label="Scores", meaning="duration of the scores", kinds=("scores",)),
    _hours(key="capture_hours", label="Captures", meaning="duration of the captures", kinds=("captures",)),
    _hours(key="ensemble_hours", label="Ensembles", meaning="duration of the ensembles", kinds=("ensembles",)),
    *(
        _data(
            key=f"{part}_minutes",
            label=f"{part.capitalize()}, minutes",
            unit="min",
            digits=1,
            meaning=f"duration of the scores of the {part} part",
            source="the chunked takes",
            kinds=("scores",),
        )
        for part in ("train", "validation", "test")
    ),
    *(
        _data(
            key=f"{part}_segments",
            label=f"{part.capitalize()}, segments",
            meaning=f"segments of the scores of the {part} part",
            source="the index of segments",
            kinds=("scores",),
        )
        for part in ("train", "validation", "test")
    ),
)
