"""The command line: what it prints for people and programs, its exit codes, and errors of one line."""

import importlib
import json
import resource
import shutil
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typer.main import get_command

from flows.cli import main
from flows.commands import app
from flows.presets import PRESETS, preset_text, write_preset
from flows.reference import SECTIONS
from tasks.errors import ParamsError
from tasks.families import families_of, load_family
from tasks.instruments.keyboard import draw_keyboard
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.media.encode import encode_film
from tasks.media.probe import MediaPolicy, probe
from tasks.params import read_params
from tasks.store.audio import write_flac
from tasks.store.tables import write_table

PROJECT = Path(__file__).resolve().parents[2]
STAGES = list(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"])


@pytest.fixture
def audiate(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command line in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIATE_DEBUG", "")  # --debug sets it; so it is put back

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["audiate", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def write_note(path, *, pitch, onset_s, sample_rate=16_000):
    """Write two seconds in which one string is struck."""
    time_s = np.arange(2 * sample_rate) / sample_rate - onset_s
    envelope = np.where(time_s >= 0, np.exp(-np.maximum(time_s, 0) / 0.5), 0)
    hz = 440 * 2 ** ((pitch - 69) / 12)
    audio = sum(0.2 * 0.5**n * np.sin(2 * np.pi * hz * (n + 1) * time_s) for n in range(6)) * envelope
    soundfile.write(path, audio.astype(np.float32), sample_rate)


def test_help_is_there_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = Path(sys.executable).with_name("audiate")
    said = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert said.startswith("Usage: audiate")


def test_help_imports_nothing_heavy():
    ask = "import sys, flows.cli\ntry: flows.cli.main()\nexcept SystemExit: print(*sys.modules, sep='\\n')"
    said = subprocess.run([sys.executable, "-c", ask, "--help"], capture_output=True, text=True, check=True).stdout
    heavy = {"dvc", "lightning", "numba", "numpy", "prefect", "pydantic", "rich", "scipy", "torch", "yaml", "zarr"}
    assert heavy & set(said.split()) == set()
    assert "flows.cli" in said.split()


WRONG_PATHS = {
    "notes": ["none.wav"],
    "perform": ["none.mp4", "-o", "out.mp4", "--family", "piano_roll"],
    "separate": ["none.wav", "--players", "vn,vc"],
    "sonify": ["none.npy"],
    "sync": ["none.wav", "other.wav"],
    "add": ["none"],
    "watch": ["none"],
}


def test_a_wrong_path_is_answered_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "data").mkdir()
    ask = (
        "import json, sys, flows.cli\n"
        "heavy = ('numpy', 'prefect', 'torch', 'scipy', 'dvc')\n"
        "for verb, rest in json.loads(sys.argv.pop()).items():\n"
        "    sys.argv[1:] = [verb, *rest]\n"
        "    try: flows.cli.main()\n"
        "    except SystemExit as leaving: print(verb, leaving.code, *(set(sys.modules) & set(heavy)))\n"
    )
    command = [sys.executable, "-c", ask, json.dumps(WRONG_PATHS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{verb} 1" for verb in WRONG_PATHS]
    said = [f"audiate: {rest[0]}: No such file or directory" for rest in WRONG_PATHS.values()]
    assert done.stderr.splitlines() == said


def test_every_stage_has_a_command(audiate):
    listed = audiate("--help")[1]
    for stage in STAGES:
        assert f"\n  {stage} " in listed, stage
        code, said, _ = audiate(stage, "--help")
        assert code == 0
        assert all(option in said for option in ("--json", "--force", "--dry-run"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("preset", "huge"), "'huge' is unknown, expected one of demo, study, study-8khz, study-16khz, paper"),
        (("train", "nobody"), "'nobody' is unknown, expected one of baselines, "),
        (("promote", "nobody"), "'nobody' is unknown, expected one of baselines, "),
        (("search", "nobody", "--trials", "1"), "'nobody' is unknown, expected one of baselines, "),
        (("perform", "a.mp4", "-o", "b.mp4", "--family", "nobody"), "'nobody' is unknown, expected one of baselines, "),
        (("separate", "a.wav", "--family", "nobody"), "'nobody' is unknown, expected one of baselines, "),
        (("compare", "a", "b", "--attribute", "nobody"), "'nobody' is unknown, expected one of baselines, "),
        (("export", "zip", "out"), "'zip' is unknown, expected one of webdataset, huggingface, npz"),
        (
            ("export", "npz", "out", "--kind", "films"),
            "'films' is unknown, expected one of scores, captures, ensembles",
        ),
        (("export", "npz", "out", "--part", "dev"), "'dev' is unknown, expected one of train, validation, test"),
    ],
)
def test_a_name_that_is_not_known_is_wrong_use(audiate, tmp_path, arguments, reason):
    write_preset("demo", tmp_path / "params.yaml")
    code, out, error = audiate(*arguments)
    assert (code, out) == (2, "")
    assert reason in " ".join(error.replace("│", " ").split())


def test_every_command_prints_json_for_programs():
    commands = get_command(app).commands
    assert len(commands) > 30
    assert [
        name for name, one in commands.items() if "--json" not in {word for p in one.params for word in p.opts}
    ] == []


def test_a_dry_run_in_json_is_json_too(audiate, tmp_path):
    write_preset("demo", tmp_path / "params.yaml")
    code, out, _ = audiate("search", "piano_roll", "--trials", "3", "--dry-run", "--json")
    planned = json.loads(out)
    assert (code, planned["family"], planned["trials"]) == (0, "piano_roll", 3)
    assert all(span["low"] < span["high"] for span in planned["ranges"].values())
    assert json.loads(audiate("preset", "study", "--json")[1]) == {"preset": "study", "path": "params.yaml"}
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    stages = {name: {"cmd": f"echo {name}", "always_changed": True} for name in ("code", "render")}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    code, out, _ = audiate("render", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, {"dry_run": True, "would_run": ["code", "render"]})


def test_every_command_stands_in_a_group_and_the_version_is_told(audiate):
    code, listed, _ = audiate("--help")
    assert code == 0
    in_order = [listed.index(title) for title in ("Pipeline", "By hand", "Recordings:", "Versions:", "Project:")]
    assert in_order == sorted(in_order)
    assert listed.index("  notes ") > in_order[1]
    assert listed.index("  gate ") > in_order[3]
    assert audiate("--version") == (0, f"audiate {version('audiate')}\n", "")


@pytest.mark.parametrize("arguments", [("doctor",), ("compare", "HEAD~1", "HEAD"), ("ingest",), ("gc", "--keep", "2")])
def test_where_no_project_is_that_is_said(audiate, tmp_path, arguments):
    said = (
        f"audiate: no audiate project here: {tmp_path} has no params.yaml; run {arguments[0]} in a project's folder\n"
    )
    assert audiate(*arguments) == (1, "", said)
    assert audiate(arguments[0], "--help")[0] == 0


@pytest.mark.parametrize("arguments", [("hallucinate",), ("notes",), ("ingest", "--deep"), ("preset", "demo", "study")])
def test_wrong_use_is_exit_code_2(audiate, tmp_path, arguments):
    (tmp_path / "data").mkdir()
    code, out, error = audiate(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: audiate" in error


def test_an_instrument_that_is_not_known_is_wrong_use(audiate, tmp_path):
    (tmp_path / "a.wav").touch()
    code, _, error = audiate("notes", "a.wav", "--instrument", "kazoo")
    assert code == 2
    assert "'kazoo', expected one of piano, marimba, marimba-18" in " ".join(error.split())


FAILING = {
    "nothing has run": (("timings",), "no stage has run here yet: run dvc repro first"),
    "no such recording": (("notes", "none.wav"), "none.wav"),
    "no such video": (("perform", "none.mp4", "-o", "out.mp4"), "none.mp4"),
    "no such mix": (("separate", "none.wav", "--players", "vn,vc"), "none.wav: No such file or directory"),
    "no such film": (("separate", "any.wav", "--video", "none.mp4"), "none.mp4: No such file or directory"),
    "no such folder": (("add", "none"), "none: No such file or directory"),
    "no such inbox": (("watch", "none"), "none: No such file or directory"),
    "no such reference": (("sync", "none.wav", "any.wav"), "none.wav: No such file or directory"),
    "no such amplitudes": (("sonify", "none.npy"), "none.npy: No such file or directory"),
    "no such player": (("separate", "any.wav", "--players", "vn,kazoo"), "'kazoo' is unknown, expected one of bn"),
    "nobody separates yet": (
        ("separate", "any.wav", "--players", "vn", "--family", "separation_baselines"),
        "nmf_dictionary.json is missing: train the family first",
    ),
    "no such take": (("render", "--preview", "none"), "data/rendered has no take 'none'"),
    "nothing to export": (("export", "npz", "out"), "data/chunked/scores/takes.json is missing"),
    "not a take's name": (("render", "--preview", "../none"), "data/rendered has no take '../none'"),
}


@pytest.mark.parametrize(("arguments", "reason"), FAILING.values(), ids=FAILING)
def test_an_error_is_one_line_and_exit_code_1(audiate, tmp_path, arguments, reason):
    (tmp_path / "data").mkdir()
    (tmp_path / "any.wav").touch()
    code, out, error = audiate(*arguments)
    assert (code, out) == (1, "")
    assert error.count("\n") == 1, error
    assert error.startswith("audiate: ")
    assert reason in error


def test_debug_shows_where_an_error_came_from(tmp_path):
    (tmp_path / "empty.wav").touch()
    command = [sys.executable, "-c", "from flows.cli import main; main()", "--debug", "notes", tmp_path / "empty.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "in notes_of_file" in done.stderr
    quiet = subprocess.run([*command[:3], *command[4:]], capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stderr.count("\n"), "Traceback" in quiet.stderr) == (1, 1, False)


def test_a_stage_that_fails_is_exit_code_1_and_says_which(audiate, tmp_path):
    write_preset("demo", tmp_path / "params.yaml")
    code, _, error = audiate("train", "piano_roll")
    assert code == 1
    assert "dvc repro code train@piano_roll ended with" in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "params.yaml not found: run this in the folder of the project"),
        (
            "families: {cnn_lstm: {network: models/cnn_lstm.py, data: data/chunked/captures}}",
            "params.yaml: families.cnn_lstm lists files, as an older version had it: write the kind of its data alone, "
            "as in `cnn_lstm: captures`, or make the file anew by `audiate preset demo`",
        ),
    ],
)
def test_a_stage_needs_a_params_yaml_of_this_version(audiate, tmp_path, text, words):
    (tmp_path / "data").mkdir()
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    assert audiate("train", "cnn_lstm") == (1, "", f"audiate: {words}\n")


def test_a_setting_that_makes_no_sense_is_one_line(audiate, monkeypatch):
    monkeypatch.setenv("AUDIATE_WORKERS", "many")
    Path("any.mp4").touch()
    code, _, error = audiate("perform", "any.mp4", "-o", "out.mp4", "--family", "piano_roll")
    assert code == 1
    assert error.startswith("audiate: AUDIATE_WORKERS: ")
    assert error.endswith("found 'many'\n")


def test_params_yaml_is_preset_demo():
    assert (PROJECT / "params.yaml").read_text() == preset_text("demo")


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_of_a_preset_has_a_type_and_every_family_its_values(name, tmp_path):
    write_preset(name, tmp_path / "params.yaml")
    params = read_params(tmp_path / "params.yaml")
    assert set(params) == {*SECTIONS, "families", "train"}
    for section, its_class in SECTIONS.items():
        its_class.parse(params[section], section)
    assert set(params["train"]) >= set(params["families"])  # a family may be known and not be in the pipeline
    for family, values in params["train"].items():
        load_family(family).params_class.parse(values, f"train.{family}")
    assert families_of(params) == params["families"]
    for family, ranges in params["search"]["ranges"].items():
        assert set(ranges) <= set(params["train"][family])


def test_a_section_that_nothing_reads_is_refused_by_commands_stages_and_the_stage_code(audiate, tmp_path, capsys):
    params = yaml.safe_load(preset_text("demo"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"rendering": {"lit": "flat"}}))
    said = "params.yaml: section rendering is unknown, is it render?\n"
    write_note(tmp_path / "note.wav", pitch=64, onset_s=0.5)
    assert audiate("notes", "note.wav") == (1, "", f"audiate: {said}")
    assert audiate("render", "--dry-run") == (1, "", f"audiate: {said}")
    assert importlib.import_module("flows.code").main() == 1
    assert capsys.readouterr().err == f"code: {said}"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"xyz": 1}))
    assert "section xyz is unknown, expected one of families, " in audiate("notes", "note.wav")[2]


