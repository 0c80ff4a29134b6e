"""The marimba project's networks on a run's captures: what each choice is worth, what the published code does, speed.

python -m benchmarks.marimba FOLDER [--part ablations original inference videos] [--rows NAME,...] [--keep DIR]

FOLDER is a project in which the stages film to chunk have run. Networks are trained by the families' own ``fit`` with
the values of preset demo and what a row changes, all for the same number of steps on one thread. They perform every
test view, and `tasks.kinds.captures.evaluate.played_scores` gives the figures. What was trained and each row's figures
are kept in DIR: a row that is there is not made again. Nothing in FOLDER is written to.

ablations: one thing changed a row, against the full row.
original: the published networks, sizes and defects: on one short clip, and on all takes seen from above.
inference: times real time of one thread, and peak memory of a process of its own.
videos: every network, with two seeds, on every test view.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse  # noqa: E402
import contextlib  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from fractions import Fraction  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import mean  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from flows.presets import preset_text  # noqa: E402
from models.cnn_lstm import POSTER_LAYERS  # noqa: E402
from tasks.chunk import ChunkParams  # noqa: E402
from tasks.errors import DamagedData, ParamsError  # noqa: E402
from tasks.evaluate import EvaluateParams  # noqa: E402
from tasks.families import load_family  # noqa: E402
from tasks.families.base import film_of_view  # noqa: E402
from tasks.families.note_regression.inputs import n_windows_of  # noqa: E402
from tasks.kinds.captures.chunk import chunk_take  # noqa: E402
from tasks.kinds.captures.evaluate import played_scores  # noqa: E402
from tasks.kinds.captures.synthesize import truth_of  # noqa: E402
from tasks.metrics.intervals import paired_interval  # noqa: E402
from tasks.step import file_sha256, json_sha256, write_whole  # noqa: E402
from tasks.store.arrays import write_arrays  # noqa: E402
from tasks.store.segments import segment_rows, write_segments  # noqa: E402
from tasks.store.views import View, ViewSet  # noqa: E402
from tasks.synthesize import Lazy  # noqa: E402
from tasks.takes import read_catalog  # noqa: E402

HERE = Path(__file__).resolve().parent.parent
CAPTURES = Path("data/chunked/captures")
INSTRUMENT = "marimba-18"
PARTS = ("ablations", "original", "inference", "videos")
GOAL_TIMES_REAL_TIME = 10
BASELINES = "baselines"  # the row of what any figure is worth
FULL = "full"
TRUE, MEAN = "true_features", "mean_features"

Values = Mapping[str, Any]

ABLATIONS: dict[str, dict[str, Any]] = {
    FULL: {},
    "camera moved by up to 2 pixels": {"augment.shift": 2},
    "one brightness": {"augment.gain": 0.0, "augment.brightness_luma": 0.0},
    "no blur": {"augment.blur": 0.0},
    "no noise": {"augment.noise_luma": 0.0},
    "not mirrored": {"augment.mirror": 0.0},
    "stills not subtracted": {"subtract_still": False},
    "whole picture": {"input": "picture", "augment.mirror": 0.0},
    "whole picture not rectified": {"input": "picture", "augment.mirror": 0.0},
    "onsets weigh as the rest": {"onset_weight": 0.0},
    "no loss of rises": {"rise_weight": 0.0},
    "notes as often as they come": {"rare_notes": 0.0},
    "amplitudes as they are": {"target_power": 1.0},
    "sees no future": {"bidirectional": False},
    "not told ages": {"picture_age": False},
    "sequences of 8": {"sequence_length": 8},
}
CAMERA = "cam_top"  # what the published networks were trained on
NO_BLEED = "no bleed (the full row's network)"
UNRECTIFIED = "whole picture not rectified"

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "CNN-LSTM final": ("cnn_lstm", {}),
    "CNN-LSTM poster": ("cnn_lstm", {"layers": [list(row) for row in POSTER_LAYERS], "n_recurrent": [256, 256]}),
    "ConvLSTM": ("conv_lstm", {}),
    "FC-LSTM": ("fc_lstm", {}),
}
OURS = ("cnn_lstm", "conv_lstm", "fc_lstm")
SOUNDING = ("bitmap_mlp", "bitmap_stft")


# --- training, and what is heard ---


def values_of(preset: str, family: str, changes: Values) -> dict[str, Any]:
    """Return a family's section of a preset with some values changed; a dot leads into ``augment``."""
    values: dict[str, Any] = yaml.safe_load(preset_text(preset))["train"][family]
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        if last not in place:
            raise ParamsError(f"train.{family} has no {name}")
        place[last] = value
    if "n_threads" in values:
        values["n_threads"] = 1
    return values


