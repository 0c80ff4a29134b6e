"""A keyboard as the pipeline stores it: its place among a device's facts, and what its film shows as arrays.

Shapes: T pictures, K keys, C columns.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.keyboards.evidence import Evidence
from tasks.keyboards.film import median_picture, still_pictures, whole_frame
from tasks.keyboards.layout import Keys, is_black
from tasks.keyboards.place import Place
from tasks.keyboards.read import FoundKeyboard, evidence_of
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError, shown

_DIGITS = 8  # of what is stored: a hundredth of a pixel, and the same on every CPU
_PICTURES = ("time_s", "colour", "profile", "bars", "hidden", "moves")
_STILL = ("still_colour", "still_profile", "spans")

Stored = Mapping[str, NDArray[Any]]
"""By name: `Evidence`'s arrays, and ``pitches`` (K,), its keys."""


def keyboard_picture(device: str) -> str:
    """Return the name of the picture of the keys that ingest found in a camera's film, beside the take's facts."""
    return f"keyboard_{device}.png"


def place_facts(place: Place) -> dict[str, Any]:
    """Return a place as JSON holds it."""
    return {
        "lowest": place.keys.lowest,
        "highest": place.keys.highest,
        "guessed": place.keys.guessed,
        "x": [round(value, _DIGITS) for value in place.x.tolist()],
        "y": [round(value, _DIGITS) for value in place.y.tolist()],
        "black_share": round(place.black_share, _DIGITS),
        "black_shift": [round(value, _DIGITS) for value in place.black_shift],
        "upside_down": place.upside_down,
        "mirrored": place.mirrored,
    }


def place_of_facts(facts: Mapping[str, Any], *, source: str) -> Place:
    """Return the place that `place_facts` described.

    Args:
        facts: of a camera's keyboard.
        source: where they stand, for the error.

    Raises:
        DamagedData: they describe none.
    """
    try:
        x, y = (np.array([float(value) for value in facts[axis]]).reshape(12) for axis in ("x", "y"))
        start, slope, bend = (float(value) for value in facts["black_shift"])
        return Place(
            keys=Keys(lowest=int(facts["lowest"]), highest=int(facts["highest"]), guessed=bool(facts["guessed"])),
            x=x,
            y=y,
            black_share=float(facts["black_share"]),
            black_shift=(start, slope, bend),
            upside_down=bool(facts["upside_down"]),
            mirrored=bool(facts["mirrored"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedData(f"{source} describes no place of a keyboard: {error!r}") from None


def film_evidence(
    video: Path, place: Place, *, crop: tuple[int, int, int, int] | None, policy: MediaPolicy
) -> Evidence:
    """Return what a film shows of the keys at a place.

    Args:
        video: the film.
        place: in pixels of its upright picture.
        crop: of that picture, as it was given when the keyboard was found.
        policy: what the film may cost.

    Raises:
        MediaError: the film cannot be read.
        ToolError: ffmpeg is missing, or did not do what was requested.
    """
    facts = probe(video, policy=policy)
    if facts.video is None:
        raise MediaError(f"{shown(video)}: holds no video stream", kind="NO_VIDEO")
    frame = whole_frame(facts.video, crop)
    stills, _ = still_pictures(video, facts, frame, policy=policy)
    found = FoundKeyboard(place=place, still=median_picture(stills), frame=frame, score=float("nan"), remarks=())
    return evidence_of(video, facts, found, policy=policy, progress=lambda _: None)


def arrays_of(evidence: Evidence, keys: Keys) -> dict[str, NDArray[Any]]:
    """Return what a film shows as arrays to store; colours are kept to an eighth of a level or better."""
    arrays = {name: getattr(evidence, name) for name in (*_PICTURES, *_STILL)}
    arrays["colour"] = evidence.colour.astype(np.float16)
    arrays["hidden"] = evidence.hidden.astype(np.uint8)
    arrays["moves"] = evidence.moves.astype(np.float32)
    arrays["still_colour"] = evidence.still_colour.astype(np.float16)
    arrays["still_profile"] = evidence.still_profile.astype(np.float16)
    arrays["pitches"] = np.array(keys.pitches, np.uint8)
    return arrays


def keyboard_of(stored: Stored) -> tuple[Evidence, Keys]:
    """Return what `arrays_of` stored.

    Raises:
        DamagedData: an array is missing.
    """
    if missing := sorted({*_PICTURES, *_STILL, "pitches"} - stored.keys()):
        raise DamagedData(f"the film's keyboard has no array {missing[0]}: run audiate chunk again")
    pitches = stored["pitches"].tolist()
    evidence = Evidence(
        time_s=stored["time_s"],
        colour=stored["colour"].astype(np.float32),
        profile=stored["profile"],
        bars=stored["bars"],
        hidden=stored["hidden"].astype(bool),
        still_colour=stored["still_colour"].astype(np.float32),
        still_profile=stored["still_profile"].astype(np.float32),
        spans=stored["spans"],
        is_black=np.array([is_black(pitch) for pitch in pitches]),
        moves=stored["moves"],
    )
    return evidence, Keys(lowest=pitches[0], highest=pitches[-1], guessed=False)


def on_clock(evidence: Evidence, time_s: NDArray[np.float64]) -> Evidence:
    """Return what a film shows, with its pictures at other times (T,): those of another clock."""
    return replace(evidence, time_s=np.asarray(time_s, np.float64))
