"""take.yaml: each key is typed, a missing key stays empty, and a wrong one is named with its line."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.intake.describe import INSTRUMENT_NOTES, TakeFile, TakeFileError, parse_take_file, read_take_file
from tasks.notes import INSTRUMENTS


def parse(text):
    return parse_take_file(text.encode() if isinstance(text, str) else text, name="take.yaml")


def refusal(text):
    """Return why a text is refused, or None."""
    try:
        parse(text)
    except TakeFileError as error:
        return str(error)
    return None


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_describes_nothing(text):
    assert parse(text) == TakeFile() == read_take_file(None)
    assert parse(text).instrument.name == "none"


def test_all_keys_are_kept():
    described = parse(
        "piece: canon\npart: test\ntitle: Canon à 2\nplayer: N. N.\ninstrument: {name: toy, notes: [62, 60, 60]}\n"
        "master: mic_room\nnotes: recorded\n"
        "cameras:\n  top: {crop: [0, 10, 64, 48], corners: [[0, 0], [63.5, 0], [63, 47], [0, 47]]}\n  cam_side: {}\n"
    )
    assert (described.piece, described.part) == ("canon", "test")
    assert (described.title, described.player) == ("Canon à 2", "N. N.")
    assert (described.instrument.name, described.instrument.notes) == ("toy", (60, 62))
    assert (described.master, described.notes) == ("mic_room", "recorded")
    assert list(described.cameras) == ["cam_side", "cam_top"]
    assert described.cameras["cam_top"].crop == (0, 10, 64, 48)
    assert described.cameras["cam_top"].corners[1] == (63.5, 0.0)


@pytest.mark.parametrize("name", INSTRUMENT_NOTES)
def test_an_instrument_known_by_name_has_its_notes(name):
    assert parse(f"instrument: {name}").instrument.notes == INSTRUMENT_NOTES[name]


def test_instruments_are_those_of_audiate_notes():
    known = {name: played.pitches for name, played in INSTRUMENTS.items()}
    assert {"none": (), **known} == INSTRUMENT_NOTES


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("piece: a\ntitel: b\n", 2, "titel: Extra inputs are not permitted, found 'b'"),
        ("piece: a\npart: tset\n", 2, "part: Input should be 'train', 'validation' or 'test', found 'tset'"),
        ("\n\npiece: ../x\n", 3, "piece: expected letters, digits, '.', '_' and '-', found '../x'"),
        ("piece: 12\n", 1, "piece: Input should be a valid string, found 12"),
        ("master: room\n", 1, "master: expected a device: cam_NAME or mic_NAME, found 'room'"),
        ("instrument: lute\n", 1, "instrument: expected none, piano, marimba, marimba-18, or name and notes"),
        ("instrument:\n  name: x\n  notes: [60, 200]\n", 3, "instrument.notes.1: Input should be less than"),
        ("instrument: {name: x}\n", 1, "instrument.notes: Field required"),
        ("cameras:\n  top:\n    crop: [0, 0, 0, 5]\n", 3, "cameras.top.crop: x, y, width, height are [0, 0, 0, 5]"),
        ("cameras:\n  top:\n    corners: [[0, 0]]\n", 3, "cameras.top.corners"),
        ("a" * 900 + ": 1\n", 1, "a" * 80 + "...: Extra inputs are not permitted, found 1"),
        ("cameras:\n  top:\n    zoom: 2\n", 3, "cameras.top.zoom: Extra inputs are not permitted"),
        ("cameras: {top: {}, cam_top: {}}\n", 1, "cameras: a camera stands there twice"),
        ("cameras: {a b: {}}\n", 1, "cameras: a camera's name has letters"),
        ("title: 'a\\nb'\nplayer: \"a\\nb\"\n", 2, "player: expected words in one line"),
        ("- a\n", 1, "list, expected keys such as piece and instrument"),
        ("piece: [\n", 2, "did not find expected node content|expected the node content"),
        ("a: &x [1]\nb: *x\n", 1, "an alias or anchor, expected plain values"),
        ("piece: !!python/object/apply:os.system ['touch pwned']\n", 1, "a tag, expected plain values"),
        ("piece: a\ntitle: b\npiece: c\n", 3, "the key 'piece' stands there twice"),
        ("? [a]\n: b\n", 1, "a list or keys in place of a key, expected a word"),
        ("\nmaster: 1" + "9" * 5000, 2, "a number of 5001 digits, expected 18"),
        ("a: [" + "1," * 15_000 + "]\n", 1, "more than 20000 words and signs"),
        (b"piece: a\ntitle: \xff\n", 2, "expected text in UTF-8"),
        ("[" * 5000, 1, ""),
        ("a" * 70_000, 1, "more than 65536 bytes"),
        ("title: 12\n", 1, "title: Input should be a valid string, found 12"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, line, reason):
    with pytest.raises(TakeFileError) as refused:
        parse(text)
    message = str(refused.value)
    assert refused.value.kind == "BAD_TAKE_FILE"
    assert message.startswith("take.yaml, line ")
    assert message.isprintable()
    assert len(message) < 400
    if reason:
        assert message.startswith(f"take.yaml, line {line}: "), message
        assert re.search(reason if "|" in reason else re.escape(reason), message), message


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_typed_or_refused_in_words(data):
    assert (refusal(data) or "").isprintable()


KEYS = st.sampled_from(["piece", "part", "title", "instrument", "master", "notes", "cameras", "other"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_values_are_typed_or_refused_in_words(values):
    text = yaml.safe_dump(values, allow_unicode=True)
    message = refusal(text) or "line 1"
    assert message.isprintable()
    assert int(re.search(r"line (\d+)", message)[1]) <= len(text.splitlines()) + 1


def test_players_and_the_cameras_on_their_clock_are_read():
    text = b"players:\n- {instrument: vn, stem: stem_1_vn, camera: cam_p1}\n- {instrument: vc, stem: stem_2_vc}\n"
    described = parse_take_file(text + b"genlocked: [cam_p1]\nmaster: mix\n", name="take.yaml")
    assert [(player.instrument, player.stem, player.camera) for player in described.players] == [
        ("vn", "stem_1_vn", "cam_p1"),
        ("vc", "stem_2_vc", None),
    ]
    assert (described.genlocked, described.master) == (("cam_p1",), "mix")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("players: [{instrument: vn}]", "line 1: players.0.stem: Field required"),
        ("players:\n- {instrument: vn, stem: stem_1_vn}\n- {instrument: vn, stem: ../x}", "line 3: players.1.stem"),
        ("players:\n- {instrument: vn, stem: stem_1_vn, seat: 3}", "players.0.seat"),
        ("genlocked: [top]", "line 1: genlocked.0"),
        ("master: stem_1_vn", "expected a device: cam_NAME or mic_NAME"),
    ],
)
def test_wrong_players_are_named_with_their_line(text, message):
    with pytest.raises(TakeFileError) as error:
        parse_take_file(text.encode(), name="take.yaml")
    assert message in str(error.value)
    assert error.value.kind == "BAD_TAKE_FILE"


@pytest.mark.parametrize(
    "words",
    ["1" + ":1" * 3000, "2024-99-99", "2024-01-02", "12:34:56", "no", "on", "1_000", "0b11", "=", "<<", "190:20:30.15"],
)
def test_words_that_yaml_1_1_makes_numbers_dates_or_truths_of_are_words(words):
    assert parse(f"title: '{words[:200]}'\n").title == words[:200]
    text = f"title: {words}\n"
    if len(words) > 200:
        assert "title: String should have at most 200 characters" in refusal(text)
    else:
        assert parse(text).title == words


@pytest.mark.parametrize(
    ("words", "value"),
    [("0x40", 64), ("0o17", 15), ("+7", 7), ("017", 17), ("6e1", 60), (".5", 0.5), ("12.", 12.0)],
)
def test_numbers_are_those_of_yaml_1_2(words, value):
    corner = (
        parse(f"cameras: {{top: {{corners: [[{words}, 0], [90, 0], [90, 9], [0, 9]]}}}}\n")
        .cameras["cam_top"]
        .corners[0]
    )
    assert corner == (value, 0)


def test_a_merged_key_is_an_unknown_key():
    assert "<<: Extra inputs are not permitted" in refusal("<<: {piece: a}\n")
