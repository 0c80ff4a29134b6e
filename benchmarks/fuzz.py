"""Odd bytes through the readers of MIDI files and of take.yaml: ``python -m benchmarks.fuzz``.

Two ways. ``--mutated N`` changes good MIDI files at random, puts each through ingest as a take of its own beside one
that is good, and looks for what was not foreseen, for what takes longer than 30 s, and for a neighbour that changed.
``--seconds S`` lets atheris look for new paths through the code, S seconds for each reader; it is an extra of its own:
``pip install -e .[fuzz]``. A finding ends the run with its bytes in ``crash-*``, and a non-zero exit code.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

LONGEST_S = 30
SAMPLE = Path("data/sample")
TAKE_FILES = (
    b"piece: canon\npart: test\ntitle: Canon a 2\ninstrument: {name: toy, notes: [62, 60]}\nmaster: mic_room\n",
    b"cameras:\n  top: {crop: [0, 10, 64, 48], corners: [[0, 0], [63.5, 0], [63, 47], [0, 47]]}\n  cam_side: {}\n",
    b"players:\n- {instrument: vn, stem: stem_1_vn, camera: cam_p1}\n- {instrument: vc, stem: stem_2_vc}\n",
    b"genlocked: [cam_p1]\n",
    b"title: '12:34:56'\nnotes: recorded\nplayer: |\n  one line\n# 0x1F .inf ~ yes <<\n",
)


def read_as_midi(data: bytes) -> bool:
    """Return whether bytes are MIDI that can be used; its notes must be possible."""
    from tasks.instruments.midi import MidiError, MidiPolicy
    from tasks.instruments.midi_reader import parse_midi

    for overlap in ("cut", "keep"):
        policy = MidiPolicy(
            max_bytes=10**6, max_duration_s=7200, max_notes=10_000, hanging="close", overlap=overlap, channels=16
        )
        try:
            score = parse_midi(data, policy, name="x.mid")
        except MidiError as error:
            if not str(error).isprintable():
                raise ValueError(f"not fit for a message: {error!a}") from None
            return False
        notes = score.notes
        is_sound = (
            (notes.onset_s >= 0).all()
            and (notes.offset_s > notes.onset_s).all()
            and (notes.sounding_offset_s >= notes.offset_s).all()
            and notes.sounding_offset_s.max() <= score.duration_s <= policy.max_duration_s
            and (np.diff(notes.onset_s) >= 0).all()
            and (np.diff(score.controls.time_s) >= 0).all()
            and len(notes) == score.counts["notes"]
        )
        if not is_sound:
            raise ValueError("notes that cannot be")
    return True


def read_as_take_file(data: bytes) -> bool:
    """Return whether bytes are a take.yaml."""
    from tasks.intake.describe import TakeFileError, parse_take_file

    try:
        parse_take_file(data, name="take.yaml")
    except TakeFileError as error:
        if not str(error).isprintable() or len(str(error)) > 1000:
            raise ValueError(f"not fit for a message: {error!a}") from None
        return False
    return True


READERS: dict[str, Callable[[bytes], bool]] = {"midi": read_as_midi, "take_file": read_as_take_file}


def seeds(reader: str, sample: Path = SAMPLE) -> list[bytes]:
    if reader == "take_file":
        return list(TAKE_FILES)
    return [path.read_bytes() for path in sorted(sample.rglob("*.mid"), key=lambda path: path.stat().st_size)[:12]]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a few bytes: half of the time anywhere, else of one track alone, whose length is then put right."""
    if rng.random() < 0.5:
        return changed_bytes(data, rng)
    chunks, place = [], 14
    while place < len(data):
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "big")
        chunks.append(data[place + 8 : end])
        place = end
    which = int(rng.integers(0, len(chunks)))
    chunks[which] = changed_bytes(chunks[which], rng)
    return data[:14] + b"".join(b"MTrk" + len(body).to_bytes(4, "big") + body for body in chunks)


