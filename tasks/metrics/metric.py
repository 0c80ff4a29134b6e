"""What a figure is: its key in the files of figures, its unit, and which way is better.

Each metric is declared beside the function that computes it; ``tasks.metrics.table`` collects them. Stages up to
``evaluate`` compute figures and never import the table: a new metric, or other words for one, makes no take stale.
"""

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "nearest 0", "none"]

PERFORMED = ("scores", "captures")
"""Kinds whose silent video a system gives a sound, which has notes."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure and its meaning.

    Attributes:
        key: its name in ``takes.parquet`` and in ``data/metrics``.
        label: what a column of a table is headed with.
        unit: of the value, "" where it has none.
        direction: which values are better; ``none`` where no value is: the figure is shown and never ranked.
        digits: behind the decimal point, where it is shown.
        meaning: in a sentence, for people who compare systems.
        source: the paper, standard or library that defines it.
        kinds: of data that it is measured on.
        group: title of the table it stands in; "" is the main one.
        low: the smallest value that it can have; minus infinity where there is none.
        high: the largest.
    """

    key: str
    label: str
    unit: str
    direction: Direction
    digits: int
    meaning: str
    source: str
    kinds: tuple[str, ...]
    group: str = ""
    low: float = -math.inf
    high: float = math.inf

    def range(self) -> tuple[float, float]:
        """Return the smallest and the largest value that is compared: the absolute one where the best is 0."""
        if self.direction != "nearest 0":
            return self.low, self.high
        return max(0.0, self.low, -self.high), max(abs(self.low), abs(self.high))

    def cost(self, value: float) -> float:
        """Return what is smaller for a better value; 0 where no value is better."""
        return {"lower": value, "higher": -value, "nearest 0": abs(value), "none": 0.0}[self.direction]
