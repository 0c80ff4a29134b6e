"""What is taken for a keyboard: parameters that the reader, and the stages that only look for one, share."""

from tasks.params import Section


class FindParams(Section):
    """What is taken for a keyboard."""

    min_score: float  # correlation with the pattern of black keys: 0.9 and more on keyboards, under 0.5 elsewhere
    min_white_px: float  # pixels a white key
