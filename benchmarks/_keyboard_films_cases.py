"""Which films `benchmarks.keyboard_films` makes, how a reading of one is scored, and how scores are summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import mir_eval
import numpy as np

from tasks.film import SCORE_POLICY
from tasks.instruments.midi_reader import read_midi
from tasks.rig.films_without_notes import NO_KEYBOARD
from tasks.rig.keyboard_films import film_of
from tasks.rig.made_films import FilmTruth

SCORES = sorted(Path("data/sample/midi").glob("*.mid"))
FOUND_IOU = 0.5
FINE_PX, COARSE_PX = 16.0, 9.0  # a white key: the goals of pressed keys stand for these and more

_TUTORIALS = {
    "tutorial-plain": 2,
    "tutorial-repeated": 4,
    "tutorial-one-hue": 1,
    "tutorial-partial": 2,
    "tutorial-names": 2,
    "tutorial-fade": 2,
    "tutorial-popup": 1,
    "tutorial-clock": 1,
    "tutorial-200k": 1,
    "tutorial-hands": 2,
}
_OVERHEADS = {
    "overhead-plain": 3,
    "overhead-640": 4,
    "overhead-1920": 1,
    "overhead-gloves": 2,
    "overhead-near-axis": 2,
    "overhead-off-axis": 1,
    "overhead-reflection": 2,
    "overhead-tilt": 1,
    "overhead-upside-down": 1,
    "overhead-mirrored": 1,
    "overhead-partial": 2,
    "overhead-lights": 2,
    "overhead-edit-list": 1,
    "overhead-variable-rate": 1,
    "overhead-nudged": 1,
    "overhead-moved": 1,
}
_SILENT = {
    "idle-keyboard": 2,
    "idle-under-hands": 4,
    "no-hands-alone": 6,
    "no-drums": 5,
    "no-black": 2,
    "no-stripes": 7,
}
PLAN = tuple(kind for kinds in (_TUTORIALS, _OVERHEADS, _SILENT) for kind, n in kinds.items() for _ in range(n))
"""Kinds of films; a seed draws the one at its remainder: 70 seeds in a row draw 44 films, 6 idle ones, 20 negatives."""


def draw(seed: int, folder: Path, duration_s: float, kind: str | None = None) -> FilmTruth:
    """Draw the film of a seed: even ones play bundled pieces, odd ones random music."""
    score = None if seed % 2 else read_midi(SCORES[seed // 2 % len(SCORES)], SCORE_POLICY).notes
    return film_of(kind or PLAN[seed % len(PLAN)], seed, folder, score=score, duration_s=duration_s)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One film's reading against its truth; None where it has no meaning."""

    kind: str
    seed: int
    width: int
    white_px: float
    seconds: float  # of film
    drawing_s: float  # CPU
    n_notes: int
    is_found: bool
    why_not: str
    iou: float | None
    corner_error: float | None  # white keys, of the worst corner
    is_octave_right: bool | None
    mode: str
    n_read: int
    f1_50: float | None
    f1_100: float | None
    reading_s: float  # CPU
    wall_s: float
    peak_mb: float


def row_of(truth: FilmTruth, reading: dict[str, Any], *, drawing_s: float) -> Row:
    """Score what a reader made of a film."""
    seconds = float(truth.time_s[-1])
    width = int(cv2.VideoCapture(str(truth.path)).get(cv2.CAP_PROP_FRAME_WIDTH))
    common = {
        "kind": truth.kind,
        "seed": truth.seed,
        "width": width,
        "white_px": truth.white_px,
        "seconds": seconds,
        "drawing_s": drawing_s,
        "n_notes": len(truth.notes),
        "reading_s": reading["cpu_s"],
        "wall_s": reading["wall_s"],
        "peak_mb": reading["peak_mb"],
    }
    has_notes = len(truth.notes) > 0
    if "corners" not in reading:
        return Row(
            **common,
            is_found=False,
            why_not=reading["error"],
            iou=None,
            corner_error=None,
            is_octave_right=None,
            mode="",
            n_read=0,
            f1_50=0.0 if has_notes else None,
            f1_100=0.0 if has_notes else None,
        )
    iou = corner_error = is_octave_right = None
    if truth.corners is not None:
        found = np.array(reading["corners"], np.float64)
        iou = _overlap(found, truth.corners)
        corner_error = float(np.linalg.norm(found - truth.corners, axis=1).max() / truth.white_px)
        is_octave_right = reading["lowest"] == truth.first_pitch
    shift = 0
    if truth.n_keys < 88 and (truth.first_pitch - reading["lowest"]) % 12 == 0:
        shift = truth.first_pitch - reading["lowest"]  # a partial keyboard's octave is a guess, scored by itself
    scores = [onset_f1(truth, reading["notes"], shift=shift, tolerance_s=tolerance_s) for tolerance_s in (0.05, 0.1)]
    return Row(
        **common,
        is_found=truth.corners is None or iou >= FOUND_IOU,
        why_not="",
        iou=iou,
        corner_error=corner_error,
        is_octave_right=is_octave_right,
        mode=reading["mode"],
        n_read=len(reading["notes"]),
        f1_50=scores[0] if has_notes else None,
        f1_100=scores[1] if has_notes else None,
    )


