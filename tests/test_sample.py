"""`sample`: a prior on its own lands where its distribution is, and the command writes what it says."""

import math

import pytest
import torch
from PIL import Image

from dream3d import cli
from dream3d.cameras import ring
from dream3d.options import Words
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.sampling import HIGH, sample

SMALL = ["prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=1", "--steps", "4"]


def test_a_gaussian_is_sampled_with_its_own_mean_and_spread():
    """DDIM transports N(0, 1) to N(mu, s^2) in closed form: x0 = mu + s u, u the noise in units of its spread at the first level. 250
    steps; what is left is discretisation, under 2 % of s in spread and mean."""
    mean, std = 0.4, 0.25
    prior = Mixture.of(torch.full((1, 1, 8, 8), mean), std)
    text, cameras = Prompt(prior, ["0"], "", Words(views=False)), ring(64, size=8)
    x = 2 * sample(prior, text(cameras), cameras, scale=1.0, steps=250, seed=0) - 1
    assert x.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(64 * 64) + 0.02 * std)
    assert x.std().item() == pytest.approx(std, rel=0.05)
    assert HIGH > 0.99


def test_tables_that_end_in_pure_noise_are_entered_where_something_is_left():
    """A cosine table's last alpha is 5e-5, that of zero terminal SNR (arXiv:2305.08891) is 0: x0 there would be the rounding of eps."""
    mean, cosine = 0.4, torch.cos((torch.arange(1, 1001) / 1000 + 0.008) / 1.008 * torch.pi / 2).double() ** 2
    for table in (cosine.clamp(min=2.4e-9), torch.cat([cosine[:-1], torch.zeros(1)])):
        prior = Mixture.of(torch.full((1, 1, 8, 8), mean), 0.25)
        prior.table = table
        exact, prior.eps = prior.eps, lambda *asked: exact(*asked).bfloat16().float()  # noqa: B023
        text, cameras = Prompt(prior, ["0"], "", Words(views=False)), ring(16, size=8)
        x = 2 * sample(prior, text(cameras), cameras, scale=1.0, steps=25) - 1
        assert x.mean().item() == pytest.approx(mean, abs=0.1) and x.std().item() == pytest.approx(0.25, rel=0.2)


def test_guidance_keeps_to_the_prompt():
    prior = Mixture.of(torch.stack([torch.full((1, 4, 4), v) for v in (-0.6, 0.6)]), 0.1)
    text, cameras = Prompt(prior, ["1"], "", Words(views=False)), ring(16, size=4)
    assert (sample(prior, text(cameras), cameras, scale=4.0, steps=50) > 0.6).all()
    both = Prompt(prior, ["0 and 1"], "", Words(views=False))(cameras)
    means = sample(prior, both, cameras, scale=1.0, steps=50).mean((1, 2, 3))
    assert (means < 0.5).any() and (means > 0.5).any()


def test_the_seed_decides_and_progress_is_told():
    prior, cameras, heard = Mixture(size=4), ring(2, size=4), []
    text = Prompt(prior, ["0 and 1"], "", Words(views=False))(cameras)
    one, two, other = (sample(prior, text, cameras, steps=5, seed=s, told=heard.append) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert heard == [0.2, 0.4, 0.6, 0.8, 1.0] * 3


def test_views_of_a_group_show_one_object():
    prior, cameras = ExactJoint(size=16, views=4, instances=4, others=4), ring(4, size=16, views=4)
    text = Prompt(prior, ["a red car"], "", Words())(cameras)
    pictures = sample(prior, text, cameras, scale=1.0, steps=12)
    drawn = prior.pictures(text["text"], cameras, torch.ones(4, 3)).movedim(2, -1)
    off = ((2 * pictures - 1 - drawn).square().mean((2, 3, 4))).sqrt()  # instance x view
    best = off.sum(1).argmin()
    assert (off.argmin(0) == best).all() and off[best].max() < 0.15


def test_the_command_writes_a_row_per_side_and_a_column_per_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sample", "a red car", *SMALL, "--seeds", "3", "--out", "grid.png"]) == 0
    assert capsys.readouterr().out.endswith("grid.png\n")
    with Image.open("grid.png") as picture:
        assert picture.size == (3 * 16, 4 * 16)
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


@pytest.mark.parametrize("words, says", [
    (["sample"], "there is no prompt"), (["sample", "prior=exact"], "there is no prompt"),
    (["sample", "a dragon"], "does not know 'dragon'"), (["sample", "a car", "--out", "x.gif"], "not a .png"),
    (["sample", "a red car", "--out", "nowhere/x.png"], "there is no folder 'nowhere'"),
    (["sample", "a car", "--steps", "0"], "--steps must be 1 to 1000"),
    (["sample", "a car", "--scale", "nan"], "--scale must be a number"), (["sample", "a car", "prior.sise=3"], "try: size"),
])  # fmt: skip
def test_mistakes_teach_and_leave_nothing(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_answers_that_are_no_numbers_make_no_picture(tmp_path, monkeypatch, capsys):
    from dream3d.priors.exact import Exact

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Exact, "eps", lambda prior, x, *others: x * torch.nan)
    assert cli.main(["sample", "a red car", *SMALL]) == 3
    assert "no numbers" in capsys.readouterr().err and not list(tmp_path.iterdir())
