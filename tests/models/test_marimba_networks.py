"""The marimba project's networks have as many weights as its own, and each window depends on its own frames alone."""

from dataclasses import replace

import pytest
import torch

from models import cnn_lstm, conv_lstm, fc_lstm
from models.note_sequences import n_parameters

SMALL = {"n_notes": 3, "n_pictures": 3, "height": 12, "width": 24, "columns": (4.0, 12.0, 20.0), "window_width": 6}


@pytest.mark.parametrize(("layout", "expected"), [("final", 2_979_570), ("poster", 2_523_634)])
def test_cnn_lstm_at_100_pixels(layout, expected):
    assert n_parameters(cnn_lstm.CnnLstm(cnn_lstm.published(18, height=100, width=100, layout=layout))) == expected


@pytest.mark.parametrize(("side", "expected"), [(170, 4_290_290), (224, 6_125_298)])
def test_cnn_lstm_of_other_pictures(side, expected):
    with torch.device("meta"):
        network = cnn_lstm.CnnLstm(cnn_lstm.published(18, height=side, width=side, layout="final"))
    assert n_parameters(network) == expected


@pytest.mark.parametrize(
    ("layout", "side", "layers", "summary"),
    [
        ("code", 80, [270_464, 393_472, 295_168], 1_729),
        ("poster", 100, [69_696, 98_432, 98_560, 98_816], 3_457),
    ],
)
def test_conv_lstm_layers(layout, side, layers, summary):
    network = conv_lstm.ConvLstm(conv_lstm.published(18, height=side, width=side, layout=layout))
    assert [n_parameters(layer) for layer in network.layers] == layers
    assert n_parameters(network.summary) == summary
    assert network(torch.zeros(1, 5, side, side)).shape == (1, 5, 18)  # the poster's five steps


def test_the_posters_conv_lstm_shrinks_100_pixels_to_13_4_2_2():
    network = conv_lstm.ConvLstm(conv_lstm.published(18, height=100, width=100, layout="poster"))
    x = torch.zeros(1, 5, 100, 100)
    sides = []
    for layer in network.layers:
        x = layer(x)
        sides.append(tuple(x.shape[-2:]))
    assert sides == [(13, 13), (4, 4), (2, 2), (2, 2)]


def test_fc_lstm_and_the_image_networks():
    assert n_parameters(fc_lstm.FcLstm(fc_lstm.published(18))) == 4_987_410
    # torchvision's counts, 143,667,240 and 61,100,840, less the last layer's 4,097,000.
    with torch.device("meta"):
        assert n_parameters(fc_lstm.ImageEncoder("vgg19", "fc2")) == 139_570_240
        assert n_parameters(fc_lstm.ImageEncoder("alexnet", "fc2")) == 57_003_840
        # Published: 4.652 million, with the last layer's 1,281,000.
        assert n_parameters(fc_lstm.ImageEncoder("efficientnet_lite0", "pooled")) == 4_652_008 - 1_281_000
        names = set(fc_lstm.ImageEncoder("alexnet", "fc1").state_dict())
    assert {"features.0.weight", "features.10.bias", "classifier.1.weight"} <= names


def test_efficientnet_lite0_computes_what_another_implementation_does():
    """The expected features are those of efficientnet_lite_pytorch 0.1.0 from PyPI, with the same weights."""
    network = fc_lstm.ImageEncoder("efficientnet_lite0", "pooled", 64).eval()
    for number, (name, value) in enumerate(network.state_dict().items()):
        if value.dtype == torch.int64:
            continue
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + number).reshape(value.shape)
        if value.ndim == 4:
            wave = wave * (2 / value[0].numel()) ** 0.5 * 1.6
        elif name.endswith("running_var"):
            wave = 1 + 0.3 * wave
        else:
            wave = 1 + 0.2 * wave if name.endswith("weight") else 0.1 * wave
        value.copy_(wave)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    stack = torch.stack([127.5 + 127.5 * torch.sin(0.3 * columns + 0.2 * rows + n) for n in range(3)]).round()
    with torch.inference_mode():
        features = network(stack[None].to(torch.uint8))
    expected = torch.tensor([0.6405981, 0.0, 1.5963469, 0.4504586, 0.0, 1.1727047])
    torch.testing.assert_close(features[0, :6], expected, atol=1e-4, rtol=1e-4)
    assert features.mean().item() == pytest.approx(0.4975685, abs=1e-4)
    assert features.std().item() == pytest.approx(0.6445808, abs=1e-4)


