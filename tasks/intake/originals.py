"""Which takes are an earlier one once more: by bytes, by streams in another container, by sound."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.intake.copies import Contents
from tasks.intake.folder import TAKE_FILE, shown
from tasks.intake.prints import PrintIndex


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a take holds, wherever its files are.

    Attributes:
        name: the take's.
        piece: the take's.
        devices: its recordings; none where the MIDI file is all of it.
        score: its MIDI file, if there is one.
        compared: the recordings whose sound shows that another take is this one in another encoding.
        containers: those among them whose streams are compared too.
        may_share: whether another take of the same piece may hold some of its recordings; a copy then holds all that
            are ``compared``.
    """

    name: str
    piece: str
    devices: tuple[Path, ...] = ()
    score: Path | None = None
    compared: tuple[Path, ...] = ()
    containers: tuple[Path, ...] = ()
    may_share: bool = False


class Originals:
    """The recordings and scores of the takes so far, so that a copy is recognized. A take is no copy of itself.

    Args:
        sha256: gives the digest of a file.
        streams: gives the digest of what a container holds, and the prints of its sound; without it only bytes are
            compared.
    """

    def __init__(self, sha256: Callable[[Path], str], streams: Contents | None) -> None:
        self._sha256 = sha256
        self._streams = streams
        self._recordings: dict[str, str] = {}  # digest -> take
        self._pieces_of: dict[str, str] = {}
        self._scores: dict[str, Holding] = {}
        self._sounds = PrintIndex()
        self._pieces: dict[str, str] = {}  # of the takes whose sound is known

    def claim(self, take: Holding) -> tuple[str, str] | None:
        """Remember what a take holds; or return kind and reason of a take that is a copy of an earlier one."""
        held: dict[str, tuple[Path, str]] = {}
        for path in take.devices:
            digest = self._sha256(path)
            held[digest] = path, "the same bytes as"
            content = self._streams.of(path, digest) if self._streams is not None and path in take.containers else None
            if content is not None:
                held[content] = path, "the same streams in another container as"
        copied = self._claim_recordings(take, held) or self._claim_score(take) or self._claim_sounds(take)
        if copied is None:
            for digest in held:
                self._recordings.setdefault(digest, take.name)
            self._pieces_of[take.name] = take.piece
        return copied

    def _claim_recordings(self, take: Holding, held: Mapping[str, tuple[Path, str]]) -> tuple[str, str] | None:
        """Return kind and reason of a take that has recordings of an earlier one, and may not."""
        shared: set[Path] = set()
        for digest, (path, what) in held.items():
            original = self._recordings.get(digest, take.name)
            if original == take.name:
                continue
            same = f"{shown(path)} has {what} a recording of take {original}"
            shared.add(path)
            if not take.may_share or shared >= set(take.compared):
                return "DUPLICATE", f"{same}, expected one take a recording"
            piece = self._pieces_of[original]
            if piece != take.piece:
                return "OTHER_PIECE", f"{same}, expected `piece: {piece}` in {TAKE_FILE}, found {take.piece}"
        return None

    def _claim_sounds(self, take: Holding) -> tuple[str, str] | None:
        """Remember a take's sound; or return kind and reason of a take that sounds like one of another piece."""
        if self._streams is None:
            return None
        prints = [(path, self._streams.prints(path, self._sha256(path))) for path in take.compared]
        for path, found in prints:
            for earlier, start_s in self._sounds.copies_of(found, but=take.name):
                piece = self._pieces[earlier]
                if piece != take.piece:
                    what = f"{shown(path)} sounds as take {earlier} does from {start_s:+.2f} s on, encoded anew or cut"
                    return "OTHER_PIECE", f"{what}, expected `piece: {piece}` in {TAKE_FILE}, found {take.piece}"
        for _, found in prints:
            self._sounds.add(take.name, found)
        self._pieces[take.name] = take.piece
        return None

    def _claim_score(self, take: Holding) -> tuple[str, str] | None:
        if take.score is None:
            return None
        digest = self._sha256(take.score)
        earlier = self._scores.setdefault(digest, take)
        if earlier.name == take.name:
            return None
        same = f"{shown(take.score)} has the same bytes as take {earlier.name}"
        if not earlier.devices and not take.devices:  # the MIDI file is all of both
            return "DUPLICATE", f"{same}, expected one take a recording"
        if earlier.piece != take.piece:
            return "OTHER_PIECE", f"{same}, expected `piece: {earlier.piece}` in {TAKE_FILE}, found {take.piece}"
        return None
