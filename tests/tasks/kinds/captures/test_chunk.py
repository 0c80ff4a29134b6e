"""A chunked capture: its master's sound, and the notes that were recorded with it."""

from pathlib import Path

import numpy as np
import pytest

from tasks.intake.record import Capture, Device
from tasks.kinds.captures.chunk import _recorded_notes, _sound
from tasks.store.audio import read_audio
from tasks.store.tables import write_table


@pytest.mark.parametrize("n_samples", [700, 15_999, 16_000, 16_003])
def test_the_masters_sound_is_as_long_as_its_codes_whatever_its_rate_rounds_to(media, monkeypatch, n_samples):
    monkeypatch.setattr("tasks.kinds.captures.chunk.MAX_SAMPLES", 5_000)  # more than one part
    path = media / "mic1.wav"
    device = Device(name="mic_a", role="microphone", path=path, facts={"audio": {}, "video": None}, crop=None)
    parts = list(_sound(device, 1_000, n_samples // 16))
    made = np.concatenate(parts)
    assert (made.dtype, len(made)) == (np.int16, n_samples // 16)
    parts = list(_sound(device, 16_000, n_samples))
    assert all(len(part) % 16_000 == 0 for part in parts[:-1])
    made = np.concatenate(parts)
    truth, rate = read_audio(path)
    assert rate == 16_000
    n_both = min(n_samples, len(truth))
    np.testing.assert_allclose(made[:n_both] / 32767, truth[:n_both], atol=2e-4)
    assert not made[len(truth) :].any()


def test_recorded_notes_are_kept_when_all_of_them_are_on_the_masters_clock(project, notes_of):
    def capture(notes):
        about = {"take": "a", "devices": (), "master": None, "instrument": "none", "pitches": (), "duration_s": 1.0}
        return Capture(**about, notes=notes)

    columns = {"onset_s": [0.5, 1.0], "offset_s": [0.7, 1.5], "pitch": [60, 62], "velocity": [90, 50]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    for folder in ("ingested", "synchronized"):
        (Path("data") / folder / "a").mkdir(parents=True)
    assert _recorded_notes(capture("recorded")) is None  # no clock for them
    ingested = notes_of((0.5, 0.7, 60, 90), (1.0, 1.5, 62, 50))
    write_table(Path("data/ingested/a/notes.parquet"), ingested.columns())
    write_table(Path("data/synchronized/a/notes.parquet"), arrays)
    np.testing.assert_allclose(_recorded_notes(capture("recorded")), [[0.5, 0.7, 60, 90], [1.0, 1.5, 62, 50]])
    assert _recorded_notes(capture("score")) is None  # a score holds what was meant, not what was played
    write_table(Path("data/synchronized/a/notes.parquet"), {name: values[:1] for name, values in arrays.items()})
    assert _recorded_notes(capture("recorded")) is None
