import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tasks.errors import DamagedData
from tasks.store.tables import column_names, read_metadata, read_table, write_table

COLUMNS = {
    "time_s": np.array([0.0, 0.5, np.nan]),
    "velocity": np.arange(3 * 88, dtype=np.uint8).reshape(3, 88),
    "is_test": np.array([True, False, True]),
    "name": ["étude", None, ""],
    "part": np.array(["train", "test", "test"]),
    "segment_ids": [["a", "b"], [], ["c"]],
}


def test_columns_come_back_with_their_values_types_and_order(tmp_path):
    write_table(tmp_path / "t.parquet", COLUMNS)
    found = read_table(tmp_path / "t.parquet")
    assert list(found) == list(COLUMNS)
    for name in ("time_s", "velocity", "is_test"):
        assert found[name].dtype == COLUMNS[name].dtype
        np.testing.assert_array_equal(found[name], COLUMNS[name])
    assert found["name"].tolist() == ["étude", None, ""]
    assert found["part"].tolist() == ["train", "test", "test"]
    assert found["segment_ids"].tolist() == [["a", "b"], [], ["c"]]
    assert read_metadata(tmp_path / "t.parquet") == {}


def test_the_same_table_is_the_same_bytes(tmp_path):
    for name, words in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"})):
        write_table(tmp_path / name, COLUMNS, metadata=words)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_metadata(tmp_path / "a") == {"x": "1", "y": "2"}


def test_a_table_without_rows_keeps_its_types(tmp_path):
    empty = {"time_s": np.empty(0), "velocity": np.empty((0, 88), np.uint8), "name": []}
    write_table(tmp_path / "t.parquet", empty)
    found = read_table(tmp_path / "t.parquet")
    assert found["time_s"].dtype == np.float64
    assert (found["velocity"].shape, found["velocity"].dtype) == ((0, 88), np.uint8)
    assert found["name"].tolist() == []


def test_only_the_columns_asked_for_are_read_in_their_order(tmp_path):
    write_table(tmp_path / "t.parquet", COLUMNS)
    assert list(read_table(tmp_path / "t.parquet", ["part", "time_s"])) == ["part", "time_s"]


@settings(max_examples=50, deadline=None)
@given(
    values=npst.arrays(
        st.sampled_from([np.uint8, np.int64, np.float32, np.float64]), st.tuples(st.integers(0, 9), st.just(3))
    )
)
def test_any_numbers_come_back_bit_for_bit(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    write_table(path, {"values": values, "first": values[:, 0]})
    found = read_table(path)
    assert found["values"].dtype == values.dtype
    assert found["values"].tobytes() == values.tobytes()
    assert found["first"].tobytes() == np.ascontiguousarray(values[:, 0]).tobytes()


def test_columns_of_different_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"differ in length: \{'a': 2, 'b': 3\}"):
        write_table(tmp_path / "t.parquet", {"a": np.zeros(2), "b": np.zeros(3)})


@pytest.mark.parametrize("column", [np.zeros((2, 2, 2)), [1, 2], np.array([object()]), np.zeros(2, complex)])
def test_what_is_neither_numbers_nor_text_is_refused_by_name(tmp_path, column):
    with pytest.raises(ValueError, match="column odd"):
        write_table(tmp_path / "t.parquet", {"odd": column})


def test_a_missing_table_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(DamagedData, match=r"t.parquet is missing"):
        read_table(tmp_path / "t.parquet")
    write_table(tmp_path / "t.parquet", {"a": np.zeros(2)})
    with pytest.raises(DamagedData, match="has no column b, found a"):
        read_table(tmp_path / "t.parquet", ["b"])


def test_a_flipped_byte_of_a_page_and_a_truncated_table_are_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, {"a": np.random.default_rng(0).integers(0, 255, 50_000, dtype=np.uint8)})
    whole = path.read_bytes()
    for where in (1000, 20_000):
        damaged = bytearray(whole)
        damaged[where] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DamagedData, match=r"t\.parquet cannot be read as a table"):
            read_table(path)
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedData, match=r"t\.parquet cannot be read as a table"):
            read_table(path)
        with pytest.raises(DamagedData, match=r"t\.parquet cannot be read as a table"):
            read_metadata(path)


def test_the_names_of_columns_are_read_alone(tmp_path):
    write_table(tmp_path / "t.parquet", {"a": np.arange(2), "ids": [["x"], ["y"]]})
    assert column_names(tmp_path / "t.parquet") == ["a", "ids"]
    with pytest.raises(DamagedData, match="is missing"):
        column_names(tmp_path / "absent.parquet")


def test_no_flipped_bit_of_a_footer_shortens_a_table(tmp_path):
    """The footer has no checksum. What is read without complaint has all rows and all numbers."""
    path = tmp_path / "a.parquet"
    columns = {"a": np.arange(1000.0), "b": np.ones((1000, 3), np.float32), "words": [str(row) for row in range(1000)]}
    write_table(path, columns, metadata={"x": "y"})
    whole = path.read_bytes()
    n_refused = 0
    for at in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            found = read_table(path)
        except DamagedData:
            n_refused += 1
        else:
            assert {len(column) for column in found.values()} == {1000}
    assert n_refused > 300
