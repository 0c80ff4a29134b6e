"""Ensembles on the road: from files in several layouts to what a model reads, and what is wrong with some of them."""

import json
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.chunk import ChunkParams, SegmentParams, data_metrics, index_takes
from tasks.clock.envelopes import EnvelopeParams
from tasks.clock.record import read_clocks
from tasks.clock.sound import ClockParams
from tasks.errors import BadInput, DamagedData
from tasks.ingest import Source, read_source, refuse_copies
from tasks.instruments.midi_writer import write_tracks
from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import SLOTS
from tasks.intake.copies import Contents
from tasks.intake.ensemble import read_ensemble
from tasks.intake.folder import FolderSize
from tasks.kinds.ensembles.chunk import chunk_take
from tasks.kinds.ensembles.extract import extract_take
from tasks.kinds.ensembles.synchronize import synchronize_take
from tasks.media.encode import encode_film
from tasks.step import Verified
from tasks.store.arrays import open_arrays
from tasks.store.ensembles import EnsembleSet, slots
from tasks.synchronize import SynchronizeParams
from tasks.takes import SplitParams, Take

RATE = 16_000
CHUNKED = Path("data/chunked/ensembles")
CHUNK = ChunkParams(
    pictures_per_chunk=2,
    camera_width=64,
    camera_height=36,
    camera_margins=(0.05, 0.2),
    sound_rate=8000,
    stem_rate=8000,
    stem_channels=1,
)
SPLIT = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=0)
SEGMENTS = SegmentParams(length_s=1.0, hop_s=0.5)


@pytest.fixture
def sync_params(ingest_params):
    return SynchronizeParams(
        sample_rate=16_000,
        clock=ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=7.0, min_agreement=0.5),
        onsets=EnvelopeParams(max_drift_ppm=200, min_overlap_s=8.0, min_margin=1.3, min_peak=6.0, min_agreement=0.5),
        media=ingest_params.media,
    )


@pytest.fixture
def road(ensemble, sync_params, extract_params):
    """Return a function that brings files through all stages and returns the take's arrays."""

    def run(name, files, *, chunk=CHUNK, extract=extract_params, **declared):
        take = ensemble(name, files, **declared)
        folders = ("data/synchronized", "data/extracted", str(CHUNKED))
        works = (synchronize_take, extract_take, chunk_take)
        for folder, work, params in zip(folders, works, (sync_params, extract, chunk), strict=True):
            out = Path(folder) / name
            out.mkdir(parents=True)
            work(take, out, params)
        return take, open_arrays(CHUNKED / name / "arrays.zarr")

    return run


def about(name):
    return json.loads(Path(f"data/ingested/{name}/take.json").read_text())


def sounds(arrays, *names):
    return [arrays[name][:].astype(np.float64) / 32768 for name in names]


def film(path, lumas, *, side=48):
    """Write a film of even pictures, 25 a second."""
    encode_film(path, (np.full((side, side), luma, np.uint8) for luma in lumas), frame_rate=Fraction(25))
    return path


def test_a_take_of_two_players_comes_whole_through_all_stages(road, tone, tmp_path):
    stems = [tone(57), tone(69, silent_s=(1.2, 2.0))]
    onset_s = np.array([0.1, 1.1])
    notes = sorted_notes(onset_s, onset_s + 0.3, np.full(2, 57, np.uint8), np.array([90, 40], np.uint8))
    write_tracks(tmp_path / "s.mid", [("cello", 42, notes), ("violin", 40, notes)])
    lumas = 60 + np.arange(50) * 2
    take, arrays = road(
        "duet",
        {
            "stem_1_vc.wav": stems[0],
            "stem_2_vn.wav": stems[1],
            "mix.wav": stems[0] + stems[1],
            "cam_p1.mp4": film(tmp_path / "a.mp4", lumas),
            "score.mid": tmp_path / "s.mid",
        },
        notes="recorded",
        genlocked=["cam_p1"],
        piece="aria",
    )
    assert (take.kind, take.piece, take.duration_s) == ("ensemble", "aria", 2.0)
    assert about("duet")["mix"]["source"] == "file"
    assert about("duet")["mix_residual_db"] < -70
    assert sorted(arrays) == [
        "mix", "motion_1", "notes_1", "notes_2", "pictures_1", "stem_1", "stem_2"
    ]  # fmt: skip
    assert arrays.attributes["instruments"] == ["vc", "vn"]
    assert arrays.attributes["unseen"] == {"2": "no camera of their own"}
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    assert mix.shape == (1, 16_000)
    np.testing.assert_allclose(one + two, mix, atol=2 / 32768)
    expected = 0.2 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 8000)
    np.testing.assert_allclose(one[0, 100:3900], expected[100:3900], atol=1e-3)
    assert np.abs(one[0, 4100:7900]).max() < 1e-3  # the player rests from 0.5 s to 1 s
    # Frame k is the picture of that moment: the film runs on the clock of the stems.
    luma = arrays["pictures_1"][:].mean(axis=(1, 2))
    assert luma.shape == (50,)
    assert np.abs(luma - lumas).max() < 3
    np.testing.assert_allclose(arrays["notes_1"][:][:, 0], onset_s, atol=2e-3)
    assert arrays["notes_1"][:][:, 3].tolist() == [90, 40]
    assert arrays["motion_1"].shape == (50, 136)


