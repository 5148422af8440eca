"""Multi-view models and other sides of a picture: names and sizes of the published weights, poses, who hears whom, what is refused."""

import json
import math

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from dream3d import assemble, build, config
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.options import Words
from dream3d.priors import _sight, _views
from dream3d.priors._mvunet import MultiViewUNet
from dream3d.priors._posed import CCProjection, CLIPCameraProjection
from dream3d.prompt import Prompt
from dream3d.types import Embedding

from . import views
from .conftest import diffusers

PUBLISHED = {"image_size": 32, "in_channels": 4, "model_channels": 320, "out_channels": 4, "num_res_blocks": 2, "camera_dim": 16,
             "channel_mult": [1, 2, 4, 4], "attention_resolutions": [4, 2, 1], "num_head_channels": 64, "transformer_depth": 1,
             "context_dim": 1024}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The tiny models' folders by family."""
    place = tmp_path_factory.mktemp("views")
    return {kind: getattr(views, kind)(place / kind) for kind in ("mvdream", "imagedream", "zero123")}


@pytest.fixture
def made(folders):
    return lambda kind, **settings: build.make("priors", {**folders[kind].settings, **settings})


def noisy(prior, groups=1):
    n = groups * prior.spec.views
    z = torch.randn(n, 4, prior.spec.size, prior.spec.size, generator=torch.Generator().manual_seed(0))
    return z, torch.full((n,), 0.6), prior.text(["a red car"] * n), ring(n, size=16, views=prior.spec.views)


def count(net):
    return sum(p.numel() for p in net.parameters())


# --- names and sizes of what is published -----------------------------------------------------------------------------------------------


def test_the_full_networks_have_the_published_names_and_sizes():
    """MVDream's U-Net is Stable Diffusion 2.1's and two layers for the camera: its half-precision file has 1.74 GB, ImageDream's 1.88."""
    with torch.device("meta"):
        mvdream, imagedream = MultiViewUNet(**PUBLISHED), MultiViewUNet(**PUBLISHED, ip_dim=16)
        sd = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
                                            use_linear_projection=True)  # fmt: skip
    assert count(mvdream) == count(sd) + 17 * 1280 + 1281 * 1280 == 867_572_164 and round(2 * count(mvdream) / 1e9, 2) == 1.74
    assert count(imagedream) == 941_672_900 and round(2 * count(imagedream) / 1e9, 2) == 1.88
    named = {name: tuple(v.shape) for name, v in imagedream.state_dict().items()}
    shapes = {
        "time_embed.0.weight": (1280, 320), "camera_embed.0.weight": (1280, 16), "camera_embed.2.bias": (1280,),
        "input_blocks.0.0.weight": (320, 4, 3, 3), "input_blocks.3.0.op.weight": (320, 320, 3, 3),
        "input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1), "middle_block.1.proj_in.weight": (1280, 1280),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        "output_blocks.11.1.transformer_blocks.0.attn2.to_v_ip.weight": (320, 1024),
        "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3), "output_blocks.5.2.conv.bias": (1280,),
        "output_blocks.8.1.transformer_blocks.0.ff.net.0.proj.weight": (5120, 640), "out.2.weight": (4, 320, 3, 3),
        "image_embed.latents": (1, 16, 1024), "image_embed.proj_in.weight": (1024, 1280),
        "image_embed.layers.3.0.to_kv.weight": (1536, 1024),
        "image_embed.layers.0.1.3.weight": (1024, 4096), "image_embed.norm_out.bias": (1024,),
    }  # fmt: skip
    assert {name: named.get(name) for name in shapes} == shapes
    assert not any(name.startswith("image_embed") or "_ip." in name for name in mvdream.state_dict())
    ldm = {f"model.diffusion_model.{k}": v for k, v in mvdream.state_dict().items() if not k.startswith("camera_embed")}
    found = {name: tuple(v.shape) for name, v in convert_ldm_unet_checkpoint(ldm, dict(sd.config)).items()}
    assert found == {name: tuple(v.shape) for name, v in sd.state_dict().items()}


