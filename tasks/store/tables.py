"""Tables: columns of equal length in one Parquet file, the same bytes for the same values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.store.writing import writing

Column = NDArray[Any] | Sequence[str | None] | Sequence[Sequence[str]]


def write_table(path: Path, columns: Mapping[str, Column], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write columns to a Parquet file: zstd, with a checksum on every page.

    Args:
        path: the file; its folder exists.
        columns: by name, in this order. A 1-D array of numbers, a 2-D array (a fixed-size list in each
            row), or text: an array or list of strings, or a list of lists of strings. An empty list is
            a column of text without rows; an empty column of numbers is an empty array.
        metadata: words about the table, kept in the file's footer.

    Raises:
        ValueError: columns differ in length, or a column is of no kind above.
        WriteError: the disk is full or the folder cannot be written to.
    """
    arrays = {name: _to_arrow(name, column) for name, column in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {path.name} differ in length: {lengths}")
    table = pa.table(arrays)
    if metadata:
        table = table.replace_schema_metadata(dict(sorted(metadata.items())))
    with writing(path):
        pq.write_table(table, path, compression="zstd", compression_level=3, write_page_checksum=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read columns, all of them or those named, as they were written.

    Returns:
        By name: arrays of numbers (2-D for fixed-size lists); text as an object array of ``str`` (or
        ``None``), and lists of text as an object array of lists.

    Raises:
        DamagedData: the file is missing, is no Parquet file, fails a checksum, or lacks a column.
    """
    table = _read(path, columns)
    return {name: _to_numpy(table.column(name)) for name in columns or table.column_names}


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns, reading none of them.

    Raises:
        DamagedData: the file is missing or is no Parquet file.
    """
    try:
        names: list[str] = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise DamagedData(_damage(path, error)) from error
    return names


def read_metadata(path: Path) -> dict[str, str]:
    """Read the words that ``write_table`` kept in the footer.

    Raises:
        DamagedData: the file is missing or is no Parquet file.
    """
    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise DamagedData(_damage(path, error)) from error
    return {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"}


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        wanted = list(columns) if columns is not None else None
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_footer(path, file.metadata)
            found = file.schema_arrow.names
            missing = [name for name in wanted or () if name not in found]
            if missing:
                raise DamagedData(f"{path} has no column {missing[0]}, found {', '.join(found)}")
            return file.read(columns=wanted)
    except (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        raise DamagedData(_damage(path, error)) from error


def _check_footer(path: Path, footer: pq.FileMetaData) -> None:
    """Hold the rows that the footer, which has no checksum, claims against those of its row groups.

    What it says of columns is left to the reading: Arrow aborts the process where that is damaged and asked for.

    Raises:
        DamagedData: it contradicts itself.
    """
    n_rows = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    if footer.num_rows != n_rows:
        raise DamagedData(f"{path} claims {footer.num_rows} rows, expected the {n_rows} of its row groups")


def _damage(path: Path, error: Exception) -> str:
    if not path.exists():
        return f"{path} is missing"
    return f"{path} cannot be read as a table, truncated or changed since it was written: " + " ".join(
        str(error).split()
    )


def _to_arrow(name: str, column: Column) -> pa.Array:
    if not isinstance(column, np.ndarray):
        return _text_to_arrow(name, list(column))
    if column.dtype.kind in "OUT":
        return _text_to_arrow(name, column.tolist())
    if column.dtype.kind not in "biuf" or column.ndim not in (1, 2):
        raise ValueError(f"column {name} is {column.ndim}-D {column.dtype}, expected 1-D or 2-D numbers or text")
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    return flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column.shape[1])


def _text_to_arrow(name: str, rows: list[Any]) -> pa.Array:
    kind = pa.list_(pa.string()) if rows and not isinstance(rows[0], str | None) else pa.string()
    try:
        return pa.array(rows, type=kind)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"column {name} is neither numbers (use an array) nor text: {error}") from error


def _to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return _numbers(column.combine_chunks().flatten()).reshape(len(column), kind.list_size)
    if pa.types.is_string(kind) or pa.types.is_list(kind):
        texts = np.empty(len(column), dtype=object)
        texts[:] = column.to_pylist()
        return texts
    return _numbers(column.combine_chunks())


def _numbers(array: pa.Array) -> NDArray[Any]:
    # to_numpy imports pandas, half a second; DLPack has numbers alone, and no missing ones.
    if (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)) and not array.null_count:
        return np.from_dlpack(array)
    found: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return found
