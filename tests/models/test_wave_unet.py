import itertools

import pytest
import torch

from models.wave_unet import WaveUnet, WaveUnetConfig, share_residual

SMALL = {"n_layers": 4, "n_filters": 4, "with_context": False, "condition_hop": 8}
PER_PLAYER = SMALL | {"n_sources": 1, "per_player": True, "n_conditions": 3, "conditioning": "film", "n_encoded": 6}
PER_PLAYER |= {"place": "every"}


def network_of(**sizes) -> WaveUnet:
    torch.manual_seed(0)
    return WaveUnet(WaveUnetConfig(**sizes)).eval()


def n_parameters(**sizes) -> int:
    return sum(tensor.numel() for tensor in network_of(**sizes).parameters())


# Published sizes


def test_the_published_network_maps_147443_samples_to_16389():
    assert WaveUnetConfig().lengths(16_384) == (9, 147_443, 16_389)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"with_context": False}, 10_263_028),  # M1
        ({"with_context": False, "output": "difference"}, 10_263_028 - 26),  # M2: an output less, of 25 inputs and one
        ({}, 10_263_028),
        ({"output": "difference"}, 10_263_028 - 26),  # M3
        ({"n_channels": 2, "output": "difference"}, 10_263_390),  # M4
        ({"n_channels": 2, "output": "difference", "upsampling": "learned"}, 10_263_390 + 24 * sum(range(2, 14))),  # M5
        ({"n_channels": 2, "output": "difference", "n_sources": 4}, 10_263_498),  # M6
        ({"n_sources": 13, "output": "difference"}, 10_263_288),
        ({"n_sources": 13, "output": "difference", "conditioning": "copies", "n_conditions": 13}, 15_654_648),
    ],
)
def test_published_sizes_have_as_many_parameters_as_published(sizes, expected):
    assert n_parameters(**sizes) == expected


def test_the_port_halves_147442_samples_to_a_bottleneck_of_36_windows_without_context():
    assert WaveUnetConfig(with_context=False).lengths(147_442) == (36, 147_456, 147_456)


@pytest.mark.parametrize("n_output", [1, 100, 1000])
@pytest.mark.parametrize("upsampling", ["linear", "learned"])
def test_an_output_with_context_is_as_long_as_the_config_says(n_output, upsampling):
    network = network_of(n_layers=3, n_filters=2, upsampling=upsampling)
    _, n_input, n_whole = network.config.lengths(n_output)
    assert n_whole >= n_output
    assert network(torch.zeros(1, 1, n_input)).shape == (1, 2, 1, n_whole)
    assert network.config.lengths(n_whole)[2] == n_whole


# What an output depends on


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n_sources", range(2, 14))
def test_a_difference_leaves_nothing_of_the_mix(n_sources, channels):
    network = network_of(**SMALL, output="difference", n_sources=n_sources, n_channels=channels)
    mix = torch.randn(2, channels, 64)
    output = network(mix)
    assert output.shape == (2, n_sources, channels, 64)
    torch.testing.assert_close(output.sum(dim=1), mix)


