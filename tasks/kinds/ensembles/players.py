"""The players of an ensemble, from take.yaml or from the names of the files, and the notes of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import BadInput
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.orchestra import instrument_code, read_players
from tasks.intake.describe import TakeFile
from tasks.intake.folder import device_of, role_of, shown
from tasks.intake.layouts import STEM_STREAMS, ensemble_file
from tasks.intake.stems import StemSound

NOTE_VELOCITY = 64  # of notes that a list without loudness holds: the middle
_A4_HZ, _A4_PITCH = 440.0, 69


class PlayersError(BadInput):
    """Players or notes that cannot be used: the file, what was found, what was expected."""


@dataclass(frozen=True, kw_only=True)
class PlayerPlan:
    """A player before any of their files was read.

    Attributes:
        instrument: code, or a word for an instrument that is none of the orchestra's.
        stem: the device that records this player's sound.
        sound: where that sound is.
        camera: the device that films this player alone, or None.
        notes: a list of this player's notes, or None.
    """

    instrument: str
    stem: str
    sound: StemSound
    camera: str | None = None
    notes: Path | None = None


def plan_players(files: Sequence[Path], described: TakeFile, *, where: str) -> list[PlayerPlan]:
    """List the players as take.yaml has them, else by the names of the stems, in order of their numbers, then names.

    Args:
        files: the raw files that can be used.
        described: take.yaml.
        where: the take's folder, for messages.

    Raises:
        PlayersError: ``NO_PLAYERS``; ``NO_INSTRUMENT``, a stem that names none; ``MISSING``, take.yaml names a stem or
            a camera that is not there; ``UNNAMED``, it leaves a stem out; ``TWICE``, it gives a stem to two players;
            ``TWO_CLOCKS``, two players whose cameras record their sound.
    """
    roles = {path: role_of(path.name, in_ensemble=True) for path in files}
    paths = {device_of(path.name, in_ensemble=True): path for path in files if roles[path] != "score"}
    together = [path for path in files if _role(path) == "stems"]
    if together:
        streams = enumerate(STEM_STREAMS, start=1)
        return [
            PlayerPlan(instrument=name, stem="stems", sound=StemSound(path=together[0], stream=number))
            for number, name in streams
        ]
    cameras = {device for device, path in paths.items() if roles[path] == "camera"}
    stems = [device for device, path in paths.items() if roles[path] == "stem"]
    if described.players:
        return _as_described(described, paths, stems, cameras, where)
    solos = [path for path in files if _role(path) == "solo"]
    if solos:
        device = device_of(solos[0].name, in_ensemble=True)
        word = _named(solos[0])[1] or ""
        return [
            PlayerPlan(instrument=instrument_code(word), stem=device, sound=StemSound(path=solos[0]), camera=device)
        ]
    # Of a band in four stems, as MUSDB18 has it, these words are no instruments of the orchestra.
    is_band = len(stems) > 1 and {_named(paths[device])[1] for device in stems} <= {*STEM_STREAMS}
    plans = []
    for device in sorted(stems, key=lambda name: (_named(paths[name])[0] or len(stems) + 100, name)):
        number, called = _named(paths[device])
        if called is None:
            raise PlayersError(
                f"{where}: {paths[device].name} names no instrument, expected stem_{number}_CODE, or players in "
                "take.yaml",
                kind="NO_INSTRUMENT",
            )
        camera = f"cam_p{number}"
        plans.append(
            PlayerPlan(
                instrument=called.lower() if is_band else instrument_code(called),
                stem=device,
                sound=StemSound(path=paths[device]),
                camera=camera if camera in cameras else None,
                notes=_notes_of(number, files),
            )
        )
    if not plans:
        raise PlayersError(f"{where}: holds no stem that can be used, expected stem_N_CODE.wav", kind="NO_PLAYERS")
    return plans


def _as_described(
    described: TakeFile, paths: Mapping[str, Path], stems: Sequence[str], cameras: set[str], where: str
) -> list[PlayerPlan]:
    plans: list[PlayerPlan] = []
    for number, player in enumerate(described.players, start=1):
        for device in filter(None, (player.stem, player.camera)):
            if device not in paths:
                raise PlayersError(
                    f"{where}: take.yaml names {device} of player {number}, but no {device}.* there can be used",
                    kind="MISSING",
                )
        if player.stem in cameras and len(described.players) > 1:
            raise PlayersError(
                f"{where}: the sound of player {number} is in {player.stem}, which has a clock of its own: expected a "
                "stem of every player, or one player",
                kind="TWO_CLOCKS",
            )
        if player.stem in [plan.stem for plan in plans]:
            raise PlayersError(f"{where}: take.yaml gives {player.stem} to two players, expected one", kind="TWICE")
        plans.append(
            PlayerPlan(
                instrument=instrument_code(player.instrument),
                stem=player.stem,
                sound=StemSound(path=paths[player.stem]),
                camera=player.camera,
                notes=_notes_of(_named(paths[player.stem])[0], list(paths.values())),
            )
        )
    left = sorted(set(stems) - {plan.stem for plan in plans})
    if left:
        raise PlayersError(
            f"{where}: holds {left[0]}, which take.yaml gives to no player, expected a player each", kind="UNNAMED"
        )
    return plans


def notes_of_players(
    plans: Sequence[PlayerPlan], score: Path | None, policy: MidiPolicy, *, recorded: bool
) -> list[Notes | None]:
    """Return the notes of each player, on the stems' clock; None where they are not known.

    A list of a player's own notes comes first. Of a MIDI file that was recorded with the take, each track goes to the
    next player of its instrument.

    Args:
        plans: the players.
        score: the MIDI file, if there is one.
        policy: what of it is accepted.
        recorded: whether it was recorded with the take; else its times are not the players', and it is not used.

    Raises:
        BadInput: a list or the MIDI file cannot be used.
    """
    found: list[Notes | None] = [read_note_list(plan.notes) if plan.notes is not None else None for plan in plans]
    if score is None or not recorded:
        return found
    for track in read_players(score, policy):
        for number, plan in enumerate(plans):
            if found[number] is None and plan.instrument == track.instrument:
                found[number] = track.notes
                break
    return found


def read_note_list(path: Path) -> Notes:
    """Read a list of notes in three columns: onset in s, frequency in Hz, duration in s.

    Raises:
        PlayersError: ``BAD_NOTES``, with the line.
    """

    def refused(line: int, what: str) -> PlayersError:
        return PlayersError(f"{shown(path)}, line {line}: {what}, expected onset, Hz and duration", kind="BAD_NOTES")

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise refused(1, f"cannot be read ({type(error).__name__})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            onset_s, frequency_hz, duration_s = (float(word) for word in line.split())
        except ValueError:
            raise refused(number, f"{line.strip()[:60]!a}") from None
        if not (0 <= onset_s < 1e6 and 8 < frequency_hz < 13000 and 0 < duration_s < 1e6):  # NaN is refused too
            raise refused(number, f"{line.strip()[:60]!a}")
        rows.append((onset_s, onset_s + duration_s, round(_A4_PITCH + 12 * float(np.log2(frequency_hz / _A4_HZ)))))
    if not rows:
        raise refused(1, "no notes")
    onset, offset, pitch = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return sorted_notes(onset, offset, pitch.clip(0, 127).astype(np.uint8), np.full(len(rows), NOTE_VELOCITY, np.uint8))


def _role(path: Path) -> str | None:
    named = ensemble_file(path.name)
    return None if named is None else named.role


def _named(path: Path) -> tuple[int | None, str | None]:
    named = ensemble_file(path.name)
    return (None, None) if named is None else (named.number, named.instrument)


def _notes_of(number: int | None, files: Sequence[Path]) -> Path | None:
    lists = [path for path in files if _role(path) == "notes" and _named(path)[0] == number]
    return lists[0] if lists and number is not None else None
