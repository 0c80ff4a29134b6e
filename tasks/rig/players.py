"""Figures of an ensemble's players: each has an instrument of its own shape and size.

Two players of one instrument look alike, but for clothes, light and size. They differ in their motion alone
(``tasks.rig.moves``).

Lengths are in bodies: 1 is the height of a seated person, x to the right of the picture, y down, 0 at the middle of the
seat and at the crown of the head. Shapes: T pictures, P points.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tasks.instruments.orchestra import ORCHESTRA
from tasks.rig.drawing import Shape
from tasks.rig.moves import N_KEYS, Floats, Moves, eased

_Place = Callable[[Floats], Floats]

_NODS = {"strings": 0.011, "woodwind": 0.022, "brass": 0.024}  # bodies by which a loud onset is nodded into


def shapes_of(instrument: str, moves: Moves, *, seed: int) -> list[Shape]:
    """Return the shapes of a player with their instrument, the farthest first.

    Args:
        instrument: code of the orchestra.
        moves: of the player.
        seed: of clothes, hair and the wood's or metal's tint.
    """
    body = _Body(moves, nods=_NODS[ORCHESTRA[instrument].group], rng=np.random.default_rng(seed))
    return [*body.person(), *_INSTRUMENTS[instrument](body)]


class _Body:
    """A player's looks, and the places of the body at which instruments are held."""

    def __init__(self, moves: Moves, *, nods: float, rng: np.random.Generator) -> None:
        self.moves = moves
        self.up = eased(moves.raised)
        self.coat, self.skin, self.hair = (float(rng.uniform(*ends)) for ends in ((26, 84), (140, 196), (24, 120)))
        self.tint = float(rng.uniform(-14, 14))
        self.lean = moves.sway + _both(0.0 * moves.dip, nods * moves.dip - 0.012 * moves.breath)  # (T, 2)
        self.seat = _both(moves.seat, 0.0 * moves.seat)
        self.head = np.array([0.0, 0.115]) + self.lean * 1.25 + self.seat
        self.tilt = 3.2 * nods * moves.dip

    def at(self, x: float, y: float, follows: float = 1.0) -> Floats:
        """Return a point (T, 2) that follows the body's lean."""
        return np.array([x, y]) + follows * self.lean + self.seat

    def sunk(self, x: float, y: float) -> Floats:
        """Return an offset (T, 2) that is full at rest and zero while the instrument is played."""
        return _both(x * (1 - self.up), y * (1 - self.up))

    def person(self) -> list[Shape]:
        """Return the player without arms and instrument."""
        seat = self.seat[:, None, :]
        legs = np.array([[-0.16, 1.0], [-0.15, 0.66], [0.15, 0.66], [0.16, 1.0]]) + seat
        trunk = [(-0.15, 0.3), (-0.07, 0.235), (0.07, 0.235), (0.15, 0.3), (0.14, 0.72), (-0.14, 0.72)]
        share = np.array([1.0, 1.0, 1.0, 1.0, 0.1, 0.1])  # of the body's lean that each corner follows
        torso = np.array(trunk) + share[:, None] * self.lean[:, None, :] + seat
        torso[:, 1:3, 1] -= 0.016 * self.moves.breath[:, None]
        head = self.head[:, None, :]
        neck = np.concatenate([head, head + _below(0.11)], axis=1)
        return [
            Shape(kind="area", points=legs, luma=self.coat * 0.7),
            Shape(kind="area", points=torso, luma=self.coat),
            Shape(kind="line", points=neck, luma=self.skin * 0.85, width=0.06),
            Shape(kind="disc", points=head - _below(0.014), luma=self.hair, width=0.09),
            Shape(kind="disc", points=head + _below(0.012), luma=self.skin, width=0.078),
        ]

    def arms(self, *hands: tuple[int, Floats], elbow_out: float = 0.1) -> list[Shape]:
        """Return arms from a side's shoulder (-1 is the picture's left) to hands (T, 2)."""
        drawn = []
        for side, hand in hands:
            shoulder = self.at(0.14 * side, 0.3)
            elbow = (shoulder + hand) / 2 + np.array([elbow_out * side, 0.085])
            arm = np.stack([shoulder, elbow, hand], axis=1)
            drawn.append(Shape(kind="line", points=arm, luma=self.coat * 1.25 + 12, width=0.062))
            drawn.append(self.finger(hand, 0.034))
        return drawn

    def finger(self, point: Floats, radius: float) -> Shape:
        """Return a hand, or the tip of a finger, at a point (T, 2)."""
        return Shape(kind="disc", points=point[:, None, :], luma=self.skin, width=radius)

    def keys(self, place: _Place, along: Sequence[float], *, opened: float, closed: float) -> list[Shape]:
        """Return the fingertips of a woodwind player: how far along the tube, and how far beside it, open or closed."""
        drawn = []
        for number in range(N_KEYS):
            down = self.moves.fingers[:, number]
            tip = place(_both(np.full_like(down, along[number]), opened + (closed - opened) * down)[:, None, :])
            drawn.append(self.finger(tip[:, 0], 0.0145))
        return drawn

    def valves(self, place: _Place, x: float, y: float) -> list[Shape]:
        """Return three valves, and the fingers on them, side by side from a point of the instrument."""
        drawn = []
        for number in range(3):
            down = 0.035 * self.moves.fingers[:, number]
            across = np.full_like(down, x + 0.034 * number)
            ends = place(np.stack([_both(across, y - 0.06 + down), _both(across, np.full_like(down, y))], axis=1))
            drawn.append(Shape(kind="line", points=ends, luma=150, width=0.014))
            drawn.append(self.finger(ends[:, 0], 0.017))
        return drawn


