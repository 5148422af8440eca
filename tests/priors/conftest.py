"""Tiny models of the real classes, never trained, saved as pipeline folders and loaded the way a user loads."""

from dataclasses import dataclass

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install dream3d[diffusion]")

LENGTH = 32  # letters of a prompt


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test reads what another, or the user, has embedded."""
    monkeypatch.setenv("DREAM3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DREAM3D_OFFLINE", "1")


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


def stable_diffusion(folder, prediction="epsilon", **nets):
    """A Stable Diffusion of 32 pixels and 16 x 16 latents."""
    parts = {"vae": vae(), "text_encoder": clip(), "tokenizer": tokenizer(), "unet": unet(), "scheduler": table(prediction)}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = diffusers.StableDiffusionPipeline(**parts | nets | none)
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("sd") / "model")


@pytest.fixture(scope="session")
def sd_v(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("sd_v") / "model", "v_prediction")


# --- families: how each is made, and what its own scheduler says ------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """settings: of the prior; overrides: of an ordinary recipe; noised, x0: what the pipeline's own scheduler makes of the same."""

    settings: dict
    overrides: tuple[str, ...] = ()
    scheduler: object = None
    raw: object = None  # (prior, z, t, text, cameras, render) -> the network's own answer

    def noised(self, prior, z, t, noise):
        return self.scheduler.add_noise(z, noise, (t * 1000).long())

    def x0(self, prior, z, t, text, cameras, render):
        self.scheduler.set_timesteps(1000)
        answer = self.raw(prior, z, t, text, cameras, render)
        return self.scheduler.step(answer, int(t[0] * 1000), z).pred_original_sample


def latent_unet(prior, z, t, text, cameras, render):
    with torch.no_grad():
        return prior.net(z, (t * 1000).long(), encoder_hidden_states=text.tokens).sample


FAMILIES = {
    "sd": lambda folder: Family({"type": "stable_diffusion", "model": str(stable_diffusion(folder))}, (), table(), latent_unet),
    "sd-v": lambda folder: Family({"type": "stable_diffusion", "model": str(stable_diffusion(folder, "v_prediction"))}, (),
                                  table("v_prediction"), latent_unet),
}  # fmt: skip


@pytest.fixture(scope="session", params=list(FAMILIES))
def family(request, tmp_path_factory):
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param) / "model")
