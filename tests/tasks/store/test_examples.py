import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tasks.errors import DamagedData
from tasks.store.arrays import write_arrays
from tasks.store.examples import SegmentDataset, collate_segments, stacks
from tasks.store.segments import ScoreSet, segment_rows, write_segments

RATE = 4000
LENGTH, HOP = 4000, 2400
N_TAKES = 3


def make_take(seed, frame_rate):
    """Pictures that say their own number, at times on and off the grid of samples."""
    rng = np.random.default_rng(seed)
    n = 3 * RATE + 137 * seed
    inner = np.unique(np.concatenate([rng.uniform(0, n / RATE, 40), rng.integers(1, n, 10) / RATE]))
    time_s = np.concatenate([[0.0], inner])
    pictures = np.zeros((len(time_s), 57, 780), np.uint8)
    pictures[:, 0, 0] = np.arange(len(time_s))
    return {
        "codes": rng.integers(0, 256, n).astype(np.uint8),
        "picture_time_s": time_s,
        "pictures": pictures,
    }


def make_set(folder, frame_rate):
    takes = {}
    rows = []
    for seed in range(N_TAKES):
        name, arrays = f"take{seed}", make_take(seed, frame_rate)
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths={"codes": RATE, "picture_time_s": 64, "pictures": 16},
            attributes={"code_rate": RATE, "frame_rate": str(frame_rate), "n_classes": 256},
        )
        takes[name] = {"piece": name, "part": "train", "digest": f"d{seed}", "duration_s": 3.0}
        rows += segment_rows(name, name, "train", f"d{seed}", len(arrays["codes"]), length=LENGTH, hop=HOP)
    (folder / "takes.json").write_text(json.dumps(takes))
    write_segments(folder / "segments.parquet", rows)
    return ScoreSet(folder)


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("scores"), Fraction(25))


@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("n_past", [0, 1534])
def test_each_sample_and_frame_has_the_picture_that_is_shown_and_each_code_its_place(tmp_path, frame_rate, n_past):
    dataset = SegmentDataset(make_set(tmp_path, frame_rate), "train", n_past=n_past)
    assert len(dataset) == 4 * N_TAKES
    for row, item in zip(dataset.segments, dataset, strict=False):
        arrays = make_take(int(row.take[4:]), frame_rate)
        numbers = item["pictures"][:, 0, 0].numpy()
        np.testing.assert_array_equal(np.diff(numbers), 1)
        times = [Fraction(time_s) for time_s in arrays["picture_time_s"]]
        samples = range(row.start_sample - n_past, row.start_sample + LENGTH)
        shown = numbers[item["picture_index"].numpy()]
        codes = np.concatenate([np.full(n_past, 128), arrays["codes"]])
        np.testing.assert_array_equal(item["codes"], codes[row.start_sample :][: n_past + LENGTH])
        for place in range(0, len(samples), 97):
            moment = Fraction(max(samples[place], 0), RATE)
            assert shown[place] == max(i for i, time in enumerate(times) if time <= moment)
        frames = [k for k in range(200) if row.start_sample <= k / frame_rate * RATE < row.start_sample + LENGTH]
        assert (int(item["frame_start"]), len(item["frame_index"])) == (frames[0], len(frames))
        for k, number in zip(frames, numbers[item["frame_index"].numpy()], strict=True):
            assert number == max(i for i, time in enumerate(times) if time <= k / frame_rate)


def test_only_the_pictures_of_the_segment_are_read(scores):
    item = SegmentDataset(scores, "train", n_past=0)[1]
    assert item["picture_index"].min() == 0
    assert int(max(item["picture_index"].max(), item["frame_index"].max())) == len(item["pictures"]) - 1


@pytest.mark.slow
def test_workers_read_what_one_process_reads(scores):
    alone = SegmentDataset(scores, "train", n_past=100)
    expected = [alone[index] for index in range(len(alone))]  # opens takes before the workers start
    loader = DataLoader(
        alone, batch_size=None, num_workers=2, multiprocessing_context="spawn", persistent_workers=True, timeout=60
    )
    for _ in range(2):
        for found, known in zip(loader, expected, strict=True):
            assert found.keys() == known.keys()
            assert all(torch.equal(found[name], known[name]) for name in known)


def test_a_batch_gathers_the_same_pictures_as_its_segments(scores):
    dataset = SegmentDataset(scores, "train", n_past=100)
    items = [dataset[index] for index in (4, 0, 7)]
    batch = collate_segments(items)
    assert batch["codes"].shape == batch["picture_index"].shape == (3, 100 + LENGTH)
    assert len(batch["pictures"]) == sum(len(item["pictures"]) for item in items)
    for place, item in enumerate(items):
        for name in ("picture_index", "frame_index"):
            n = batch[name].shape[1]
            shown = item["pictures"][:, 0, 0][item[name]][:n]
            assert torch.equal(batch["pictures"][:, 0, 0][batch[name][place]], shown)
        assert torch.equal(batch["codes"][place], item["codes"])
        assert batch["frame_start"][place] == item["frame_start"]


def test_space_time_stacks_are_views_of_the_frames():
    frames = torch.arange(7 * 2 * 3).reshape(7, 2, 3)
    found = stacks(frames)
    assert found.shape == (5, 3, 2, 3)
    assert np.shares_memory(found.numpy(), frames.numpy())
    for k in range(5):
        assert torch.equal(found[k], frames[k : k + 3])
    batch = torch.stack([frames, frames + 1])
    assert torch.equal(stacks(batch)[1], found + 1)
    assert np.shares_memory(stacks(batch).numpy(), batch.numpy())
    with pytest.raises(ValueError, match="2 frames, expected at least 3"):
        stacks(frames[:2])


def test_an_index_that_promises_more_sound_than_there_is_is_damage(tmp_path):
    scores = make_set(tmp_path, Fraction(25))
    write_segments(
        tmp_path / "segments.parquet",
        segment_rows("take0", "take0", "train", "d0", 4 * RATE, length=LENGTH, hop=LENGTH),
    )
    dataset = SegmentDataset(ScoreSet(scores.folder), "train", n_past=0)
    with pytest.raises(DamagedData, match="take0 has 12000 samples, its segment ends at 16000"):
        dataset[3]


def test_a_damaged_chunk_is_named_by_the_segment_that_needs_it_and_no_other(tmp_path):
    scores = make_set(tmp_path, Fraction(25))
    shard = tmp_path / "take1" / "arrays.zarr" / "codes" / "c" / "0"
    damaged = bytearray(shard.read_bytes())
    damaged[10] ^= 1
    shard.write_bytes(damaged)
    dataset = SegmentDataset(scores, "train", n_past=0)
    with pytest.raises(DamagedData, match="array codes, chunk 0 is damaged"):
        dataset[4]
    for index in (0, 1, 2, 3, 6, 7, 8, 9, 10, 11):
        dataset[index]


def test_a_negative_past_is_refused(scores):
    with pytest.raises(ValueError, match="n_past is -1"):
        SegmentDataset(scores, "train", n_past=-1)
