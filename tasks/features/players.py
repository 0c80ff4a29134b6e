"""Detection and tracking of players in the video of one camera that stands still.

Players are detected by motion and by contrast to the wall: the room does not change. Moving regions near each other are
merged to one player; a region of two players is cut where it moves least. Each player is then tracked by template
matching, for people move their chairs.

Shapes: T pictures, K players. Pixels count from the top left corner of the top left one, so that a box of the whole
picture is (0, 0, width, height).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput

Floats = NDArray[np.float64]

_WORKING_HEIGHT = 128  # pixels; a larger picture is made smaller first
_MOST_PICTURES = 200  # that motion is measured in
_LEAST_LUMA = 0.9  # mean change of a moving pixel
_OVER_NOISE = 2.2  # times the median pixel's change
_LEAST_CONTRAST = 16.0  # luma between a player and the wall
_LEAST_SHARE = 0.004  # of the picture's area, for a region
_LEAST_HEIGHT = 0.2  # of the picture's height, for a player
_FRAGMENT = 0.6  # of a player's height: a lower region is a part of a player
_OVERLAP = 0.35  # of the smaller of two regions: these are one player
_NEAR = 0.06  # of the picture's height: a fragment at most so far away is merged
_TALLEST = 1.5  # times the usual height, for one player
_NARROWEST = 0.7  # of their height, for two players' width
_WIDEST = 1.25  # of the height, for one player's width
_BESIDE = 0.5  # of the height of one of two players in a row that both have in common
_WINDOW = 25  # pictures whose median is matched in tracking
_REACH = 0.14  # of a box's height that a player may move, each way
_LOWER = 0.4  # of a box's height, from below: the template
_HOME_COST = 0.03  # squared luma for each squared pixel away from the start
_MARGIN = 0.03  # of a box's height that is added around


class PlayersNotFound(BadInput):
    """Fewer players are detected than were requested."""


@dataclass
class _Region:
    """A rectangle of the picture that belongs to a player."""

    left: int
    top: int
    right: int
    bottom: int

    def joined(self, other: "_Region") -> "_Region":
        return _Region(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def gap(self, other: "_Region") -> float:
        """Return how far apart two regions are, 0 where they touch."""
        across = max(self.left - other.right, other.left - self.right, 0)
        upright = max(self.top - other.bottom, other.top - self.bottom, 0)
        return float(across + upright)

    def covers(self, other: "_Region") -> float:
        """Return which share of the smaller of two regions the other one covers."""
        across = max(min(self.right, other.right) - max(self.left, other.left), 0)
        upright = max(min(self.bottom, other.bottom) - max(self.top, other.top), 0)
        return across * upright / min(self.area, other.area)

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Pixels."""
        return self.height * (self.right - self.left)


