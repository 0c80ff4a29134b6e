"""Filming ensembles: the mix is the sum of its stems, and each player's motion and sound follow their notes."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import yaml

from flows.presets import preset_text
from tasks.errors import ParamsError
from tasks.film import FilmParams
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.orchestra import ORCHESTRA, read_players
from tasks.kinds.ensembles.film import film_take, played, takes_to_film
from tasks.rig.clocks import DeviceClock
from tasks.rig.microphone import read_at
from tasks.rig.truth import read_truth
from tasks.takes import PARTS

POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, recording, demo):
    """Film five seconds of a duet, the second take of its piece: recast, from somewhere within."""
    take = next(take for take in takes_to_film(demo) if take.name == "filmed_auld_lang_syne_duo_2")
    out = tmp_path_factory.mktemp("ensemble")
    film_take(take, out, recording)
    return take, out, json.loads((out / "truth.json").read_text())


def stem_of(out, player):
    (path,) = out.glob(f"stem_{player['number']}_*.wav")
    samples, rate = soundfile.read(path, dtype="int16")
    return samples.astype(int), rate


def test_an_ensemble_is_a_folder_of_stems_films_a_mix_and_the_score(ensemble):
    take, out, _ = ensemble
    codes = [cast.instrument for cast in take.cast]
    described = yaml.safe_load((out / "take.yaml").read_text())
    assert described["players"] == [
        {"instrument": code, "stem": f"stem_{number}_{code}", "camera": f"cam_p{number}"}
        for number, code in enumerate(codes, start=1)
    ]
    assert (described["part"], described["master"], described["notes"]) == ("test", "mix", "recorded")
    assert described["genlocked"] == ["cam_p1", "cam_p2"]
    files = {f"stem_{number}_{code}.wav" for number, code in enumerate(codes, start=1)}
    files |= {"mix.wav", "cam_p1.mp4", "cam_p2.mp4", "cam_all.mp4", "score.mid"}
    assert {path.name for path in out.iterdir()} == files | {"take.yaml", "rig.yaml", "truth.json"}


def test_the_mix_is_the_sum_of_the_stems_to_the_sample_and_nothing_clips(ensemble):
    _, out, truth = ensemble
    stems = [stem_of(out, player) for player in truth["players"]]
    mix, rate = soundfile.read(out / "mix.wav", dtype="int16")
    assert {rate for _, rate in stems} == {rate} == {48_000}
    assert {len(samples) for samples, _ in stems} == {len(mix)}
    np.testing.assert_array_equal(mix, sum(samples for samples, _ in stems))
    assert 1000 < np.abs(mix.astype(int)).max() < 30_000


def test_stems_sound_where_the_notes_are_and_are_silent_in_long_rests(ensemble):
    _, out, truth = ensemble
    start_s = truth["devices"]["mix"]["clock"]["start_s"]
    for player in truth["players"]:
        samples, rate = stem_of(out, player)
        recorded = np.abs(samples)
        first_s = player["notes"][0][0] - start_s
        assert not recorded[: round((first_s - 0.01) * rate)].any()
        assert recorded[round(first_s * rate) : round((first_s + 0.1) * rate)].max() > 300
        for begin_s, end_s in player["rests"]:
            quiet = recorded[round((begin_s + 0.9 - start_s) * rate) : round((end_s - 0.01 - start_s) * rate)]
            assert quiet.max(initial=0) < 40


def test_the_score_is_on_the_recorders_clock_a_track_a_player(ensemble):
    take, out, truth = ensemble
    start_s = truth["devices"]["score"]["clock"]["start_s"]
    players = read_players(out / "score.mid", POLICY)
    assert [player.instrument for player in players] == [cast.instrument for cast in take.cast]
    for player, expected in zip(players, truth["players"], strict=True):
        notes = np.array(expected["notes"])
        np.testing.assert_allclose(player.notes.onset_s + start_s, notes[:, 0], atol=2e-4)
        assert player.notes.pitch.tolist() == notes[:, 2].tolist()


def test_players_cameras_run_with_the_recorder_and_the_camera_of_all_by_itself(ensemble, probed, picture_times):
    _, out, truth = ensemble
    duration_s = truth["devices"]["mix"]["duration_s"]
    for name in ("cam_p1", "cam_p2"):
        times_s = picture_times(out / f"{name}.mp4")
        np.testing.assert_allclose(times_s, np.arange(int(duration_s * 25)) / 25, atol=1e-4)
        assert truth["devices"][name]["clock"] == truth["devices"]["mix"]["clock"]
        assert not probed(out / f"{name}.mp4", stream="a", entries="stream=index")
    own = truth["devices"]["cam_all"]
    assert own["clock"] != truth["devices"]["mix"]["clock"]
    assert len(picture_times(out / "cam_all.mp4")) == own["pictures"]["n"]


def test_the_camera_of_all_records_the_mix_at_its_clocks_time(ensemble, lag_s):
    _, out, truth = ensemble
    clocks = {name: DeviceClock.parse(truth["devices"][name]["clock"], name) for name in ("mix", "cam_all")}
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", out / "cam_all.mp4", "-ar", "48000", out.parent / "a.wav"], check=True
    )
    recorded, rate = soundfile.read(out.parent / "a.wav", dtype="float32")
    mix, _ = soundfile.read(out / "mix.wav", dtype="float32")
    device_s = np.arange(len(recorded)) / rate
    flight_s = truth["devices"]["cam_all"]["acoustic_delay_s"]
    at_s = clocks["mix"].to_device(clocks["cam_all"].to_world(device_s) - flight_s)
    expected = read_at(mix, rate, at_s, rate=rate)
    assert abs(lag_s(recorded, expected, rate)) < 2e-3


def test_the_truth_of_an_ensemble_is_read_as_that_of_a_capture(ensemble):
    take, out, truth = ensemble
    found = read_truth(out)
    assert found.clocks.keys() == truth["devices"].keys()
    assert found.flight_s["mix"] == 0.0
    assert len(found.notes) == sum(len(player.notes) for player in played(take))
    assert (np.diff(found.notes[:, 0]) >= 0).all()


def test_truth_boxes_are_where_players_are_in_the_picture(ensemble, luma):
    _, out, truth = ensemble
    rig = yaml.safe_load((out / "rig.yaml").read_text())
    pictures = luma(out / "cam_all.mp4", rig["camera"]["width"], rig["camera"]["height"])
    change = np.abs(pictures - np.median(pictures, axis=0)).mean(axis=0)
    inside = np.zeros(change.shape, bool)
    for player in truth["players"]:
        assert len(player["boxes"]) >= 5
        for left, top, right, bottom in player["boxes"]:
            inside[max(int(top), 0) : int(bottom) + 1, max(int(left), 0) : int(right) + 1] = True
    assert change[inside].mean() > 3 * change[~inside].mean()
    assert change[~inside].max() < change[inside].max() / 4


def test_filming_an_ensemble_again_gives_the_same_bytes(ensemble, tmp_path, digests, recording):
    take, out, _ = ensemble
    film_take(take, tmp_path, recording)
    assert digests(tmp_path) == digests(out)


def test_a_room_in_the_stems_sounds_after_the_notes_and_still_sums_up(ensemble, tmp_path, lag_s, recording):
    take, out, truth = ensemble
    film_take(replace(take, stem_room=0.5), tmp_path, recording)
    wet, rate = soundfile.read(tmp_path / "mix.wav", dtype="int16")
    stems = [stem_of(tmp_path, player)[0] for player in truth["players"]]
    np.testing.assert_array_equal(wet, sum(stems))
    dry, _ = soundfile.read(out / "mix.wav", dtype="int16")
    assert (wet != dry).any()
    assert abs(lag_s(wet.astype(float), dry.astype(float), rate)) < 1e-3  # the direct sound stays where it was


def test_ensembles_go_through_the_pieces_of_each_part_in_turn(demo):
    takes = takes_to_film(demo)
    assert [(take.name, take.part) for take in takes] == [
        ("filmed_ah_vous_dirai_clarinets_1", "train"),
        ("filmed_low_voices_duo_1", "train"),
        ("filmed_ah_vous_dirai_clarinets_2", "train"),
        ("filmed_scarborough_cellos_1", "validation"),
        ("filmed_auld_lang_syne_duo_1", "test"),
        ("filmed_auld_lang_syne_duo_2", "test"),
    ]
    assert len({take.seed for take in takes}) == len(takes)


def test_the_first_take_of_a_piece_is_as_written_and_further_ones_are_recast(demo):
    ensembles = demo.ensembles.model_copy(update={"excerpt_s": 20.0})
    by_name = {take.name: take for take in takes_to_film(demo.model_copy(update={"ensembles": ensembles}))}
    first, second = (by_name[f"filmed_ah_vous_dirai_clarinets_{number}"] for number in (1, 2))
    assert [(cast.instrument, cast.semitones) for cast in first.cast] == [("cl", 0), ("cl", 0)]
    assert (first.tempo, first.from_s) == (1.0, 0.0)
    assert second.cast[0].instrument == second.cast[1].instrument
    assert 0.9 <= second.tempo <= 1.1
    assert second.tempo != 1.0
    assert second.until_s - second.from_s == pytest.approx(20.0)


def test_an_ensemble_more_leaves_the_others_as_they_were(demo):
    fewer = takes_to_film(demo)
    ensembles = demo.ensembles.model_copy(update={"n_takes": {"train": 9, "validation": 1, "test": 2}})
    more = takes_to_film(demo.model_copy(update={"ensembles": ensembles}))
    assert [take for take in more if take in fewer] == fewer


def test_what_is_played_lies_within_the_excerpt_and_the_instruments_range(demo):
    for take in takes_to_film(demo):
        for player in played(take):
            notes = player.notes
            assert len(notes)  # an excerpt begins where every player has something to play
            assert notes.onset_s.min() >= 0
            assert notes.offset_s.max() <= take.until_s - take.from_s + 1e-9
            instrument = ORCHESTRA[player.instrument]
            assert instrument.lowest <= notes.pitch.min() <= notes.pitch.max() <= instrument.highest


@pytest.mark.parametrize("pieces", [("no_such_piece",), ("marimba_song",), ("schumann_melodie",)])
def test_a_piece_for_ensembles_that_is_not_there_is_an_error_of_the_params(pieces, demo):
    ensembles = demo.ensembles.model_copy(update={"pieces": pieces})
    with pytest.raises(
        ParamsError, match=r"names '.*', expected one that data/sample/ensembles/pieces\.yaml describes"
    ):
        takes_to_film(demo.model_copy(update={"ensembles": ensembles}))


def test_a_part_with_takes_and_no_piece_is_an_error_of_the_params(demo):
    ensembles = demo.ensembles.model_copy(update={"pieces": ("low_voices_duo",)})
    with pytest.raises(ParamsError, match=r"film\.ensembles\.pieces names no piece in part validation"):
        takes_to_film(demo.model_copy(update={"ensembles": ensembles}))


@pytest.mark.parametrize("preset", ["demo", "study"])
def test_presets_film_ensembles_whose_training_has_every_instrument_of_the_tests(preset):
    params = FilmParams.parse(yaml.safe_load(preset_text(preset))["film"], "film")
    takes = takes_to_film(params)
    of_part = {part: [take for take in takes if take.part == part] for part in PARTS}
    instruments = {part: {cast.instrument for take in of_part[part] for cast in take.cast} for part in PARTS}
    assert instruments["test"] | instruments["validation"] <= instruments["train"]
    if preset == "study":
        assert instruments["train"] == set(ORCHESTRA)
        assert len({take.piece for take in of_part["test"]}) >= 12
    assert all(len({take.piece for take in of_part[part]}) >= 2 for part in PARTS)
    for take in takes:
        assert all(len(player.notes) for player in played(take)), take.name
