"""Does ``audiate compare`` find planted regressions, name their causes, and leave other seeds alone?

    python -m benchmarks.regressions PROJECT FOLDER

PROJECT is one in which the stage `chunk` has run. Its scores are parted anew, so that eleven pieces are tested, and
`piano_roll` is really trained, synthesized and evaluated with half of its steps, once a seed. FOLDER keeps each table
by take; one that is there is not made again. Regressions are planted in these tables: notes are missed or added at
random, take by take, and velocities get worse; where the change would train anew, in the table of another seed. Then
every pair of versions is committed in a made-up repository, with the catalog, parameters and dvc.lock that such a
change leaves behind, and compared.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tasks.compare import CompareParams, compare_versions
from tasks.evaluate import EvaluateParams, evaluate_family
from tasks.families import load_family
from tasks.features.polyphony import TranscribeParams
from tasks.params import read_params, section_values
from tasks.store.segments import Segment, write_segments
from tasks.store.tables import read_table, write_table
from tasks.synthesize import SynthesizeParams, synthesize_family
from tasks.train import train_family
from tasks.versions.comparison import Comparison
from tasks.versions.differences import mean_figures
from tasks.versions.history import read_version
from tasks.versions.noise import REPLICATES, replicates_text

FAMILY = "piano_roll"
TRAINED_ON = ("bach_invention_1", "beethoven_fuer_elise", "etude_chords", "mozart_sonata_k545")
VALIDATED_ON = ("clementi_sonatina_c_major", "schumann_melodie")
EXCERPT_S = 6.0
N_STEPS = 300
SEEDS, N_REPLICATES = range(7), 5
N_PAIRS = 20
GOAL_FOUND, GOAL_CALLED = 18, 1
COMPARE = CompareParams(n_resamples=2000, seed=1, n_moved=3)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A regression: what is planted, and what a comparison should name.

    Attributes:
        name: in words.
        cause: that should be named, and no other.
        takes: whose recordings or labels changed.
        params: of the family that differ.
        code: the stage whose code differs.
        is_retrained: whether the change trains the network anew.
        missed: share of the notes that are no longer found.
        added: notes too many, as a share of those that are found.
        velocity: by what the velocity error is multiplied.
    """

    name: str
    cause: str
    takes: Sequence[str] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    is_retrained: bool = True
    missed: float = 0.0
    added: float = 0.0
    velocity: float = 1.0


SEED = Case(name="seed", cause="seed")


def cases() -> list[Case]:
    """Return the twenty regressions, four of each sort, from slight to plain."""
    pairs = list(itertools.combinations(TRAINED_ON, 2))
    found = [
        Case(name=f"labels of {a} and {b}", cause="data", takes=(a, b), missed=share, added=share)
        for (a, b), share in zip(pairs, (0.02, 0.05, 0.1, 0.2), strict=False)
    ]
    found += [
        Case(
            name=f"learning_rate {rate}",
            cause="params",
            params={"learning_rate": rate},
            velocity=k,
            missed=(k - 1) / 50,
        )
        for rate, k in ((0.001, 1.3), (0.0003, 1.6), (0.0001, 2.0), (0.1, 4.0))
    ]
    found += [
        Case(name=f"no view of {take}", cause="data", takes=(take,), missed=share, velocity=1 + 2 * share)
        for take, share in zip(TRAINED_ON, (0.02, 0.05, 0.1, 0.2), strict=True)
    ]
    found += [
        Case(
            name=f"pitch shift in {share:.0%} of the notes",
            cause="code",
            code="synthesize",
            is_retrained=False,
            missed=share,
            added=share,
        )
        for share in (0.05, 0.2, 0.5, 1.0)
    ]
    found += [
        Case(
            name=f"threshold {value}",
            cause="params",
            params={"threshold": value},
            is_retrained=False,
            missed=missed,
            added=added,
        )
        for value, missed, added in ((0.4, 0.0, 0.02), (0.2, 0.0, 0.1), (0.7, 0.03, 0.0), (0.9, 0.15, 0.0))
    ]
    return found


