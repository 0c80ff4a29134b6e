"""Verb ``separate`` for ensembles: its players and their videos, from files or from a take of the data set.

Shapes: K players, C channels, n samples, T pictures, H rows and W columns of a picture, F motion features.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit
from tasks.families.separation import Mixture, mixture_of
from tasks.features.cuts import cut_squares
from tasks.features.motion import motion_features
from tasks.features.players import find_players
from tasks.intake.describe import read_take_file
from tasks.intake.folder import TAKE_FILE
from tasks.media.pictures import iter_pictures
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.separate import Remark, SeparateError, known_instrument
from tasks.store.ensembles import PICTURE_SIZE, EnsembleSet
from tasks.store.views import pictures_at
from tasks.synchronize import SynchronizeParams, sync_files

FRAME_RATE = Fraction(25)  # of videos that are read here, as the extract stage has them
MOST_ROWS = 240  # of the pictures that players are detected in
SAME_LENGTH_S = 0.1  # that a mix may be longer or shorter than its take
LATE_S = 0.5  # that a video may begin late, or end early, without a remark


def instruments_of(mix: Path, *, players: Sequence[str] | None, take: str | None, data: Path) -> tuple[str, ...]:
    """Return a code a player: of a take of the data set, of named players, or of the take.yaml beside the mix.

    Raises:
        SeparateError: ``NO_PLAYERS``, ``UNKNOWN_INSTRUMENT``.
        DamagedData: the data set does not know the take, or is damaged.
    """
    if take is not None:
        return EnsembleSet(data).instruments(take)
    if players is not None:
        named = tuple(known_instrument(word) for word in players)
        if not named:
            raise SeparateError("players is empty, expected at least one instrument", kind="NO_PLAYERS")
        return named
    path = mix.parent / TAKE_FILE
    described = read_take_file(path).players if path.is_file() else ()
    if not described:
        raise SeparateError(
            f"{mix}: its players are not known: list their instruments, for example --players vn,vc, name a --take, or "
            f"write players into a {TAKE_FILE} beside it",
            kind="NO_PLAYERS",
        )
    return tuple(known_instrument(player.instrument) for player in described)


def mixture_of_file(
    mix: Path,
    audio: NDArray[np.float32],
    sample_rate: int,
    *,
    instruments: tuple[str, ...],
    take: str | None,
    data: Path,
    videos: Sequence[Path],
    media: MediaPolicy,
    clock: SynchronizeParams,
    remark: Remark,
) -> Mixture:
    """Return a mix with what is known of its players.

    Args:
        mix: the file, for its sound and its name.
        audio: (C, n) what was read of it.
        sample_rate: of ``audio``, in Hz.
        instruments: a code a player.
        take: of the data set, whose videos and notes are used; None uses ``videos``.
        data: the data set.
        videos: as in `tasks.separate.separate_file`; none gives a mix without pictures.
        media: limits of a video.
        clock: how a video with sound is synchronized with the mix.
        remark: called with what was assumed.

    Raises:
        SeparateError: ``OTHER_LENGTH``, ``VIDEOS``.
        PlayersNotFound: fewer players are detected than there are instruments.
        MediaError: a video cannot be used.
    """
    duration_s = audio.shape[1] / sample_rate
    if take is not None:
        ensembles = EnsembleSet(data)
        length_s = ensembles.duration_s(take)
        if abs(length_s - duration_s) > SAME_LENGTH_S:
            raise SeparateError(
                f"{mix}: lasts {duration_s:.3f} s, take {take} {length_s:.3f} s: expected its mix", kind="OTHER_LENGTH"
            )
        return replace(mixture_of(ensembles, take), audio=audio, sample_rate=sample_rate)
    pictures = motion = None
    if videos:
        placed = [(video, _clock(mix, video, media, clock, remark)) for video in videos]
        pictures = _pictures(placed, len(instruments), duration_s, media, remark)
        motion = np.stack([motion_features(of_one) for of_one in pictures])
    return Mixture(
        audio=audio,
        sample_rate=sample_rate,
        instruments=instruments,
        motion=motion,
        pictures=pictures,
        rolls=None,
        frame_rate=FRAME_RATE,
    )


def _clock(mix: Path, video: Path, policy: MediaPolicy, params: SynchronizeParams, remark: Remark) -> ClockFit | None:
    """Return the clock of a video against the mix, synchronized by its sound; None where it begins with the mix."""
    if probe(video, policy=policy).audio is None:
        return None
    (placed,) = sync_files(mix, [video], params=params).others
    if placed.fit is None or placed.fit.verdict != "locked":
        remark(
            f"{video.name} is assumed to begin with the mix: it cannot be synchronized by its sound, {placed.reason}"
        )
        return None
    return placed.fit


def _pictures(
    videos: Sequence[tuple[Path, ClockFit | None]],
    n_players: int,
    duration_s: float,
    policy: MediaPolicy,
    remark: Remark,
) -> NDArray[np.uint8]:
    """Return the pictures of each player (K, T, H, W) at `FRAME_RATE`."""
    if len(videos) not in (1, n_players):
        raise SeparateError(
            f"{len(videos)} videos of {n_players} players, expected one of all or one of each", kind="VIDEOS"
        )
    n_frames = max(int(duration_s * FRAME_RATE), 1)
    if len(videos) == n_players:
        size = (PICTURE_SIZE, PICTURE_SIZE)
        return np.stack([_on_grid(*video, size, n_frames, policy, remark) for video in videos])
    ((video, clock),) = videos
    facts = probe(video, policy=policy)
    if facts.video is None:
        raise MediaError(f"{video}: holds no video stream", kind="NO_VIDEO")
    scale = min(1.0, MOST_ROWS / facts.video.height)
    size = (max(round(facts.video.height * scale), 1), max(round(facts.video.width * scale), 1))
    of_all = _on_grid(video, clock, size, n_frames, policy, remark)
    return cut_squares(of_all, find_players(of_all, n_players), size=PICTURE_SIZE)


def _on_grid(
    video: Path,
    clock: ClockFit | None,
    size: tuple[int, int],
    n_frames: int,
    policy: MediaPolicy,
    remark: Remark,
) -> NDArray[np.uint8]:
    """Return the pictures (n_frames, *size) that are shown at `FRAME_RATE`; the nearest where there is none."""
    if n_frames * size[0] * size[1] > policy.max_bytes:
        raise MediaError(
            f"{video}: {n_frames} pictures of {size[1]}x{size[0]}, expected at most {policy.max_bytes} bytes of them",
            kind="TOO_LARGE",
        )
    end_s = n_frames / float(FRAME_RATE)
    pictures: list[NDArray[np.uint8]] = []
    times: list[NDArray[np.float64]] = []
    for some, own_s in iter_pictures(video, width=size[1], height=size[0], policy=policy):
        some_s = own_s if clock is None else clock.to_reference(own_s)
        is_within = some_s <= end_s
        pictures.append(some[is_within])
        times.append(some_s[is_within])
        if not is_within.all():
            break
    time_s = np.concatenate(times)
    if len(time_s) < 2:
        raise MediaError(
            f"{video}: holds {len(time_s)} pictures of the mix's time, expected at least 2", kind="ONE_PICTURE"
        )
    if time_s[0] > LATE_S:
        remark(f"{video.name} begins {time_s[0]:.1f} s after the mix: until then its first picture is used")
    missing_s = end_s - time_s[-1] - 1 / float(FRAME_RATE)
    if missing_s > LATE_S:
        remark(f"{video.name} ends {missing_s:.1f} s before the mix: from then on its last picture is used")
    moments_s = np.arange(n_frames) / float(FRAME_RATE)
    return np.concatenate(pictures)[pictures_at(time_s, moments_s)]
