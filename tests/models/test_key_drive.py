from typing import Literal

import numpy as np
import pytest
import torch

from models.key_drive import FilmDrive, KeyDrive
from models.key_states import Strokes, find_keys
from tasks.instruments.keyboard import N_KEYS, WIDTH, draw_keyboard

Kind = Literal["response", "oscillators"]
KINDS: tuple[Kind, ...] = ("response", "oscillators")
N_SAMPLES = 400


def make(kind: Kind) -> KeyDrive:
    torch.manual_seed(0)
    keys = KeyDrive(kind, n_keys=2, n_columns=WIDTH, length=90, n_partials=2)
    keys.response.responses.normal_()
    keys.response.fade.fill_(0.95)
    keys.response.loudness.copy_(torch.tensor([0.0, 200.0, 2.0]))
    if keys.oscillators is not None:
        keys.oscillators.steps.uniform_(0.1, 1.0)
        keys.oscillators.decays.fill_(1e-3)
    return keys


def follow(kind: Kind) -> FilmDrive:
    strokes = Strokes(
        key=np.array([0, 1, 1, 0], np.int64),
        start=np.array([0, 33, 150, 390], np.int64),
        release=np.array([60, 40, 400, 400], np.int64),
        depth=np.array([200, 100, 141.42, 200], np.float32),
    )
    return make(kind).follow(strokes, N_SAMPLES)


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_film_the_drive_is_0(kind: Kind) -> None:
    drive, whole = follow(kind), follow(kind).at(0, 30)
    assert whole[0].any()  # a stroke begins with the film
    early = drive.at(-25, 55)
    assert not early[:25].any()
    assert torch.equal(early[25:], whole)
    assert not drive.at(-50, 20).any()
    assert len(drive.at(-50, 20)) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_film_are_slices_of_the_whole(kind: Kind) -> None:
    drive = follow(kind)
    whole = drive.at(0, N_SAMPLES)
    assert whole.shape == ((N_SAMPLES,) if kind == "response" else (N_SAMPLES, 8))
    for start, count in [(0, 1), (32, 2), (33, 100), (149, 5), (391, 9), (20, 0)]:
        assert torch.equal(drive.at(start, count), whole[start : start + count]), (start, count)


def test_what_reaches_beyond_the_film_is_0() -> None:
    part = follow("response").at(N_SAMPLES - 5, 20)
    assert part[:5].any()
    assert not part[5:].any()


def test_a_response_is_as_loud_as_its_stroke_was_deep() -> None:
    keys = make("response")
    drive = follow("response").at(0, N_SAMPLES)
    expected = 0.5 * keys.response.responses[1, :90]  # (141.42 / 200) ** 2
    torch.testing.assert_close(drive[150:240], expected, rtol=1e-4, atol=1e-5)


def test_the_strokes_of_a_drawn_film_are_those_that_were_drawn() -> None:
    rng = np.random.default_rng(0)
    velocity = np.zeros((80, N_KEYS), np.uint8)
    velocity[:, [30, 50]] = rng.integers(1, 128, (80, 2)) * (rng.random((80, 2)) < 0.4)
    pedal = np.r_[0, rng.integers(0, 2, 79)].astype(np.uint8)
    training = torch.from_numpy(draw_keyboard(velocity, lit="velocity", pedal=pedal))
    keys = make("response")
    keys.reader.load_state_dict(find_keys(lambda: [training]).state_dict())
    shown = np.zeros((6, N_KEYS), np.uint8)
    shown[1:3, 50], shown[2:, 30], shown[4:, 30] = 64, 100, 20
    held = np.array([0, 0, 1, 1, 0, 0], np.uint8)
    film = torch.from_numpy(draw_keyboard(shown, lit="velocity", pedal=held))
    strokes = keys.strokes(torch.split(film, 4), np.arange(6, dtype=np.int64) * 50, 310)
    assert strokes.key.tolist() == [1, 0, 0]
    assert strokes.start.tolist() == [50, 100, 200]
    assert strokes.release.tolist() == [200, 200, 310]
    np.testing.assert_allclose(strokes.depth, [120, 165, 65], atol=1e-3)  # 40 + 1.25 of each velocity
