"""Films that the rig draws are read as what it played; evidence that is planted is read as it was planted."""

import re
from dataclasses import replace

import cv2
import mir_eval
import numpy as np
import pytest

from tasks.instruments.notes import Notes
from tasks.keyboards.evidence import BAR_ROWS, PER_WHITE, Evidence, gather
from tasks.keyboards.layout import Keys
from tasks.keyboards.place import place_of_corners
from tasks.keyboards.pressed import changes_of, pressed_notes
from tasks.keyboards.read import Asked, KeyboardError, KeyboardParams, notes_of, read_keyboard_film
from tasks.keyboards.templates import needed, presses_of
from tasks.media.probe import MediaPolicy
from tasks.rig.keyboard_films import film_of

POLICY = MediaPolicy(max_pixels=10**7, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**8)
PARAMS = KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.025, velocity=80, gain=0.5)
KEYS = Keys(lowest=21, highest=108, guessed=False)
RATE = 30


def onset_f1(reference: Notes, found: Notes) -> float:
    def arranged(notes):
        return np.stack([notes.onset_s, notes.offset_s], axis=1), mir_eval.util.midi_to_hz(notes.pitch.astype(float))

    _, _, f1, _ = mir_eval.transcription.precision_recall_f1_overlap(
        *arranged(reference), *arranged(found), onset_tolerance=0.05, offset_ratio=None
    )
    return float(f1)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    return film_of("tutorial-repeated", 3, tmp_path_factory.mktemp("lit"), duration_s=5.0)


def test_lit_keys_are_read_with_the_strokes_that_only_the_bars_show(repeated):
    reading = read_keyboard_film(repeated.path, policy=POLICY, params=PARAMS)
    assert (reading.mode, str(reading.keys)) == ("lit", "88 keys A0-C8")
    assert np.abs(reading.place.corners - repeated.corners).max() < 0.2 * repeated.white_px
    assert onset_f1(repeated.notes, reading.notes) >= 0.95
    assert str(reading).endswith(f"lit keys; {len(reading.notes)} notes")


def test_a_crop_gives_the_same_place_in_the_whole_picture(repeated):
    asked = Asked(crop=(0, 300, 1280, 420))
    reading = read_keyboard_film(repeated.path, policy=POLICY, params=PARAMS, asked=asked)
    assert np.abs(reading.place.corners - repeated.corners).max() < 0.2 * repeated.white_px
    assert onset_f1(repeated.notes, reading.notes) >= 0.95


def test_pressed_keys_of_a_person_are_read(tmp_path):
    film = film_of("overhead-640", 3, tmp_path, duration_s=5.0)
    reading = read_keyboard_film(film.path, policy=POLICY, params=PARAMS)
    assert reading.mode == "pressed"
    assert onset_f1(film.notes, reading.notes) >= 0.85


def test_a_camera_that_is_moved_for_good_is_told_and_the_keys_are_read_before_and_after(tmp_path):
    film = film_of("overhead-moved", 13, tmp_path, duration_s=12.0)
    reading = read_keyboard_film(film.path, policy=POLICY, params=PARAMS)
    told = [
        float(re.search(r"moved at about (.*) s:", line)[1]) for line in reading.remarks if "moved at about" in line
    ]
    assert told == [pytest.approx(film.moves[0][0], abs=0.5)]
    for is_after in (False, True):
        halves = [notes.take((notes.onset_s > film.moves[0][0]) == is_after) for notes in (film.notes, reading.notes)]
        assert onset_f1(*halves) >= 0.7  # templates of 6 s; where the keys are not looked for anew it is below 0.4


def test_hands_that_press_no_key_give_no_notes(tmp_path):
    film = film_of("idle-under-hands", 3, tmp_path, duration_s=4.0)
    assert len(read_keyboard_film(film.path, policy=POLICY, params=PARAMS).notes) == 0


def test_a_film_without_a_keyboard_is_refused_with_the_score(tmp_path):
    film = film_of("no-hands-alone", 3, tmp_path, duration_s=1.0)
    with pytest.raises(
        KeyboardError, match=r"no keyboard was found: the best match .* scores 0\.\d\d, expected"
    ) as caught:
        read_keyboard_film(film.path, policy=POLICY, params=PARAMS)
    assert caught.value.kind == "NO_KEYBOARD"


