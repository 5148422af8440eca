"""Tiny models of clips, and of colour with depth: the real classes, as pipeline folders, and what their own pipelines ask."""

import torch

from . import conftest as kit
from .conftest import LENGTH, Family, diffusers, latent_unet, named, stable_diffusion, table, transformers

FRAMES = 3
CAMERAS = (f"cameras.frames={FRAMES}", "cameras.batch=1")


def linear():
    """The noise that motion adapters are trained with."""
    return diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False,
                                   steps_offset=1)  # fmt: skip


def motion(folder, **more):
    """A motion adapter whose answers are not lost among the U-Net's."""
    torch.manual_seed(8)
    settings = {"block_out_channels": (16, 32), "motion_layers_per_block": 1, "motion_num_attention_heads": 2, "motion_norm_num_groups": 4,
                "motion_max_seq_length": 8}  # fmt: skip
    diffusers.MotionAdapter(**settings | more).save_pretrained(folder)
    return folder


def apart(z):
    return z.unflatten(0, (-1, FRAMES)).transpose(1, 2)


def rows(out):
    return out.transpose(1, 2).flatten(0, 1)


def video(prior, z, t, text, cameras, render):
    """As the pipelines of diffusers call their networks: B C F h w, one t per clip; AnimateDiff repeats its text for every frame."""
    told = text.tokens if type(prior.net).__name__ == "UNetMotionModel" else text.tokens[::FRAMES]
    level = 1000 * t[::FRAMES] if prior.spec.flow else (1000 * t[::FRAMES]).long()
    with torch.no_grad():
        return rows(prior.net(apart(z), level, encoder_hidden_states=told, return_dict=False)[0])


def animatediff(folder):
    told = {"frames": FRAMES, "motion": str(motion(folder / "motion"))}
    return Family(named("video", stable_diffusion(folder / "base"), **told), linear(), video, CAMERAS)


def modelscope_net(**more):
    torch.manual_seed(9)
    settings = {"sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4, "cross_attention_dim": 16,
                "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"), "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
                "attention_head_dim": 8}  # fmt: skip
    net = diffusers.UNet3DConditionModel(**settings | more)
    with torch.no_grad():  # zero before training: frames would have no places
        for name, weight in net.named_parameters():
            if "temp_convs" in name and name.endswith("conv4.3.weight"):
                weight.normal_(std=0.2)
    return net


def modelscope(folder):
    parts = {"vae": kit.vae(), "text_encoder": kit.clip(), "tokenizer": kit.tokenizer(), "unet": modelscope_net(), "scheduler": table()}
    diffusers.TextToVideoSDPipeline(**parts).save_pretrained(folder)
    return Family(named("video", folder, frames=FRAMES), table(), video, CAMERAS)


def umt5(width=16):
    torch.manual_seed(10)
    config = transformers.UMT5Config(vocab_size=514, d_model=width, d_ff=2 * width, d_kv=8, num_layers=2, num_heads=2)
    return transformers.UMT5EncoderModel(config).eval()


def wan_model(folder, **more):
    """Two halvings of time and of space: a latent is four pictures of 4 x 4 pixels."""
    torch.manual_seed(11)
    net = diffusers.WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16,
                                          freq_dim=16, ffn_dim=32, num_layers=2)  # fmt: skip
    auto = diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 2], num_res_blocks=1, temperal_downsample=[True, True],
                                      latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 0.8, 1.1],
                                      scale_factor_spatial=4)  # fmt: skip
    parts = {"vae": auto, "text_encoder": umt5(), "tokenizer": kit.tokenizer(), "transformer": net, "scheduler": kit.straight()}
    diffusers.WanPipeline(**parts | more).save_pretrained(folder)
    return folder


def wan(folder):
    return Family(named("video", wan_model(folder), frames=FRAMES, size=32, tokens=LENGTH), kit.straight(), video, CAMERAS)


def joint_depth(folder, **nets):
    """Colour and depth as halves of x."""
    model = stable_diffusion(folder, unet=kit.unet(in_channels=8, out_channels=8), **nets)
    told = {"scale": 0.8, "shift": 0.1}
    return Family(named("joint_depth", model, **told), table(), latent_unet, ("guidance.sees=rgb+depth",))


def ldm3d_model(folder, channels=4):
    both = kit.vae(in_channels=channels, out_channels=channels)
    parts = {"vae": both, "text_encoder": kit.clip(), "tokenizer": kit.tokenizer(), "unet": kit.unet(), "scheduler": table()}
    none = {"safety_checker": None, "feature_extractor": None, "image_encoder": None, "requires_safety_checker": False}
    diffusers.StableDiffusionLDM3DPipeline(**parts | none).save_pretrained(folder)
    return folder


def ldm3d(folder):
    return Family(named("joint_depth", ldm3d_model(folder)), table(), latent_unet, ("guidance.sees=rgb+depth",))
