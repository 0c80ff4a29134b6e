"""Labels whose faults are planted, held against sound that a synthesizer made of the right ones."""

import json

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.presets import preset_text
from tasks.audit import audit, draw_audit, folder_summary, labelled_recordings
from tasks.errors import BadInput
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.step import file_sha256
from tasks.synchronize import SynchronizeParams

RATE = 16_000


def piece(seed, seconds):
    rng = np.random.default_rng(seed)
    onset_s = 0.5 + np.cumsum(rng.uniform(0.12, 0.5, int(seconds * 3.2)))
    onset_s = onset_s[onset_s < seconds]
    pitch = np.resize(rng.permutation(np.arange(45, 84)), len(onset_s))  # none is struck while it sounds
    return sorted_notes(
        onset_s,
        onset_s + rng.uniform(0.15, 0.6, len(onset_s)),
        pitch.astype(np.uint8),
        rng.integers(50, 100, len(onset_s)).astype(np.uint8),
    )


def write_table(path, notes, *, shift_s=0.0, stretch=1.0, until_s=np.inf):
    """Write labels ``shift_s`` too late, and ``stretch`` too long."""
    rows = ["onset\toffset\tpitch\tvelocity"]
    for k in range(len(notes)):
        if notes.onset_s[k] < until_s:
            begin_s, end_s = (time_s[k] * stretch + shift_s for time_s in (notes.onset_s, notes.offset_s))
            rows.append(f"{begin_s:.5f}\t{end_s:.5f}\t{notes.pitch[k]}\t{notes.velocity[k]}")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def params():

    return SynchronizeParams.parse(yaml.safe_load(preset_text("demo"))["synchronize"], "synchronize")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    soundfont = find_soundfont()
    lengths_s = {"right": 25, "late": 25, "drifting": 90, "first": 25, "second": 25, "short": 30}
    pieces = {name: piece(seed, seconds) for seed, (name, seconds) in enumerate(lengths_s.items())}
    with Synthesizer(soundfont, sha256=file_sha256(soundfont), sample_rate=RATE, gain=0.4) as synthesizer:
        for name, notes in pieces.items():
            sound = synthesizer.render(notes, None, program=0, duration_s=lengths_s[name] + 2.0)
            soundfile.write(folder / f"{name}.wav", sound, RATE)
    write_midi(folder / "right.mid", pieces["right"], title="right")
    write_table(folder / "late.tsv", pieces["late"], shift_s=0.037)
    write_table(folder / "drifting.tsv", pieces["drifting"], stretch=1 - 150e-6)
    write_table(folder / "first.tsv", pieces["second"])
    write_table(folder / "second.tsv", pieces["first"])
    write_table(folder / "short.tsv", pieces["short"], until_s=23.0)
    soundfile.write(folder / "silent.wav", np.zeros(20 * RATE), RATE)
    write_table(folder / "silent.tsv", pieces["right"])
    (folder / "broken.wav").write_bytes(b"no sound at all")
    write_table(folder / "broken.tsv", pieces["right"])
    return folder


@pytest.fixture(scope="module")
def found(folder, params):
    pairs = labelled_recordings(folder)
    return {one.recording.stem: one for one in audit(pairs, instrument="piano", params=params)}


def test_labels_that_are_right_agree(found):
    right = found["right"]
    assert (right.verdict, right.n_outside) == ("agrees", 0)
    assert right.offset_ms == pytest.approx(0.0, abs=3.0)
    assert right.heard > 0.8


def test_labels_that_are_late_are_said_to_be_by_as_much(found):
    assert found["late"].verdict == "offset"
    assert found["late"].offset_ms == pytest.approx(-37.0, abs=3.0)
    assert "37 ms before their labels" in found["late"].reason


def test_a_drift_is_measured(found):
    assert found["drifting"].verdict == "drifts"
    assert found["drifting"].drift_ppm == pytest.approx(150.0, abs=30.0)
    assert abs(found["drifting"].drift_ppm - 150.0) < 3 * found["drifting"].drift_error_ppm + 5.0


def test_exchanged_labels_are_found_with_each_other(found):
    for one, other in (("first", "second"), ("second", "first")):
        assert found[one].verdict == "wrong pair"
        assert found[one].fits is not None
        assert found[one].fits.name == f"{other}.tsv"


def test_labels_that_end_too_early_leave_sound_over(found):
    assert found["short"].verdict == "ends"
    assert found["short"].unlabelled_s[0] < 0.5
    assert found["short"].unlabelled_s[1] == pytest.approx(7.5, abs=1.5)


def test_what_cannot_be_used_is_a_row_with_its_reason(found):
    assert (found["silent"].verdict, found["silent"].reason) == ("unsure", "the recording is silent")
    assert found["broken"].verdict == "unreadable"
    assert "expected wav" in found["broken"].reason


def test_labels_beyond_the_recording_are_counted(folder, params, tmp_path):
    sound, rate = soundfile.read(folder / "right.wav")
    soundfile.write(tmp_path / "right.wav", sound[: 18 * rate], rate)
    (tmp_path / "right.mid").write_bytes((folder / "right.mid").read_bytes())
    (one,) = audit(labelled_recordings(tmp_path), instrument="piano", params=params)
    assert one.verdict == "ends"
    n_after = int((piece(0, 25).onset_s > 18.1).sum())
    assert one.n_outside == pytest.approx(n_after, abs=1)


def test_the_recordings_of_a_take_share_its_midi_file(folder, tmp_path):
    for name in ("mic_left.wav", "mic_right.wav", "cam_top.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "played.mid").write_bytes(b"")
    pairs = labelled_recordings(tmp_path)
    assert [recording.name for recording, _ in pairs] == ["cam_top.mp4", "mic_left.wav", "mic_right.wav"]
    assert {labels.name for _, labels in pairs} == {"played.mid"}
    (tmp_path / "played.mid").rename(tmp_path / "played.old")
    with pytest.raises(BadInput, match="none beside a file of its notes"):
        labelled_recordings(tmp_path)


def test_one_offset_of_all_is_the_folders(found):
    three = [found["late"], found["late"], found["late"]]
    about = folder_summary(three)
    assert about["is_constant"]
    assert about["offset_ms"] == found["late"].offset_ms
    assert about["counts"] == {"offset": 3}
    assert not folder_summary([*found.values()])["is_constant"]


def test_the_command_says_and_draws_it(folder, tmp_path):
    for name in ("late.wav", "late.tsv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    done = CliRunner().invoke(app, ["audit", str(tmp_path), "--json", "--picture", str(tmp_path / "drawn.png")])
    assert done.exit_code == 3
    (row,) = json.loads(done.stdout)["files"]
    assert row["verdict"] == "offset"
    assert row["offset_ms"] == pytest.approx(-37.0, abs=3.0)
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_placed_is_drawn_too(found, tmp_path):
    draw_audit([found["silent"]], tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").is_file()
