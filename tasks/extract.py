"""Verb ``extract``: the targets that models are trained on, and features of what they are conditioned on.

Of a score and a capture: note amplitudes and mu-law codes of its sound. Of an ensemble: each player's pictures, and
what moves in them.
"""

from fractions import Fraction
from pathlib import Path
from typing import Literal

from tasks.params import Section

EXTRACTED = Path("data/extracted")


class ExtractParams(Section):
    """The targets and features."""

    frame_rate: Fraction  # of the pictures that amplitudes are aligned to, as "25" or "30000/1001"
    code_rate: int  # Hz, of the mu-law codes
    n_classes: int  # of the codes
    players: Literal["own", "all"]  # whose cameras show an ensemble's players: their own, or that of all
