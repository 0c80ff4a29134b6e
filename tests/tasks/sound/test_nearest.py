"""Grains of a bank, found by their note amplitudes."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.metrics.sound import level_dbfs
from tasks.sound.additive import render_additive
from tasks.sound.nearest import BankTake, GrainBank
from tasks.store.arrays import open_arrays, write_arrays

PITCHES = (66, 70, 75, 82)
RATE, SAMPLE_RATE = Fraction(25), 16_000


def take(seed, n_rows=120):
    rng = np.random.default_rng(seed)
    played = np.zeros((n_rows, len(PITCHES)))
    for row in np.flatnonzero(rng.uniform(size=n_rows) < 0.15):
        note = rng.integers(len(PITCHES))
        played[row:, note] = np.maximum(
            played[row:, note], rng.uniform(0.005, 0.02) * np.exp(-np.arange(n_rows - row) / 5)
        )
    sound = render_additive(played, PITCHES, frame_rate=RATE, sample_rate=SAMPLE_RATE)
    return BankTake(values=measured(sound, n_rows), sound=sound)


def measured(sound, n_rows):
    return note_amplitudes(
        sound,
        sample_rate=SAMPLE_RATE,
        frame_rate=RATE,
        frequency_hz=note_frequencies_hz(PITCHES),
        n_frames=n_rows + 2,
    )


@pytest.fixture(scope="module")
def takes():
    return [take(1), take(2, 200), take(3)]


@pytest.fixture(scope="module")
def bank(takes):
    return GrainBank(takes, frame_rate=RATE, sample_rate=SAMPLE_RATE)


@pytest.mark.parametrize("options", [{}, {"context": 2}, {"context": 2, "stay": 0.3}])
def test_a_take_of_the_bank_comes_back_as_its_own_sound(takes, bank, options):
    found = bank.render(takes[1].values, **options)
    frame = SAMPLE_RATE // 25
    assert len(found) == len(takes[1].sound)
    inside = slice(3 * frame // 2, -3 * frame // 2)  # what two grains cover
    np.testing.assert_allclose(found[inside], takes[1].sound[inside], atol=1e-6)


def test_the_nearest_row_is_that_of_all_distances(bank):
    asked = np.random.default_rng(9).uniform(0, 0.02, (50, len(PITCHES)))
    distance = np.linalg.norm(bank.values[None] - asked[:, None].astype(np.float32), axis=-1)
    np.testing.assert_allclose(
        np.take_along_axis(distance, bank.nearest(asked)[:, None], axis=1)[:, 0], distance.min(axis=1), rtol=1e-6
    )


def test_neighbours_decide_between_rows_that_are_alike():
    values = np.zeros((40, 1))
    values[[10, 20, 30], 0] = 1.0  # the same stroke three times,
    values[[11, 21, 31], 0] = (0.2, 0.5, 0.8)  # that dies away faster or slower
    bank = GrainBank(
        [BankTake(values=values, sound=np.zeros(42 * 640, np.float32))], frame_rate=RATE, sample_rate=SAMPLE_RATE
    )
    for after, row in ((0.21, 10), (0.52, 20), (0.79, 30)):
        assert bank.nearest(np.array([[0.0], [1.0], [after], [0.0]]), context=1)[1] == row


def test_staying_joins_less_often_at_little_cost(takes, bank):
    asked = takes[0].values * np.random.default_rng(4).uniform(0.8, 1.2, takes[0].values.shape)
    free, kept = bank.nearest(asked), bank.nearest(asked, stay=0.5)
    joints = [np.count_nonzero(np.diff(rows) != 1) for rows in (free, kept)]
    assert joints[1] < joints[0]
    far = [np.linalg.norm(bank.values[rows] - asked, axis=1) for rows in (free, kept)]
    assert (far[1] <= 1.5 * far[0] + 1e-7).all()


def test_a_bank_never_reads_across_the_end_of_a_recording(takes, bank):
    ends = np.cumsum([len(one.values) for one in takes])
    np.testing.assert_allclose(bank.grains(ends - 1)[0][:640], takes[0].sound[-1600:-960], atol=1e-6)
    first = bank.grains(np.array([0]))[0]
    np.testing.assert_array_equal(first, takes[0].sound[320 : 320 + 1280])


def test_sound_may_lie_in_a_file_as_16_bits(takes, bank, tmp_path):
    pcm = np.rint(takes[0].sound * 32767).astype(np.int16)
    write_arrays(tmp_path / "arrays.zarr", {"sound": pcm}, chunk_lengths={"sound": 16_000}, attributes={})
    stored = open_arrays(tmp_path / "arrays.zarr")["sound"]
    other = GrainBank([BankTake(values=takes[0].values, sound=stored)], frame_rate=RATE, sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(other.render(takes[0].values), _own(takes[0]), atol=1e-4)


def _own(one):
    return GrainBank([one], frame_rate=RATE, sample_rate=SAMPLE_RATE).render(one.values)


def test_long_takes_are_joined_in_blocks_that_are_not_heard(takes, bank, monkeypatch):
    whole = bank.render(takes[1].values)
    monkeypatch.setattr("tasks.sound.nearest.BLOCK_GRAINS", 17)
    np.testing.assert_allclose(bank.render(takes[1].values), whole, atol=1e-6)


def test_aligned_grains_of_a_tone_do_not_cancel():
    tone = 0.2 * np.sin(2 * np.pi * 370 * np.arange(202 * 640) / SAMPLE_RATE).astype(np.float32)
    values = np.arange(200.0)[:, None]
    bank = GrainBank([BankTake(values=values, sound=tone)], frame_rate=RATE, sample_rate=SAMPLE_RATE)
    shuffled = np.random.default_rng(6).permutation(values)
    aligned, apart = (bank.render(shuffled, align_s=align_s)[1000:-1000] for align_s in (0.0015, 0.0))
    assert level_dbfs(aligned) == pytest.approx(level_dbfs(tone), abs=0.1)
    assert level_dbfs(apart) < level_dbfs(tone) - 0.7
    # Nothing but a tone: nothing is left when it is taken out.
    assert np.abs(aligned[2:] + aligned[:-2] - 2 * np.cos(2 * np.pi * 370 / SAMPLE_RATE) * aligned[1:-1]).max() < 0.01


def test_a_frame_rate_that_is_no_whole_number_of_samples_keeps_time():
    rate = Fraction(30000, 1001)
    sound = np.random.default_rng(0).normal(size=round(302 * SAMPLE_RATE / rate)).astype(np.float32)
    values = np.arange(300.0)[:, None]
    bank = GrainBank([BankTake(values=values, sound=sound)], frame_rate=rate, sample_rate=SAMPLE_RATE)
    found = bank.render(values)
    assert len(found) == len(sound)
    # A grain begins at a whole sample: the last is as well placed as the first.
    for part in (slice(2000, 4000), slice(-4000, -2000)):
        assert np.corrcoef(found[part], sound[part])[0, 1] > 0.6
        assert abs(np.argmax(np.correlate(found[part], sound[part], "full")) - 1999) <= 1


def test_what_does_not_fit_is_refused(takes, bank):
    made = {"frame_rate": RATE, "sample_rate": SAMPLE_RATE}
    with pytest.raises(ValueError, match=r"shapes \(0, 4\)"):
        GrainBank([BankTake(values=np.zeros((0, 4)), sound=np.zeros(0))], **made)
    with pytest.raises(ValueError, match="the same notes"):
        GrainBank([takes[0], BankTake(values=np.zeros((3, 5)), sound=np.zeros(9000))], **made)
    with pytest.raises(ValueError, match="120 rows stand beside 100 samples"):
        GrainBank([BankTake(values=takes[0].values, sound=np.zeros(100))], **made)
    with pytest.raises(ValueError, match=r"shape \(3, 5\), expected \(rows, 4\)"):
        bank.nearest(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="amplitude 1 in row 0 of 1 is nan"):
        bank.nearest(np.array([[0, np.nan, 0, 0]]))
    assert len(bank.render(np.zeros((0, 4)))) == 0
