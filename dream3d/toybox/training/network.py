"""What learns: the network of a tier in pixel space, what every tier's has in common, and the diffusers pipeline folders they become."""

import copy
import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load, save
from torch import Tensor, nn

from dream3d import files
from dream3d.errors import Mistake
from dream3d.toybox.training import words
from dream3d.toybox.training.data import Draw, Rows, pictures
from dream3d.toybox.training.presets import Tier

LEAST, GAMMA = 0.25, 5.0  # of the SNR: min-SNR (Hang et al. 2023, arXiv:2303.09556), and not 0 where views are decided
LARGEST = 16 << 20  # bytes of a file
READER = "text_model."  # what the names of a CLIPTextModel's tensors begin with on hubs


class Learner(nn.Module):
    """A network that learns to take noise away, and what it needs for that. Its parameters are what checkpoints hold, in this order.

    `draw` makes its data; `group` rows of x are answered together and share a noise level; `told` names what a row of data tells of x,
    `family` the prior that reads what it becomes."""

    draw: Draw = staticmethod(pictures)
    group: int = 1
    told: tuple[str, ...] = ("said",)
    family: str = "toybox"
    tokenizer: Any
    scheduler: Any
    reader: nn.Module
    net: nn.Module

    def begin(self, step: int, mean: "Learner", rows: Rows) -> None:
        """What happens before a step, once or not: the same whether a training was interrupted or not."""

    @abstractmethod
    def target(self, rows: Rows) -> Float[Tensor, "B C h w"]:
        """What noise is laid over."""

    @abstractmethod
    def forward(self, z: Float[Tensor, "B C h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B C h w"]:
        """v at a noisy x."""

    def loss(self, rows: Rows, rng: torch.Generator) -> Float[Tensor, ""]:
        return loss(self, rows, rng)

    @abstractmethod
    def publish(self, folder: Path) -> None:
        """Write what the project's families read, in half precision."""


class Pixels(Learner):
    """`reader` and `net` learn; tokenizer and scheduler are the folder's other halves."""

    def __init__(self, tier: Tier):
        from diffusers import PixArtTransformer2DModel

        super().__init__()
        self.tokenizer, self.scheduler = words.tokenizer(), scheduler()
        self.reader = words.encoder(tier.width, tier.readers, len(self.tokenizer))
        self.net = PixArtTransformer2DModel(
            num_attention_heads=tier.heads, attention_head_dim=32, in_channels=3, out_channels=3, num_layers=tier.layers,
            cross_attention_dim=32 * tier.heads, sample_size=tier.size, patch_size=tier.patch, caption_channels=tier.width,
            use_additional_conditions=False)  # fmt: skip
        _silent(self.net)

    def take(self, folder: Path) -> dict:
        """Begin with the weights of a published folder, and tell what they are. Raises Mistake where they are another network's."""
        from dream3d.priors._pipeline import Source

        source = Source(folder, ("PixArtAlphaPipeline",), torch.float32)
        try:
            for net, part in ((self.reader, "text_encoder"), (self.net, "transformer")):
                net.load_state_dict(source.get(part).state_dict())
        except RuntimeError as error:
            raise Mistake("these are not this network's weights", where=str(folder), fix="--base FOLDER of the same tier") from error
        return known(folder)

    def read(self, said: list[str]) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Tokens and which of them count, as long as the longest."""
        told = self.tokenizer(said, padding=True, truncation=True)
        device = self.net.device
        return torch.tensor(told.input_ids, device=device), torch.tensor(told.attention_mask, device=device).bool()

    def target(self, rows: Rows) -> Float[Tensor, "B 3 h w"]:
        return rows["x"]

    def forward(self, z: Float[Tensor, "B 3 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 3 h w"]:
        ids, mask = self.read(rows["said"])
        tokens = self.reader(ids).last_hidden_state
        none = {"resolution": None, "aspect_ratio": None}
        return self.net(z, encoder_hidden_states=tokens, timestep=index, encoder_attention_mask=mask, added_cond_kwargs=none).sample

    def publish(self, folder: Path) -> None:
        publish(self, folder)


def scheduler():
    """The table of the exact prior, rescaled so that the last entry is pure noise (Lin et al. 2023, arXiv:2305.08891); v-prediction."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                         prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")  # fmt: skip


