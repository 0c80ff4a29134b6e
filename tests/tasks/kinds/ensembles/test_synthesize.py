"""Ensembles on their way through synthesize, evaluate and report, with a family whose answers are known beforehand."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tasks.families
from tasks.errors import DamagedData
from tasks.evaluate import EvaluateParams, evaluate_family, write_metrics
from tasks.families.separation import Separation, SeparationFamily
from tasks.families.stems import read_separation
from tasks.features.polyphony import TranscribeParams
from tasks.params import Section
from tasks.report import ReportParams, write_report
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import EnsembleSet
from tasks.store.segments import segment_rows, write_segments
from tasks.store.tables import read_table
from tasks.synthesize import SynthesizeParams, synthesize_family

RATE, SECONDS = 1000, 4
PARAMS = EvaluateParams(onset_tolerance_s=0.05, n_resamples=100, seed=1, museval_players=2)
TRANSCRIBE = TranscribeParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=4, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)
HZ = {1: 50, 2: 120, 3: 210}  # of what each player plays
TAKES = {
    "alike": ("vn", "vn"),
    "alone": ("vn", "vc"),
    "trio": ("fl", "vn", "vn"),
}


class Toy(SeparationFamily[Section]):
    """Estimates tones of the frequency that each player's picture has as luma; black is a rest."""

    params_class = Section
    systems = ("video", "blind", "shuffled")
    unordered = frozenset({"shuffled"})
    uses_video = frozenset({"video"})

    def fit(self, data, out, *, params, resume, accelerator): ...

    def separate(self, trained, mixtures, *, systems, accelerator, truth):
        for take, mixture in mixtures.items():
            time_s = np.arange(mixture.audio.shape[1]) / mixture.sample_rate
            shown = [int(picture.max()) for picture in mixture.pictures]
            stems = np.stack([0.2 * (hz > 0) * np.sin(2 * np.pi * hz * time_s) for hz in shown])[:, None]
            stems = (stems + 0.1 * np.roll(stems, 1, axis=0)).astype(np.float32)
            label = np.tile(mixture.audio, (len(shown), 1, 1)).astype(np.float32)
            for system, made in zip(systems, (stems, label, stems[::-1]), strict=True):
                yield Separation(system=system, take=take, stems=made, sample_rate=mixture.sample_rate)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks.families, "FAMILIES", {"toy": f"{__name__}:Toy"})
    monkeypatch.setattr("tasks.synthesize.load_family", lambda name: Toy())
    monkeypatch.setattr("tasks.evaluate.load_family", lambda name: Toy())
    folder = tmp_path / "data/chunked/ensembles"
    index, segments = {}, []
    for name, players in TAKES.items():
        time_s = np.arange(SECONDS * RATE) / RATE
        arrays = {}
        for number in range(1, len(players) + 1):
            stem = 0.2 * np.sin(2 * np.pi * HZ[number] * time_s)
            if number == 2:
                stem[3 * RATE :] = 0
            arrays[f"stem_{number}"] = np.rint(stem * 32768).astype(np.int16)[None]
            arrays[f"motion_{number}"] = np.full((25 * SECONDS, 3), number, np.float32)
            arrays[f"pictures_{number}"] = np.full((25 * SECONDS, 48, 48), HZ[number], np.uint8)
        arrays["mix"] = sum(arrays[f"stem_{number}"] for number in range(1, len(players) + 1))
        attributes = {"instruments": list(players), "frame_rate": "25", "duration_s": float(SECONDS)}
        attributes |= {"stem_rate": RATE, "n_channels": 1, "n_frames": 25 * SECONDS, "n_motion": 3}
        chunk_lengths = dict.fromkeys(arrays, 64)
        write_arrays(folder / name / "arrays.zarr", arrays, chunk_lengths=chunk_lengths, attributes=attributes)
        index[name] = {"piece": name, "part": "test", "digest": name, "duration_s": float(SECONDS)}
        segments += segment_rows(name, name, "test", name, SECONDS * RATE, length=2 * RATE, hop=2 * RATE)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


