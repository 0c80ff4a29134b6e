"""params.yaml at the door: what is unknown, missing or of the wrong type is named with its place."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from tasks.errors import ParamsError
from tasks.params import Section, read_params, section_values


class Inner(Section):
    depth: int


class Outer(Section):
    gain: float
    inner: Inner


GOOD = {"gain": 1.0, "inner": {"depth": 2}}


class Renamed(Section):
    renamed: ClassVar = {"volume": "gain", "size": "inner.depth"}

    gain: float


def test_former_names_of_keys_are_refused_in_one_line_with_the_names_they_have_now():
    with pytest.raises(ParamsError) as caught:
        Renamed.parse({"volume": 1.0, "size": 2, "other": 3}, "train.x")
    words = str(caught.value)
    assert words.startswith("params.yaml: train.x: volume is now gain, size is now inner.depth: rename them")
    assert "\n" not in words


def test_a_section_keeps_its_values_and_cannot_be_changed():
    section = Outer.parse(GOOD, "outer")
    assert (section.gain, section.inner.depth) == (1.0, 2)
    with pytest.raises(ValidationError):
        section.gain = 2.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gain": 1.0}, "params.yaml: train.x.inner: Field required"),
        ({**GOOD, "gian": 1.0}, "params.yaml: train.x.gian: Extra inputs are not permitted, found 1.0"),
        ({**GOOD, "inner": {"depth": 2, "width": 3}}, "params.yaml: train.x.inner.width: Extra inputs are not"),
        ({**GOOD, "inner": {}}, "params.yaml: train.x.inner.depth: Field required"),
        ({**GOOD, "gain": "loud"}, "params.yaml: train.x.gain: Input should be a valid number"),
        ({**GOOD, "inner": {"depth": 2.5}}, "params.yaml: train.x.inner.depth: Input should be a valid integer"),
        ({**GOOD, "gain": float("nan")}, "params.yaml: train.x.gain: Input should be a finite number, found nan"),
        ({**GOOD, "gain": None}, "params.yaml: train.x.gain: Input should be a valid number, found None"),
        (None, "params.yaml: train.x: Input should be a valid dictionary"),
        ([1], "params.yaml: train.x: Input should be a valid dictionary"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line_with_its_place(values, message):
    with pytest.raises(ParamsError) as refused:
        Outer.parse(values, "train.x")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_section_is_found_under_a_dotted_name():
    params = {"train": {"roll": {"seed": 0}}, "empty": None}
    assert section_values(params, "train.roll") == {"seed": 0}
    assert section_values(params, "empty") is None
    for name in ("render", "train.sea", "train.roll.seed.deeper", "empty.more"):
        with pytest.raises(ParamsError, match=f"params.yaml: section {name} is missing"):
            section_values(params, name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "params.yaml not found: run this in the folder of the project"),
        (b"a: [1\nb: 2", "params.yaml cannot be read: while parsing a flow sequence"),
        (b"a: \xff", "params.yaml cannot be read: "),
        (b"- a\n- b", "params.yaml holds list, expected sections of parameters"),
        (b"", "params.yaml holds NoneType, expected sections of parameters"),
        (b"a: !!python/object/apply:os.getcwd []", "params.yaml cannot be read: could not determine a constructor"),
    ],
)
def test_a_file_that_holds_no_sections_is_one_line(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    if data is not None:
        (tmp_path / "params.yaml").write_bytes(data)
    with pytest.raises(ParamsError) as refused:
        read_params()
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
