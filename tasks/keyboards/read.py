"""Read a film of a keyboard: find it, decide whether its keys light up or are pressed, and return their notes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import HIGHEST_PITCH, LOWEST_PITCH
from tasks.instruments.notes import Notes, sorted_notes
from tasks.keyboards.dynamics import velocities
from tasks.keyboards.evidence import PER_WHITE, Evidence, alike, gather
from tasks.keyboards.film import Frame, all_pictures, keyboard_band, median_picture, still_pictures, whole_frame
from tasks.keyboards.find import Found, find_keyboards
from tasks.keyboards.layout import Keys, is_black, name_of
from tasks.keyboards.lit import LitNote, lit_notes, with_restrikes
from tasks.keyboards.params import FindParams
from tasks.keyboards.place import Place, place_of_corners
from tasks.keyboards.pressed import pressed_notes
from tasks.media.probe import MediaFacts, MediaPolicy, probe
from tasks.media.process import MediaError, shown

_CRISP = 0.75  # share of its height that drawn light keeps; hands come and go in less even ways
_RISE_S = 0.07  # that drawn light takes to come on, at most
_MOSTLY = 0.6  # of the lit notes have to be crisp
_LEAST_CHROMA = 15.0  # levels: the middle colour of notes of coloured light
_LEAST_HEIGHT = 24.0  # levels: the middle height of notes of grey light
_AT_ONCE = 0.9  # of the notes of grey light come on from one picture to the next
_TOLD_S = 0.3  # a shorter stretch without the keyboard is not worth a word
_IN_PLACE = 0.6  # correlation of the keys in a picture with where they were found: below it they are elsewhere
_MOVED_SHARE = 0.15  # of a film, in which they have to be elsewhere for it to be a camera that was moved for good
_MOVED_STILLS = 4
_LEAST_GAP_S = 1e-3  # between a key's release and its next stroke

Mode = Literal["lit", "pressed"]


class KeyboardParams(FindParams):
    """How real keyboards are read."""

    lead_s: float  # from when a pressed key is seen half way down to its sound
    velocity: int  # MIDI, of lit notes, and of the middle of pressed ones
    gain: float  # of the synthesizer; the sound is then fitted to full scale


class KeyboardError(MediaError):
    """A film whose keyboard cannot be read: what was found, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says about a film.

    Attributes:
        crop: x, y, width and height of the part of the upright picture that is read; None reads all of it.
        corners: of the white keys, (4, 2) pixels of the whole picture, from the player's far left clockwise.
        lowest: MIDI note of the lowest key.
        lead_s: instead of the parameter's.
    """

    crop: tuple[int, int, int, int] | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    lowest: int | None = None
    lead_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class FoundKeyboard:
    """A keyboard that was found in a film.

    Attributes:
        place: in pixels of the upright picture.
        still: (3, height, width) the film's median picture, as large as it is searched.
        frame: what part of the picture that is.
        score: of the pattern of black keys; NaN where the corners were given.
        remarks: what a user should know.
        span_s: from when to when it is there.
        moved: where it is in the rest of the film, when the camera is moved for good.
    """

    place: Place
    still: NDArray[np.uint8]
    frame: Frame
    score: float
    remarks: tuple[str, ...]
    span_s: tuple[float, float] = (-inf, inf)
    moved: "FoundKeyboard | None" = None


@dataclass(frozen=True, kw_only=True)
class KeyboardReading:
    """What a film of a keyboard plays.

    Attributes:
        found: the keyboard.
        notes: that it plays.
        mode: whether its keys light up or are pressed.
        hidden_s: spans in which the keyboard is not in view; nothing is read there.
        duration_s: of the film.
        n_pictures: that were read.
        remarks: what a user should know.
    """

    found: FoundKeyboard
    notes: Notes
    mode: Mode
    hidden_s: tuple[tuple[float, float], ...]
    duration_s: float
    n_pictures: int
    remarks: tuple[str, ...]

    @property
    def place(self) -> Place:
        """The keyboard's place, in pixels of the upright picture."""
        return self.found.place

    @property
    def keys(self) -> Keys:
        """The keys that the keyboard has."""
        return self.found.place.keys

    def __str__(self) -> str:
        return f"keyboard: {self.keys}, {self.place.white_px:.0f} px a key, {self.mode} keys; {len(self.notes)} notes"


def _quiet(_: str) -> None:
    pass


