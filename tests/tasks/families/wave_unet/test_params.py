"""Parameters of the family: what makes no sense, and names of before."""

import pytest

from tasks.errors import ParamsError
from tasks.families.wave_unet.params import WaveUnetParams


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"condition_hop": 48}, "expected a power of 2"),
        ({"down_kernel": 4}, "expected odd ones"),
        ({"spectrum_hop": 64}, "of at most 2.n_layers, 32"),
        ({"with_context": True}, "expected with_context false"),
        ({"conditioning": "none"}, "wave_unet_blind is the one without"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(fit, params_of, tmp_path, changes, words):
    with pytest.raises(ParamsError, match=words):
        fit(tmp_path / "wave_unet", params_of(**changes))


def test_an_old_section_is_refused_in_one_line_with_the_new_names(params):
    old = params.model_dump() | {"told_by": ["labels"], "reader_steps": 240}
    del old["conditioned_on"], old["transcriber"]
    with pytest.raises(ParamsError) as caught:
        WaveUnetParams.parse(old, "train.wave_unet")
    words = str(caught.value)
    assert "told_by is now conditioned_on, reader_steps is now transcriber.n_steps" in words
    assert "\n" not in words


def test_an_old_condition_is_refused_with_those_there_are(params):
    old = params.model_dump() | {"conditioned_on": ["onsets_seen"]}
    with pytest.raises(ParamsError, match=r"conditioned_on\.0: .*'onsets_video'.* found 'onsets_seen'"):
        WaveUnetParams.parse(old, "train.wave_unet")
