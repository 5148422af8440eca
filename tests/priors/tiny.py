"""Tiny models of the real classes, never trained, saved as pipeline folders and loaded the way a user loads."""

import pytest
import torch
from safetensors.torch import save_file

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install dream3d[diffusion]")

LENGTH = 32  # letters of a prompt


def tokenizer():
    """A CLIP tokenizer that knows every byte and no longer word: a letter is a token."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=LENGTH)


def clip(width=16, projection=None, seed=0):
    torch.manual_seed(seed)
    config = transformers.CLIPTextConfig(vocab_size=514, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
                                         num_attention_heads=2, max_position_embeddings=LENGTH, projection_dim=projection or width,
                                         bos_token_id=512, eos_token_id=513)  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config).eval()


def vae(seed=0, channels=4, **more):
    torch.manual_seed(seed)
    return diffusers.AutoencoderKL(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
                                   up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=channels, sample_size=32, **more)  # fmt: skip


def unet(seed=0, width=16, size=16, **more):
    torch.manual_seed(seed)
    settings = {"sample_size": size, "in_channels": 4, "out_channels": 4, "block_out_channels": (16, 32), "layers_per_block": 1,
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
                "cross_attention_dim": width, "attention_head_dim": 8, "norm_num_groups": 4}  # fmt: skip
    return diffusers.UNet2DConditionModel(**{**settings, **more})


def table(prediction="epsilon"):
    return diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
                                   clip_sample=False, set_alpha_to_one=False, steps_offset=1)  # fmt: skip


def straight():
    return diffusers.FlowMatchEulerDiscreteScheduler()


def stable_diffusion(folder, prediction="epsilon", **nets):
    """A Stable Diffusion of 32 pixels and 16 x 16 latents."""
    parts = {"vae": vae(), "text_encoder": clip(), "tokenizer": tokenizer(), "unet": unet(), "scheduler": table(prediction)}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = diffusers.StableDiffusionPipeline(**parts | nets | none)
    pipe.save_pretrained(folder)
    return folder


def sdxl(folder):
    """Two encoders of other widths, a pooled text and the picture's size."""
    told = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 8 * 6 + 12}
    parts = {"vae": vae(), "text_encoder": clip(16), "tokenizer": tokenizer(), "text_encoder_2": clip(24, projection=12, seed=1),
             "tokenizer_2": tokenizer(), "unet": unet(width=40, **told), "scheduler": table()}  # fmt: skip
    diffusers.StableDiffusionXLPipeline(**parts).save_pretrained(folder)
    return folder


def t5(width=16):
    torch.manual_seed(3)
    config = transformers.T5Config(vocab_size=514, d_model=width, d_ff=2 * width, d_kv=8, num_layers=2, num_heads=2)
    return transformers.T5EncoderModel(config).eval()


def deepfloyd(folder):
    """Pixels, and a variance beside the noise."""
    net = unet(in_channels=3, out_channels=6)
    noise = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range", clip_sample=False)
    none = dict.fromkeys(("safety_checker", "feature_extractor", "watermarker"))
    parts = {"tokenizer": tokenizer(), "text_encoder": t5(), "unet": net, "scheduler": noise}
    diffusers.IFPipeline(**parts | none, requires_safety_checker=False).save_pretrained(folder)
    return folder


def sd3(folder):
    torch.manual_seed(4)
    net = diffusers.SD3Transformer2DModel(sample_size=16, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, out_channels=4,
                                          num_attention_heads=2, joint_attention_dim=40, caption_projection_dim=16, pos_embed_max_size=16,
                                          pooled_projection_dim=24, qk_norm="rms_norm")  # fmt: skip
    words = {"tokenizer": tokenizer(), "tokenizer_2": tokenizer(), "tokenizer_3": tokenizer()}
    encoders = {"text_encoder": clip(16, 12), "text_encoder_2": clip(24, 12, 1), "text_encoder_3": t5(40)}
    parts = {"vae": vae(shift_factor=0.06, scaling_factor=1.5), "transformer": net, "scheduler": straight()}
    diffusers.StableDiffusion3Pipeline(**parts | words | encoders).save_pretrained(folder)
    return folder


