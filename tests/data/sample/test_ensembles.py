"""data/sample/ensembles: pieces that several players can play, and from which a machine can learn who plays what."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.instruments.midi import MidiPolicy
from tasks.instruments.orchestra import ORCHESTRA, SLOTS, read_players

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
FOLDER = SAMPLE / "ensembles"
PIECES = yaml.safe_load((FOLDER / "pieces.yaml").read_text(encoding="utf-8"))
POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)
PLAYERS = {name: read_players(FOLDER / "midi" / f"{name}.mid", POLICY) for name in PIECES}
CODES = {name: [player.instrument for player in players] for name, players in PLAYERS.items()}


def of(part):
    return [name for name in PIECES if PIECES[name]["part"] == part]


def rests_s(notes, end_s):
    """Return the lengths of a player's silences."""
    ends = np.append(notes.onset_s, end_s)
    return ends - np.append(0.0, np.maximum.accumulate(notes.offset_s))


def steps(notes):
    """Return a part's melody: the intervals of its notes."""
    return np.diff(notes.pitch.astype(int)).tolist()


def test_the_committed_files_are_what_the_program_makes(tmp_path):
    program = [sys.executable, SAMPLE / "perform_scores.py", "--folder", FOLDER, "--out", tmp_path]
    subprocess.run(program, check=True, capture_output=True)
    committed = {path.name: path.read_bytes() for path in (FOLDER / "midi").iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == committed


def test_every_piece_has_a_score_and_a_midi_file_of_its_name_and_no_other_folder_has_it():
    assert {path.stem for path in (FOLDER / "scores").iterdir()} == set(PIECES)
    assert {path.stem for path in (FOLDER / "midi").iterdir()} == set(PIECES)
    for other in (SAMPLE, SAMPLE / "marimba"):
        assert not set(PIECES) & set(yaml.safe_load((other / "pieces.yaml").read_text(encoding="utf-8")))


def test_there_are_enough_pieces_in_each_part():
    assert [len(of(part)) for part in ("train", "validation", "test")] == [8, 2, 16]


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_lasts_half_a_minute_to_a_minute_and_its_players_can_play_it(name):
    end_s = max(player.notes.offset_s.max() for player in PLAYERS[name])
    assert 30 <= end_s <= 62
    for player in PLAYERS[name]:
        instrument = ORCHESTRA[player.instrument]
        assert instrument.lowest <= player.notes.pitch.min(), player.instrument
        assert player.notes.pitch.max() <= instrument.highest, player.instrument
        assert (player.notes.offset_s[:-1] <= player.notes.onset_s[1:] + 1e-3).all()  # one note at a time
        assert np.ptp(player.notes.velocity.astype(int)) >= 10


@pytest.mark.parametrize("name", PIECES)
def test_every_player_both_plays_and_rests(name):
    end_s = max(player.notes.offset_s.max() for player in PLAYERS[name])
    longest = []
    for player in PLAYERS[name]:
        rests = rests_s(player.notes, end_s)
        longest.append(rests.max())
        assert rests.max() >= 1.5, player.instrument
        assert (player.notes.offset_s - player.notes.onset_s).sum() >= 0.25 * end_s, player.instrument
    assert max(longest) >= 4


@pytest.mark.parametrize("name", PIECES)
def test_no_two_players_always_move_together(name):
    players = PLAYERS[name]
    for number, one in enumerate(players):
        for other in players[:number]:
            near = np.abs(one.notes.onset_s[:, None] - other.notes.onset_s).min(axis=1) < 0.06
            assert near.mean() < 0.8


def test_training_has_every_instrument_in_two_pieces():
    seen = defaultdict(set)
    for name in of("train"):
        for code in CODES[name]:
            seen[code].add(name)
    assert {code: len(seen[code]) >= 2 for code in SLOTS} == dict.fromkeys(SLOTS, True)


@pytest.mark.parametrize(("part", "least"), [("train", 2), ("validation", 1), ("test", 8)])
def test_pairs_of_one_instrument_are_in_every_part(part, least):
    assert sum(len(set(CODES[name])) < len(CODES[name]) for name in of(part)) >= least


def test_the_test_has_duets_pairs_quartets_and_something_larger():
    sizes = [len(CODES[name]) for name in of("test")]
    mixed = [name for name in of("test") if len(CODES[name]) == 2 and len(set(CODES[name])) == 2]
    alike = [name for name in of("test") if len(CODES[name]) == 2 and len(set(CODES[name])) == 1]
    assert (len(mixed), len(alike), sizes.count(4), max(sizes)) == (4, 6, 5, 5)
    assert any(len(set(CODES[name])) == 2 == len(CODES[name]) for name in of("validation"))


def test_no_melody_stands_in_two_parts():
    length = 9  # intervals
    melodies = defaultdict(set)
    for name, players in PLAYERS.items():
        for player in players:
            line = steps(player.notes)
            for first in range(len(line) - length + 1):
                phrase = tuple(line[first : first + length])
                if len(set(phrase)) >= 4:  # a scale or a figure that turns on the spot is no melody
                    melodies[phrase].add(PIECES[name]["part"])
    assert [phrase for phrase, parts in melodies.items() if len(parts) > 1] == []