_Drawn = Callable[[_Body], list[Shape]]


def _held_strings(scale: float, luma: float) -> _Drawn:
    """Return a violin or viola at the chin; in the lap at rest."""

    def draw(body: _Body) -> list[Shape]:
        up = body.up[:, None]
        chin = body.at(0.035, 0.215) * up + body.at(0.07, 0.5) * (1 - up)
        angle = (0.3 * up + 1.25 * (1 - up))[:, 0] + body.tilt
        wood = [(0.0, -0.045), (0.07, -0.062), (0.115, -0.04), (0.16, -0.055), (0.2, -0.03)]
        outline = np.array([*wood, *((x, -y) for x, y in reversed(wood))]) * scale
        place = _turner(chin, angle)
        neck = place(np.array([[0.19, 0.0], [0.4, 0.0]]) * scale)
        along = 0.37 - 0.2 * body.moves.reach
        left = place(_both(along, np.full_like(along, 0.02))[:, None, :] * scale)[:, 0]
        contact = place(np.array([[0.14, 0.0]]) * scale)[:, 0]
        tilt = angle + np.pi / 2 + 0.25 - 0.45 * (body.moves.string - 0.5)
        off = (1 - body.moves.touch[:, None] * up) * np.array([-0.05, 0.03]) + (1 - up) * np.array([-0.15, 0.06])
        hand, bow = _bowed(contact + off, tilt, body.moves.bow, length=0.46 * scale**0.3)
        return [
            *body.arms((1, left), elbow_out=0.03),
            Shape(kind="area", points=place(outline), luma=luma + body.tint),
            Shape(kind="line", points=neck, luma=46, width=0.026 * scale),
            Shape(kind="line", points=place(np.array([[0.02, 0.0], [0.2, 0.0]]) * scale), luma=212, width=0.01),
            body.finger(left, 0.034),
            Shape(kind="line", points=bow, luma=232, width=0.026),
            *body.arms((-1, hand), elbow_out=0.07),
        ]

    return draw


