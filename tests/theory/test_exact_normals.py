"""The exact prior of normal maps: what a term that sees normals is pulled towards."""

import torch

from dream3d import build, sees
from dream3d.cameras import look_at
from dream3d.toybox import world
from dream3d.toybox.language import parse
from dream3d.toybox.render import render


def test_clean_normal_maps_are_their_own_denoised():
    """A true object's normals, as a term shows them, hardly move: eps(alpha x + sigma e) is nearly e, whatever is behind the colours."""
    prior = build.make("priors", {"type": "exact", "size": 16, "renders": 400, "others": 16, "instances": 1, "shows": "normal"})
    text = prior.text(["a red car"])
    soup = world.build(parse("a red car"), world.instance_seed("prior", 0))
    seen = render([soup], look_at(torch.tensor([0.4]), torch.tensor([0.3]), size=16))
    x, t = sees.normal(seen, prior.encode), torch.tensor([0.25])
    assert torch.allclose(x[:, :, 0, 0], torch.zeros(1, 3), atol=1e-6)  # nothing there: grey
    alpha, sigma = prior.alpha_sigma(t)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    z = alpha * x + sigma * noise
    denoised = (z - sigma * prior.eps(z, t, text, render=seen)) / alpha
    assert (denoised - x).square().mean() < 0.2 * x.square().mean()
    other = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    far = alpha * other + sigma * noise
    assert ((far - sigma * prior.eps(far, t, text, render=seen)) / alpha - other).square().mean() > 0.2 * x.square().mean()
