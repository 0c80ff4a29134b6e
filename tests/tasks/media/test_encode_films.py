"""Several small films at once: each is what was asked for, and the same bytes every time."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.media.encode import encode_films
from tasks.media.pictures import read_film
from tasks.media.probe import NO_LIMITS, MediaPolicy, packets_of, probe

POLICY = MediaPolicy(max_pixels=10_000, max_duration_s=10.0, max_bytes=10**6, max_streams=2, max_file_bytes=10**6)


@pytest.fixture(scope="module")
def pictures():
    """Three films of 30 pictures, a bright square that goes another way in each."""
    made = np.full((30, 3, 32, 48), 60, np.uint8)
    for number in range(30):
        made[number, 0, 8:16, number : number + 8] = 220
        made[number, 1, 8:16, 40 - number : 48 - number] = 220
        made[number, 2, number // 2 : number // 2 + 8, 20:28] = 220
    return made


def test_each_film_shows_its_own_pictures_at_the_rate(tmp_path, pictures):
    paths = [tmp_path / f"cam_p{number}.mp4" for number in (1, 2, 3)]
    assert encode_films(paths, iter(pictures), frame_rate=Fraction(25)) == 30
    for number, path in enumerate(paths):
        facts = probe(path, policy=NO_LIMITS)
        assert (facts.video.width, facts.video.height, facts.video.frame_rate) == (48, 32, 25)
        assert facts.audio is None
        np.testing.assert_allclose(
            packets_of(path, facts, facts.video, policy=NO_LIMITS).time_s, np.arange(30) / 25, atol=1e-6
        )
        shown = read_film(path, width=48, height=32, crop=None, min_change=0, policy=POLICY).pictures
        assert shown.shape == (30, 32, 48)
        assert np.abs(shown.astype(int) - pictures[:, number]).mean() < 2


def test_the_same_pictures_give_the_same_bytes(tmp_path, pictures):
    written = []
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}{number}.mp4" for number in (1, 2, 3)]
        encode_films(paths, iter(pictures), frame_rate=Fraction(25))
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    assert len(set(written[0])) == 3


@pytest.mark.parametrize("shape", [(2, 32, 48), (3, 31, 48), (3, 32, 47)])
def test_pictures_that_do_not_fit_the_films_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="for 3 films, expected even sides and one a film"):
        encode_films(
            [tmp_path / f"{number}.mp4" for number in range(3)],
            iter([np.zeros(shape, np.uint8)]),
            frame_rate=Fraction(25),
        )
    assert not list(tmp_path.iterdir())


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shape None for 1 films"):
        encode_films([tmp_path / "a.mp4"], iter([]), frame_rate=Fraction(25))