def find_players(pictures: NDArray[np.uint8], n: int | None) -> Floats:
    """Return where each player is in each picture of a camera that stands still.

    Args:
        pictures: (T, height, width) luma.
        n: how many there are, or None where it is not known.

    Returns:
        Boxes (K, T, 4): left, top, right, bottom in pixels; row by row from the farthest (the highest in the picture),
        and in a row from left to right. K is ``n`` where it is given; none on an empty stage.

    Raises:
        PlayersNotFound: fewer are detected than ``n``.
        ValueError: the pictures are not three-dimensional, or there is none.
    """
    if pictures.ndim != 3 or not len(pictures):
        raise ValueError(f"pictures of shape {pictures.shape}, expected (pictures, height, width), at least one")
    height, width = pictures.shape[1:]
    shrink = max(1.0, height / _WORKING_HEIGHT)
    step = -(-len(pictures) // _MOST_PICTURES)
    size = (round(width / shrink), round(height / shrink))
    small = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in pictures[::step]])
    change = _change(small)
    moving = _regions(change)
    still = np.median(small[:: max(1, len(small) // 60)], axis=0).astype(np.float32)
    players = _merged(moving, change, n, height=size[1])
    if n is not None and len(players) < n:
        raise PlayersNotFound(f"{len(players)} players detected, {n} requested", kind="PLAYERS_NOT_FOUND")
    contrast = _contrasting(still, change)
    players = _in_rows([_extended(player, players, contrast) for player in players])
    scale = np.array([width / size[0], height / size[1]] * 2)
    boxes = np.zeros((len(players), len(pictures), 4))
    for number, player in enumerate(players):
        box = np.array([player.left, player.top, player.right, player.bottom], np.float64) * scale
        margin = _MARGIN * (box[3] - box[1])
        box += np.array([-margin, -margin, margin, margin])
        boxes[number] = _tracked(pictures, box)
    boxes[..., 0::2] = np.clip(boxes[..., 0::2], 0, width)
    boxes[..., 1::2] = np.clip(boxes[..., 1::2], 0, height)
    return boxes


def _change(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return by how much each pixel changes more than the still ones: 0 where nothing moves."""
    total: NDArray[np.float32] = np.zeros(small.shape[1:], np.float32)
    parts = np.array_split(small, max(1, len(small) // 40))
    for part in parts:  # a chair that is moved once changes one part
        middle = np.median(part[::2], axis=0).astype(np.float32)
        total += np.abs(part.astype(np.float32) - middle).mean(axis=0)
    smooth = np.asarray(cv2.GaussianBlur(total / np.float32(len(parts)), (0, 0), 1.2), np.float32)
    floor = max(float(np.median(smooth)) * _OVER_NOISE, _LEAST_LUMA)
    over: NDArray[np.float32] = np.maximum(smooth - np.float32(floor), 0)
    return over


def _regions(change: NDArray[np.float32]) -> list[_Region]:
    moving = cv2.morphologyEx((change > 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    n_found, _, stats, _ = cv2.connectedComponentsWithStats(moving, connectivity=8)
    least = _LEAST_SHARE * change.size / 4
    return [
        _Region(int(left), int(top), int(left + width), int(top + height))
        for left, top, width, height, area in stats[1:n_found].tolist()
        if area >= least
    ]


def _merged(regions: list[_Region], change: NDArray[np.float32], n: int | None, *, height: int) -> list[_Region]:
    """Merge regions to players, the nearest first, and cut those that hold two."""
    players = list(regions)
    tall = [each.height for each in regions if each.height >= _LEAST_HEIGHT * height]
    fragment = _FRAGMENT * float(np.median(tall)) if tall else 0.0

    def belong(one: _Region, other: _Region) -> bool:
        # Two regions as large as players are two players, unless one is behind the other.
        parts = min(one.height, other.height) < fragment and one.gap(other) <= _NEAR * height
        return parts or one.covers(other) > _OVERLAP

    while pairs := [
        (one.gap(other), first, second)
        for first, one in enumerate(players)
        for second, other in enumerate(players[:first])
        if belong(one, other)
    ]:
        _, first, second = min(pairs)
        joined = players[first].joined(players[second])
        players = [each for place, each in enumerate(players) if place not in (first, second)] + [joined]
    players = [each for each in players if each.height >= _LEAST_HEIGHT * height]
    usual = float(np.median([each.height for each in players])) if players else 0.0
    if n is None:
        while large := [
            each
            for each in players
            if each.height > _TALLEST * usual or each.right - each.left > _WIDEST * min(each.height, usual)
        ]:
            halves = _halves(change, large[0], usual=usual)
            if halves is None:
                break
            players.remove(large[0])
            players += halves
        return players
    while len(players) > n:  # what moves least is no player
        weakest = min(players, key=lambda each: float(_inside(change, each).sum()))
        players.remove(weakest)
    while 0 < len(players) < n:
        largest = max(players, key=lambda each: each.area)
        halves = _halves(change, largest, usual=usual)
        if halves is None:
            break
        players.remove(largest)
        players += halves
    return players


def _inside(change: NDArray[np.float32], region: _Region) -> NDArray[np.float32]:
    return change[region.top : region.bottom, region.left : region.right]


def _halves(change: NDArray[np.float32], region: _Region, *, usual: float) -> list[_Region] | None:
    """Cut a region in two where it moves least, or return None where it is too small for two players.

    Between two rows where it is much higher than is usual, else between two columns.
    """
    width, height = region.right - region.left, region.height
    if height > _TALLEST * usual:
        cut = region.top + _quietest(_inside(change, region).sum(axis=1))
        return [
            _Region(region.left, region.top, region.right, cut),
            _Region(region.left, cut, region.right, region.bottom),
        ]
    if width < _NARROWEST * height:
        return None
    cut = region.left + _quietest(_inside(change, region).sum(axis=0))
    return [
        _Region(region.left, region.top, cut, region.bottom),
        _Region(cut, region.top, region.right, region.bottom),
    ]


def _quietest(profile: NDArray[np.float32]) -> int:
    """Return where a profile is lowest, not near its ends."""
    low, high = round(0.25 * len(profile)), round(0.75 * len(profile))
    smooth = cv2.GaussianBlur(np.ascontiguousarray(profile[None]), (0, 0), 2.0)[0]
    return low + int(np.argmin(smooth[low:high]))


def _contrasting(still: NDArray[np.float32], change: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels differ from the wall and the floor: a line fitted to each row where nothing moves."""
    width = still.shape[1]
    quiet = cv2.dilate((change > 0).astype(np.uint8), np.ones((1, 9), np.uint8)).sum(axis=0) == 0
    if quiet.sum() < 0.1 * width:
        return np.zeros(still.shape, bool)
    column = np.arange(width)
    slope, start = np.polyfit(column[quiet], still[:, quiet].T, 1)
    wall = start[:, None] + slope[:, None] * column
    return np.asarray(np.abs(cv2.GaussianBlur(still, (0, 0), 1.0) - wall) > _LEAST_CONTRAST)


def _extended(player: _Region, players: list[_Region], contrast: NDArray[np.bool_]) -> _Region:
    """Add what contrasts right below a player, legs and chair, as far as the next player."""
    middle = slice(
        player.left + (player.right - player.left) // 4, max(player.right - (player.right - player.left) // 4, 1)
    )
    below = [
        each.top
        for each in players
        if each is not player and each.top > (player.top + player.bottom) / 2 and each.left < player.right > 0
        if min(each.right, player.right) - max(each.left, player.left) > 0
    ]
    most = min([contrast.shape[0], *below])
    row = player.bottom
    while row < most and contrast[row, middle].mean() > 0.25:
        row += 1
    return _Region(player.left, player.top, player.right, max(row, player.bottom))


def _in_rows(players: list[_Region]) -> list[_Region]:
    """Order players row by row, the highest first, and from left to right."""
    rows: list[list[_Region]] = []
    for player in sorted(players, key=lambda each: each.top + each.bottom):
        row = rows[-1] if rows else []
        shared = [min(each.bottom, player.bottom) - max(each.top, player.top) for each in row]
        if any(share > _BESIDE * min(each.height, player.height) for share, each in zip(shared, row, strict=True)):
            row.append(player)
        else:
            rows.append([player])
    return [player for row in rows for player in sorted(row, key=lambda each: each.left)]


def _tracked(pictures: NDArray[np.uint8], box: Floats) -> Floats:
    """Return a player's boxes (T, 4), tracked by the lower part of the body, which does not play."""
    n_pictures, height, width = pictures.shape
    left, top = np.maximum(np.floor(box[:2]), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(box[2:]), (width, height)).astype(int).tolist()
    reach = max(2, round(_REACH * (bottom - top)))
    rows = slice(round(bottom - _LOWER * (bottom - top)), bottom)
    columns = slice(left + (right - left) // 5, right - (right - left) // 5)
    field = (
        slice(max(rows.start - reach // 2, 0), min(rows.stop + reach // 2, height)),
        slice(max(columns.start - reach, 0), min(columns.stop + reach, width)),
    )
    home = (columns.start - field[1].start, rows.start - field[0].start)
    starts = np.arange(0, n_pictures, _WINDOW)
    medians = [
        np.median(pictures[start : start + _WINDOW : 4][:, *field], axis=0).astype(np.float32) for start in starts
    ]
    template = np.ascontiguousarray(
        medians[0][home[1] :, home[0] :][: rows.stop - rows.start, : columns.stop - columns.start]
    )
    places = []
    for median in medians:
        cost = cv2.matchTemplate(median, template, cv2.TM_SQDIFF) / template.size
        row, column = np.mgrid[0 : cost.shape[0], 0 : cost.shape[1]]
        cost += _HOME_COST * ((row - home[1]) ** 2 + (column - home[0]) ** 2)  # as good a place nearer is more likely
        best = np.unravel_index(int(np.argmin(cost)), cost.shape)
        places.append((float(best[1] - home[0]), float(best[0] - home[1])))
    moved = np.array(places)
    beside = [np.clip(np.arange(len(moved)) + away, 0, len(moved) - 1) for away in (-1, 0, 1)]
    moved = np.median(np.stack([moved[each] for each in beside]), axis=0)
    moved -= (moved.max(axis=0) + moved.min(axis=0)) / 2
    spread = np.abs(moved).max(axis=0)
    middle = starts + np.minimum(_WINDOW, n_pictures - starts) / 2
    now = np.stack([np.interp(np.arange(n_pictures), middle, moved[:, axis]) for axis in (0, 1)], axis=1)
    inward = np.concatenate([spread, -spread])
    followed: Floats = box + inward + np.concatenate([now, now], axis=1)
    return followed
