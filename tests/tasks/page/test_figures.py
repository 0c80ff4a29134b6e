import threading
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.page import figures
from tasks.page.figures import (
    DPI,
    PLOT,
    WIDTH_IN,
    beside_each_other,
    clock_ms,
    draw_coverage,
    draw_losses,
    draw_note_scores,
    draw_notes,
    draw_spectrogram,
    draw_spectrograms,
    draw_still,
    draw_waveforms,
    loudest_span_s,
)

RATE = 8000
WIDTH = round(WIDTH_IN * DPI)


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image  # (height, width, blue green red alpha)


def tone(hz: float, *, start_s: float, duration_s: float = 4.0) -> np.ndarray:
    time_s = np.arange(round(RATE * duration_s)) / RATE
    audible = (time_s >= start_s) & (time_s < start_s + 1)
    return (0.5 * np.sin(2 * np.pi * hz * time_s) * audible).astype(np.float32)


def bright_columns(image: np.ndarray) -> np.ndarray:
    """Columns inside the axes that hold a warm, bright pixel of the colour map."""
    return np.flatnonzero(((image[..., 2] > 200) & (image[..., 3] == 255)).any(axis=0))


def test_a_tone_is_drawn_where_it_sounds(tmp_path):
    path = tmp_path / "s.png"
    draw_spectrogram(path, tone(1000, start_s=2), sample_rate=RATE, max_frequency_hz=4000)
    share = bright_columns(read(path)) / WIDTH
    left, right = PLOT
    middle = (share - left) / (right - left) * 4.0
    assert middle.min() == pytest.approx(2.0, abs=0.1)
    assert middle.max() == pytest.approx(3.0, abs=0.1)


def test_a_higher_tone_is_drawn_higher(tmp_path):
    rows = []
    for hz in (200, 2000):
        draw_spectrogram(tmp_path / "s.png", tone(hz, start_s=1), sample_rate=RATE, max_frequency_hz=4000)
        image = read(tmp_path / "s.png")
        rows.append(np.flatnonzero(((image[..., 2] > 200) & (image[..., 3] == 255)).any(axis=1)).mean())
    assert rows[1] < rows[0] - 50


def test_silence_is_dark(tmp_path):
    draw_spectrogram(tmp_path / "s.png", np.zeros(RATE, np.float32), sample_rate=RATE, max_frequency_hz=4000)
    assert len(bright_columns(read(tmp_path / "s.png"))) == 0


NOTES = sorted_notes(np.array([0.5, 1.5]), np.array([1.0, 2.0]), np.array([60, 72]), np.array([64, 64]))
NONE = NOTES.take(np.zeros(2, bool))


@pytest.mark.parametrize("estimate", [None, NOTES, NONE], ids=["truth", "found", "nothing found"])
@pytest.mark.parametrize("reference", [NOTES, NONE], ids=["two notes", "no note"])
def test_a_piano_roll_can_be_drawn_of(tmp_path, reference, estimate):
    draw_notes(tmp_path / "n.png", reference, estimate, duration_s=2.5)
    assert read(tmp_path / "n.png").shape[1] == WIDTH


@pytest.mark.parametrize("n_samples", [0, 1, 100, RATE])
def test_waveforms_of_any_length_can_be_drawn(tmp_path, n_samples):
    sound = tone(440, start_s=0)[:n_samples]
    draw_waveforms(tmp_path / "w.png", sound, -sound, sample_rate=RATE, zoom_start_s=0.0, zoom_s=0.05)
    assert read(tmp_path / "w.png").shape[1] == WIDTH


def test_losses_can_be_drawn_of_one_step_and_of_many(tmp_path):
    curves = {"train": ([0.0], [3.0]), "validation": ([float(step) for step in range(500)], [1.0] * 500)}
    draw_losses(tmp_path / "l.png", curves)
    assert read(tmp_path / "l.png").shape[1] == WIDTH


def test_the_page_shows_through_behind_a_picture(tmp_path):
    draw_notes(tmp_path / "n.png", NOTES, None, duration_s=2.5)
    assert read(tmp_path / "n.png")[0, 0, 3] == 0


def test_a_still_is_the_picture_pixel_for_pixel(tmp_path):
    picture = np.arange(57 * 780, dtype=np.uint32).reshape(57, 780).astype(np.uint8)
    draw_still(tmp_path / "p.png", picture)
    assert np.array_equal(read(tmp_path / "p.png")[..., 0], picture)


