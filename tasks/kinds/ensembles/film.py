"""Film ensembles: a stem and a camera for each player, a mix, and one camera that records all of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import scipy.io.wavfile
import scipy.signal
from numpy.typing import NDArray

from tasks.errors import BadInput, ParamsError
from tasks.film import (
    SAMPLE,
    SCORE_POLICY,
    FilmParams,
    RecordingParams,
    describe_piece,
    synthesizer,
    write_descriptions,
)
from tasks.instruments.midi_writer import write_tracks
from tasks.instruments.notes import Notes
from tasks.instruments.orchestra import ORCHESTRA, Player, read_players, recast
from tasks.media.encode import encode_camera, encode_films
from tasks.rig.clocks import notes_on_clock
from tasks.rig.drawing import backdrop, pictures_of
from tasks.rig.ensembles import VIEW_RATE, VIEW_SIZE, EnsembleRig, ensemble_rig_of, own_view, view_of_all
from tasks.rig.frames import picture_times, time_base
from tasks.rig.microphone import room_response
from tasks.rig.recording import record_sound
from tasks.rig.truth import device_truth, note_rows, picture_truth, write_truth
from tasks.takes import PARTS, Part

TOOLS = ("ffmpeg", "fluidsynth", "soundfont")

FOLDER = SAMPLE / "ensembles"

_STEM_DB = -24.0  # level that a recorder is set to for each player while they play, before gains are drawn
_FULL_SCALE = 32767  # of 16 bits
_STAGE_CRF = 26  # a large picture of little that moves
_PEAK = 0.89  # of the mix, at most
_TEMPO_SPREAD = 0.1
_SHORTEST_S = 0.08  # that is left of a note where the excerpt ends
_REST_S = 1.0
_PLACES = 12  # where an excerpt may begin, drawn for each take
_LEAST_PLAYED = 0.1  # of an excerpt, by each player


@dataclass(frozen=True, kw_only=True)
class CastPart:
    """How one part of a score is cast: an instrument, and the semitones by which the part is transposed for it."""

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
        cast: of its parts, in their order.
        tempo: how much faster than the score it is played.
        from_s: where in the played piece the take begins.
        until_s: where it ends; a note that is held then ends there.
        max_gain_db: by which a player is louder or softer than as recorded.
        stem_room: how much of the room is in the stems.
        seed: of the rig.
    """

    name: str
    piece: str
    part: Part | None
    title: str
    midi: str
    cast: tuple[CastPart, ...]
    tempo: float
    from_s: float
    until_s: float
    max_gain_db: float
    stem_room: float
    seed: int
    data_set: ClassVar[str] = "ensembles"


