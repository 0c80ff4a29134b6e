"""Harmonics are measured as they were played, and a table is read as it was written."""

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.instruments.orchestra import ORCHESTRA
from tasks.partials import spectra as module
from tasks.partials.spectra import (
    LEAST_DB,
    N_HARMONICS,
    mean_spectra,
    measure,
    pitches_of,
    spectra_from_bytes,
    spectra_to_bytes,
)

RATE = 22_050
LEVELS_DB = np.array([0.0, -6.0, -20.0, -12.0])


class Additive:
    """Plays four harmonics of known levels; one program has no lowest note."""

    def render(self, notes, controls, *, program, duration_s, may_be_loud):
        sound = np.zeros(round(duration_s * RATE), np.float32)
        for on_s, off_s, pitch in zip(notes.onset_s, notes.offset_s, notes.pitch, strict=True):
            if program == ORCHESTRA["tba"].program and pitch == ORCHESTRA["tba"].lowest:
                continue
            at = slice(round(on_s * RATE), round(off_s * RATE))
            time_s = np.arange(at.stop - at.start) / RATE
            f0_hz = 440 * 2 ** ((int(pitch) - 69) / 12)
            for harmonic, level_db in enumerate(LEVELS_DB, 1):
                if harmonic * f0_hz < 0.47 * RATE:
                    sound[at] += 10 ** (level_db / 20) * np.sin(2 * np.pi * harmonic * f0_hz * time_s)
        return sound


@pytest.fixture(scope="module")
def measured():
    found = dict(ORCHESTRA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ORCHESTRA", {code: found[code] for code in ("tba", "tpt")})
        return measure(Additive(), sample_rate=RATE)


def test_the_levels_are_those_that_were_played(measured):
    whole_db = 10 * np.log10(np.sum(10 ** (LEVELS_DB / 10)))
    expected = np.tile(LEVELS_DB - whole_db, (len(pitches_of("tpt")), 1))
    np.testing.assert_allclose(measured["tpt"][:, :4], expected, atol=0.3)
    # Beside a low note's harmonics lie the side lobes of those that sound; nothing else is there.
    assert np.median(measured["tpt"][:, 8:]) == LEAST_DB


def test_a_note_that_the_source_lacks_is_its_neighbours(measured):
    np.testing.assert_array_equal(measured["tba"][0], measured["tba"][1])


def test_the_mean_is_one_of_decibels_over_the_sources_that_have_an_instrument():
    low = {code: np.full((len(pitches_of(code)), N_HARMONICS), -30.0, np.float32) for code in ORCHESTRA}
    high = {code: levels + 20.0 * (np.arange(N_HARMONICS) == 0) for code, levels in low.items() if code != "va"}
    mean = mean_spectra([low, high], smoothing=2.0)
    assert 20 * np.log10(mean["vn"][5, 0] / mean["vn"][5, 1]) == pytest.approx(10.0, abs=1e-3)
    assert 20 * np.log10(mean["va"][5, 0] / mean["va"][5, 1]) == pytest.approx(0.0, abs=1e-3)
    np.testing.assert_allclose(np.linalg.norm(mean["hn"], axis=1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="no source has va"):
        mean_spectra([high], smoothing=2.0)


def test_a_table_is_read_as_it_was_written_and_written_the_same_every_time(spectra):
    content = spectra_to_bytes(spectra)
    assert content == spectra_to_bytes(dict(reversed(spectra.items())))
    read = spectra_from_bytes(content, "x")
    for code, rows in spectra.items():
        np.testing.assert_allclose(read[code], rows, rtol=1e-3)


@pytest.mark.parametrize("change", ["truncated", "without an instrument", "not finite"])
def test_a_damaged_table_is_refused_in_one_line(spectra, change):
    content = spectra_to_bytes(spectra)
    if change == "truncated":
        content = content[:-10]
    elif change == "not finite":
        content = spectra_to_bytes(spectra | {"vn": spectra["vn"] * np.nan})
    else:
        content = spectra_to_bytes({code: rows for code, rows in spectra.items() if code != "vn"})
    with pytest.raises(DamagedData, match=r"table\.safetensors") as caught:
        spectra_from_bytes(content, "table.safetensors")
    assert "\n" not in str(caught.value)
