"""The blocks of the networks from frames to note amplitudes, against torch's own and against published counts."""

import pytest
import torch
from torch import nn

from models.note_sequences import (
    NoteWindows,
    OneBiasLstm,
    Recurrence,
    SameConv2d,
    StackConv2d,
    conv_layers,
    n_parameters,
    same_size,
    stack_ages,
)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "left"), [(100, 16, 8, 13), (13, 8, 4, 4), (4, 4, 2, 2), (2, 2, 1, 2)]
)
def test_a_convolution_keeps_its_size_but_for_the_stride(size, kernel, stride, left):
    layer = SameConv2d(1, 1, kernel, stride)
    assert layer(torch.zeros(1, 1, size, size)).shape == (1, 1, left, left)
    assert same_size(size, conv_layers([(1, kernel, stride)])) == left


def test_padding_is_even_with_the_odd_pixel_behind():
    layer = SameConv2d(1, 1, 4, 1, bias=False)
    nn.init.ones_(layer.weight)
    made = layer(torch.ones(1, 1, 6, 6))[0, 0, 3]
    assert made.tolist() == [12, 16, 16, 16, 12, 8]  # one column before, two behind


def test_one_bias_is_torchs_two_added():
    mine, theirs = OneBiasLstm(3, 5), nn.LSTM(3, 5, batch_first=True)
    weight = torch.cat([theirs.weight_ih_l0, (theirs.bias_ih_l0 + theirs.bias_hh_l0)[:, None]], dim=1)
    mine.lstm.load_state_dict({"weight_ih_l0": weight, "weight_hh_l0": theirs.weight_hh_l0})
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mine(x), theirs(x)[0])
    assert n_parameters(mine) == 4 * ((3 + 5) * 5 + 5)


def test_a_recurrence_remembers_and_does_not_foresee():
    torch.manual_seed(0)
    network = Recurrence(2, (4, 4), 1, dropout=0.5).eval()
    x = torch.zeros(1, 6, 2)
    changed = x.clone()
    changed[0, 3] = 1.0
    moved = (network(changed) - network(x)).abs()[0, :, 0] > 1e-6
    assert moved.tolist() == [False, False, False, True, True, True]
    both = Recurrence(2, (4,), 1, dropout=0.0, bidirectional=True).eval()
    assert ((both(changed) - both(x)).abs()[0, :, 0] > 1e-6).all()


def test_windows_are_cut_around_columns_and_beside_the_picture_there_is_nothing():
    frames = torch.arange(8.0).expand(1, 2, 3, 8)  # each pixel is its column
    windows = NoteWindows([0.0, 4.0], 3)
    cut = windows(frames)
    assert cut.shape == (1, 2, 2, 3, 3)
    assert cut[0, 0, 0, 0].tolist() == [0, 0, 1]
    assert cut[0, 1, 1, 2].tolist() == [3, 4, 5]
    chosen = windows(frames, torch.tensor([[1]]))
    assert chosen[0, 0, 0, 0].tolist() == [3, 4, 5]


def test_stacks_are_consecutive_frames():
    layer = StackConv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3)[:, :, None, None])
    frames = torch.arange(5.0).reshape(1, 5, 1, 1)
    assert layer(frames).squeeze().tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert stack_ages(torch.arange(5.0)[None], 3)[0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 3, 1), (9, 4, 3), (12, 8, 4), (7, 2, 2)])
def test_a_convolution_over_frames_is_that_of_their_stacks(size, kernel, stride):
    torch.manual_seed(0)
    over_frames, of_stacks = StackConv2d(3, 5, kernel, stride), SameConv2d(3, 5, kernel, stride)
    of_stacks.load_state_dict(over_frames.state_dict())
    frames = torch.randn(2, 6, size, size + 1)
    stacks = frames.unfold(1, 3, 1).movedim(-1, 2)  # (2, 4, 3, H, W)
    expected = of_stacks(stacks.flatten(0, 1)).unflatten(0, (2, 4))
    torch.testing.assert_close(over_frames(frames), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("row", [(1, 2), (0, 1, 1), (1, 2, 3, 4)])
def test_a_layer_needs_three_numbers(row):
    with pytest.raises(ValueError, match="expected filters, kernel and stride"):
        conv_layers([row])