def test_the_same_sound_gives_the_same_bytes_whatever_the_user_likes(tmp_path):
    for name, size in (("a.png", 8.0), ("b.png", 30.0)):
        with mpl.rc_context({"font.size": size, "axes.grid": True}):
            draw_waveforms(
                tmp_path / name,
                tone(440, start_s=0),
                tone(220, start_s=1),
                sample_rate=RATE,
                zoom_start_s=1.0,
                zoom_s=0.05,
            )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"atplotlib" not in (tmp_path / "a.png").read_bytes()


def test_the_loudest_span_begins_where_the_planted_burst_does():
    audio = 0.01 * np.ones(RATE, np.float32)
    audio[3000:3400] = 0.9
    assert loudest_span_s(audio, sample_rate=RATE, length_s=0.05) == pytest.approx(3000 / RATE)


@pytest.mark.parametrize("n_samples", [0, 10, RATE])
def test_silence_and_short_sounds_begin_at_nothing(n_samples):
    assert loudest_span_s(np.zeros(n_samples, np.float32), sample_rate=RATE, length_s=0.05) == 0.0


@pytest.mark.parametrize(("time_s", "shown"), [(0, "0:00.000"), (12.3456, "0:12.346"), (125.5, "2:05.500")])
def test_a_moment_in_milliseconds(time_s, shown):
    assert clock_ms(time_s) == shown


def test_a_note_that_was_found_is_bright_and_one_that_was_not_is_dark(tmp_path):
    draw_note_scores(tmp_path / "n.png", [60, 61, 62, 63], {"a": np.array([1.0, 0.0, np.nan, 1.0])})
    image = read(tmp_path / "n.png").astype(int)
    middle = image[len(image) // 2]
    cells = [middle[round(image.shape[1] * (0.16 + 0.76 * (cell + 0.5) / 4))] for cell in range(4)]
    brightness = [cell[:3].sum() if cell[3] == 255 else None for cell in cells]
    assert brightness[2] is None
    assert brightness[0] == brightness[3] > brightness[1] + 200


def test_several_spectrograms_share_one_picture_and_its_time_axis(tmp_path):
    sounds = {"1 vn": tone(1000, start_s=2), "2 vc": np.zeros(4 * RATE, np.float32), "3 fl": tone(500, start_s=0)}
    for name in ("a.png", "b.png"):
        draw_spectrograms(tmp_path / name, sounds, sample_rate=RATE, max_frequency_hz=4000)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = read(tmp_path / "a.png")
    third = len(image) // 3
    left, right = PLOT
    for rows, begins_s in ((image[:third], 2.0), (image[2 * third :], 0.0)):
        share = bright_columns(rows) / WIDTH
        middle = (share - left) / (right - left) * 4.0
        assert middle.min() == pytest.approx(begins_s, abs=0.1)
        assert middle.max() == pytest.approx(begins_s + 1, abs=0.1)
    assert not len(bright_columns(image[third + 20 : 2 * third - 20]))


def test_coverage_is_darkest_where_nothing_is_played(tmp_path):
    pitch = np.repeat([60, 62], [100, 1])
    draw_coverage(tmp_path / "a.png", pitch, np.repeat([100, 20], [100, 1]))
    height, width = read(tmp_path / "a.png").shape[:2]
    plot = read(tmp_path / "a.png")[:, round(0.06 * width) : round(0.91 * width), :3].astype(int)
    left, middle, right = (plot[:, round(share * plot.shape[1])] for share in (0.1, 0.5, 0.9))
    at = [round((1 - 0.14 - 0.82 * velocity / 128) * height) for velocity in (100, 20)]
    assert left[at[0]].sum() > right[at[1]].sum() > middle[at[0]].sum()  # viridis: brighter is more
    assert (middle[at[0]] == middle[at[1]]).all()


def test_pictures_stand_side_by_side_twice_as_large():
    picture = beside_each_other([np.full((4, 6), luma, np.uint8) for luma in (0, 100)])
    assert picture.shape == (8, 2 * (6 + 2 + 6))
    assert (picture[:, :12] == 0).all()
    assert (picture[:, 16:] == 100).all()


def test_a_thread_that_is_done_drawing_leaves_the_style_of_another_alone():
    entered, go, styles = threading.Event(), threading.Event(), []

    def draw():
        with figures._styled():
            entered.set()
            go.wait(10)
            styles.append(mpl.rcParams["legend.frameon"])

    other = threading.Thread(target=draw)
    with figures._styled():
        other.start()
        entered.wait(0.2)  # where nothing keeps it out, it is inside by now
    go.set()
    other.join(10)
    assert styles == [False]
    assert mpl.rcParams["legend.frameon"] == mpl.rcParamsDefault["legend.frameon"]
