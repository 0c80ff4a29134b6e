"""Verb ``film``: virtual rigs. A score in; the films and recordings of a take out, and the truth about them.

A filmed take is a folder as people bring one (``cam_*``, ``mic_*``, ``take.yaml``, perhaps a ``.mid``), with two files
more: ``rig.yaml`` describes the devices and their clocks, ``truth.json`` holds what a measurement should find.

Which takes are filmed, and how one is filmed, stands in ``tasks/kinds/KIND/film.py``. Here is what these share.
"""

import threading
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from tasks.errors import ParamsError
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.params import Section
from tasks.rig.played_pianos import HandsParams
from tasks.rig.rigs import Instrument, RigParams
from tasks.step import write_whole
from tasks.takes import PARTS, Part

SAMPLE = Path("data/sample")
SCORE_POLICY = MidiPolicy(
    max_bytes=2**23, max_duration_s=7200.0, max_notes=100_000, hanging="close", overlap="cut", channels=16
)

_SYNTHESIZERS = threading.local()  # FluidSynth is not for two threads at once


class RecordingParams(Section):
    """How takes are recorded."""

    sample_rate: Annotated[int, Field(ge=8000, le=96_000)]  # Hz, of the synthesis
    code_rates: Annotated[tuple[int, ...], Field(min_length=1)]  # Hz, as in render: keyboards are played on its grid
    gain: Annotated[float, Field(gt=0, le=10)]  # of the synthesizer
    excerpt_s: Annotated[float, Field(gt=0)]  # a longer piece is left as soon as no key is down after this
    tail_s: Annotated[float, Field(ge=0, le=60)]  # recorded after the last note
    rig: RigParams
    hands: HandsParams  # of the pianos that hands are seen to play


class EnsemblesParams(Section):
    """The ensembles that are filmed."""

    n_takes: dict[Part, Annotated[int, Field(ge=0, le=10_000)]]
    pieces: tuple[str, ...]  # of each part in turn, and again, recast, when there are more takes
    excerpt_s: Annotated[float, Field(gt=0)]  # length of a take; from a longer piece an excerpt is played
    max_gain_db: Annotated[float, Field(ge=0, le=20)]  # by which a player is louder or softer than as recorded
    stem_room: Annotated[float, Field(ge=0, le=1)]  # how much of the room is in the stems; 0 is none


class FilmParams(Section):
    """The takes that are filmed: captures by ``n_takes`` and ``pieces``, played pianos, and ensembles."""

    n_takes: Annotated[int, Field(ge=0, le=10_000)]
    pieces: dict[Instrument, tuple[str, ...]]  # filmed in turn, and again when there are more takes
    played_pianos: tuple[str, ...]  # pieces that hands are seen to play, from above and in colour, a take each
    ensembles: EnsemblesParams
    seed: int
    recording: RecordingParams


def describe_piece(folder: Path, piece: str) -> tuple[str, Part | None]:
    """Return the title of a bundled piece, and the part of the split that it is fixed to.

    Args:
        folder: of the pieces of one instrument or kind; its ``pieces.yaml`` describes them.
        piece: the name in ``params.yaml``.

    Raises:
        ParamsError: the folder has no such piece, or its part is unknown.
    """
    path = folder / "pieces.yaml"
    try:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))[piece]
        title, part = str(described["title"]), described.get("part")
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise ParamsError(f"params.yaml: film.pieces names {piece!r}, expected one that {path} describes") from None
    if part not in (*PARTS, None):
        raise ParamsError(f"{path}: {piece} is in part {part!r}, expected one of {PARTS}")
    return title, part


def synthesizer(params: RecordingParams) -> Synthesizer:
    """Return this thread's synthesizer, made once for the same parameters.

    Raises:
        ToolError: FluidSynth or the SoundFont is missing, or is another version.
    """
    wanted = (params.sample_rate, params.gain)
    if getattr(_SYNTHESIZERS, "made_for", None) != wanted:
        _SYNTHESIZERS.synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=params.sample_rate, gain=params.gain
        )
        _SYNTHESIZERS.made_for = wanted
    made: Synthesizer = _SYNTHESIZERS.synthesizer
    return made


def write_descriptions(
    out: Path, rig: Section, *, piece: str, part: Part | None, title: str, more: dict[str, Any]
) -> None:
    """Write ``take.yaml`` and ``rig.yaml`` of a filmed take.

    Args:
        out: the take's folder.
        rig: the devices.
        piece: the composition.
        part: of the split, if the piece is fixed to one.
        title: of the composition.
        more: the keys of ``take.yaml`` that differ by kind.
    """
    described = {
        "piece": piece,
        **({"part": part} if part else {}),
        "title": title,
        "player": "audiate's virtual rig",
        **more,
    }
    write_whole(out / "take.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
    write_whole(out / "rig.yaml", yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))
