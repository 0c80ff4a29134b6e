"""The orchestra: who plays a track, and who can take over a part."""

from collections import Counter

import mido
import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.instruments.midi import MidiError, MidiPolicy
from tasks.instruments.midi_reader import read_tracks
from tasks.instruments.midi_writer import write_tracks
from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import (
    ORCHESTRA,
    SLOTS,
    Player,
    instrument_code,
    instrument_named,
    read_players,
    recast,
)

POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)


def part(*pitches, from_s=0.5):
    onset_s = from_s + 0.5 * np.arange(len(pitches))
    return sorted_notes(onset_s, onset_s + 0.4, np.array(pitches), np.full(len(pitches), 80))


def midi_of(path, *tracks, tempo=True):
    """Write tracks of (name or None, program or None, channel, pitches)."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    if tempo:
        file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)]))
    for name, program, channel, pitches in tracks:
        track = mido.MidiTrack()
        if name is not None:
            track.append(mido.MetaMessage("track_name", name=name))
        if program is not None:
            track.append(mido.Message("program_change", program=program, channel=channel))
        for pitch in pitches:
            track.append(mido.Message("note_on", note=pitch, velocity=90, channel=channel, time=0))
            track.append(mido.Message("note_off", note=pitch, channel=channel, time=480))
        file.tracks.append(track)
    file.save(path)
    return path


def test_the_slots_are_those_of_urmp_in_its_order():
    assert " ".join(SLOTS) == "bn cl db fl hn ob sax tba tbn tpt va vc vn"


def test_the_ranges_are_as_wide_as_orchestral_players_go_and_below_4_khz():
    for instrument in ORCHESTRA.values():
        assert 24 <= instrument.highest - instrument.lowest <= 48, instrument.name
        assert 440 * 2 ** ((instrument.highest - 69) / 12) < 4000, instrument.name
    open_strings = {"vn": 55, "va": 48, "vc": 36, "db": 28}
    assert {code: ORCHESTRA[code].lowest for code in open_strings} == open_strings


def test_each_track_is_a_player_whose_instrument_its_program_names(tmp_path):
    tracks = [(f"any {code}", ORCHESTRA[code].program, n % 9, [ORCHESTRA[code].lowest]) for n, code in enumerate(SLOTS)]
    players = read_players(midi_of(tmp_path / "a.mid", *tracks), POLICY)
    assert tuple(player.instrument for player in players) == SLOTS
    assert [player.notes.pitch.tolist() for player in players] == [[ORCHESTRA[code].lowest] for code in SLOTS]


@pytest.mark.parametrize("program", [64, 65, 66, 67])
def test_every_saxophone_is_a_saxophone(tmp_path, program):
    (player,) = read_players(midi_of(tmp_path / "a.mid", ("?", program, 0, [60])), POLICY)
    assert player.instrument == "sax"


def test_two_tracks_of_one_instrument_are_two_players_even_on_one_channel(tmp_path):
    path = midi_of(tmp_path / "a.mid", ("one", 40, 0, [70, 72]), ("other", 40, 0, [70]))
    players = read_players(path, POLICY)
    assert [(player.instrument, player.notes.pitch.tolist()) for player in players] == [("vn", [70, 72]), ("vn", [70])]


def test_a_track_without_a_program_of_the_orchestra_goes_by_its_name(tmp_path):
    path = midi_of(tmp_path / "a.mid", ("Violoncello", None, 0, [50]), ("Trumpet in B flat", 0, 1, [60]))
    assert [player.instrument for player in read_players(path, POLICY)] == ["vc", "tpt"]


def test_a_track_of_no_instrument_says_which_and_what_was_expected(tmp_path):
    path = midi_of(tmp_path / "a.mid", ("Violin", 40, 0, [70]), ("Drum kit", 5, 1, [60]))
    with pytest.raises(BadInput, match=r"a\.mid: track 2: program 5 and name 'Drum kit'.*expected one of bn, cl") as e:
        read_players(path, POLICY)
    assert e.value.kind == "UNKNOWN_INSTRUMENT"


def test_tracks_without_notes_are_no_players_and_a_file_of_such_is_refused(tmp_path):
    players = read_players(midi_of(tmp_path / "a.mid", ("text", None, 0, []), ("Viola", None, 0, [60])), POLICY)
    assert [player.instrument for player in players] == ["va"]
    with pytest.raises(MidiError, match="no notes in 2 tracks"):
        read_players(midi_of(tmp_path / "b.mid", ("text", None, 0, [])), POLICY)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("AuSep_1_vn_01_Jupiter", "vn"),
        ("stem_3_tba.wav", "tba"),
        ("Violin II", "vn"),
        ("Viola", "va"),
        ("Violoncello", "vc"),
        ("Contrabass", "db"),
        ("Bass Clarinet", "cl"),
        ("Contrabassoon", "bn"),
        ("Tenor Saxophone", "sax"),
        ("French Horn", "hn"),
        ("Posaune", "tbn"),
        ("Flauto", "fl"),
        ("Oboe d'amore", "ob"),
        ("Cornet", "tpt"),
        ("drums", None),
        ("vocals", None),
        ("savanna", None),
    ],
)
def test_instruments_are_known_by_code_and_by_name(words, code):
    assert instrument_named(words) == code


def test_what_was_written_in_tracks_is_read_back(tmp_path):
    parts = [part(60, 64, 67), part(64, 64), part(36, from_s=2.0)]
    tracks = [("Violin", 40, parts[0]), ("Clarinet", 71, parts[1]), ("Tuba", 58, parts[2])]
    write_tracks(tmp_path / "a.mid", tracks)
    found = read_tracks(tmp_path / "a.mid", POLICY)
    assert [(track.name, track.program) for track in found] == [("Violin", 40), ("Clarinet", 71), ("Tuba", 58)]
    for track, notes in zip(found, parts, strict=True):
        np.testing.assert_allclose(track.score.notes.onset_s, notes.onset_s, atol=1e-4)
        assert track.score.notes.pitch.tolist() == notes.pitch.tolist()
    before = (tmp_path / "a.mid").read_bytes()
    write_tracks(tmp_path / "a.mid", tracks)
    assert (tmp_path / "a.mid").read_bytes() == before


def test_more_tracks_than_channels_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="16 tracks, expected at most 15"):
        write_tracks(tmp_path / "a.mid", [("Violin", 40, part(60))] * 16)


QUARTET = [
    Player(instrument="vn", notes=part(76, 81, 72)),
    Player(instrument="vn", notes=part(69, 72)),
    Player(instrument="va", notes=part(60, 64)),
    Player(instrument="vc", notes=part(43, 50, 48)),
]


@pytest.mark.parametrize("seed", range(40))
def test_whoever_is_cast_can_play_the_part_and_pairs_stay_pairs(seed):
    cast = recast(QUARTET, {}, np.random.default_rng(seed))
    codes = [player.instrument for player in cast]
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3
    moves = []
    for before, now in zip(QUARTET, cast, strict=True):
        instrument = ORCHESTRA[now.instrument]
        assert instrument.lowest <= now.notes.pitch.min() <= now.notes.pitch.max() <= instrument.highest
        (move,) = {int(b) - int(a) for a, b in zip(before.notes.pitch, now.notes.pitch, strict=True)}
        moves.append(move % 12)
        np.testing.assert_array_equal(now.notes.onset_s, before.notes.onset_s)
    assert len(set(moves)) == 1  # the harmony stays


def test_who_was_cast_seldom_is_preferred_so_that_all_are_cast_about_as_often():
    rng = np.random.default_rng(1)
    n_cast: Counter[str] = Counter()
    for _ in range(60):
        n_cast.update({player.instrument for player in recast(QUARTET, n_cast, rng)})
    assert set(n_cast) == set(SLOTS)
    assert max(n_cast.values()) < 2 * min(n_cast.values())


def test_a_part_that_nothing_else_can_play_stays_where_it_is():
    wide = [Player(instrument="vn", notes=part(21, 108))]
    assert recast(wide, {}, np.random.default_rng(0)) == wide


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("vn", "vn"),
        ("VN", "vn"),
        ("violin", "vn"),
        ("Alto Sax", "sax"),
        ("drums", "drums"),
        ("Lead Guitar", "lead-guitar"),
    ],
)
def test_an_instrument_is_its_code_or_its_own_word(word, code):
    assert instrument_code(word) == code