def test_the_set_of_them_is_read_back(road, tone):
    for name, part in (("a", "train"), ("b", "test")):
        road(name, {"stem_1_vn.wav": tone(69), "stem_2_vn.wav": tone(73), "stem_3_fl.wav": tone(81)}, part=part)
    takes = [Take(name=name, kind="ensemble", piece=name, part=part, digest=name, duration_s=2.0)
             for name, part in (("a", "train"), ("b", "test"))]  # fmt: skip
    index_takes(CHUNKED, takes, SPLIT, SEGMENTS)
    data = EnsembleSet(CHUNKED)
    assert (data.sample_rate, data.n_channels, data.frame_rate) == (8000, 1, 25)
    assert [row.start_sample for row in data.segments("train")] == [0, 4000, 8000]
    assert data.instruments("a") == ("vn", "vn", "fl")
    stems, mix = data.stems("a"), data.mix("a")
    np.testing.assert_allclose(stems.sum(axis=0), mix, atol=3 / 32768)
    # Both violins are in the violins' slot: the one must not take the other's place.
    slotted = slots(stems, data.instruments("a"), SLOTS)
    np.testing.assert_allclose(slotted[SLOTS.index("vn")], stems[0] + stems[1], atol=1e-6)
    np.testing.assert_allclose(slotted.sum(axis=0), mix, atol=3 / 32768)
    for name in ("scores", "captures"):
        (Path("data/chunked") / name).mkdir()
        index_takes(Path("data/chunked") / name, [], SPLIT, SEGMENTS)
    figures = data_metrics(Path("data/chunked"), takes, 0)
    assert (figures["n_ensembles"], figures["ensemble_hours"]) == (2, round(4 / 3600, 4))
    assert EnsembleSet(CHUNKED, instruments=("fl", "vn")).takes("train") == ["a"]


def test_takes_with_other_instruments_can_be_left_out(road, tone):
    road("band", {"stem_drums.wav": tone(50), "stem_vocals.wav": tone(60)})
    index_takes(
        CHUNKED, [Take(name="band", kind="ensemble", piece="band", part="train", digest="d", duration_s=2.0)],
        SPLIT, SEGMENTS,
    )  # fmt: skip
    assert EnsembleSet(CHUNKED).instruments("band") == ("drums", "vocals")
    with pytest.raises(DamagedData, match="has no ensembles"):
        EnsembleSet(CHUNKED, instruments=SLOTS)


def test_without_a_mix_it_is_the_sum(road, tone):
    _, arrays = road("duet", {"stem_1_vn.wav": tone(69), "stem_2_vc.wav": tone(50)})
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    np.testing.assert_allclose(one + two, mix, atol=2 / 32768)
    assert about("duet")["mix"] == {
        "source": "sum", "device": None, "stream": None, "gain": 1.0,
        "reason": "there is no mix: it is the sum of the stems",
    }  # fmt: skip
    assert about("duet")["mix_residual_db"] is None


