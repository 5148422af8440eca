"""The ends of time: alpha, sigma and the index of a level next to 0 and next to 1."""

import torch

from dream3d.priors._network import Line, Table

from .conftest import table

T = torch.tensor([1e-7, 0.0005, 0.0015, 0.9995, 1 - 2**-24])


def test_a_table_is_not_left_at_its_ends():
    """(1 - 2^-24) 1000 is 1000 in single precision: one more than the last index."""
    ours = Table(table())
    assert ours.index(T).tolist() == [0, 0, 1, 999, 999]
    alpha, sigma = ours.alpha_sigma(T)
    expected = table().alphas_cumprod[[0, 0, 1, 999, 999]].double()
    torch.testing.assert_close(alpha, expected.sqrt().float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(sigma, (1 - expected).sqrt().float(), rtol=0, atol=1e-6)


def test_a_flow_is_a_straight_line_to_its_ends():
    ours = Line()
    alpha, sigma = ours.alpha_sigma(T)
    assert torch.equal(alpha, 1 - T) and torch.equal(sigma, T)
    x, noise = (torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    z = (1 - T)[:, None, None, None] * x + T[:, None, None, None] * noise
    torch.testing.assert_close(ours.to_eps(noise - x, z, T), noise, rtol=0, atol=1e-5)
