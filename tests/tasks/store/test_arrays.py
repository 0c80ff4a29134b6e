import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from tasks.errors import DamagedData
from tasks.store.arrays import Parts, open_arrays, write_arrays

RNG = np.random.default_rng(0)
ARRAYS = {
    "codes": RNG.integers(0, 256, 10_007).astype(np.uint8),
    "pictures": RNG.integers(0, 256, (23, 5, 7)).astype(np.uint8),
    "silence": np.zeros((50, 88), np.float32),
}
CHUNK_LENGTHS = {"codes": 1000, "pictures": 10, "silence": 25}


@pytest.fixture
def folder(tmp_path):
    write_arrays(tmp_path / "a.zarr", ARRAYS, chunk_lengths=CHUNK_LENGTHS, attributes={"sample_rate": 4000})
    return tmp_path / "a.zarr"


def shard(folder, name):
    (found,) = [path for path in (folder / name).rglob("*") if path.is_file() and path.name != "zarr.json"]
    return found


def file_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_arrays_and_attributes_come_back(folder):
    found = open_arrays(folder)
    assert found.attributes == {"sample_rate": 4000}
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].shape, found[name].dtype, len(found[name])) == (array.shape, array.dtype, len(array))
        assert found[name].chunk_length == CHUNK_LENGTHS[name]
        np.testing.assert_array_equal(found[name][:], array)
    assert found["codes"][123] == ARRAYS["codes"][123]
    np.testing.assert_array_equal(found["pictures"][8:12, 1], ARRAYS["pictures"][8:12, 1])


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), chunk=st.integers(1, 70), start=st.integers(0, 60), length=st.integers(0, 60))
def test_any_slice_of_any_length_in_any_chunks_is_numpys(tmp_path_factory, n, chunk, start, length):
    array = np.arange(n * 3, dtype=np.int16).reshape(n, 3)
    folder = tmp_path_factory.mktemp("a") / "a.zarr"
    write_arrays(folder, {"x": array}, chunk_lengths={"x": chunk}, attributes={})
    np.testing.assert_array_equal(open_arrays(folder)["x"][start : start + length], array[start : start + length])


def test_the_same_arrays_are_the_same_bytes_and_replace_what_was_there(folder, tmp_path):
    (tmp_path / "again.zarr").mkdir()
    (tmp_path / "again.zarr" / "stale").write_text("left over")
    arrays = dict(reversed(ARRAYS.items()))
    again = tmp_path / "again.zarr"
    write_arrays(again, arrays, chunk_lengths=CHUNK_LENGTHS, attributes={"sample_rate": 4000})
    assert file_bytes(folder) == file_bytes(again)


@pytest.mark.parametrize("shape", [(0, 3), (1,), (10,), (64,), (23, 5, 7)])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "f4", ">f8", "?"])
def test_every_file_of_an_array_has_the_bytes_that_zarr_itself_writes(tmp_path, shape, dtype):
    array = RNG.integers(0, 200, shape).astype(dtype)
    write_arrays(tmp_path / "a.zarr", {"x": array}, chunk_lengths={"x": 8}, attributes={})
    theirs = zarr.create_group(tmp_path / "b.zarr").create_array(
        "x",
        shape=shape,
        dtype=array.dtype,
        chunks=(8, *shape[1:]),
        shards=(max(-(-shape[0] // 8), 1) * 8, *shape[1:]),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    theirs[...] = array
    assert file_bytes(tmp_path / "a.zarr" / "x") == file_bytes(tmp_path / "b.zarr" / "x")


@pytest.mark.parametrize("part_length", [10, 20, 30])
def test_an_array_in_parts_has_the_bytes_of_the_whole(folder, tmp_path, part_length):
    pictures = ARRAYS["pictures"]
    starts = range(0, len(pictures), part_length)
    parts = Parts(pictures.shape, pictures.dtype, (pictures[start : start + part_length] for start in starts))
    again = tmp_path / "again.zarr"
    write_arrays(again, {**ARRAYS, "pictures": parts}, chunk_lengths=CHUNK_LENGTHS, attributes={"sample_rate": 4000})
    assert file_bytes(folder) == file_bytes(again)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([np.zeros((5, 3), np.uint8)] * 2, "expected uint8 (3,) a row, 4 rows or a multiple of it"),
        ([np.zeros((4, 3), np.uint8)] * 2, "its parts have 8 rows, expected 10"),
        ([np.zeros((10, 2), np.uint8)], "expected uint8 (3,) a row"),
        ([np.zeros((10, 3), np.int8)], "expected uint8 (3,) a row"),
    ],
)
def test_parts_that_do_not_make_up_the_array_are_refused_and_leave_nothing(tmp_path, parts, words):
    whole = Parts((10, 3), np.dtype(np.uint8), parts)
    with pytest.raises(ValueError, match=f"array x: .*{re.escape(words)}"):
        write_arrays(tmp_path / "a.zarr", {"x": whole}, chunk_lengths={"x": 4}, attributes={})
    assert not (tmp_path / "a.zarr").exists()


def test_each_array_is_one_file_beside_its_description(folder):
    assert sum(1 for name in file_bytes(folder) if not name.endswith("zarr.json")) == len(ARRAYS)


def test_an_array_of_nothing_but_zeros_is_stored_too(folder):
    assert shard(folder, "silence").stat().st_size > 0


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_a_missing_shard_is_damage_not_zeros(folder, name):
    shard(folder, name).unlink()
    with pytest.raises(DamagedData, match=f"array {name} has 0 bytes on disk, expected "):
        open_arrays(folder)


def test_a_truncated_shard_is_damage(folder):
    path = shard(folder, "codes")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedData, match=r"array codes has \d+ bytes on disk, expected \d+"):
        open_arrays(folder)


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_a_flipped_byte_names_the_array_and_the_chunk_and_spares_the_others(folder, name):
    path = shard(folder, name)
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 0x10  # in chunk 0: the index stands at the end
    path.write_bytes(damaged)
    found = open_arrays(folder)
    length = CHUNK_LENGTHS[name]
    with pytest.raises(DamagedData, match=f"array {name}, chunk 0 is damaged: .*checksum"):
        found[name][:]
    np.testing.assert_array_equal(found[name][length:], ARRAYS[name][length:])
    for other in set(ARRAYS) - {name}:
        np.testing.assert_array_equal(found[other][:], ARRAYS[other])


def test_no_flipped_byte_anywhere_in_a_shard_is_silent(tmp_path):
    # Hardly compressible, so that nearly every byte is a sample's.
    write_arrays(tmp_path / "a.zarr", {"x": ARRAYS["codes"][:64]}, chunk_lengths={"x": 32}, attributes={})
    path = shard(tmp_path / "a.zarr", "x")
    whole = path.read_bytes()
    for where in range(len(whole)):
        damaged = bytearray(whole)
        damaged[where] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DamagedData, match="array x"):
            open_arrays(tmp_path / "a.zarr")["x"][:]