def test_preset_replaces_params_yaml_and_says_so_on_its_first_line(audiate, tmp_path):
    assert audiate("preset", "demo") == (0, "params.yaml is now preset demo\n", "")
    assert audiate("preset", "study") == (0, "params.yaml is now preset study\n", "")
    text = (tmp_path / "params.yaml").read_text()
    assert text.startswith("# Preset study.")
    assert "# Hz; FluidSynth takes" in text  # demo's comments come with its values
    assert yaml.safe_load(text)["train"]["piano_roll"]["n_steps"] == 2000


def test_edits_of_params_yaml_are_replaced_only_when_that_is_asked_for(audiate, tmp_path):
    write_preset("demo", tmp_path / "params.yaml")
    edited = (tmp_path / "params.yaml").read_text().replace("length_s: 5.0", "length_s: 4.0")
    (tmp_path / "params.yaml").write_text(edited)
    code, out, error = audiate("preset", "study")
    assert (code, out) == (1, "")
    assert (
        error
        == "audiate: params.yaml is no preset as it came, it was edited: --force replaces it, and its edits are lost\n"
    )
    assert (tmp_path / "params.yaml").read_text() == edited
    assert audiate("preset", "study", "--force")[0] == 0


def test_a_preset_can_change_only_what_demo_has(monkeypatch, tmp_path):
    presets = importlib.import_module("flows.presets")
    shutil.copy(presets.FOLDER / "demo.yaml", tmp_path)
    (tmp_path / "study.yaml").write_text("render: {sample_rat: 8000}\n")
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    with pytest.raises(ParamsError, match=r"preset study.render: sample_rat is unknown"):
        preset_text("study")