def _standing_strings(scale: float, luma: float) -> _Drawn:
    """Return a cello or double bass that stands before its player."""

    def draw(body: _Body) -> list[Shape]:
        up = body.up[:, None]
        foot = body.at(0.03 + 0.02 * scale, 0.98, 0.1)
        angle = np.full(len(body.moves.dip), -np.pi / 2 - 0.1) - 0.06 * (1 - up)[:, 0] + body.tilt
        half = [(0.03, 0.1), (0.1, 0.15), (0.2, 0.13), (0.26, 0.085), (0.33, 0.11), (0.4, 0.1), (0.45, 0.04)]
        outline = np.array([*half, *((x, -y) for x, y in reversed(half))]) * scale
        place = _turner(foot, angle)
        neck = place(np.array([[0.44, 0.0], [0.82, 0.0]]) * scale)
        along = (0.76 - 0.36 * body.moves.reach) * up[:, 0] + 0.45 * (1 - up[:, 0])
        left = place(_both(along, np.full_like(along, 0.02))[:, None, :] * scale)[:, 0]
        contact = place(np.array([[0.27, 0.0]]) * scale)[:, 0]
        tilt = np.pi + 0.12 - 0.3 * (body.moves.string - 0.5) - 0.5 * (1 - up[:, 0])
        off = (1 - body.moves.touch[:, None] * up) * np.array([-0.04, 0.05]) + (1 - up) * np.array([-0.06, 0.1])
        hand, bow = _bowed(contact + off, tilt, body.moves.bow, length=0.44)
        return [
            Shape(kind="area", points=place(outline), luma=luma + body.tint),
            Shape(kind="line", points=neck, luma=44, width=0.03 * scale),
            Shape(kind="line", points=place(np.array([[0.12, 0.0], [0.46, 0.0]]) * scale), luma=206, width=0.012),
            Shape(kind="line", points=bow, luma=232, width=0.026),
            *body.arms((1, left), (-1, hand), elbow_out=0.06),
        ]

    return draw


def _tube(
    outline: Sequence[tuple[float, float]],
    *,
    mouth: tuple[float, float],
    angle: float,
    at_rest: float,
    hands: tuple[float, float],
    luma: float,
    side: int = 1,
    tips: float = 1.0,
) -> _Drawn:
    """Return a straight woodwind: half of its outline from the mouthpiece on, and where the hands hold it.

    Args:
        outline: along and across the tube, in bodies.
        mouth: where the mouthpiece is while it is played.
        angle: of the tube then, 0 to the picture's right, clockwise.
        at_rest: by which it is turned at rest.
        hands: places along the tube, the upper hand's first.
        luma: of it.
        side: of the upper hand, -1 the picture's left.
        tips: by how much more than other tubes it tips with a nod.
    """

    def draw(body: _Body) -> list[Shape]:
        up = body.up
        lips = body.at(*mouth, 1.25) + body.sunk(0.0, 0.17)
        place = _turner(lips, angle + at_rest * (1 - up) - tips * body.tilt)
        half = np.array([*outline, *((x, -y) for x, y in reversed(outline))])
        held = [_at(place, along, 0.03) for along in hands]
        fingers = [hand + away for hand in hands for away in (-0.028, 0.0, 0.028)]
        return [
            *body.arms((side, held[0]), (-side, held[1])),
            Shape(kind="area", points=place(half), luma=luma + body.tint),
            *body.keys(place, fingers, opened=-0.028, closed=-0.006),
        ]

    return draw


def _bassoon(body: _Body) -> list[Shape]:
    up = body.up
    hip = body.at(-0.19, 0.86, 0.6) + body.sunk(0.05, 0.02)
    place = _turner(hip, -np.pi / 2 + 0.36 + 0.3 * (1 - up) + 0.7 * body.tilt)
    wood = place(np.array([(0.0, -0.035), (0.86, -0.02), (0.9, -0.03), (0.9, 0.03), (0.86, 0.02), (0.0, 0.035)]))
    crook = np.stack([_at(place, 0.55, 0.0), body.at(0.02, 0.19, 1.25)], axis=1)
    held = [_at(place, 0.52, 0.03), _at(place, 0.26, -0.03)]
    return [
        Shape(kind="line", points=crook, luma=208, width=0.014),
        Shape(kind="area", points=wood, luma=66 + body.tint),
        *body.arms((1, held[0]), (-1, held[1])),
        *body.keys(place, (0.5, 0.535, 0.57, 0.28, 0.315, 0.35), opened=-0.03, closed=-0.005),
    ]


