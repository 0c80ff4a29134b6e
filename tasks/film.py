"""Verb ``film``: a virtual rig. A score in; the films and recordings of a take out, and the truth about them.

A filmed take is a folder as people bring one (``cam_*``, ``mic_*``, ``take.yaml``, perhaps a ``.mid``), with two files
more: ``rig.yaml`` says what stood where and how its clock ran, ``truth.json`` what a measurement should find.
"""

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import scipy.io.wavfile
import scipy.signal
import yaml
from numpy.typing import NDArray
from pydantic import Field

from tasks.errors import BadInput, ParamsError
from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.marimba import bars_of, plan_mallets, ringing
from tasks.instruments.midi import Controls, MidiPolicy, read_midi, write_midi, write_tracks
from tasks.instruments.notes import Notes
from tasks.instruments.orchestra import ORCHESTRA, Player, read_players, recast
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.media.encode import encode_camera, encode_films, encode_sound
from tasks.params import Section
from tasks.rig.clocks import DeviceClock
from tasks.rig.ensembles import VIEW_RATE, VIEW_SIZE, EnsembleRig, ensemble_rig_of, own_view, view_of_all
from tasks.rig.film import Filmed, Part, exposure_moments
from tasks.rig.frames import picture_times, time_base
from tasks.rig.marimba import marimba_layers, swinging_parts
from tasks.rig.microphone import record, room_response
from tasks.rig.piano import dipping_parts, dips, keyboard_layers
from tasks.rig.players import backdrop, pictures_of
from tasks.rig.rigs import (
    VIEWS,
    CameraDevice,
    Defect,
    Instrument,
    Rig,
    RigParams,
    SoundDevice,
    Surroundings,
    Trait,
    instrument_corners,
    rig_of,
)
from tasks.rig.scene import compose, cover_of, whole
from tasks.step import write_whole
from tasks.takes import PARTS
from tasks.takes import Part as SplitPart

SAMPLE = Path("data/sample")
# Where the pieces of each instrument lie, and which program of general MIDI plays it.
FOLDERS: dict[Instrument, Path] = {"marimba-18": SAMPLE / "marimba", "piano": SAMPLE}
PROGRAMS: dict[Instrument, int] = {"marimba-18": 12, "piano": 0}
ENSEMBLES = SAMPLE / "ensembles"

_SYNTHESIZERS = threading.local()  # FluidSynth is not for two threads at once

# One take in eight has each of these; the others are plain.
_TRAITS: dict[int, Trait] = {1: "silent camera", 3: "lost block", 4: "variable rate", 6: "wandering clock"}
_TRAITS_REPEAT = 8
_CUT = 0.6  # of a truncated file's bytes are there
_REACH_CM: dict[Instrument, float] = {"marimba-18": 16.0, "piano": 2.0}  # height that a camera's crop shows
_LONGEST_S = 7200.0
_MIDI = MidiPolicy(max_bytes=2**23, max_duration_s=_LONGEST_S, max_notes=100_000, hanging="close", overlap="cut")

_STEM_DB = -24.0  # level that a recorder is set to for each player, while he plays, before gains are drawn
_FULL_SCALE = 32767  # of 16 bits
_STAGE_CRF = 26  # a large picture of little that moves
_PEAK = 0.89  # of the mix, at most
_TEMPO_SPREAD = 0.1
_SHORTEST_S = 0.08  # that is left of a note where the excerpt ends
_REST_S = 1.0
_PLACES = 12  # where an excerpt may begin, drawn for each take
_LEAST_PLAYED = 0.1  # of an excerpt, by each player


class RecordingParams(Section):
    """How takes are recorded."""

    sample_rate: Annotated[int, Field(ge=8000, le=96_000)]  # Hz, of the synthesis
    gain: Annotated[float, Field(gt=0, le=10)]  # of the synthesizer
    excerpt_s: Annotated[float, Field(gt=0)]  # a longer piece is left as soon as no key is down after this
    tail_s: Annotated[float, Field(ge=0, le=60)]  # recorded after the last note
    rig: RigParams