def read_keyboard_film(
    video: Path,
    *,
    policy: MediaPolicy,
    params: KeyboardParams,
    asked: Asked | None = None,
    progress: Callable[[str], None] = _quiet,
) -> KeyboardReading:
    """Return the notes that a film of a keyboard plays.

    Args:
        video: the film.
        policy: what it may cost.
        params: typed values of ``perform.keyboard``.
        asked: what the user says about it.
        progress: called with what begins, in a few words.

    Raises:
        KeyboardError: ``NO_KEYBOARD``, ``KEYS_TOO_SMALL``, ``BAD_REGION``.
        MediaError: the film cannot be used, or is a single picture.
        ToolError: ffmpeg is missing, or did not do what was requested.
    """
    asked = asked or Asked()
    facts = probe(video, policy=policy)
    found = find_in_film(video, facts, policy=policy, params=params, asked=asked, progress=progress)
    progress("reading the keys")
    views = [found] if found.moved is None else sorted([found, found.moved], key=lambda view: view.span_s)
    seen = [evidence_of(video, facts, view, policy=policy, progress=progress) for view in views]
    time_s = np.concatenate([evidence.time_s for evidence in seen])
    if len(time_s) < 2:
        raise KeyboardError(f"{shown(video)}: holds one picture, expected a film", kind="ONE_PICTURE")
    rate = facts.video.frame_rate if facts.video is not None else 25
    duration_s = max(facts.duration_s or 0.0, float(time_s[-1] + 1 / rate))
    lead_s = params.lead_s if asked.lead_s is None else asked.lead_s
    read = [
        notes_of(
            evidence,
            view.place.keys,
            duration_s=min(duration_s, view.span_s[1]),
            lead_s=lead_s,
            velocity=params.velocity,
        )
        for view, evidence in zip(views, seen, strict=True)
    ]
    hidden_s = tuple(span for evidence in seen for span in _hidden_spans(evidence))
    remarks = [*found.remarks, *_told(seen, hidden_s)]
    return KeyboardReading(
        found=found,
        notes=_joined([notes for _, notes in read]),
        mode=next(mode for view, (mode, _) in zip(views, read, strict=True) if view is found),
        hidden_s=hidden_s,
        duration_s=duration_s,
        n_pictures=len(time_s),
        remarks=tuple(remarks),
    )


def evidence_of(
    video: Path, facts: MediaFacts, view: FoundKeyboard, *, policy: MediaPolicy, progress: Callable[[str], None]
) -> Evidence:
    """Return what a film shows of the keys while they are where they were found."""
    band, rows = keyboard_band(view.frame, view.frame.inside(view.place))
    first_s, end_s = view.span_s
    pictures = (
        (some[within], time_s[within])
        for some, time_s in all_pictures(video, facts, band, policy=policy, progress=progress)
        if (within := (time_s >= first_s) & (time_s < end_s)).any()
    )
    return gather(pictures, view.still[:, rows], band.inside(view.place))


def _joined(parts: list[Notes]) -> Notes:
    columns = [np.concatenate(column) for column in zip(*(part.columns().values() for part in parts), strict=True)]
    onset_s, offset_s, sounding_offset_s, pitch, velocity = columns
    return sorted_notes(onset_s, offset_s, pitch, velocity, sounding_offset_s)


