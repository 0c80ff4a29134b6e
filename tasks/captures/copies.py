"""Recognizing one recording in two containers: the digest of what a file's streams hold."""

import json
from pathlib import Path

from tasks.media.probe import MediaPolicy
from tasks.media.process import MediaError
from tasks.media.streams import stream_digest
from tasks.step import write_whole


class StreamDigests:
    """Digests of the files' streams, remembered by the sha256 of their bytes.

    The memory is local and disposable: without it every file is read once more.
    """

    def __init__(self, path: Path, policy: MediaPolicy) -> None:
        self._path = path
        self._policy = policy
        self._known = self._remembered()

    def of(self, path: Path, sha256: str) -> str | None:
        """Return the digest of what the file's streams hold; None for a file that cannot be read as media.

        Args:
            path: the file.
            sha256: of its bytes.
        """
        if sha256 not in self._known:
            try:
                self._known[sha256] = stream_digest(path, policy=self._policy)
            except MediaError:
                self._known[sha256] = ""
        return self._known[sha256] or None

    def save(self) -> None:
        """Keep what was read, beside what another run has kept meanwhile."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(self._remembered() | self._known, sort_keys=True))

    def _remembered(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):  # cut short by a kill
            return {}
