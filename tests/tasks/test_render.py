"""A rendered take as a film with sound, for people to look at."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.instruments.keyboard import read_keyboard, read_pedal, shown_at
from tasks.instruments.midi import Controls
from tasks.kinds.scores.render import render_take
from tasks.media.pictures import read_film
from tasks.media.probe import MediaPolicy
from tasks.render import preview
from tasks.store.rendered import read_rendered_sound, read_states


def test_a_preview_shows_keys_and_pedal_while_they_are_down_and_is_as_long_as_its_sound(
    ingest, render_params, notes_of
):
    notes, out = notes_of((0.5, 1.0, 60, 100), (0.8, 1.4, 61, 40)), Path("data/rendered/a")
    moves = Controls(time_s=np.array([0.3, 1.2]), control=np.array([64, 64], np.uint8), value=np.array([127, 0]))
    take = ingest("a", notes, pedal=moves)
    out.mkdir(parents=True)
    render_take(take, out, render_params.model_copy(update={"tail_s": 0.6}))
    states, (audio, _) = read_states("a"), read_rendered_sound("a")
    preview("a", Path("a.mp4"), frame_rate=Fraction(25))
    policy = MediaPolicy(max_pixels=10**6, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**9)
    film = read_film(Path("a.mp4"), width=780, height=57, crop=(0, 0, 780, 57), min_change=0, policy=policy)
    assert film.duration_s == pytest.approx(len(audio) / 48_000, abs=0.001)
    shown = states.velocity[shown_at(states.time_s, rate=Fraction(25), start=0, count=50)]
    frames = np.searchsorted(film.time_s, np.arange(50) / 25 + 0.01) - 1
    np.testing.assert_array_equal(read_keyboard(film.pictures)[frames] > 0, shown > 0)
    expected = [0.3 <= frame / 25 < 1.2 for frame in range(50)]
    assert read_pedal(film.pictures)[frames].tolist() == expected


@pytest.mark.parametrize("name", ["nobody", "../ingested/a", ""])
def test_a_preview_of_no_take_is_one_line(project, name):
    with pytest.raises(DamagedData, match=r"^data/rendered has no take '.*': is it a take's name"):
        preview(name, Path("a.mp4"), frame_rate=Fraction(25))
    assert not Path("a.mp4").exists()
