"""Photographs against hand-made pictures and structural similarity against its definition; negative prompts on colour and depth
against NFSD and CSD. Exact, in double precision unless said otherwise."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from dream3d.guidance._image import ssim
from dream3d.guidance.anpg import ANPG
from dream3d.guidance.nfsd import NFSD
from dream3d.guidance.photo import Photo
from PIL import Image

from dream3d import assemble, build, config
from dream3d.diffusion import add_noise, draw_t, per_view, predict
from dream3d.errors import Mistake
from dream3d.pictures import read_picture
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Render, Step

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# --- photo --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path):
    """A file of 16 x 16 pixels with alpha, and what is in it (4 H W)."""
    pixels = (255 * rand(16, 16, 4, seed=5)).round().byte()
    pixels[:4, :, 3], pixels[4:8, :, 3] = 0, 255
    Image.fromarray(pixels.numpy(), "RGBA").save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png"), pixels.movedim(-1, 0).to(DOUBLE) / 255


def seen(kit, x, background):
    return dataclasses.replace(kit.view_of(Mixture(), x), render=Render(*(torch.zeros(len(x), 16, 16, c) for c in (3, 1, 1)),
                                                                       extras={"background": background}))  # fmt: skip


def over(pixels, background):
    """The picture over a colour per view, and its mask."""
    rgb, alpha = pixels[:3], pixels[3:]
    return torch.cat([alpha * rgb + (1 - alpha) * background.to(DOUBLE)[:, :, None, None],
                      alpha.expand(len(background), -1, -1, -1)], 1)  # fmt: skip


def test_the_squared_error_pulls_straight_to_the_picture(kit, picture):
    """g = l2 (x - y), y over the view's own background: another one for every view; and no mean over pixels or views."""
    name, pixels = picture
    x, background = rand(2, 3, 16, 16), torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    g = Photo(Mixture(), image=name, l2=Ramp(3.0)).gradient(seen(kit, x, background), kit.step())
    close(g, 3 * (x - over(pixels, background)[:, :3]), 1e-6)  # pictures are read in single precision


def test_the_mask_is_a_channel_with_its_own_weight(kit, picture):
    name, pixels = picture
    x, white = rand(1, 4, 16, 16), torch.ones(1, 3)
    g = Photo(Mixture(), image=name, l2=Ramp(2.0), mask=Ramp(0.5)).gradient(seen(kit, x, white), kit.step())
    weights = torch.tensor([2.0, 2.0, 2.0, 0.5]).view(1, 4, 1, 1)
    close(g, weights * (x - over(pixels, white)), 1e-6)


def test_a_perfect_match_pulls_nothing(kit, picture):
    name, pixels = picture
    background = torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    guidance = Photo(Mixture(), image=name, l2=Ramp(1.0), ssim=Ramp(1.0))
    view = seen(kit, over(pixels, background), background)
    view = dataclasses.replace(view, x=guidance.over(view, view.x))
    assert guidance.loss(view.x, view, kit.step()).abs() < 1e-9
    assert guidance.gradient(view, kit.step()).abs().max() < 1e-9


def test_smaller_renders_are_compared_with_a_smaller_picture(kit, picture):
    """Premultiplied and then averaged: colours of what is transparent do not bleed in."""
    name, pixels = picture
    small = Photo(Mixture(), image=name).over(seen(kit, rand(1, 3, 4, 4), torch.zeros(1, 3)), rand(1, 3, 4, 4))
    whole = F.interpolate(torch.cat([pixels[:3] * pixels[3:], pixels[3:]])[None], (4, 4), mode="bilinear", antialias=True)
    close(small, whole, 1e-6)
    assert small[:, :3, 0].abs().max() < whole[:, :3, 1].max() / 4  # the four uppermost rows are transparent


