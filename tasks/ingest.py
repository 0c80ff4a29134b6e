"""Verb ``ingest``: raw files in, notes and facts out. Originals are read, never touched.

A score take is one MIDI file: ``data/sample/midi/PIECE.mid``, or the single ``.mid`` in ``data/raw/TAKE/``. A capture
is a folder of recordings: ``data/raw/TAKE/`` or, of the virtual rig, ``data/filmed/TAKE/``. One device that cannot be
used is refused by itself; the take goes on while a camera or microphone is left. A folder with stems is an ensemble
(`tasks.intake.layouts` knows the names): it goes on while its stems are whole.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.errors import BadInput, DamagedData, ParamsError, PipelineError
from tasks.instruments.midi import MidiPolicy, Score, read_midi
from tasks.instruments.notes import Notes
from tasks.intake.copies import Contents
from tasks.intake.describe import TakeFile, read_take_file
from tasks.intake.devices import CaptureParams, examine_device
from tasks.intake.folder import (
    SCORE_SUFFIXES,
    TAKE_FILE,
    FolderSize,
    Found,
    Refused,
    Role,
    device_of,
    look_into,
    role_of,
    shown,
)
from tasks.intake.layouts import MIX
from tasks.intake.measure import EnsembleParams, measure_ensemble
from tasks.intake.players import PlayerPlan, notes_of_players, plan_players
from tasks.intake.prints import PrintIndex
from tasks.intake.stems import Measured, StemSound
from tasks.media.probe import MediaPolicy
from tasks.params import Section
from tasks.step import RECEIPT, Outcome, Verified, file_sha256, json_sha256, read_receipt, write_whole
from tasks.store.tables import write_table
from tasks.takes import PARTS, TAKE_NAME, Kind, Part, Take, read_catalog

SAMPLE = Path("data/sample")
FILMED = Path("data/filmed")
RAW = Path("data/raw")

WAV_SUFFIXES = (".wav", ".wave")
RECORDED: tuple[Role, ...] = ("camera", "microphone", "stem", "mix")

Origin = Literal["sample", "filmed", "raw"]
ORIGINS: tuple[Origin, ...] = ("sample", "filmed", "raw")  # of equal recordings the first one stays


class IngestError(BadInput):
    """A take of which nothing can be used."""


class TakeParams(Section):
    """What is accepted of one take."""

    midi: MidiPolicy
    media: MediaPolicy
    captures: CaptureParams
    ensembles: EnsembleParams

    @property
    def size(self) -> FolderSize:
        """How large a file may be before it is refused unread."""
        return FolderSize(score=self.midi.max_bytes, media=self.media.max_file_bytes)


class IngestParams(TakeParams):
    """What is accepted."""

    max_bad_fraction: float  # of the takes found; more than this and the stage fails

    def of_a_take(self) -> TakeParams:
        """Return what the work on one take follows from: the fraction is not among it."""
        return TakeParams(midi=self.midi, media=self.media, captures=self.captures, ensembles=self.ensembles)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One take as it was found, before any recording of it was read.

    Attributes:
        name: of the take.
        kind: of the take.
        origin: where it was found.
        files: the raw files that it consists of, in order of name.
        piece: the composition.
        part: where its piece is fixed in the split, if it is.
        about: composer, title, source, as far as they are known.
        refused: files of its folder that cannot be used.
    """

    name: str
    kind: Kind
    origin: Origin
    files: tuple[str, ...]
    piece: str
    part: Part | None
    about: tuple[tuple[str, str], ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def score(self) -> Path | None:
        """The MIDI file, if there is one."""
        return next((Path(file) for file in self.files if file.lower().endswith(SCORE_SUFFIXES)), None)

    @property
    def devices(self) -> list[Path]:
        """The cameras and microphones; of an ensemble its stems and its mix too."""
        return [path for path in map(Path, self.files) if self.role(path) in RECORDED]

    def role(self, path: Path) -> Role:
        """Return what one of its files is."""
        return role_of(path.name, in_ensemble=self.kind == "ensemble")

    @property
    def take_file(self) -> Path | None:
        """The take.yaml, if there is one."""
        return next((Path(file) for file in self.files if Path(file).name == TAKE_FILE), None)


def find_sources(
    sample: Path = SAMPLE, filmed: Path = FILMED, raw: Path = RAW, *, size: FolderSize
) -> tuple[list[Source], list[Outcome]]:
    """List the takes of all folders, and refuse what is no take.

    Args:
        sample: the bundled pieces.
        filmed: the captures of the virtual rig, a folder a take.
        raw: a folder a take.
        size: of files; a larger one is refused before it is read, even to hash it.

    Returns:
        The takes in order of name, and an outcome for each thing that cannot be one.

    Raises:
        ParamsError: pieces.yaml does not describe the bundled pieces.
        DamagedData: a filmed take was never finished.
    """
    sources = _sample_sources(sample)
    taken = {source.name: "a bundled piece" for source in sources}
    refused: list[Outcome] = []
    folders: tuple[tuple[Path, Origin], ...] = ((filmed, "filmed"), (raw, "raw"))
    for parent, origin in folders:
        for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
            if folder.name == ".gitkeep" or (origin == "filmed" and not _is_a_take_of_the_rig(folder)):
                continue
            found = read_source(folder, origin, taken, size=size)
            if isinstance(found, Source):
                sources.append(found)
                taken[found.name] = "a filmed take"
            else:
                refused.append(found)
    return sorted(sources, key=lambda source: source.name), refused


def read_source(folder: Path, origin: Origin, taken: dict[str, str], *, size: FolderSize) -> Source | Outcome:
    """Read a take's folder, its take.yaml included, or say why it is none.

    Args:
        folder: the take's.
        origin: where it stands.
        taken: names that no take may have, with what has them.
        size: of files.
    """

    def refused(kind: str, reason: str) -> Outcome:
        return Outcome(name=shown(folder.name), state="quarantined", kind=kind, reason=reason)

    known_as = f"data/{origin}/{folder.name!a}"
    if not TAKE_NAME.fullmatch(folder.name):
        return refused("BAD_NAME", f"{known_as} is no take's name, expected letters, digits, '.', '_' and '-'")
    if folder.is_symlink() or not folder.is_dir():
        return refused("NOT_A_FOLDER", f"{known_as} is not a folder, expected one folder a take")
    if folder.name in taken:
        return refused("NAME_TAKEN", f"{known_as} has the name of {taken[folder.name]}, expected another name")
    try:
        found = look_into(folder, size)
        said = read_take_file(found.take_file)
        check_is_take(folder, found)
        if kind_of(found, said) == "ensemble":
            plan_players(found.files, said, where=shown(folder))
    except BadInput as error:
        return refused(error.kind, str(error))
    return Source(
        name=folder.name,
        kind=kind_of(found, said),
        origin=origin,
        files=tuple(path.as_posix() for path in found.files),
        piece=said.piece or folder.name,
        part=said.part,
        refused=found.refused,
    )


def kind_of(found: Found, said: TakeFile) -> Kind:
    """Return what kind of take a folder holds."""
    if found.is_ensemble or said.players:
        return "ensemble"
    return "capture" if found.is_capture else "score"


def check_is_take(folder: Path, found: Found) -> None:
    """Refuse a folder that is neither a score nor a capture.

    Raises:
        IngestError: ``NO_DEVICE``, a capture without a recording that can be used; ``NOT_A_TAKE``, it holds none, nor
            a single MIDI file; or what is wrong with the one file that would be the take.
    """
    if found.is_capture:
        if not found.devices:
            raise IngestError(found.refused[0].reason, kind="NO_DEVICE")
        return
    if found.score is not None and not found.refused:
        return
    if len(found.refused) == 1 and found.score is None and found.refused[0].role == "score":
        raise IngestError(found.refused[0].reason, kind=found.refused[0].kind)
    names = [path.name for path in found.files] + [Path(row.path).name for row in found.refused]
    listed = ", ".join(ascii(name) for name in sorted(names)[:5]) or "nothing"
    raise IngestError(
        f"{shown(folder)} holds {listed}, expected a single .mid file, or recordings cam_NAME.* and mic_NAME.*",
        kind="NOT_A_TAKE",
    )


def check_filmed(sources: Iterable[Source], verified: Verified, filmed: Path = FILMED) -> None:
    """Hold the filmed takes against their receipts.

    Raises:
        DamagedData: a file of one was changed, added or lost since it was made.
    """
    for source in sources:
        if source.origin == "filmed":
            read_receipt(filmed / source.name, verified)


def hash_files(sources: Iterable[Source], verified: Verified, streams: Contents, *, workers: int) -> None:
    """Hash every file of the takes that changed since it was last seen, several at a time.

    Raises:
        PipelineError: a file went while this ran.
    """

    def look(path: Path, take: Holding) -> None:
        digest = verified.sha256(path)
        if path in take.packed:
            streams.of(path, digest)
        if path in take.heard:
            streams.prints(path, digest)

    files = [(Path(file), holding_of(source)) for source in sources for file in source.files]
    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(look, *zip(*files, strict=True)) if files else ():
                pass
        except FileNotFoundError as error:
            raise PipelineError(f"{shown(error.filename)} went while it was read: run again") from None


def refuse_copies(
    sources: Sequence[Source], sha256: Callable[[Path], str], streams: Contents | None = None
) -> tuple[list[Source], list[Outcome]]:
    """Part the takes from those that are an earlier one once more: a piece twice would leak over the split.

    A take is a copy when a recording of it has the same bytes as one of an earlier take, or the same streams in
    another container; a score, when its MIDI file has the same bytes as an earlier score's. Bundled pieces come
    first, then what was filmed, then data/raw, each by name. A capture may come with the MIDI file of a score
    when both are of one piece, and sound as another capture does (encoded anew, or a part of it) on the same terms.

    Args:
        sources: the takes.
        sha256: gives the digest of a file.
        streams: gives the digest of what a container holds; without it only bytes are compared.
    """
    originals = Originals(sha256, streams)
    kept, refused = [], []
    for source in in_order(sources):
        copied = originals.claim(holding_of(source))
        if copied is None:
            kept.append(source)
        else:
            refused.append(Outcome(name=source.name, state="quarantined", kind=copied[0], reason=copied[1]))
    return sorted(kept, key=lambda source: source.name), sorted(refused, key=lambda outcome: outcome.name)


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Return the takes in the order in which they have precedence: by origin, then by name."""
    return sorted(sources, key=lambda source: (ORIGINS.index(source.origin), source.name))


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a take holds, wherever its files stand.

    Attributes:
        name: the take's.
        kind: the take's.
        piece: the take's.
        devices: its recordings.
        score: its MIDI file, if there is one.
        heard: the recordings whose sound tells that another take is this one in another encoding. Of an ensemble its
            mix, or without one its stems: who copies a take copies what all of them play.
        packed: the recordings whose streams tell it.
    """

    name: str
    kind: Kind
    piece: str
    devices: tuple[Path, ...]
    score: Path | None
    heard: tuple[Path, ...]
    packed: tuple[Path, ...]


def holding_of(source: Source) -> Holding:
    """Return what a take that was found holds."""
    files = {Path(file).name: Path(file) for file in source.files}
    return holding(source.name, source.kind, source.piece, files)


def holding(name: str, kind: Kind, piece: str, files: Mapping[str, Path]) -> Holding:
    """Return what a take holds.

    Args:
        name: the take's.
        kind: the take's.
        piece: the take's.
        files: name in the take's folder -> where the file is.
    """
    roles = {path: role_of(file, in_ensemble=kind == "ensemble") for file, path in files.items()}
    devices = tuple(path for path, role in roles.items() if role in RECORDED)
    heard = devices
    if kind == "ensemble":
        mix = tuple(path for path in devices if roles[path] == "mix")
        stems = tuple(path for path in devices if roles[path] == "stem")
        heard = mix or stems or devices
    return Holding(
        name=name,
        kind=kind,
        piece=piece,
        devices=devices,
        score=next((path for path, role in roles.items() if role == "score"), None),
        heard=heard,
        # The one stream of a stem's WAV file is compared byte for byte, and by its sound.
        packed=tuple(path for path in heard if kind != "ensemble" or path.suffix.lower() not in WAV_SUFFIXES),
    )


class Originals:
    """The recordings and scores seen so far, so that what comes again is known; a take is no copy of itself."""

    def __init__(self, sha256: Callable[[Path], str], streams: Contents | None) -> None:
        self._sha256 = sha256
        self._streams = streams
        self._recordings: dict[str, str] = {}  # digest -> take
        self._pieces_of: dict[str, str] = {}
        self._scores: dict[str, Holding] = {}
        self._sounds = PrintIndex()
        self._pieces: dict[str, str] = {}  # of the takes whose sound is known

    def claim(self, take: Holding) -> tuple[str, str] | None:
        """Remember what a take holds; or return, as kind and reason, of which earlier one it is a copy."""
        held: dict[str, tuple[Path, str]] = {}
        for path in take.devices:
            digest = self._sha256(path)
            held[digest] = path, "the same bytes as"
            content = self._streams.of(path, digest) if self._streams is not None and path in take.packed else None
            if content is not None:
                held[content] = path, "the same streams in another container as"
        copied = self._claim_recordings(take, held) or self._claim_score(take) or self._claim_sounds(take)
        if copied is None:
            for digest in held:
                self._recordings.setdefault(digest, take.name)
            self._pieces_of[take.name] = take.piece
        return copied

    def _claim_recordings(self, take: Holding, held: Mapping[str, tuple[Path, str]]) -> tuple[str, str] | None:
        """Say of which earlier take's recordings this one has any.

        Ensembles of one piece may share a player's stem, a quartet and the trio in it; what all play may not be shared.
        """
        shared: set[Path] = set()
        for digest, (path, what) in held.items():
            original = self._recordings.get(digest, take.name)
            if original == take.name:
                continue
            same = f"{shown(path)} has {what} a recording of take {original}"
            shared.add(path)
            if take.kind != "ensemble" or shared >= set(take.heard):
                return "DUPLICATE", f"{same}, expected one take a recording"
            piece = self._pieces_of[original]
            if piece != take.piece:
                return "OTHER_PIECE", f"{same}, expected `piece: {piece}` in {TAKE_FILE}, found {take.piece}"
        return None

    def _claim_sounds(self, take: Holding) -> tuple[str, str] | None:
        """Remember how a take sounds; or say of which piece it must be, as it sounds like an earlier take of that."""
        if self._streams is None:
            return None
        prints = [(path, self._streams.prints(path, self._sha256(path))) for path in take.heard]
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
        if earlier.kind == take.kind == "score":
            return "DUPLICATE", f"{same}, expected one take a recording"
        if earlier.piece != take.piece:
            return "OTHER_PIECE", f"{same}, expected `piece: {earlier.piece}` in {TAKE_FILE}, found {take.piece}"
        return None


def refuse_other_parts(sources: Sequence[Source]) -> tuple[list[Source], list[Outcome]]:
    """Part the takes from those that fix another part of the split for a piece than an earlier take does."""
    fixed: dict[str, Source] = {}
    kept, refused = [], []
    for source in in_order(sources):
        earlier = fixed.setdefault(source.piece, source) if source.part is not None else source
        if earlier.part == source.part:
            kept.append(source)
            continue
        reason = (
            f"{source.name} is of piece {source.piece} and asks for part {source.part}, expected {earlier.part} as "
            f"take {earlier.name} has it"
        )
        refused.append(Outcome(name=source.name, state="quarantined", kind="OTHER_PART", reason=reason))
    return sorted(kept, key=lambda source: source.name), refused


def digest_of(files: Iterable[Path], sha256: Callable[[Path], str]) -> str:
    """Return a take's digest: sha256 over the names and digests of its raw files, in order of name."""
    return json_sha256([[path.name, sha256(path)] for path in sorted(files)])


def ingest_take(source: Source, out: Path, params: TakeParams) -> None:
    """Write ``take.json`` of one take and, when there is MIDI, ``notes.parquet`` and ``controls.parquet``.

    Of an ensemble, ``notes_N.parquet`` of each player whose notes are known.

    Raises:
        BadInput: the score cannot be used, or no device of the capture can; a stem of the ensemble cannot.
    """
    said = read_take_file(source.take_file)
    if source.kind == "score":
        facts = _score_facts(source, out, params)
    elif source.kind == "capture":
        facts = _capture_facts(source, said, out, params)
    else:
        facts = _ensemble_facts(source, said, out, params)
    about: dict[str, Any] = dict(source.about)
    title = about.pop("title", None) or said.title or facts.pop("title", None) or source.name
    described = {
        "take": source.name,
        "kind": source.kind,
        "piece": source.piece,
        "part": source.part,
        "digest": digest_of(map(Path, source.files), file_sha256),
        **facts,
        "title": title,
        **about,
        **({"player": said.player} if said.player or source.kind != "score" else {}),
    }
    write_whole(out / "take.json", json.dumps(described, indent=1, sort_keys=True) + "\n")


def write_catalog(out_dir: Path, names: Iterable[str]) -> list[Take]:
    """Write ``catalog.json``, one row a take in order of name, and return the takes.

    Where one take fixes the part of its piece, all takes of the piece have it here.
    """
    rows = [json.loads((out_dir / name / "take.json").read_text(encoding="utf-8")) for name in sorted(names)]
    parts = {row["piece"]: row["part"] for row in rows if row["part"] is not None}
    rows = [row | {"part": parts.get(row["piece"])} for row in rows]
    write_whole(out_dir / "catalog.json", json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return read_catalog(out_dir)


def listing(raw: Path = RAW) -> list[tuple[str, int, int]]:
    """List every file under ``data/raw`` with size and mtime, to notice what arrives during a run."""
    files = sorted(path for path in raw.rglob("*") if path.name != ".gitkeep")
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in files if not path.is_dir()]


def _score_facts(source: Source, out: Path, params: TakeParams) -> dict[str, Any]:
    path = source.score
    if path is None:
        raise ValueError(f"{source.name} is a score without a MIDI file")
    score = read_midi(path, params.midi)
    _write_score(score, out)
    return {
        "duration_s": score.duration_s,
        "declared_duration_s": score.declared_duration_s,
        "declared_error_s": score.declared_error_s,
        "title": score.title,
        "n_notes": len(score.notes),
        "counts": score.counts,
        "media": [{"role": "score", "path": path.as_posix(), "sha256": file_sha256(path), "size": path.stat().st_size}],
    }


def _write_score(score: Score, out: Path) -> None:
    write_table(out / "notes.parquet", score.notes.columns())
    write_table(out / "controls.parquet", score.controls.columns())


def _capture_facts(source: Source, said: TakeFile, out: Path, params: TakeParams) -> dict[str, Any]:
    rows = [_refused_row(asdict(refused)) for refused in source.refused]
    first: dict[str, Path] = {}
    for path in source.devices:
        original = first.setdefault(file_sha256(path), path)
        if original != path:
            reason = f"{shown(path)} has the same bytes as {original.name}, expected a recording of its own"
            rows.append(_refused_media(path, "DUPLICATE", reason))
        else:
            rows.append(_device_row(path, params))
    score, score_rows = _score_of_capture(source, params)
    if score is not None:
        _write_score(score, out)
    rows += score_rows
    used = {row["device"]: row for row in rows if row["state"] == "used" and row["role"] != "score"}
    if not used:
        reasons = [row["reason"] for row in rows if row["role"] in ("camera", "microphone")]
        raise IngestError(f"no device can be used; {reasons[0]}", kind="NO_DEVICE")
    present = {row["device"] for row in rows}
    named = [*said.cameras, *([said.master] if said.master else [])]
    rows += [_missing_row(source, device) for device in sorted(set(named) - present)]
    duration_s = max(row["facts"]["duration_s"] for row in used.values())
    for row in used.values():
        if row["facts"]["duration_s"] < duration_s * params.captures.short_fraction:
            row["flags"].append("short")
    return {
        "duration_s": duration_s,
        "title": score.title if score is not None else None,
        "instrument": said.instrument.model_dump(mode="json"),
        "master": said.master if said.master in used else None,
        "notes": said.notes,
        "n_notes": len(score.notes) if score is not None else 0,
        "counts": score.counts if score is not None else {},
        "media": sorted(rows, key=lambda row: (row["path"], row["device"])),
        "cameras": {name: view.model_dump(mode="json") for name, view in said.cameras.items() if name in used},
    }


def _ensemble_facts(source: Source, said: TakeFile, out: Path, params: TakeParams) -> dict[str, Any]:
    files = [Path(file) for file in source.files]
    plans = plan_players(files, said, where=shown(files[0].parent))
    mixes = [path for path in files if source.role(path) == "mix"]
    mix, mix_device = (StemSound(path=mixes[0]), MIX) if mixes else (None, None)
    if plans[0].sound.stream is not None:  # stems in one file: its first stream is the mix
        mix, mix_device = StemSound(path=plans[0].sound.path, stream=0), plans[0].stem
    measured = measure_ensemble(plans, mix, mix_device, policy=params.media, params=params.ensembles)
    rows = [_refused_row(asdict(refused)) for refused in source.refused]
    for plan, stem in zip(plans, measured.stems, strict=True):
        if plan.stem == plan.camera or any(row["device"] == plan.stem for row in rows):
            continue  # a solo is a camera's row, stems in one file have one
        rows.append(_media_row(plan.sound.path, in_ensemble=True) | {"facts": stem.facts, "flags": _flags_of(stem)})
    if mixes and measured.mix is not None:
        rows.append(_media_row(mixes[0], in_ensemble=True) | {"facts": measured.mix.facts})
    devices = [path for path in files if source.role(path) in ("camera", "microphone")]
    rows += [_device_row(path, params, in_ensemble=True) for path in devices]
    cameras = {row["device"]: row for row in rows if row["state"] == "used" and row["role"] == "camera"}
    for row in rows:
        if row["state"] == "refused" and row["device"] in [plan.stem for plan in plans]:
            raise IngestError(str(row["reason"]), kind=str(row["kind"]))
    notes, note_rows = _notes_of_ensemble(source, said, plans, params)
    rows += note_rows
    players = []
    for number, (plan, played) in enumerate(zip(plans, notes, strict=True), start=1):
        if played is not None:
            write_table(out / f"notes_{number}.parquet", played.columns())
        players.append(
            {
                "number": number,
                "instrument": plan.instrument,
                "stem": plan.stem,
                "stream": plan.sound.stream,
                "camera": plan.camera if plan.camera in cameras else None,
                "notes": played is not None,
            }
        )
    own = {plan.camera for plan in plans if plan.stem == plan.camera}
    named = {*said.cameras, *said.genlocked} - {row["device"] for row in rows}
    rows += [_missing_row(source, device) for device in sorted(named)]
    return {
        "duration_s": measured.duration_s,
        "instrument": {"name": "ensemble", "notes": []},
        "master": MIX,
        "notes": said.notes,
        "n_notes": sum(len(played) for played in notes if played is not None),
        "n_players": len(players),
        "players": players,
        "mix": measured.about,
        "mix_residual_db": measured.residual_db,
        "padded_s": measured.padded_s,
        "genlocked": sorted(({*said.genlocked} | own) & cameras.keys()),
        "media": sorted(rows, key=lambda row: (row["path"], row["device"])),
        "cameras": {name: view.model_dump(mode="json") for name, view in said.cameras.items() if name in cameras},
    }


def _flags_of(stem: Measured) -> list[str]:
    return (["silent"] if stem.is_silent else []) + (["truncated"] if stem.truncated_at_s is not None else [])


def _notes_of_ensemble(
    source: Source, said: TakeFile, plans: Sequence[PlayerPlan], params: TakeParams
) -> tuple[list[Notes | None], list[dict[str, Any]]]:
    """Return the notes of each player, and the rows of the files that they are from."""
    lists = [path for path in map(Path, source.files) if source.role(path) == "notes"]
    paths = [*lists, *([source.score] if source.score is not None else [])]
    is_recorded = said.notes == "recorded"
    try:
        notes = notes_of_players(plans, source.score, params.midi, recorded=is_recorded)
    except BadInput as error:
        return [None] * len(plans), [_refused_media(path, error.kind, str(error), in_ensemble=True) for path in paths]
    rows = []
    for path in paths:
        row = _media_row(path, in_ensemble=True)
        if path == source.score and not is_recorded:
            reason = (
                f"{shown(path)} is a score: its times are not the players', expected `notes: recorded` in {TAKE_FILE}"
            )
            row |= {"state": "refused", "kind": "NOT_RECORDED", "reason": reason}
        rows.append(row)
    return notes, rows


def _device_row(path: Path, params: TakeParams, *, in_ensemble: bool = False) -> dict[str, Any]:
    role = role_of(path.name, in_ensemble=in_ensemble)
    try:
        examined = examine_device(path, policy=params.media, params=params.captures, role=role)
    except BadInput as error:
        return _refused_media(path, error.kind, str(error), in_ensemble=in_ensemble)
    row = _media_row(path, in_ensemble=in_ensemble)
    return row | {"state": "used", "facts": examined.facts, "flags": list(examined.flags)}


def _score_of_capture(source: Source, params: TakeParams) -> tuple[Score | None, list[dict[str, Any]]]:
    path = source.score
    if path is None:
        return None, []
    try:
        score = read_midi(path, params.midi)
    except BadInput as error:
        return None, [_refused_media(path, error.kind, str(error))]
    facts = {"container": "midi", "duration_s": score.duration_s, "video": None, "audio": None}
    return score, [_media_row(path) | {"state": "used", "facts": facts}]


def _media_row(path: Path, *, in_ensemble: bool = False) -> dict[str, Any]:
    return {
        "role": role_of(path.name, in_ensemble=in_ensemble),
        "device": device_of(path.name, in_ensemble=in_ensemble) if in_ensemble else path.stem,
        "path": path.as_posix(),
        "sha256": file_sha256(path),
        "size": path.stat().st_size,
        "state": "used",
        "kind": "",
        "reason": "",
        "facts": None,
        "flags": [],
    }


def _refused_media(path: Path, kind: str, reason: str, *, in_ensemble: bool = False) -> dict[str, Any]:
    return _media_row(path, in_ensemble=in_ensemble) | {"state": "refused", "kind": kind, "reason": reason}


def _refused_row(refused: dict[str, str]) -> dict[str, Any]:
    # Nothing was read of it: there is no digest.
    return refused | {"sha256": None, "size": None, "state": "refused", "facts": None, "flags": []}


def _missing_row(source: Source, device: str) -> dict[str, Any]:
    folder = Path(source.files[0]).parent
    role: Literal["camera", "microphone"] = "camera" if device.startswith("cam_") else "microphone"
    reason = f"{TAKE_FILE} names {device}, but there is no {device}.* in {shown(folder)}"
    path = (folder / device).as_posix()
    return _refused_row(asdict(Refused(role=role, device=device, path=path, kind="MISSING", reason=reason)))


def _is_a_take_of_the_rig(folder: Path) -> bool:
    """Say whether this is a take, and not what a killed run left.

    Raises:
        DamagedData: a take that was never finished.
    """
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    if not (folder / RECEIPT).is_file():
        raise DamagedData(f"{folder} has no {RECEIPT}: it was never finished, run audiate film")
    return True


def _sample_sources(sample: Path) -> list[Source]:
    path = sample / "pieces.yaml"
    try:
        pieces = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(pieces, dict):
        raise ParamsError(f"{path} holds {type(pieces).__name__}, expected a description of each piece")
    sources = []
    for midi in sorted((sample / "midi").glob("*.mid")):
        if not TAKE_NAME.fullmatch(midi.stem):
            raise ParamsError(f"{shown(midi)} is no take's name, expected letters, digits, '.', '_' and '-'")
        piece = pieces.get(midi.stem)
        if not isinstance(piece, dict) or piece.get("part") not in (*PARTS, None):
            raise ParamsError(
                f"{path}: {midi.stem} is {piece!r}, expected composer, title, source and a part of {PARTS}"
            )
        about = tuple((key, str(piece[key])) for key in ("composer", "title", "source") if key in piece)
        sources.append(
            Source(
                name=midi.stem,
                kind="score",
                origin="sample",
                files=(midi.as_posix(),),
                piece=midi.stem,
                part=piece.get("part"),
                about=about,
            )
        )
    return sources