class EnsemblesParams(Section):
    """The ensembles that are filmed."""

    n_takes: dict[SplitPart, Annotated[int, Field(ge=0, le=10_000)]]
    pieces: tuple[str, ...]  # of each part in turn, and again, recast, when there are more takes
    excerpt_s: Annotated[float, Field(gt=0)]  # length of a take; from a longer piece an excerpt is played
    max_gain_db: Annotated[float, Field(ge=0, le=20)]  # by which a player is louder or softer than as recorded
    stem_room: Annotated[float, Field(ge=0, le=1)]  # how much of the room is in the stems; 0 is none


class FilmParams(Section):
    """The virtual rig."""

    n_takes: Annotated[int, Field(ge=0, le=10_000)]
    pieces: dict[Instrument, tuple[str, ...]]  # filmed in turn, and again when there are more takes
    ensembles: EnsemblesParams
    seed: int
    recording: RecordingParams


@dataclass(frozen=True, kw_only=True)
class FilmedTake:
    """One take to be filmed: what is played, and the seed of the rig that stands around it."""

    name: str
    piece: str
    part: SplitPart | None
    title: str
    instrument: Instrument
    midi: str  # path of the score
    trait: Trait
    seed: int


@dataclass(frozen=True, kw_only=True)
class CastPart:
    """Who plays one part of a score: an instrument, and by how many semitones the part is moved for it."""

    instrument: str
    semitones: int


@dataclass(frozen=True, kw_only=True)
class FilmedEnsemble:
    """One take of several players to be filmed.

    Attributes:
        name: of the take.
        piece: of the composition.
        part: of the split.
        title: of the composition.
        midi: path of the score.
        cast: who plays its parts, in their order.
        tempo: how much faster than the score it is played.
        from_s: where in the played piece the take begins.
        until_s: and ends; what is held then ends there.
        max_gain_db: by which a player is louder or softer than as recorded.
        stem_room: how much of the room is in the stems.
        seed: of the rig.
    """

    name: str
    piece: str
    part: SplitPart | None
    title: str
    midi: str
    cast: tuple[CastPart, ...]
    tempo: float
    from_s: float
    until_s: float
    max_gain_db: float
    stem_room: float
    seed: int


def takes_to_film(params: FilmParams) -> list[FilmedTake]:
    """List the takes that the params ask for.

    Raises:
        ParamsError: a piece is not among those of its instrument, or there is none; a view is unknown.
    """
    pieces = [(instrument, piece) for instrument, names in params.pieces.items() for piece in names]
    if not pieces and params.n_takes:
        raise ParamsError("params.yaml: film.pieces names no piece, expected one or more")
    known = {view for views in VIEWS.values() for view in views}
    for view in params.recording.rig.views_held_out:
        if view not in known:
            raise ParamsError(
                f"params.yaml: film.recording.rig.views_held_out names {view!r}, expected {sorted(known)}"
            )
    takes = []
    for number in range(params.n_takes):
        instrument, piece = pieces[number % len(pieces)]
        about = _about(FOLDERS[instrument], piece)
        takes.append(
            FilmedTake(
                name=f"filmed_{piece}_{number // len(pieces) + 1}",
                piece=piece,
                part=about["part"],
                title=about["title"],
                instrument=instrument,
                midi=(FOLDERS[instrument] / "midi" / f"{piece}.mid").as_posix(),
                trait=_TRAITS.get(number % _TRAITS_REPEAT, "plain"),
                seed=int(np.random.SeedSequence([params.seed, number]).generate_state(1)[0]),
            )
        )
    return takes