def test_the_projections_of_poses_have_the_published_sizes():
    """1.19 MB in half precision, by either name."""
    for kind, name in ((CCProjection, "projection.weight"), (CLIPCameraProjection, "proj.weight")):
        with torch.device("meta"):
            layer = kind()
        assert tuple(layer.state_dict()[name].shape) == (768, 772) and round(2 * count(layer) / 1e6, 2) == 1.19


# --- from where -------------------------------------------------------------------------------------------------------------------------


def test_a_known_pose():
    """Cameras in front of an object and on its left, at any distance: columns right, up, back and place, in a world with z up."""
    front, side = _views.poses(ring(4, elevation=0.0, size=16)).unflatten(1, (4, 4))[:2]
    torch.testing.assert_close(front, torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, -1], [0, 1, 0, 0], [0, 0, 0, 1]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(side, torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), rtol=0, atol=1e-6)
    near, far = (_views.poses(ring(4, elevation=25.0, size=16, distance=d)) for d in (1.5, 4.0))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-6)
    cameras = ring(4, elevation=25.0, start=10.0, size=16)
    told = torch.stack([views.pose(a, math.radians(25)) for a in cameras.azimuth.tolist()])
    torch.testing.assert_close(_views.poses(cameras), told, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["mvdream", "imagedream"])
def test_views_hear_each_other_and_their_cameras(made, kind):
    prior = made(kind)
    z, t, text, cameras = noisy(prior, 2)
    eps, changed = prior.eps(z, t, text, cameras), z.clone()
    changed[3] += 1
    moved = (prior.eps(changed, t, text, cameras) - eps).abs().flatten(1).amax(1)
    assert (moved[:4] > 1e-5).all() and (moved[4:] < 1e-5).all()
    assert (prior.eps(z, t, text, None) - eps).abs().max() > 1e-4  # it is not told where cameras are
    turned = ring(8, size=16, start=45.0, views=4)
    assert (prior.eps(z, t, text, turned) - eps).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["mvdream", "imagedream"])
def test_groups_that_are_none(made, kind):
    prior = made(kind)
    z, t, text, cameras = noisy(prior)
    for wrong in ((z[:3], t[:3], text, None), (z, t, text, ring(4, size=16)), (z, t * torch.tensor([1, 1, 1, 0.5]), text, cameras)):
        with pytest.raises(Mistake) as found:
            prior.eps(*wrong)
        assert "views" in found.value.problem and "orthogonal" in found.value.fix


def test_the_pose_of_another_side(made):
    prior = made("zero123")
    own = ring(1, elevation=20.0, start=30.0, size=16, distance=2.5)
    torch.testing.assert_close(prior.pose(own, 1), torch.tensor([[0.0, 0, 1, 0]]), rtol=0, atol=1e-6)
    assert torch.equal(prior.pose(None, 2), torch.tensor([[0.0, 0, 1, 0]] * 2))
    other = ring(1, elevation=50.0, start=120.0, size=16, distance=3.0)
    expected = torch.tensor([[-math.radians(30), 1, 0, 0.5]])
    torch.testing.assert_close(prior.pose(other, 1), expected, rtol=0, atol=1e-6)
    assert made("zero123", distance=None).pose(other, 1)[0, 3] == 0
    stable = made("zero123", stable=True)
    torch.testing.assert_close(stable.pose(other, 1), torch.tensor([[-math.radians(30), 1, 0, math.radians(70)]]), rtol=0, atol=1e-6)
    z, t, text, _ = noisy(prior)
    torch.testing.assert_close(prior.eps(z, t, text, None), prior.eps(z, t, text, own), rtol=0, atol=1e-5)
    assert (prior.eps(z, t, text, other) - prior.eps(z, t, text, own)).abs().max() > 1e-4


# --- pictures ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawing(tmp_path):
    """A wide blue picture."""
    from PIL import Image

    Image.new("RGB", (40, 20), (0, 0, 255)).save(tmp_path / "blue.png")
    return str(tmp_path / "blue.png")


