"""Pictures: a note changes them where a mallet or a key moves, in its shadow, and where a struck bar swings."""

import cv2
import numpy as np
import pytest

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.marimba import HEAD_RADIUS_CM, bars_of, hands_of, plan_mallets
from tasks.instruments.notes import sorted_notes
from tasks.rig.film import MOMENTS, exposure_moments
from tasks.rig.piano import dips, key_corners
from tasks.rig.rigs import VIEWS
from tasks.rig.views import filmed

BARS = bars_of()
N_PICTURES = 50
HAND_CM, ARM_CM, ELBOW_CM = 3.4, 4.2, np.array([0.0, -26.0, -8.0])


def some_slow(views):
    """The first and the last view, and those between for when there is time."""
    between = list(views)[1:-1]
    return [pytest.param(view, marks=[pytest.mark.slow] if view in between else []) for view in views]


def rig_with(view, draw_rig, **about):
    rigs = (draw_rig(seed, is_test=True, n_cameras=4, **about) for seed in range(99))
    return next(rig for rig in rigs if view in {camera.name for camera in rig.cameras})


def melody(seed, pitches, *, n_notes=8, length_s=0.3):
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0.3, 2.0, n_notes))
    pitch = rng.permutation(pitches)[:n_notes]  # each once
    return sorted_notes(onset_s, onset_s + length_s, pitch, rng.integers(40, 120, n_notes))


def shot(rig, notes, camera=0, *, rate=25, n_pictures=N_PICTURES):
    time_s = np.arange(n_pictures) / rate
    return time_s, filmed(rig, rig.cameras[camera], camera, notes, time_s)


def blob(mask, camera, centre, radius_cm, *, margin=2.5):
    x, y = camera.project(centre)
    radius = camera.pixels_per_cm(centre) * radius_cm + margin
    cv2.circle(mask, (round(x), round(y)), int(np.ceil(radius)) + 1, 1, -1)


def stick(mask, camera, start, end, half_cm, *, margin=2.5):
    first, last = np.rint(camera.project(np.stack([start, end]))).astype(int).tolist()
    half = max(camera.pixels_per_cm(np.stack([start, end]))) * half_cm + margin
    cv2.line(mask, first, last, 1, int(np.ceil(2 * half)) + 2)


def where_a_marimba_may_show_notes(camera, light, notes, moments_s, *, swing_s=1.2):
    """Where, by geometry alone, notes may be seen in one picture."""
    mask = np.zeros((camera.height, camera.width), np.uint8)
    tips = np.stack([mallet.tip_at(moments_s) for mallet in plan_mallets(notes, BARS)])
    heads, hands = tips + np.array([0, 0, HEAD_RADIUS_CM]), hands_of(tips)
    for head_path, hand_path in zip(heads, hands, strict=True):
        for head, hand in zip(head_path, hand_path, strict=True):
            low_head, low_hand = light.shadow_of(np.stack([head, hand]))
            blob(mask, camera, head, HEAD_RADIUS_CM * 1.1)
            blob(mask, camera, hand, HAND_CM)
            blob(mask, camera, low_head, HEAD_RADIUS_CM)
            stick(mask, camera, head, hand, 0.5)
            stick(mask, camera, low_head, low_hand, 0.5)
            stick(mask, camera, hand, hand + ELBOW_CM, ARM_CM)
    for bar in BARS:
        struck_s = notes.onset_s[notes.pitch == bar.pitch]
        if ((struck_s <= moments_s[-1]) & (struck_s > moments_s[0] - swing_s)).any():
            outline = camera.project(np.c_[bar.corners_cm, np.zeros(4)])
            cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
            cv2.polylines(mask, [np.rint(outline).astype(np.int32)], True, 1, 6)
    return mask.astype(bool)


@pytest.mark.parametrize("view", some_slow(VIEWS["marimba-18"]))
def test_no_pixel_of_a_marimba_tells_of_a_note_but_mallets_shadows_and_struck_bars(draw_rig, view):
    rig = rig_with(view, draw_rig)
    number = [camera.name for camera in rig.cameras].index(view)
    device = rig.cameras[number]
    camera, light = device.camera(), rig.surroundings.light
    one, other = (melody(seed, [bar.pitch for bar in BARS]) for seed in (1, 2))
    time_s, film = shot(rig, one, number)
    _, changed = shot(rig, other, number)
    visible, hidden = 0, []
    for index, moments_s in enumerate(exposure_moments(time_s, device.exposure_s)):
        may = where_a_marimba_may_show_notes(camera, light, one, moments_s)
        may |= where_a_marimba_may_show_notes(camera, light, other, moments_s)
        differs = film.picture(index) != changed.picture(index)
        assert not (differs & ~may).any(), f"picture {index}"
        visible += differs.sum()
        hidden.append(1 - may.mean())
    assert visible > 100 * N_PICTURES  # the notes do show
    assert np.median(hidden) > 0.5  # and most of the picture was held to that