def find_in_film(
    video: Path,
    facts: MediaFacts,
    *,
    policy: MediaPolicy,
    params: FindParams,
    asked: Asked,
    progress: Callable[[str], None] = _quiet,
) -> FoundKeyboard:
    """Find the keyboard of a film in its median picture; arguments and errors as `read_keyboard_film`."""
    if facts.video is None:
        raise MediaError(f"{shown(video)}: holds no video stream", kind="NO_VIDEO")
    size = facts.video.width, facts.video.height
    if (crop := asked.crop) is not None and (crop[0] + crop[2] > size[0] or crop[1] + crop[3] > size[1]):
        raise KeyboardError(
            f"{shown(video)}: crop is {','.join(map(str, crop))}, expected x,y,width,height within {size[0]}x{size[1]}",
            kind="BAD_REGION",
        )
    progress("looking for the keyboard")
    frame = whole_frame(facts.video, asked.crop)
    stills, still_s = still_pictures(video, facts, frame, policy=policy)
    still = median_picture(stills)
    keyboards, score = find_keyboards(still[0].astype(np.float32), min_score=params.min_score)
    remarks: list[str] = []
    if asked.corners is not None:
        place = _given(video, np.asarray(asked.corners, np.float64), size, keyboards, frame, asked)
        score = float("nan")
    elif not keyboards:
        raise KeyboardError(
            f"{shown(video)}: no keyboard was found: the best match of black keys scores {score:.2f}, expected at "
            f"least {params.min_score:.2f} with white keys beside it; film it from above, or give --corners",
            kind="NO_KEYBOARD",
        )
    else:
        place, score = frame.outside(keyboards[0].place), keyboards[0].score
        if len(keyboards) > 1:
            boxes = " and ".join(_box(frame.outside(one.place)) for one in keyboards[:2])
            remarks.append(f"{len(keyboards)} keyboards were found, at {boxes}: the first is read; choose by --crop")
    if asked.lowest is not None:
        place = replace(place, keys=_moved(video, place.keys, asked.lowest))
    elif place.keys.guessed:
        remarks.append(
            f"not all of 88 keys are in view: the lowest is taken for {name_of(place.keys.lowest)}, a guess; "
            "--lowest names it"
        )
    if place.upside_down:
        remarks.append("the keyboard is upside down in the picture: it is read from the player's side")
    if place.mirrored:
        remarks.append("the picture is mirrored: low keys are read from its other side")
    if place.white_px < params.min_white_px:
        raise KeyboardError(
            f"{shown(video)}: the keys are too small: {place.white_px:.1f} px a white key, expected at least "
            f"{params.min_white_px:g}; film from nearer, or with more pixels",
            kind="KEYS_TOO_SMALL",
        )
    found = FoundKeyboard(place=place, still=still, frame=frame, score=score, remarks=tuple(remarks))
    if asked.corners is not None:
        return found
    return _with_move(found, stills, still_s, params.min_score)


def _with_move(
    found: FoundKeyboard, stills: NDArray[np.uint8], still_s: NDArray[np.float64], min_score: float
) -> FoundKeyboard:
    """Return a keyboard with its place before or after the camera was moved for good; as it is where that is not seen.

    Args:
        found: where it is in most of the film.
        stills: (n, 3, height, width) pictures of the film.
        still_s: (n,) their times.
        min_score: of the pattern of black keys.
    """
    is_away = alike(stills, found.still, found.frame.inside(found.place)) < _IN_PLACE
    n_away = int(is_away.sum())
    is_first = bool(is_away[:n_away].all())
    if n_away < max(_MOVED_STILLS, _MOVED_SHARE * len(stills)) or not (is_first or is_away[-n_away:].all()):
        return found
    still = median_picture(stills[is_away])
    keyboards, score = find_keyboards(still[0].astype(np.float32), min_score=min_score)
    place = found.frame.outside(keyboards[0].place) if keyboards else None
    if place is None or len(place.keys.pitches) != len(found.place.keys.pitches):
        return found
    border = n_away if is_first else len(stills) - n_away
    moved_s = float(still_s[border - 1] + still_s[border]) / 2
    spans = ((-inf, moved_s), (moved_s, inf))
    other = replace(
        found,
        place=replace(place, keys=found.place.keys),
        still=still,
        score=score,
        span_s=spans[0 if is_first else 1],
    )
    told = f"the camera was moved at about {moved_s:.1f} s: the keys are read where they are before and after"
    return replace(found, span_s=spans[1 if is_first else 0], moved=other, remarks=(*found.remarks, told))


def _given(
    video: Path,
    corners: NDArray[np.float64],
    size: tuple[int, int],
    keyboards: list[Found],
    frame: Frame,
    asked: Asked,
) -> Place:
    """Return the place of the corners that the user gave: of the keys found there, else of 88."""
    if (corners < -np.array(size) * 0.2).any() or (corners > np.array(size) * 1.2).any():
        found = ",".join(f"{number:g}" for number in corners.ravel())
        raise KeyboardError(
            f"{shown(video)}: corners are {found}, expected the white keys' within {size[0]}x{size[1]}",
            kind="BAD_REGION",
        )
    keys = Keys(lowest=LOWEST_PITCH, highest=HIGHEST_PITCH, guessed=asked.lowest is None)
    for one in keyboards:
        near = frame.outside(one.place)
        if np.abs(near.corners - corners).max() < 3 * near.white_px:
            keys = near.keys
    return place_of_corners(keys, corners)