def test_a_mix_that_is_not_the_sum_is_set_aside_with_a_reason(road, tone):
    stems = [tone(69), tone(50)]
    other = np.random.default_rng(0).normal(0, 0.05, len(stems[0]))
    _, arrays = road("duet", {"stem_1_vn.wav": stems[0], "stem_2_vc.wav": stems[1], "mix.wav": sum(stems) + other})
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    np.testing.assert_allclose(one + two, mix, atol=2 / 32768)
    facts = about("duet")
    assert facts["mix_residual_db"] > -30
    assert facts["mix"]["source"] == "sum"
    assert "mix differs from the sum of the stems by" in facts["mix"]["reason"]
    assert arrays.attributes["mix"] == "sum"


def test_a_mix_at_another_gain_lowers_the_stems(road, tone):
    stems = [tone(69), tone(50)]
    _, arrays = road("duet", {"stem_1_vn.wav": stems[0], "stem_2_vc.wav": stems[1], "mix.wav": 0.5 * sum(stems)})
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    np.testing.assert_allclose(one + two, mix, atol=3 / 32768)
    assert np.abs(one).max() == pytest.approx(0.1, abs=2e-3)
    assert about("duet")["mix"]["gain"] == pytest.approx(0.5, abs=1e-3)


def test_stems_that_are_too_loud_together_are_lowered_by_one_gain(road, tone):
    stems = [4 * tone(69), 4 * tone(50)]
    _, arrays = road("duet", {"stem_1_vn.wav": stems[0], "stem_2_vc.wav": stems[1]})
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    np.testing.assert_allclose(one + two, mix, atol=3 / 32768)
    assert np.abs(mix).max() == pytest.approx(1.0, abs=1e-3)
    assert arrays.attributes["gain_db"] < -3
    assert np.abs(one).max() == pytest.approx(0.8 * 10 ** (arrays.attributes["gain_db"] / 20), abs=2e-3)


def test_a_shorter_stem_is_silent_to_the_end(road, tone):
    _, arrays = road("duet", {"stem_1_vn.wav": tone(69, duration_s=1.5), "stem_2_vc.wav": tone(50)})
    assert about("duet")["padded_s"] == {"stem_1_vn": 0.5}
    one = sounds(arrays, "stem_1")[0]
    assert one.shape == (1, 16_000)
    assert np.abs(one[0, :11_900]).max() > 0.19
    assert not one[0, 12_100:].any()


def test_a_stem_much_shorter_than_the_others_has_the_take_refused(ensemble, tone):
    with pytest.raises(
        BadInput, match=r"stem_1_vn.wav: ends 1.200 s before the longest stem, expected at most 1 s"
    ) as error:
        ensemble("duet", {"stem_1_vn.wav": tone(69, duration_s=0.8), "stem_2_vc.wav": tone(50)})
    assert error.value.kind == "UNEQUAL_STEMS"


def test_stereo_stems_are_mixed_down_and_it_is_recorded(road, tone):
    stereo = np.stack([tone(69), 0 * tone(69)], axis=1)
    _, arrays = road("duet", {"stem_1_vn.wav": stereo, "stem_2_vc.wav": np.stack([tone(50)] * 2, axis=1)})
    assert arrays.attributes["mixed_down"] == [1, 2]
    assert np.abs(sounds(arrays, "stem_1")[0]).max() == pytest.approx(0.1, abs=2e-3)


def test_stereo_is_kept_where_two_channels_are_requested(road, tone):
    left, right = tone(69), tone(73)
    _, arrays = road(
        "duet",
        {"stem_1_vn.wav": np.stack([left, right], axis=1), "stem_2_vc.wav": np.stack([right, 0 * left], axis=1)},
        chunk=CHUNK.model_copy(update={"stem_channels": 2}),
    )
    one, two, mix = sounds(arrays, "stem_1", "stem_2", "mix")
    assert one.shape == (2, 16_000)
    np.testing.assert_allclose(one + two, mix, atol=2 / 32768)
    assert not two[1].any()
    assert arrays.attributes["mixed_down"] == []


def test_mono_stems_where_two_channels_are_requested_are_one_clear_line(road, tone):
    with pytest.raises(BadInput, match=r"stem_1_vn.wav: has 1 channels, expected 2, or chunk.stem_channels: 1"):
        road("duet", {"stem_1_vn.wav": tone(69)}, chunk=CHUNK.model_copy(update={"stem_channels": 2}))


