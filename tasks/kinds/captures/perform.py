"""Verb ``perform`` for families of captures: any video, read as the stage ``chunk`` stores what a camera shows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.base import Film
from tasks.families.trained import load_facts
from tasks.features.rectify import Rectifier
from tasks.instruments.plan import corner_places
from tasks.instruments.plan_match import MIN_MATCH, plan_match
from tasks.keyboards.read import Asked, evidence_of, find_in_film
from tasks.keyboards.stored import arrays_of
from tasks.media.pictures import iter_pictures
from tasks.media.probe import MediaFacts, MediaPolicy, packets_of
from tasks.media.process import MediaError
from tasks.perform import PerformParams, ReadFilm, Region, check_crop

KEYBOARD = "keyboard"
"""The fact ``inputs`` of systems that take what a film shows of a keyboard's keys, in place of its pictures."""


def read_video(
    video: Path,
    facts: MediaFacts,
    stem: Path,
    *,
    params: PerformParams,
    region: Region | None,
    progress: Callable[[str], None],
) -> ReadFilm:
    """Read a camera's video in the format that a system was trained on; arguments as `tasks.perform` has them.

    Raises:
        MediaError: as `camera_film`; ``OTHER_INSTRUMENT``, the video shows another one; ``NO_INSTRUMENT``, corners are
            known and what stands between them is not the instrument.
        DamagedData: the system is not trained, or its facts are damaged.
    """
    region = region or Region()
    if load_facts(stem, {}).get("inputs") == KEYBOARD:
        instrument = str(load_facts(stem, {"instrument": str})["instrument"])
        region = _region_of(video, region, instrument, stem)
        return keyboard_film(video, facts, instrument=instrument, params=params, region=region, progress=progress)
    width, height, instrument = trained_format(stem)
    region = _region_of(video, region, instrument, stem)
    if instrument != "none" and region.corners is None and region.crop is None:
        progress(f"no crop and no corners of {instrument} are known: all of the picture is used")
    progress("reading the video")
    film, n_decoded = camera_film(video, facts, width, height, region=region, policy=params.media)
    if film.margins is not None:
        _check_instrument(video, film, region.instrument, film.margins)
    return ReadFilm(film=film, name=f"{video.name}/{film.camera}", n_decoded=n_decoded)


def _region_of(video: Path, region: Region, instrument: str, stem: Path) -> Region:
    """Return a region that shows the instrument which a system was trained on."""
    if region.instrument == "none":
        region = replace(region, instrument=instrument)
    if instrument not in ("none", region.instrument):
        raise MediaError(
            f"{video}: shows {region.instrument}, expected {instrument}, which {stem.name} was trained on",
            kind="OTHER_INSTRUMENT",
        )
    return region


def keyboard_film(
    video: Path,
    facts: MediaFacts,
    *,
    instrument: str,
    params: PerformParams,
    region: Region,
    progress: Callable[[str], None],
) -> ReadFilm:
    """Read what a film shows of a keyboard's keys, at the times of its pictures; the pictures themselves are not kept.

    Raises:
        MediaError: the video cannot be used, its keyboard is not found, or it holds one picture.
    """
    found = find_in_film(
        video,
        facts,
        policy=params.media,
        params=params.keyboard,
        asked=Asked(crop=region.crop, corners=region.corners),
        progress=progress,
    )
    for remark in found.remarks:
        progress(remark)
    evidence = evidence_of(video, facts, found, policy=params.media, progress=progress)
    time_s = evidence.time_s
    if len(time_s) < 2:
        raise MediaError(f"{video}: holds one picture, expected a film", kind="ONE_PICTURE")
    last_s = float(time_s[-1] + np.median(np.diff(time_s)))
    film = Film(
        pictures=np.zeros((len(time_s), 0, 0), np.uint8),
        time_s=time_s,
        duration_s=max(facts.duration_s or 0.0, last_s),
        camera=video.stem,
        instrument=instrument,
        keyboard=arrays_of(evidence, found.place.keys),
    )
    return ReadFilm(film=film, name=f"{video.name}/{film.camera}", n_decoded=len(time_s))


