"""What every formula of one pass owes: its number of evaluations, its draws, its shapes, and nothing left behind."""

import dataclasses

import pytest
import torch
from dream3d.guidance.asd import ASD
from dream3d.guidance.bsd import BSD
from dream3d.guidance.csd import CSD
from dream3d.guidance.csds import CSDS
from dream3d.guidance.dds import DDS
from dream3d.guidance.nfsd import NFSD
from dream3d.guidance.pds import PDS
from dream3d.guidance.rfds import RFDS
from dream3d.guidance.sds import SDS
from dream3d.guidance.sjc import SJC

from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times

EARLY = Times.parse((0.02, 0.19))
FORMULAS = {
    "sds": (SDS, {}, 2),
    "sds, rescaled": (SDS, {"rescale": 0.5}, 2),
    "sjc": (SJC, {}, 2),
    "csd": (CSD, {"negative": Ramp(-0.5)}, 3),
    "csd without a negative prompt": (CSD, {}, 2),
    "nfsd": (NFSD, {"t": Times.parse((0.3, 0.9))}, 3),
    "nfsd at small t": (NFSD, {"t": EARLY}, 2),
    "asd": (ASD, {}, 3),
    "bsd": (BSD, {}, 2),
    "dds": (DDS, {}, 4),
    "pds": (PDS, {}, 4),
    "csds": (CSDS, {}, 3),
    "rfds": (RFDS, {}, 2),
    "rfds, reverse": (RFDS, {"reverse": True}, 3),
}


@pytest.fixture(params=sorted(FORMULAS))
def formula(request):
    return FORMULAS[request.param]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen(kit, prior, count, **more):
    rows = {"text": "0", "bare": "0 and 1", "negative": "1", "empty": "", "source": "2"}
    view = kit.view_of(prior, draw(count, 2, 4, 4, seed=1), kit.seen_from(count, 4, **more), **rows)
    return dataclasses.replace(view, source=draw(count, 2, 4, 4, seed=2))


def test_evaluations_per_view(kit, formula):
    made, settings, evaluations = formula
    prior = Mixture.of(draw(3, 2, 4, 4), 0.4)
    for count in (1, 4):
        prior.evaluations = 0
        g = made(prior, **settings).gradient(seen(kit, prior, count), kit.step())
        assert prior.evaluations == evaluations * count
        assert g.shape == (count, 2, 4, 4) and g.dtype == torch.float32 and g.isfinite().all() and not g.requires_grad


def test_only_the_step_decides(kit, formula):
    made, settings, _ = formula
    prior = Mixture.of(draw(3, 2, 4, 4), 0.4)
    view = seen(kit, prior, 4)
    torch.manual_seed(0)
    one = made(prior, **settings).gradient(view, kit.step(seed=3))
    torch.manual_seed(1)
    two, other = (made(prior, **settings).gradient(view, kit.step(seed=seed)) for seed in (3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_views_do_not_hear_each_other(kit, formula):
    """Each view's gradient is its own: another neighbour changes nothing. (With `rescale` over groups of one view as well.)"""
    made, settings, _ = formula
    prior = Mixture.of(draw(3, 2, 4, 4), 0.4)
    view = seen(kit, prior, 4)
    x = view.x.clone()
    x[3] += 1
    one, two = (made(prior, **settings).gradient(v, kit.step()) for v in (view, dataclasses.replace(view, x=x)))
    assert torch.equal(one[:3], two[:3]) and not torch.equal(one[3], two[3])


def test_twice_as_many_views_do_not_halve_the_pull(kit, formula):
    """A gradient per view, never a mean: in one group of equal views with one t, only the noise differs."""
    made, settings, _ = formula
    prior, sizes = Mixture.of(draw(3, 2, 4, 4), 0.4), []
    for count in (2, 32):
        view = seen(kit, prior, count, views=count)
        same = dataclasses.replace(view, x=view.x[:1].expand_as(view.x), source=view.source[:1].expand_as(view.x))
        g = made(prior, **settings).gradient(same, kit.step())
        sizes.append(g.square().mean().sqrt().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.5) and sizes[0] > 1e-4
