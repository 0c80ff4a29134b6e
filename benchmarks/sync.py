"""Synchronization by sound: made-up pairs with a known truth, speed, and real pairs.

    python -m benchmarks.sync --part synthetic [--seeds FIRST] [--fraction F] [--keep DIR] [--table FILE]
    python -m benchmarks.sync --part speed
    python -m benchmarks.sync --part real --folder DIR [--real-sound DIR]
    python -m benchmarks.sync --part peers --keep DIR --found PEER.json ...   (benchmarks/_sync_peer.py)

Devices, rooms and noise of the made-up pairs come from `tasks.rig`, music from FluidSynth; the other recording goes
through a real encoder and decoder, the reference is uncompressed. Seeds of tuning began at 1,000,000, those of the
published table begin at 0; the group ``unseen`` has instruments, rates, codecs, rooms and responses that tuning never
saw. Each case is kept when it is done, under a key of the code and parameters that it rests on, so that a run which was
cut off goes on. Parameters are those of params.yaml, or of the file that ``AUDIATE_BENCH_PARAMS`` names.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterable, Iterator  # noqa: E402
from concurrent.futures import ProcessPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks._sync_cases import KNOWN, Case, Device, clock_at, compose, make_case, make_device  # noqa: E402
from tasks.clock.fit import ClockFit  # noqa: E402
from tasks.clock.sound import ClockParams, estimate_clock  # noqa: E402
from tasks.errors import BadInput  # noqa: E402
from tasks.features.resample import resample  # noqa: E402
from tasks.media.encode import encode_sound  # noqa: E402
from tasks.media.probe import NO_LIMITS  # noqa: E402
from tasks.media.sound import read_pcm, read_sound  # noqa: E402
from tasks.modules import Project, Scope  # noqa: E402
from tasks.params import read_params, section_values  # noqa: E402

HERE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / "audiate-sync"
RATE = 16_000
RIGHT_MS = 5.0
PLAN = {  # how many cases of each group make the published table
    "standard": 140,
    "unseen": 56,
    "fast_drift": 28,
    "short_clip": 28,
    "short_overlap": 28,
    "drop": 24,
    "wander": 16,
    "far": 8,
    "ostinato": 12,
    "lost_buffer": 400,
    "field": 40,
    "neg_exact_loop": 30,
    "neg_other_piece": 40,
    "neg_performance": 40,
    "neg_no_overlap": 28,
    "neg_silence": 12,
}
IN_GOAL = ("standard", "unseen")  # overlap of 15 s and more, drift up to 1,200 ppm, noise down to -5 dB
Row = dict[str, Any]


def params() -> ClockParams:
    path = Path(os.environ.get("AUDIATE_BENCH_PARAMS", HERE.parent / "params.yaml"))
    return ClockParams.parse(section_values(read_params(path), "synchronize.clock"), "synchronize.clock")


def key_of_code() -> str:
    """Return a digest of the code that a case's result rests on."""
    modules = ("tasks.clock.sound", "tasks.rig.clocks", "tasks.rig.microphone")
    code = Project().digest(*modules, scope=Scope(kinds=()))
    text = code.encode() + (HERE / "_sync_cases.py").read_bytes()
    return hashlib.sha256(text + repr(params()).encode()).hexdigest()[:16]


def write(device: Device, folder: Path, name: str) -> Path:
    container, codec = device.codec.split()
    path = folder / f"{name}.{container}"
    encode_sound(path, device.audio, sample_rate=device.rate, codec=codec)
    return path


def read(path: Path) -> NDArray[np.int16]:
    return read_pcm(path, sample_rate=RATE, policy=NO_LIMITS)


