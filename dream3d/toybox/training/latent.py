"""toybox-latent: an autoencoder that learns first, then a U-Net in its latents; a folder that `stable_diffusion` reads. What stands over a
trained one (Base) is in over.py."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.toybox.training import shown, words
from dream3d.toybox.training.data import Rows
from dream3d.toybox.training.network import Learner, half, known, loss, sealed
from dream3d.toybox.training.presets import Place, Tier

GROUPS, HEAD = 8, 8  # of norms; channels of a head
CHANNELS = 4  # of a latent
LOOKS, NORMAL = 0.2, 1e-4  # weights of what the judge sees, and of the divergence from a normal law, beside the L1 error


class Latent(Learner):
    """`vae` learns for the first `early` steps; then it stands, `scale` makes its latents of deviation 1, and `reader` and `net` learn."""

    draw, family = staticmethod(shown.coded), "stable_diffusion"

    def __init__(self, tier: Tier, where: Place, base: None = None):
        super().__init__()
        self.tokenizer, self.scheduler, self.early = words.tokenizer(), scheduler(), where.early
        self.vae = coder(tier.coder, tier.size)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.reader = words.encoder(tier.width, tier.readers, len(self.tokenizer))
        self.net = unet(tier.levels, tier.width, tier.size // factor(tier.coder))
        self.coding, self.__dict__["eyes"] = self.early > 0, None

    def begin(self, step: int, mean: "Latent", rows: Rows) -> None:
        """The autoencoder that stands is the mean of those that learnt."""
        self.coding = step < self.early
        if step == self.early:
            self.vae.load_state_dict(mean.vae.state_dict())
            with torch.no_grad():
                scale = 1 / latents(self.vae, rows["x"]).std()
            for one in (self.scale, mean.scale):
                one.data.copy_(scale)

    def target(self, rows: Rows) -> Float[Tensor, "B 4 h w"]:
        with torch.no_grad():
            return latents(self.vae, rows["x"]) * self.scale

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        return self.net(z, index, encoder_hidden_states=heard(self, rows["said"])).sample

    def loss(self, rows: Rows, rng: torch.Generator) -> Float[Tensor, ""]:
        return self._coded(rows["x"], rng) if self.coding else loss(self, rows, rng)

    def _coded(self, x: Float[Tensor, "B 3 H W"], rng: torch.Generator) -> Float[Tensor, ""]:
        """What an autoencoder of latent diffusion learns by (Rombach et al. 2021, arXiv:2112.10752), with the judge's eyes instead of
        VGG's and without an adversary."""
        law = self.vae.encode(x).latent_dist
        noise = torch.randn(law.mean.shape, generator=rng, device=rng.device).to(law.mean)
        y = self.vae.decode(law.mean + law.std * noise).sample
        pairs = zip(self._looked(y), self._looked(x), strict=True)
        looks = sum((F.l1_loss(a, b) for a, b in pairs), x.new_zeros(()))
        return F.l1_loss(y.float(), x) + LOOKS * looks + NORMAL * law.kl().mean() / law.mean[0].numel()

    def _looked(self, x: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """What the judge's first layers see."""
        from dream3d.bench import judge

        if self.eyes is None:
            self.__dict__["eyes"] = judge.load().trunk[:3].requires_grad_(False).to(x.device)
        x, out = F.interpolate(x, (judge.SIDE, judge.SIDE), mode="area"), []
        for layer in self.eyes:
            x = layer(x)
            out.append(x)
        return out

    @torch.no_grad()
    def pictures(self, z: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 H W"]:
        return self.vae.decode(z / self.scale).sample

    def publish(self, folder: Path) -> None:
        self.vae.register_to_config(scaling_factor=self.scale.item())
        stable(folder, "StableDiffusionPipeline", self, vae=self.vae, unet=self.net)
        sealed(folder, README.replace("SIDE", str(self.vae.config.sample_size)))


class Base:
    """A trained toybox-latent that others stand over: frozen, in single precision."""

    def __init__(self, folder: Path, device: str):
        from dream3d.priors._pipeline import Source

        source = Source(folder, ("StableDiffusionPipeline",), torch.float32)
        self.vae, self.reader, self.net = (source.get(name).to(device) for name in ("vae", "text_encoder", "unet"))
        self.tokenizer, self.scheduler = source.get("tokenizer"), source.get("scheduler")
        self.scale = self.vae.config.scaling_factor
        if self.net.config.in_channels != CHANNELS or self.vae.config.latent_channels != CHANNELS:
            raise Mistake(f"this is no toybox-latent: its network has {self.net.config.in_channels} channels, not {CHANNELS}",
                          where=str(folder), fix="--base FOLDER of a toybox-latent")  # fmt: skip
        self.digest = known(folder)["digest"]

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 4 h w"]:
        return latents(self.vae, x) * self.scale

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 H W"]:
        return self.vae.decode(z / self.scale).sample


def scheduler():
    """AnimateDiff's table, so that a motion adapter and its base know the same noise, rescaled so that the last entry is pure noise (Lin
    et al. 2023, arXiv:2305.08891); v-prediction."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, prediction_type="v_prediction",
                         rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=1)  # fmt: skip


def coder(channels: Sequence[int], size: int) -> nn.Module:
    """An AutoencoderKL that halves once less often than it has levels."""
    from diffusers import AutoencoderKL

    n = len(channels)
    return AutoencoderKL(block_out_channels=tuple(channels), down_block_types=("DownEncoderBlock2D",) * n, latent_channels=CHANNELS,
                         up_block_types=("UpDecoderBlock2D",) * n, norm_num_groups=GROUPS, sample_size=size,
                         mid_block_add_attention=False)  # fmt: skip


def factor(channels: Sequence[int]) -> int:
    return 2 ** (len(channels) - 1)


def unet(channels: Sequence[int], width: int, size: int) -> nn.Module:
    """A U-Net with attention on every level, that answers zero at first."""
    from diffusers import UNet2DConditionModel

    n = len(channels)
    net = UNet2DConditionModel(
        sample_size=size, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=tuple(channels), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * n, up_block_types=("CrossAttnUpBlock2D",) * n, cross_attention_dim=width,
        attention_head_dim=tuple(c // HEAD for c in channels), norm_num_groups=GROUPS, use_linear_projection=True)  # fmt: skip
    for value in net.conv_out.parameters():
        nn.init.zeros_(value)
    return net


def widened(base: nn.Module, inputs: int, outputs: int = CHANNELS) -> nn.Module:
    """A trained U-Net with further channels, which change nothing at first (as Stable Diffusion's inpainting model began)."""
    net = type(base).from_config({**base.config, "in_channels": inputs, "out_channels": outputs})
    known = base.state_dict()
    for name, value in net.state_dict().items():
        if value.shape == known[name].shape:
            value.copy_(known[name])
        else:
            value.zero_()
            value[tuple(slice(n) for n in known[name].shape)] = known[name]
    return net


def latents(vae: nn.Module, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 4 h w"]:
    """The posterior's mean, as priors see a picture."""
    return vae.encode(x).latent_dist.mode().float()


def heard(model: Learner, said: list[str]) -> Float[Tensor, "B L D"]:
    """What a U-Net of the Stable Diffusion family hears: every place of the encoder, no mask."""
    told = model.tokenizer(said, padding="max_length", truncation=True)
    return model.reader(torch.tensor(told.input_ids, device=next(model.reader.parameters()).device))[0]


def stable(folder: Path, pipeline: str, model: Learner, **nets: nn.Module) -> None:
    """A pipeline folder of the Stable Diffusion family."""
    import diffusers

    parts = {"text_encoder": half(model.reader)} | {name: half(net) for name, net in nets.items()}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = copy.deepcopy(model.scheduler)
    getattr(diffusers, pipeline)(tokenizer=model.tokenizer, scheduler=scheduler, **parts | none).save_pretrained(folder)


README = """A latent text-to-image model of toy objects (SIDE pixels), trained by `python -m dream3d.toybox.train`; card.json tells how.
Apache-2.0.

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    image = pipe("a red car, front view", height=SIDE, width=SIDE, guidance_scale=4, num_inference_steps=25).images[0]
"""