def ensembles_to_film(params: FilmParams) -> list[FilmedEnsemble]:
    """List the takes of ensembles that the params ask for.

    The first take of a piece is played as written, from its beginning; further ones are recast, at another tempo, from
    another place. Each begins where every player has something to play. What one take is does not depend on how many
    follow it.

    Raises:
        ParamsError: a piece is not among those for ensembles, or a part of the split has takes and no piece.
        BadInput: a score cannot be used.
    """
    asked = params.ensembles
    by_part: dict[SplitPart, list[str]] = {part: [] for part in PARTS}
    for piece in asked.pieces:
        by_part[_about(ENSEMBLES, piece)["part"]].append(piece)
    takes = []
    for part, n_takes in asked.n_takes.items():
        if n_takes and not by_part[part]:
            raise ParamsError(f"params.yaml: film.ensembles.pieces names no piece in part {part}, expected one or more")
        n_cast: Counter[str] = Counter()
        for number in range(n_takes):
            piece = by_part[part][number % len(by_part[part])]
            midi = ENSEMBLES / "midi" / f"{piece}.mid"
            source = np.random.SeedSequence([params.seed, PARTS.index(part) + 1, number])
            rng = np.random.default_rng(source)
            written = read_players(midi, _MIDI)
            again = number >= len(by_part[part])
            cast = recast(written, n_cast, rng) if again else written
            n_cast.update(player.instrument for player in cast)
            tempo = round(float(rng.uniform(1 - _TEMPO_SPREAD, 1 + _TEMPO_SPREAD)), 4) if again else 1.0
            end_s = max(float(player.notes.offset_s.max()) for player in written) / tempo
            latest_s = max(0.0, end_s - asked.excerpt_s)
            places_s = [round(float(place), 3) for place in rng.uniform(0.0, latest_s, _PLACES)]
            places_s = places_s if again else [0.0, *places_s]
            from_s = _where_all_play(written, tempo, places_s, asked.excerpt_s)
            takes.append(
                FilmedEnsemble(
                    name=f"filmed_{piece}_{number // len(by_part[part]) + 1}",
                    piece=piece,
                    part=part,
                    title=_about(ENSEMBLES, piece)["title"],
                    midi=midi.as_posix(),
                    cast=tuple(
                        CastPart(
                            instrument=now.instrument,
                            semitones=int(now.notes.pitch[0]) - int(before.notes.pitch[0]),
                        )
                        for before, now in zip(written, cast, strict=True)
                    ),
                    tempo=tempo,
                    from_s=from_s,
                    until_s=round(min(from_s + asked.excerpt_s, end_s), 3),
                    max_gain_db=asked.max_gain_db,
                    stem_room=asked.stem_room,
                    seed=int(source.generate_state(1)[0]),
                )
            )
    return takes


def _where_all_play(players: Sequence[Player], tempo: float, places_s: Sequence[float], excerpt_s: float) -> float:
    """Return the first place from which on every player plays a tenth of the excerpt, or where the least plays most."""
    least = []
    for from_s in places_s:
        shares = []
        for player in players:
            begins = np.clip(player.notes.onset_s / tempo - from_s, 0, excerpt_s)
            ends = np.clip(player.notes.offset_s / tempo - from_s, 0, excerpt_s)
            shares.append(float((ends - begins).sum()) / excerpt_s)
        least.append(min(shares))
    good = [place for place, share in zip(places_s, least, strict=True) if share >= _LEAST_PLAYED]
    return good[0] if good else places_s[int(np.argmax(least))]


