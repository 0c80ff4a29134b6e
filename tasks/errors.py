"""Base classes of errors. A typed error stands in the noun that raises it and derives from one of these.

A message is one line: what was wrong, where, what was found and what was expected.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class PipelineError(Exception):
    """Something audiate can name went wrong; the message is all a user needs."""


class BadInput(PipelineError):
    """An input that cannot be used. Its take is quarantined and the rest of the work goes on.

    Attributes:
        kind: short upper-case code of the reason, the same for the same fault (``TRUNCATED``).
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross from a worker process, which needs a way to make it again."""
        return _remake, (type(self), str(self), self.kind)


def _remake(error: "type[BadInput]", message: str, kind: str) -> "BadInput":
    return error(message, kind=kind)


@contextmanager
def contained(where: str) -> Iterator[None]:
    """Let what no one foresaw in one input be that input's fault, so that it stops no other.

    What has a name (`PipelineError`), what the machine refuses (`OSError`, `MemoryError`) and a broken installation
    (`ImportError`) go on as they are.

    Raises:
        BadInput: ``UNEXPECTED``, with ``where`` and the error's first words.
    """
    try:
        yield
    except (PipelineError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        what = f"{type(error).__name__}: {words}" if words else type(error).__name__
        raise BadInput(
            f"{where} cannot be used, for a reason that was not foreseen ({what})", kind="UNEXPECTED"
        ) from error


class ParamsError(PipelineError):
    """A value in params.yaml is missing, unknown, of the wrong type or out of range."""


class ToolError(PipelineError):
    """A program, library or SoundFont that a stage needs is missing, differs, or did not do what was requested."""


class DamagedData(PipelineError):
    """An artifact is not what its receipt or its checksum says: truncated, edited or never finished."""