def loss(model: Learner, rows: Rows, rng: torch.Generator) -> Float[Tensor, ""]:
    """Mean squared error of v, weighted by clip(SNR, 1/4, 5) / (SNR + 1); t stratified over the batch. Noise is drawn where `rng` is."""
    x = model.target(rows)
    squared = model.scheduler.alphas_cumprod.to(rng.device)
    count = len(x) // model.group
    places = torch.arange(count, device=rng.device)
    level = (places + torch.rand(count, generator=rng, device=rng.device)) / count
    index = (level * len(squared)).long().clamp(max=len(squared) - 1).repeat_interleave(model.group)
    noise = torch.randn(x.shape, generator=rng, device=rng.device).to(x)
    keep = squared[index].to(x)[:, None, None, None]
    alpha, sigma = keep.sqrt(), (1 - keep).sqrt()
    out = model(alpha * x + sigma * noise, index.to(x.device), rows).float()
    error = (out - (alpha * noise - sigma * x)).square().mean((1, 2, 3))
    snr = (keep / (1 - keep)).flatten()
    return (snr.clamp(LEAST, GAMMA) / (snr + 1) * error).mean()


def known(folder: Path) -> dict:
    """What tells published weights from others, and what their card says of how they came to be."""
    parts = sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in parts)).hexdigest()
    card = folder / "card.json"
    told = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    return {"digest": digest} | {key: told[key] for key in ("command", "version", "steps", "pictures", "seconds", "base") if key in told}


def _silent(net: nn.Module) -> None:
    """Every block begins as the identity, the whole with the answer zero (adaLN-zero, Peebles and Xie 2022, arXiv:2212.09748)."""
    for name, value in net.named_parameters():
        if "scale_shift_table" in name or name.startswith(("adaln_single.linear", "proj_out")) or ".attn2.to_out.0" in name:
            nn.init.zeros_(value)


def publish(model: Pixels, folder: Path) -> None:
    """A pipeline folder of diffusers in half precision. Without an autoencoder: its latents are the pixels, in [-1, 1]."""
    from diffusers import PixArtAlphaPipeline

    halves = {"text_encoder": half(model.reader), "transformer": half(model.net)}
    PixArtAlphaPipeline(tokenizer=model.tokenizer, vae=None, scheduler=model.scheduler, **halves).save_pretrained(folder)
    sealed(folder, README.replace("SIDE", str(8 * model.net.config.sample_size)))


def half(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).half()


def sealed(folder: Path, told: str) -> None:
    """A folder that was written, as every version of the libraries reads it, with its README.md, once its files are small enough."""
    if (folder / "tokenizer").is_dir():
        words.spell(folder / "tokenizer")
    if (path := folder / "text_encoder" / "model.safetensors").is_file():  # transformers 5 reads the names of 4 too, not the other way
        named = {name if name.startswith(READER) else READER + name: value for name, value in load(path.read_bytes()).items()}
        files.write_bytes(path, save(named, {"format": "pt"}))
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")
    files.write_text(folder / "README.md", told)


README = """A text-to-image model of toy objects, trained by `python -m dream3d.toybox.train`; card.json tells how. Apache-2.0.

    pipe = diffusers.PixArtAlphaPipeline.from_pretrained(folder, vae=None, torch_dtype=torch.float32)
    x = pipe("a red car, front view", height=SIDE, width=SIDE, use_resolution_binning=False, max_sequence_length=24,
             output_type="latent").images  # pixels in [-1, 1], an eighth of SIDE each way
"""