def film_take(take: FilmedTake | FilmedEnsemble, out: Path, params: RecordingParams) -> None:
    """Write the films, the recordings, ``take.yaml``, ``rig.yaml``, ``truth.json`` and perhaps ``score.mid`` of a take.

    Raises:
        BadInput: the score cannot be used, or its sound leaves full scale.
        ToolError: ffmpeg, FluidSynth or the SoundFont is missing, or did not do what was asked.
    """
    if isinstance(take, FilmedEnsemble):
        film_ensemble(take, out, params)
        return
    notes, controls = excerpt(Path(take.midi), params.excerpt_s)
    rig = rig_of(
        take.seed,
        instrument=take.instrument,
        is_test=take.part == "test",
        trait=take.trait,
        duration_s=float(notes.offset_s.max()),
        params=params.rig,
    )
    record_rig(rig, notes, controls, out, params)
    cameras = {camera.name: _camera_facts(rig, camera) for camera in rig.cameras}
    described: dict[str, Any] = {
        "piece": take.piece,
        **({"part": take.part} if take.part else {}),
        "title": take.title,
        "player": "audiate's virtual rig",
        "instrument": take.instrument,
        **({"master": f"mic_{rig.microphones[0].name}"} if rig.microphones else {}),
        **({"notes": "recorded"} if rig.notes else {}),
        "cameras": cameras,
    }
    write_whole(out / "take.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))


def film_ensemble(take: FilmedEnsemble, out: Path, params: RecordingParams) -> None:
    """Write stems, mix, films, ``score.mid``, ``take.yaml``, ``rig.yaml`` and ``truth.json`` of several players.

    Raises:
        BadInput: the score cannot be used, or its sound leaves full scale.
        ToolError: ffmpeg, FluidSynth or the SoundFont is missing, or did not do what was asked.
    """
    cv2.setNumThreads(1)  # takes already fill the cores
    players = played(take)
    rig = ensemble_rig_of(
        take.seed,
        instruments=[player.instrument for player in players],
        params=params.rig,
        max_gain_db=take.max_gain_db,
    )
    end_s = take.until_s - take.from_s + params.tail_s
    duration_s = _recorded_s(rig.recorder, end_s)
    on_recorder = [_on_clock(player.notes, rig.recorder) for player in players]
    stems = _stems(rig, on_recorder, duration_s, params, room=take.stem_room)
    names = [f"stem_{number}_{player.instrument}" for number, player in enumerate(players, start=1)]
    for name, stem in zip(names, stems, strict=True):
        scipy.io.wavfile.write(out / f"{name}.wav", params.sample_rate, stem)
    mix = stems.sum(axis=0, dtype=np.int16)  # a stem's gain was chosen so that it fits
    scipy.io.wavfile.write(out / "mix.wav", params.sample_rate, mix)
    cameras = [f"cam_p{number}" for number in range(1, len(players) + 1)]
    device_s = np.arange(int(duration_s * VIEW_RATE)) / float(VIEW_RATE)
    world_s = rig.recorder.to_world(device_s)
    views = [
        pictures_of(
            own_view(rig, number, player.notes, world_s),
            backdrop(VIEW_SIZE, VIEW_SIZE, seed=rig.seats[number].seed + 2),
            len(world_s),
            noise=rig.view_noise,
            jitter=rig.view_jitter,
            seed=rig.seats[number].seed + 3,
        )
        for number, player in enumerate(players)
    ]
    paths = [out / f"{camera}.mp4" for camera in cameras]
    encode_films(paths, map(np.stack, zip(*views, strict=True)), frame_rate=VIEW_RATE)
    own = _truth(rig.recorder, duration_s, None, "none")
    devices: dict[str, Any] = dict.fromkeys(cameras, own)
    devices |= {device: {**own, "acoustic_delay_s": 0.0} for device in ("mix", *names, "score")}
    devices["cam_all"], boxes = _record_all(rig, players, mix, out / "cam_all.mp4", end_s=end_s, params=params)
    write_tracks(
        out / "score.mid",
        [
            (ORCHESTRA[player.instrument].name, ORCHESTRA[player.instrument].program, notes)
            for player, notes in zip(players, on_recorder, strict=True)
        ],
    )
    described = {
        "piece": take.piece,
        **({"part": take.part} if take.part else {}),
        "title": take.title,
        "player": "audiate's virtual rig",
        "players": [
            {"instrument": player.instrument, "stem": name, "camera": camera}
            for player, name, camera in zip(players, names, cameras, strict=True)
        ],
        "master": "mix",
        "notes": "recorded",
        "genlocked": cameras,
    }
    write_whole(out / "take.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
    write_whole(out / "rig.yaml", yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))
    everything = sorted(row for player in players for row in _rows(player.notes))
    truth = {
        "duration_s": end_s,
        "devices": devices,
        "notes": everything,
        "players": [
            {
                "number": number,
                "instrument": player.instrument,
                "notes": _rows(player.notes),
                "rests": _rests(player.notes, end_s),
                "boxes": where,
            }
            for number, (player, where) in enumerate(zip(players, boxes, strict=True), start=1)
        ],
    }
    write_whole(out / "truth.json", json.dumps(truth, indent=1, sort_keys=True) + "\n")


def played(take: FilmedEnsemble) -> list[Player]:
    """Return what each player of a take plays, in the world's time; 0 is where the take begins.

    Raises:
        BadInput: the score cannot be used, or holds another number of parts than are cast.
    """
    written = read_players(Path(take.midi), _MIDI)
    if len(written) != len(take.cast):
        raise BadInput(f"{take.midi}: {len(written)} parts, expected {len(take.cast)}", kind="OTHER_PLAYERS")
    players = []
    for player, cast in zip(written, take.cast, strict=True):
        onset_s, offset_s = player.notes.onset_s / take.tempo, player.notes.offset_s / take.tempo
        kept = (onset_s >= take.from_s) & (onset_s < take.until_s - _SHORTEST_S)
        begin_s = onset_s[kept] - take.from_s
        end_s = np.minimum(offset_s[kept], take.until_s) - take.from_s
        notes = replace(
            player.notes.take(kept),
            onset_s=begin_s,
            offset_s=end_s,
            sounding_offset_s=end_s,
            pitch=(player.notes.pitch[kept].astype(np.int64) + cast.semitones).astype(np.uint8),
        )
        players.append(Player(instrument=cast.instrument, notes=notes))
    return players


def _stems(
    rig: EnsembleRig, notes: Sequence[Notes], duration_s: float, params: RecordingParams, *, room: float
) -> NDArray[np.int16]:
    """Return the recorder's stems (players, n), of which none clips, nor their sum.

    A recorder is set so that players are equally loud while they play, give or take what the rig draws.
    """
    sounds = []
    for mine, seat in zip(notes, rig.seats, strict=True):
        program = ORCHESTRA[seat.instrument].program
        sound = _synthesizer(params).render(mine, None, program=program, duration_s=duration_s)
        heard = np.square(sound[sound != 0], dtype=np.float64)
        level = float(np.sqrt(heard.mean())) if len(heard) else 1.0
        if room:
            response = room_response(rig.surroundings.room(seat.microphone_cm), sample_rate=params.sample_rate)
            first = round(response.direct_s * params.sample_rate)
            wet = scipy.signal.oaconvolve(sound, response.impulse.astype(np.float32))[first : first + len(sound)]
            sound = sound + np.float32(room) * (wet - sound)
        sounds.append(sound * np.float32(10 ** ((_STEM_DB + seat.gain_db) / 20) / level))
    stems = np.stack(sounds)
    peak = max(float(np.abs(stems).max()), float(np.abs(stems.sum(axis=0)).max()))
    if peak > _PEAK:
        stems *= np.float32(_PEAK / peak)
    written: NDArray[np.int16] = np.rint(stems * _FULL_SCALE).astype(np.int16)
    return written


def _record_all(
    rig: EnsembleRig,
    players: Sequence[Player],
    mix: NDArray[np.int16],
    path: Path,
    *,
    end_s: float,
    params: RecordingParams,
) -> tuple[dict[str, Any], list[list[list[float]]]]:
    """Write the film of all; return the truth about it, and where each player is in it, second by second."""
    camera = rig.camera
    rng = np.random.default_rng([rig.seed, 1])
    duration_s = _recorded_s(camera.clock, end_s)
    device_s = picture_times(duration_s, frame_rate=camera.frame_rate, rng=None)
    world_s = camera.clock.to_world([float(moment) for moment in device_s])
    audio, delay_s = _heard(
        mix.astype(np.float32) / np.float32(_FULL_SCALE),
        params.sample_rate,
        camera.sound,
        rig.surroundings,
        position_cm=camera.position_cm,
        # The mix begins when the recorder does, which is before the world's 0.
        clock=camera.clock.model_copy(update={"start_s": camera.clock.start_s - rig.recorder.start_s}),
        duration_s=duration_s,
        defect="none",
        rng=rng,
    )
    drawing = view_of_all(rig, [player.notes for player in players], world_s)
    encode_camera(
        path,
        pictures_of(
            drawing,
            backdrop(camera.width, camera.height, seed=rig.seed % 2**31),
            len(world_s),
            noise=camera.noise,
            jitter=camera.jitter,
            seed=rig.seed % 2**31 + 1,
        ),
        time_s=device_s,
        time_base=time_base(camera.frame_rate, is_variable=False),
        audio=audio,
        sample_rate=camera.sound.sample_rate,
        audio_codec=camera.sound.codec,
        crf=_STAGE_CRF,
    )
    told = {
        **_truth(camera.clock, duration_s, delay_s, "none"),
        "pictures": {
            "n": len(device_s),
            "frame_rate": str(camera.frame_rate),
            "is_variable": False,
            "first_s": float(device_s[0]),
            "last_s": float(device_s[-1]),
            "first_world_s": float(world_s[0]),
            "last_world_s": float(world_s[-1]),
        },
    }
    every = round(camera.frame_rate)
    boxes = []
    for where in drawing.boxes:
        seconds = where[: len(where) // every * every].reshape(-1, every, 4)
        around = np.concatenate([seconds[..., :2].min(axis=1), seconds[..., 2:].max(axis=1)], axis=1)
        boxes.append([[round(value, 1) for value in row] for row in around.tolist()])
    return told, boxes


def _rows(notes: Notes) -> list[list[float]]:
    return [
        [round(onset_s, 6), round(offset_s, 6), pitch, velocity]
        for onset_s, offset_s, pitch, velocity in zip(
            notes.onset_s.tolist(),
            notes.offset_s.tolist(),
            notes.pitch.tolist(),
            notes.velocity.tolist(),
            strict=True,
        )
    ]


def _rests(notes: Notes, end_s: float) -> list[list[float]]:
    """Return begin and end of the times of a second or more in which a player plays nothing."""
    begins = np.append(0.0, np.maximum.accumulate(notes.offset_s))
    ends = np.append(notes.onset_s, end_s)
    return [
        [round(begin, 6), round(end, 6)]
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        if end - begin >= _REST_S
    ]


def record_rig(rig: Rig, notes: Notes, controls: Controls | None, out: Path, params: RecordingParams) -> None:
    """Write what each device of a rig records of a performance, ``rig.yaml`` and ``truth.json`` into a folder.

    Args:
        rig: the devices.
        notes: what is played, in the world's time; 0 is the beginning of the score.
        controls: the pedals, or None.
        out: an existing folder.
        params: ``excerpt_s`` and ``rig`` of it are not used.
    """
    cv2.setNumThreads(1)  # takes already fill the cores
    end_s = float(notes.offset_s.max()) + params.tail_s
    dry = _synthesizer(params).render(notes, controls, program=PROGRAMS[rig.instrument], duration_s=end_s)
    devices: dict[str, Any] = {}
    for number, microphone in enumerate(rig.microphones):
        device = f"mic_{microphone.name}"
        duration_s = _recorded_s(microphone.clock, end_s)
        audio, delay_s = _heard(
            dry,
            params.sample_rate,
            microphone.sound,
            rig.surroundings,
            position_cm=microphone.position_cm,
            clock=microphone.clock,
            duration_s=duration_s,
            defect=microphone.defect,
            rng=np.random.default_rng([rig.seed, 1, number]),
        )
        if microphone.sound.codec == "aac":
            path = out / f"{device}.m4a"
            encode_sound(path, audio, sample_rate=microphone.sound.sample_rate, codec="aac")
        else:
            path = out / f"{device}.wav"
            encode_sound(path, audio, sample_rate=microphone.sound.sample_rate, codec="pcm_s16le")
        _break(path, microphone.defect)
        devices[device] = _truth(microphone.clock, duration_s, delay_s, microphone.defect)
    for number, camera in enumerate(rig.cameras):
        device = f"cam_{camera.name}"
        suffix = ".mov" if camera.sound is not None and camera.sound.codec == "pcm" else ".mp4"
        devices[device] = _record_camera(
            rig, camera, number, notes, dry, out / f"{device}{suffix}", end_s=end_s, sample_rate=params.sample_rate
        )
    if rig.notes is not None:
        write_midi(out / "score.mid", _on_clock(notes, rig.notes), pedal=_controls_on_clock(controls, rig.notes))
        devices["score"] = _truth(rig.notes, _recorded_s(rig.notes, end_s), 0.0, "none")
    write_whole(out / "rig.yaml", yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))
    truth = {
        "duration_s": end_s,
        "devices": devices,
        "notes": _rows(notes),
    }
    write_whole(out / "truth.json", json.dumps(truth, indent=1, sort_keys=True) + "\n")


def excerpt(midi: Path, longest_s: float) -> tuple[Notes, Controls]:
    """Read a score as far as the first moment after ``longest_s`` at which no key is down, or all of it.

    Raises:
        BadInput: the file is no MIDI file that can be used, or has no notes.
    """
    score = read_midi(midi, _MIDI)
    notes = score.notes
    if not len(notes):
        raise BadInput(f"{midi}: no notes, expected a score to film", kind="NO_NOTES")
    held_until_s = np.maximum.accumulate(notes.offset_s)[:-1]  # notes are in order of onset
    clean = np.flatnonzero((held_until_s >= longest_s) & (notes.onset_s[1:] >= held_until_s))
    if not len(clean):
        return notes, score.controls
    kept = notes.take(np.arange(clean[0] + 1))
    end_s = float(held_until_s[clean[0]])
    kept = replace(kept, sounding_offset_s=np.minimum(kept.sounding_offset_s, end_s + 1.0))
    moves = score.controls
    before = moves.time_s <= end_s
    return kept, Controls(time_s=moves.time_s[before], control=moves.control[before], value=moves.value[before])


def filmed(rig: Rig, camera: CameraDevice, number: int, notes: Notes, time_s: NDArray[np.float64]) -> Filmed:
    """Return what a camera of a rig sees of a performance, pictures at these moments of the world.

    Args:
        rig: that the camera is of.
        camera: one of its cameras.
        number: which one, for the seed of its noise.
        notes: what is played.
        time_s: middles of the exposures, rising.
    """
    view, light = camera.camera(), rig.surroundings.light
    moments_s = exposure_moments(time_s, camera.exposure_s)
    if rig.instrument == "marimba-18":
        bars = bars_of()
        layers = marimba_layers(bars, rig.seed)
        still = compose(view, layers, light, whole(view))
        ground = cover_of(view, layers[-1])
        parts = swinging_parts(view, still, bars)
        amounts = ringing(notes, bars, moments_s.ravel())
        mallets: Sequence[Any] = plan_mallets(notes, bars)
    else:
        keys = sorted({int(pitch) - LOWEST_PITCH for pitch in notes.pitch})
        still = compose(view, keyboard_layers(rig.seed), light, whole(view))
        ground = np.zeros_like(still)
        parts = dipping_parts(view, still, light, keys, rig.seed)
        amounts = dips(notes, keys, moments_s.ravel())
        mallets = ()
    return Filmed(
        view,
        light,
        camera.sensor(seed=rig.seed % 2**31 + number),
        still=still,
        parts=[Part(window=window, change=change) for window, change in parts],
        amounts=amounts.reshape(*moments_s.shape, -1).mean(axis=1).astype(np.float32),
        ground=ground,
        mallets=mallets,
        moments_s=moments_s,
    )


def _record_camera(
    rig: Rig,
    camera: CameraDevice,
    number: int,
    notes: Notes,
    dry: NDArray[np.float32],
    path: Path,
    *,
    end_s: float,
    sample_rate: int,
) -> dict[str, Any]:
    """Write a camera's file and return the truth about it."""
    rng = np.random.default_rng([rig.seed, 2, number])
    duration_s = _recorded_s(camera.clock, end_s)
    device_s = picture_times(duration_s, frame_rate=camera.frame_rate, rng=rng if camera.is_variable else None)
    world_s = camera.clock.to_world([float(moment) for moment in device_s])
    audio, delay_s = None, None
    if camera.sound is not None:
        audio, delay_s = _heard(
            dry,
            sample_rate,
            camera.sound,
            rig.surroundings,
            position_cm=camera.position_cm,
            clock=camera.clock,
            duration_s=duration_s,
            defect=camera.defect,
            rng=rng,
        )
    encode_camera(
        path,
        filmed(rig, camera, number, notes, world_s).pictures(),
        time_s=device_s,
        time_base=time_base(camera.frame_rate, is_variable=camera.is_variable),
        audio=audio,
        sample_rate=camera.sound.sample_rate if camera.sound else sample_rate,
        audio_codec=camera.sound.codec if camera.sound else None,
    )
    _break(path, camera.defect)
    return {
        **_truth(camera.clock, duration_s, delay_s, camera.defect),
        "pictures": {
            "n": len(device_s),
            "frame_rate": str(camera.frame_rate),
            "is_variable": camera.is_variable,
            "first_s": float(device_s[0]),
            "last_s": float(device_s[-1]),
            "first_world_s": float(world_s[0]),
            "last_world_s": float(world_s[-1]),
        },
    }


def _heard(
    dry: NDArray[np.float32],
    sample_rate: int,
    device: SoundDevice,
    surroundings: Surroundings,
    *,
    position_cm: tuple[float, float, float],
    clock: DeviceClock,
    duration_s: float,
    defect: Defect,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], float]:
    """Return what a device records, and how long the sound was on its way to it in s."""
    room = room_response(surroundings.room(position_cm), sample_rate=sample_rate)
    # The recorder's own truth leaves out the way of the sound; in a room it is there.
    with_flight = replace(room, direct_s=room.direct_s - room.acoustic_delay_s)
    audio = record(
        np.zeros_like(dry) if defect == "silent" else dry,
        sample_rate,
        duration_s=duration_s,
        clock=clock,
        room=with_flight,
        response=device.response,
        gain_control=device.gain_control,
        noise_db=device.noise_db,
        rate=device.sample_rate,
        rng=rng,
    )
    return audio, room.acoustic_delay_s