def test_urmps_layout_is_an_ensemble(road, tone, tmp_path):
    stems = [tone(69), tone(50)]
    files = {
        "AuMix_01_Jupiter_vn_vc.wav": sum(stems),
        "AuSep_1_vn_01_Jupiter.wav": stems[0],
        "AuSep_2_vc_01_Jupiter.wav": stems[1],
        "Vid_01_Jupiter_vn_vc.mp4": film(tmp_path / "v.mp4", [90] * 50),
        "Notes_1_vn_01_Jupiter.txt": b"0.0\t440.0\t0.5\n1.0\t440.0\t1.0\n",
        "Sco_01_Jupiter_vn_vc.mid": b"",
        "F0s_1_vn_01_Jupiter.txt": b"0 440\n",
    }
    _, arrays = road("01_Jupiter_vn_vc", files)
    ensemble = read_ensemble("01_Jupiter_vn_vc")
    assert [(player.instrument, player.stem.path.name) for player in ensemble.players] == [
        ("vn", "AuSep_1_vn_01_Jupiter.wav"),
        ("vc", "AuSep_2_vc_01_Jupiter.wav"),
    ]
    assert (ensemble.mix.path.name, ensemble.camera_of_all.name) == ("AuMix_01_Jupiter_vn_vc.wav", "cam_all")
    np.testing.assert_allclose(arrays["notes_1"][:], [[0.0, 0.5, 69, 64], [1.0, 2.0, 69, 64]])
    assert "notes_2" not in arrays
    rows = {row["device"]: (row["role"], row["state"]) for row in about("01_Jupiter_vn_vc")["media"]}
    assert rows["cam_all"] == ("camera", "used")
    assert rows["stem_1_vn"] == ("stem", "used")
    assert rows["Sco_01_Jupiter_vn_vc"] == ("score", "refused")


def test_stems_in_one_file_are_taken_apart(road, tmp_path):
    path = tmp_path / "A_song.stem.mp4"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    for frequency_hz in (200, 400, 600, 800):
        command += ["-f", "lavfi", "-i", f"sine=frequency={frequency_hz}:sample_rate=16000:duration=2"]
    mix = "[0:a][1:a][2:a][3:a]amix=inputs=4:normalize=0[m]"
    command += ["-filter_complex", mix, "-map", "[m]"]
    command += [*(part for number in range(4) for part in ("-map", f"{number}:a")), "-c:a", "aac", "-b:a", "160k"]
    subprocess.run([*command, str(path)], check=True, timeout=60)
    _, arrays = road("A_song", {path.name: path})
    assert arrays.attributes["instruments"] == ["drums", "bass", "other", "vocals"]
    assert about("A_song")["mix"]["source"] == "file"
    for number, frequency_hz in enumerate((200, 400, 600, 800), start=1):
        sound = arrays[f"stem_{number}"][:][0, 2000:14_000]
        loudest = np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * 8000 / len(sound)
        assert loudest == pytest.approx(frequency_hz, abs=1)


def test_a_solos_film_and_sound_may_be_one_file(road, tone, tmp_path):
    lumas = 60 + np.arange(50)
    path = tmp_path / "solo_vc.mp4"
    encode_film(
        path,
        (np.full((48, 48), luma, np.uint8) for luma in lumas),
        frame_rate=Fraction(25),
        audio=tone(57).astype(np.float32),
        sample_rate=RATE,
    )
    _, arrays = road("solo", {"solo_vc.mp4": path})
    assert arrays.attributes["instruments"] == ["vc"]
    assert np.abs(arrays["pictures_1"][:].mean(axis=(1, 2)) - lumas).max() < 3
    one, mix = sounds(arrays, "stem_1", "mix")
    np.testing.assert_array_equal(one, mix)
    assert np.abs(one).max() > 0.15