class Bench:
    """Trains each network once, and scores it on the test views."""

    def __init__(self, data: Path, keep: Path, *, n_steps: int, heard: Path, cameras: str) -> None:
        self.data, self.keep, self.n_steps = data, keep, n_steps
        self.heard, self.cameras = heard, cameras
        self.scoring = EvaluateParams.parse(yaml.safe_load(preset_text("demo"))["evaluate"], "evaluate")
        self._file = keep / "rows.jsonl"
        self._rows: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            lines = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
            self._rows = {row["key"]: row for row in lines}

    def steps(self, n_steps: int | None = None, *, n_validations: int = 1) -> dict[str, int]:
        """Return how long a row trains; as long as the others by default."""
        wanted = self.n_steps if n_steps is None else n_steps
        per_epoch = max(1, wanted // n_validations)
        return {"n_steps": per_epoch * max(1, wanted // per_epoch), "steps_per_epoch": per_epoch}

    def row(
        self,
        part: str,
        name: str,
        family: str,
        values: Values,
        *,
        data: Path | None = None,
        heard: Path | None = None,
        about: str = "",
        cameras: str | None = None,
        without_bleed: bool = False,
    ) -> dict[str, Any]:
        """Return a row's figures: of each test view, and the CPU seconds that ``fit`` took.

        Args:
            part: of the benchmark.
            name: of the row.
            family: that is trained.
            values: its section.
            data: chunked captures that it learns from; the run's by default.
            heard: those with the test views.
            about: what tells data from other data of the same takes.
            cameras: regular expression of those that it is heard on; those asked for by default.
            without_bleed: whether it is heard as if no bar were measured in another's amplitude.
        """
        folder, tests, cameras = data or self.data, heard or self.heard, cameras or self.cameras
        network = json_sha256([family, values, file_sha256(folder / "takes.json"), about])[:16]
        key = f"{network}-{json_sha256([file_sha256(tests / 'takes.json'), cameras])[:8]}"
        if without_bleed:
            key = f"{key}-no-bleed"
        if key not in self._rows:
            trained, cpu_s = self._trained(network, family, values, folder)
            if without_bleed:
                trained = _without_bleed(trained, family)
            found = self._heard(family, trained, folder, tests, cameras)
            self._rows[key] = {"key": key, "family": family, "fit_cpu_s": round(cpu_s, 1), "systems": found}
            self._rows[key] |= {"curve": _curve(trained, load_family(family).systems[0])}
            self.keep.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**self._rows[key], "part": part, "row": name}) + "\n")
        row: dict[str, Any] = self._rows[key] | {"part": part, "row": name}
        _say(f"{part}: {name}: fit {row['fit_cpu_s']:.0f} s of CPU, {_brief(row)}")
        return row

    def trained(self, family: str, values: Values, data: Path, about: str = "") -> Path:
        """Return where a network lies that was trained on some data; it is not scored."""
        key = json_sha256([family, values, file_sha256(data / "takes.json"), about])[:16]
        return self._trained(key, family, values, data)[0]

    def _trained(self, key: str, family: str, values: Values, data: Path) -> tuple[Path, float]:
        adapter = load_family(family)
        params = adapter.params_class.parse(values, f"train.{family}")
        out = self.keep / "networks" / f"{family}-{key}"
        took = out / "took.json"
        if not took.exists():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            start = process_time()
            resume = self.keep / "resume" / key
            adapter.fit(ViewSet(data), out, params=params, resume=resume, accelerator="cpu")
            shutil.rmtree(resume, ignore_errors=True)
            took.write_text(json.dumps({"fit_cpu_s": process_time() - start}))
        return out, float(json.loads(took.read_text())["fit_cpu_s"])

    def _heard(
        self, family: str, trained: Path, data: Path, heard: Path, cameras: str
    ) -> dict[str, list[dict[str, Any]]]:
        learned = ViewSet(data, instrument=INSTRUMENT)
        known = {view.camera for view in learned.views("train")}
        mean_amplitudes = np.concatenate([learned.amplitudes(take) for take in learned.takes("train")]).mean(axis=0)
        views = ViewSet(heard, instrument=INSTRUMENT, cameras=cameras)
        tests = {view.name: view for view in views.views("test")}
        films = Lazy(tests, lambda name: film_of_view(views, tests[name]))
        truth = Lazy(tests, lambda name: truth_of(views, name))
        found: dict[str, list[dict[str, Any]]] = {}
        for one in load_family(family).perform(trained, films, accelerator="cpu", truth=truth):
            view = tests[f"{one.take}/{one.camera}"]
            if one.notes is None or one.amplitudes is None:
                raise ParamsError(f"{one.system} tells no notes")
            scores, _ = played_scores(view, views, one.notes, one.amplitudes.values, params=self.scoring)
            scores |= _beside_the_mean(views, view, one.amplitudes.values, mean_amplitudes)
            about = {"view": view.name, "take": view.take, "piece": view.piece, "is_known": view.camera in known}
            found.setdefault(one.system, []).append(about | {name: round(value, 6) for name, value in scores.items()})
        return found


