import itertools

import pytest
import torch
from sklearn.decomposition import NMF

from models.wave_unet import WaveUnet, WaveUnetConfig, _Entry, factorize, share_residual

SMALL = {"n_layers": 4, "n_filters": 4, "with_context": False, "condition_hop": 8}
ASKS = SMALL | {"n_sources": 1, "asks": True, "n_conditions": 3, "conditioning": "film", "n_read": 6, "place": "every"}


def network_of(**sizes) -> WaveUnet:
    torch.manual_seed(0)
    return WaveUnet(WaveUnetConfig(**sizes)).eval()


def n_parameters(**sizes) -> int:
    return sum(tensor.numel() for tensor in network_of(**sizes).parameters())


# Published sizes


def test_the_published_network_hears_147443_samples_and_answers_16389():
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
def test_an_answer_with_context_is_as_long_as_said(n_output, upsampling):
    network = network_of(n_layers=3, n_filters=2, upsampling=upsampling)
    _, n_input, n_answer = network.config.lengths(n_output)
    assert n_answer >= n_output
    assert network(torch.zeros(1, 1, n_input)).shape == (1, 2, 1, n_answer)
    assert network.config.lengths(n_answer)[2] == n_answer


# What an answer follows from


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n_sources", range(2, 14))
def test_a_difference_leaves_nothing_of_the_mix(n_sources, channels):
    network = network_of(**SMALL, output="difference", n_sources=n_sources, n_channels=channels)
    mix = torch.randn(2, channels, 64)
    answer = network(mix)
    assert answer.shape == (2, n_sources, channels, 64)
    torch.testing.assert_close(answer.sum(dim=1), mix)