def test_structural_similarity():
    """1 for equal pictures, symmetric, below 1 else; equal to its definition written out for one window in the middle; contrast
    alone, 2 c / (1 + c^2), where means vanish; and a gradient that autograd and finite differences agree on."""
    a, b = rand(2, 3, 16, 16), rand(2, 3, 16, 16, seed=1)
    close(ssim(a, a), torch.ones_like(a))
    close(ssim(a, b), ssim(b, a))
    assert ssim(a, b).max() < 1 and ssim(a, b).mean() < 0.3
    line = torch.exp(-torch.arange(-5, 6, dtype=DOUBLE).square() / 4.5)
    w = line[:, None] * line / line.sum() ** 2
    p, q = a[0, 0, 2:13, 3:14], b[0, 0, 2:13, 3:14]
    mp, mq = (w * p).sum(), (w * q).sum()
    vp, vq, c = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
    by_hand = (2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
    close(ssim(a, b)[0, 0, 7, 8], by_hand)
    wave = (torch.arange(64) % 2 * 2 - 1.0).to(DOUBLE).expand(1, 1, 64, 64)
    close(ssim(wave, 0.5 * wave)[..., 20:44, 20:44].mean(), torch.tensor(0.8, dtype=DOUBLE), 5e-3)
    leaf = a[:1, :1, :7, :7].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ssim(x, b[:1, :1, :7, :7]), leaf, atol=1e-6)


def test_similarity_pulls_towards_the_picture(kit, picture):
    """Descent on 1 - SSIM alone, from noise, raises it from below 0.3 to above 0.9."""
    name, pixels = picture
    guidance, white = Photo(Mixture(), image=name, l2=Ramp(0.0), ssim=Ramp(1.0)), torch.ones(1, 3)
    x, y = rand(1, 3, 16, 16, seed=3), over(pixels, white)[:, :3]
    assert ssim(x, y).mean() < 0.3
    for i in range(120):
        x = x - 0.05 * guidance.gradient(seen(kit, x, white), kit.step(i, 120))
    assert ssim(x, y).mean() > 0.9


@pytest.mark.parametrize("make, problem", [
    (lambda path: None, "there is no picture"), (lambda path: path.mkdir(), "there is no picture"),
    (lambda path: path.write_bytes(b"not a picture"), "cannot be read"),
    (lambda path: Image.new("L", (5000, 2)).save(path), "at most 4096"),
    (lambda path: path.write_bytes((build.place("assets") / "photos/red-car.png").read_bytes()[:900]), "cannot be read"),
])  # fmt: skip
def test_a_bad_picture_is_told_at_the_start(make, problem, tmp_path):
    make(tmp_path / "bad.png")
    with pytest.raises(Mistake, match=problem) as told:
        Photo(Mixture(), image=str(tmp_path / "bad.png"))
    assert told.value.where == "guidance.image" and told.value.code == 2


def test_pictures_are_found_by_name_and_need_no_alpha(tmp_path):
    bundled = read_picture("red-car.png", "guidance.image")
    assert bundled.shape == (1, 4, 128, 128) and 0.1 < bundled[:, 3].mean() < 0.5 and bundled.max() <= 1
    with pytest.raises(Mistake) as told:
        read_picture("red-cat.png", "guidance.image")
    assert "red-car.png" in told.value.near
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "plain.jpg")
    plain = read_picture(str(tmp_path / "plain.jpg"), "guidance.image")
    assert (plain[:, 3] == 1).all() and plain[:, 0].min() > 0.98
    with pytest.raises(Mistake, match="no picture ''"):
        read_picture("", "guidance.image")


def test_only_the_view_of_its_role_is_pulled():
    """Through the recipe's cameras and two terms: the photograph reaches the photo's view alone, colour and mask."""
    found = config.load("photo-gaussian", ["prior={type: mixture, size: 16}", "cameras.batch=2", "prompt=0"]).values
    cameras = build.make("cameras", found["cameras"], 16)(now := Step.make(0, 10, 0))
    (photo,) = [t for t in assemble._terms(found, build.make("priors", found["prior"])) if isinstance(t.guidance, Photo)]
    leaves = Render(torch.rand(3, 16, 16, 3), torch.rand(3, 16, 16, 1), torch.ones(3, 16, 16, 1),
                    extras={"background": torch.ones(3, 3)}).cut()  # fmt: skip
    photo.pull(leaves, cameras, now)
    for buffer in (leaves.rgb, leaves.alpha):
        assert buffer.grad[:2].abs().max() == 0 and buffer.grad[2].abs().max() > 0.1


# --- negative prompts on colour and depth -------------------------------------------------------------------------------

T = Times.parse([0.02, 0.98])