def test_a_group_without_its_last_attribute_was_never_finished(folder):
    description = json.loads((folder / "zarr.json").read_text())
    description["attributes"].pop("shard_bytes")
    (folder / "zarr.json").write_text(json.dumps(description))
    with pytest.raises(DamagedData, match="was never finished"):
        open_arrays(folder)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"zarr_format": 3, "node_type": "array"}'])
def test_a_group_without_a_description_that_can_be_read_is_damage(folder, text):
    (folder / "zarr.json").unlink()
    if text is not None:
        (folder / "zarr.json").write_text(text)
    with pytest.raises(DamagedData, match=r"a\.zarr"):
        open_arrays(folder)


def test_an_array_without_its_description_is_damage(folder):
    (folder / "codes" / "zarr.json").unlink()
    with pytest.raises(DamagedData, match="the description of array codes is missing"):
        open_arrays(folder)


def test_an_array_that_does_not_exist_is_named_beside_those_that_do(folder):
    with pytest.raises(DamagedData, match="has no array amplitudes, found codes, pictures, silence"):
        open_arrays(folder)["amplitudes"]


@pytest.mark.parametrize("array", [np.zeros(3, complex), np.array(["x"]), np.float32(3).reshape(())])
def test_arrays_that_zarr_readers_disagree_on_are_refused(tmp_path, array):
    with pytest.raises(ValueError, match="array odd is"):
        write_arrays(tmp_path / "a.zarr", {"odd": array}, chunk_lengths={"odd": 1}, attributes={})


def test_an_array_without_a_chunk_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="array x has chunk length None"):
        write_arrays(tmp_path / "a.zarr", {"x": np.zeros(3)}, chunk_lengths={}, attributes={})


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tasks.store.arrays import write_arrays
arrays = {name: np.full((400, 57, 780), 7, np.uint8) for name in "abcdefgh"}
print("ready", flush=True)
write_arrays(Path(sys.argv[1]), arrays, chunk_lengths=dict.fromkeys(arrays, 25), attributes={})
print("written", flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_the_whole_or_damage_never_zeros(tmp_path):
    rng = np.random.default_rng(1)
    for trial in range(6):
        folder = tmp_path / f"{trial}.zarr"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.01, 0.3))
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        try:
            found = open_arrays(folder)
        except DamagedData:
            continue
        assert all((found[name][:] == 7).all() for name in "abcdefgh")


MOON = 10**15


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about | {"shape": [MOON]}, "expected one shard of whole rows"),
        (lambda about: about | {"shape": [-5]}, "missing or damaged"),
        (lambda about: about | {"shape": [10_007, MOON]}, "missing or damaged"),
        (lambda about: about | {"shape": ["many"]}, "missing or damaged"),
        (lambda about: about | {"data_type": "float64"}, "bytes unpacked, expected 8000 for 1000 rows"),
        (lambda about: about | {"data_type": "moon"}, "missing or damaged"),
        (lambda about: in_chunks(about, rows=MOON, chunk=1000), "1000000000000 chunks of 1000 rows do not fit into"),
        (
            lambda about: in_chunks(about, rows=MOON, chunk=MOON // 11 + 1),
            "bytes unpacked, expected 90909090909091 for",
        ),
        (lambda about: in_chunks(about, rows=10_007, chunk=1), "10007 chunks of 1 rows do not fit into"),
    ],
)
def test_a_description_that_claims_more_than_there_is_is_refused_before_anything_is_read(folder, change, said):
    path = folder / "codes" / "zarr.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    started = time.process_time()
    with pytest.raises(DamagedData, match=said) as caught:
        open_arrays(folder)
    assert time.process_time() - started < 1
    assert "array codes" in str(caught.value)
    assert "\n" not in str(caught.value)


def in_chunks(about, *, rows, chunk):
    """Return the description of an array of so many rows in such chunks, all of them in one shard."""
    n_chunks = -(-rows // chunk)
    about["codecs"][0]["configuration"]["chunk_shape"] = [chunk]
    about["chunk_grid"]["configuration"]["chunk_shape"] = [n_chunks * chunk]
    return about | {"shape": [rows]}
