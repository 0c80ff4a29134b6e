"""data/sample/perform_scores.py: the notation, and that the bundled MIDI files are what it makes of the scores."""

import importlib.util
import random
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import mido
import pretty_midi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import PipelineError

SAMPLE = Path(__file__).parents[3] / "data" / "sample"


def load_program() -> ModuleType:
    """Import the program from its path: data/ is no package."""
    spec = importlib.util.spec_from_file_location("perform_scores", SAMPLE / "perform_scores.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


program = load_program()
PIECES = yaml.safe_load((SAMPLE / "pieces.yaml").read_text(encoding="utf-8"))
HEADER = "key: C major\ntime: 4/4\ntempo: 1/4 = 120\ndynamics: 1 mf\n"
SHARP_NAMES = ["c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b"]


def score_of(music: str, header: str = HEADER):
    return program.parse_score(f"{header}---\n{music}\n", "try")


def pitches_of(music: str, header: str = HEADER) -> list[int]:
    return [note.pitch for note in program.written_notes(score_of(music, header))]


def performed(score, seed: int = 1):
    rng = random.Random(seed)
    tempo = program.Tempo(score, rng)
    return program.perform(score, tempo, rng)


@pytest.fixture(scope="module")
def midi_files() -> dict[str, mido.MidiFile]:
    return {path.stem: mido.MidiFile(path) for path in sorted((SAMPLE / "midi").glob("*.mid"))}


@pytest.fixture(scope="module")
def struck(midi_files) -> dict[str, list[tuple[int, int]]]:
    """(key, velocity) of every note, by piece."""
    return {
        name: [(event.note, event.velocity) for track in file.tracks for event in track if event.type == "note_on"]
        for name, file in midi_files.items()
    }


# The bundled pieces


def test_the_committed_files_are_what_the_program_makes(tmp_path):
    subprocess.run([sys.executable, SAMPLE / "perform_scores.py", "--out", tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in (SAMPLE / "midi").iterdir()}
    assert made.keys() == committed.keys()
    assert [name for name in made if made[name] != committed[name]] == []


def test_the_committed_marimba_files_are_what_the_program_makes(tmp_path):
    arguments = ["--folder", SAMPLE / "marimba", "--out", tmp_path]
    subprocess.run([sys.executable, SAMPLE / "perform_scores.py", *arguments], check=True, capture_output=True)
    committed = {path.name: path.read_bytes() for path in (SAMPLE / "marimba/midi").iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == committed


def test_the_marimba_pieces_keep_to_its_18_bars_and_name_its_program():
    pieces = yaml.safe_load((SAMPLE / "marimba/pieces.yaml").read_text(encoding="utf-8"))
    assert {path.stem for path in (SAMPLE / "marimba/scores").iterdir()} == set(pieces)
    assert not set(pieces) & set(PIECES)
    for name in pieces:
        events = list(mido.merge_tracks(mido.MidiFile(SAMPLE / f"marimba/midi/{name}.mid").tracks))
        assert {event.note % 12 for event in events if event.type == "note_on"} <= {1, 3, 6, 8, 10}
        assert all(66 <= event.note <= 106 for event in events if event.type == "note_on")
        assert [event.program for event in events if event.type == "program_change"] == [12]


@pytest.mark.parametrize("folder", ["", "marimba", "ensembles"])
def test_each_instrument_has_at_least_12_pieces_for_testing(folder):
    pieces = yaml.safe_load((SAMPLE / folder / "pieces.yaml").read_text(encoding="utf-8"))
    assert [piece["part"] for piece in pieces.values()].count("test") >= 12


def test_no_marimba_melody_stands_in_two_parts():
    length = 9  # intervals
    melodies = defaultdict(set)
    for name, piece in yaml.safe_load((SAMPLE / "marimba/pieces.yaml").read_text(encoding="utf-8")).items():
        score = program.read_score(SAMPLE / f"marimba/scores/{name}.txt")
        for voice, bars in score.voices.items():
            line = [max(event.pitches) for bar in score.bars for event in bars[bar.number] if event.pitches]
            steps = [later - earlier for earlier, later in pairwise(line) if later != earlier]  # a roll is one note
            for first in range(len(steps) - length + 1):
                phrase = tuple(steps[first : first + length])
                if len(set(phrase)) >= 5:  # a scale or a figure that turns on the spot is no melody
                    melodies[phrase].add((piece["part"], name, voice))
    assert [found for found in melodies.values() if len({part for part, *_ in found}) > 1] == []


def test_every_piece_has_a_score_and_a_midi_file_of_its_name():
    assert {path.stem for path in (SAMPLE / "scores").iterdir()} == set(PIECES)
    assert {path.stem for path in (SAMPLE / "midi").iterdir()} == set(PIECES)


def test_there_are_at_least_12_pieces_and_10_minutes_under_300_kb(midi_files):
    assert len(PIECES) >= 12
    assert 10 * 60 <= sum(file.length for file in midi_files.values()) <= 16 * 60
    assert sum(path.stat().st_size for path in (SAMPLE / "midi").iterdir()) < 300_000


def test_etudes_are_at_most_half_of_the_minutes(midi_files):
    etudes_s = sum(file.length for name, file in midi_files.items() if PIECES[name]["composer"] == "audiate")
    assert etudes_s <= sum(file.length for file in midi_files.values()) / 2


@pytest.mark.parametrize(
    ("part", "least_s", "most_s"), [("train", 360, 540), ("validation", 85, 125), ("test", 240, 360)]
)
def test_each_part_has_pieces_by_composers_and_its_share_of_time(midi_files, part, least_s, most_s):
    names = [name for name, piece in PIECES.items() if piece["part"] == part]
    assert len(names) >= 2
    assert len({PIECES[name]["composer"] for name in names} - {"audiate"}) >= 2
    assert least_s <= sum(midi_files[name].length for name in names) <= most_s


def test_training_strikes_every_key_at_least_four_times_and_at_every_velocity(struck):
    train = [note for name in struck if PIECES[name]["part"] == "train" for note in struck[name]]
    keys = [key for key, _ in train]
    assert min(keys.count(key) for key in range(21, 109)) >= 4
    assert {velocity for _, velocity in train} == set(range(1, 128))


def test_two_pieces_or_more_keep_their_pedal_in_a_track_of_its_own(midi_files):
    own = [
        name
        for name, file in midi_files.items()
        if any({event.type for event in track if not event.is_meta} == {"control_change"} for track in file.tracks)
    ]
    assert len(own) >= 2
    for name in own:
        channels = {event.channel for track in midi_files[name].tracks for event in track if not event.is_meta}
        assert channels == {0}


def test_a_key_is_up_before_it_is_struck_again_whichever_hand_strikes_it(midi_files):
    for name, file in midi_files.items():
        down: set[int] = set()
        for event in mido.merge_tracks(file.tracks):
            if event.type == "note_on":
                assert event.note not in down, name
                down.add(event.note)
            elif event.type == "note_off":
                down.remove(event.note)
        assert down == set()


def test_a_repeated_note_leaves_a_picture_of_the_key_up_at_25_a_second():
    for path in sorted((SAMPLE / "midi").iterdir()):
        by_key = defaultdict(list)
        for instrument in pretty_midi.PrettyMIDI(str(path)).instruments:
            for note in instrument.notes:
                by_key[note.pitch].append((note.start, note.end))
        for notes in by_key.values():
            notes.sort()
            assert all(b[0] - a[1] > 0.04 for a, b in pairwise(notes)), path.stem


def test_each_file_names_its_piece_and_declares_its_duration(midi_files):
    for name, file in midi_files.items():
        assert file.type == 1
        texts = [event.text for event in file.tracks[0] if event.type == "text"]
        assert file.tracks[0].name == program.plain(PIECES[name]["title"])
        assert f"Composer: {program.plain(PIECES[name]['composer'])}" in texts
        minutes, seconds = texts[1].removeprefix("Duration: ").removesuffix(" minutes").split(":")
        assert abs(60 * int(minutes) + int(seconds) - file.length) <= 0.51


def test_pedals_go_down_and_come_up_in_the_end(midi_files):
    for name, file in midi_files.items():
        values = [event.value for event in mido.merge_tracks(file.tracks) if event.type == "control_change"]
        assert not values or (max(values) >= 64 and values[-1] == 0), name


# Known music


def first_bar_pitches(name: str, voice: str | None = None) -> list[int]:
    score = program.read_score(SAMPLE / "scores" / f"{name}.txt")
    notes = program.written_notes(score)
    return [n.pitch for n in notes if n.onset < score.bars[0].length and voice in (None, n.voice)]


def test_the_prelude_begins_with_its_c_major_chord_twice():
    once = [60, 64, 67, 72, 76, 67, 72, 76]
    assert first_bar_pitches("bach_prelude_c_major") == once + once


def test_fuer_elise_begins_with_e_and_d_sharp():
    assert first_bar_pitches("beethoven_fuer_elise") == [76, 75]


def test_the_chorale_is_in_four_voices_that_end_on_g_major():
    score = program.read_score(SAMPLE / "scores" / "bach_chorale_bwv269.txt")
    last = [note.pitch for note in program.written_notes(score) if note.onset == score.bars[-1].start]
    assert sorted(last) == [43, 59, 62, 67]


def test_the_invention_answers_its_subject_an_octave_lower():
    score = program.read_score(SAMPLE / "scores" / "bach_invention_1.txt")
    hands = {
        voice: [p for number in (1, 2) for event in score.voices[voice][number] for p in event.pitches]
        for voice in ("right", "left")
    }
    assert [p - 12 for p in hands["right"][:8]] == hands["left"][:8]


def test_the_etude_of_levels_plays_1_to_127_in_order_and_back(struck):
    assert struck["etude_every_level"][:127] == [(65 + 7 * k % 44, k + 1) for k in range(127)]
    assert [velocity for _, velocity in struck["etude_every_level"][128:255]] == list(range(127, 0, -1))


# The notation


@pytest.mark.parametrize(
    ("word", "sharps", "pitch"),
    [
        ("c4", 0, 60), ("a4", 0, 69), ("a0", 0, 21), ("c8", 0, 108),
        ("f4", 1, 66), ("c5", 2, 73), ("fn4", 1, 65), ("b3", -1, 58), ("bn3", -1, 59), ("e4", -3, 63),
        ("bb3", 0, 58), ("bbb3", 0, 57), ("f##4", 1, 67), ("b#3", 0, 60), ("cb4", 0, 59), ("c4", -7, 59),
    ],
)  # fmt: skip
def test_letters_follow_the_key_signature_unless_they_have_an_accidental(word, sharps, pitch):
    assert program.pitch_of(word, sharps=sharps) == pitch


@pytest.mark.parametrize(
    ("key", "sharps"),
    [
        ("C major", 0),
        ("G major", 1),
        ("Ab major", -4),
        ("F# major", 6),
        ("A minor", 0),
        ("C minor", -3),
        ("C# minor", 4),
    ],
)
def test_key_signatures_are_those_of_the_circle_of_fifths(key, sharps):
    assert program.parse_key(key)[0] == sharps


@given(st.integers(21, 108), st.integers(-7, 7))
def test_a_written_accidental_overrides_every_key_signature(pitch, sharps):
    name = SHARP_NAMES[pitch % 12]
    word = f"{name if '#' in name else name + 'n'}{pitch // 12 - 1}"
    assert program.pitch_of(word, sharps=sharps) == pitch


WRITTEN = st.tuples(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 32]), st.integers(0, 2))


@given(st.lists(WRITTEN, min_size=1, max_size=12))
def test_written_lengths_add_up_exactly(lengths):
    text = " ".join(f"c4:{n}{'.' * dots}" for n, dots in lengths)
    events, _ = program.parse_bar(text, sharps=0)
    halves = {0: Fraction(1), 1: Fraction(3, 2), 2: Fraction(7, 4)}
    assert sum(event.length for event in events) == sum(halves[dots] / n for n, dots in lengths)


@given(st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=2, max_size=8))
def test_a_chain_of_ties_is_one_note_as_long_as_all(lengths):
    total = sum(Fraction(1, n) for n in lengths)
    header = HEADER.replace("4/4", f"{total.numerator}/{total.denominator}")
    score = score_of("right: " + "~ ".join(f"c4:{n}" for n in lengths) + " |", header)
    assert [(n.onset, n.length) for n in program.written_notes(score)] == [(0, total)]