def test_keys_that_are_too_small_are_refused(repeated):
    params = PARAMS.model_copy(update={"min_white_px": 30.0})
    with pytest.raises(KeyboardError, match="the keys are too small: 24") as caught:
        read_keyboard_film(repeated.path, policy=POLICY, params=params)
    assert caught.value.kind == "KEYS_TOO_SMALL"


def evidence_of(presses, *, shade=None, slow=1):
    """Return evidence of 6 s of 88 keys in which keys (row, first, last picture) go down, and up in ``slow`` steps."""
    spans = KEYS.spans() * PER_WHITE
    is_black = np.array([pitch % 12 in (1, 3, 6, 8, 10) for pitch in KEYS.pitches])
    n_pictures, n_columns = 6 * RATE, KEYS.n_white * PER_WHITE
    still = np.full(n_columns, 200.0)
    for first, last in spans[is_black]:
        still[round(first) : round(last)] = 30.0
    profile = np.tile(still, (n_pictures, 1))
    for key, begin, end in presses:
        first, last = (round(edge) for edge in spans[key])
        down = np.zeros((n_pictures, 1))
        down[begin:end] = 1.0
        down[end : end + slow - 1, 0] = 1 - np.arange(1, slow) / slow
        look = np.zeros(n_columns)
        if is_black[key]:  # it moves to the right
            look[first : first + 2] += 60.0
            look[last : last + 2] -= 60.0
        else:  # it is darker where no black key hides it
            look[first:last] = np.where(still[first:last] > 100, -25.0, 0.0)
        profile += down * look
    if shade is not None:
        profile *= shade[:, None]
    profile += np.random.default_rng(0).normal(0, 0.5, profile.shape)
    colour = np.full((n_pictures, 88, 3), 128.0, np.float32)
    return Evidence(
        time_s=np.arange(n_pictures) / RATE,
        colour=colour,
        profile=profile.astype(np.float16),
        bars=np.zeros((n_pictures, BAR_ROWS, 88), np.uint8),
        hidden=np.zeros((n_pictures, 88), bool),
        still_colour=colour[0],
        still_profile=still.astype(np.float32),
        spans=spans,
        is_black=is_black,
        moves=np.zeros(n_pictures, np.float32),
    )


def test_planted_presses_come_back_where_they_were_planted():
    planted = [(39, 30, 50), (43, 40, 60), (46, 70, 90), (37, 100, 120), (39, 130, 140)]
    mode, notes = notes_of(evidence_of(planted), KEYS, duration_s=6.0, lead_s=0.0, velocity=80)
    assert mode == "pressed"
    assert [pitch - 21 for pitch in notes.pitch.tolist()] == [key for key, *_ in planted]
    np.testing.assert_allclose(notes.onset_s, [begin / RATE for _, begin, _ in planted], atol=1 / RATE)
    np.testing.assert_allclose(notes.offset_s, [end / RATE for *_, end in planted], atol=1 / RATE)


def test_a_key_struck_while_it_still_comes_up_has_the_onset_of_its_own_stroke():
    planted = [(39, 30, 50), (39, 53, 80), (43, 40, 60), (43, 63, 75)]
    notes = pressed_notes(evidence_of(planted, slow=3))
    found = sorted((note.key, note.onset_s) for note in notes)
    assert [key for key, _ in found] == [39, 39, 43, 43]
    np.testing.assert_allclose(
        [onset_s for _, onset_s in found], [begin / RATE for _, begin, _ in sorted(planted)], atol=1 / RATE
    )


def test_a_key_that_is_down_most_of_the_time_is_not_taken_for_one_that_is_up():
    planted = [(39, 20, 130), (37, 30, 60), (41, 70, 90), (43, 100, 120), (46, 30, 60), (51, 20, 40)]
    notes = pressed_notes(evidence_of(planted))
    assert sorted(note.key for note in notes) == sorted(key for key, *_ in planted)
    held = next(note for note in notes if note.key == 39)
    assert held.onset_s == pytest.approx(20 / RATE, abs=1 / RATE)
    assert held.offset_s == pytest.approx(130 / RATE, abs=1 / RATE)


DRAWN = place_of_corners(KEYS, np.array([[20.0, 20.0], [1260.0, 20.0], [1260.0, 180.0], [20.0, 180.0]]))
COLUMNS_A_PX = PER_WHITE * KEYS.n_white / 1240


