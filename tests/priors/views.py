"""Tiny models of several views, and of other sides of a picture: folders as they are published, and what diffusers' own classes, given the
same weights by diffusers' own conversions, answer."""

import json
import math

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.attention_processor import AttnProcessor2_0

from dream3d.priors._mvunet import MultiViewUNet
from dream3d.priors._posed import CCProjection

from . import conftest as kit
from .conftest import Family, diffusers, latent_unet, named, table, transformers

CAMERAS = ("cameras={type: orthogonal, views: 4, batch: 4}",)
SMALL = {"image_size": 16, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [1, 2], "channel_mult": [1, 2],
         "num_head_channels": 16, "context_dim": 16}  # fmt: skip
CLIP = transformers.image_utils.OPENAI_CLIP_MEAN, transformers.image_utils.OPENAI_CLIP_STD
PICTURE = {"ip_dim": 3, "ip_width": 8, "ip_heads": 1}


def mvunet(seed=12, **more):
    """Ours, never trained."""
    torch.manual_seed(seed)
    return MultiViewUNet(**SMALL | more)


def eye(kind="CLIPVisionModel"):
    torch.manual_seed(13)
    config = transformers.CLIPVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                                           patch_size=8, projection_dim=12)  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def published(folder, pipeline, parts, own):
    """A folder as pipelines with code of their own save it; `own`: component -> the file and class that it names."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    listed = {name: [type(part).__module__.partition(".")[0], type(part).__name__] for name, part in parts.items()}
    told = {"_class_name": pipeline, "requires_safety_checker": False, "safety_checker": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(told | listed | own))
    for name, (_, kind) in own.items():
        config = json.loads((folder / name / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps({**config, "_class_name": kind}))
    return folder


def multiview(folder, net, **more):
    parts = {"vae": kit.vae(), "text_encoder": kit.clip(), "tokenizer": kit.tokenizer(), "unet": net, "scheduler": table()}
    return published(folder, "MVDreamPipeline", parts | more, {"unet": ["mv_unet", "MultiViewUNetModel"]})


def mvdream(folder):
    return Family(named("mvdream", multiview(folder, mvunet())), table(), joined, CAMERAS)


def imagedream(folder):
    model = multiview(folder, mvunet(**PICTURE), image_encoder=eye())
    return Family(named("imagedream", model, image="red-car.png"), table(), joined, CAMERAS)


def zero123(folder):
    told = {"azimuth": 30.0, "elevation": 20.0, "distance": 2.5, "size": 32}
    return Family(named("zero123", zero123_model(folder), image="red-car.png", **told), table(), beside, words=False)


def zero123_model(folder):
    torch.manual_seed(14)
    parts = {"vae": kit.vae(), "image_encoder": eye("CLIPVisionModelWithProjection"), "unet": kit.unet(in_channels=8, width=12),
             "scheduler": table(), "cc_projection": CCProjection(16, 12)}  # fmt: skip
    return published(folder, "Zero1to3StableDiffusionPipeline", parts, {"cc_projection": ["pipeline_zero1to3", "CCProjection"]})


# --- the same by diffusers' own classes -------------------------------------------------------------------------------------------------


class Together(AttnProcessor2_0):
    """diffusers' attention, over the pixels of all views of a group."""

    def __init__(self, views):
        super().__init__()
        self.views = views

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **more):
        pixels = hidden_states.unflatten(0, (-1, self.views)).flatten(1, 2)
        return super().__call__(attn, pixels).unflatten(1, (self.views, -1)).flatten(0, 1)