@given(st.text(alphabet="abcdefgr0123456789#bn:.+~'>|% -\n", max_size=60))
def test_any_text_is_read_or_refused_with_a_typed_error(text):
    try:
        score = score_of(text)
        program.written_notes(score)
    except program.ScoreError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right; only other errors are not)


def test_repeats_are_played_in_the_order_asked():
    music = "right: c4:1 | d4 | e4 |"
    assert pitches_of(music, HEADER + "play: 1-2 1 3\n") == [60, 62, 60, 64]


def test_a_percent_sign_repeats_the_bar_before():
    assert pitches_of("right: c4:2 e4 | % |") == [60, 64, 60, 64]


def test_two_voices_on_one_key_make_one_note_as_long_as_the_longer():
    notes = program.written_notes(score_of("upper: c4:1 |\nlower: c4:4> r:2. |"))
    assert [(n.pitch, n.length, n.accent) for n in notes] == [(60, 1, True)]


@pytest.mark.parametrize(
    ("music", "message"),
    [
        ("right: c4:4 d4 e4 |", "try: bar 1 of right lasts 3/4, expected 1"),
        ("right: c4:1 | c4:2 c4:2. |", "try: bar 2 of right lasts 5/4, expected 1"),
        ("right: c4:1 | c4:1 |\nleft: c3:1 |", "try: left has bars to 1, expected to 2 as in another voice"),
        ("right: c4:1", "try:6: right does not end with a bar line"),
        ("right: h4:1 |", "try:6: bar 1 of right: 'h4' is not a note, expected one like c4, f#5 or bb3"),
        ("right: c4 |", "try:6: bar 1 of right: 'c4' has no length, and none stands before it on this line"),
        ("right: c4:0 |", "try:6: bar 1 of right: 'c4:0' is not a note, chord or rest"),
        ("right: d8:1 |", "try:6: bar 1 of right: 'd8' is pitch 110, expected a piano key, 21 to 108"),
        ("right: c4+c4:1 |", "try:6: bar 1 of right: 'c4+c4:1': a mark on a rest, or something written twice"),
        ("right: r:1~ |", "try:6: bar 1 of right: 'r:1~': a mark on a rest, or something written twice"),
        ("right: c4:2~ d4 |", "try: a tie into bar 1 of right leads to no such note"),
        ("right: c4:1~ |", "try: right ends with a tie that leads to nothing"),
    ],
)
def test_a_wrong_bar_is_refused_with_its_place(music, message):
    with pytest.raises(program.ScoreError) as caught:
        program.written_notes(score_of(music))
    assert str(caught.value) == message
    assert isinstance(caught.value, PipelineError)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("speed: 3", "try:5: header 'speed' is unknown or given twice"),
        ("key: C major", "try:5: header 'key' is unknown or given twice"),
        ("play: 1-2", "try: play names bar 2, expected 1 to 1"),
        ("lengths: 1 4", "try: '4' is not a length, expected one like 3/4"),
        ("balance: left 3", "try: header names voices ['left'], expected ['right']"),
        ("phrase: 0", "try: phrase is 0 bars and human 1, expected at least 1 and 0"),
        ("tempo_changes: 1 nan", "try: 'nan' is not a number a score can mean"),
        ("pedal_track: left", "try: pedal_track is 'left', expected 'own' or 'shared'"),
        ("pedal: 3-1 1/4", "try: '3-1' is not a range of bars, expected one like 5-8"),
    ],
)
def test_a_wrong_header_is_refused(line, message):
    with pytest.raises(program.ScoreError) as caught:
        score_of("right: c4:1 |", HEADER + line + "\n")
    assert str(caught.value) == message