@pytest.fixture(scope="module")
def drawn_at():
    """Give pictures of idle keys at `DRAWN` that lie so many pixels further to the right."""
    fine = np.full((200, 12_800), 40.0, np.float32)  # ten columns a pixel: a tenth of a pixel is a whole one
    fine[20:180, 200:12_600] = 220.0
    is_black = np.array([pitch % 12 in (1, 3, 6, 8, 10) for pitch in KEYS.pitches])
    for first, last in KEYS.spans()[is_black] * 12_400 / KEYS.n_white + 200:
        fine[20:120, round(first) : round(last)] = 30.0

    def at(shift_px):
        picture = np.full((3, 200, 1280), 128, np.uint8)
        moved = np.roll(fine, round(10 * shift_px), axis=1)
        picture[0] = cv2.resize(moved, (1280, 200), interpolation=cv2.INTER_AREA)
        return picture

    return at


def test_a_camera_that_moves_by_a_part_of_a_column_is_followed(drawn_at):
    film = np.stack([drawn_at(0.0)] * 12 + [drawn_at(0.3)] * 24)
    evidence = gather([(film, np.arange(len(film)) / RATE)], drawn_at(0.0), DRAWN)
    assert np.all(evidence.moves[:12] == 0)
    assert evidence.moves[-1] == pytest.approx(0.3 * COLUMNS_A_PX, abs=0.07)


def test_a_camera_that_is_held_by_hand_is_followed_from_picture_to_picture(drawn_at):
    shift_px = 2 * np.sin(np.arange(40) * 0.6)
    film = np.stack([drawn_at(shift) for shift in shift_px])
    evidence = gather([(film, np.arange(len(film)) / RATE)], drawn_at(0.0), DRAWN)
    beside = np.abs(evidence.moves - COLUMNS_A_PX * np.round(shift_px, 1))[12:]  # drawn in whole tenths of a pixel
    assert np.median(beside) < 0.1
    assert beside.max() < 0.3
    away = np.abs(evidence.profile[12:].astype(float) - evidence.still_profile)
    assert np.median(away) < 1.0


def test_another_picture_between_does_not_move_the_keys(drawn_at):
    other = np.full((3, 200, 1280), 128, np.uint8)
    other[0] = np.repeat(np.random.default_rng(5).integers(0, 255, 40), 32)
    film = np.stack([drawn_at(0.0)] * 12 + [other] * 40 + [drawn_at(0.0)] * 12)
    evidence = gather([(film, np.arange(len(film)) / RATE)], drawn_at(0.0), DRAWN)
    assert np.all(evidence.moves == 0)
    np.testing.assert_array_equal(evidence.is_shown, [True] * 12 + [False] * 40 + [True] * 12)


def test_a_camera_that_exposes_anew_changes_no_key(drawn_at):
    still = drawn_at(0.0)
    film = np.stack([still, still, still])
    film[1, 0] = np.rint(0.8 * still[0] + 12)
    film[2, 0] = np.rint(1.1 * still[0] - 15)
    evidence = gather([(film, np.arange(3) / RATE)], still, DRAWN)
    away = np.abs(evidence.profile.astype(float) - evidence.still_profile)
    assert away.max() < 1.5
    assert np.abs(evidence.colour - evidence.still_colour).max() < 1.5


def test_many_keys_that_flash_together_are_a_jolt_of_the_camera_and_a_few_are_a_chord():
    held = [(39, 30, 50), (43, 40, 60), (46, 70, 90), (37, 100, 120), (51, 130, 150), (49, 20, 40)]
    keys = (30, 32, 34, 35, 37, 39, 41, 42, 44, 46, 47, 49)
    jolt, chord = [(key, 155, 157) for key in keys], [(key, 165, 168) for key in (39, 43, 46)]
    notes = pressed_notes(evidence_of([*held, *jolt, *chord]))
    late = [note for note in notes if note.onset_s > 152 / RATE]
    assert sorted(note.key for note in late) == [39, 43, 46]
    assert len(notes) == len(held) + len(chord)


