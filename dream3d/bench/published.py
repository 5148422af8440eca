"""Full-size architectures as their makers published them: configurations of diffusers' classes (what differs from a class's defaults),
how many parameters they have. No weights. Tests build them on the meta device, `bench priors` counts."""

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SD1 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SD2 = {"sample_size": 64, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
SDXL = {
    "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
    "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
IF = {
    "sample_size": 64, "in_channels": 3, "out_channels": 6, "act_fn": "gelu", "layers_per_block": 3, "attention_head_dim": 64,
    "block_out_channels": (704, 1408, 2112, 2816), "cross_attention_dim": 2816, "cross_attention_norm": "group_norm",
    "down_block_types": ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
    "encoder_hid_dim": 4096, "encoder_hid_dim_type": "text_proj", "addition_embed_type": "text", "addition_embed_type_num_heads": 64,
    "resnet_skip_time_act": True, "resnet_time_scale_shift": "scale_shift",
}  # fmt: skip
SD35 = {
    "sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24, "num_attention_heads": 24,
    "attention_head_dim": 64, "joint_attention_dim": 4096, "caption_projection_dim": 1536, "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13)),
}  # fmt: skip
Z_IMAGE = {
    "in_channels": 16, "dim": 3840, "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "cap_feat_dim": 2560,
    "axes_dims": (32, 48, 48), "axes_lens": (1536, 512, 512), "qk_norm": True, "rope_theta": 256.0,
}  # fmt: skip
KLEIN = {
    "in_channels": 128, "num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "attention_head_dim": 128,
    "joint_attention_dim": 7680, "timestep_guidance_channels": 256, "mlp_ratio": 3.0, "axes_dims_rope": (32, 32, 32, 32),
    "rope_theta": 2000, "guidance_embeds": False,
}  # fmt: skip
MOTION = {"sample_size": 64, "cross_attention_dim": 768, "use_motion_mid_block": False}
ZERO123 = {**SD1, "sample_size": 32, "in_channels": 8}
WAN = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
VAE16 = {**VAE, "latent_channels": 16, "sample_size": 1024, "use_quant_conv": False, "use_post_quant_conv": False}


@dataclass(frozen=True)
class Published:
    """kind: a class of diffusers, or of this tree by its dotted name; count: parameters as published, None where only a file's size is;
    source: where that number is from."""

    kind: str
    config: dict[str, Any]
    count: int | None
    source: str

    def build(self, device: str = "meta") -> nn.Module:
        """The frozen network, with empty tensors or, on a real device, untrained ones."""
        module, _, name = self.kind.rpartition(".")
        cls = getattr(importlib.import_module(module or "diffusers"), name)
        with torch.device(device):
            return cls(**self.config).requires_grad_(False).eval()


CARD = "the model card's safetensors count"
NETWORKS = {
    "sd-1.5 unet": Published("UNet2DConditionModel", SD1, 859_520_964, "diffusers' documentation of num_parameters"),
    "sd-2.1 unet": Published("UNet2DConditionModel", SD2, 865_910_724, "ports to other compilers, which load it as one array"),
    "sd-2-inpainting unet": Published("UNet2DConditionModel", {**SD2, "in_channels": 9}, 865_925_124, "a notebook that loads it"),
    "sdxl unet": Published("UNet2DConditionModel", SDXL, 2_567_463_684, CARD),
    "if-i-xl unet": Published("UNet2DConditionModel", IF, None, "4.3 billion: DeepFloyd's own table"),
    "sd-3.5-medium transformer": Published("SD3Transformer2DModel", SD35, 2_243_171_520, "logs of training that load it"),
    "z-image transformer": Published("ZImageTransformer2DModel", Z_IMAGE, 6_154_908_736, CARD),
    "flux.2-klein-4b transformer": Published("Flux2Transformer2DModel", KLEIN, 3_875_544_576, CARD),
    "wan-2.1-1.3b transformer": Published("WanTransformer3DModel", WAN, 1_418_996_800, "logs of training that load it"),
    "modelscope unet": Published("UNet3DConditionModel", {"sample_size": 32}, None, "a float32 file of 5.65 GB"),
    "zero123 unet": Published("UNet2DConditionModel", ZERO123, None, "SD 1.5's with 8 channels in: 4 x 320 x 9 more numbers"),
    "mvdream unet": Published("dream3d.priors._mvunet.MultiViewUNet", {}, None, "names and shapes of the public file"),
    "animatediff-v3 unet": Published("UNetMotionModel", MOTION, None, "SD 1.5's and the adapter's"),
    "controlnet sd-1.5": Published("ControlNetModel", {"cross_attention_dim": 768}, 361_279_120, "counted from the downloaded file"),
    "animatediff-v3 adapter": Published("MotionAdapter", {"use_motion_mid_block": False}, None, "a float32 file of 1 670 875 648 bytes"),
    "sd autoencoder": Published("AutoencoderKL", VAE, 83_653_863, "logs of loading SD 1.5 and SDXL"),
    "16-channel autoencoder": Published("AutoencoderKL", VAE16, 83_819_683, "counted from FLUX.1's file, the same layout"),
    "flux.2 autoencoder": Published("AutoencoderKLFlux2", {}, 84_046_115, "84 046 371 numbers in its file, 256 of them running moments"),
    "wan autoencoder": Published("AutoencoderKLWan", {}, 126_892_531, "logs of training that load it"),
}  # fmt: skip
