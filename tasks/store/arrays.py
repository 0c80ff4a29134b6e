"""Arrays of one take: a Zarr 3 group in a folder, one file an array, every chunk with its checksum."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from tasks.errors import DamagedData
from tasks.store.writing import remove, writing

# Names of the group's own attributes; a group without the last one was never finished.
_ATTRIBUTES = "attributes"
_SHARD_BYTES = "shard_bytes"

_ZSTD_LEVEL = 1
_ZSTD_MAGIC = bytes.fromhex("28b52ffd")
_FRAME_HEADER_BYTES = 18  # at most; with the index behind it, a shard always has as many
_INDEX_BYTES, _CHECKSUM_BYTES = 16, 4


@dataclass(frozen=True)
class Parts:
    """An array too large to be held whole, as what follows from one part after another.

    Attributes:
        shape: of the whole array.
        dtype: of every part.
        parts: in order along the first axis, each of a whole number of chunks but for the last.
    """

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    parts: Iterable[NDArray[Any]]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]


def write_arrays(
    folder: Path,
    arrays: Mapping[str, NDArray[Any] | Parts],
    *,
    chunk_lengths: Mapping[str, int],
    attributes: Mapping[str, Any],
) -> None:
    """Write the arrays of a take, replacing what ``folder`` held; the same bytes for the same values.

    Args:
        folder: becomes the Zarr group. Only one process may write it.
        arrays: by name, cut into chunks along the first axis; whole, or in parts that are made as they are written.
        chunk_lengths: rows of a chunk, for each array: what one read decompresses at least. About a second.
        attributes: what JSON can hold, kept with the group.

    Raises:
        ValueError: an array has no chunk length, or a kind of number that readers of Zarr disagree on; parts do not
            make up the array that they belong to.
        WriteError: the disk is full or the folder cannot be written to.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.ndim == 0:
            raise ValueError(f"array {name} is {array.ndim}-D {array.dtype}, expected 1-D or more numbers")
        if chunk_lengths.get(name, 0) < 1:
            raise ValueError(f"array {name} has chunk length {chunk_lengths.get(name)}, expected at least 1")
    remove(folder)
    with writing(folder):
        group = zarr.create_group(folder)
        for name, array in sorted(arrays.items()):
            _write_array(folder, group, name, array, chunk_lengths[name])
        # Last: sizes are known only now, and their presence says that all arrays were written.
        sizes = {name: _shard_bytes(folder, array.ndim, name) for name, array in sorted(arrays.items())}
        group.attrs.put({_ATTRIBUTES: dict(attributes), _SHARD_BYTES: sizes})