def _beside_the_mean(views: ViewSet, view: View, found: Any, mean_amplitudes: Any) -> dict[str, float]:
    """Return the squared error beside that of training's mean, and how much of the truth's change there is.

    ``change`` is the variance over time, summed over the notes, beside the truth's: 0 says the same all the time.
    """
    truth = views.amplitudes(view.take)
    time_s, rate = views.time_s(view), float(views.frame_rate)
    n_windows = min(len(truth), len(found))
    rows = slice(max(0, int(time_s[0] * rate) + 1), min(n_windows, int(time_s[-1] * rate) - 2))
    truth, found = truth[rows].astype(np.float64), np.asarray(found[rows], np.float64)
    return {
        "error_beside_mean": float(np.square(found - truth).sum() / np.square(mean_amplitudes - truth).sum()),
        "change": float(found.var(axis=0).sum() / truth.var(axis=0).sum()),
    }


def _without_bleed(trained: Path, system: str) -> Path:
    """Return a copy of what was trained in which no note is measured as another."""
    out = trained.with_name(f"{trained.name}-no-bleed")
    shutil.copytree(trained, out, dirs_exist_ok=True)
    path = out / f"{system}.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["bleed"] = np.eye(len(facts["pitches"])).tolist()
    path.write_text(json.dumps(facts), encoding="utf-8")
    return out


def _curve(trained: Path, system: str) -> list[tuple[float, float]]:
    path = trained / "curves" / f"{system}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [(float(row["step"]), float(row["validation_loss"])) for row in csv.DictReader(file)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _brief(row: Values) -> str:
    return ", ".join(f"{system} F1 {of_takes(views):.3f}" for system, views in row["systems"].items())


def check_disjoint(learned: Path, heard: Path) -> None:
    """Refuse test views of a piece that is learned from or chosen by.

    Raises:
        DamagedData: names the piece.
    """
    views, tests = ViewSet(learned, instrument=INSTRUMENT), ViewSet(heard, instrument=INSTRUMENT)
    known = {view.piece for part in ("train", "validation") for view in views.views(part)}
    for view in tests.views("test"):
        if view.piece in known:
            raise DamagedData(f"{heard}: test take {view.take} is of {view.piece}, which {learned} has to learn from")


# --- figures ---