def cpu_s() -> float:
    """CPU time of this process and of those that it waited for."""
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def run_case(group: str, seed: int, keep: Path | None) -> Row:
    cached = CACHE / key_of_code() / f"{group}-{seed}.json"
    if cached.is_file() and keep is None:
        return dict(json.loads(cached.read_text()))
    case = make_case(group, seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if keep is None else keep / case.name
        folder.mkdir(parents=True, exist_ok=True)
        path = write(case.other, folder, "other")
        reference = resample(case.reference.audio, case.reference.rate, RATE)
        if keep is not None:
            write(case.reference, folder, "reference")
        start = cpu_s()
        other = read(path)
        decoded = cpu_s()
        fit = estimate_clock(reference, other, sample_rate=RATE, params=params())
        done = cpu_s()
    row = judge(case, fit) | {"decode_s": decoded - start, "estimate_s": done - decoded}
    if keep is not None:
        moments = np.linspace(0, len(case.other.audio) / case.other.rate, 201)
        truth = {
            "time_s": moments.tolist(),
            "truth_s": case.truth_s(moments).tolist(),
            "related": case.related,
            **case.facts,
        }
        (keep / case.name / "truth.json").write_text(json.dumps(truth))
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(json.dumps(row))
    return row


def judge(case: Case, fit: ClockFit) -> Row:
    """Hold a fit against the truth, everywhere in the shared part of the clip."""
    device_s = np.linspace(0, fit.duration_s, 401)
    truth_s = case.truth_s(device_s)
    shared = (truth_s >= 0) & (truth_s <= fit.reference_duration_s)
    row: Row = {
        "name": case.name, "group": case.group, "related": case.related, "ambiguous": case.is_ambiguous,
        "verdict": fit.verdict, "margin": float(fit.margin), "reason": fit.reason, **case.facts,
        "truth_among_rivals": any(abs(rival.delay_s - truth_s[0]) < 0.05 for rival in fit.rivals),
    }  # fmt: skip
    if fit.verdict != "locked":
        return row
    error_ms = np.abs(fit.to_reference(device_s) - truth_s) * 1e3
    steps = [at_s for at_s, _ in fit.steps]
    for drop in case.other_clock.dropped:
        # Between a block's place and that of its step neither side is right; without a step, all is held to the truth.
        seam_s = min(steps, key=lambda at_s: abs(at_s - drop.at_s), default=np.inf)
        nearest = min(case.other_clock.dropped, key=lambda one: abs(one.at_s - seam_s))
        if np.isfinite(seam_s) and nearest is drop:
            low_s, high_s = sorted((drop.at_s, seam_s))
            shared &= (device_s < low_s) | (device_s > high_s)
            row |= {"seam_s": abs(seam_s - drop.at_s), "length_s": drop.length_s}
    slope = np.polyfit(device_s[shared], truth_s[shared], 1)[0] - 1 if shared.sum() > 2 else np.nan
    heard = shared if fit.heard_s is None else shared & (device_s >= fit.heard_s[0]) & (device_s <= fit.heard_s[1])
    return row | {
        "worst_ms": float(error_ms[shared].max(initial=0.0)) if shared.any() else np.inf,
        "heard_worst_ms": float(error_ms[heard].max(initial=0.0)),
        "median_ms": float(np.median(error_ms[shared])) if shared.any() else np.inf,
        "drift_error_ppm": abs(fit.drift_ppm - slope * 1e6),
        "error_ms": fit.error_ms,
        "coverage": fit.coverage,
        "n_spans": len(fit.spans),
    }


def is_wrong(row: Row) -> bool:
    """Whether a lock is a confident wrong answer."""
    if row["verdict"] != "locked":
        return False
    return not row["related"] or row["worst_ms"] > RIGHT_MS


def quantiles(values: Iterable[float], form: str = ".4f") -> str:
    found = np.array(list(values))
    if not len(found):
        return "-"
    return f"{np.median(found):{form}} / {np.percentile(found, 95):{form}} / {found.max():{form}}"


def line(title: str, rows: list[Row]) -> str:
    locked = [row for row in rows if row["verdict"] == "locked"]
    right = [row for row in locked if not is_wrong(row)]
    # A clock that wanders has no one drift, and one that dropped a block no line to compare with.
    long = [
        row
        for row in right
        if row.get("overlap_s", 0) >= 40 and row["group"] not in ("drop", "wander", "lost_buffer", "field")
    ]
    drift = quantiles((row["drift_error_ppm"] for row in long), ".3f") if long else "-"
    return (
        f"| {title} | {len(rows)} | {len(right)} | {sum(map(is_wrong, rows))} | {len(rows) - len(locked)} |"
        f" {quantiles(row['worst_ms'] for row in right)} | {drift} |"
    )


def table(rows: list[Row]) -> str:
    """Return the published table in Markdown."""
    groups = {group: [row for row in rows if row["group"] == group] for group in PLAN}
    goal = [row for group in IN_GOAL for row in groups[group]]
    positives = [
        row for group, found in groups.items() if not group.startswith("neg_") and group != "ostinato" for row in found
    ]
    negatives = [row for group, found in groups.items() if group.startswith("neg_") for row in found]
    head = (
        "| cases | n | right | wrong, confident | not locked | worst in clip, ms: median / p95 / max"
        " | drift error, ppm, overlap >= 40 s: median / p95 / max |"
    )
    out = [head, "|---|---|---|---|---|---|---|"]
    out += [line("**all positives**", positives), line("**standard and unseen: the goals' range**", goal)]
    out += [line(f"{group}", found) for group, found in groups.items() if not group.startswith("neg_") and found]
    out += [
        line(f"standard and unseen, {snr:g} dB", [row for row in goal if row["snr_db"] == snr])
        for snr in (30, 10, 0, -5)
    ]
    styles = sorted({row["style"] for row in goal})
    out += [line(f"standard and unseen, {style}", [row for row in goal if row["style"] == style]) for style in styles]
    codecs = sorted({row["codec"] for row in goal})
    out += [line(f"standard and unseen, {codec}", [row for row in goal if row["codec"] == codec]) for codec in codecs]
    out += ["", "| negatives | n | locked (wrong) | ambiguous | unrelated |", "|---|---|---|---|---|"]
    for title, found in [("**all**", negatives), *((g, groups[g]) for g in groups if g.startswith("neg_"))]:
        count = {
            verdict: sum(row["verdict"] == verdict for row in found) for verdict in ("locked", "ambiguous", "unrelated")
        }
        out.append(f"| {title} | {len(found)} | {count['locked']} | {count['ambiguous']} | {count['unrelated']} |")
    drops = [row for row in groups["drop"] if "seam_s" in row]
    located = [row for row in drops if row["seam_s"] <= 2 and row["worst_ms"] <= 0.2]
    followed = [row for row in groups["wander"] if row["verdict"] == "locked" and row["worst_ms"] <= 0.5]
    lost = [row for group in ("lost_buffer", "field") for row in groups[group]]
    held = [row for row in lost if row["verdict"] == "locked"]
    admitted = [row for row in held if row["worst_ms"] <= max(0.5, row["error_ms"])]
    heard = [row for row in held if row["heard_worst_ms"] <= max(0.5, row["error_ms"])]
    listed = [row for row in [*groups["neg_exact_loop"], *groups["ostinato"]] if row["verdict"] == "ambiguous"]
    covered = [row for row in positives if row["verdict"] == "locked"]
    seams = quantiles((row["seam_s"] for row in drops), ".2f")
    out += [
        "",
        f"- dropped blocks: {len(located)} of {len(groups['drop'])} located within 2 s with both sides within 0.2 ms;"
        f" seam error median / p95 / max {seams} s",
        f"- lost or repeated buffers, and devices of the field: {len(admitted)} of {len(lost)} right to 0.5 ms on all"
        f" sides, or within the error bar; {len(heard)} so wherever anything is heard; {len(lost) - len(held)} not"
        f" locked",
        f"- wander of 5 ms: {len(followed)} of {len(groups['wander'])} followed to 0.5 ms everywhere",
        f"- ambiguous loops and ostinati that list the truth:"
        f" {sum(row['truth_among_rivals'] for row in listed)} of {len(listed)}",
        f"- the stated error bound holds everywhere in the clip in"
        f" {sum(row['worst_ms'] <= row['error_ms'] for row in covered)} of {len(covered)} locked positives",
        f"- CPU a pair, median: decoding one file {np.median([row['decode_s'] for row in rows]):.2f} s,"
        f" estimate {np.median([row['estimate_s'] for row in rows]):.2f} s",
    ]
    trouble = [row for row in rows if is_wrong(row) or (row["group"] in IN_GOAL and row["verdict"] != "locked")]
    out += [
        f"- {row['name']}: {row['verdict']}, {row['reason']}; worst {row.get('worst_ms', np.nan):.2f} ms"
        for row in trouble
    ]
    return "\n".join(out)


def plan(fraction: float, first_seed: int) -> list[tuple[str, int]]:
    """Return cases, groups mixed, so that a run that is cut off has some of each."""
    found = [
        ((number + 0.5) / count, group, first_seed + number)
        for group, full in PLAN.items()
        for count in [max(1, round(full * fraction))]
        for number in range(count)
    ]
    # Cases that share their music stand together.
    return [(group, seed) for _, group, seed in sorted(found, key=lambda one: (round(one[0], 1), one[1], one[2]))]


def synthetic(arguments: argparse.Namespace) -> None:
    cases = plan(arguments.fraction, arguments.seeds)
    rows = []
    with ProcessPoolExecutor(max_workers=arguments.jobs) as pool:
        for number, row in enumerate(pool.map(run_case, *zip(*cases, strict=True), [arguments.keep] * len(cases))):
            rows.append(row)
            if is_wrong(row) or (row["related"] and row["verdict"] != "locked"):
                print(f"{row['name']}: {row['verdict']} {row.get('worst_ms')} {row['reason']}", flush=True)
            if number % 25 == 24:
                print(f"{number + 1} of {len(cases)}", flush=True)
    text = table(rows)
    print(text)
    if arguments.table:
        arguments.table.write_text(
            "# Synchronization by sound, made-up pairs\n\n"
            f"Written by `python -m benchmarks.sync --part synthetic --seeds {arguments.seeds}`; tuning used others.\n"
            "Everything here is synthetic: music by FluidSynth, rooms by the image method;"
            " `--part real` has real recordings.\n\n"
            f"{text}\n"
        )


def peers(arguments: argparse.Namespace) -> None:
    """Compare what peers found (`benchmarks/_sync_peer.py`) with ours, on the files that ``--keep`` left."""
    found = {
        path.stem: {row["case"]: row for row in map(json.loads, path.read_text().splitlines())}
        for path in arguments.found
    }
    cases = sorted(set.intersection(*(set(rows) for rows in found.values())))
    found["audiate"] = {case: ours(arguments.keep / case) for case in cases}
    print(
        "| tool | related, n | right, 5 ms everywhere | within 50 ms at mid-clip | of those: mid-clip error, ms:"
        " median / p95 / max | of those: worst in clip, ms | answers to unrelated, n of | CPU s a pair |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        middle, worst, answers, n_unrelated = [], [], 0, 0
        for case in cases:
            truth = json.loads((arguments.keep / case / "truth.json").read_text())
            time_s, truth_s = np.array(truth["time_s"]), np.array(truth["truth_s"])
            if not truth["related"]:
                n_unrelated += 1
                answers += rows[case]["delay_s"] is not None
                continue
            delay_s = np.inf if rows[case]["delay_s"] is None else rows[case]["delay_s"]
            placed_s = rows[case].get("placed_s", time_s + delay_s)  # a peer has one delay for the whole clip
            error_ms = np.abs(placed_s - truth_s)[(truth_s >= 0) & (time_s <= time_s[-1])] * 1e3
            middle.append(float(error_ms[len(error_ms) // 2]))
            worst.append(float(error_ms.max()))
        close = np.array(middle) < 50
        cpu = np.median([row["cpu_s"] for row in rows.values()])
        print(
            f"| {name} | {len(middle)} | {sum(value <= RIGHT_MS for value in worst)} | {close.sum()} |"
            f" {quantiles(np.array(middle)[close], '.3f')} | {quantiles(np.array(worst)[close], '.3f')} |"
            f" {answers} of {n_unrelated} | {cpu:.2f} |"
        )


def ours(case: Path) -> Row:
    start = cpu_s()
    sounds = [read(next(case.glob(f"{role}.*"))) for role in ("reference", "other")]
    fit = estimate_clock(*sounds, sample_rate=RATE, params=params())
    row: Row = {"delay_s": fit.delay_s if fit.spans else None, "cpu_s": cpu_s() - start}
    if fit.spans:
        row["placed_s"] = fit.to_reference(json.loads((case / "truth.json").read_text())["time_s"])
    return row


def pair_of_length(duration_s: float, folder: Path) -> tuple[Path, Path]:
    """Write two AAC recordings of one long made-up event, with 83 ppm and noise; return their paths."""
    from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
    from tasks.rig.microphone import record

    rng = np.random.default_rng(5)
    notes = compose("free", duration_s + 10, rng)
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=16_000, gain=0.3) as synthesizer:
        dry = synthesizer.render(notes, None, program=0, duration_s=duration_s + 10)
    devices = []
    for start_s, drift_ppm, noise_db in ((0.0, 0.0, -30.0), (4.2, 83.0, -5.0)):
        part = record(
            dry, 16_000, duration_s=duration_s, clock=clock_at(start_s, drift_ppm), room=None, response=None,
            gain_control=None, noise_db=noise_db, rate=16_000, rng=rng,
        )  # fmt: skip
        devices.append(resample(part, 16_000, 44_100))
    paths = folder / "reference.m4a", folder / "other.m4a"
    for path, audio in zip(paths, devices, strict=True):
        encode_sound(path, audio, sample_rate=44_100, codec="aac")
    return paths


def measure(reference: Path, other: Path) -> None:
    """Synchronize one pair and print what it cost; a process of its own, for its memory."""
    asked = params()
    before = cpu_s()
    wall = time.perf_counter()
    sounds = read(reference), read(other)
    decoded = cpu_s()
    fit = estimate_clock(*sounds, sample_rate=RATE, params=asked)
    found = {
        "verdict": fit.verdict,
        "error_ms": abs(fit.delay_s - 4.2) * 1e3 if fit.spans else None,
        "drift_error_ppm": abs(fit.drift_ppm - 83.0) if fit.spans else None,
        "decode_cpu_s": decoded - before,
        "estimate_cpu_s": cpu_s() - decoded,
        "wall_s": time.perf_counter() - wall,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def speed(arguments: argparse.Namespace) -> None:
    print(
        "| length | decoding, CPU s | estimate, CPU s | times real time by CPU | by wall | memory, MB | error, ms"
        " | drift error, ppm |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for duration_s in arguments.lengths:
        with tempfile.TemporaryDirectory() as scratch:
            # A process of its own makes the files, so that its memory is not counted.
            paths = subprocess_made(duration_s, Path(scratch))
            runs = [measured(*paths) for _ in range(3 if duration_s < 1000 else 1)]
        best = min(runs, key=lambda run: run["decode_cpu_s"] + run["estimate_cpu_s"])
        cpu = best["decode_cpu_s"] + best["estimate_cpu_s"]
        print(
            f"| {duration_s:g} s | {best['decode_cpu_s']:.2f} | {best['estimate_cpu_s']:.2f} | {duration_s / cpu:.0f} |"
            f" {duration_s / min(run['wall_s'] for run in runs):.0f} | {best['memory_mb']:.0f} |"
            f" {best['error_ms']:.4f} | {best['drift_error_ppm']:.4f} |",
            flush=True,
        )


def subprocess_made(duration_s: float, folder: Path) -> tuple[Path, Path]:
    with ProcessPoolExecutor(max_workers=1) as pool:
        return pool.submit(pair_of_length, duration_s, folder).result()


def measured(reference: Path, other: Path) -> Row:
    command = [sys.executable, "-m", "benchmarks.sync", "--measure", str(reference), str(other)]
    return dict(
        json.loads(subprocess.run(command, cwd=HERE.parent, check=True, capture_output=True, timeout=600).stdout)
    )


def real(arguments: argparse.Namespace) -> None:
    print(
        "| pair | verdict | delay, s | expected, s | drift, ppm | margin | residual p95, ms | truth a rival | reason |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, paths, expected_s in real_pairs(arguments.folder):
        fit = estimate_clock(*(read(path) for path in paths), sample_rate=RATE, params=params())
        delay = f"{fit.delay_s:.5f}" if fit.spans else "-"
        drift = f"{fit.drift_ppm:.2f}" if fit.spans else "-"
        listed = any(abs(rival.delay_s - expected_s) < 0.02 for rival in fit.rivals) if expected_s is not None else "-"
        print(
            f"| {name} | {fit.verdict} | {delay} | {expected_s} | {drift} | {fit.margin:.2f} |"
            f" {fit.residual_p95_ms:.4f} | {listed} | {fit.reason} |",
            flush=True,
        )
    if arguments.real_sound:
        real_sound(arguments.real_sound)


def real_pairs(folder: Path) -> Iterator[tuple[str, tuple[Path, Path], float | None]]:
    """Return the pairs of a folder with their delays: bbc-timbl and google-audio-sync-kit, as they are published."""
    timbl = folder / "bbc-timbl"
    if timbl.is_dir():
        yield (
            "bbc-timbl",
            (timbl / "timbl_1.mp3", timbl / "timbl_2.mp3"),
            json.loads((timbl / "expected.json").read_text())["true_cut"],
        )
    google = folder / "google-audio-sync-kit"
    if google.is_dir():
        expected = json.loads((google / "expected.json").read_text())
        latency = [0.0, 0.0, expected["latency_2"], expected["latency_3"]]
        for number, latency_s in enumerate(latency):
            pair = google / f"latency_ref_{number}.wav", google / f"latency_act_{number}.wav"
            yield f"google {number}", pair, latency_s  # by so much later the act's file begins
        yield "google silence", (google / "latency_ref_0.wav", google / "silence.wav"), None


def real_sound(folder: Path) -> None:
    """Let made-up devices record real sound."""
    rows = []
    rng = np.random.default_rng(9)
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix in (".wav", ".mp3", ".mp4", ".webm", ".flac", ".ogg", ".m4a")
    )
    for path in paths:
        try:
            dry = read_sound(path, sample_rate=48_000, policy=NO_LIMITS).samples
        except BadInput as error:
            print(f"left out {path.name}: {error}")
            continue
        length = len(dry) / 48_000
        if length < 5 or not dry.any():
            continue
        whole, part = min(length, 90.0), min(0.7 * length, 45.0)
        for snr_db in (30.0, 10.0, 0.0):
            start, drift = float(rng.uniform(0.05, 0.25)) * (whole - part), float(rng.uniform(-150, 150))
            clocks = clock_at(0.0, 0.0), clock_at(start, drift)
            reference = make_device(dry, clocks[0], whole, kit=KNOWN, snr_db=snr_db, rng=rng, clean=True)
            other = make_device(dry, clocks[1], part, kit=KNOWN, snr_db=snr_db, rng=rng, clean=False)
            facts = {"style": path.stem, "snr_db": snr_db, "drift_ppm": drift, "overlap_s": part, "codec": other.codec}
            case = Case(
                group="real sound", seed=len(rows), related=True, is_ambiguous=False, reference=reference, other=other,
                reference_clock=clocks[0], other_clock=clocks[1], facts=facts,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as scratch:
                sounds = [read(write(device, Path(scratch), name)) for name, device in (("a", reference), ("b", other))]
            row = judge(case, estimate_clock(*sounds, sample_rate=RATE, params=params()))
            print(
                f"  {path.name} {snr_db:g} dB, {part:.0f} s: {row['verdict']} {row.get('worst_ms', np.nan):.4f} ms;"
                f" {row['reason']}"
            )
            rows.append(row)
    print(line("real sound, simulated devices", rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("synthetic", "speed", "real", "peers"), default="speed")
    parser.add_argument("--seeds", type=int, default=0, help="first seed")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the published number of cases")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the recordings and their truth")
    parser.add_argument("--table", type=Path, help="file to write the table to")
    parser.add_argument(
        "--lengths", type=float, nargs="*", default=[75.0, 600.0, 3600.0], help="seconds, of --part speed"
    )
    parser.add_argument("--folder", type=Path, help="real pairs")
    parser.add_argument("--real-sound", type=Path, help="folder of real sound for made-up devices")
    parser.add_argument("--found", type=Path, nargs="+", help="PEER.json of benchmarks/_sync_peer.py, of --part peers")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    if arguments.part == "real" and not arguments.folder:
        parser.error("--part real needs --folder")
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "synthetic": synthetic,
        "speed": speed,
        "real": real,
        "peers": peers,
    }
    parts[arguments.part](arguments)


if __name__ == "__main__":
    main()