def _truth(clock: DeviceClock, duration_s: float, delay_s: float | None, defect: Defect) -> dict[str, Any]:
    return {
        "clock": clock.model_dump(mode="json"),
        "duration_s": duration_s,
        "acoustic_delay_s": delay_s,
        "defect": defect,
    }


def _camera_facts(rig: Rig, camera: CameraDevice) -> dict[str, Any]:
    """Return the instrument's corners in a camera's picture, and the part of the picture that shows it."""
    view = camera.camera()
    corners = instrument_corners(rig.instrument)
    over = corners.copy()
    over[:, 2] = _REACH_CM[rig.instrument]
    pixels = view.project(np.concatenate([corners, over]))
    from_far_left = view.project(corners)[::-1]  # take.yaml counts clockwise as the player sees them
    left, top = np.clip(np.floor(pixels.min(axis=0) / 2) * 2, 0, (camera.width - 16, camera.height - 16))
    right, bottom = np.clip(np.ceil(pixels.max(axis=0) / 2) * 2, (left + 16, top + 16), (camera.width, camera.height))
    return {
        "crop": [int(left), int(top), int(right - left), int(bottom - top)],
        "corners": [[round(float(x), 2), round(float(y), 2)] for x, y in from_far_left],
    }


def _recorded_s(clock: DeviceClock, end_s: float) -> float:
    """Return how long a device records by its own clock: until the take ends, in whole milliseconds."""
    return int(float(clock.to_device([end_s])[0]) * 1000) / 1000


