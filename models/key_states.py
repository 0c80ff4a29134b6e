"""Which keys a video shows pressed, how far, and from when to when: found from the pictures alone.

A keyboard's pixels fall into groups that change together: a group for each key, and rows that change in their whole
width where a pedal is drawn. `find_keys` finds them in training pictures by greedy non-negative factorization of what
differs from rest; `KeyReader` reads them in any picture. No score, pitch or velocity enters.

Shapes: P pictures, H x W luma pixels, F features of a picture, K keys, S strokes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

N_ROWS = 12  # of a picture that are read
CHANGED_LUMA = 8.0  # a feature that differs less from rest shows nothing
SAME_GROUP = 0.95  # least cosine between two features of one group, over the training pictures
LEAST_COLUMNS = 3  # of a key
PEDAL_WIDTH = 0.5  # share of the columns; what is wider is no key
MAX_PICTURES = 8192  # that are compared; some thousand more where seldom keys ask for them
FEW_PICTURES = 32
N_LUMA = 256
NO_PEDAL = 1e3  # luma: no picture reaches it

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Strokes:
    """Presses of keys, in order of their start.

    Attributes:
        key: (S,) row of the key, from left to right.
        start: (S,) first sample at which it is down.
        release: (S,) first sample at which neither the key nor a pedal holds it; the film's length if it never comes.
        depth: (S,) luma by which the key differs from rest: how hard it was struck, where the picture shows it.
    """

    key: NDArray[np.int64]
    start: NDArray[np.int64]
    release: NDArray[np.int64]
    depth: Floats

    def __len__(self) -> int:
        return len(self.key)


def sampled_rows(pictures: Tensor) -> Tensor:
    """Return ``N_ROWS`` rows, the first and the last among them, as features (P, F) float32 of pictures (P, H, W).

    Pixels are not averaged: each belongs to one key, and an average could belong to two.
    """
    rows = torch.linspace(0, pictures.shape[1] - 1, N_ROWS).round().long()
    return pictures[:, rows].float().flatten(1)


def find_keys(pictures: Callable[[], Iterable[Tensor]]) -> "KeyReader":
    """Find the groups of pixels that change together, and return what reads them.

    At most some `MAX_PICTURES` are compared, whatever there are: every so many, and those that show a pixel changed
    that few before them did, so that a key that is seldom struck is found too.

    Args:
        pictures: yields blocks (P, H, W) of training pictures, 0 to 255, the same ones each time it is called: twice.
            Every key should be pressed in some, and be up in most. In the very first the pedal is up, as at the begin
            of a film.

    Raises:
        ValueError: there is no picture, or nothing in them changes.
    """
    rest, n_pictures, n_columns = _rest(pictures())
    features = _telling(pictures(), rest, every=-(-n_pictures // MAX_PICTURES))
    distance = _changes(features, rest)
    pedal = _pedal_rows(distance, n_columns)
    if pedal.any() and distance[0] @ pedal > (distance @ pedal).max() / 2:
        # The pedal is down in most pictures: its line stands in the median, and the first picture differs from that.
        is_up = distance @ pedal > (distance @ pedal).max() / 2
        rest = torch.where(pedal > 0, features[is_up].median(dim=0).values, rest)
        distance = _changes(features, rest)
    distance_of_keys = torch.where(pedal > 0, 0.0, distance)
    keys = [
        group for group in _groups(distance_of_keys, n_columns) if _width(group, n_columns) <= PEDAL_WIDTH * n_columns
    ]
    if not keys:
        raise ValueError(f"{len(features)} pictures show no key that moves")
    keys.sort(key=lambda group: float((group.view(-1, n_columns).sum(dim=0) * torch.arange(n_columns)).sum()))
    reader = KeyReader(len(keys), n_columns)
    reader.rest.copy_(rest)
    reader.keys.copy_(torch.stack(keys))
    reader.pedal.copy_(pedal)
    depth = reader.depths(distance=distance)
    pressed = depth[depth > CHANGED_LUMA]
    reader.threshold.fill_(float(pressed.min()) / 2)
    if pedal.any():
        reader.pedal_threshold.fill_(float((distance @ pedal).max()) / 2)
    return reader


def _rest(pictures: Iterable[Tensor]) -> tuple[Tensor, int, int]:
    """Return the median (F,) of all pictures, how many there are, and their columns, in one pass and little memory."""
    counts, n_pictures, n_columns = None, 0, 0
    for block in pictures:
        luma = sampled_rows(block).long()
        n_pictures, n_columns, n_features = n_pictures + len(block), block.shape[2], luma.shape[1]
        place = luma + N_LUMA * torch.arange(n_features)
        found = torch.bincount(place.flatten(), minlength=N_LUMA * n_features).view(n_features, N_LUMA)
        counts = found if counts is None else counts + found
    if counts is None or not n_pictures:
        raise ValueError("no picture, expected some to find keys in")
    below = counts.cumsum(dim=1)
    return (below < (n_pictures + 1) // 2).sum(dim=1).float(), n_pictures, n_columns


def _telling(pictures: Iterable[Tensor], rest: Tensor, *, every: int) -> Tensor:
    """Return the features (P, F) of one picture in ``every``, and of those with a change that few kept ones show."""
    kept: list[Tensor] = []
    n_seen, n_kept_with = 0, torch.zeros(len(rest))
    for block in pictures:
        features = sampled_rows(block)
        changed = _changes(features, rest) > 0
        for row in range(len(block)):
            if (n_seen + row) % every == 0 or bool((n_kept_with[changed[row]] < FEW_PICTURES).any()):
                kept.append(features[row].byte())
                n_kept_with += changed[row]
        n_seen += len(block)
    return torch.stack(kept).float()


def _changes(features: Tensor, rest: Tensor) -> Tensor:
    """Return by how much features (P, F) differ from rest, 0 where that is next to nothing."""
    distance = (features - rest).abs()
    distance[distance < CHANGED_LUMA] = 0
    return distance


def _groups(distance: Tensor, n_columns: int) -> list[Tensor]:
    """Return groups of features as weights (F,) that sum to 1, those that change most first."""
    norm = distance.norm(dim=0)
    left = norm > 0
    unit = distance / norm.clamp(min=1e-9)
    found = []
    for feature in torch.argsort(norm, descending=True).tolist():
        if not left[feature]:
            continue
        alike = left & (unit.T @ unit[:, feature] >= SAME_GROUP)
        left &= ~alike
        group = alike.float() / alike.sum()
        if _width(group, n_columns) >= LEAST_COLUMNS:
            found.append(group)
    return found


def _width(group: Tensor, n_columns: int) -> int:
    """Return how many columns a group has."""
    return int((group.view(-1, n_columns).sum(dim=0) > 0).sum())


def _pedal_rows(distance: Tensor, n_columns: int) -> Tensor:
    """Return weights (F,) that sum to 1 over the rows that a pedal's line crosses, or zeros.

    Its pixels change with their keys too, so no group of features that change together need be as wide as it is.
    A picture in which most rows change as far is one of many keys, or of another light.
    """
    changed = (distance.view(len(distance), -1, n_columns) > 0).float().mean(dim=2) > PEDAL_WIDTH  # (P, rows)
    is_line = changed.sum(dim=1, keepdim=True) * 2 < changed.shape[1]
    rows = (changed & is_line).any(dim=0).float()
    weights = rows.repeat_interleave(n_columns)
    return weights / weights.sum().clamp(min=1)


class KeyReader(nn.Module):
    """Reads how far each key differs from rest, and whether the pedal is down. All of it is buffers."""

    rest: Tensor
    keys: Tensor
    pedal: Tensor
    threshold: Tensor
    pedal_threshold: Tensor

    def __init__(self, n_keys: int, n_columns: int) -> None:
        super().__init__()
        n_features = N_ROWS * n_columns
        self.register_buffer("rest", torch.zeros(n_features))
        self.register_buffer("keys", torch.zeros(n_keys, n_features))
        self.register_buffer("pedal", torch.zeros(n_features))
        self.register_buffer("threshold", torch.tensor(0.0))
        self.register_buffer("pedal_threshold", torch.tensor(NO_PEDAL))

    def depths(self, pictures: Tensor | None = None, *, distance: Tensor | None = None) -> Tensor:
        """Return by how much luma each key differs from rest, (P, K)."""
        if distance is None:
            if pictures is None:
                raise ValueError("pictures are missing")
            distance = self._distance(pictures)
        return distance @ self.keys.T

    def _distance(self, pictures: Tensor) -> Tensor:
        return (sampled_rows(pictures) - self.rest).abs()

    def read(self, blocks: Iterable[Tensor]) -> tuple[Floats, NDArray[np.bool_]]:
        """Read pictures, block by block.

        Args:
            blocks: (P, H, W) each, 0 to 255.

        Returns:
            Depths (P, K), 0 where a key is up, and whether the pedal is down (P,).
        """
        depths, pedals = [], []
        for pictures in blocks:
            distance = self._distance(pictures)
            depth = distance @ self.keys.T
            depths.append(torch.where(depth > self.threshold, depth, 0.0).cpu().numpy())
            pedals.append(((distance * self.pedal).sum(dim=1) > self.pedal_threshold).cpu().numpy())
        return np.concatenate(depths), np.concatenate(pedals)


def strokes_of(
    depth: Floats, pedal: NDArray[np.bool_], first_sample: NDArray[np.int64], n_samples: int, *, same_luma: float
) -> Strokes:
    """Return the strokes in a film.

    A key that is down in a picture after it was up, or that differs by more than ``same_luma`` from the picture
    before, has been struck. The pedal holds what is released while it is down until it comes up.

    Args:
        depth: (P, K), 0 where a key is up.
        pedal: (P,) whether it is down.
        first_sample: (P,) at which each picture stands, rising.
        n_samples: of the film.
        same_luma: what a compressed film may change a held key by.
    """
    before = np.vstack([np.zeros_like(depth[:1]), depth[:-1]])
    after = np.vstack([depth[1:], np.zeros_like(depth[:1])])
    picture, key = np.nonzero((depth > 0) & ((before == 0) | (np.abs(depth - before) > same_luma)))
    ends = np.append(first_sample, n_samples)
    down = np.append(pedal, False)  # whatever is still held at the end is held to the end
    up_from = np.empty(len(down), np.int64)  # first picture from each on at which the pedal is up
    free = len(down) - 1
    for row in range(len(down) - 1, -1, -1):
        free = free if down[row] else row
        up_from[row] = free
    lifted = (after == 0) | (np.abs(after - depth) > same_luma)
    release = np.empty(len(picture), np.int64)
    for column in np.unique(key):
        own = key == column
        lifts = np.flatnonzero((depth[:, column] > 0) & lifted[:, column]) + 1
        release[own] = lifts[np.searchsorted(lifts, picture[own], side="right")]
    order = np.lexsort((key, picture))
    picture, key, release = picture[order], key[order], release[order]
    return Strokes(
        key=key.astype(np.int64),
        start=ends[picture].astype(np.int64),
        release=ends[up_from[release]].astype(np.int64),
        depth=depth[picture, key].astype(np.float32),
    )
