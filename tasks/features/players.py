"""Players found in one camera's film: told from the room by their movement and contrast, cut apart and followed.

A camera that stands still sees a room that does not change. What does change, and what stands out from the wall
together with it, is players: pieces that are near each other belong to one, and where two touch, the quietest column
between them parts them. Each is then followed by his own looks, for people move their chairs.

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
_MOST_PICTURES = 200  # that movement is measured in
_LEAST_LUMA = 0.9  # mean change of a pixel that moves
_OVER_NOISE = 2.2  # times the change of the pixel in the middle of the ranking
_STANDS_OUT = 16.0  # luma by which somebody differs from the wall
_LEAST_SHARE = 0.004  # of the picture that a piece covers
_LEAST_HEIGHT = 0.2  # of the picture that a player covers
_FRAGMENT = 0.6  # of a player's height: a lower piece is a part of somebody
_OVERLAP = 0.35  # of the smaller of two pieces that are one
_NEAR = 0.06  # of the picture's height: pieces that are nearer to each other are one player's
_TALLEST = 1.5  # times what is usual that one player's height can be
_NARROWEST = 0.7  # of their height that two players' width is
_WIDEST = 1.25  # of his height that one player's width can be
_BESIDE = 0.5  # of the height of one of two players in a row that both have in common
_WINDOW = 25  # pictures that are looked at together when somebody is followed
_FOLLOWED = 0.14  # of a box's height that somebody can move away, each way
_LOWER = 0.4  # of a box's height, from below, that he is followed by
_STAYS = 0.03  # squared luma that a pixel away from home has to be better by
_MARGIN = 0.03  # of a box's height that is added around


class PlayersNotFound(BadInput):
    """Fewer players are seen than were asked for."""


@dataclass
class _Piece:
    """A part of the picture that belongs to a player."""

    left: int
    top: int
    right: int
    bottom: int

    def joined(self, other: "_Piece") -> "_Piece":
        return _Piece(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def gap(self, other: "_Piece") -> float:
        """Return how far apart two pieces are, 0 where they touch."""
        across = max(self.left - other.right, other.left - self.right, 0)
        upright = max(self.top - other.bottom, other.top - self.bottom, 0)
        return float(across + upright)

    def covers(self, other: "_Piece") -> float:
        """Return which share of the smaller of two pieces the other one covers."""
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
        PlayersNotFound: fewer are seen than ``n``.
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
    seen = _pieces(change)
    still = np.median(small[:: max(1, len(small) // 60)], axis=0).astype(np.float32)
    players = _gathered(seen, change, n, height=size[1])
    if n is not None and len(players) < n:
        raise PlayersNotFound(f"{len(players)} players seen, {n} asked for", kind="PLAYERS_NOT_FOUND")
    out = _standing_out(still, change)
    players = _in_rows([_grown(player, players, out) for player in players])
    scale = np.array([width / size[0], height / size[1]] * 2)
    boxes = np.zeros((len(players), len(pictures), 4))
    for number, player in enumerate(players):
        box = np.array([player.left, player.top, player.right, player.bottom], np.float64) * scale
        margin = _MARGIN * (box[3] - box[1])
        box += np.array([-margin, -margin, margin, margin])
        boxes[number] = _followed(pictures, box)
    boxes[..., 0::2] = np.clip(boxes[..., 0::2], 0, width)
    boxes[..., 1::2] = np.clip(boxes[..., 1::2], 0, height)
    return boxes


def _change(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much each pixel changes, over what the quiet ones do: 0 where nothing moves."""
    total: NDArray[np.float32] = np.zeros(small.shape[1:], np.float32)
    parts = np.array_split(small, max(1, len(small) // 40))
    for part in parts:  # a chair that is moved once changes one part
        middle = np.median(part[::2], axis=0).astype(np.float32)
        total += np.abs(part.astype(np.float32) - middle).mean(axis=0)
    smooth = np.asarray(cv2.GaussianBlur(total / np.float32(len(parts)), (0, 0), 1.2), np.float32)
    floor = max(float(np.median(smooth)) * _OVER_NOISE, _LEAST_LUMA)
    over: NDArray[np.float32] = np.maximum(smooth - np.float32(floor), 0)
    return over


def _pieces(change: NDArray[np.float32]) -> list[_Piece]:
    moving = cv2.morphologyEx((change > 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    n_found, _, stats, _ = cv2.connectedComponentsWithStats(moving, connectivity=8)
    least = _LEAST_SHARE * change.size / 4
    return [
        _Piece(int(left), int(top), int(left + width), int(top + height))
        for left, top, width, height, area in stats[1:n_found].tolist()
        if area >= least
    ]


def _gathered(seen: list[_Piece], change: NDArray[np.float32], n: int | None, *, height: int) -> list[_Piece]:
    """Join pieces to players, the nearest first, and part those that touch."""
    players = list(seen)
    tall = [each.height for each in seen if each.height >= _LEAST_HEIGHT * height]
    fragment = _FRAGMENT * float(np.median(tall)) if tall else 0.0

    def belong(one: _Piece, other: _Piece) -> bool:
        # Two that are as large as people each are two people, unless they are one behind the other.
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
            halves = _parted(change, large[0], usual=usual)
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
        halves = _parted(change, largest, usual=usual)
        if halves is None:
            break
        players.remove(largest)
        players += halves
    return players


def _inside(change: NDArray[np.float32], piece: _Piece) -> NDArray[np.float32]:
    return change[piece.top : piece.bottom, piece.left : piece.right]


def _parted(change: NDArray[np.float32], piece: _Piece, *, usual: float) -> list[_Piece] | None:
    """Cut a piece in two where it moves least, or return None where it is too small for two.

    Between two rows where it is much higher than is usual, else between two columns.
    """
    width, height = piece.right - piece.left, piece.height
    if height > _TALLEST * usual:
        cut = piece.top + _quietest(_inside(change, piece).sum(axis=1))
        return [
            _Piece(piece.left, piece.top, piece.right, cut),
            _Piece(piece.left, cut, piece.right, piece.bottom),
        ]
    if width < _NARROWEST * height:
        return None
    cut = piece.left + _quietest(_inside(change, piece).sum(axis=0))
    return [
        _Piece(piece.left, piece.top, cut, piece.bottom),
        _Piece(cut, piece.top, piece.right, piece.bottom),
    ]


def _quietest(profile: NDArray[np.float32]) -> int:
    """Return where a profile is lowest, not near its ends."""
    low, high = round(0.25 * len(profile)), round(0.75 * len(profile))
    smooth = cv2.GaussianBlur(np.ascontiguousarray(profile[None]), (0, 0), 2.0)[0]
    return low + int(np.argmin(smooth[low:high]))


def _standing_out(still: NDArray[np.float32], change: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels differ from the wall and the floor: a line along each row, through where nothing moves."""
    width = still.shape[1]
    quiet = cv2.dilate((change > 0).astype(np.uint8), np.ones((1, 9), np.uint8)).sum(axis=0) == 0
    if quiet.sum() < 0.1 * width:
        return np.zeros(still.shape, bool)
    column = np.arange(width)
    slope, start = np.polyfit(column[quiet], still[:, quiet].T, 1)
    wall = start[:, None] + slope[:, None] * column
    return np.asarray(np.abs(cv2.GaussianBlur(still, (0, 0), 1.0) - wall) > _STANDS_OUT)


def _grown(player: _Piece, players: list[_Piece], out: NDArray[np.bool_]) -> _Piece:
    """Add what stands out right below a player, his legs and chair, as far as the next player."""
    middle = slice(
        player.left + (player.right - player.left) // 4, max(player.right - (player.right - player.left) // 4, 1)
    )
    below = [
        each.top
        for each in players
        if each is not player and each.top > (player.top + player.bottom) / 2 and each.left < player.right > 0
        if min(each.right, player.right) - max(each.left, player.left) > 0
    ]
    most = min([out.shape[0], *below])
    row = player.bottom
    while row < most and out[row, middle].mean() > 0.25:
        row += 1
    return _Piece(player.left, player.top, player.right, max(row, player.bottom))


def _in_rows(players: list[_Piece]) -> list[_Piece]:
    """Order players row by row, the highest first, and from left to right."""
    rows: list[list[_Piece]] = []
    for player in sorted(players, key=lambda each: each.top + each.bottom):
        row = rows[-1] if rows else []
        shared = [min(each.bottom, player.bottom) - max(each.top, player.top) for each in row]
        if any(share > _BESIDE * min(each.height, player.height) for share, each in zip(shared, row, strict=True)):
            row.append(player)
        else:
            rows.append([player])
    return [player for row in rows for player in sorted(row, key=lambda each: each.left)]


def _followed(pictures: NDArray[np.uint8], box: Floats) -> Floats:
    """Return a player's boxes (T, 4): where the lower part of his body, which plays nothing, is found again."""
    n_pictures, height, width = pictures.shape
    left, top = np.maximum(np.floor(box[:2]), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(box[2:]), (width, height)).astype(int).tolist()
    reach = max(2, round(_FOLLOWED * (bottom - top)))
    rows = slice(round(bottom - _LOWER * (bottom - top)), bottom)
    columns = slice(left + (right - left) // 5, right - (right - left) // 5)
    field = (
        slice(max(rows.start - reach // 2, 0), min(rows.stop + reach // 2, height)),
        slice(max(columns.start - reach, 0), min(columns.stop + reach, width)),
    )
    home = (columns.start - field[1].start, rows.start - field[0].start)
    starts = np.arange(0, n_pictures, _WINDOW)
    looks = [np.median(pictures[start : start + _WINDOW : 4][:, *field], axis=0).astype(np.float32) for start in starts]
    pattern = np.ascontiguousarray(
        looks[0][home[1] :, home[0] :][: rows.stop - rows.start, : columns.stop - columns.start]
    )
    places = []
    for look in looks:
        unlike = cv2.matchTemplate(look, pattern, cv2.TM_SQDIFF) / pattern.size
        row, column = np.mgrid[0 : unlike.shape[0], 0 : unlike.shape[1]]
        unlike += _STAYS * ((row - home[1]) ** 2 + (column - home[0]) ** 2)  # as good a place nearer is more likely
        best = np.unravel_index(int(np.argmin(unlike)), unlike.shape)
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