def test_notes_are_a_table_for_people_and_json_for_programs(audiate, tmp_path):
    write_note(tmp_path / "note.wav", pitch=64, onset_s=0.5)
    code, out, _ = audiate("notes", "note.wav", "--json")
    [note] = json.loads(out)["notes"]
    assert code == 0
    assert (note["pitch"], note["onset_s"]) == (64, pytest.approx(0.5, abs=0.03))
    code, table, _ = audiate("notes", "note.wav")
    assert code == 0
    head, row = (line for line in table.splitlines() if any(letter.isalnum() for letter in line))
    assert "onset s" in head
    assert row.split()[1::2][:3] == [f"{note['onset_s']:.3f}", f"{note['offset_s']:.3f}", "64"]


def test_notes_are_written_as_midi_and_as_text(audiate, tmp_path):
    write_note(tmp_path / "note.wav", pitch=64, onset_s=0.5)
    code, out, error = audiate("notes", "note.wav", "--midi", "note.mid", "--csv", "note.csv")
    assert (code, out) == (0, "")
    assert error == "wrote note.mid: 1 notes\nwrote note.csv: 1 notes\n"
    policy = MidiPolicy(max_bytes=10**6, max_duration_s=60, max_notes=9, hanging="close", overlap="cut", channels=16)
    read = read_midi(tmp_path / "note.mid", policy).notes
    head, row = (tmp_path / "note.csv").read_text().splitlines()
    assert head == "onset_s,offset_s,pitch,velocity,amplitude"
    onset_s, offset_s, pitch, velocity, _ = (float(word) for word in row.split(","))
    assert [*read.pitch, *read.velocity] == [pitch, velocity] == [64, velocity]
    np.testing.assert_allclose([*read.onset_s, *read.offset_s], [onset_s, offset_s], atol=1e-4)
    assert audiate("notes", "note.wav", "--csv", "none/note.csv")[0] == 1