# Performing


def test_without_deviations_notes_fall_exactly_on_the_beat():
    notes = performed(score_of("right: c4:4 d4 e4 f4 |", HEADER + "human: 0\n"))
    assert [note.onset_s for note in notes] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert [note.velocity for note in notes] == [72] * 4


def test_a_gradual_mark_is_reached_evenly():
    header = HEADER.replace("1 mf", "1 40, 2 <80") + "human: 0\n"
    notes = performed(score_of("right: c4:4 d4 e4 f4 | g4:1 |", header))
    assert [note.velocity for note in notes] == [40, 50, 60, 70, 80]


def test_deviations_are_small_and_depend_on_the_seed():
    music = "right: " + "c4:8 d4 e4 f4 g4 a4 b4 c5 | " * 8
    score, strict = score_of(music), score_of(music, HEADER + "human: 0\n")
    rng = random.Random(1)
    tempo = program.Tempo(score, rng)
    grid_s = [tempo.seconds(program.ticks(program.LEAD_IN + note.onset)) for note in program.written_notes(score)]
    shifts_s = [
        note.onset_s - on_grid_s for note, on_grid_s in zip(program.perform(score, tempo, rng), grid_s, strict=True)
    ]
    assert 0.003 < max(abs(shift_s) for shift_s in shifts_s) < 0.046  # 3 standard deviations of both, and the lead
    first, again, other = performed(score), performed(score), performed(score, seed=2)
    assert first == again
    assert [note.velocity for note in first] != [note.velocity for note in other]
    assert [note.velocity for note in performed(strict)] == [72] * 64