def _on_clock(notes: Notes, clock: DeviceClock) -> Notes:
    return replace(
        notes,
        onset_s=clock.to_device(notes.onset_s),
        offset_s=clock.to_device(notes.offset_s),
        sounding_offset_s=clock.to_device(notes.sounding_offset_s),
    )


def _controls_on_clock(controls: Controls | None, clock: DeviceClock) -> Controls | None:
    if controls is None or not len(controls.time_s):
        return None
    return replace(controls, time_s=clock.to_device(controls.time_s))


def _break(path: Path, defect: Defect) -> None:
    if defect == "truncated":
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * _CUT)])


def _about(folder: Path, piece: str) -> dict[str, Any]:
    path = folder / "pieces.yaml"
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))[piece]
        found = {"part": about.get("part"), "title": str(about["title"])}
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise ParamsError(f"params.yaml: film.pieces names {piece!r}, expected one that {path} describes") from None
    if found["part"] not in (*PARTS, None):
        raise ParamsError(f"{path}: {piece} is in part {found['part']!r}, expected one of {PARTS}")
    return found


def _synthesizer(params: RecordingParams) -> Synthesizer:
    wanted = (params.sample_rate, params.gain)
    if getattr(_SYNTHESIZERS, "made_for", None) != wanted:
        _SYNTHESIZERS.synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=params.sample_rate, gain=params.gain
        )
        _SYNTHESIZERS.made_for = wanted
    synthesizer: Synthesizer = _SYNTHESIZERS.synthesizer
    return synthesizer
