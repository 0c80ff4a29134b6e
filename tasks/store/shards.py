"""Training examples for other people's loaders: tar shards, Parquet files and npz files.

The same examples give the same bytes. Words are strings, arrays keep their shapes and types.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.store.examples import Example
from tasks.store.writing import writing

SHARD_BYTES = 512 * 2**20  # of arrays, after which a new file begins
ROW_GROUP_BYTES = 32 * 2**20
MAX_DIMENSIONS = 5  # of an array in a Parquet file: ``datasets`` has no type for more


def write_tars(folder: Path, part: str, examples: Iterable[Example], *, shard_bytes: int = SHARD_BYTES) -> list[str]:
    """Write ``PART-NUMBER.tar``, as the package webdataset reads them: uncompressed.

    Each example is a ``KEY.json`` with its words and a ``KEY.NAME.npy`` for each array; keys are numbers that rise.

    Args:
        folder: of the files; it exists.
        part: begins their names.
        examples: what they hold, taken one after another.
        shard_bytes: of arrays in one file, about.

    Returns:
        The names of the files.

    Raises:
        WriteError: the disk is full or the folder cannot be written to.
    """
    names: list[str] = []
    number = 0
    for shard in _shards(examples, shard_bytes):
        path = folder / f"{part}-{len(names):05d}.tar"
        with writing(path), tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for example in shard:
                words, arrays = _parted(example)
                _add(tar, f"{number:07d}.json", json.dumps(words, sort_keys=True).encode())
                for name, array in arrays.items():
                    _add(tar, f"{number:07d}.{name}.npy", _npy(array))
                number += 1
        names.append(path.name)
    return names


def write_parquets(
    folder: Path,
    part: str,
    examples: Iterable[Example],
    *,
    shard_bytes: int = SHARD_BYTES,
    row_group_bytes: int = ROW_GROUP_BYTES,
) -> list[str]:
    """Write ``PART-NUMBER.parquet``, a row an example, arrays as lists of lists.

    The footer names shapes and types as Hugging Face's ``datasets`` expects them; first sizes may differ between rows.
    Arguments, result and errors are those of `write_tars`; no more than ``row_group_bytes`` of arrays, or one example,
    are held at once.

    Raises:
        ValueError: an array has more than 5 axes, or a kind of number that is not an integer or a float.
    """
    names: list[str] = []
    for shard in _shards(examples, shard_bytes):
        path = folder / f"{part}-{len(names):05d}.parquet"
        with writing(path):
            writer = None
            try:
                for rows in _groups(shard, row_group_bytes):
                    table = _table(rows)
                    writer = writer or pq.ParquetWriter(
                        path, table.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
                    )
                    writer.write_table(table, row_group_size=len(rows))
            finally:
                if writer is not None:
                    writer.close()
        names.append(path.name)
    return names


def write_npzs(folder: Path, part: str, examples: Iterable[Example]) -> list[str]:
    """Write ``PART/TAKE/NUMBER.npz``, an example a file, compressed; words are arrays of no axis.

    Arguments, result and errors are those of `write_tars`.
    """
    names = []
    for number, example in enumerate(examples):
        path = folder / part / str(example["take"]) / f"{number:07d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path):
            np.savez_compressed(
                path, allow_pickle=False, **{name: np.asarray(value) for name, value in example.items()}
            )
        names.append(path.relative_to(folder).as_posix())
    return names


def example_bytes(example: Example) -> int:
    """Return how many bytes the arrays of an example have."""
    return sum(value.nbytes for value in example.values() if isinstance(value, np.ndarray))


def _parted(example: Example) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    words = {name: value for name, value in example.items() if isinstance(value, str)}
    return words, {name: value for name, value in example.items() if isinstance(value, np.ndarray)}


def _shards(examples: Iterable[Example], n_bytes: int) -> Iterator[Iterator[Example]]:
    """Cut a stream into streams of about so many bytes; each is to be read to its end before the next."""
    stream = iter(examples)
    first = next(stream, None)

    def shard() -> Iterator[Example]:
        nonlocal first
        found = 0
        while first is not None and found < n_bytes:
            example, found = first, found + example_bytes(first)
            first = next(stream, None)
            yield example

    while first is not None:
        yield shard()


def _groups(examples: Iterator[Example], n_bytes: int) -> Iterator[list[Example]]:
    return (list(group) for group in _shards(examples, n_bytes))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)  # of no time and no owner: the same bytes for the same content
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _table(rows: list[Example]) -> pa.Table:
    columns, features = {}, {}
    for name, first in rows[0].items():
        values: list[Any] = [row[name] for row in rows]
        if isinstance(first, str):
            columns[name], features[name] = pa.array(values, pa.string()), _value("string")
        else:
            columns[name], features[name] = _nested(values), _feature(name, first)
    table = pa.table(columns)
    about = json.dumps({"info": {"features": features}}, sort_keys=True)
    return table.replace_schema_metadata({"huggingface": about})


def _nested(arrays: list[NDArray[Any]]) -> pa.Array:
    """Return arrays, which differ in their first size alone, as lists of lists without a copy of each number."""
    nested = pa.array(np.concatenate([array.ravel() for array in arrays]))
    for size in reversed(arrays[0].shape[1:]):
        nested = pa.ListArray.from_arrays(pa.array(np.arange(0, len(nested) + 1, int(size), dtype=np.int32)), nested)
    ends = np.cumsum([0, *(len(array) for array in arrays)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), nested)


def _feature(name: str, array: NDArray[Any]) -> Mapping[str, Any]:
    if array.dtype.kind not in "iuf" or not 1 <= array.ndim <= MAX_DIMENSIONS:
        raise ValueError(
            f"array {name} is {array.ndim}-D {array.dtype}, expected 1 to {MAX_DIMENSIONS} axes of numbers"
        )
    if array.ndim == 1:
        return {"_type": "Sequence", "feature": _value(array.dtype.name)}
    return {"_type": f"Array{array.ndim}D", "shape": [None, *array.shape[1:]], "dtype": array.dtype.name}


def _value(dtype: str) -> Mapping[str, Any]:
    return {"_type": "Value", "dtype": dtype}