def changed_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Set, insert, delete, cut, double a stretch, or put in messages that end notes, or stand where none belongs."""
    changed = bytearray(data)
    odd = (
        b"\x00\xb0\x7b\x00",
        b"\x00\xb0\x78\x00",
        b"\x00\xb0\x79\x00",
        b"\x00\xf8",
        b"\xff\xff\xff\x7f",
        b"MTrk",
        b"\xff\x2f\x00",
    )
    for _ in range(int(rng.integers(1, 6))):
        place, length = int(rng.integers(0, max(len(changed), 1))), int(rng.integers(1, 9))
        match int(rng.integers(0, 6)):
            case 0:
                changed[place : place + length] = rng.bytes(length)
            case 1:
                changed[place:place] = rng.bytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                del changed[max(place, 1) :]
            case 4:
                changed[place:place] = changed[place : place + 20 * length]
            case 5:
                changed[place:place] = odd[int(rng.integers(0, len(odd)))]
    return bytes(changed)


def through_ingest(n_files: int, *, seed: int = 13) -> bool:
    """Put mutated files through ingest beside one that is good; return whether nothing was found."""
    from tasks.errors import BadInput
    from tasks.ingest import IngestParams, Source, ingest_kind, read_source
    from tasks.params import read_params, section_values

    params = IngestParams.parse(section_values(read_params(), "ingest"), "ingest").of_a_take()
    originals, rng = seeds("midi"), np.random.default_rng(seed)
    became: Counter[str] = Counter()
    longest_s, found = 0.0, []

    def ingested(folder: Path, out: Path) -> str:
        source = read_source(folder, "raw", {}, size=params.size)
        if not isinstance(source, Source):
            return source.kind
        try:
            ingest_kind(source.data_set).ingest_take(source, out, params)
        except BadInput as error:
            return error.kind
        return "read"

    here = Path.cwd()
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            raw, good = Path("data/raw"), Path("data/raw/good")
            good.mkdir(parents=True)
            (good / "x.mid").write_bytes(originals[0])
            before = neighbour(good, ingested)
            for number in range(n_files):
                data = mutated(originals[number % len(originals)], rng)
                folder, out = raw / f"odd_{number}", Path(f"out_{number}")
                folder.mkdir()
                out.mkdir()
                (folder / "x.mid").write_bytes(data)
                began = time.perf_counter()
                try:
                    kind = ingested(folder, out)
                except Exception as error:  # what is looked for
                    kind = f"traceback of {type(error).__name__}"
                seconds = time.perf_counter() - began
                longest_s = max(longest_s, seconds)
                became[kind] += 1
                if kind.startswith("traceback") or kind == "UNEXPECTED" or seconds > LONGEST_S:
                    found.append(here / f"crash-{seed}-{number}.mid")
                    found[-1].write_bytes(data)
                if number % 500 == 499 and neighbour(good, ingested) != before:
                    found.append(good)
                for path in (*folder.iterdir(), *out.iterdir()):
                    path.unlink()
                folder.rmdir()
                out.rmdir()
        finally:
            os.chdir(here)
    print(f"{n_files} mutated MIDI files through ingest: {json.dumps(dict(became.most_common()))}")
    print(f"longest {longest_s:.2f} s; findings: {', '.join(map(str, found)) or 'none'}")
    return not found


def neighbour(good: Path, ingested: Callable[[Path, Path], str]) -> dict[str, bytes]:
    """Ingest the good take; return what was written of it."""
    with TemporaryDirectory() as scratch:
        if ingested(good, Path(scratch)) != "read":
            raise SystemExit(f"{good} is not read")
        return {path.name: path.read_bytes() for path in sorted(Path(scratch).iterdir())}


def guided(reader: str, seconds: int) -> bool:
    """Let atheris look for S seconds in a process of its own, which it ends; return whether nothing was found."""
    with TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(reader)):
            (Path(corpus) / f"seed_{number}").write_bytes(data)
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            "--reader",
            reader,
            "--",
            corpus,
            f"-max_total_time={seconds}",
        ]
        command += ["-max_len=16384", f"-timeout={LONGEST_S}", "-rss_limit_mb=4096", "-print_final_stats=1"]
        ended = subprocess.run(command, capture_output=True, text=True)
        n_kept = len(list(Path(corpus).iterdir()))
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
    coverage = re.findall(r"cov: (\d+)", ended.stderr)
    is_clean = ended.returncode == 0
    print(
        f"{reader}: {seconds} s, {runs[-1] if runs else '?'} inputs, {coverage[-1] if coverage else '?'} edges, "
        f"{n_kept} kept; findings: {'none' if is_clean else ended.stderr[-3000:]}"
    )
    return is_clean


def run_atheris(reader: str, arguments: list[str]) -> None:
    """Fuzz one reader; does not return."""
    import atheris

    with atheris.instrument_imports(include=["tasks"]):
        import tasks.instruments.midi_reader
        import tasks.intake.describe  # noqa: F401

    def try_one(data: bytes) -> None:
        READERS[reader](data)

    atheris.Setup([sys.argv[0], *arguments], try_one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutated", type=int, default=0, metavar="N", help="MIDI files, changed at random")
    parser.add_argument("--seconds", type=int, default=0, metavar="S", help="of coverage-guided search for each reader")
    parser.add_argument("--reader", choices=READERS, help="the one that atheris is run on in this process")
    parser.add_argument("arguments", nargs="*", help="of libFuzzer, behind --")
    given = parser.parse_args()
    if given.reader is not None:
        run_atheris(given.reader, given.arguments)
    clean = [through_ingest(given.mutated)] if given.mutated else []
    clean += [guided(reader, given.seconds) for reader in READERS if given.seconds]
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