def test_what_an_answer_follows_from_lies_within_its_margin():
    for sizes in (SMALL, ASKS, ASKS | {"n_fft": 16, "spectrum_hop": 8, "n_spectral": 8, "is_consistent": True}):
        network = network_of(**sizes)
        margin, n = network.config.margin, 4 * network.config.margin
        mix = torch.randn(1, 1, n)
        told = torch.randn(1, 2, 3, n // 8) if network.config.asks else None
        edited, middle = mix.clone(), n // 2
        edited[..., middle:] = torch.randn(n - middle)
        with torch.no_grad():
            before, after = network(mix, told), network(edited, told)
        same = (before - after).abs().amax((0, 1, 2)) < 1e-5
        assert same[: middle - margin].all()
        assert not same[: middle + 1].all()


def test_with_context_the_first_answer_follows_from_the_first_sample_heard_to_the_last():
    network = network_of(n_layers=2, n_filters=3)
    _, n_input, _ = network.config.lengths(1)
    mix = torch.randn(1, 1, n_input, requires_grad=True)
    answer = network(mix)
    answer[0, 0, 0].sum().backward()
    heard = torch.nonzero(mix.grad[0, 0]).ravel()
    assert (heard[0], heard[-1]) == (0, n_input - answer.shape[-1])


def test_a_published_network_tells_its_sources_apart():
    answer = network_of(**SMALL, n_sources=13)(torch.randn(1, 1, 64))
    for one, other in itertools.combinations(range(13), 2):
        assert not torch.allclose(answer[:, one], answer[:, other])


def test_a_shared_output_gives_every_source_the_same_as_the_port_does():
    answer = network_of(**SMALL, n_sources=13, shares_output=True)(torch.randn(1, 1, 64))
    assert answer.shape[1] == 13
    torch.testing.assert_close(answer, answer[:, :1].expand_as(answer))


# Conditions


KINDS = ["concat", "additive", "multiplicative", "film", "copies"]


@pytest.mark.parametrize("place", ["bottleneck", "every", "output"])
@pytest.mark.parametrize("kind", KINDS)
def test_conditions_of_one_item_never_change_the_answer_to_another(kind, place):
    network = network_of(**SMALL, n_sources=2, conditioning=kind, place=place, n_conditions=3)
    mix, told = torch.randn(4, 1, 64), torch.rand(4, 3)
    before = network(mix, told)
    told[1] += 1
    after = network(mix, told)
    assert not torch.allclose(before[1], after[1])
    torch.testing.assert_close(before[[0, 2, 3]], after[[0, 2, 3]])


@pytest.mark.parametrize("kind", ["copies", "multiplicative"])
def test_mixed_conditions_are_those_of_other_items_as_published(kind):
    network = network_of(**SMALL, n_sources=2, conditioning=kind, n_conditions=3, mixes_conditions=True)
    mix, told = torch.randn(4, 1, 64), torch.rand(4, 3)
    before = network(mix, told)
    told[1] += 1
    assert not torch.allclose(before[[0, 2, 3]], network(mix, told)[[0, 2, 3]])


def test_with_the_published_sizes_22_of_100_moments_have_conditions_of_their_own():
    items, moments = 8, 9
    enter = _Entry(1, items, "copies", mixes_conditions=True)
    owner = enter(torch.ones(items, 1, moments), torch.eye(items)[..., None], lambda moments: moments).argmax(dim=1)
    assert round(100 * (owner == torch.arange(items)[:, None]).float().mean().item()) == 22


def test_a_condition_may_change_with_time():
    network = network_of(**SMALL, conditioning="film", place="every", n_conditions=2)
    mix, told = torch.randn(1, 1, 256), torch.zeros(1, 2, 32)
    before = network(mix, told)
    told[..., 24:] = 1.0
    changed = (network(mix, told) != before).any(dim=(0, 1, 2))
    assert changed[200:].all()
    assert not changed[:64].any()


def test_players_who_change_places_change_sounds_and_no_others():
    sizes = ASKS | {"is_consistent": True, "n_fft": 16, "spectrum_hop": 8, "n_spectral": 8}
    network = network_of(**sizes)
    mix, told = torch.randn(2, 1, 64), torch.randn(2, 3, 3, 8)
    order = [2, 0, 1]
    torch.testing.assert_close(network(mix, told)[:, order], network(mix, told[:, order]))


@pytest.mark.parametrize("n_players", [1, 2, 7])
def test_any_number_of_players_may_be_asked_for(n_players):
    assert network_of(**ASKS)(torch.randn(1, 1, 64), torch.randn(1, n_players, 3, 8)).shape == (1, n_players, 1, 64)


def test_consistent_sounds_sum_up_to_the_mix_and_silence_stays_silent():
    mix = torch.randn(2, 1, 600)
    sounds = torch.stack([0.7 * mix, torch.zeros_like(mix)], dim=1)
    shared = share_residual(sounds, mix)
    torch.testing.assert_close(shared.sum(dim=1), mix)
    assert shared[:, 1].abs().max() < 1e-6


def test_masks_share_out_the_whole_mix():
    network = network_of(**ASKS | {"n_fft": 16, "spectrum_hop": 8, "n_spectral": 8})
    mix = torch.randn(1, 1, 128)
    shared = torch.randn(3, 4 * 4, 16)
    told = torch.randn(3, 12, 16)
    masked = network.spectral(mix, shared, told, None, 3, lambda moments: moments)
    torch.testing.assert_close(masked.sum(dim=0)[0, :, 16:-16], mix[0, :, 16:-16])


# The dictionary

NOTES = ASKS | {"n_fft": 64, "spectrum_hop": 16, "n_spectral": 8, "is_consistent": True, "is_bounded": False}
NOTES |= {"n_conditions": 132, "n_pitches": 2, "lowest_pitch": 60, "n_instruments": 2, "notes_at": 2, "onsets_at": 130}


def two_tones(n: int = 512) -> torch.Tensor:
    """Return sounds at two frequencies that no bin shares, (2, 1, n)."""
    time = torch.arange(n) / 64
    return torch.stack([torch.sin(2 * torch.pi * bins * time) for bins in (6, 20)])[:, None]


def dictionary_network() -> WaveUnet:
    """Return a network whose instruments each play the two tones as their two notes."""
    network = network_of(**NOTES)
    bins = torch.arange(33)
    tones = torch.stack([torch.exp(-((bins - tone) ** 2) / 2.0) for tone in (6, 20)])
    network.spectral.notes.spectra.copy_(tones.expand(2, -1, -1))
    return network


def told(*players: tuple[int, tuple[int, ...]], n: int = 512) -> torch.Tensor:
    """Return what is told of players, each an instrument and the pitches he is seen to play."""
    moments = torch.zeros(1, len(players), 132, n // 8)
    for player, (instrument, pitches) in enumerate(players):
        moments[0, player, instrument] = 1.0
        moments[0, player, -1] = bool(pitches)
        for pitch in pitches:
            moments[0, player, 2 + pitch] = 1.0
    return moments


def test_a_factorization_is_as_good_as_scikit_learns():
    torch.manual_seed(0)
    spectra, magnitudes = torch.rand(1, 4, 30), torch.rand(1, 30, 20)
    found = factorize(magnitudes, spectra, torch.ones(1, 4, 20), n_iterations=400)
    model = NMF(n_components=4, solver="mu", beta_loss="kullback-leibler", tol=0.0, max_iter=400, init="random")
    model.components_ = spectra[0].numpy()
    expected = torch.from_numpy(model.transform(magnitudes[0].T.numpy()).T)
    torch.testing.assert_close(found[0], expected, atol=2e-2, rtol=2e-2)


def test_a_note_that_is_not_there_stays_away_and_equal_spectra_share_in_the_proportion_told():
    spectra = torch.rand(1, 1, 30).expand(1, 3, 30)
    strengths = torch.tensor([3.0, 1.0, 0.0]).reshape(1, 3, 1).expand(1, 3, 5)
    found = factorize(torch.rand(1, 30, 5), spectra, strengths, n_iterations=10)
    assert not found[0, 2].any()
    torch.testing.assert_close(found[0, 0], 3 * found[0, 1])


def test_players_of_one_instrument_are_told_apart_by_the_notes_they_are_seen_to_play_before_any_training():
    tones = two_tones()
    heard = dictionary_network()(tones.sum(dim=0)[None], told((0, (60,)), (0, (61,))))
    error = (heard[0, :, :, 64:-64] - tones[:, :, 64:-64]).square().mean()
    assert error < 1e-3 * tones.square().mean()


def turns(seed: int, n: int = 2048) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sounds (8, 2, 1, n) of two equal players who play a tone each in turn, and when each is seen to begin."""
    generator = torch.Generator().manual_seed(seed)
    sounds, moments = torch.zeros(8, 2, 1, n), torch.zeros(8, 2, 132, n // 8)
    moments[:, :, 0] = 1.0
    for item in range(8):
        for start in range(0, n, 256):
            player, tone = torch.randint(2, (2,), generator=generator).tolist()
            sounds[item, player, :, start : start + 256] = two_tones(256)[tone]
            moments[item, player, 130, start // 8] = 1.0
            moments[item, :, 131, start // 8 : (start + 256) // 8] = 0.5  # nobody is seen to rest
    return sounds, moments


def test_it_learns_that_a_note_is_whose_who_was_seen_to_begin():
    network = dictionary_network()
    optimizer = torch.optim.Adam(network.spectral.notes.parameters(), lr=1e-2)

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


def test_a_player_of_no_known_instrument_gets_nothing_of_what_others_play():
    tones = two_tones()
    nobody = told((0, (60,)), (0, (61,)))
    nobody[0, 1] = 0.0
    heard = dictionary_network()(tones[:1], nobody)
    assert heard[0, 1].square().mean() < 1e-3 * heard[0, 0].square().mean()


def test_a_dictionary_needs_masks_and_players():
    for lacking in ({"n_fft": 0}, {"asks": False}):
        with pytest.raises(ValueError, match="a dictionary needs"):
            WaveUnetConfig(**NOTES | lacking)


def test_a_network_that_is_told_refuses_to_guess():
    network = network_of(**ASKS)
    with pytest.raises(ValueError, match="was given none"):
        network(torch.zeros(1, 1, 64))


def test_sizes_that_contradict_each_other_are_refused():
    lone = {"output": "difference", "n_sources": 1}
    for sizes in ({"conditioning": "film"}, {"n_conditions": 3}, {"asks": True}, lone):
        with pytest.raises(ValueError, match=r"."):
            WaveUnetConfig(**sizes)
