import torch

from models.conditioning import ConditionEncoder, ConditioningLayer


def test_with_the_published_sizes_22_of_100_moments_have_conditions_of_their_own():
    items, moments = 8, 9
    layer = ConditioningLayer(1, items, "copies", mixes_conditions=True)
    owner = layer(torch.ones(items, 1, moments), torch.eye(items)[..., None], lambda moments: moments).argmax(dim=1)
    assert round(100 * (owner == torch.arange(items)[:, None]).float().mean().item()) == 22


def test_an_encoded_condition_has_the_players_own_features_and_the_sum_of_the_others():
    torch.manual_seed(0)
    encoder = ConditionEncoder(3, 4, per_player=True)
    condition = torch.randn(1, 3, 3, 8)
    own, others = encoder(condition).chunk(2, dim=1)
    torch.testing.assert_close(others[0], own[1] + own[2])
    alone, nobody = encoder(condition[:, :1]).chunk(2, dim=1)
    torch.testing.assert_close(alone[0], own[0])
    assert not nobody.any()
