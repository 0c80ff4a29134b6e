"""Separation scored on mixes whose stems are known: figures of planted errors, and a duet really separated."""

import json

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.presets import preset_text
from tasks.errors import BadInput
from tasks.evaluate_stems import figures_of, known_mixes, score_mixes, summary
from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import ORCHESTRA
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.separate import SeparateParams
from tasks.step import file_sha256
from tasks.synchronize import SynchronizeParams

RATE = 16_000
SECONDS = 5.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A duet of an oboe and a cello, in stereo; the same with a mix of its own; and two folders that cannot be used."""
    folder = tmp_path_factory.mktemp("mixes")
    soundfont = find_soundfont()
    onset_s = np.arange(0.2, SECONDS - 0.8, 0.45)
    stems = {}
    with Synthesizer(soundfont, sha256=file_sha256(soundfont), sample_rate=RATE, gain=0.5) as synthesizer:
        for code, lowest in (("ob", 72), ("vc", 45)):
            pitch = lowest + np.array([0, 4, 7, 5, 2, 9, 11, 7, 4])[: len(onset_s)]
            notes = sorted_notes(onset_s, onset_s + 0.4, pitch.astype(np.uint8), np.full(len(onset_s), 90, np.uint8))
            stems[code] = synthesizer.render(notes, None, program=ORCHESTRA[code].program, duration_s=SECONDS)
    for name in ("summed", "mixed"):
        (folder / name).mkdir()
        for number, (code, stem) in enumerate(stems.items(), 1):
            sound = np.stack([stem, stem], axis=1) if name == "summed" else stem
            soundfile.write(folder / name / f"stem_{number}_{code}.wav", sound, RATE, subtype="FLOAT")
    soundfile.write(folder / "mixed" / "mix.wav", sum(stems.values()), RATE, subtype="FLOAT")
    (folder / "strange").mkdir()
    for number, word in ((1, "kazoo"), (2, "vc")):
        soundfile.write(folder / "strange" / f"stem_{number}_{word}.wav", stems["vc"], RATE)
    (folder / "alone").mkdir()
    soundfile.write(folder / "alone" / "stem_1_vc.wav", stems["vc"], RATE)
    return folder


@pytest.fixture(scope="module")
def scores(folder):
    params = yaml.safe_load(preset_text("demo"))
    found = score_mixes(
        known_mixes(folder),
        params=SeparateParams.parse(params["separate"], "separate"),
        clock=SynchronizeParams.parse(params["synchronize"], "synchronize"),
        progress=lambda _: None,
    )
    return {score.known.folder.name: score for score in found}


def test_folders_with_two_stems_are_mixes_and_their_names_say_who_plays(folder):
    mixes = {known.folder.name: known for known in known_mixes(folder)}
    assert sorted(mixes) == ["mixed", "strange", "summed"]
    assert mixes["mixed"].instruments == ("ob", "vc")
    assert mixes["mixed"].mix == folder / "mixed" / "mix.wav"
    assert mixes["summed"].mix is None
    with pytest.raises(BadInput, match="no folder holds two stems, expected a folder a mix"):
        known_mixes(folder / "alone")


def test_a_planted_error_has_its_ratio():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((2, 3 * RATE)).astype(np.float32)
    noise = rng.standard_normal(true.shape).astype(np.float32)
    players = figures_of(true, true + 0.1 * noise, true.sum(axis=0), sample_rate=RATE)
    for player in players:
        assert player["si_sdr_db"] == pytest.approx(20.0, abs=0.3)
        assert player["si_sdr_improvement_db"] == pytest.approx(20.0, abs=0.5)  # in the mix both are equally loud
        assert player["sdr_db"] == pytest.approx(20.0, abs=0.3)


def test_a_duet_is_separated_and_scored(scores):
    for name in ("mixed", "summed"):
        assert scores[name].reason == ""
        for player in scores[name].players:
            assert player["si_sdr_improvement_db"] > 6.0
            assert player["si_sdr_db"] > 6.0
            assert set(player) == {"si_sdr_improvement_db", "si_sdr_db", "sdr_db", "sir_db", "sar_db"}


def test_an_instrument_that_is_unknown_is_a_row_with_its_reason(scores):
    assert scores["strange"].players == ()
    assert scores["strange"].reason.startswith("instrument 'kazoo' is unknown")


def test_means_are_over_mixes_and_two_make_no_interval(scores):
    about = summary([*scores.values()])["si_sdr_improvement_db"]
    by_mix = [
        np.mean([player["si_sdr_improvement_db"] for player in score.players])
        for score in scores.values()
        if score.players
    ]
    assert about["mean"] == pytest.approx(np.mean(by_mix))
    assert (about["n"], about["low"], about["high"]) == (2, None, None)
    assert about["worst"] <= about["mean"]


def test_the_command_prints_each_player_and_the_mean(folder, tmp_path):
    done = CliRunner().invoke(app, ["evaluate-stems", str(folder / "mixed"), "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert [row["instrument"] for row in said["mixes"][0]["players"]] == ["ob", "vc"]
    assert said["mean"]["si_sdr_improvement_db"]["mean"] > 6.0
    done = CliRunner().invoke(app, ["evaluate-stems", str(tmp_path)])
    assert done.exit_code == 1