def test_pictures_are_widened_with_white(drawing):
    image = _sight.on_white(drawing, "prior.image")[0]
    assert image.shape == (40, 40, 3) and (image[:10] == 1).all() and (image[-10:] == 1).all()
    assert torch.equal(image[10:30], torch.tensor([0.0, 0, 1]).expand(20, 40, 3))


@pytest.mark.parametrize("kind", ["imagedream", "zero123"])
def test_only_what_is_guided_towards_sees_the_picture(folders, made, drawing, kind):
    red, blue = made(kind), made(kind, image=drawing)
    z, t, _, cameras = noisy(red)
    rows = [Prompt(prior, ["a car"], "ugly", Words())(cameras) for prior in (red, blue)]
    for row in ("negative", "empty"):
        torch.testing.assert_close(red.eps(z, t, rows[0][row], cameras), blue.eps(z, t, rows[1][row], cameras), rtol=0, atol=1e-5)
    assert (red.eps(z, t, rows[0]["text"], cameras) - blue.eps(z, t, rows[1]["text"], cameras)).abs().max() > 1e-4
    for row in ("text", "empty"):
        expected = folders[kind].raw(red, z, t, rows[0][row], cameras, None)
        torch.testing.assert_close(red.eps(z, t, rows[0][row], cameras), expected, rtol=0, atol=1e-4)
    twice = torch.arange(len(z)).repeat(2)
    both = red.eps(z[twice], t[twice], Embedding.cat([rows[0]["text"], rows[0]["empty"]]), cameras.at(twice)).chunk(2)
    for row, eps in zip(("text", "empty"), both, strict=True):
        torch.testing.assert_close(eps, red.eps(z, t, rows[0][row], cameras), rtol=0, atol=1e-4)
    half = Embedding(rows[0]["text"].tokens, image=blue.text([""] * len(z)).image)  # the patches alone, or the latent alone
    assert (red.eps(z, t, half, cameras) - blue.eps(z, t, half, cameras)).abs().max() > 1e-5
    assert (red.eps(z, t, half, cameras) - red.eps(z, t, rows[0]["text"], cameras)).abs().max() > 1e-5


def test_what_the_vision_models_see(made, tmp_path):
    """CLIP's means and deviations; all patches before the last layer, or one embedding of the whole."""
    from PIL import Image

    Image.new("RGB", (16, 16), (255, 0, 51)).save(tmp_path / "plain.png")
    mean, deviation = (torch.tensor(v)[:, None, None] for v in views.CLIP)
    x = (torch.tensor([1.0, 0.0, 0.2])[:, None, None].expand(1, 3, 16, 16) - mean) / deviation
    with torch.no_grad():
        patches = views.eye()(x, output_hidden_states=True).hidden_states[1]  # of input, first and second layer
        whole = views.eye("CLIPVisionModelWithProjection")(x).image_embeds
    for kind, seen in (("imagedream", patches), ("zero123", whole[:, None])):
        found = made(kind, image=str(tmp_path / "plain.png")).text(["a car"]).image
        torch.testing.assert_close(found, seen, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["imagedream", "zero123"])
def test_pictures_are_looked_at_once(made, drawing, kind, monkeypatch):
    seen = made(kind).text(["a car"]).image
    monkeypatch.setattr(_sight, "look", lambda *given, **more: torch.full_like(seen, 7.0))
    assert torch.equal(made(kind).text(["a car"]).image, seen)
    assert (made(kind, image=drawing).text(["a car"]).image == 7).all()


# --- folders ----------------------------------------------------------------------------------------------------------------------------


def told(kind, folder, **settings):
    with pytest.raises(Mistake) as found:
        build.make("priors", {"type": kind, "model": str(folder), **settings}).text(["a car"])
    assert found.value.code == 3
    return str(found.value)