def test_what_an_output_depends_on_lies_within_its_margin():
    for sizes in (
        SMALL,
        PER_PLAYER,
        PER_PLAYER | {"n_fft": 16, "spectrum_hop": 8, "n_spectral": 8, "is_consistent": True},
    ):
        network = network_of(**sizes)
        margin, n = network.config.margin, 4 * network.config.margin
        mix = torch.randn(1, 1, n)
        condition = torch.randn(1, 2, 3, n // 8) if network.config.per_player else None
        edited, middle = mix.clone(), n // 2
        edited[..., middle:] = torch.randn(n - middle)
        with torch.no_grad():
            before, after = network(mix, condition), network(edited, condition)
        same = (before - after).abs().amax((0, 1, 2)) < 1e-5
        assert same[: middle - margin].all()
        assert not same[: middle + 1].all()


def test_with_context_the_first_output_depends_on_the_first_input_sample_to_the_last_of_its_reach():
    network = network_of(n_layers=2, n_filters=3)
    _, n_input, _ = network.config.lengths(1)
    mix = torch.randn(1, 1, n_input, requires_grad=True)
    output = network(mix)
    output[0, 0, 0].sum().backward()
    reached = torch.nonzero(mix.grad[0, 0]).ravel()
    assert (reached[0], reached[-1]) == (0, n_input - output.shape[-1])


def test_sources_of_a_published_network_differ():
    output = network_of(**SMALL, n_sources=13)(torch.randn(1, 1, 64))
    for one, other in itertools.combinations(range(13), 2):
        assert not torch.allclose(output[:, one], output[:, other])


def test_a_shared_output_gives_every_source_the_same_as_the_port_does():
    output = network_of(**SMALL, n_sources=13, shares_output=True)(torch.randn(1, 1, 64))
    assert output.shape[1] == 13
    torch.testing.assert_close(output, output[:, :1].expand_as(output))


# Conditions


KINDS = ["concat", "additive", "multiplicative", "film", "copies"]


@pytest.mark.parametrize("place", ["bottleneck", "every", "output"])
@pytest.mark.parametrize("kind", KINDS)
def test_conditions_of_one_item_never_change_the_output_of_another(kind, place):
    network = network_of(**SMALL, n_sources=2, conditioning=kind, place=place, n_conditions=3)
    mix, condition = torch.randn(4, 1, 64), torch.rand(4, 3)
    before = network(mix, condition)
    condition[1] += 1
    after = network(mix, condition)
    assert not torch.allclose(before[1], after[1])
    torch.testing.assert_close(before[[0, 2, 3]], after[[0, 2, 3]])


@pytest.mark.parametrize("kind", ["copies", "multiplicative"])
def test_mixed_conditions_are_those_of_other_items_as_published(kind):
    network = network_of(**SMALL, n_sources=2, conditioning=kind, n_conditions=3, mixes_conditions=True)
    mix, condition = torch.randn(4, 1, 64), torch.rand(4, 3)
    before = network(mix, condition)
    condition[1] += 1
    assert not torch.allclose(before[[0, 2, 3]], network(mix, condition)[[0, 2, 3]])


def test_a_condition_may_change_with_time():
    network = network_of(**SMALL, conditioning="film", place="every", n_conditions=2)
    mix, condition = torch.randn(1, 1, 256), torch.zeros(1, 2, 32)
    before = network(mix, condition)
    condition[..., 24:] = 1.0
    changed = (network(mix, condition) != before).any(dim=(0, 1, 2))
    assert changed[200:].all()
    assert not changed[:64].any()


def test_players_who_change_places_change_sounds_and_no_others():
    sizes = PER_PLAYER | {"is_consistent": True, "n_fft": 16, "spectrum_hop": 8, "n_spectral": 8}
    network = network_of(**sizes)
    mix, condition = torch.randn(2, 1, 64), torch.randn(2, 3, 3, 8)
    order = [2, 0, 1]
    torch.testing.assert_close(network(mix, condition)[:, order], network(mix, condition[:, order]))


@pytest.mark.parametrize("n_players", [1, 2, 7])
def test_any_number_of_players_may_be_separated(n_players):
    assert network_of(**PER_PLAYER)(torch.randn(1, 1, 64), torch.randn(1, n_players, 3, 8)).shape == (
        1,
        n_players,
        1,
        64,
    )


def test_consistent_sounds_sum_up_to_the_mix_and_silence_stays_silent():
    mix = torch.randn(2, 1, 600)
    sounds = torch.stack([0.7 * mix, torch.zeros_like(mix)], dim=1)
    shared = share_residual(sounds, mix)
    torch.testing.assert_close(shared.sum(dim=1), mix)
    assert shared[:, 1].abs().max() < 1e-6


# The dictionary

NOTES = PER_PLAYER | {"n_fft": 64, "spectrum_hop": 16, "n_spectral": 8, "is_consistent": True, "is_bounded": False}
NOTES |= {
    "n_conditions": 132,
    "n_pitches": 2,
    "lowest_pitch": 60,
    "n_instruments": 2,
    "pitches_at": 2,
    "onsets_at": 130,
}


def two_tones(n: int = 512) -> torch.Tensor:
    """Return sounds at two frequencies that no bin shares, (2, 1, n)."""
    time = torch.arange(n) / 64
    return torch.stack([torch.sin(2 * torch.pi * bins * time) for bins in (6, 20)])[:, None]


def dictionary_network() -> WaveUnet:
    """Return a network whose instruments each play the two tones as their two notes."""
    network = network_of(**NOTES)
    bins = torch.arange(33)
    tones = torch.stack([torch.exp(-((bins - tone) ** 2) / 2.0) for tone in (6, 20)])
    network.spectral.dictionary.spectra.copy_(tones.expand(2, -1, -1))
    return network


def condition_of(*players: tuple[int, tuple[int, ...]], n: int = 512) -> torch.Tensor:
    """Return the condition of players, each an instrument and the pitches that they are predicted to play."""
    moments = torch.zeros(1, len(players), 132, n // 8)
    for player, (instrument, pitches) in enumerate(players):
        moments[0, player, instrument] = 1.0
        moments[0, player, -1] = bool(pitches)
        for pitch in pitches:
            moments[0, player, 2 + pitch] = 1.0
    return moments


def test_players_of_one_instrument_are_separated_by_their_predicted_notes_before_any_training():
    tones = two_tones()
    sounds = dictionary_network()(tones.sum(dim=0)[None], condition_of((0, (60,)), (0, (61,))))
    error = (sounds[0, :, :, 64:-64] - tones[:, :, 64:-64]).square().mean()
    assert error < 1e-3 * tones.square().mean()


def turns(seed: int, n: int = 2048) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sounds (8, 2, 1, n) of two players of one instrument who play in turn, and their conditions."""
    generator = torch.Generator().manual_seed(seed)
    sounds, moments = torch.zeros(8, 2, 1, n), torch.zeros(8, 2, 132, n // 8)
    moments[:, :, 0] = 1.0
    for item in range(8):
        for start in range(0, n, 256):
            player, tone = torch.randint(2, (2,), generator=generator).tolist()
            sounds[item, player, :, start : start + 256] = two_tones(256)[tone]
            moments[item, player, 130, start // 8] = 1.0
            moments[item, :, 131, start // 8 : (start + 256) // 8] = 0.5  # nobody is predicted to rest
    return sounds, moments


def test_it_learns_to_assign_a_note_to_the_player_with_the_onset():
    network = dictionary_network()
    optimizer = torch.optim.Adam(network.spectral.dictionary.parameters(), lr=1e-2)

    def error(seed: int) -> torch.Tensor:
        sounds, moments = turns(seed)
        found = network(sounds.sum(dim=1), moments)
        return (found - sounds).square().mean() / sounds.square().mean()

    before = error(1000).item()
    for seed in range(60):
        optimizer.zero_grad()
        error(seed).backward()
        optimizer.step()
    assert before > 0.4  # each is given half
    assert error(1000).item() < 0.1


def test_a_player_of_no_known_instrument_gets_nothing_of_the_others_notes():
    tones = two_tones()
    unknown = condition_of((0, (60,)), (0, (61,)))
    unknown[0, 1] = 0.0
    sounds = dictionary_network()(tones[:1], unknown)
    assert sounds[0, 1].square().mean() < 1e-3 * sounds[0, 0].square().mean()


def test_a_dictionary_needs_masks_and_players():
    for lacking in ({"n_fft": 0}, {"per_player": False}):
        with pytest.raises(ValueError, match="a dictionary needs"):
            WaveUnetConfig(**NOTES | lacking)


def test_a_network_with_conditioning_refuses_a_missing_condition():
    network = network_of(**PER_PLAYER)
    with pytest.raises(ValueError, match="condition is None"):
        network(torch.zeros(1, 1, 64))


def test_sizes_that_contradict_each_other_are_refused():
    lone = {"output": "difference", "n_sources": 1}
    for sizes in ({"conditioning": "film"}, {"n_conditions": 3}, {"per_player": True}, lone):
        with pytest.raises(ValueError, match=r"."):
            WaveUnetConfig(**sizes)