def of_takes(views: Sequence[Values], figure: str = "onset_f1", *, known: bool | None = None) -> float:
    """Return the mean over takes of the mean over each one's cameras; known ones, others, or all."""
    by_take: dict[str, list[float]] = {}
    for view in views:
        if known in (None, view["is_known"]) and figure in view:
            by_take.setdefault(view["take"], []).append(view[figure])
    return mean(mean(values) for values in by_take.values()) if by_take else float("nan")


def against(views: Sequence[Values], full: Sequence[Values], params: EvaluateParams) -> str:
    """Return the difference in onset F1 to the full row, and its interval over takes: each has a rig of its own."""
    takes = sorted({view["take"] for view in full})
    a, b = ([of_takes([view for view in one if view["take"] == take]) for take in takes] for one in (views, full))
    if len(takes) < 2:
        return f"{np.mean(np.subtract(a, b)):+.3f}"
    difference, low, high = paired_interval(
        a, b, takes, n_resamples=params.n_resamples, rng=np.random.default_rng(params.seed)
    )
    return f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as markdown; numbers with three digits."""
    shown = [[_cell(cell) for cell in row] for row in rows]
    lines = [list(names), ["---"] * len(names), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)


# --- ablations ---


def ablations(bench: Bench, folder: Path, heard_in: Path, wanted: Sequence[str]) -> str:
    baselines = bench.row("ablations", BASELINES, "capture_baselines", values_of("demo", "capture_baselines", {}))
    ceiling = of_takes(baselines["systems"][TRUE])
    rows = {}
    for name, changes in ABLATIONS.items():
        if name != FULL and wanted and name not in wanted:
            continue
        values = values_of("demo", "cnn_lstm", changes | bench.steps())
        other: dict[str, Any] = {}
        if name == UNRECTIFIED:
            other = {"data": unrectified(folder, bench.keep / "unrectified"), "about": name}
            other["heard"] = other["data"]
            if heard_in != folder:
                other["heard"] = unrectified(heard_in, bench.keep / "unrectified-heard", parts=("test",))
        rows[name] = bench.row("ablations", name, "cnn_lstm", values, **other)
    if not wanted or NO_BLEED in wanted:
        values = values_of("demo", "cnn_lstm", bench.steps())
        rows[NO_BLEED] = bench.row("ablations", NO_BLEED, "cnn_lstm", values, without_bleed=True)
    full = rows[FULL]["systems"]["cnn_lstm"]
    names = ["row", "onset F1, camera known", "unknown", "all", "of the ceiling", "amplitude correlation", "frame F1"]
    names += ["onsets together (true)", "CPU s of fit", "F1 against full, 95 %"]
    shown = []
    for name, row in rows.items():
        views = row["systems"]["cnn_lstm"]
        worth = "" if name == FULL else against(views, full, bench.scoring)
        shown.append([name, *_figures(views, ceiling), f"{row['fit_cpu_s']:.0f}", worth])
    for system, views in baselines["systems"].items():
        shown.append([f"*{system}*", *_figures(views, ceiling), "", against(views, full, bench.scoring)])
    return f"{bench.steps()['n_steps']} steps, {_about(full)}\n\n{table(names, shown)}"


def _figures(views: Sequence[Values], ceiling: float) -> list[object]:
    together, truly = of_takes(views, "onset_coincidence"), of_takes(views, "true_onset_coincidence")
    found: list[object] = [of_takes(views, known=True), of_takes(views, known=False), of_takes(views)]
    found += [of_takes(views) / ceiling, of_takes(views, "amplitude_correlation"), of_takes(views, "frame_f1")]
    return [*found, f"{_cell(together)} ({truly:.3f})"]


def _about(views: Sequence[Values]) -> str:
    takes, pieces = {view["take"] for view in views}, {view["piece"] for view in views}
    return f"{len(views)} test views of {len(takes)} takes, {len(pieces)} pieces"


def unrectified(folder: Path, out: Path, parts: Sequence[str] = ("train", "validation", "test")) -> Path:
    """Chunk a run's captures again as if nobody had told where the instrument's corners are; return the data set."""
    done = out / CAPTURES / "takes.json"
    if done.exists():
        return done.parent
    shutil.rmtree(out, ignore_errors=True)
    (out / CAPTURES).mkdir(parents=True)
    for name in ("filmed", "raw", "extracted", "synchronized"):
        (out / "data" / name).symlink_to(folder / "data" / name)
    shutil.copytree(folder / "data/ingested", out / "data/ingested")
    params = ChunkParams.parse(yaml.safe_load(preset_text("demo"))["chunk"], "chunk")
    index = json.loads((folder / CAPTURES / "takes.json").read_text(encoding="utf-8"))
    with contextlib.chdir(out):
        for take in (take for take in read_catalog() if take.data_set == "captures"):
            path = Path("data/ingested") / take.name / "take.json"
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["instrument"]["name"] != INSTRUMENT or index[take.name]["part"] not in parts:
                (CAPTURES / take.name).symlink_to(folder / CAPTURES / take.name)
                continue
            for view in facts["cameras"].values():
                view.pop("corners", None)
            path.write_text(json.dumps(facts), encoding="utf-8")
            chunk_take(take, CAPTURES / take.name, params)
        shutil.copy(folder / CAPTURES / "segments.parquet", CAPTURES / "segments.parquet")
        write_whole(CAPTURES / "takes.json", json.dumps(index))
    return done.parent


# --- the published networks ---


def original(
    bench: Bench, wanted: Sequence[str], *, clip_s: float, clip_steps: int, batch_size: int, encoder: str
) -> str:
    clip, view = clip_of(bench.data, bench.keep / f"clip-{clip_s:g}", clip_s)
    above = {"cameras": CAMERA}
    baselines = bench.row(
        "original", BASELINES, "capture_baselines", values_of("demo", "capture_baselines", above), cameras=CAMERA
    )
    found: dict[str, list[list[object]]] = {"clip": [], "all": []}
    for name, (family, changes, preset) in _published_and_ours(encoder).items():
        if wanted and name not in wanted:
            continue
        sizes = {"batch_size": batch_size, "precision": "32-true"} if preset == "paper" else {}
        steps = bench.steps(clip_steps, n_validations=4)
        values = values_of(preset, family, changes | steps | sizes)
        about: dict[str, Any] = {"data": clip, "heard": clip, "about": f"clip {clip_s:g}", "cameras": ".*"}
        on_clip = bench.row("original", f"{name} on a clip", family, values, **about)
        found["clip"].append(_collapse(name, on_clip))
        values |= above | bench.steps(n_validations=4)
        found["all"].append(_collapse(name, bench.row("original", name, family, values, cameras=CAMERA)))
    for system in (MEAN, TRUE):
        row = baselines | {"systems": {system: baselines["systems"][system]}, "curve": []}
        found["all"].append(_collapse(f"*{system}*", row))
    names = ["network", "squared error beside the mean's", "change over time beside the truth's"]
    names += ["amplitude correlation", "onset F1", "late by, ms", "onsets together", "loss, first to last"]
    n_views = len(ViewSet(bench.data, instrument=INSTRUMENT, cameras=CAMERA).views("train"))
    return "\n\n".join(
        [
            f"The published ones learn from {batch_size} windows a step; FC-LSTM sees by {encoder}, whose weights were "
            "drawn.",
            f"{clip_steps} steps, trained and heard on the first {clip_s:g} s of one view, {view.name}:",
            table(names, found["clip"]),
            f"{bench.n_steps} steps, trained on the {n_views} training views from above, as published; heard on "
            "the test views from there:",
            table(names, found["all"]),
        ]
    )


def _published_and_ours(encoder: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    rows = {name: (family, dict(changes), "paper") for name, (family, changes) in PUBLISHED.items()}
    rows |= {f"{family} corrected": (family, {}, "demo") for family in OURS}
    for family, changes, _ in rows.values():
        if family == "fc_lstm":
            changes["encoder"] = encoder
    return rows


def _collapse(name: str, row: Values) -> list[object]:
    [views] = row["systems"].values()
    curve = [loss for _, loss in row["curve"]]
    figures = ("error_beside_mean", "change", "amplitude_correlation", "onset_f1")
    late_ms, together = of_takes(views, "amplitude_lag_ms"), of_takes(views, "onset_coincidence")
    fall = f"{curve[0]:.2g} to {curve[-1]:.2g}" if curve else ""
    late = "–" if math.isnan(late_ms) else f"{late_ms:+.0f}"
    return [name, *(of_takes(views, figure) for figure in figures), late, together, fall]


def clip_of(data: Path, folder: Path, clip_s: float) -> tuple[Path, View]:
    """Make a data set of the beginning of one training view: it is to learn from, to choose by and to be heard on."""
    views = ViewSet(data, instrument=INSTRUMENT)
    view = next(one for one in views.views("train") if views.time_s(one)[0] <= 0)
    if (folder / "takes.json").exists():
        return folder, view
    arrays = views.open(view.take)
    facts = arrays.attributes
    shown = views.time_s(view) < clip_s
    n_codes = round(clip_s * int(facts["code_rate"]))
    kept = {
        "codes": arrays["codes"][:n_codes],
        "amplitudes": views.amplitudes(view.take)[: n_windows_of(clip_s, Fraction(facts["frame_rate"]))],
        "sound": arrays["sound"][: round(clip_s * int(facts["sound_rate"]))],
        f"pictures_{view.camera}": views.pictures(view)[: int(shown.sum())],
        f"time_s_{view.camera}": views.time_s(view)[shown],
    }
    index, segments = {}, []
    # The take's own name where it is heard: its truth is found by it.
    for name, part in {"clip": "train", "clip_again": "validation", view.take: "test"}.items():
        write_arrays(
            folder / name / "arrays.zarr",
            kept,
            chunk_lengths=dict.fromkeys(kept, 256),
            attributes={**facts, "cameras": [view.camera], "duration_s": clip_s},
        )
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": clip_s}
        segments += segment_rows(name, name, part, name, n_codes, length=n_codes, hop=n_codes)
    write_segments(folder / "segments.parquet", segments)
    write_whole(folder / "takes.json", json.dumps(index))
    return folder, view


# --- speed ---


def inference(bench: Bench, folder: Path, wanted: Sequence[str], *, encoder: str) -> str:
    clip, _ = clip_of(bench.data, bench.keep / "clip-8", 8.0)
    view = ViewSet(bench.data, instrument=INSTRUMENT).views("test")[0]
    rows = []
    for family in (*OURS, *SOUNDING):
        if wanted and family not in wanted:
            continue
        changes = {"n_steps": 2, "steps_per_epoch": 2} | ({"encoder": encoder} if family == "fc_lstm" else {})
        # How fast a network is does not depend on what it has learned.
        trained = bench.trained(family, values_of("demo", family, changes), clip, about="clip 8")
        command = [sys.executable, "-m", "benchmarks.marimba", str(folder), "--measure", family, str(trained)]
        done = subprocess.run([*command, view.name], cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        told = json.loads(done.stdout)
        times = told["duration_s"] / told["cpu_s"]
        goal = "" if times >= GOAL_TIMES_REAL_TIME else "MISSED"
        name = f"{family}, {encoder}" if family == "fc_lstm" else family
        rows.append(
            [name, f"{told['cpu_s']:.2f}", f"{times:.1f}", goal, f"{told['before_mb']:.0f}", f"{told['peak_mb']:.0f}"]
        )
        _say(f"inference: {rows[-1]}")
    names = ["family", "CPU s", "times real time, one thread", f"goal {GOAL_TIMES_REAL_TIME}"]
    names += ["memory with the film, MB", "peak, MB"]
    return f"{view.name}, {told['duration_s']:.1f} s; demo's sizes\n\n{table(names, rows)}"


def measure(folder: Path, family: str, trained: Path, name: str) -> None:
    """Let a family perform one view, and print what that cost: the process that was started for it."""
    torch.set_num_threads(1)
    views = ViewSet(folder / CAPTURES)
    film = film_of_view(views, views.view(*name.split("/")))
    adapter = load_family(family)
    before_mb = _peak_mb()
    start = process_time()
    list(adapter.perform(trained, {name: film}, accelerator="cpu", truth=None))
    told = {"cpu_s": process_time() - start, "duration_s": film.duration_s}
    print(json.dumps(told | {"before_mb": before_mb, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Return the most memory that this process has held; getrusage would count what its parent held too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


# --- videos ---


def videos(bench: Bench, wanted: Sequence[str], *, seeds: Sequence[int], encoder: str) -> str:
    networks = {}
    for family in OURS:
        for seed in seeds:
            name = f"{family} {seed}"
            if wanted and family not in wanted and name not in wanted:
                continue
            changes = {"seed": seed} | bench.steps() | ({"encoder": encoder} if family == "fc_lstm" else {})
            row = bench.row("videos", name, family, values_of("demo", family, changes))
            networks[name] = row["systems"][family]
    some = next(iter(networks.values()))
    rows: list[list[object]] = []
    for number, view in enumerate(some):
        name = view["view"] + ("" if view["is_known"] else " (unknown)")
        found = [views[number] for views in networks.values()]
        rows.append([name, *(f"{one['onset_f1']:.2f} / {one.get('amplitude_correlation', 0):.2f}" for one in found)])
    means = [f"{of_takes(views):.2f} / {of_takes(views, 'amplitude_correlation'):.2f}" for views in networks.values()]
    rows.append(["**mean over takes**", *means])
    return f"{bench.steps()['n_steps']} steps; onset F1 / amplitude correlation\n\n{table(['view', *networks], rows)}"


def main() -> None:
    """Print a table a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", default="", help="names of rows, with commas between them")
    parser.add_argument("--steps", type=int, default=200, help="that every network trains for")
    parser.add_argument("--clip", type=float, default=8.0, help="seconds")
    parser.add_argument("--clip-steps", type=int, help="that the networks train for on it; as --steps by default")
    parser.add_argument("--batch", type=int, default=64, help="windows in a batch of the published networks")
    parser.add_argument("--encoder", default="alexnet", choices=("alexnet", "vgg19"))
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1))
    parser.add_argument("--heard", type=Path, help="another project, whose test views are heard; FOLDER by default")
    parser.add_argument("--cameras", default=".*", help="regular expression of the cameras that are heard")
    parser.add_argument("--keep", type=Path, default=Path(".audiate/marimba"), help="what was trained, and rows.jsonl")
    parser.add_argument("--measure", nargs=3, metavar=("FAMILY", "TRAINED", "VIEW"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder, keep, heard = asked.folder.resolve(), asked.keep.resolve(), (asked.heard or asked.folder).resolve()
    for project in (folder, heard):
        if not (project / CAPTURES / "takes.json").is_file():
            parser.error(f"{project} has no {CAPTURES}/takes.json: run `audiate chunk` there first")
    torch.set_num_threads(1)
    if asked.measure:
        measure(folder, asked.measure[0], Path(asked.measure[1]), asked.measure[2])
        return
    wanted = [name for name in asked.rows.split(",") if name]
    for part in asked.part:
        tests = heard if part in ("ablations", "videos") else folder
        check_disjoint(folder / CAPTURES, tests / CAPTURES)
        bench = Bench(folder / CAPTURES, keep, n_steps=asked.steps, heard=tests / CAPTURES, cameras=asked.cameras)
        with contextlib.chdir(tests):  # where the truth of filmed takes is looked for
            if part == "ablations":
                text = ablations(bench, folder, tests, wanted)
            elif part == "original":
                text = original(
                    bench,
                    wanted,
                    clip_s=asked.clip,
                    clip_steps=asked.clip_steps or asked.steps,
                    batch_size=asked.batch,
                    encoder=asked.encoder,
                )
            elif part == "inference":
                text = inference(bench, folder, wanted, encoder=asked.encoder)
            else:
                text = videos(bench, wanted, seeds=asked.seeds, encoder=asked.encoder)
        print(f"## {part}\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