def _saxophone(body: _Body) -> list[Shape]:
    up = body.up
    lips = body.at(0.0, 0.17, 1.25) + body.sunk(0.03, 0.14)
    place = _turner(lips, np.pi / 2 + 0.3 + 0.25 * (1 - up) - body.tilt)
    tube = place(np.array([(0.0, 0.0), (0.05, -0.06), (0.12, -0.05), (0.36, 0.0), (0.43, -0.05), (0.4, -0.11)]))
    cone = place(np.array([(0.12, -0.07), (0.38, -0.035), (0.38, 0.035), (0.12, -0.03)]))
    bell = place(np.array([(0.42, -0.07), (0.4, -0.13), (0.2, -0.2), (0.24, -0.08)]))
    held = [_at(place, along, 0.0) for along in (0.15, 0.29)]
    return [
        *body.arms((1, held[0]), (-1, held[1])),
        Shape(kind="line", points=tube, luma=196 + body.tint, width=0.035),
        Shape(kind="area", points=cone, luma=204 + body.tint),
        Shape(kind="area", points=bell, luma=222 + body.tint),
        *body.keys(place, (0.13, 0.165, 0.2, 0.26, 0.295, 0.33), opened=0.03, closed=0.0),
    ]


def _trumpet(body: _Body) -> list[Shape]:
    up = body.up
    lips = body.at(0.0, 0.165, 1.25) + body.sunk(0.02, 0.24)
    place = _turner(lips, 0.12 + 0.9 * (1 - up) + body.tilt * 1.2)
    tube = place(np.array([(0.0, 0.0), (0.28, 0.0)]))
    bow = place(np.array([(0.07, 0.0), (0.06, 0.05), (0.22, 0.05), (0.23, 0.0)]))
    bell = place(np.array([(0.24, -0.012), (0.31, -0.03), (0.35, -0.065), (0.35, 0.065), (0.31, 0.03), (0.24, 0.012)]))
    held = _at(place, 0.14, 0.07)
    return [
        *body.arms((1, held), (-1, _at(place, 0.1, 0.05))),
        Shape(kind="line", points=bow, luma=188 + body.tint, width=0.018),
        Shape(kind="line", points=tube, luma=206 + body.tint, width=0.024),
        Shape(kind="area", points=bell, luma=226 + body.tint),
        *body.valves(place, 0.12, 0.0),
    ]


def _trombone(body: _Body) -> list[Shape]:
    up = body.up
    lips = body.at(0.0, 0.165, 1.25) + body.sunk(0.0, 0.2)
    place = _turner(lips, np.pi - 0.5 - 0.55 * (1 - up) - body.tilt)
    out = 0.26 + 0.24 * body.moves.reach
    rails = np.stack(
        [
            _both(0 * out, 0 * out),
            _both(out, 0 * out),
            _both(out, 0 * out + 0.05),
            _both(0 * out - 0.02, 0 * out + 0.05),
        ],
        axis=1,
    )
    bell = place(np.array([(-0.1, 0.1), (0.1, 0.11), (0.17, 0.07), (0.19, 0.2), (0.1, 0.15), (-0.1, 0.13)]))
    hand = place(_both(out - 0.02, 0 * out + 0.03)[:, None, :])[:, 0]
    grip = _at(place, 0.05, 0.04)
    return [
        Shape(kind="area", points=bell, luma=216 + body.tint),
        Shape(kind="line", points=place(rails), luma=202 + body.tint, width=0.018),
        *body.arms((1, grip), (-1, hand), elbow_out=0.04),
    ]


def _horn(body: _Body) -> list[Shape]:
    up = body.up
    middle = body.at(0.1, 0.38) + body.sunk(0.02, 0.18)
    place = _turner(middle, 0.35 * (1 - up) + body.tilt)
    lips = body.head + _below(0.055)
    pipe = np.stack([lips * up[:, None] + _at(place, -0.05, -0.16) * (1 - up)[:, None], middle], axis=1)
    circle = np.linspace(0, 2 * np.pi, 17)
    ring = _both(np.cos(circle), np.sin(circle)) * 0.115
    flare = _both(np.cos(circle) * 0.09, np.sin(circle) * 0.115)
    flare += np.array([-0.17, 0.13])
    return [
        Shape(kind="line", points=pipe, luma=196 + body.tint, width=0.016),
        Shape(kind="area", points=place(flare), luma=220 + body.tint),
        Shape(kind="area", points=place(flare * 0.55 + np.array([-0.0765, 0.0585])), luma=96 + body.tint),
        Shape(kind="line", points=place(ring), luma=206 + body.tint, width=0.034),
        Shape(kind="line", points=place(ring * 0.62), luma=178 + body.tint, width=0.02),
        *body.arms((1, _at(place, 0.07, -0.03))),
        *body.arms((-1, _at(place, -0.14, 0.1)), elbow_out=0.05),
        *body.valves(place, 0.0, -0.06),
    ]