def test_a_lead_moves_onsets_alone():
    evidence = evidence_of([(39, 30, 50), (43, 70, 90)])
    _, early = notes_of(evidence, KEYS, duration_s=6.0, lead_s=0.0, velocity=80)
    _, late = notes_of(evidence, KEYS, duration_s=6.0, lead_s=0.1, velocity=80)
    np.testing.assert_allclose(late.onset_s - early.onset_s, 0.1)
    np.testing.assert_array_equal(late.offset_s, early.offset_s)


def test_a_light_that_fades_over_all_keys_presses_none():
    shade = 1 - 0.15 * np.sin(np.linspace(0, 6 * np.pi, 6 * RATE)) ** 2
    assert pressed_notes(evidence_of([], shade=shade)) == []


def test_black_keys_that_turn_lighter_together_are_light_and_one_of_them_is_a_press():
    evidence = evidence_of([(39, 30, 50), (40, 70, 90), (42, 100, 120), (46, 130, 150)])
    lift = 25 * np.sin(np.linspace(0, 6 * np.pi, len(evidence.time_s))) ** 2
    is_dark = evidence.still_profile < 0.5 * evidence.still_profile.max()  # white keys are at full scale already
    lighter = replace(evidence, profile=(evidence.profile + lift[:, None] * is_dark).astype(np.float16))
    np.testing.assert_allclose(changes_of(lighter), changes_of(evidence), atol=4)
    assert sorted(note.key for note in pressed_notes(lighter)) == [39, 40, 42, 46]


def test_a_film_that_draws_all_of_its_picture_anew_presses_no_keys_by_it():
    planted = [(39, 30, 50), (40, 60, 80), (42, 100, 120), (46, 130, 150)]
    once = evidence_of(planted)
    twice = {
        name: np.concatenate([getattr(once, name)] * 2) for name in ("colour", "profile", "bars", "hidden", "moves")
    }
    twice["profile"][6 * RATE :] += (5 * np.random.default_rng(3).standard_normal(twice["profile"].shape[1])).astype(
        "f2"
    )
    anew = replace(once, time_s=np.arange(12 * RATE) / RATE, **twice)
    np.testing.assert_allclose(np.median(np.abs(changes_of(anew)), axis=1), 0, atol=1)
    assert sorted(note.key for note in pressed_notes(anew)) == [39, 39, 40, 40, 42, 42, 46, 46]


def test_a_key_that_those_beside_it_explain_is_not_needed():
    evidence = evidence_of([(39, 30, 50), (40, 70, 90), (41, 100, 120)])
    presses = presses_of(changes_of(evidence), evidence)
    assert needed(presses, evidence, 39, slice(34, 46)) > 100
    # What key 41 looks like when it is down, a quarter of key 40 too, and something that no key explains.
    rng = np.random.default_rng(1)
    wrong = presses.changes[104:116].mean(axis=0) + 0.25 * presses.templates[40]
    unexplained = rng.standard_normal((12, len(wrong)), np.float32) * 6
    seen = presses.changes.copy()
    seen[104:116] = wrong + np.repeat(unexplained[:1], 12, axis=0)
    assert 0 <= needed(replace(presses, changes=seen), evidence, 40, slice(104, 116)) < 0.5
    assert needed(replace(presses, changes=seen), evidence, 41, slice(104, 116)) > 1


def test_a_note_whose_finger_came_before_its_bar_begins_with_the_bar():
    evidence = evidence_of([])
    time_s, colour, bars = evidence.time_s, evidence.colour.copy(), evidence.bars.copy()
    onsets_s = {39: 1.0, 43: 1.5, 46: 2.0, 51: 2.5, 53: 3.0, 41: 3.5, 48: 4.0}
    for key, onset_s in onsets_s.items():
        finger_s = 0.12 if key == 48 else 0.0
        colour[(time_s > onset_s - finger_s) & (time_s < onset_s + 0.4), key] += [44, 28, -18]
        for row in range(BAR_ROWS):  # a row in 20 ms
            bars[(time_s > onset_s - 0.02 * row) & (time_s < onset_s + 0.4 - 0.02 * row), row, key] = 100
    mode, notes = notes_of(replace(evidence, colour=colour, bars=bars), KEYS, duration_s=6.0, lead_s=0.0, velocity=80)
    assert mode == "lit"
    found = dict(zip((notes.pitch - 21).tolist(), notes.onset_s.tolist(), strict=True))
    assert found == {key: pytest.approx(onset_s, abs=0.04) for key, onset_s in onsets_s.items()}