def _write_array(folder: Path, group: zarr.Group, name: str, array: NDArray[Any] | Parts, chunk_length: int) -> None:
    rest = tuple(max(size, 1) for size in array.shape[1:])
    n_chunks = max(-(-len(array) // chunk_length), 1)
    group.create_array(
        name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(chunk_length, *rest),
        shards=(n_chunks * chunk_length, *rest),
        compressors=[ZstdCodec(level=_ZSTD_LEVEL), Crc32cCodec()],
        fill_value=0,
        # Chunks of zeros are written too: only then does a missing one mean damage.
        config={"write_empty_chunks": True},
    )
    if 0 in array.shape:
        return
    shard = _shard(folder, array.ndim, name)
    shard.parent.mkdir(parents=True)
    parts = array if isinstance(array, Parts) else Parts(array.shape, array.dtype, [array])
    _write_shard(shard, name, parts, chunk_length)


def _write_shard(path: Path, name: str, array: Parts, chunk_length: int) -> None:
    """Write an array's chunks one after another, then where each begins: the bytes that Zarr itself would write.

    Zarr takes a shard only whole, hands every chunk to another thread, and is several times as slow at it.

    Source:
        Zarr version 3, codec ``sharding_indexed`` 1.0 (index at the end, its checksum behind it).
    """
    compressor = Zstd(level=_ZSTD_LEVEL)
    places: list[tuple[int, int]] = []
    end = n_rows = 0
    with path.open("wb") as file:
        for part in array.parts:
            if part.dtype != array.dtype or part.shape[1:] != array.shape[1:] or n_rows % chunk_length:
                raise ValueError(
                    f"array {name}: a part {part.dtype} {part.shape} behind {n_rows} rows, expected "
                    f"{array.dtype} {array.shape[1:]} a row, {chunk_length} rows or a multiple of it before the last"
                )
            for start in range(0, len(part), chunk_length):
                chunk = compressor.encode(_whole_chunk(part[start : start + chunk_length], chunk_length))
                chunk += google_crc32c.value(chunk).to_bytes(4, "little")
                file.write(chunk)
                places.append((end, len(chunk)))
                end += len(chunk)
            n_rows += len(part)
        if n_rows != len(array):
            raise ValueError(f"array {name}: its parts have {n_rows} rows, expected {len(array)}")
        index = np.array(places, "<u8").tobytes()
        file.write(index + google_crc32c.value(index).to_bytes(4, "little"))


def _whole_chunk(rows: NDArray[Any], chunk_length: int) -> NDArray[Any]:
    """Return rows as they are stored: little-endian, the last chunk of an array filled up with zeros."""
    stored = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    if len(stored) == chunk_length:
        return stored
    return np.concatenate([stored, np.zeros((chunk_length - len(stored), *rows.shape[1:]), stored.dtype)])


def _shard(folder: Path, n_dimensions: int, name: str) -> Path:
    return folder.joinpath(name, "c", *["0"] * n_dimensions)


def _shard_bytes(folder: Path, n_dimensions: int, name: str) -> int:
    shard = _shard(folder, n_dimensions, name)
    return shard.stat().st_size if shard.exists() else 0


class StoredArray:
    """An array on disk. Indexing reads the requested part only, like a numpy array's."""

    def __init__(self, folder: Path, name: str, stored: "zarr.Array[Any]") -> None:
        self.name = name
        self._folder = folder
        self._stored = stored
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype
        self.chunk_length: int = stored.chunks[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        """Read a slice, an index, or a tuple of them.

        Raises:
            DamagedData: names the first chunk whose bytes are not those that were written.
        """
        try:
            return np.asarray(self._stored[selection])
        except IndexError:
            raise
        except Exception as error:  # Zarr, numcodecs and the checksum raise kinds of their own
            raise DamagedData(self._damage(error)) from error

    def _damage(self, error: Exception) -> str:
        where = f"{self._folder}: array {self.name}"
        for chunk in range(-(-len(self) // self.chunk_length)):
            try:
                self._stored[chunk * self.chunk_length : (chunk + 1) * self.chunk_length]
            except Exception as found:
                return f"{where}, chunk {chunk} is damaged: {' '.join(str(found).split())}"
        return f"{where} cannot be read: {' '.join(str(error).split())}"


class Arrays(Mapping[str, StoredArray]):
    """The arrays of one take by name, and ``attributes``; nothing is read before it is indexed."""

    def __init__(self, folder: Path, arrays: dict[str, StoredArray], attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self._arrays = arrays
        self._folder = folder

    def __getitem__(self, name: str) -> StoredArray:
        """Return an array.

        Raises:
            DamagedData: the group has no array of that name.
        """
        if name not in self._arrays:
            raise DamagedData(f"{self._folder} has no array {name}, found {', '.join(self._arrays) or 'none'}")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays


def open_arrays(folder: Path) -> Arrays:
    """Open the arrays of a take; every shard must be there with the bytes that were counted when writing.

    Zarr itself reads a missing shard, and what a killed writer left out, as zeros.

    Raises:
        DamagedData: there is no finished group, or an array's file is missing, of another size, or not of the shape
            that its description claims.
    """
    if not (folder / "zarr.json").is_file():
        raise DamagedData(f"{folder} is missing or was never finished: no zarr.json")
    try:
        group = zarr.open_group(folder, mode="r", use_consolidated=False)
        ours: dict[str, Any] = dict(group.attrs)
        attributes, sizes = dict(ours[_ATTRIBUTES]), dict(ours[_SHARD_BYTES])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DamagedData(f"{folder} was never finished, or its zarr.json is damaged: {error}") from error
    return Arrays(folder, {name: _open_array(folder, group, name, sizes[name]) for name in sizes}, attributes)


def _open_array(folder: Path, group: zarr.Group, name: str, expected_bytes: int) -> StoredArray:
    try:
        stored = group[name]
    except Exception as error:  # of a damaged description Zarr raises kinds of its own
        raise DamagedData(f"{folder}: the description of array {name} is missing or damaged") from error
    if not isinstance(stored, zarr.Array):
        raise DamagedData(f"{folder}: {name} is a {type(stored).__name__}, expected an array")
    found_bytes = _shard_bytes(folder, stored.ndim, name)
    if found_bytes != expected_bytes:
        raise DamagedData(f"{folder}: array {name} has {found_bytes} bytes on disk, expected {expected_bytes}")
    _check_layout(folder, name, stored, found_bytes)
    return StoredArray(folder, name, stored)


def _check_layout(folder: Path, name: str, stored: "zarr.Array[Any]", shard_bytes: int) -> None:
    """Hold what an array is said to be against its shard, before anything is allocated for it.

    A shard has 16 bytes for each chunk at its end, and the first chunk says how many bytes it is unpacked.

    Raises:
        DamagedData: the description claims other chunks than there are.
    """
    where = f"{folder}: array {name} is described as {stored.dtype} {stored.shape}"
    shape, chunks, shards = stored.shape, stored.chunks, stored.shards
    n_chunks = max(-(-shape[0] // chunks[0]), 1) if shape else 0
    rest = tuple(max(size, 1) for size in shape[1:])
    if not shape or chunks[1:] != rest or shards != (n_chunks * chunks[0], *rest):
        raise DamagedData(f"{where} in chunks of {chunks} and shards of {shards}, expected one shard of whole rows")
    if 0 in shape:
        return
    if n_chunks * _INDEX_BYTES + _CHECKSUM_BYTES > shard_bytes:
        raise DamagedData(f"{where}: {n_chunks} chunks of {chunks[0]} rows do not fit into its {shard_bytes} bytes")
    with _shard(folder, stored.ndim, name).open("rb") as file:
        file.seek(shard_bytes - _CHECKSUM_BYTES - n_chunks * _INDEX_BYTES)
        start, n_bytes = (int.from_bytes(file.read(8), "little") for _ in range(2))
        if start + n_bytes > shard_bytes:
            raise DamagedData(f"{where}: its first chunk begins at byte {start} of {shard_bytes}")
        file.seek(start)
        found = _unpacked_bytes(file.read(_FRAME_HEADER_BYTES))
        expected = chunks[0] * prod(rest) * stored.dtype.itemsize
        file.seek(start)
        # A chunk that is damaged itself is named when it is read, and spares the others.
        is_other = found != expected and _is_whole(file.read(n_bytes))
    if is_other:
        raise DamagedData(
            f"{where}: its first chunk holds {'an unknown number of' if found is None else found} bytes unpacked, "
            f"expected {expected} for {chunks[0]} rows"
        )


def _is_whole(chunk: bytes) -> bool:
    """Say whether a stored chunk has the checksum that stands behind it."""
    content, checksum = chunk[:-_CHECKSUM_BYTES], chunk[-_CHECKSUM_BYTES:]
    return bool(google_crc32c.value(content).to_bytes(_CHECKSUM_BYTES, "little") == checksum)


def _unpacked_bytes(frame: bytes) -> int | None:
    """Return the size that a Zstandard frame declares of its content; None where it declares none.

    Source:
        RFC 8878, section 3.1.1.1.
    """
    if len(frame) < _FRAME_HEADER_BYTES or frame[:4] != _ZSTD_MAGIC:
        return None
    descriptor = frame[4]
    is_single = bool(descriptor & 0x20)
    n_bytes = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3]
    if not n_bytes:
        return None
    return int.from_bytes(frame[start : start + n_bytes], "little") + (256 if n_bytes == 2 else 0)
