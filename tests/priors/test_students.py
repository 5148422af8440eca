"""Students of full-size networks beyond the contract: what is drawn for them, in which precision they learn, what a clip's camera is."""

import pytest
import torch

from dream3d import build
from dream3d.cameras import ring
from dream3d.priors._lora import CameraEmbedding

from .conftest import stable_diffusion


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("students") / "model")


def made(sd, **settings):
    return build.make("priors", {"type": "stable_diffusion", "model": str(sd), **settings})


def test_what_a_student_begins_with_is_not_by_chance(sd):
    """Nor does it take anything from those who draw after it."""
    prior = made(sd)
    torch.manual_seed(1)
    one = dict(prior.student(rank=2).named_parameters())
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    two = dict(prior.student(rank=2).named_parameters())
    assert any("lora_A" in name for name in one) and all(torch.equal(value, two[name]) for name, value in one.items())


def test_what_learns_is_single_precision_beside_networks_that_are_not(sd):
    student = made(sd, precision="bfloat16").student(rank=2)
    own = [p for p in student.parameters() if p.requires_grad]
    assert own and all(p.dtype == torch.float32 for p in own)
    assert next(p for p in student.parameters() if not p.requires_grad).dtype == torch.bfloat16


@pytest.mark.parametrize("rank", [1, 4])
def test_an_adapter_is_the_product_of_its_factors(sd, rank):
    """Its scale is 1 whatever its rank, so a learning rate means the same."""
    student = made(sd).student(rank=rank)
    layer = next(m for n, m in student.net.named_modules() if n.endswith("attn1.to_q"))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.normal_(b, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(1))
    assert a.shape[0] == rank
    torch.testing.assert_close(layer(x), layer.base_layer(x) + x @ a.T @ b.T, rtol=0, atol=1e-5)


def test_a_clip_is_told_the_mean_of_its_cameras():
    told = CameraEmbedding(5)
    torch.nn.init.normal_(told.layers[-1].weight, generator=torch.Generator().manual_seed(0))
    told.of, out = ring(6, size=8), torch.zeros(2, 5)
    each = told.layers(told.of.to_world.flatten(1))
    torch.testing.assert_close(told.added(out), torch.stack([each[:3].mean(0), each[3:].mean(0)]))
    torch.testing.assert_close(told.added(torch.zeros(6, 5)), each)
    told.of = None
    assert torch.equal(told.added(out), out)