def planted(table: Mapping[str, NDArray[Any]], case: Case, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return a table with a regression in it: counts of each take are drawn, and its figures follow from them."""
    columns = {key: values.copy() for key, values in table.items()}
    matched = columns["n_matched"].astype(int)
    kept = rng.binomial(matched, 1 - case.missed)
    lost = columns["n_estimate"] - matched + rng.binomial(matched, case.added)
    columns["n_matched"], columns["n_estimate"] = kept.astype(float), kept + lost
    share = kept / np.maximum(1, matched)
    for name in ("onset", "offset", "velocity"):
        right = columns[f"{name}_recall"] * columns["n_reference"] * share
        if name == "velocity" and case.velocity != 1:
            right = rng.binomial(np.rint(right).astype(int), 1 / case.velocity)
        columns[f"{name}_recall"] = right / columns["n_reference"]
        columns[f"{name}_precision"] = right / np.maximum(1, columns["n_estimate"])
        both = columns[f"{name}_recall"] + columns[f"{name}_precision"]
        columns[f"{name}_f1"] = 2 * columns[f"{name}_recall"] * columns[f"{name}_precision"] / np.maximum(both, 1e-9)
    columns["velocity_mae"] = columns["velocity_mae"] * case.velocity
    return columns


def parted(project: Path, folder: Path) -> Path:
    """Write a data set of the project's scores with another split."""
    data, source = folder / "scores", project / "data/chunked/scores"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    takes = json.loads((source / "takes.json").read_text())
    for name, take in takes.items():
        take["part"] = "train" if name in TRAINED_ON else "validation" if name in VALIDATED_ON else "test"
        (data / name).symlink_to((source / name).resolve())
    (data / "takes.json").write_text(json.dumps(takes, indent=1))
    rows = read_table(source / "segments.parquet")
    columns = zip(*(rows[name].tolist() for name in Segment._fields), strict=True)
    segments = [Segment(*row) for row in columns]
    write_segments(data / "segments.parquet", [row._replace(part=takes[row.take]["part"]) for row in segments])
    return data


def trained_table(project: Path, folder: Path, seed: int) -> dict[str, NDArray[Any]]:
    """Return the figures by take of one training, made when they are not there."""
    kept = folder / "tables" / f"{seed} seed.parquet"
    if not kept.is_file():
        start = time.perf_counter()
        _make(project, folder, seed, kept)
        print(f"made {kept.stem} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return read_table(kept)


def _make(project: Path, folder: Path, seed: int, kept: Path) -> None:
    values = read_params(project / "params.yaml")
    section = section_values(values, f"train.{FAMILY}")
    own = {**(section if isinstance(section, dict) else {}), "n_steps": N_STEPS, "seed": seed}
    data = parted(project, folder)
    trained, synthesized, evaluated = (folder / name for name in ("trained", "synthesized", "evaluated"))
    train_family(
        FAMILY,
        load_family(FAMILY).params_class.parse(own, f"train.{FAMILY}"),
        data=data,
        out=trained,
        resume_root=folder / "resume",
        accelerator="cpu",
        networks="fast",
    )
    made = synthesize_family(
        FAMILY,
        data=data,
        trained=trained,
        out=synthesized,
        params=SynthesizeParams(score_excerpt_s=EXCERPT_S),
        accelerator="cpu",
        workers=1,
    )
    for _ in made:
        pass
    evaluate_family(
        FAMILY,
        data=data,
        trained=trained,
        synthesized=synthesized,
        out=evaluated,
        params=EvaluateParams.parse(section_values(values, "evaluate"), "evaluate"),
        transcribe_params=TranscribeParams.parse(section_values(values, "notes"), "notes"),
        workers=1,
        accelerator="cpu",
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    (evaluated / "takes.parquet").rename(kept)


class Repository:
    """A made-up repository with two versions: what DVC and git keep of them."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        self._cache = folder / ".dvc" / "cache" / "files" / "md5"
        self._cache.mkdir(parents=True)
        (folder / ".gitignore").write_text("/.dvc/cache\n")
        self._git("init", "-q")
        catalog = json.loads((project / "data/ingested/catalog.json").read_text())
        self._catalog = [row for row in catalog if row["kind"] == "score"]

    def commit(self, seed: int, table: Path, case: Case, *, noise: str | None, seed_is_known: bool = True) -> None:
        """Commit a version as `dvc repro` would have left it."""
        changed = set(case.takes)
        catalog = [{**row, "digest": f"{case.name}"} if row["take"] in changed else row for row in self._catalog]
        data = json.dumps([case.name if changed else "", sorted(changed)])
        code = dict.fromkeys((f"train.{FAMILY}", f"synthesize.{FAMILY}", f"evaluate.{FAMILY}"), "0")
        if case.code:
            code[f"{case.code}.{FAMILY}"] = case.name
        known = {"seed": seed} if seed_is_known else {"seed": 0, "gain": seed}
        rate = {"learning_rate": case.params.get("learning_rate", 0.003)}
        own = {f"train.{FAMILY}": {"n_steps": N_STEPS, **rate, **known}}
        notes = {"notes": {"threshold": case.params.get("threshold", 0.5)}}
        out = self._store({"takes.parquet": table.read_bytes()})
        words = table.stem if case.is_retrained else f"{seed} {SEED.name}"
        weights = hashlib.md5(words.encode(), usedforsecurity=False).hexdigest() + ".dir"
        sounds = hashlib.md5(f"{table.stem} sounds".encode(), usedforsecurity=False).hexdigest() + ".dir"
        raw, chunked = (hashlib.md5((word + data).encode(), usedforsecurity=False).hexdigest() for word in ("r", "c"))
        ingested = self._store({"catalog.json": json.dumps(catalog).encode(), "quarantine.json": b"[]"})
        stages = {
            "ingest": self._stage({"data/raw": raw}, {"data/ingested": ingested}),
            "chunk": self._stage({"data/ingested": ingested}, {"data/chunked/scores": chunked}),
            f"train@{FAMILY}": self._stage(
                {"data/chunked/scores": chunked}, {f"data/trained/{FAMILY}": weights}, own, code, "train"
            ),
            f"synthesize@{FAMILY}": self._stage(
                {f"data/trained/{FAMILY}": weights}, {f"data/synthesized/{FAMILY}": sounds}, {}, code, "synthesize"
            ),
            f"evaluate@{FAMILY}": self._stage(
                {f"data/synthesized/{FAMILY}": sounds}, {f"data/evaluated/{FAMILY}": out}, notes, code, "evaluate"
            ),
        }
        (self.folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
        (self.folder / "params.yaml").write_text(yaml.safe_dump({"families": {FAMILY: "scores"}, "train": own}))
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data/code.json").write_text(json.dumps({"files": code}))
        path = self.folder / REPLICATES / f"{FAMILY}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(noise) if noise else path.unlink(missing_ok=True)
        self._git("add", "--all")
        self._git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", case.name)

    def compare(self) -> Comparison:
        """Compare the last two versions."""
        return compare_versions(*(read_version(name, root=self.folder) for name in ("HEAD~1", "HEAD")), COMPARE)

    def _stage(
        self,
        deps: Mapping[str, str],
        outs: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
        code: Mapping[str, str] | None = None,
        verb: str = "",
    ) -> dict[str, Any]:
        keys = {key: digest for key, digest in (code or {}).items() if key.startswith(f"{verb}.")}
        return {
            "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()],
            "params": {"params.yaml": dict(params or {}), "data/code.json": {**keys, "libraries": "0"}},
            "outs": [{"path": path, "md5": md5} for path, md5 in outs.items()],
        }

    def _store(self, files: Mapping[str, bytes]) -> str:
        def put(content: bytes, suffix: str = "") -> str:
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            path = self._cache / md5[:2] / f"{md5[2:]}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            return f"{md5}{suffix}"

        return put(json.dumps([{"md5": put(one), "relpath": name} for name, one in files.items()]).encode(), ".dir")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    project, folder = arguments.project.resolve(), arguments.folder.resolve()
    os.chdir(project)  # evaluation reads the takes' notes beside the data set
    tables = {seed: trained_table(project, folder, seed) for seed in SEEDS}

    def path_of(seed: int, name: str = "seed") -> Path:
        return folder / "tables" / f"{seed} {name}.parquet"

    def noise_beside(*used: int) -> str:
        """Return replicates of seeds that are not compared."""
        seeds = [seed for seed in SEEDS if seed not in used][:N_REPLICATES]
        means = [mean_figures(tables[seed])[FAMILY] for seed in seeds]
        figures = {key: [one[key] for one in means] for key in means[0] if all(key in one for one in means)}
        return replicates_text(seeds, {FAMILY: figures})

    n_found = 0
    with tempfile.TemporaryDirectory() as made:
        repository = Repository(Path(made), project)
        for number, case in enumerate(cases()):
            seed = 1 if case.is_retrained else 0
            path = path_of(0, case.name.replace("%", ""))
            write_table(path, planted(tables[seed], case, np.random.default_rng(number)))
            repository.commit(0, path_of(0), SEED, noise=noise_beside(0, seed))
            repository.commit(0, path, case, noise=noise_beside(0, seed))
            found = repository.compare()
            worse = [row for row in found.differences if row.verdict == "worse"]
            named = found.causes[0].names
            n_found += bool(worse) and named == (case.cause,)
            first = max(worse, key=lambda row: abs(row.difference) / (row.spread or 1), default=None)
            said = "nothing" if first is None else f"{first.metric} {first.old:.3f} to {first.new:.3f}"
            print(f"{case.name}: {len(worse)} figures worse ({said}); cause {', '.join(named) or 'none'}")
        print(f"regressions found, with their cause: {n_found} of {len(cases())} (goal {GOAL_FOUND})")
        pairs = list(itertools.combinations(SEEDS, 2))[-N_PAIRS:]
        for words, is_measured, is_known in (
            ("as they are, seed named", True, True),
            ("seed hidden behind a parameter, replicates used", True, False),
            ("seed hidden behind a parameter, no replicates", False, False),
        ):
            n_called = 0
            for a, b in pairs:
                kept = noise_beside(a, b) if is_measured else None
                for seed in (a, b):
                    repository.commit(seed, path_of(seed), SEED, noise=kept, seed_is_known=is_known)
                rows = repository.compare().differences
                n_called += any(row.verdict in ("better", "worse") for row in rows)
            print(f"pairs of seeds with any figure called, {words}: {n_called} of {len(pairs)} (goal {GOAL_CALLED})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
