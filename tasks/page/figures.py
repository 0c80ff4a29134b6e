"""Pictures of sound and notes, the same bytes for the same arrays.

Each is drawn for a card of a page: about 440 pixels wide at single density, without a background, with words in a grey
that can be read on white and on black. The time axis of every picture begins and ends at `PLOT`, so that a page can lay
a moving line over it.
"""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.metrics.notes import match_notes
from tasks.metrics.sound import FLOOR_DBFS, spectrogram_dbfs
from tasks.page.axis import DPI, PLOT, WIDTH_IN
from tasks.page.text import clock

_DRAWING = threading.Lock()

GREY = "#7b828c"
REFERENCE = "#3987e5"
ESTIMATE = "#e2711d"
N_TIME_CELLS = 440
N_FREQUENCY_CELLS = 120
N_STACKED_CELLS = 48  # of each sound where several are drawn one below the other
STACKED_GAP = 3
VELOCITIES_PER_ROW = 8

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "path.simplify": True,
}


def draw_spectrogram(path: Path, audio: NDArray[np.float32], *, sample_rate: int, max_frequency_hz: float) -> None:
    """Draw levels from -80 dB (dark) to -10 dB of full scale, frequency on a logarithmic axis from 50 Hz.

    Args:
        path: the PNG.
        audio: (n,) at any rate.
        sample_rate: of ``audio``.
        max_frequency_hz: top of the axis, also where a sound of a low rate has nothing.
    """
    n_fft = int(2 ** np.ceil(np.log2(sample_rate * 0.093)))
    hop_length = max(1, min(n_fft // 4, len(audio) // N_TIME_CELLS))
    levels = spectrogram_dbfs(audio, window_length=n_fft, hop_length=hop_length, n_fft=n_fft)
    edges_hz = np.geomspace(50.0, max_frequency_hz, N_FREQUENCY_CELLS + 1)
    cells = _louder_of(_on_log_axis(levels, edges_hz, bin_hz=sample_rate / n_fft), N_TIME_CELLS)
    duration_s = len(audio) / sample_rate
    with _styled():
        figure, axes = _figure(1.45, duration_s)
        axes.imshow(
            cells,
            origin="lower",
            aspect="auto",
            extent=(0, duration_s, 0, N_FREQUENCY_CELLS),
            cmap="magma",
            vmin=FLOOR_DBFS,
            vmax=-10,
            interpolation="nearest",
        )
        marks_hz = [hz for hz in (100, 300, 1000, 3000, 10000) if hz <= max_frequency_hz]
        axes.set_yticks(np.interp(np.log(marks_hz), np.log(edges_hz), np.arange(len(edges_hz))))
        axes.set_yticklabels([f"{hz // 1000} k" if hz >= 1000 else str(hz) for hz in marks_hz])
        _save(figure, path)


def draw_spectrograms(
    path: Path, sounds: Mapping[str, NDArray[np.float32]], *, sample_rate: int, max_frequency_hz: float
) -> None:
    """Draw several sounds of the same length one below the other, as `draw_spectrogram` does, their names beside them.

    Args:
        path: the PNG.
        sounds: (n,) by name, from top to bottom.
        sample_rate: of all.
        max_frequency_hz: top of each.
    """
    n_fft = int(2 ** np.ceil(np.log2(sample_rate * 0.093)))
    edges_hz = np.geomspace(50.0, max_frequency_hz, N_STACKED_CELLS + 1)
    n_rows = N_STACKED_CELLS + STACKED_GAP
    names = list(sounds)
    duration_s = len(sounds[names[0]]) / sample_rate
    stacked = np.full((n_rows * len(names) - STACKED_GAP, 1), np.nan, np.float32)
    for row, name in enumerate(reversed(names)):
        audio = sounds[name]
        hop_length = max(1, min(n_fft // 2, len(audio) // N_TIME_CELLS))
        levels = spectrogram_dbfs(audio, window_length=n_fft, hop_length=hop_length, n_fft=n_fft)
        cells = _louder_of(_on_log_axis(levels, edges_hz, bin_hz=sample_rate / n_fft), N_TIME_CELLS)
        if stacked.shape[1] != cells.shape[1]:
            stacked = np.full((len(stacked), cells.shape[1]), np.nan, np.float32)
        stacked[row * n_rows : row * n_rows + N_STACKED_CELLS] = cells
    with _styled():
        figure, axes = _figure(0.37 + 0.5 * len(names), duration_s)
        extent = (0, duration_s, 0, len(stacked))
        axes.imshow(
            stacked,
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap="magma",
            vmin=FLOOR_DBFS,
            vmax=-10,
            interpolation="nearest",
        )
        middles = [row * n_rows + N_STACKED_CELLS / 2 for row in range(len(names))]
        axes.set_yticks(middles, list(reversed(names)))
        _save(figure, path)


def draw_notes(path: Path, reference: Notes, estimate: Notes | None, *, duration_s: float) -> None:
    """Draw a piano roll; with an estimate, matched, missed and extra notes in three colours."""
    with _styled():
        figure, axes = _figure(1.6, duration_s)
        if estimate is None:
            _bars(axes, reference, REFERENCE, "reference")
        else:
            pairs = match_notes(reference, estimate)
            missed = np.ones(len(reference), np.bool_)
            missed[pairs[:, 0]] = False
            extra = np.ones(len(estimate), np.bool_)
            extra[pairs[:, 1]] = False
            _bars(axes, reference.take(missed), GREY, "missed")
            _bars(axes, estimate.take(~extra), REFERENCE, "matched")
            _bars(axes, estimate.take(extra), ESTIMATE, "extra")
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1.0, 1.0),
                ncols=3,
                handlelength=1.0,
                borderaxespad=0,
                fontsize=8,
            )
        both = np.concatenate([reference.pitch, estimate.pitch if estimate is not None else reference.pitch[:0]])
        low, high = (int(both.min()), int(both.max())) if len(both) else (60, 72)
        axes.set_ylim(low - 2, high + 2)
        octaves = [pitch for pitch in range(12, 128, 12) if low - 2 <= pitch <= high + 2]
        axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
        for pitch in octaves:
            axes.axhline(pitch, color=GREY, linewidth=0.3, alpha=0.35, zorder=0)
        _save(figure, path)


def draw_note_scores(path: Path, pitches: Sequence[int], systems: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw the F1 of each note: a row a system, a column a note, from 0 to 1.

    Args:
        path: the PNG.
        pitches: (n,) MIDI numbers, rising.
        systems: F1 of each note (n,); NaN where it is in neither the reference nor the estimate.
    """
    with _styled():
        height_in = 0.55 + 0.22 * len(systems)
        figure = Figure(figsize=(WIDTH_IN * 2, height_in), dpi=DPI, facecolor="none")
        FigureCanvasAgg(figure)
        left = max(0.16, 0.02 + 0.0075 * max(map(len, systems)))  # room for the longest name
        axes = figure.add_axes((left, 0.3 / height_in, 0.92 - left, 0.22 * len(systems) / height_in))
        shown = axes.imshow(np.stack(list(systems.values())), aspect="auto", cmap="viridis", vmin=0, vmax=1)
        axes.set_yticks(range(len(systems)), list(systems))
        every = max(1, len(pitches) // 24)
        axes.set_xticks(range(0, len(pitches), every), [str(pitch) for pitch in pitches[::every]])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        side = figure.add_axes((0.935, 0.3 / height_in, 0.012, 0.22 * len(systems) / height_in))
        figure.colorbar(shown, cax=side, ticks=[0, 0.5, 1])
        _save(figure, path)


def draw_coverage(path: Path, pitch: NDArray[np.int64], velocity: NDArray[np.int64]) -> None:
    """Draw how often each pitch is played at each velocity; dark is never, and each colour is ten times the one below.

    Args:
        path: the PNG.
        pitch: of each note (n,), MIDI numbers; at least one.
        velocity: of the same notes (n,), 1 to 127.
    """
    low, high = int(pitch.min()), int(pitch.max())
    counts, _, _ = np.histogram2d(
        velocity, pitch, bins=(np.arange(0, 129, VELOCITIES_PER_ROW), np.arange(low - 0.5, high + 1.5))
    )
    with _styled():
        figure = Figure(figsize=(WIDTH_IN * 2, 2.0), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0.05, 0.14, 0.87, 0.82))
        shown = axes.imshow(
            np.log10(1 + counts),
            origin="lower",
            aspect="auto",
            extent=(low - 0.5, high + 0.5, 0, 128),
            cmap="viridis",
            interpolation="nearest",
        )
        axes.set_yticks([0, 32, 64, 96, 127])
        side = figure.add_axes((0.935, 0.14, 0.012, 0.82))
        marks = [count for count in (0, 1, 10, 100, 1000) if count <= max(1, int(counts.max()))]
        figure.colorbar(shown, cax=side, ticks=np.log10(1 + np.array(marks))).ax.set_yticklabels(map(str, marks))
        _save(figure, path)


def draw_waveforms(
    path: Path,
    reference: NDArray[np.float32],
    estimate: NDArray[np.float32],
    *,
    sample_rate: int,
    zoom_start_s: float,
    zoom_s: float,
) -> None:
    """Draw two sounds over each other: the whole as envelopes, and below it the samples of a short span.

    Args:
        path: the PNG.
        reference: samples (n,).
        estimate: samples (m,) at the same rate.
        sample_rate: of both.
        zoom_start_s: where the span begins.
        zoom_s: how long it is.
    """
    duration_s = max(len(reference), len(estimate)) / sample_rate
    peak = max(1e-3, float(np.abs(reference).max(initial=0)), float(np.abs(estimate).max(initial=0)))
    with _styled():
        figure, axes = _figure(2.35, duration_s, bottom=0.62)
        for sound, colour, name in ((reference, REFERENCE, "reference"), (estimate, ESTIMATE, "estimate")):
            time_s, low, high = _envelope(sound, sample_rate)
            axes.fill_between(time_s, low, high, color=colour, alpha=0.6, linewidth=0, label=name)
        axes.axvspan(zoom_start_s, zoom_start_s + zoom_s, color=GREY, alpha=0.5, linewidth=0.8)
        axes.set_ylim(-1.05 * peak, 1.05 * peak)
        axes.set_yticks([0])
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=2,
            handlelength=1.0,
            borderaxespad=0,
            fontsize=8,
        )
        near = figure.add_axes((PLOT[0], 0.105, PLOT[1] - PLOT[0], 0.35))
        # The reference is the wider line: it shows around an estimate that equals it.
        for sound, colour, width in ((reference, REFERENCE, 2.4), (estimate, ESTIMATE, 0.9)):
            start, end = round(zoom_start_s * sample_rate), round((zoom_start_s + zoom_s) * sample_rate)
            part = sound[start:end]
            near.plot(np.arange(len(part)) * 1000 / sample_rate, part, color=colour, linewidth=width)
        near.set_xlim(0, zoom_s * 1000)
        near.set_yticks([0])
        near.axhline(0, color=GREY, linewidth=0.3, zorder=0)
        near.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        near.xaxis.set_major_locator(MaxNLocator(6))
        near.set_title(f"milliseconds from {clock_ms(zoom_start_s)}", loc="left", fontsize=8, pad=3)
        _save(figure, path)


def draw_losses(path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draw loss over step, a line for each name.

    Args:
        path: the PNG.
        curves: steps and losses by name, training first and validation second.
    """
    with _styled():
        figure, axes = _figure(1.9, 1.0, bottom=0.19)
        for (name, (steps, losses)), colour in zip(
            sorted(curves.items()), (REFERENCE, ESTIMATE, GREY) * 9, strict=False
        ):
            marker = "o" if len(steps) < 60 else None
            axes.plot(steps, losses, color=colour, linewidth=1.1, marker=marker, markersize=1.8, label=name)
        longest = max((max(steps, default=1.0) for steps, _ in curves.values()), default=1.0)
        axes.set_xlim(0, max(1.0, longest) * 1.01)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
        axes.set_xlabel("step", labelpad=1)
        axes.legend(loc="upper right", fontsize=8, handlelength=1.2)
        _save(figure, path)


def draw_search(path: Path, parameters: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> None:
    """Draw validation loss against each parameter that was searched, a dot a trial.

    Args:
        path: the PNG.
        parameters: by name, the trials' values, their losses after the first rung, and in full (NaN where not).
    """
    with _styled():
        n = max(1, len(parameters))
        figure = Figure(figsize=(WIDTH_IN, 1.5 * n), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        for row, (name, (values, first, full)) in enumerate(parameters.items()):
            axes = figure.add_axes((PLOT[0] + 0.03, 1 - (row + 0.76) / n, PLOT[1] - PLOT[0] - 0.03, 0.66 / n))
            axes.plot(values, first, "o", color=GREY, markersize=2.5, label="first rung")
            axes.plot(values, full, "o", color=REFERENCE, markersize=4, label="all steps")
            positive = [value for value in values if value > 0]
            if len(positive) == len(values) and positive and max(positive) > 20 * min(positive):
                axes.set_xscale("log")
            axes.set_xlabel(name, labelpad=1)
            axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
            if not row:
                axes.legend(loc="upper right", fontsize=7, handlelength=1.0)
        _save(figure, path)


def draw_residuals(
    path: Path,
    residuals: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]],
    *,
    duration_s: float,
) -> None:
    """Draw by how much each window of a device's recording stands beside its clock, over the master's time.

    Args:
        path: the PNG.
        residuals: by device: the windows' middles on the master's clock, their residuals in ms (NaN where a window
            says nothing), and whether the clock rests on them.
        duration_s: of the master.
    """
    with _styled():
        figure, axes = _figure(1.9, duration_s)
        widest = 0.05
        colours = (REFERENCE, ESTIMATE, "#3a9d5d", "#9a63c9", "#c24a6a", "#8a7a2e", GREY)
        for (name, (time_s, residual_ms, used)), colour in zip(sorted(residuals.items()), colours * 9, strict=False):
            axes.plot(
                time_s[used], residual_ms[used], color=colour, linewidth=0.7, marker="o", markersize=1.6, label=name
            )
            axes.plot(time_s[~used], residual_ms[~used], color=colour, linewidth=0, marker="x", markersize=2.2)
            widest = max(widest, float(np.abs(residual_ms[used]).max(initial=0.0)))
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.set_ylim(-1.3 * widest, 1.3 * widest)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
        if residuals:
            axes.legend(loc="upper right", fontsize=7, handlelength=1.2, ncols=3)
        _save(figure, path)


def draw_still(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write one grey picture (height, width), pixel for pixel."""
    image = np.repeat(picture[:, :, None], 3, axis=2)
    mpl.image.imsave(path, image, format="png", metadata={"Software": "audiate"})


def beside_each_other(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return grey pictures (height, width) of one size as one, side by side, twice as large, a little apart."""
    gap = np.full((len(pictures[0]), 2), 255, np.uint8)
    row = np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)
    return np.repeat(np.repeat(row, 2, axis=0), 2, axis=1)


def clock_ms(time_s: float) -> str:
    """Write a moment as minutes, seconds and milliseconds, ``0:12.345``."""
    minutes, rest_ms = divmod(round(time_s * 1000), 60_000)
    return f"{minutes}:{rest_ms / 1000:06.3f}"


def loudest_span_s(audio: NDArray[np.float32], *, sample_rate: int, length_s: float) -> float:
    """Return where the loudest span of a length begins; 0 for silence."""
    length = max(1, round(length_s * sample_rate))
    if len(audio) <= length:
        return 0.0
    power = np.cumsum(np.concatenate([[0.0], np.square(audio, dtype=np.float64)]))
    return float(np.argmax(power[length:] - power[:-length]) / sample_rate)


@contextmanager
def _styled() -> Iterator[None]:
    """Draw with this module's style alone: a matplotlibrc of the user's would be in the bytes.

    One thread at a time: the style is the whole process's, and so are matplotlib's fonts.
    """
    with _DRAWING, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _figure(height_in: float, duration_s: float, *, bottom: float | None = None) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    low = bottom if bottom is not None else 0.2 / height_in
    axes = figure.add_axes((PLOT[0], low, PLOT[1] - PLOT[0], 1 - low - 0.17 / height_in))
    axes.set_xlim(0, max(duration_s, 1e-3))
    axes.patch.set_alpha(0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    # No Software entry: it would carry matplotlib's version into the bytes.
    figure.savefig(path, format="png", metadata={"Software": None})


def _bars(axes: Axes, notes: Notes, colour: str, name: str) -> None:
    start = np.stack([notes.onset_s, notes.pitch.astype(np.float64)], axis=1)
    end = np.stack([notes.offset_s, notes.pitch.astype(np.float64)], axis=1)
    lines = LineCollection(
        list(np.stack([start, end], axis=1)),
        colors=colour,
        linewidths=1.7,
        capstyle="butt",
        label=f"{name} {len(notes)}",
    )
    axes.add_collection(lines, autolim=False)


def _envelope(
    audio: NDArray[np.float32], sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Return times, lowest and highest sample of at most two cells for each pixel column of a card."""
    starts = np.unique(np.linspace(0, len(audio), min(len(audio), 2 * N_TIME_CELLS), endpoint=False).astype(np.intp))
    if not len(starts):
        return np.zeros(0), audio, audio
    low, high = np.minimum.reduceat(audio, starts), np.maximum.reduceat(audio, starts)
    return starts / sample_rate, low, high


def _on_log_axis(levels: NDArray[np.float32], edges_hz: NDArray[np.float64], *, bin_hz: float) -> NDArray[np.float32]:
    """Return the loudest bin of each band, or the nearest bin where bands are narrower than bins."""
    cells = np.full((len(edges_hz) - 1, levels.shape[1]), FLOOR_DBFS, np.float32)
    for row, (low_hz, high_hz) in enumerate(itertools.pairwise(edges_hz)):
        first = round(low_hz / bin_hz)
        last = max(first + 1, round(high_hz / bin_hz))
        if last <= len(levels):
            cells[row] = levels[first:last].max(axis=0)
    return cells


def _louder_of(cells: NDArray[np.float32], n_columns: int) -> NDArray[np.float32]:
    if cells.shape[1] <= n_columns:
        return cells
    starts = np.linspace(0, cells.shape[1], n_columns, endpoint=False).astype(np.intp)
    return np.maximum.reduceat(cells, starts, axis=1)
