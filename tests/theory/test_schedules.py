"""Time schedules: DreamTime's against its definition by a table, HiFA's root, and what the formulas make of them."""

import math
import subprocess
import sys

import pytest
import torch
from dream3d.guidance.cds import CDS
from dream3d.guidance.ism import ISM
from dream3d.guidance.sdi import SDI
from dream3d.guidance.sds import SDS
from dream3d.guidance.tsm import TSM

from dream3d.diffusion import draw_t
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times, dreamtime

DOUBLE = torch.float64
PAPER = {"start": 1.0, "end": 0.0, "shape": "dreamtime"}
N = 250


def weights(m1=0.8, m2=0.5, s1=0.3, s2=0.1, steps=1000):
    """W_p at the entries of a table, normalised: 1 between m2 and m1, Gaussian outside."""
    t = (torch.arange(steps, dtype=DOUBLE) + 0.5) / steps
    above, below = torch.exp(-((t - m1) ** 2) / (2 * s1**2)), torch.exp(-((t - m2) ** 2) / (2 * s2**2))
    w = torch.where(t > m1, above, torch.where(t < m2, below, 1.0))
    return t, w / w.sum()


def share_above(t, entries, p):
    """The sum of p over the entries above t, the entry that t lies in by its part."""
    return (p * ((entries + 0.0005 - t) * 1000).clamp(0, 1)).sum().item()


def test_the_share_above_t_is_the_progress():
    """Within the largest weight of an entry, as the definition by a table asks; in fact the closed form is far closer."""
    entries, p = weights()
    for i in range(N + 1):
        t = Ramp.parse(PAPER)(i / N)
        assert abs(share_above(t, entries, p) - i / N) < min(p.max().item(), 1e-6)


def test_it_is_the_tables_argmin():
    """argmin over entries of |share from t on - i / N| is never further away than an entry."""
    entries, p = weights()
    tail = p.flip(0).cumsum(0).flip(0)
    for i in range(1, N):
        best = entries[(tail - i / N).abs().argmin()].item()
        assert abs(Ramp.parse(PAPER)(i / N) - best) <= 1e-3 + 1e-9


def test_it_falls_from_the_highest_level_to_the_lowest():
    path = [Ramp.parse(PAPER)(i / N) for i in range(N + 1)]
    assert (
        path[0] == pytest.approx(1, abs=1e-12)
        and path[-1] == 0
        and all(a > b for a, b in zip(path, path[1:], strict=False))
    )
    window = Ramp.parse({**PAPER, "start": 0.98, "end": 0.02})
    assert window(0.0) == pytest.approx(0.98, abs=1e-12) and window(1.0) == 0.02
    assert [window(i / N) for i in (50, 100)] == pytest.approx([0.02 + 0.96 * path[i] for i in (50, 100)], abs=1e-12)


def test_the_middle_takes_most_of_the_run():
    """The share of steps between m2 and m1 is theirs of the weight: coarse levels first, few steps below m2."""
    flank = lambda reach, s: s * math.sqrt(math.pi / 2) * math.erf(reach / s / math.sqrt(2))  # noqa: E731
    above, below = flank(0.2, 0.3), flank(0.5, 0.1)
    total = above + 0.3 + below
    path = [Ramp.parse(PAPER)(i / 400) for i in range(401)]
    assert sum(t > 0.8 for t in path) / 401 == pytest.approx(above / total, abs=3e-3)
    assert sum(t < 0.5 for t in path) / 401 == pytest.approx(below / total, abs=3e-3)
    assert sum(0.5 <= t <= 0.8 for t in path) / 401 > 0.4


@pytest.mark.parametrize("m1, m2, s1, s2", [(1.0, 0.0, 0.3, 0.1), (0.7, 0.7, 1e6, 1e6)])
def test_a_uniform_weight_is_linear(m1, m2, s1, s2):
    """All plateau, and flanks that are as good as flat."""
    for p in (0.0, 0.1, 0.5, 0.77, 1.0):
        assert dreamtime(p, m1, m2, s1, s2) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("m1, m2, s1, s2", [(0.8, 0.5, 0.3, 0.1), (0.6, 0.2, 0.05, 0.4), (0.5, 0.5, 0.2, 0.1)])
def test_any_weight(m1, m2, s1, s2):
    entries, p = weights(m1, m2, s1, s2)
    for q in (0.01, 0.2, 0.5, 0.8, 0.99):
        assert share_above(1 - dreamtime(q, m1, m2, s1, s2), entries, p) == pytest.approx(q, abs=1e-5)


def test_the_root_falls_from_the_highest_level_to_the_lowest():
    """HiFA: t_max - (t_max - t_min) sqrt(i / N)."""
    root = Ramp.parse({"start": 0.98, "end": 0.02, "shape": "sqrt"})
    assert root(0.0) == 0.98 and root(1.0) == 0.02
    for p in (0.04, 0.25, 0.81):
        assert root(p) == pytest.approx(0.98 - 0.96 * p**0.5, abs=1e-12)


@pytest.mark.parametrize("shape", ["dreamtime", "sqrt"])
def test_a_schedule_leaves_t_no_chance(kit, shape):
    """All views of a step, and all seeds, have the one t of the schedule; SDS then has only its noise."""
    times, cameras = Times.parse({"start": 0.98, "end": 0.02, "shape": shape}), kit.seen_from(4)
    for index in (0, 7, 50, 99):
        expected = Ramp(0.98, 0.02, shape=shape)(index / 99)
        for seed in (0, 1):
            t = draw_t(times, cameras, kit.step(index, 100, seed))
            assert torch.allclose(t, torch.full((4,), expected), rtol=0, atol=1e-6)
    prior = Mixture.of(torch.full((1, 1, 2, 2), 0.3, dtype=DOUBLE), 0.0)  # a point mass: the noise cancels
    view = kit.view_of(prior, torch.ones(4, 1, 2, 2, dtype=DOUBLE))
    a, b = (SDS(prior, t=times).gradient(view, kit.step(30, 100, seed)) for seed in (0, 1))
    assert torch.allclose(a, b, rtol=0, atol=1e-5) and a.abs().min() > 0.1


def test_warm_ups_of_the_papers():
    """ISM and TSM: the window is wide at first and half of it from 0.3 of the run (1500 of 5000 and 750 of 2500 steps), the
    interval shrinks alike. CDS, SDI: single levels, from 0.7 to 0.1 by the root, and from 0.98 to 0.25."""
    prior = Mixture(components=1)
    for kind in (ISM, TSM):
        guidance = kind(prior)
        assert guidance.t.window(0.0) == (0.02, 0.98) and guidance.delta_t(0.0) == 0.1
        assert guidance.t.window(0.15) == pytest.approx((0.02, 0.74)) and guidance.delta_t(0.15) == pytest.approx(0.09)
        assert guidance.t.window(0.3) == guidance.t.window(1.0) == (0.02, 0.5) and guidance.delta_t(0.3) == 0.08
    assert [CDS(prior).t.window(p)[0] for p in (0.0, 0.25, 1.0)] == pytest.approx([0.7, 0.4, 0.1])
    assert SDI(prior).t.window(0.0) == (0.98, 0.98) and SDI(prior).t.window(1.0) == (0.25, 0.25)


def test_schedules_do_without_torch():
    code = "import sys; from dream3d.schedule import Ramp; Ramp(1.0, 0.0, shape='dreamtime')(0.3); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