def takes_to_film(params: FilmParams) -> list[FilmedEnsemble]:
    """List the ensembles that the params request.

    The first take of a piece is played as written, from its beginning. Further ones are recast, at another tempo, from
    another place. Each begins where every player has something to play. A take does not depend on how many follow it.

    Raises:
        ParamsError: a piece is not among those for ensembles or has no part of the split; a part has takes and no
            piece.
        BadInput: a score cannot be used.
    """
    requested = params.ensembles
    by_part: dict[Part, list[tuple[str, str]]] = {part: [] for part in PARTS}
    for piece in requested.pieces:
        title, fixed = describe_piece(FOLDER, piece)
        if fixed is None:
            raise ParamsError(f"params.yaml: film.ensembles.pieces names {piece!r}, which is fixed to no part")
        by_part[fixed].append((piece, title))
    takes = []
    for part, n_takes in requested.n_takes.items():
        pieces = by_part[part]
        if n_takes and not pieces:
            raise ParamsError(f"params.yaml: film.ensembles.pieces names no piece in part {part}, expected one or more")
        n_cast: Counter[str] = Counter()
        for number in range(n_takes):
            piece, title = pieces[number % len(pieces)]
            midi = FOLDER / "midi" / f"{piece}.mid"
            source = np.random.SeedSequence([params.seed, PARTS.index(part) + 1, number])
            rng = np.random.default_rng(source)
            written = read_players(midi, SCORE_POLICY)
            is_recast = number >= len(pieces)
            cast = recast(written, n_cast, rng) if is_recast else written
            n_cast.update(player.instrument for player in cast)
            tempo = round(float(rng.uniform(1 - _TEMPO_SPREAD, 1 + _TEMPO_SPREAD)), 4) if is_recast else 1.0
            end_s = max(float(player.notes.offset_s.max()) for player in written) / tempo
            latest_s = max(0.0, end_s - requested.excerpt_s)
            places_s = [round(float(place), 3) for place in rng.uniform(0.0, latest_s, _PLACES)]
            places_s = places_s if is_recast else [0.0, *places_s]
            from_s = _where_all_play(written, tempo, places_s, requested.excerpt_s)
            takes.append(
                FilmedEnsemble(
                    name=f"filmed_{piece}_{number // len(pieces) + 1}",
                    piece=piece,
                    part=part,
                    title=title,
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
                    until_s=round(min(from_s + requested.excerpt_s, end_s), 3),
                    max_gain_db=requested.max_gain_db,
                    stem_room=requested.stem_room,
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


def inputs(take: FilmedEnsemble) -> Sequence[Path]:
    """Return the score."""
    return [Path(take.midi)]


def film_take(take: FilmedEnsemble, out: Path, params: RecordingParams) -> None:
    """Write stems, mix, films, ``score.mid``, ``take.yaml``, ``rig.yaml`` and ``truth.json`` of several players.

    Raises:
        BadInput: the score cannot be used, or its sound leaves full scale.
        ToolError: ffmpeg, FluidSynth or the SoundFont is missing, or its output is not what was requested.
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
    duration_s = rig.recorder.duration_until(end_s)
    on_recorder = [notes_on_clock(player.notes, rig.recorder) for player in players]
    stems = _stems(rig, on_recorder, duration_s, params, room=take.stem_room)
    names = [f"stem_{number}_{player.instrument}" for number, player in enumerate(players, start=1)]
    for name, stem in zip(names, stems, strict=True):
        scipy.io.wavfile.write(out / f"{name}.wav", params.sample_rate, stem)
    mix = stems.sum(axis=0, dtype=np.int16)  # a stem's gain was chosen so that it fits
    scipy.io.wavfile.write(out / "mix.wav", params.sample_rate, mix)
    cameras = [f"cam_p{number}" for number in range(1, len(players) + 1)]
    _film_each(rig, players, [out / f"{camera}.mp4" for camera in cameras], duration_s)
    own = device_truth(rig.recorder, duration_s, None)
    devices: dict[str, Any] = dict.fromkeys(cameras, own)
    devices |= {device: {**own, "acoustic_delay_s": 0.0} for device in ("mix", *names, "score")}
    devices["cam_all"], boxes = _film_all(rig, players, mix, out / "cam_all.mp4", end_s=end_s, params=params)
    write_tracks(
        out / "score.mid",
        [
            (ORCHESTRA[player.instrument].name, ORCHESTRA[player.instrument].program, notes)
            for player, notes in zip(players, on_recorder, strict=True)
        ],
    )
    more = {
        "players": [
            {"instrument": player.instrument, "stem": name, "camera": camera}
            for player, name, camera in zip(players, names, cameras, strict=True)
        ],
        "master": "mix",
        "notes": "recorded",
        "genlocked": cameras,
    }
    write_descriptions(out, rig, piece=take.piece, part=take.part, title=take.title, more=more)
    write_truth(
        out,
        duration_s=end_s,
        devices=devices,
        notes=sorted(row for player in players for row in note_rows(player.notes)),
        players=[
            {
                "number": number,
                "instrument": player.instrument,
                "notes": note_rows(player.notes),
                "rests": _rests(player.notes, end_s),
                "boxes": where,
            }
            for number, (player, where) in enumerate(zip(players, boxes, strict=True), start=1)
        ],
    )


def played(take: FilmedEnsemble) -> list[Player]:
    """Return the part of each player, in the world's time; 0 is where the take begins.

    Raises:
        BadInput: the score cannot be used, or holds another number of parts than are cast.
    """
    written = read_players(Path(take.midi), SCORE_POLICY)
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
    """Return the recorder's stems (players, n). None of them clips, nor does their sum.

    A recorder is set so that players are equally loud while they play, give or take the gain that the rig draws.
    """
    sounds = []
    for own_notes, seat in zip(notes, rig.seats, strict=True):
        program = ORCHESTRA[seat.instrument].program
        sound = synthesizer(params).render(own_notes, None, program=program, duration_s=duration_s)
        power = np.square(sound[sound != 0], dtype=np.float64)
        level = float(np.sqrt(power.mean())) if len(power) else 1.0
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


def _film_each(rig: EnsembleRig, players: Sequence[Player], paths: Sequence[Path], duration_s: float) -> None:
    """Write the film of each player's own camera, which runs on the recorder's clock."""
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
    encode_films(paths, map(np.stack, zip(*views, strict=True)), frame_rate=VIEW_RATE)


def _film_all(
    rig: EnsembleRig,
    players: Sequence[Player],
    mix: NDArray[np.int16],
    path: Path,
    *,
    end_s: float,
    params: RecordingParams,
) -> tuple[dict[str, Any], list[list[list[float]]]]:
    """Write the film of all players.

    Returns:
        The truth about the device, and for each player a box a second: left, top, right and bottom in pixels.
    """
    camera = rig.camera
    rng = np.random.default_rng([rig.seed, 1])
    duration_s = camera.clock.duration_until(end_s)
    device_s = picture_times(duration_s, frame_rate=camera.frame_rate, rng=None)
    world_s = camera.clock.to_world([float(moment) for moment in device_s])
    audio, delay_s = record_sound(
        mix.astype(np.float32) / np.float32(_FULL_SCALE),
        params.sample_rate,
        camera.sound,
        rig.surroundings,
        position_cm=camera.position_cm,
        # The mix begins when the recorder does, which is before the world's 0.
        clock=camera.clock.model_copy(update={"start_s": camera.clock.start_s - rig.recorder.start_s}),
        duration_s=duration_s,
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
    truth = {
        **device_truth(camera.clock, duration_s, delay_s),
        "pictures": picture_truth(device_s, world_s, camera.frame_rate, is_variable=False),
    }
    every = round(camera.frame_rate)
    boxes = []
    for where in drawing.boxes:
        seconds = where[: len(where) // every * every].reshape(-1, every, 4)
        around = np.concatenate([seconds[..., :2].min(axis=1), seconds[..., 2:].max(axis=1)], axis=1)
        boxes.append([[round(value, 1) for value in row] for row in around.tolist()])
    return truth, boxes


def _rests(notes: Notes, end_s: float) -> list[list[float]]:
    """Return begin and end of the times of a second or more in which a player plays nothing."""
    begins = np.append(0.0, np.maximum.accumulate(notes.offset_s))
    ends = np.append(notes.onset_s, end_s)
    return [
        [round(begin, 6), round(end, 6)]
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        if end - begin >= _REST_S
    ]
