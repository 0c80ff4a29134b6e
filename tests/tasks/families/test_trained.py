"""What a trained folder holds, with and without a network."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.families.trained import load_facts, load_trained, save_trained, write_curve


def test_arrays_and_facts_come_back_lists_as_tuples_and_needed_facts_typed(tmp_path):
    arrays = {"scale": np.array(2.5), "table": np.arange(6, dtype=np.int16).reshape(2, 3).T, "none": np.zeros(0)}
    save_trained(tmp_path / "out" / "x", arrays, {"rate": "30000/1001", "sizes": [[1, 2], [3]], "more": {"a": [4]}})
    found, facts = load_trained(tmp_path / "out" / "x", {"rate": Fraction})
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        found[name] += 1  # what is read may be changed
    assert facts == {"rate": Fraction(30000, 1001), "sizes": ((1, 2), (3,)), "more": {"a": (4,)}}
    assert load_facts(tmp_path / "out" / "x", {})["rate"] == "30000/1001"


def test_damaged_weights_are_refused_in_words(tmp_path):
    save_trained(tmp_path / "net", {"w": np.ones(3)}, {})
    weights, config = tmp_path / "net.safetensors", tmp_path / "net.json"
    whole = weights.read_bytes()
    for content in (b"", whole[:-1], whole[:20], b"\x80\x04pickle"):
        weights.write_bytes(content)
        with pytest.raises(DamagedData, match="not a whole safetensors file"):
            load_trained(tmp_path / "net", {})
    weights.unlink()
    with pytest.raises(DamagedData, match="train the family first"):
        load_trained(tmp_path / "net", {})
    weights.write_bytes(whole)
    for content, found in (("{", "is not JSON"), ("[]", "holds list")):
        config.write_text(content)
        with pytest.raises(DamagedData, match=found):
            load_trained(tmp_path / "net", {})


@pytest.mark.parametrize(
    ("facts", "found"), [({}, r"KeyError\('rate'\)"), ({"rate": "x"}, "ValueError"), ({"rate": None}, "TypeError")]
)
def test_a_needed_fact_that_cannot_be_read_asks_for_a_training(facts, found, tmp_path):
    save_trained(tmp_path / "net", {}, facts)
    with pytest.raises(DamagedData, match=rf"net\.json is not what training writes \({found}.*train the family again"):
        load_trained(tmp_path / "net", {"rate": float})


def test_a_curve_leaves_empty_what_was_not_measured(tmp_path):
    write_curve(tmp_path / "curves" / "x.csv", ("step", "train_loss", "validation_loss"), [(1, 0.25, None)])
    assert (tmp_path / "curves" / "x.csv").read_text() == "step,train_loss,validation_loss\n1,0.25,\n"
