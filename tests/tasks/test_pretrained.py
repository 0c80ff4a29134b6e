"""Weights that come with the program are what was committed, and each has a card."""

import pytest

from tasks import pretrained
from tasks.errors import DamagedData
from tasks.pretrained import FOLDER, PRETRAINED, read_pretrained


@pytest.mark.parametrize("name", PRETRAINED)
def test_each_is_whole_small_and_has_a_card(name):
    assert 0 < len(read_pretrained(name)) < 5_000_000
    card = (FOLDER / name).with_suffix(".md").read_text(encoding="utf-8")
    for words in ("Licence", "python -m", "unheard"):
        assert words in card


def test_nothing_lies_there_that_is_not_listed():
    assert {path.name for path in FOLDER.iterdir() if path.suffix != ".md"} == set(PRETRAINED)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), (b"x", "damaged, or of another")]
)
def test_a_missing_and_a_damaged_one_are_one_clear_line(tmp_path, monkeypatch, content, words):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "partials.safetensors").write_bytes(content)
    with pytest.raises(DamagedData, match=words) as caught:
        read_pretrained("partials.safetensors")
    assert "\n" not in str(caught.value)