def synthesize(data, out="synthesized"):
    params = SynthesizeParams(score_excerpt_s=0.5)  # of scores: nothing here follows it
    made = synthesize_family(
        "toy", data=data, trained=Path("trained"), out=Path(out), params=params, accelerator="cpu", workers=1
    )
    return list(made)


def evaluate(data):
    return evaluate_family(
        "toy",
        data=data,
        trained=Path("trained"),
        synthesized=Path("synthesized"),
        out=Path("evaluated"),
        params=PARAMS,
        transcribe_params=TRANSCRIBE,
        workers=2,
        accelerator="cpu",
    )


def test_each_system_writes_a_sound_a_player_and_the_mix(data):
    made = synthesize(data)
    assert sorted({(one.system, one.take) for one in made}) == sorted(
        (system, take) for system in Toy.systems for take in TAKES
    )
    assert sorted(path.name for path in Path("synthesized/video/trio").iterdir()) == [
        "mix.flac",
        "stem_1_fl.flac",
        "stem_2_vn.flac",
        "stem_3_vn.flac",
    ]
    mix, rate = soundfile.read("synthesized/video/trio/mix.flac", dtype="int16")
    assert rate == RATE
    assert (mix == np.rint(EnsembleSet(data).mix("trio")[0] * 32768)).all()


def test_sounds_that_are_not_assigned_to_players_are_put_in_order(data):
    synthesize(data)
    ordered, _ = read_separation(Path("synthesized/shuffled/trio"), TAKES["trio"])
    known, _ = read_separation(Path("synthesized/video/trio"), TAKES["trio"])
    np.testing.assert_array_equal(ordered, known)


def test_the_same_mixes_give_the_same_bytes(data):
    synthesize(data)
    synthesize(data, "again")
    files = sorted(path.relative_to("synthesized") for path in Path("synthesized").rglob("*") if path.is_file())
    assert len(files) > 20
    assert all(Path("synthesized", path).read_bytes() == Path("again", path).read_bytes() for path in files)


def test_a_system_that_uses_video_follows_exchanged_videos_and_fades_on_black(data):
    synthesize(data)
    found = json.loads(Path("synthesized/causality.json").read_text())
    assert found.keys() == {"video"}
    assert found["video"].keys() == {"alike", "alone"}  # duets alone
    alike, alone = found["video"]["alike"], found["video"]["alone"]
    assert alike["swap_follows_db"] > 30
    assert alone["swap_against_labels_db"] > 30
    for figures in (alike, alone):
        assert figures["blank_fades_db"] == pytest.approx(20, abs=0.1)  # what the other one leaks into it stays
        assert figures["blank_keeps_db"] == pytest.approx(0, abs=0.1)


def test_figures_are_those_that_the_sounds_were_made_for(data):
    synthesize(data)
    means = evaluate(data)
    video = means["video"]
    assert video["si_sdr_db"] == pytest.approx(20, abs=0.1)  # a tenth of another tone
    by_players = {count: group["si_sdr_improvement_db"] for count, group in video["by_players"].items()}
    assert by_players.keys() == {"2", "3"}
    assert by_players["2"] > 15
    assert video["same_instruments"]["si_sdr_improvement_db"] == pytest.approx(
        np.mean(list(by_players.values())), abs=5
    )
    assert video["by_instrument"].keys() == {"fl", "vc", "vn"}
    assert video["leakage_db"] > -1  # the player goes on where the other one rests
    assert video["swap_follows_db"] > 30
    assert "swap_follows_db" not in means["blind"]
    assert means["blind"]["si_sdr_improvement_db"] == pytest.approx(0)
    assert means["blind"]["si_sdr_above_first_high_db"] < 0
    assert means["shuffled"]["si_sdr_above_first_db"] == pytest.approx(0)
    assert "si_sdr_above_first_db" not in video


