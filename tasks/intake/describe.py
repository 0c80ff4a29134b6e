"""``take.yaml``: a person's description of a take. Every key may be left out; an unknown key is an error."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from tasks.errors import BadInput
from tasks.intake.folder import DEVICE, MAX_TAKE_FILE_BYTES, TAKE_FILE, shown
from tasks.intake.layouts import MIX
from tasks.intake.plain_yaml import PlainYamlError, read_plain
from tasks.params import Section
from tasks.takes import TAKE_NAME, Part

_LONGEST_SHOWN = 80  # characters of a name or a value in a message

# Instruments known by name, as MIDI notes. The black keys from F sharp 4 to B flat 7 are what the marimba
# recordings of Deep Auditory Hallucinations use.
INSTRUMENT_NOTES: dict[str, tuple[int, ...]] = {
    "none": (),
    "piano": tuple(range(21, 109)),
    "marimba": tuple(range(45, 97)),
    "marimba-18": (66, 68, 70, 73, 75, 78, 80, 82, 85, 87, 90, 92, 94, 97, 99, 102, 104, 106),
}

MAX_PLAYERS = 64
MAX_STREAMS_NAMED = 300

Words = Annotated[str, Field(min_length=1, max_length=200)]
DeviceName = Annotated[str, Field(pattern=rf"^(?:{DEVICE.pattern}|(?:stem|solo)_[A-Za-z0-9_-]{{1,60}})$")]
RecorderName = Annotated[str, Field(pattern=rf"^{DEVICE.pattern}$")]
Pixel = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]


class TakeFileError(BadInput):
    """A take.yaml that cannot be used: the file, the line, what was found and what was expected."""


class Played(Section):
    """An instrument: its name, and the MIDI notes it has."""

    name: Words
    notes: Annotated[tuple[Annotated[int, Field(ge=0, le=127)], ...], Field(max_length=128)]

    @field_validator("notes")
    @classmethod
    def _each_once(cls, notes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(notes)))


class View(Section):
    """Where the instrument stands in a camera's picture.

    Attributes:
        crop: x, y, width and height in pixels of the upright picture; None keeps all of it.
        corners: of the instrument's plane, as x and y in pixels, from the player's far left, clockwise.
    """

    crop: Annotated[tuple[int, int, int, int], Field()] | None = None
    corners: tuple[tuple[Pixel, Pixel], tuple[Pixel, Pixel], tuple[Pixel, Pixel], tuple[Pixel, Pixel]] | None = None

    @field_validator("crop")
    @classmethod
    def _has_pixels(cls, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if crop is not None and (min(crop[:2]) < 0 or min(crop[2:]) < 1):
            raise ValueError(f"x, y, width, height are {list(crop)}, expected a rectangle of pixels")
        return crop


class StreamsNamed(Section):
    """Which streams of a device's file are used, where it holds several.

    Attributes:
        sound: the number of the stream of sound among all of the file's, from 0, as ffprobe counts them.
        pictures: the number of the stream of pictures.
    """

    sound: Annotated[int, Field(ge=0, le=1000)] | None = None
    pictures: Annotated[int, Field(ge=0, le=1000)] | None = None


class PlayerEntry(Section):
    """One player of an ensemble.

    Attributes:
        instrument: code or name.
        stem: the device that records this player alone: ``stem_1_vn``; of a solo, the camera.
        camera: the device that films this player alone; None where there is none.
    """

    instrument: Words
    stem: DeviceName
    camera: DeviceName | None = None


class TakeFile(Section):
    """All keys of a take.yaml; a key that is left out is None or empty.

    Attributes:
        piece: the composition; a take that names none is its own piece.
        part: where the piece stands in the split.
        title: for people.
        player: for people.
        instrument: ``none`` when it is any video at all.
        master: the device whose clock the take lives on, ``mic_room``.
        notes: whether the MIDI file was ``recorded`` with the take, or is a ``score``.
        cameras: by device, ``cam_top`` or ``top``.
        streams: by device, of files with several streams of sound or pictures; without it the first that serves.
        players: of an ensemble, in order.
        genlocked: cameras that run on the clock of the stems.
    """

    piece: str | None = None
    part: Part | None = None
    title: Words | None = None
    player: Words | None = None
    instrument: Played = Played(name="none", notes=())
    master: str | None = None
    notes: Literal["recorded", "score"] | None = None
    cameras: dict[str, View] = Field(default_factory=dict)
    streams: dict[RecorderName, StreamsNamed] = Field(default_factory=dict, max_length=MAX_STREAMS_NAMED)
    players: Annotated[tuple[PlayerEntry, ...], Field(max_length=MAX_PLAYERS)] = ()
    genlocked: Annotated[tuple[DeviceName, ...], Field(max_length=MAX_PLAYERS)] = ()

    @field_validator("piece")
    @classmethod
    def _is_a_name(cls, piece: str | None) -> str | None:
        if piece is not None and not TAKE_NAME.fullmatch(piece):
            raise ValueError("expected letters, digits, '.', '_' and '-'")
        return piece

    @field_validator("title", "player")
    @classmethod
    def _can_be_seen(cls, words: str | None) -> str | None:
        if words is not None and not words.isprintable():
            raise ValueError("expected words in one line")
        return words

    @field_validator("instrument", mode="before")
    @classmethod
    def _known_by_name(cls, instrument: Any) -> Any:
        if not isinstance(instrument, str):
            return instrument
        if instrument not in INSTRUMENT_NOTES:
            raise ValueError(f"expected {', '.join(INSTRUMENT_NOTES)}, or name and notes")
        return {"name": instrument, "notes": INSTRUMENT_NOTES[instrument]}

    @field_validator("master")
    @classmethod
    def _is_a_device(cls, master: str | None) -> str | None:
        if master is not None and master != MIX and not DEVICE.fullmatch(master):
            raise ValueError("expected a device: cam_NAME or mic_NAME")
        return master

    @field_validator("cameras")
    @classmethod
    def _by_device(cls, cameras: dict[str, View]) -> dict[str, View]:
        named = {name if name.startswith("cam_") else f"cam_{name}": view for name, view in sorted(cameras.items())}
        for name in named:
            if not DEVICE.fullmatch(name):
                raise ValueError("a camera's name has letters, digits, '_' and '-'")
        if len(named) != len(cameras):
            raise ValueError("a camera stands there twice, with cam_ and without")
        return named


def check_views(cameras: Mapping[str, View], sizes: Mapping[str, tuple[int, int]], *, where: str) -> None:
    """Refuse a crop that does not lie within its camera's picture.

    Args:
        cameras: the views that take.yaml gives.
        sizes: width and height in pixels of each camera's upright picture.
        where: the take's folder, for the message.

    Raises:
        TakeFileError: ``BAD_TAKE_FILE``, with the camera.
    """
    for name, (width, height) in sizes.items():
        crop = cameras[name].crop if name in cameras else None
        if crop is not None and (crop[0] + crop[2] > width or crop[1] + crop[3] > height):
            raise TakeFileError(
                f"{where}/{TAKE_FILE}: cameras.{name}.crop is {list(crop)}, expected x, y, width and height within its "
                f"picture of {width}x{height}",
                kind="BAD_TAKE_FILE",
            )


def read_take_file(path: Path | None) -> TakeFile:
    """Read the description of a take; an empty one when there is no file.

    Raises:
        TakeFileError: ``BAD_TAKE_FILE``, it is no YAML, or a key is unknown or has a value of another kind;
            ``UNREADABLE``, it cannot be read.
    """
    if path is None:
        return TakeFile()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TAKE_FILE_BYTES + 1)
    except OSError as error:
        raise TakeFileError(f"{shown(path)} cannot be read: {error.strerror}", kind="UNREADABLE") from None
    return parse_take_file(data, name=shown(path))


def parse_take_file(data: bytes, *, name: str) -> TakeFile:
    """Parse and check the bytes of a take.yaml called ``name``.

    Raises:
        TakeFileError: ``BAD_TAKE_FILE``, with the line.
    """

    def refused(line: int, what: str) -> TakeFileError:
        return TakeFileError(f"{name}, line {line}: {what}", kind="BAD_TAKE_FILE")

    if len(data) > MAX_TAKE_FILE_BYTES:
        raise refused(1, f"more than {MAX_TAKE_FILE_BYTES} bytes")
    try:
        values, node = read_plain(data)
    except PlainYamlError as error:
        raise refused(error.line, str(error)) from None
    if values is None:
        return TakeFile()
    if not isinstance(values, dict):
        raise refused(1, f"{type(values).__name__}, expected keys such as piece and instrument")
    try:
        return TakeFile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = shown(".".join(_short(str(part)) for part in first["loc"]))
        found = "" if first["type"] == "missing" else f", found {_found(first['input'])}"
        message = re.sub(r"^Value error, ", "", first["msg"])
        raise refused(_line_of(node, first["loc"]), f"{key}: {message}{found}") from None


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."


def _found(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return ascii(value)[:_LONGEST_SHOWN]


def _line_of(node: Any, where: Sequence[int | str]) -> int:
    """Return the line of a key or an item, or of the last thing on the way to it that is there."""
    line = int(node.start_mark.line) + 1
    for step in where:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if str(key.value) == str(step)]
            if not pairs:
                return line
            key, node = pairs[-1]
            line = int(key.start_mark.line) + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line