@pytest.mark.parametrize("view", some_slow(VIEWS["piano"]))
def test_no_pixel_of_a_piano_tells_of_a_note_but_keys_that_are_down(draw_rig, view):
    rig = rig_with(view, draw_rig, instrument="piano")
    number = [camera.name for camera in rig.cameras].index(view)
    camera = rig.cameras[number].camera()
    one, other = (melody(seed, range(45, 80)) for seed in (1, 2))
    time_s, film = shot(rig, one, number)
    _, changed = shot(rig, other, number)
    visible = 0
    for index, moments_s in enumerate(exposure_moments(time_s, rig.cameras[number].exposure_s)):
        mask = np.zeros((camera.height, camera.width), np.uint8)
        for notes in (one, other):
            moving = (notes.onset_s - 0.03 <= moments_s[-1]) & (notes.offset_s + 0.06 >= moments_s[0])
            for pitch in notes.pitch[moving].tolist():
                hull = cv2.convexHull(np.rint(camera.project(key_corners()[pitch - LOWEST_PITCH])).astype(np.int32))
                cv2.fillPoly(mask, [hull], 1)
                cv2.polylines(mask, [hull], True, 1, 5)
        differs = film.picture(index) != changed.picture(index)
        assert not (differs & ~mask.astype(bool)).any(), f"picture {index}"
        visible += differs.sum()
    assert visible > 5 * N_PICTURES


@pytest.mark.parametrize("instrument", ["marimba-18", "piano"])
def test_before_and_long_after_the_notes_nothing_differs_but_waiting_mallets(draw_rig, instrument):
    rig = draw_rig(4, instrument=instrument)
    pitches = [bar.pitch for bar in BARS] if instrument == "marimba-18" else range(40, 80)
    _, film = shot(rig, melody(1, pitches), n_pictures=200)
    still = film.still
    if instrument == "piano":
        np.testing.assert_array_equal(film.clean(0), still)
        np.testing.assert_array_equal(film.clean(199), still)
    else:
        assert np.count_nonzero(film.amounts[[0, 199]]) == 0


def test_noise_follows_from_the_seed_and_the_picture_alone(draw_rig):
    rig = draw_rig(4, instrument="piano")
    _, film = shot(rig, melody(1, range(40, 60)))
    _, again = shot(rig, melody(2, range(60, 80)))
    np.testing.assert_array_equal(film.picture(0), again.picture(0))
    assert (film.picture(0) != film.picture(1)).mean() > 0.2
    assert abs(float(film.picture(0).mean()) - float(film.still.mean())) < 0.2


@pytest.mark.parametrize("pitch", [30, 60, 61, 100])
def test_a_key_is_down_in_the_picture_from_its_onset_to_its_offset(draw_rig, pitch):
    rig = draw_rig(2, instrument="piano", is_test=True)
    device = rig.cameras[0]
    notes = sorted_notes(np.array([0.5]), np.array([1.1]), np.array([pitch]), np.array([90]))
    time_s = np.arange(0, 2, 0.01)
    film = filmed(rig, device, 0, notes, time_s)
    seen = np.array([np.abs(film.clean(index) - film.still).sum() for index in range(len(time_s))])
    down = time_s[seen > 0.75 * seen.max()]
    assert down[0] == pytest.approx(0.5, abs=0.025)
    assert down[-1] == pytest.approx(1.11, abs=0.03)
    assert seen.max() > 100


def test_all_keys_that_can_be_pressed_change_the_picture(draw_rig):
    rig = draw_rig(2, instrument="piano", is_test=True)
    onset_s = np.arange(88) * 0.5 + 0.2
    notes = sorted_notes(onset_s, onset_s + 0.3, np.arange(21, 109), np.full(88, 90))
    film = filmed(rig, rig.cameras[0], 0, notes, onset_s + 0.15)
    for key, part in enumerate(film.parts):
        assert np.abs(part.change).max() > 12, key  # luma: more than the sensor's noise


def test_a_strike_is_in_the_picture_whose_exposure_holds_it(draw_rig):
    rig = draw_rig(6)
    notes = melody(3, [bar.pitch for bar in BARS])
    time_s, film = shot(rig, notes)
    exposure_s = rig.cameras[0].exposure_s
    column = {bar.pitch: index for index, bar in enumerate(BARS)}
    for onset_s, pitch in zip(notes.onset_s, notes.pitch.tolist(), strict=True):
        first = int(np.flatnonzero(film.amounts[:, column[pitch]])[0])
        assert time_s[first] + exposure_s / 2 * (1 - 1 / MOMENTS) >= onset_s
        assert time_s[first - 1] + exposure_s / 2 * (1 - 1 / MOMENTS) < onset_s


def test_a_mallet_that_moves_is_blurred_and_one_that_waits_is_not(draw_rig):
    rig = draw_rig(6)
    notes = sorted_notes(np.array([2.0]), np.array([2.1]), np.array([82]), np.array([110]))
    device = rig.cameras[0].model_copy(update={"exposure_s": 0.03})
    waiting, falling = (filmed(rig, device, 0, notes, np.array([moment])).clean(0) for moment in (0.5, 2.0 - 0.02))
    sharp = [float(np.abs(cv2.Laplacian(picture, cv2.CV_32F)).max()) for picture in (waiting, falling)]
    assert sharp[1] < sharp[0] * 1.05


def test_dips_are_whole_between_onset_and_offset_and_none_elsewhere():
    notes = sorted_notes(np.array([1.0]), np.array([2.0]), np.array([60]), np.array([90]))
    time_s = np.array([0.9, 0.969, 1.0, 1.5, 2.0, 2.061])
    np.testing.assert_allclose(
        dips(notes, [39], time_s, travel_s=np.array([0.03]))[:, 0], [0, 0, 1, 1, 1, 0], atol=1e-9
    )
