"""Pictures of the keyboard a second, beside PIL drawing the same pictures in two ways.

``PIL`` draws the keys of each picture, white then black. ``PIL from a copy`` is what a careful user would
write: a keyboard at rest is drawn once and copied, and a picture draws no more than its lit keys and the
sharps on them.
"""

from collections.abc import Callable
from functools import partial
from time import process_time

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.instruments.keyboard import (
    BLACK_HEIGHT,
    HEIGHT,
    IS_BLACK,
    N_KEYS,
    WIDTH,
    draw_keyboard,
    key_columns,
)

N_PICTURES = 4000
PART = 50  # pictures drawn at a time: long takes are drawn and stored in parts
COLUMNS = [(int(left), int(right)) for left, right in key_columns()]
WHITES = [key for key in range(N_KEYS) if not IS_BLACK[key]]
BLACKS = {key for key in range(N_KEYS) if IS_BLACK[key]}


def states(n_pictures: int) -> NDArray[np.uint8]:
    """Return keys as in a piano piece: about four are down at a time."""
    random = np.random.default_rng(0)
    down = random.random((n_pictures, N_KEYS)) < 4 / N_KEYS
    return np.where(down, random.integers(1, 128, down.shape), 0).astype(np.uint8)


def draw_white(pen: ImageDraw.ImageDraw, key: int, struck: int) -> None:
    left, right = COLUMNS[key]
    luma = 235 - int(40.5 + 1.25 * struck) if struck else 235
    pen.rectangle((left, 0, right - 2, HEIGHT - 1), fill=luma)


def draw_sharp(pen: ImageDraw.ImageDraw, key: int, struck: int) -> None:
    left, right = COLUMNS[key]
    pen.rectangle((left, 0, right - 1, BLACK_HEIGHT - 1), fill=16)
    if struck:
        pen.rectangle((left + 1, 0, right - 2, BLACK_HEIGHT - 2), fill=16 + int(40.5 + 1.25 * struck))


def draw_all_keys(struck: list[int]) -> Image.Image:
    image = Image.new("L", (WIDTH, HEIGHT), 16)
    pen = ImageDraw.Draw(image)
    for key in WHITES:
        draw_white(pen, key, struck[key])
    for key in BLACKS:
        draw_sharp(pen, key, struck[key])
    return image


def draw_lit_keys(struck: list[int]) -> Image.Image:
    image = AT_REST.copy()
    pen = ImageDraw.Draw(image)
    lit = [key for key in range(N_KEYS) if struck[key]]
    sharps = {key for key in lit if key in BLACKS}
    for key in lit:
        if key not in BLACKS:
            draw_white(pen, key, struck[key])
            sharps |= {key - 1, key + 1} & BLACKS
    for key in sharps:
        draw_sharp(pen, key, struck[key])
    return image


AT_REST = draw_all_keys([0] * N_KEYS)


def with_pil(draw: Callable[[list[int]], Image.Image], velocity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pictures = np.empty((len(velocity), HEIGHT, WIDTH), np.uint8)
    for picture, struck in zip(pictures, velocity.tolist(), strict=True):
        picture[:] = np.asarray(draw(struck))
    return pictures


def main() -> None:
    parts = np.split(states(N_PICTURES), N_PICTURES // PART)
    ways: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        "audiate": partial(draw_keyboard, lit="velocity"),
        "PIL": partial(with_pil, draw_all_keys),
        "PIL from a copy": partial(with_pil, draw_lit_keys),
    }
    first, *others = (np.concatenate([draw(part) for part in parts[:10]]) for draw in ways.values())
    if not all(np.array_equal(first, other) for other in others):
        raise SystemExit("the ways do not draw the same pictures")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, draw in ways.items():
            drawn = parts if name == "audiate" else parts[:10]
            start = process_time()
            for part in drawn:
                draw(part)
            rates[name].append(len(drawn) * PART / (process_time() - start))
    median = {name: float(np.median(rate)) for name, rate in rates.items()}
    print("keyboard pictures a second, pixel for pixel equal, one core (goal 8x):")
    for name, rate in median.items():
        print(f"  {name:16} {rate:10,.0f}  {median['audiate'] / rate:5.1f}x")


if __name__ == "__main__":
    main()
