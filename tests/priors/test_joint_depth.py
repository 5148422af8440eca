"""Colour and depth in one x: which half is which, what is refused, and the formula that needs both."""

import pytest
import torch

from dream3d import assemble, build, config, needs
from dream3d.errors import Mistake

from . import clips
from .clips import kit
from .test_contract import asked


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    return str(kit.stable_diffusion(tmp_path_factory.mktemp("halves") / "model", unet=kit.unet(in_channels=8, out_channels=8)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return str(clips.ldm3d_model(tmp_path_factory.mktemp("whole") / "model"))


def joint(model, **settings):
    return build.make("priors", {"type": "joint_depth", "model": str(model), **settings})


def told(model, **settings):
    with pytest.raises(Mistake) as raised:
        joint(model, **settings)
    assert (raised.value.code == 3 or raised.value.where.startswith("prior.")) and len(raised.value.lines) <= 5
    return str(raised.value)


def picture(count=2, channels=4):
    return torch.rand(count, 32, 32, channels, generator=torch.Generator().manual_seed(0))


def test_x_is_the_latent_of_the_colour_then_that_of_the_depth(halves):
    prior, plain, image = joint(halves), kit.vae().eval(), picture()
    with torch.no_grad():
        colour, depth = (0.18215 * plain.encode(2 * v.movedim(-1, 1) - 1).latent_dist.mean
                         for v in (image[..., :3], image[..., 3:].expand(-1, -1, -1, 3)))  # fmt: skip
    x = prior.encode(image)
    assert prior.spec.channels == 8
    torch.testing.assert_close(x, torch.cat([colour, depth], 1), rtol=0, atol=1e-5)
    scaled = joint(halves, scale=0.86, shift=0.0432)
    torch.testing.assert_close(scaled.encode(image), torch.cat([colour, (depth - 0.0432) * 0.86], 1), rtol=0, atol=1e-5)
    back = prior.decode(x)
    assert back.shape == image.shape
    torch.testing.assert_close(scaled.decode(scaled.encode(image)), back, rtol=0, atol=1e-4)
    with torch.no_grad():
        grey = plain.decode(depth / 0.18215).sample.mean(1) / 2 + 0.5
    torch.testing.assert_close(back[..., 3], grey, rtol=0, atol=1e-5)


def test_normals_may_stand_beside_the_colour(halves):
    prior, plain, image = joint(halves, beside="normal"), kit.vae().eval(), picture(channels=6)
    with torch.no_grad():
        both = [0.18215 * plain.encode(2 * v.movedim(-1, 1) - 1).latent_dist.mean for v in (image[..., :3], image[..., 3:])]
    x = prior.encode(image)
    torch.testing.assert_close(x, torch.cat(both, 1), rtol=0, atol=1e-5)
    assert prior.decode(x).shape == image.shape and {"normal"} == prior.spec.capabilities - {"student"}
    with pytest.raises(Mistake, match="colour with normal, 6 channels, but is shown 4"):
        prior.encode(picture())


def test_the_authors_statistics_are_one_scale_and_one_shift():
    """(u - m) / s s_rgb + m_rgb with their four numbers."""
    u = torch.linspace(-3, 3, 7)
    theirs = (u - 0.2136) / 1.2063 * 1.0374 + 0.1465
    torch.testing.assert_close((u - 0.0432) * 0.86, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("row", ["colour", "depth"])
def test_colour_and_depth_hear_each_other(halves, row):
    prior = joint(halves)
    z, t, text, *_ = asked(prior, 1)
    other = z.clone()
    other[:, :4] += row == "colour"
    other[:, 4:] += row == "depth"
    change = (prior.eps(other, t, text) - prior.eps(z, t, text)).abs().amax((0, 2, 3))
    assert change.min() > 1e-4


def test_one_autoencoder_may_know_both(whole):
    prior, image = joint(whole), picture()
    assert prior.spec.channels == 4 and prior.vae.vae.config.in_channels == 4
    x = prior.encode(image)
    nearer = image.clone()
    nearer[..., 3] *= 0.5
    assert (prior.encode(nearer) - x).abs().max() > 1e-3 and prior.decode(x).shape == image.shape


def test_pictures_without_depth_and_folders_without_it(halves, whole, tmp_path):
    for model in (halves, whole):
        with pytest.raises(Mistake, match="colour with depth, 4 channels, but is shown 3") as raised:
            joint(model).encode(picture(channels=3))
        assert "guidance.sees=rgb+depth" in str(raised.value)
    assert "takes 4 channels and gives 4; colour and depth are 8" in told(kit.stable_diffusion(tmp_path / "plain"))
    assert "sees 6 channels, the depth in bytes" in told(clips.ldm3d_model(tmp_path / "bytes", channels=6))
    assert "no half of its own" in told(whole, scale=0.9) and "depth alone" in told(whole, beside="normal")
    assert "holds a WanPipeline" in told(clips.wan_model(tmp_path / "wan"))


def stage(model, *overrides, **prior):
    found = config.load("anpg-gaussian", ["prompt=a car", "negative=a bus", "steps=10", "renderer.count=20", *overrides],
                        settings={"prior": {"type": "joint_depth", "model": model, **prior}})  # fmt: skip
    needs.check_needs(found)
    return assemble.stage(found.stages[0], 0, "cpu", 0, 0)


@pytest.mark.parametrize("kind", ["halves", "whole"])
def test_anpg_moves_colour_and_depth(kind, request):
    system = stage(request.getfixturevalue(kind))
    before = {k: v.clone() for k, v in system.scene.state_dict().items()}
    logs = [system.step(index) for index in (0, 1)]
    assert not any(log.skipped for log in logs)
    assert logs[0].scalars["gradient/rgb"] > 0 and logs[0].scalars["gradient/depth"] > 0
    assert any(not torch.equal(v, before[k]) for k, v in system.scene.state_dict().items())


def test_a_step_on_colour_and_normals(halves):
    log = stage(halves, "guidance={type: sds, sees: rgb+normal}", beside="normal").step(0)
    assert log.scalars["gradient/rgb"] > 0 and log.scalars["gradient/normal"] > 0
    with pytest.raises(Mistake, match="needs depth"):
        stage(halves, beside="normal")


def test_depth_can_be_left_out(halves):
    """anpg's weight of the depth acts on its half of x alone."""
    logs = [stage(halves, f"guidance.depth={weight}").step(0).scalars for weight in (1, 0)]
    assert logs[1]["gradient/depth"] == 0 < logs[0]["gradient/depth"]
    assert logs[1]["gradient/rgb"] == pytest.approx(logs[0]["gradient/rgb"], rel=1e-5)
