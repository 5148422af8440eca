"""The tiers over latents: tiny ones of every kind are trained for a few steps, stopped and gone on with, published, and opened by the prior
of the family that reads them."""

import copy
import dataclasses
import json
import shutil
import textwrap

import pytest
import torch
from dream3d.guidance.vsd import VSD
from safetensors.torch import load_file

from dream3d import build, config, models, vocabulary
from dream3d.cameras import clips, ring
from dream3d.errors import Mistake
from dream3d.learner import noisy
from dream3d.toybox import train
from dream3d.toybox.training import check, data, kinds, latent, words
from dream3d.toybox.training.latent import Base
from dream3d.toybox.training.presets import TIERS, Place
from dream3d.types import Condition, Render, Step, View

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

LATENT = dataclasses.replace(TIERS["toybox-latent"], size=16, width=32, readers=1, coder=(8, 16), levels=(8, 16))
SMALLER = {"size": 16, "width": 32, "levels": (32,), "coder": (8, 8)}
HERE = Place(steps=4, batch=4, views=2, chunk=2, rate=5e-3, keep=0.8)
QUICK = ("toybox-latent",)  # of trainings that are stopped: the one of two phases
OVER = {name: dataclasses.replace(tier, **SMALLER) for name, tier in TIERS.items() if tier.base}
SETTINGS = {
    "toybox-latent": lambda folder, base: {"type": "stable_diffusion", "model": folder},
    "toybox-mv": lambda folder, base: {"type": "mvdream", "model": folder},
    "toybox-depth": lambda folder, base: {"type": "controlnet", "model": base, "nets": {w: f"{folder}/{w}" for w in ("depth", "normal")}},
    "toybox-view": lambda folder, base: {"type": "zero123", "model": folder, "image": "red-car.png", "size": 16},
    "toybox-inpaint": lambda folder, base: {"type": "inpaint", "model": folder},
    "toybox-rgbd": lambda folder, base: {"type": "joint_depth", "model": folder},
    "toybox-video": lambda folder, base: {"type": "video", "model": base, "motion": folder, "frames": 8},
}


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DREAM3D_OFFLINE", "1")
        patch.setenv("DREAM3D_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(train, "WARM", 2)
        patch.setattr(train, "SAVE", 1e9)
        patch.setattr(check, "STEPS", 2)
        yield


def training(name, folder, base=None, until=None):
    grouped = name in ("toybox-mv", "toybox-video")
    tier = LATENT if base is None else OVER[name]
    where = dataclasses.replace(HERE, batch=2, views=1) if grouped else HERE if base else dataclasses.replace(HERE, early=2)
    made = train.Training(tier, where, folder, seed=3, base=base)
    made.first = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    made.run(until)
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return training("toybox-latent", tmp_path_factory.mktemp("latent"))


@pytest.fixture(scope="module", params=list(SETTINGS))
def whole(request, base, tmp_path_factory):
    """A tier that was trained, and the prior that its folder opens as."""
    name = request.param
    made = base if name == "toybox-latent" else training(name, tmp_path_factory.mktemp(name), base.out / "pipeline")
    folder = made.out / "pipeline"
    told = SETTINGS[name](str(folder), str(base.out / "pipeline"))
    return name, made, build.make("priors", {**told, "precision": "float32"})


def asked(prior, n):
    """Something noisy, cameras and a render for `n` rows."""
    spec, rng = prior.spec, torch.Generator().manual_seed(0)
    z = torch.randn(n, spec.channels, spec.size, spec.size, generator=rng)
    cameras = clips(ring(n // spec.frames, size=spec.pixels, views=spec.views), spec.frames)
    alpha = torch.rand(n, spec.pixels, spec.pixels, 1, generator=rng)
    seen = Render(alpha.expand(-1, -1, -1, 3), alpha, 3 * alpha, alpha.expand(-1, -1, -1, 3) / 2, extras={"mask": (alpha > 0.5).float()})
    return z, torch.full((n,), 0.5), prior.text(["a red car"] * n), cameras, seen


def some(quick):
    """All kinds, but those that are not `quick` are slow."""
    each = [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
    return pytest.mark.parametrize("whole", each, indirect=True)


# --- each of them -----------------------------------------------------------------------------------------------------------------------


@some(QUICK)
def test_a_training_that_was_stopped_gives_the_same_weights(whole, base, tmp_path):
    name, made, _ = whole
    under = base.out / "pipeline" if made.tier.base else None
    training(name, tmp_path, under, until=1)  # within a chunk
    if name == "toybox-latent":
        training(name, tmp_path, until=2)  # as the autoencoder begins to stand
    last = training(name, tmp_path, under)
    assert last.step == 4 and (tmp_path / "samples_000004.png").exists()
    for one in ("model", "mean"):
        pairs = zip(getattr(made, one).named_parameters(), getattr(last, one).named_parameters(), strict=True)
        assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def test_what_learns_has_moved_and_what_stands_has_not(whole):
    name, made, _ = whole
    still = {n for n, value in made.model.named_parameters() if torch.equal(value, made.first[n])}
    learns = {n for n, p in made.model.named_parameters() if p.requires_grad}
    assert not still >= learns and not {n for n in learns & still if "conv_out" in n or n.startswith("net.out.2")}
    frozen = {n for n, p in made.model.named_parameters() if not p.requires_grad and n != "scale"}
    assert frozen <= still
    if name in ("toybox-depth", "toybox-video"):
        assert any(n.startswith("reader.") for n in frozen)


def test_the_prior_of_its_family_answers_as_the_training_does(whole):
    """eps of the prior against v in memory: the same but for half precision, so nothing is asked in another order or scale."""
    name, made, prior = whole
    model, rows = made.mean, check.unshown(made, 4)
    z, t, text, cameras, seen = asked(prior, 2 * model.group if name != "toybox-mv" else 8)
    eps = prior.eps(z, t, text, cameras, seen)
    assert eps.shape == z.shape and eps.isfinite().all()
    index = (1000 * t).long()
    told = {"said": ["a red car"] * len(z)}
    match name:
        case "toybox-mv":
            from dream3d.priors._views import poses

            told = {"said": [["a red car"] * 4] * 2, "pose": poses(cameras).unflatten(0, (-1, 4)), "known": torch.ones(2, dtype=torch.bool)}
        case "toybox-view":
            picture = prior.vae.pixels
            x = torch.nn.functional.interpolate(prior.picture.movedim(-1, 1), (picture, picture), mode="bilinear", antialias=True)
            told = {"picture": (2 * x - 1).expand(len(z), -1, -1, -1), "pose": prior.pose(cameras, len(z)), "shown": torch.ones(len(z)) > 0}
        case "toybox-inpaint":
            told |= {"mask": seen.extras["mask"].movedim(-1, 1), "x": 2 * seen.rgb.movedim(-1, 1) - 1}
        case "toybox-depth":
            from dream3d.priors.controlnet import drawn

            prior.strength = {"depth": 1.0, "normal": 0.0}
            told |= {what: drawn(what, seen, prior.spec.pixels, cameras) for what in ("depth", "normal")}
            eps = torch.cat([prior.eps(z, t, text, cameras, seen)[:1], eps[1:]])
            prior.strength = {"depth": 0.0, "normal": 1.0}
            eps[1:] = prior.eps(z, t, text, cameras, seen)[1:]
        case "toybox-video":
            told = {"said": ["a red car"] * 2}
    alpha, sigma = (v[:, None, None, None] for v in prior.alpha_sigma(t))
    with torch.no_grad():
        v = model(z, index, told)
    torch.testing.assert_close(eps, alpha * v + sigma * z, rtol=0, atol=0.03 if name == "toybox-view" else 6e-3)
    assert v.abs().max() > 0.01 and set(model.told) <= set(rows)


def test_diffusers_own_pipeline_opens_the_latent_one(base):
    """By the very lines of its README."""
    import diffusers

    told = (base.out / "pipeline" / "README.md").read_text().replace("num_inference_steps=25", "num_inference_steps=2")
    given = {"diffusers": diffusers, "torch": torch, "folder": base.out / "pipeline"}
    exec(textwrap.dedent(told.partition("\n\n")[2]), given)
    assert given["image"].size == (16, 16)


def test_other_versions_of_the_libraries_read_the_folder_too(base):
    """Files and names as hubs have them: transformers 4 knows no other, and takes weights of other names for none at all."""
    folder = base.out / "pipeline"
    assert all(name.startswith("text_model.") for name in load_file(folder / "text_encoder" / "model.safetensors"))
    tokenizer, (numbers, rules) = words.tokenizer(), words.table()
    assert tokenizer.get_vocab() == numbers == json.loads((folder / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    first, *told = (folder / "tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("#version") and [tuple(line.split(" ")) for line in told] == rules


@some(("toybox-latent", "toybox-mv", "toybox-video"))
def test_vsd_of_it_learns_and_its_base_does_not(whole):
    """On renders that are all alike the loss of VSD's student falls, by noises it has not met; the base's tensors stay."""
    prior = outspoken(whole[2])
    z, _, text, cameras, seen = asked(prior, max(4, prior.spec.views, prior.spec.frames))
    frozen = {name: value.clone() for name, value in prior.state_dict().items()}
    rows = {name: text for name in ("text", "bare", "empty", "negative")}
    vsd = VSD(prior, rank=4, lr=3e-2, drop=0.0)
    view = View(torch.ones_like(z), seen, cameras, Condition(rows))
    losses = [denoised(vsd, view)]
    for index in range(8):
        now = Step.make(index, 10, 0)
        gradient = vsd.gradient(view, now)
        vsd.learn(now)
    losses.append(denoised(vsd, view))
    assert losses[1] < 0.97 * losses[0] and gradient.isfinite().all() and gradient.abs().max() > 0
    assert all(torch.equal(value, frozen[name]) for name, value in prior.state_dict().items())


def outspoken(prior):
    """Its network with a last layer that is not nearly zero, as after so few steps: students have something to steer."""
    prior = copy.deepcopy(prior)
    last = prior.net.conv_out if hasattr(prior.net, "conv_out") else prior.net.out[-1]
    torch.nn.init.normal_(last.weight, std=1 / last.weight[0].numel() ** 0.5, generator=torch.Generator().manual_seed(0))
    return prior


@torch.no_grad()
def denoised(vsd, view):
    """The loss at four draws that no training sees."""
    total = 0.0
    for seed in range(1, 5):
        noise, t, z = noisy(vsd.prior, view, Step.make(0, 10, seed))
        total += (vsd.phi.student.eps(z, t, view.text["bare"], view.cameras, view.render) - noise).square().mean().item() / 4
    return total


# --- what is said of them ---------------------------------------------------------------------------------------------------------------


def test_another_base_is_refused(base, tmp_path):
    with pytest.raises(Mistake, match="toybox-latent, which is not there"):
        kinds.base_of(TIERS["toybox-mv"], tmp_path)
    assert kinds.base_of(TIERS["toybox-mv"], base.out / "pipeline") == base.out / "pipeline"
    with pytest.raises(Mistake, match="stands over no other"):
        kinds.base_of(TIERS["toybox-latent"], base.out / "pipeline")
    wide = tmp_path / "wide"
    shutil.copytree(base.out / "pipeline", wide)
    latent.widened(Base(base.out / "pipeline", "cpu").net, 8).save_pretrained(wide / "unet")
    with pytest.raises(Mistake, match="no toybox-latent: its network has 8 channels"):
        training("toybox-mv", tmp_path / "over", wide)
    made = training("toybox-inpaint", tmp_path, base.out / "pipeline", until=1)
    about = tmp_path / "step_000001" / "state.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"base": "another"}))
    with pytest.raises(Mistake, match="over another base"):
        training("toybox-inpaint", tmp_path, base.out / "pipeline")
    assert made.base and made.step == 1


@pytest.mark.parametrize("whole", ["toybox-latent", pytest.param("toybox-mv", marks=pytest.mark.slow)], indirect=True)
def test_the_card_tells_of_what_it_was_told(whole, tmp_path, capsys, monkeypatch):
    name, made, prior = whole
    monkeypatch.setattr(data, "CORE_OBJECTS", ("car",))
    monkeypatch.setattr(data, "CORE_COLOURS", ("red", "purple"))
    monkeypatch.setattr(check, "ROWS", 4)
    kinds.finish(made, name, "cpu", tmp_path / name)
    card = json.loads((tmp_path / name / "card.json").read_text())
    assert card["kind"] == made.mean.family and card["base"] == made.base and card["pictures"] == 4 * (4 if name == "toybox-latent" else 8)
    assert {"v_error", "v_error_told_of_another", "psnr_made", "psnr_autoencoder", "judge", "kid_x1000"} <= set(card["metrics"])
    assert set(card["metrics"]["named_as_true"]) == {"object", "colour", "view"}
    told = card["metrics"]["judge"]
    assert {"seen", "held_out"} <= set(told) and ("agree" in told["seen"]) == (name == "toybox-mv")
    assert made.mean.family in (tmp_path / name / "README.md").read_text() or name == "toybox-latent"
    assert "v_error" in capsys.readouterr().out


def test_words_that_the_world_does_not_know_are_reported_before_any_work(base, tmp_path):
    """By the folder, not by its family, as embedded priors do; what is known is heard in the plainest words for the same."""
    folder = base.out / "pipeline"
    told = {"type": "stable_diffusion", "model": str(folder)}
    with pytest.raises(Mistake, match="does not know 'wolf'") as found:
        vocabulary.check_vocabulary(config.load("sds-gaussian", ["prompt=a wolf", f"prior={json.dumps(told)}"]))
    assert "prior.unknown" not in str(found.value)
    vocabulary.check_vocabulary(config.load("sds-gaussian", ["prompt=a kitten", f"prior={json.dumps(told)}"]))
    prior = build.make("priors", told)
    one, other = (prior.text([said]) for said in ("a photo of a blue, stripy kitten seen from behind", "a striped blue cat, back view"))
    assert torch.equal(one.tokens, other.tokens) and not torch.equal(one.tokens, prior.text(["a blue cat, back view"]).tokens)
    with pytest.raises(Mistake, match="does not know 'wolf'"):
        prior.text(["a wolf"])
    shutil.copytree(folder, tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("A model of wolves.")
    assert models.words(folder) and models.words(tmp_path / "mine") is None
    shutil.rmtree(shutil.copytree(folder, tmp_path / "deaf") / "text_encoder")
    assert models.words(tmp_path / "deaf") is None
    taught = config.load("sds-gaussian", ["prompt=a wolf", f"prior={json.dumps(told | {'inversion': 'wolf.safetensors'})}"])
    vocabulary.check_vocabulary(taught)


def test_networks_that_ship_are_found_by_name(base, tmp_path, monkeypatch):
    """A ControlNet and a motion adapter are no pipelines; what else lies in assets is no model."""
    made = training("toybox-depth", tmp_path / "work", base.out / "pipeline", until=1)
    made.mean.publish(tmp_path / "toybox-depth")
    (tmp_path / "toybox-latent").symlink_to(base.out / "pipeline")
    (tmp_path / "judge").mkdir()
    monkeypatch.setattr(models.build, "place", lambda name: tmp_path)
    told = {"type": "controlnet", "model": "toybox-latent", "nets": {"depth": "toybox-depth/depth"}}
    models.check(told)
    assert models.local("judge") is None and build.make("priors", told).spec.capabilities >= {"control"}
