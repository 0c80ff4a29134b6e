"""Recognizing one recording in two containers or encodings: a cache of the digests and prints of files."""

import json
import tempfile
from pathlib import Path

import numpy as np

from tasks.intake.prints import Prints, sound_prints
from tasks.media.probe import MediaPolicy
from tasks.media.process import MediaError
from tasks.media.streams import stream_digest
from tasks.step import write_whole


class Contents:
    """Digests of the files' streams and prints of their sound, cached by the sha256 of their bytes.

    The cache is local and disposable: without it every file is read once more.
    """

    def __init__(self, path: Path, policy: MediaPolicy) -> None:
        self._path = path
        self._prints = path.with_suffix("")
        self._new_prints: dict[str, Prints] = {}
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

    def prints(self, path: Path, sha256: str) -> Prints:
        """Return the prints of a file's sound; none for a file without any.

        Args:
            path: the file.
            sha256: of its bytes.
        """
        if sha256 in self._new_prints:
            return self._new_prints[sha256]
        try:
            found: Prints = np.load(self._prints / f"{sha256}.npy", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            found = self._new_prints[sha256] = sound_prints(path, policy=self._policy)
        return found

    def save(self) -> None:
        """Keep what was read, beside what another run has kept meanwhile."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(self._remembered() | self._known, sort_keys=True))
        self._prints.mkdir(exist_ok=True)
        for sha256, found in self._new_prints.items():
            with tempfile.NamedTemporaryFile(dir=self._prints, suffix=".partial", delete=False) as file:
                np.save(file, found)
            Path(file.name).replace(self._prints / f"{sha256}.npy")
        self._new_prints.clear()

    def _remembered(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):  # cut short by a kill
            return {}