def test_tables_have_a_row_a_system_and_take_and_a_row_a_player(data):
    synthesize(data)
    evaluate(data)
    takes, players = read_table(Path("evaluated/takes.parquet")), read_table(Path("evaluated/players.parquet"))
    assert len(takes["take"]) == 9
    assert len(players["take"]) == 21
    trio = (takes["take"] == "trio") & (takes["system"] == "shuffled")
    assert (takes["n_players"][trio], takes["same_instruments"][trio], takes["ordered_by"][trio]) == (3, True, "truth")
    assert np.isnan(takes["sir_db"][trio]).all()  # three players are more than museval computes
    assert np.isfinite(takes["sir_db"][(takes["take"] == "alone") & (takes["system"] == "video")]).all()
    assert np.isfinite(takes["sdr_db"]).all()
    assert all(len(ids) == 2 for ids in takes["segment_ids"])
    own = (players["take"] == "trio") & (players["system"] == "video")
    assert list(zip(players["player"][own], players["instrument"][own], strict=True)) == [
        (1, "fl"),
        (2, "vn"),
        (3, "vn"),
    ]
    assert np.isfinite(players["leakage_db"][own]).tolist() == [False, True, False]  # the second one rests


def test_a_sound_that_is_missing_or_short_is_refused(data):
    synthesize(data)
    path = Path("synthesized/video/trio/stem_2_vn.flac")
    soundfile.write(path, np.zeros(100), RATE)
    with pytest.raises(DamagedData, match="player 2 has 100 samples"):
        evaluate(data)
    path.unlink()
    with pytest.raises(DamagedData, match="stem_2_vn"):
        evaluate(data)


@pytest.fixture
def page(data):
    """Write the page of the toy's figures and sounds."""
    for folder in ("ingested", "metrics", "chunked/scores"):
        Path("data", folder).mkdir(parents=True)
    rows = [
        {
            "take": take,
            "kind": "ensemble",
            "piece": take,
            "part": "test",
            "digest": "0" * 64,
            "title": f"Song of {take}",
            "duration_s": float(SECONDS),
            "n_notes": 9,
        }
        for take in TAKES
    ]
    Path("data/ingested/catalog.json").write_text(json.dumps(rows))
    Path("data/ingested/quarantine.json").write_text("[]")
    Path("data/metrics/data.json").write_text("{}")
    Path("data/chunked/scores/takes.json").write_text("{}")
    Path("dvc.yaml").write_text("stages: {}\n")
    synthesize(data)
    means = evaluate(data)
    write_metrics(Path("data/metrics/toy.json"), means)
    for folder in ("synthesized", "evaluated"):
        Path("data", folder).mkdir()
        shutil.move(folder, f"data/{folder}/toy")
    return lambda out: write_page(Path(out))


def write_page(out):
    out.mkdir()
    params = ReportParams(
        frame_rate=Fraction(25), max_frequency_hz=4000, max_takes=3, zoom_s=0.05, n_resamples=50, seed=1
    )
    write_report(
        out, data=Path("data"), dvc_file=Path("dvc.yaml"), all_params={"families": {"toy": "ensembles"}}, params=params
    )
    return "".join((out / name).read_text() for name in ("index.html", "ensembles.html"))


def test_the_page_shows_ensembles_and_plays_every_player(page):
    html = page("report")
    for words in (
        "SI-SDR improvement by players",
        "SI-SDR improvement by instrument",
        "violoncello",
        "Two alike",
        "Does the sound follow the video?",
        "in the order that fits the reference best",
        "violin, violin",
    ):
        assert words in html, words
    media = {path.name for path in Path("report/media/alike").iterdir()}
    assert {"reference.0.flac", "reference.2.flac", "film.mp4", "film.png", "reference.spectrograms.png"} <= media
    assert {f"toy.{system}.{player}.flac" for system in Toy.systems for player in (1, 2)} <= media
    takes = Path("report/ensembles.html").read_text()
    assert takes.count("<audio") == sum(1 + len(players) * (1 + len(Toy.systems)) for players in TAKES.values())
    assert takes.count("<video") == len(TAKES)


def test_the_page_has_the_same_bytes_twice(page):
    assert page("one") == page("two")
    files = sorted(path.relative_to("one") for path in Path("one").rglob("*") if path.is_file())
    assert all(Path("one", path).read_bytes() == Path("two", path).read_bytes() for path in files)