def test_notes_follow_the_params_of_the_project_one_stands_in(audiate, tmp_path):
    write_note(tmp_path / "note.wav", pitch=64, onset_s=0.5)
    params = yaml.safe_load(preset_text("demo"))
    params["notes"]["threshold"] = "high"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    code, _, error = audiate("notes", "note.wav")
    assert code == 1
    assert error.startswith("audiate: params.yaml: notes.threshold: ")
    assert "found 'high'" in error


def test_perform_needs_a_trained_family(audiate, tmp_path):
    encode_film(
        tmp_path / "silent.mp4", draw_keyboard(np.zeros((5, 88), np.uint8), lit="velocity"), frame_rate=Fraction(25)
    )
    code, out, error = audiate("perform", "silent.mp4", "-o", "heard.mp4", "--family", "piano_roll")
    assert (code, out) == (1, "")
    reason = "data/trained/piano_roll/piano_roll.safetensors is missing: train the family first"
    assert reason in error.splitlines()[-1]
    assert not (tmp_path / "heard.mp4").exists()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--crop", "1,2,3", "'1,2,3', expected 4 numbers with commas between them"),
        ("--crop", "0,0,0,5", "'0,0,0,5', expected x,y,width,height in pixels"),
        ("--crop", "a,b,c,d", "expected 4 numbers"),
        ("--corners", "1,2,3,4,5,6,7,nan", "expected 8 numbers with commas between them"),
        ("--corners=0,0,9,0,9,9,0,9 --crop", "0,0,9,9", "both are given, expected one"),
        ("--lowest", "H4", "'H4' is no key of a piano, expected one from A0 to C8"),
        ("--family piano_roll --lead", "0.1", "is for the keyboard's own reader, not for a family"),
    ],
)
def test_where_perform_looks_is_told_in_numbers(audiate, option, value, reason):
    Path("any.mp4").touch()
    code, _, error = audiate("perform", "any.mp4", "-o", "heard.mp4", *option.split(), value)
    assert code == 2
    assert reason in " ".join(error.replace("│", " ").split())