def twin(net, views):
    """diffusers' U-Net with the weights of ours, brought there as LDM's checkpoints and IP-Adapters are."""
    heads = tuple(m * net.config.model_channels // net.config.num_head_channels for m in net.config.channel_mult)
    theirs = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16, attention_head_dim=heads,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2, use_linear_projection=True)  # fmt: skip
    state = {f"model.diffusion_model.{k}": v for k, v in net.state_dict().items() if not k.startswith(("camera_embed", "image_embed"))}
    found = convert_ldm_unet_checkpoint(state, dict(theirs.config))
    heard = {k: found.pop(k) for k in list(found) if "_ip." in k}
    theirs.load_state_dict(found)
    if net.config.ip_dim:
        order = {name.removesuffix("processor"): i for i, name in enumerate(theirs.attn_processors)}
        adapter = {f"{order[k[: k.index('to_')]]}.{k[k.index('to_') :]}": v for k, v in heard.items()}
        theirs._load_ip_adapter_weights([{"image_proj": net.image_embed.state_dict(), "ip_adapter": adapter}], low_cpu_mem_usage=False)
    kinds = {name: Together(views) if "attn1" in name else p for name, p in theirs.attn_processors.items()}
    theirs.set_attn_processor(kinds)
    return theirs.requires_grad_(False).eval()


def pose(azimuth, elevation):
    """MVDream's camera as its code makes it: on the unit sphere of a world with y up, as OpenGL has it, then y and z are exchanged."""
    x, y, z = math.cos(elevation) * math.sin(azimuth), math.sin(elevation), math.cos(elevation) * math.cos(azimuth)
    place = torch.tensor([x, y, z])
    ahead, up = -place, torch.tensor([0.0, 1.0, 0.0])
    right = torch.linalg.cross(ahead, up)
    right = right / right.norm()
    matrix = torch.eye(4)
    matrix[:3] = torch.stack([right, torch.linalg.cross(right, ahead), -ahead, place], 1)
    return (torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) @ matrix).flatten()


def joined(prior, z, t, text, cameras, render):
    """As MVDream's pipeline calls its network: with a picture, a fifth frame without noise, without camera, with the same text."""
    net, frames = prior.net, 4 if text.image is None else 5
    theirs = twin(net, frames)
    camera = torch.stack([pose(a, e) for a, e in zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)])
    words, more = text.tokens, {}
    if frames == 5:
        grouped = [v.unflatten(0, (-1, 4)) for v in (z, camera, words, t)]
        shown = (text.image[::4] != 0).flatten(1).any(1)[:, None, None, None]
        last = [(prior.latent * shown)[:, None], torch.zeros(len(shown), 1, 16), grouped[2][:, -1:], grouped[3][:, -1:]]
        z, camera, words, t = (torch.cat(pair, 1).flatten(0, 1) for pair in zip(grouped, last, strict=True))
        more = {"added_cond_kwargs": {"image_embeds": [text.image[::4].repeat_interleave(5, 0)[:, None]]}}
    with torch.no_grad():
        theirs.time_embedding.register_forward_hook(lambda module, given, out: out + net.camera_embed(camera))
        out = theirs(z, (t * 1000).long(), encoder_hidden_states=words, **more).sample
    return out.unflatten(0, (-1, frames))[:, :4].flatten(0, 1)


def beside(prior, z, t, text, cameras, render):
    """As Zero-1-to-3's pipeline calls its network."""
    lift, turn = math.radians(20) - cameras.elevation, cameras.azimuth - math.radians(30)
    told = torch.stack([lift, turn.sin(), turn.cos(), cameras.to_world[:, :3, 3].norm(dim=1) - 2.5], 1)[:, None]
    shown = (text.image != 0).flatten(1).any(1)[:, None, None]
    with torch.no_grad():
        heard = torch.cat([text.image, told], -1) @ prior.posed.projection.weight.T + prior.posed.projection.bias
        hidden = prior.vae.vae.encode(small(prior)).latent_dist.mode()
    text = type(text)(heard * shown)
    return latent_unet(prior, torch.cat([z, hidden * shown[..., None]], 1), t, text, cameras, render)


def small(prior):
    """The picture in [-1, 1], as large as the autoencoder reads it."""
    x = torch.nn.functional.interpolate(prior.picture.movedim(-1, 1), (prior.vae.pixels,) * 2, mode="bilinear", antialias=True)
    return 2 * x - 1