def _tuba(body: _Body) -> list[Shape]:
    up = body.up
    middle = body.at(0.03, 0.6, 0.8) + body.sunk(0.03, 0.04)
    place = _turner(middle, 0.1 + 0.22 * (1 - up) + 0.8 * body.tilt)
    circle = np.linspace(0, 2 * np.pi, 17)
    coil = _both(np.cos(circle) * 0.19, np.sin(circle) * 0.24)
    cone = np.array([(0.04, 0.1), (0.06, -0.3), (0.01, -0.45), (0.3, -0.45), (0.22, -0.3), (0.19, 0.1)])
    mouth = np.array([(0.0, -0.45), (0.15, -0.5), (0.31, -0.45), (0.15, -0.41)])
    held = [_at(place, along, across) for along, across in ((-0.05, -0.03), (0.2, 0.02))]
    pipe = np.stack([body.head + _below(0.06), _at(place, -0.05, -0.16)], axis=1)
    return [
        Shape(kind="area", points=place(cone), luma=198 + body.tint),
        Shape(kind="area", points=place(mouth), luma=116 + body.tint),
        Shape(kind="line", points=place(coil), luma=212 + body.tint, width=0.07),
        Shape(kind="line", points=place(coil * 0.55), luma=184 + body.tint, width=0.04),
        Shape(kind="line", points=pipe, luma=190 + body.tint, width=0.016),
        *body.arms((-1, held[0]), (1, held[1])),
        *body.valves(place, -0.07, 0.0),
    ]


_INSTRUMENTS: Mapping[str, _Drawn] = {
    "vn": _held_strings(0.82, 132),
    "va": _held_strings(1.06, 108),
    "vc": _standing_strings(0.92, 128),
    "db": _standing_strings(1.22, 98),
    "fl": _tube(
        [(-0.04, -0.011), (0.4, -0.011)],
        mouth=(-0.01, 0.165),
        angle=0.14,
        at_rest=0.9,
        hands=(0.16, 0.29),
        luma=224,
        tips=-2.5,  # its far end goes down
    ),
    "ob": _tube(
        [(0.0, -0.007), (0.06, -0.013), (0.33, -0.018), (0.38, -0.034)],
        mouth=(0.0, 0.17),
        angle=np.pi / 2 - 0.32,
        at_rest=-0.5,
        hands=(0.13, 0.25),
        luma=36,
    ),
    "cl": _tube(
        [(0.0, -0.014), (0.08, -0.022), (0.4, -0.024), (0.44, -0.036), (0.5, -0.07)],
        mouth=(0.0, 0.17),
        angle=np.pi / 2 + 0.12,
        at_rest=0.45,
        hands=(0.16, 0.31),
        luma=44,
        side=-1,
    ),
    "bn": _bassoon,
    "sax": _saxophone,
    "hn": _horn,
    "tpt": _trumpet,
    "tbn": _trombone,
    "tba": _tuba,
}


def _at(place: _Place, along: float, across: float) -> Floats:
    """Return one point (T, 2) of what is placed."""
    return place(np.array([[along, across]]))[:, 0]


def _below(y: float) -> Floats:
    return np.array([0.0, y])


def _both(x: Floats, y: Floats) -> Floats:
    return np.stack([x, y], axis=-1)


def _turner(pivot: Floats, angle: Floats) -> _Place:
    """Return what places points (P, 2) or (T, P, 2), along and across, at a pivot (T, 2), turned by an angle (T,)."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def place(local: Floats) -> Floats:
        points = local if local.ndim == 3 else local[None]
        along, across = points[..., 0], points[..., 1]
        turned = np.stack([cos * along - sin * across, sin * along + cos * across], axis=-1)
        placed: Floats = pivot[:, None, :] + turned
        return placed

    return place


def _bowed(contact: Floats, angle: Floats, part: Floats, *, length: float) -> tuple[Floats, Floats]:
    """Return the hand (T, 2) at a bow's frog and the bow (T, 2, 2), which meets the string with this part of it."""
    towards = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    frog = contact + towards * (part * length)[:, None]
    tip = frog - towards * length
    return frog, np.stack([frog, tip], axis=1)