def test_folders_of_the_other_kind(folders, tmp_path):
    mvdream, imagedream, zero123 = (folders[kind].settings["model"] for kind in ("mvdream", "imagedream", "zero123"))
    assert "prior.type=imagedream" in told("mvdream", imagedream)
    assert "prior.type=mvdream" in told("imagedream", mvdream, image="red-car.png")
    assert "does not read" in told("zero123", mvdream, image="red-car.png")
    assert "does not read" in told("mvdream", zero123)
    assert "does not read" in told("stable_diffusion", mvdream)
    narrow = views.multiview(tmp_path / "narrow", views.mvunet(**views.PICTURE | {"ip_width": 12}), image_encoder=views.eye())
    assert "answers in 8 numbers, the U-Net hears 12" in told("imagedream", narrow, image="red-car.png")


def test_other_code_and_pickles_are_refused(tmp_path):
    folder = views.multiview(tmp_path / "model", views.mvunet())
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["mv_unet", "AnotherUNet"]}))
    assert "unet wants mv_unet.AnotherUNet" in told("mvdream", folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "pickled weights only" in told("mvdream", folder)


def test_weights_of_another_size_are_told(tmp_path):
    folder = views.multiview(tmp_path / "model", views.mvunet())
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "camera_dim": 12}))
    assert "unet" in told("mvdream", folder) and "camera_embed.0.weight" in told("mvdream", folder)


def test_either_name_of_the_projection(folders, made, tmp_path):
    """threestudio's folders have the same layer under another name, in another pipeline."""
    prior = made("zero123")
    layer = CLIPCameraProjection(12)
    layer.proj.load_state_dict(prior.posed.projection.state_dict())
    torch.manual_seed(14)
    parts = {"vae": views.kit.vae(), "image_encoder": views.eye("CLIPVisionModelWithProjection"), "clip_camera_projection": layer,
             "unet": views.kit.unet(in_channels=8, width=12), "scheduler": views.table()}  # fmt: skip
    own = {"clip_camera_projection": ["clip_camera_projection", "CLIPCameraProjection"]}
    other = made("zero123", model=str(views.published(tmp_path / "other", "Zero123Pipeline", parts, own)))
    z, t, text, cameras = noisy(prior)
    assert torch.equal(other.eps(z, t, text, cameras), prior.eps(z, t, text, cameras))


@pytest.mark.parametrize("kind", ["mvdream", "imagedream", "zero123"])
def test_options_change_speed_and_not_answers(made, kind):
    plain = made(kind)
    z, t, text, cameras = noisy(plain)
    eps = plain.eps(z, t, text, cameras)
    for option, far in (({"slicing": True}, 1e-5), ({"channels_last": True}, 1e-5), ({"precision": "bfloat16"}, 0.1)):
        other = made(kind, **option)
        answer = other.eps(z, t, text, cameras)
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, eps, rtol=0, atol=far)
    student = made(kind, precision="bfloat16").student(rank=2)
    torch.testing.assert_close(student.eps(z, t, text, cameras), eps, rtol=0, atol=0.1)


# --- the ordinary way -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mvdream", "imagedream"])
def test_a_step_of_the_multiview_recipe(folders, kind):
    found = config.load("mvsds-gaussian", ["prompt=a car", "steps=10", "renderer.count=20", "cameras.batch=8", "guidance.rescale=0.5"],
                        settings={"prior": dict(folders[kind].settings)})  # fmt: skip
    system = assemble.stage(found.stages[0], 0, "cpu", 0, 0)
    log = system.step(0)
    assert not log.skipped and log.scalars["gradient/rgb"] > 0


def test_a_student_adapts_every_projection(made):
    net = made("imagedream").student(rank=2).net
    names = [name.partition(".lora_A")[0] for name, _ in net.named_parameters() if "lora_A" in name]
    adapted = {name.rpartition("transformer_blocks.0.")[2] for name in names}
    both = {f"{attention}.to_{what}" for attention in ("attn1", "attn2") for what in ("q", "k", "v", "out.0")}
    assert both | {"attn2.to_k_ip", "attn2.to_v_ip"} <= adapted and any("image_embed" in name for name in adapted)
