"""Note amplitudes and codes of sounds whose notes are known."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ParamsError
from tasks.features.mu_law import mu_law_decode
from tasks.features.resample import resample
from tasks.kinds.scores.extract import extract_take
from tasks.store.arrays import open_arrays
from tasks.store.audio import write_flac
from tasks.takes import Take

RATE = 48_000


@pytest.fixture
def extract(project, extract_params):
    """Return a function that extracts a rendered sound."""

    def run(audio, **changes):
        rendered, out = Path("data/rendered/a"), Path("data/extracted/a")
        for folder in (rendered, out):
            folder.mkdir(parents=True)
        write_flac(rendered / "audio.flac", audio.astype(np.float32), RATE)
        (rendered / "render.json").write_text(json.dumps({"sample_rate": RATE, "step_s": "1/250"}))
        take = Take(name="a", kind="score", piece="a", part=None, digest="d", duration_s=1.0)
        extract_take(take, out, extract_params.model_copy(update=changes))
        return open_arrays(out / "arrays.zarr")

    return run


def tone(pitch, *, start_s, end_s, duration_s):
    time_s = np.arange(round(duration_s * RATE)) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time_s)
    return np.where((time_s >= start_s) & (time_s < end_s), wave, 0)


@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("pitch", [40, 69, 108])  # lower ones fill less than a window's resolution
def test_a_tone_is_the_largest_in_its_keys_column_just_while_it_sounds(extract, pitch, frame_rate):
    arrays = extract(tone(pitch, start_s=1.0, end_s=2.0, duration_s=3.0), frame_rate=frame_rate)
    amplitudes = arrays["amplitudes"][:]
    n_frames = int(3 * frame_rate)
    assert amplitudes.shape == (n_frames - 2, 88)
    begins_s = np.arange(n_frames - 2) / float(frame_rate)
    inside = (begins_s >= 1.0) & (begins_s + 3 / float(frame_rate) <= 2.0)  # a row is three frames
    outside = (begins_s + 3 / float(frame_rate) <= 0.999) | (begins_s >= 2.001)
    assert inside.sum() > 15
    assert set(amplitudes[inside].argmax(axis=1)) == {pitch - 21}
    assert amplitudes[outside].max() < 1e-3 * amplitudes[inside].max()


@pytest.mark.parametrize("code_rate", [2_000, 4_000, 16_000])
def test_codes_of_a_rate_that_the_notes_grid_holds_are_extracted(extract, code_rate):
    arrays = extract(tone(60, start_s=0.2, end_s=0.8, duration_s=1.0), code_rate=code_rate)
    assert len(arrays["codes"]) == code_rate


@pytest.mark.parametrize("code_rate", [4_100, 11_025])
def test_codes_of_a_rate_that_the_notes_grid_does_not_hold_are_refused(extract, code_rate):
    with pytest.raises(
        ParamsError,
        match=rf"^params\.yaml: extract\.code_rate is {code_rate} Hz, and the notes of data/rendered/a are on a grid of"
        r" 1/250 s, expected a whole number of samples in a step: add the rate to render\.code_rates$",
    ):
        extract(tone(60, start_s=0.2, end_s=0.8, duration_s=1.0), code_rate=code_rate)


def test_codes_decode_to_the_sound_to_half_a_step_of_256_levels(extract):
    audio = tone(60, start_s=0.2, end_s=0.8, duration_s=1.0)
    arrays = extract(audio)
    assert (arrays["codes"].dtype, len(arrays["codes"])) == (np.uint8, 4_000)
    decoded = mu_law_decode(arrays["codes"][:])
    true = resample(audio.astype(np.float32), RATE, 4_000)
    # Half a step, 1 / 255 of what companding gives, is exp(ln(256) / 255) - 1 = 2.2 % of |x| + 1/255.
    assert (np.abs(decoded - true) <= 0.022 * (np.abs(true) + 1 / 255) + 2e-5).all()  # and half a step of 16 bit
    silent = arrays["codes"][:500]
    assert set(silent) <= {127, 128}


def test_a_full_scale_peak_that_the_resampler_overshoots_is_kept(extract):
    square = np.sign(np.sin(2 * np.pi * 100.3 * np.arange(RATE) / RATE)) * 0.999
    assert np.abs(resample(square.astype(np.float32), RATE, 4_000)).max() > 1
    codes = extract(square)["codes"][:]
    assert (codes.min(), codes.max()) == (0, 255)


def test_what_the_arrays_were_made_with_stands_beside_them(extract):
    arrays = extract(np.zeros(RATE), frame_rate=Fraction(30000, 1001), code_rate=8_000, n_classes=64)
    made_with = {"code_rate": 8_000, "frame_rate": "30000/1001", "n_classes": 64, "pitches": list(range(21, 109))}
    assert arrays.attributes == made_with
    assert set(arrays["codes"][:]) == {32}
    assert len(arrays["codes"]) == 8_000
