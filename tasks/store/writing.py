"""Writing that fails in words: a full disk, a quota or a refused folder names the file and what is free."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import PipelineError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class WriteError(PipelineError):
    """The system refused to store bytes; nothing that was written may be taken for whole."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name ``path`` in any failure of the system to write it, and remove what was written of it.

    Raises:
        WriteError: the disk is full, a limit is reached, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        remove(path)
        raise WriteError(_reason(path, error.errno, error.strerror or str(error))) from error
    except BaseException:
        remove(path)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, or nothing when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _reason(path: Path, code: int | None, words: str) -> str:
    if code not in _NO_ROOM:
        return f"{path} cannot be written: {words}"
    free_mib = shutil.disk_usage(path.parent).free / 2**20 if path.parent.is_dir() else 0.0
    return f"{path} cannot be written: {words} ({free_mib:.0f} MiB free there)"
