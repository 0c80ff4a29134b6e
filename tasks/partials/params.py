"""What separation by partials is computed with."""

from typing import Annotated

from pydantic import Field

from tasks.params import Section

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class TrackingParams(Section):
    """How the notes of all players are found together.

    Attributes:
        compression: exponent of the magnitudes that notes are fitted to.
        second_fit_weight: nats for a frame that notes explain whole, once spectra have been adapted to the mix.
        note_cost: nats for each note that sounds.
        n_candidates: notes that are considered for a player in a frame, at most.
        change: probability that a note follows another from one frame to the next.
        rest: probability that a rest follows a note.
        start: probability that a note follows a rest.
        interval: scale of the intervals between notes, in semitones.
        range_width: standard deviation of an instrument's pitches about the middle of its range, as a share of it.
        range_weight: of this prior in each frame.
        order_width: semitones within which the order is left open.
    """

    compression: Positive
    second_fit_weight: Positive
    note_cost: Annotated[float, Field(ge=0)]
    n_candidates: Count
    change: Annotated[float, Field(gt=0, lt=0.5)]
    rest: Annotated[float, Field(gt=0, lt=0.5)]
    start: Annotated[float, Field(gt=0, lt=1)]
    interval: Positive
    range_width: Positive
    range_weight: Annotated[float, Field(ge=0)]
    order_width: Positive


class Member(Section):
    """One of several fits to a mix. What they disagree on is not sure.

    Attributes:
        likeness: share of an instrument's own spectrum against the mean of the mix's instruments, before adaptation.
        fit_weight: nats for a frame that notes explain whole, before adaptation.
        order: nats, at most, in each frame against the higher instrument's playing below the lower one.
    """

    likeness: Share
    fit_weight: Positive
    order: Annotated[float, Field(ge=0)]


class PartialsParams(Section):
    """How a mix is separated by its players' partials.

    Attributes:
        window_s: of the short-time spectra, a quarter of it from one to the next.
        top_hz: up to which spectra are fitted; masks reach beyond.
        spread_cents: standard deviation of a note's pitch about its own: vibrato and intonation.
        offsets: semitones from a note's pitch at which it may sound.
        second_likeness: share of an instrument's own spectrum against the mean of the mix's instruments, once spectra
            have been adapted.
        n_passes: tracking and adaptation in turn.
        n_iterations: of each adaptation.
        reach: semitones over which what is learned of one note's spectrum holds for others.
        hold: weight of the table's spectra against the mix's.
        mask_power: exponent of the magnitudes in the masks; 2 is Wiener's filter.
        span_s: length that is adapted to at a time.
        members: whose masks are averaged.
        surest: share of the masks in a player's sound where members agree; the rest is an equal share of the mix.
        doubt: by how much the share falls for each unit of disagreement.
        least_sure: share of the masks at least.
    """

    window_s: Positive
    top_hz: Positive
    spread_cents: Positive
    offsets: tuple[float, ...]
    second_likeness: Share
    n_passes: Count
    n_iterations: Count
    reach: Positive
    hold: Positive
    mask_power: Positive
    span_s: Annotated[float, Field(ge=10)]
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    surest: Share
    doubt: Annotated[float, Field(ge=0)]
    least_sure: Share
    tracking: TrackingParams