@pytest.fixture(params=["mixture", "joint"])
def both(request):
    """Priors of colour and depth: four channels."""
    if request.param == "mixture":
        made = Mixture.of(draw(3, 4, 8, 8), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE))
        made.prompts = ("0", "1")
    else:
        made = ExactJoint(size=8, instances=2, others=2, bandwidth=0.3, buffers="rgb+depth")
        made.prompts = ("a red car", "a duck")
    made.text([*made.prompts, ""])
    return made


def scene(kit, prior, count=6, **rows):
    return kit.view_of(prior, draw(count, 4, 8, 8, seed=1), **{"text": prior.prompts[0], "negative": prior.prompts[1], "empty": ""} | rows)


@pytest.mark.parametrize("w", ["sds", "uniform"])
def test_with_a_depth_of_full_weight_it_is_nfsd_of_one_picture(kit, both, w):
    view, settings = scene(kit, both), {"w": w, "t": T, "scale": Ramp(5.0)}
    assert torch.equal(ANPG(both, **settings).gradient(view, kit.step()), NFSD(both, **settings).gradient(view, kit.step()))


def test_weights_of_depth_touch_depth_alone(kit, both):
    view = scene(kit, both)
    whole, half, none = (ANPG(both, depth=Ramp(d)).gradient(view, kit.step()) for d in (1.0, 0.5, 0.0))
    close(half[:, 3:], whole[:, 3:] / 2)
    assert torch.equal(half[:, :3], whole[:, :3]) and (none[:, 3:] == 0).all() and whole[:, 3:].abs().max() > 0.1


def test_the_negative_prompt_counts_view_by_view(kit, both):
    """g = w (delta_D + s (cond - empty)) by hand, with views on both sides of t = 0.2 in one batch."""
    view, now = scene(kit, both, count=12), kit.step(seed=4)
    t = draw_t(T, view.cameras, now)
    noise = now.normal(*view.x.shape)
    assert (t < 0.2).any() and (t >= 0.2).any()
    cond, empty, negative = predict(both, z := add_noise(both, view.x, t, noise), t, view, "text", "empty", "negative")
    domain = torch.where((t < 0.2)[:, None, None, None], empty, empty - negative)
    expected = per_view(both.alpha_sigma(t)[1] ** 2, z) * (domain + 7.5 * (cond - empty))
    close(ANPG(both).gradient(view, kit.step(seed=4)), expected, 1e-8)
    cosine = F.cosine_similarity(noise[:, :3].mean(1).flatten(), noise[:, 3].flatten(), 0)
    assert cosine.abs() < 4 / (12 * 64) ** 0.5  # depth and colour have noises of their own


def test_an_empty_negative_prompt_leaves_the_classifier(kit, both):
    """eps_neg = eps_empty and t >= 0.2: s times CSD, for colour and depth."""
    view = scene(kit, both, negative="")
    guidance = ANPG(both, t=Times.parse([0.3, 0.98]), w="uniform")
    now = kit.step()
    t = draw_t(guidance.t, view.cameras, now)
    cond, empty = predict(both, add_noise(both, view.x, t, now.normal(*view.x.shape)), t, view, "text", "empty")
    close(guidance.gradient(view, kit.step()), 7.5 * (cond - empty), 1e-8)


def test_three_evaluations_of_the_joint_network_or_two_at_little_noise(kit, both):
    ANPG(both, t=Times.parse([0.3, 0.9])).gradient(scene(kit, both), kit.step())
    assert both.evaluations == 3 * 6
    ANPG(both, t=Times.parse([0.02, 0.19])).gradient(scene(kit, both), kit.step())
    assert both.evaluations == (3 + 2) * 6


def test_latent_depth_is_the_second_half(kit):
    prior = Mixture.of(draw(3, 8, 4, 4), 0.5)
    prior.spec = dataclasses.replace(prior.spec, space="latent")
    view = kit.view_of(prior, draw(2, 8, 4, 4, seed=1), text="0", negative="1", empty="")
    whole, none = (ANPG(prior, depth=Ramp(d)).gradient(view, kit.step()) for d in (1.0, 0.0))
    assert torch.equal(none[:, :4], whole[:, :4]) and (none[:, 4:] == 0).all()
