"""Losses of the separation networks."""

import pytest
import torch

from tasks.families.wave_unet.training import best_order, separation_loss


def test_the_best_order_is_found_item_by_item():
    sounds = torch.randn(3, 4, 1, 100)
    orders = [[0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]]
    found = torch.stack([one[order] for one, order in zip(sounds, orders, strict=True)])
    torch.testing.assert_close(best_order(found + 0.1 * torch.randn_like(found), sounds), found)


def test_a_perfect_estimate_has_the_least_loss_and_ten_times_the_energy_of_error_costs_ten_db():
    sounds = torch.randn(2, 2, 1, 1000)
    assert separation_loss(sounds, sounds).item() == pytest.approx(-30.0)
    error = torch.ones_like(sounds)
    worse = separation_loss(sounds + 10**0.5 * error, sounds) - separation_loss(sounds + error, sounds)
    assert worse.item() == pytest.approx(10.0, abs=0.01)