def language(kind, layers=4, width=16):
    """A language model of two kinds that flows read their prompts with."""
    torch.manual_seed(5)
    config = transformers.Qwen3Config(vocab_size=514, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, head_dim=8,
                                      num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def chatty():
    """A tokenizer with a template for conversations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate([*letters, "<pad>"])}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = transformers.Qwen2Tokenizer(vocab=core.get_vocab(), merges=[], pad_token="<pad>", unk_token="<pad>", eos_token="<pad>")
    made.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}:"
    return made


def zimage(folder):
    torch.manual_seed(6)
    net = diffusers.ZImageTransformer2DModel(in_channels=4, dim=16, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
                                             cap_feat_dim=16, axes_dims=[4, 2, 2], axes_lens=[64, 32, 32])  # fmt: skip
    parts = {"vae": vae(shift_factor=0.06, scaling_factor=1.5), "transformer": net, "scheduler": straight(),
             "text_encoder": language("Qwen3Model"), "tokenizer": chatty()}  # fmt: skip
    diffusers.ZImagePipeline(**parts).save_pretrained(folder)
    return folder


def flux2(folder):
    torch.manual_seed(7)
    net = diffusers.Flux2Transformer2DModel(in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
                                            joint_attention_dim=48, timestep_guidance_channels=8, axes_dims_rope=(2, 2, 2, 2),
                                            guidance_embeds=False)  # fmt: skip
    torch.manual_seed(0)
    auto = diffusers.AutoencoderKLFlux2(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
                                        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=32)  # fmt: skip
    auto.bn.running_mean.normal_()
    auto.bn.running_var.uniform_(0.5, 2)
    parts = {"vae": auto, "transformer": net, "scheduler": straight(),
             "text_encoder": language("Qwen3ForCausalLM"), "tokenizer": chatty()}  # fmt: skip
    diffusers.Flux2KleinPipeline(**parts).save_pretrained(folder)
    return folder


def inpainting(folder):
    parts = {"vae": vae(), "text_encoder": clip(), "tokenizer": tokenizer(), "unet": unet(in_channels=9), "scheduler": table()}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    diffusers.StableDiffusionInpaintPipeline(**parts | none).save_pretrained(folder)
    return folder


def control(folder, seed=0, **more):
    """A ControlNet whose last layers, zero before training, are not."""
    net = diffusers.ControlNetModel.from_unet(unet(**more), conditioning_embedding_out_channels=(4, 8))
    torch.manual_seed(seed)
    with torch.no_grad():
        for part in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
            part.weight.normal_(std=0.2)
    net.save_pretrained(folder)
    return folder


def adapter(folder, net=None, width=16, plus=False):
    """An IP-Adapter for a U-Net and the vision model it listens to."""
    net = unet() if net is None else net
    torch.manual_seed(9)
    config = transformers.CLIPVisionConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                                           patch_size=8, projection_dim=12)  # fmt: skip
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder / "eye")
    state = {"image_proj.proj.weight": torch.randn(4 * width, 12), "image_proj.proj.bias": torch.zeros(4 * width),
             "image_proj.norm.weight": torch.ones(width), "image_proj.norm.bias": torch.zeros(width)}  # fmt: skip
    state = resampler(width) if plus else state
    for i, name in enumerate(n for n in net.attn_processors):
        layer = net.get_submodule(name.removesuffix(".processor"))
        if name.endswith("attn2.processor"):
            state |= {f"ip_adapter.{i}.to_{k}_ip.weight": torch.randn(layer.to_q.out_features, width) for k in "kv"}
    save_file(state, folder / "adapter.safetensors")
    return {"adapter": str(folder / "adapter.safetensors"), "encoder": str(folder / "eye"), "image": "red-car.png"}


def resampler(width, inner=64, seen=8):
    """What a plus adapter looks at patches with, named as its authors' code names it."""
    sizes = {"latents": (1, 4, inner), "proj_in.weight": (inner, seen), "proj_out.weight": (width, inner)}
    norms = {"norm_out": width}
    for i in range(4):
        sizes |= {f"layers.{i}.0.to_q.weight": (64, inner), f"layers.{i}.0.to_kv.weight": (128, inner),
                  f"layers.{i}.0.to_out.weight": (inner, 64), f"layers.{i}.1.1.weight": (4 * inner, inner),
                  f"layers.{i}.1.3.weight": (inner, 4 * inner)}  # fmt: skip
        norms |= {f"layers.{i}.0.norm1": inner, f"layers.{i}.0.norm2": inner, f"layers.{i}.1.0": inner}
    state = {name: 0.3 * torch.randn(size) for name, size in sizes.items()}
    state |= {f"{name}.weight": torch.ones(size) for name, size in norms.items()}
    state |= {f"{name}.bias": torch.zeros(size) for name, size in norms.items()}
    state |= {"proj_in.bias": torch.zeros(inner), "proj_out.bias": torch.zeros(width)}
    return {f"image_proj.{name}": value for name, value in state.items()}