def _moved(video: Path, keys: Keys, lowest: int) -> Keys:
    """Return as many keys from another lowest one."""
    highest = lowest + len(keys.pitches) - 1
    if is_black(lowest) or lowest % 12 != keys.lowest % 12 or highest > HIGHEST_PITCH:
        raise KeyboardError(
            f"{shown(video)}: the lowest key cannot be {name_of(lowest)}: the black keys in view say "
            f"{name_of(keys.lowest)[:-1]}, and {len(keys.pitches)} keys have to end at C8",
            kind="BAD_REGION",
        )
    return Keys(lowest=lowest, highest=highest, guessed=False)


def _box(place: Place) -> str:
    low, high = place.corners.min(axis=0), place.corners.max(axis=0)
    return f"{low[0]:.0f},{low[1]:.0f},{high[0] - low[0]:.0f},{high[1] - low[1]:.0f}"


def notes_of(evidence: Evidence, keys: Keys, *, duration_s: float, lead_s: float, velocity: int) -> tuple[Mode, Notes]:
    """Return whether keys light up or are pressed, and their notes.

    Args:
        evidence: of a film.
        keys: that it shows.
        duration_s: of the film; notes end there.
        lead_s: from when a pressed key is half way down to its sound.
        velocity: MIDI, of lit notes, and of the middle of those whose keys' travel is seen.
    """
    lit = lit_notes(evidence)
    mode: Mode = "lit" if is_lit(lit) else "pressed"
    if mode == "lit":
        rows = [(note.key, note.onset_s, note.offset_s, velocity) for note in with_restrikes(lit, evidence)]
    else:
        pressed = pressed_notes(evidence)
        struck = velocities(np.array([note.travel_s for note in pressed], np.float64), velocity).tolist()
        rows = [
            (note.key, note.onset_s + lead_s, note.offset_s, velocity)
            for note, velocity in zip(pressed, struck, strict=True)
        ]
    rows = [row for row in rows if 0 <= row[1] < duration_s - _LEAST_GAP_S]
    last_of: dict[int, int] = {}
    ends: list[float] = [min(max(offset_s, onset_s + 0.03), duration_s) for _, onset_s, offset_s, _ in rows]
    for number in sorted(range(len(rows)), key=lambda row: rows[row][1]):
        key, onset_s, *_ = rows[number]
        if key in last_of:
            before = last_of[key]
            ends[before] = max(rows[before][1] + _LEAST_GAP_S, min(ends[before], onset_s - _LEAST_GAP_S))
        last_of[key] = number
    return mode, sorted_notes(
        np.array([row[1] for row in rows], np.float64),
        np.array(ends, np.float64),
        np.array([keys.lowest + row[0] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
    )


def is_lit(notes: list[LitNote]) -> bool:
    """Say whether notes are of drawn light: it comes on at once, stays as it is, and has a colour or comes in one step.

    A key that goes down is darker too, but has no other colour, and takes longer than a picture.
    """
    if not notes:
        return False
    crisp = [note.crispness >= _CRISP and note.rise_s <= _RISE_S for note in notes]
    if float(np.mean(crisp)) < _MOSTLY:
        return False
    if float(np.median([note.chroma for note in notes])) >= _LEAST_CHROMA:
        return True
    at_once = float(np.mean([note.rise_s == 0 for note in notes]))
    return at_once >= _AT_ONCE and float(np.median([note.height for note in notes])) >= _LEAST_HEIGHT


def _hidden_spans(evidence: Evidence) -> tuple[tuple[float, float], ...]:
    """Return spans in which most keys are not in view."""
    edges = np.diff(np.r_[False, ~evidence.is_shown, False].astype(np.int8))
    time_s = evidence.time_s
    spans = []
    for first, last in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
        begin, end = float(time_s[first]), float(time_s[min(last, len(time_s) - 1)])
        if end - begin >= _TOLD_S:
            spans.append((begin, end))
    return tuple(spans)


def _told(seen: list[Evidence], hidden_s: tuple[tuple[float, float], ...]) -> list[str]:
    """Return remarks on where the keyboard is not in view, and on a camera that was nudged."""
    told = []
    if hidden_s:
        spans = ", ".join(f"{begin:.1f}-{end:.1f} s" for begin, end in hidden_s[:5])
        told.append(f"the keyboard is not in view, or not where it was, at {spans}: no notes are read there")
    for evidence in seen:
        steps = np.flatnonzero(np.abs(np.diff(evidence.moves)) >= 1)
        if len(steps):
            first = int(steps[0])
            keys = float(np.abs(evidence.moves).max()) / PER_WHITE
            told.append(f"the camera moved by up to {keys:.1f} white keys from {evidence.time_s[first + 1]:.1f} s on")
    return told