@pytest.mark.parametrize(("kind", "layer"), [("efficientnet_lite0", "fc1"), ("alexnet", "pooled")])
def test_an_image_network_has_its_own_layers(kind, layer):
    with pytest.raises(ValueError, match=f"{kind} has no layer {layer}"):
        fc_lstm.ImageEncoder(kind, layer)


def small(kind, **changes):
    torch.manual_seed(0)
    if kind == "cnn_lstm":
        config = cnn_lstm.CnnLstmConfig(
            **SMALL,
            layers=((4, 4, 2), (4, 2, 2)),
            n_hidden=(8,),
            n_recurrent=(6,),
            dropout=0.3,
            init_std=0.0,
            input="bars",
            bidirectional=False,
            normalize=True,
            picture_age=False,
        )
        return cnn_lstm.CnnLstm(replace(config, **changes)).eval()
    config = conv_lstm.ConvLstmConfig(
        **SMALL,
        layers=((4, 4, 2), (4, 2, 2)),
        n_hidden=(8,),
        dropout=0.3,
        init_std=0.0,
        input="bars",
        normalize=True,
        picture_age=False,
        recurrent_kernel=3,
        n_ahead=0,
    )
    return conv_lstm.ConvLstm(replace(config, **changes)).eval()


def pictures(n_frames=8):
    return torch.rand(2, n_frames, 12, 24, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("input_", ["bars", "picture"])
@pytest.mark.parametrize("kind", ["cnn_lstm", "conv_lstm"])
def test_notes_that_are_chosen_are_those_of_all(kind, input_):
    network = small(kind, input=input_)
    found = network(pictures())
    assert found.shape == (2, 6, 3)
    notes = torch.tensor([[2, 0], [1, 1]])
    chosen = network(pictures(), notes=notes)
    torch.testing.assert_close(chosen[0], found[0][:, [2, 0]])
    torch.testing.assert_close(chosen[1], found[1][:, [1, 1]])


@pytest.mark.parametrize("kind", ["cnn_lstm", "conv_lstm"])
def test_a_note_depends_on_the_window_of_its_own_bar_alone(kind):
    network = small(kind)
    changed = pictures()
    changed[:, :, :, 17:] = 0.0  # the window of the last note
    moved = (network(changed) - network(pictures())).abs().amax(dim=(0, 1)) > 1e-6
    assert moved.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("kind", "changes", "ahead"),
    # The ConvLSTM's last convolution spans three steps.
    [("cnn_lstm", {}, 0), ("conv_lstm", {}, 1), ("conv_lstm", {"n_ahead": 2}, 3)],
)
def test_a_window_does_not_see_what_comes_behind_its_frames(kind, changes, ahead):
    network = small(kind, **changes)
    changed = pictures()
    changed[:, 5:] = 0.0
    moved = (network(changed) - network(pictures())).abs().amax(dim=(0, 2)) > 1e-7
    assert moved.tolist() == [window >= 3 - ahead for window in range(6)]  # window 3 has frames 3 to 5


@pytest.mark.parametrize("kind", ["cnn_lstm", "conv_lstm"])
def test_a_mirrored_window_of_a_mirrored_picture_is_the_window(kind):
    # Columns lie so that a window of an even width has its middle between two pixels, as the picture has.
    network = small(kind, columns=(3.5, 11.5, 19.5))
    turned = pictures().flip(-1)
    found = network(turned, mirrored=torch.ones(2, dtype=torch.bool))
    expected = network(pictures())
    # The middle note is its own mirror image.
    torch.testing.assert_close(found[:, :, 1], expected[:, :, 1])


@pytest.mark.parametrize("kind", ["cnn_lstm", "conv_lstm"])
def test_a_network_with_the_pictures_ages_as_input_needs_them(kind):
    network = small(kind, picture_age=True)
    with pytest.raises(ValueError, match="ages is None"):
        network(pictures())
    young = network(pictures(), ages=torch.zeros(2, 8))
    old = network(pictures(), ages=torch.ones(2, 8))
    assert not torch.equal(young, old)