def onset_f1(truth: FilmTruth, notes: Sequence[Sequence[float]], *, shift: int, tolerance_s: float) -> float:
    """Score onsets and pitches by mir_eval; what falls into a span that hides keys is left out on both sides.

    Args:
        truth: of the film.
        notes: onset, offset and pitch of each note that was read.
        shift: semitones added to what was read.
        tolerance_s: of an onset.
    """
    reference = np.c_[truth.notes.onset_s * truth.clock, truth.notes.offset_s * truth.clock, truth.notes.pitch]
    estimate = np.array(notes, np.float64).reshape(-1, 3) + np.array([0, 0, shift])
    for start_s, end_s in truth.hidden_s:
        reference, estimate = (
            each[(each[:, 0] < start_s - tolerance_s) | (each[:, 0] > end_s + tolerance_s)]
            for each in (reference, estimate)
        )
    if not len(reference) or not len(estimate):
        return float(len(reference) == len(estimate))
    sides = [(each[:, :2], mir_eval.util.midi_to_hz(each[:, 2])) for each in (reference, estimate)]
    scores = mir_eval.transcription.precision_recall_f1_overlap(
        *sides[0], *sides[1], onset_tolerance=tolerance_s, offset_ratio=None
    )
    return float(scores[2])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union of two convex outlines."""
    areas = [float(cv2.contourArea(cv2.convexHull(each.astype(np.float32)))) for each in (a, b)]
    hulls = [cv2.convexHull(each.astype(np.float32)) for each in (a, b)]
    common, _ = cv2.intersectConvexConvex(*hulls)
    return common / max(sum(areas) - common, 1e-9)


def table(rows: Sequence[Row]) -> list[str]:
    """Return a line a film."""
    lines = [f"{'kind':24}{'seed':>6}{'px':>6}{'corner':>8}{'octave':>8}{'mode':>9}{'notes':>7}{'read':>6}{'F1 50':>7}"]
    lines[0] += f"{'F1 100':>8}{'CPU s':>7}{'MB':>6}"
    for row in rows:
        line = f"{row.kind:24}{row.seed:6}{row.white_px:6.1f}{_number(row.corner_error, 8)}"
        octave = "" if row.is_octave_right is None else "right" if row.is_octave_right else "wrong"
        line += f"{octave:>8}{row.mode:>9}{row.n_notes:7}{row.n_read:6}"
        line += f"{_number(row.f1_50, 7, 3)}{_number(row.f1_100, 8, 3)}"
        lines.append(f"{line}{row.reading_s:7.1f}{row.peak_mb:6.0f}  {row.why_not[:80]}")
    return lines


def _number(value: float | None, width: int, digits: int = 2) -> str:
    return " " * width if value is None else f"{value:{width}.{digits}f}"


def sums(rows: Sequence[Row]) -> list[str]:
    """Return the figures beside the goals, and the cost of drawing and reading."""
    lines = [f"{'':52}{'films':>6}{'measured':>10}  goal"]

    def say(name: str, chosen: Sequence[Row], value: float | None, goal: str, is_reached: bool) -> None:
        if chosen and value is not None:
            lines.append(f"{name:52}{len(chosen):6}{value:10.3f}  {goal}{'' if is_reached else '   not reached'}")

    boards = [row for row in rows if row.kind not in NO_KEYBOARD]
    found = [row for row in boards if row.is_found]
    if boards:
        share = len(found) / len(boards)
        say("keyboard found, share", boards, share, ">= 0.98", share >= 0.98)
    still = [row for row in found if row.kind != "overhead-moved"]
    if still:
        errors = np.array([row.corner_error for row in still])
        say(
            "worst corner, white keys, median of films",
            still,
            float(np.median(errors)),
            "<= 0.2",
            np.median(errors) <= 0.2,
        )
        within = float((errors <= 0.2).mean())
        say("all corners within 0.2 white key, share", still, within, "1", within == 1)
    whole = [
        row
        for row in found
        if row.is_octave_right is not None and "partial" not in row.kind and "names" not in row.kind
    ]
    if whole:
        right = float(np.mean([row.is_octave_right for row in whole]))
        say("octave right, whole keyboards, share", whole, right, "1", right == 1)
    guessed = [row for row in found if "partial" in row.kind or "names" in row.kind]
    if guessed:
        right = float(np.mean([bool(row.is_octave_right) for row in guessed]))
        say("octave right, partial keyboards, share", guessed, right, "(a guess)", True)
    nothing = [row for row in rows if row.kind in NO_KEYBOARD]
    say(
        "false keyboards",
        nothing,
        float(sum(row.is_found for row in nothing)),
        "0",
        not any(r.is_found for r in nothing),
    )
    idle = [row for row in rows if row.kind.startswith("idle")]
    if idle:
        a_minute = 60 * sum(row.n_read for row in idle) / sum(row.seconds for row in idle)
        say("idle keyboards, notes a minute", idle, a_minute, "0", a_minute == 0)
    repeated = [row for row in rows if row.kind == "tutorial-repeated"]
    lit = [row for row in rows if row.kind.startswith("tutorial") and row not in repeated]
    pressed = [row for row in rows if row.kind.startswith("overhead")]
    fine = [row for row in pressed if row.white_px >= FINE_PX]
    coarse = [row for row in pressed if COARSE_PX <= row.white_px < FINE_PX]
    groups = (
        ("lit keys", lit, 0.98),
        ("lit keys, touching bars of repeated notes", repeated, 0.95),
        (f"pressed keys, {FINE_PX:g} px a white key and more", fine, 0.85),
        (f"pressed keys, {COARSE_PX:g} to {FINE_PX:g} px a white key", coarse, 0.7),
    )
    for name, chosen, goal in groups:
        if chosen:
            f1_50, f1_100 = (float(np.mean([getattr(row, key) for row in chosen])) for key in ("f1_50", "f1_100"))
            say(f"{name}: onset F1 at 50 ms", chosen, f1_50, f">= {goal}", f1_50 >= goal)
            say(f"{name}: onset F1 at 100 ms", chosen, f1_100, "", True)
    lines.append("")
    for kind in dict.fromkeys(row.kind for row in rows if row.f1_50 is not None):
        own = [row for row in rows if row.kind == kind]
        values = [np.mean([getattr(row, key) for row in own]) for key in ("f1_50", "f1_100")]
        lines.append(f"  {kind:24}{len(own):4} films   F1 {values[0]:.3f} at 50 ms, {values[1]:.3f} at 100 ms")
    lines.append("")
    for width in sorted({row.width for row in pressed}):
        own = [row for row in pressed if row.width == width]
        cost = sum(row.drawing_s for row in own) / sum(row.seconds for row in own)
        lines.append(
            f"drawing and encoding, overhead, {width:5} px: {cost:5.2f} CPU-s a second of film ({len(own)} films)"
        )
    if rows:
        minutes = sum(row.seconds for row in rows) / 60
        lines.append(f"all films drawn in {sum(row.drawing_s for row in rows) / 60:.1f} CPU-minutes")
        lines.append(
            f"reading: {sum(row.reading_s for row in rows) / minutes:.0f} CPU-s a minute of film, "
            f"at most {max(row.peak_mb for row in rows):.0f} MB"
        )
    return lines