def camera_film(
    video: Path, facts: MediaFacts, width: int, height: int, *, region: Region, policy: MediaPolicy
) -> tuple[Film, int]:
    """Read every picture that a camera took, as the stage ``chunk`` stores them.

    Args:
        video: the file.
        facts: of the file, as `probe` returns them.
        width: of the pictures wanted.
        height: of the pictures wanted.
        region: of the picture that is read.
        policy: what reading it may cost.

    Returns:
        The film, and how many pictures it has.

    Raises:
        MediaError: ``NO_VIDEO``; ``ONE_PICTURE``, it is no film; ``TOO_LARGE``; the crop or
            the corners lie outside of the picture, ``BAD_REGION``; as `iter_pictures` raises.
    """
    if facts.video is None:
        raise MediaError(f"{video}: holds no video stream", kind="NO_VIDEO")
    crop, rectify = region.crop, None
    whole = facts.video.width, facts.video.height
    if region.corners is not None:
        rectify = _rectifier(video, region, whole, width=width, height=height)
        crop = None
    check_crop(video, crop, whole)
    read = whole if rectify is not None else (width, height)
    pictures: list[NDArray[np.uint8]] = []
    times: list[NDArray[np.float64]] = []
    n_pictures, max_pictures = 0, policy.max_bytes // (width * height)
    for some, time_s in iter_pictures(
        video, width=read[0], height=read[1], policy=policy, crop=crop, loses_unordered=True
    ):
        pictures.append(some if rectify is None else rectify(some))
        times.append(time_s)
        n_pictures += len(some)
        if n_pictures > max_pictures:
            raise MediaError(
                f"{video}: more than {max_pictures} pictures, expected at most {policy.max_bytes} bytes of them",
                kind="TOO_LARGE",
            )
    if n_pictures < 2:
        raise MediaError(f"{video}: holds one picture, expected a film", kind="ONE_PICTURE")
    time_s = np.concatenate(times)
    end_s = packets_of(video, facts, facts.video, policy=policy).end_s
    film = Film(
        pictures=np.concatenate(pictures),
        time_s=time_s,
        duration_s=max(end_s, float(time_s[-1] + 1 / facts.video.frame_rate)),
        camera=video.stem,
        instrument=region.instrument if rectify is not None else None,
        margins=region.margins if rectify is not None else None,
    )
    return film, n_pictures


def _rectifier(video: Path, region: Region, whole: tuple[int, int], *, width: int, height: int) -> Rectifier:
    corners = np.asarray(region.corners, np.float64)
    places = corner_places(region.instrument, width=width, height=height, margins=region.margins)
    # A corner may lie a little outside of the picture.
    if (corners < -np.array(whole)).any() or (corners > 2 * np.array(whole)).any():
        found = ",".join(f"{number:g}" for number in corners.ravel())
        raise MediaError(f"{video}: corners are {found}, far outside of {whole[0]}x{whole[1]}", kind="BAD_REGION")
    try:
        return Rectifier(corners, places, width=width, height=height)
    except ValueError as error:
        raise MediaError(f"{video}: {error}", kind="BAD_REGION") from None


def _check_instrument(video: Path, film: Film, instrument: str, margins: tuple[float, float]) -> None:
    match = plan_match(film.pictures, instrument, margins=margins)
    if match is not None and match < MIN_MATCH:
        raise MediaError(
            f"{video}: no {instrument} between the corners: its bars and gaps agree by {match:.2f}, expected at least "
            f"{MIN_MATCH}; the corners run from the player's far left clockwise, --corners X,Y,...",
            kind="NO_INSTRUMENT",
        )


def trained_format(stem: Path) -> tuple[int, int, str]:
    """Return width and height of the pictures that a system was trained on, and its instrument, or ``none``.

    Raises:
        DamagedData: it is not trained, or its JSON does not hold them.
    """
    facts = load_facts(stem, {"pictures": lambda found: (int(found["width"]), int(found["height"]))})
    width, height = facts["pictures"]
    if min(width, height) < 1:
        raise DamagedData(f"{stem}.json has pictures of {width}x{height}, expected at least a pixel")
    return width, height, str(facts.get("instrument", "none"))