def melody(seed, duration_s):
    """Struck tones at uneven moments: a sound that lies in one place alone."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(duration_s * RATE))
    time_s = np.arange(RATE // 2) / RATE
    for onset_s in np.cumsum(rng.uniform(0.1, 0.4, 200)):
        start = round(onset_s * RATE)
        if start + len(time_s) > len(audio):
            break
        frequency_hz = 220 * 2 ** (rng.integers(0, 24) / 12)
        audio[start : start + len(time_s)] += 0.1 * np.exp(-8 * time_s) * np.sin(2 * np.pi * frequency_hz * time_s)
    return audio


@pytest.mark.slow
def test_a_camera_of_all_is_placed_by_its_sound_and_cut_apart(road, tmp_path):
    stems = [melody(1, 16.0), melody(2, 16.0)]
    late_s, n = 0.6, 360
    recorded = sum(stems)[round(late_s * RATE) : round(late_s * RATE) + n * RATE // 25]
    rng = np.random.default_rng(3)
    places = np.cumsum(rng.integers(-2, 3, (2, n)), axis=1).clip(-6, 6)

    def scene():
        wall = rng.integers(80, 100, (96, 240)).astype(np.uint8)
        for at in range(n):
            picture = wall.copy()
            for player, x in enumerate((60, 180)):
                picture[30:90, x - 8 : x + 8] = 30 + 20 * player
                y = 45 + places[player, at] * 2
                picture[y : y + 6, x - 20 : x + 20] = 220
            yield picture

    encode_film(
        tmp_path / "all.mp4",
        scene(),
        frame_rate=Fraction(25),
        audio=recorded.astype(np.float32),
        sample_rate=RATE,
    )
    files = {"stem_1_vn.wav": stems[0], "stem_2_vc.wav": stems[1], "cam_all.mp4": tmp_path / "all.mp4"}
    _, arrays = road("duet", files)
    _, clocks = read_clocks("duet")
    assert clocks["cam_all"].delay_s == pytest.approx(late_s, abs=2e-3)
    assert arrays.attributes["unseen"] == {}
    first = round(late_s * 25)
    for player in (1, 2):
        down = arrays[f"motion_{player}"][:][first + 1 : first + n - 2, 36:72].mean(axis=1)
        moved = np.diff(places[player - 1])[: len(down)]
        assert np.corrcoef(down, moved)[0, 1] > 0.5
        other = np.diff(places[2 - player])[: len(down)]
        assert abs(np.corrcoef(down, other)[0, 1]) < 0.3


def test_players_that_are_not_found_are_listed_with_a_reason(road, tone, tmp_path):
    files = {
        "stem_1_vn.wav": tone(69),
        "stem_2_vc.wav": tone(50),
        "cam_all.mp4": film(tmp_path / "all.mp4", [90] * 50, side=96),
    }
    _, arrays = road("duet", files, genlocked=["cam_all"])
    assert not [name for name in arrays if name.startswith(("motion", "pictures"))]
    assert "cam_all: 0 players detected, 2 requested" in arrays.attributes["unseen"]["1"]


def test_a_damaged_stem_has_the_take_refused_with_its_name(ensemble, tone):
    with pytest.raises(BadInput, match="stem_2_vc"):
        ensemble("duet", {"stem_1_vn.wav": tone(69), "stem_2_vc.wav": b"RIFF\x00\x00\x00\x00WAVE"})


def test_a_camera_that_cannot_be_used_leaves_the_players_sounds(road, tone):
    _, arrays = road("duet", {"stem_1_vn.wav": tone(69), "cam_p1.mp4": b"nothing"}, genlocked=["cam_p1"])
    assert arrays.attributes["unseen"] == {"1": "no camera of their own"}
    row = next(row for row in about("duet")["media"] if row["device"] == "cam_p1")
    assert row["state"] == "refused"
    assert about("duet")["genlocked"] == []


def test_the_same_files_give_the_same_bytes(road, tone, tmp_path, monkeypatch):
    files = {
        "stem_1_vn.wav": tone(69),
        "stem_2_vc.wav": tone(50),
        "cam_p1.mp4": film(tmp_path / "a.mp4", range(60, 110)),
    }
    made = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        monkeypatch.chdir(tmp_path / run)
        road("duet", files, genlocked=["cam_p1"])
        made.append({path.relative_to("data"): path.read_bytes() for path in Path("data").rglob("*") if path.is_file()})
    assert made[0] == made[1]


def test_what_ingest_wrote_is_read_with_care(ensemble, tone):
    ensemble("duet", {"stem_1_vn.wav": tone(69)})
    path = Path("data/ingested/duet/take.json")
    facts = json.loads(path.read_text())
    for changes, message in (
        ({"players": []}, "does not describe an ensemble"),
        ({"mix": {}}, "does not describe an ensemble"),
        ({"media": [facts["media"][0] | {"path": "data/raw/other/x.wav"}]}, "expected a file in data/raw/duet"),
    ):
        path.write_text(json.dumps(facts | changes))
        with pytest.raises(DamagedData, match=message):
            read_ensemble("duet")


def test_an_ensembles_files_are_listed_once_each(ensemble, tone):
    take = ensemble("duet", {"stem_1_vn.wav": tone(69), "stem_2_vc.wav": tone(50), "mix.wav": tone(69) + tone(50)})
    found = read_ensemble(take.name)
    assert [path.name for path in found.sound_paths] == ["mix.wav", "stem_1_vn.wav", "stem_2_vc.wav"]
    assert [path.name for path in found.master_paths] == ["mix.wav"]
    assert [path.name for path in replace(found, mix=None).master_paths] == ["stem_1_vn.wav", "stem_2_vc.wav"]


def source_of(name, **files):
    """Put files of an ensemble into data/raw and read them as a take."""
    folder = Path("data/raw") / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        soundfile.write(folder / f"{file}.wav", content, RATE, subtype="PCM_16")
    found = read_source(folder, "raw", {}, size=FolderSize(score=10**6, media=10**7, devices=64))
    assert isinstance(found, Source)
    return found


@pytest.fixture
def trio_of(project, tone):
    """A trio and what it is made of."""
    stems = {f"stem_{n}_vn": tone(60 + 5 * n) for n in (1, 2, 3)}
    return stems, source_of("trio", **stems, mix=sum(stems.values()))


def refused(*sources, contents=None):
    _, outcomes = refuse_copies(sources, Verified(Path("v.json")).sha256, contents)
    return [(outcome.name, outcome.kind) for outcome in outcomes]


def test_an_ensemble_whose_mix_comes_again_is_a_copy(trio_of):
    stems, trio = trio_of
    again = source_of("zz", stem_1_vn=stems["stem_1_vn"], mix=sum(stems.values()))
    assert refused(trio, again) == [("zz", "DUPLICATE")]


def test_ensembles_that_share_a_stem_are_of_one_piece(trio_of):
    stems, trio = trio_of
    duet = {name: stems[name] for name in ("stem_1_vn", "stem_2_vn")}
    other = source_of("zz", **duet, mix=sum(duet.values()))
    assert refused(trio, other) == [("zz", "OTHER_PIECE")]
    assert refused(trio, replace(other, piece="trio")) == []


def test_without_a_mix_an_ensemble_is_its_stems(trio_of):
    stems, trio = trio_of
    again = source_of("zz", **stems)
    assert refused(trio, replace(again, piece="trio")) == [("zz", "DUPLICATE")]
    fewer = source_of("zzz", stem_1_vn=stems["stem_1_vn"], stem_4_vc=stems["stem_2_vn"] / 2)
    assert refused(trio, replace(fewer, piece="trio")) == []


def test_a_mix_that_is_encoded_anew_is_of_the_same_piece_or_refused(project, tmp_path, ingest_params):
    stems = {"stem_1_vn": melody(1, 20.0), "stem_2_vc": melody(2, 20.0)}
    first = source_of("aa", **stems, mix=sum(stems.values()))
    subprocess.run(
        [
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-i",
            "data/raw/aa/mix.wav",
            "-c:a",
            "libmp3lame",
            str(tmp_path / "m.mp3"),
        ],
        check=True,
        timeout=60,
    )
    again = Path("data/raw/zz")
    again.mkdir()
    shutil.copy(tmp_path / "m.mp3", again / "mix.mp3")
    soundfile.write(again / "stem_1_vn.wav", 0.5 * melody(1, 20.0), RATE, subtype="PCM_16")
    second = read_source(again, "raw", {}, size=ingest_params.size)
    contents = Contents(tmp_path / "streams.json", ingest_params.media)
    assert refused(first, second, contents=contents) == [("zz", "OTHER_PIECE")]