def test_ticks_and_seconds_are_inverse_over_every_tempo():
    score = score_of("right: " + "c4:4 d4 e4 f4 | " * 6, HEADER + "tempo_changes: 2 <60, 4 200\n")
    tempo = program.Tempo(score, random.Random(3))
    assert len(tempo.starts) > 10
    assert all(tempo.tick(tempo.seconds(tick)) == tick for tick in range(0, 6 * 1920, 7))


# Several players


DUO = f"{HEADER}players: high vn, low vc\n"


def test_players_have_a_track_a_channel_and_a_program_each_in_the_order_of_the_header():
    score = score_of("low: c3:1 |\nhigh: c5:2 e5 |", DUO)
    piece = program.Piece(composer="a", title="b", source="c", part="train", instrument="ensemble")
    tracks = program.midi_file(score, piece).tracks[1:]
    assert [track.name for track in tracks] == ["high", "low"]
    for channel, (track, code) in enumerate(zip(tracks, (40, 42), strict=True)):
        assert {event.channel for event in track if not event.is_meta} == {channel}
        assert [event.program for event in track if event.type == "program_change"] == [code]


def test_players_who_meet_on_a_pitch_both_play_it():
    notes = program.written_notes(score_of("high: c4:1 |\nlow: c4:2 d4 |", DUO))
    assert [(note.voice, note.pitch) for note in notes if note.onset == 0] == [("high", 60), ("low", 60)]
    struck = performed(score_of("high: c4:1 |\nlow: c4:4 c4 c4 c4 |", DUO))
    (held,) = [note for note in struck if note.voice == "high"]
    assert held.offset_s - held.onset_s > 1.8  # nobody else's string is touched


def test_a_player_ends_a_note_before_he_begins_another():
    struck = performed(score_of("high: c5:16 d5 " + "e5 f5 " * 7 + "|\nlow: c3:1 |", DUO))
    high = sorted((note for note in struck if note.voice == "high"), key=lambda note: note.onset_s)
    assert all(note.offset_s <= following.onset_s - 0.009 for note, following in pairwise(high))


@pytest.mark.parametrize("players", ["high vn", "high vn, low kazoo", "high vn, low vc, third va"])
def test_players_that_do_not_fit_the_voices_are_refused(players):
    with pytest.raises(PipelineError, match="players are"):
        score_of("high: c5:1 |\nlow: c3:1 |", f"{HEADER}players: {players}\n")


def test_an_ensemble_without_players_is_refused_and_players_without_an_ensemble():
    for header, instrument in ((HEADER, "ensemble"), (DUO, "piano")):
        piece = program.Piece(composer="a", title="b", source="c", part="train", instrument=instrument)
        with pytest.raises(PipelineError, match="players, but its instrument is"):
            program.midi_file(score_of("high: c5:1 |\nlow: c3:1 |", header), piece)
