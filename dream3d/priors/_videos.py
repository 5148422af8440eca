"""How the video models of diffusers differ: what their networks are asked with, where a student's camera goes, how a clip is encoded."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.priors import _hub
from dream3d.priors._diffusers import clip_tokens, tokens
from dream3d.priors._latent import Autoencoder, multiple, shown
from dream3d.priors._network import Line, Table
from dream3d.priors._pipeline import Source, component, dtype, network
from dream3d.schedule import Precision
from dream3d.types import Embedding


class AnimateDiff:
    """A U-Net of pictures with attention over frames between its layers."""

    net, time, first = "unet", "time_embedding", "conv_in"

    @staticmethod
    def table(source: Source) -> Table:
        return Table(source.get("scheduler"))

    @staticmethod
    def embed(source: Source, prompts: list[str], length: int) -> Embedding:
        return clip_tokens(source, prompts)

    @staticmethod
    def ask(net: nn.Module, z: Float[Tensor, "N C F h w"], t: Tensor, table: Table, text: Float[Tensor, "B L D"]) -> Tensor:
        """Its answer to N clips; every frame hears its own text."""
        return net(z, table.index(t), encoder_hidden_states=text).sample


class ModelScope(AnimateDiff):
    """A U-Net with convolutions and attention over frames: ModelScope, ZeroScope."""

    @staticmethod
    def ask(net: nn.Module, z: Float[Tensor, "N C F h w"], t: Tensor, table: Table, text: Float[Tensor, "B L D"]) -> Tensor:
        """Its answer to N clips; a clip hears the text of its first frame."""
        return net(z, table.index(t), encoder_hidden_states=text[:: z.shape[2]]).sample


class Wan:
    """A transformer over all patches of all moments, a flow; texts by UMT5."""

    net, time, first = "transformer", "condition_embedder.time_embedder", "patch_embedding"

    @staticmethod
    def table(source: Source) -> Line:
        return Line()

    @staticmethod
    def embed(source: Source, prompts: list[str], length: int) -> Embedding:
        """Zero where a prompt has no more tokens, as the network was trained."""
        ids, mask = tokens(source.get("tokenizer"), [" ".join(prompt.split()) for prompt in prompts], length)
        with torch.no_grad():
            rows = source.get("text_encoder")(ids, attention_mask=mask)[0].float()
        return Embedding(rows * mask[..., None])

    @staticmethod
    def ask(net: nn.Module, z: Float[Tensor, "N C F h w"], t: Tensor, table: Line, text: Float[Tensor, "B L D"]) -> Tensor:
        """Its answer to N clips; a clip hears the text of its first frame."""
        return net(z, timestep=1000 * t, encoder_hidden_states=text[:: z.shape[2]]).sample


KINDS = {"AnimateDiffPipeline": AnimateDiff, "TextToVideoSDPipeline": ModelScope, "WanPipeline": Wan}
PICTURES = "StableDiffusionPipeline"


class Held(nn.Module):
    """Wan's autoencoder is causal: its first latent is one picture, every further one four. So a clip of F rows becomes 1 + 4 (F - 1)
    pictures, each row but the first held for four, and F latents; without `hold` every row is a first picture of its own."""

    def __init__(self, vae: nn.Module, pixels: int, frames: int, hold: bool):
        super().__init__()
        config = vae.config
        self.vae, self.frames = vae, frames if hold else 1
        self.channels, self.factor, self.times = config.z_dim, config.scale_factor_spatial, config.scale_factor_temporal
        self.size, self.pixels = pixels // self.factor, pixels
        for name in ("latents_mean", "latents_std"):
            self.register_buffer(name, torch.tensor(config[name]).view(1, -1, 1, 1, 1), persistent=False)

    @classmethod
    def read(cls, source: Source, pixels: int, patch: int, frames: int, hold: bool, slicing: bool) -> "Held":
        """The autoencoder of a model, always in float32 as its makers run it."""
        vae = component(source.path, "vae", source.listed, torch.float32)
        step = vae.config.scale_factor_spatial * patch
        if pixels % step:
            raise multiple(pixels, step)
        if slicing:
            vae.enable_slicing()
        return cls(vae, pixels, frames, hold)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        """Rows are whole clips, frames fastest. Raises Mistake where they are not."""
        clips = apart(shown(image, self.pixels, 3), self.frames)
        film = torch.cat([clips[:, :, :1], clips[:, :, 1:].repeat_interleave(self.times, 2)], 2)
        mean = self.vae.encode(film.float()).latent_dist.mode()
        return rows((mean - self.latents_mean) / self.latents_std)

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """The last picture that every latent stands for."""
        film = self.vae.decode(apart(x.float(), self.frames) * self.latents_std + self.latents_mean).sample
        return (rows(film[:, :, :: self.times]).movedim(1, -1) + 1) / 2


def apart(x: Float[Tensor, "B C h w"], frames: int) -> Float[Tensor, "N C F h w"]:
    """Rows as clips. Raises Mistake where they do not come in whole ones."""
    if len(x) % frames:
        raise Mistake(f"{len(x)} rows are not clips of {frames} frames", where="prior.frames", fix=f"cameras.frames={frames}")
    return x.unflatten(0, (-1, frames)).transpose(1, 2)


def rows(clips: Float[Tensor, "N C F h w"]) -> Float[Tensor, "B C h w"]:
    return clips.transpose(1, 2).flatten(0, 1)


def autoencoder(source: Source, net: nn.Module, size: int | None, frames: int, hold: bool, tiny: str | None, slicing: bool):
    """Of pictures, or Wan's of clips, at the side its network was trained at unless another is asked for."""
    if source.pipeline == "WanPipeline":
        if tiny is not None:
            raise Mistake("a distilled encoder of pictures does not know clips", where="prior.tiny", fix="prior.tiny=null")
        return Held.read(source, size or 480, net.config.patch_size[1], frames, hold, slicing)
    return Autoencoder.read(source, size, net.config.sample_size, tiny, slicing)


def moving(source: Source, motion: str, precision: Precision) -> tuple[nn.Module, Table]:
    """A U-Net of pictures with a motion adapter built in, and the linear noise table that adapters are trained with."""
    from diffusers import MotionAdapter, UNetMotionModel

    adapter = network(MotionAdapter, _hub.locate(motion, "motion", "prior.motion").path, dtype(precision))
    unet, scheduler = source.get("unet"), source.get("scheduler")
    try:
        with torch.random.fork_rng(devices=[]):
            net = UNetMotionModel.from_unet2d(unet, adapter)
    except Exception as error:  # diffusers and torch tell of shapes in many ways
        first = " ".join(str(error).split())[:120]
        raise Mistake(f"this motion adapter does not fit the model's unet: {first}", where="prior.motion",
                      fix="an adapter of the same family, such as animatediff-v3 for Stable Diffusion 1.5", code=3) from error  # fmt: skip
    return net, Table(type(scheduler).from_config({**scheduler.config, "beta_schedule": "linear", "trained_betas": None}))