def test_perform_says_that_no_keyboard_is_in_a_film_and_what_to_do(audiate, tmp_path):
    encode_film(tmp_path / "any.mp4", np.zeros((5, 48, 64), np.uint8), frame_rate=Fraction(25))
    code, out, error = audiate("perform", "any.mp4", "-o", "heard.mp4")
    assert (code, out) == (1, "")
    assert "no keyboard was found" in error.splitlines()[-1]
    assert "--corners" in error.splitlines()[-1]
    assert [path.name for path in tmp_path.glob("heard*")] == []
    assert audiate("perform", "any.mp4")[0] == 2


@pytest.mark.parametrize("family", ["bitmap_mlp", "bitmap_stft"])
def test_perform_of_any_video_needs_a_trained_family_too(audiate, tmp_path, family):
    encode_film(tmp_path / "any.mp4", np.zeros((5, 48, 64), np.uint8), frame_rate=Fraction(25))
    code, out, error = audiate("perform", "any.mp4", "-o", "heard.mp4", "--family", family, "--notes", "seen.mid")
    assert (code, out) == (1, "")
    assert f"data/trained/{family}/{family}.json is missing: train the family first" in error.splitlines()[-1]
    assert not (tmp_path / "heard.mp4").exists()


def test_timings_give_each_stage_its_share(audiate, tmp_path):
    runs = tmp_path / ".audiate" / "runs"
    runs.mkdir(parents=True)
    for finished_at, (stage, wall_s, counts) in enumerate(
        [("ingest", 1.0, {"computed": 3, "reused": 0}), ("train@roll", 3.0, {})]
    ):
        row = {"stage": stage, "wall_s": wall_s, "cpu_s": 0.5, "finished_at": finished_at, "counts": counts}
        (runs / f"{stage}.json").write_text(json.dumps(row))
    code, table, _ = audiate("timings")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines()]
    assert code == 0
    assert ["ingest", "1.0", "25 %", "0.5", "3 computed"] in rows
    assert ["train@roll", "3.0", "75 %", "0.5", ""] in rows
    assert ["all", "4.0", "100 %", "", ""] in rows
    stages = [row["stage"] for row in json.loads(audiate("timings", "--json")[1])]
    assert stages == ["ingest", "train@roll"]


def test_render_previews_a_take_that_is_there(audiate, tmp_path):
    folder = tmp_path / "data" / "rendered" / "a"
    folder.mkdir(parents=True)
    velocity = np.zeros((2, 88), np.uint8)
    velocity[1, 40] = 90
    states = {"time_s": np.array([0.0, 1.0]), "velocity": velocity, "pedal": np.zeros(2, np.uint8)}
    write_table(folder / "states.parquet", states)
    write_flac(folder / "audio.flac", np.zeros(2 * 48_000, np.float32), 48_000)
    (folder / "render.json").write_text(json.dumps({"duration_s": 2.0, "lit": "velocity", "sample_rate": 48_000}))
    code, out, _ = audiate("render", "--preview", "a", "-o", "a.mp4", "--json")
    assert (code, json.loads(out)) == (0, {"video": "a.mp4"})
    facts = probe(
        Path("a.mp4"),
        policy=MediaPolicy(
            max_pixels=10**6, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**9
        ),
    )
    assert facts.duration_s == pytest.approx(2.0, abs=0.001)
    assert facts.video is not None
    assert facts.audio_rate == 48_000


def test_doctor_says_what_is_wrong_and_what_to_do_and_ends_with_1(audiate, tmp_path):
    take = tmp_path / "data" / "rendered" / "a"
    take.mkdir(parents=True)
    code, out, _ = audiate("doctor", "--json")
    found = {row["subject"]: row for row in json.loads(out)}
    assert code == 1
    assert found["tools"]["advice"] == "make setup"
    assert "has no _receipt.json" in found["data/rendered"]["found"]
    assert "WRONG" in audiate("doctor")[1]
