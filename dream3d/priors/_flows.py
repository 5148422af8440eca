"""How the flow models of diffusers differ: what their pipelines hold, how texts are embedded, how the network is asked for a velocity."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.priors._latent import Autoencoder
from dream3d.types import Embedding


class Packed(Autoencoder):
    """FLUX.2's: latents of 2 x 2 as channels, each normalised by the running mean and variance that its autoencoder learnt."""

    packed = 4

    def __init__(self, vae: nn.Module, size: int, tiny: nn.Module | None = None):
        if tiny is not None:
            raise Mistake("FLUX.2's latents are packed and normalised, which no distilled encoder is known to do", where="prior.tiny",
                          fix="prior.tiny=null", code=3)  # fmt: skip
        super().__init__(vae, size)

    @staticmethod
    def side(vae: nn.Module) -> int:
        return 2 * Autoencoder.side(vae)

    def _moments(self) -> tuple[Float[Tensor, "1 C 1 1"], Float[Tensor, "1 C 1 1"]]:
        norm = self.vae.bn
        mean, variance = (v.float().view(1, -1, 1, 1) for v in (norm.running_mean, norm.running_var))
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()

    def to_x(self, mean: Float[Tensor, "B c H W"]) -> Float[Tensor, "B C h w"]:
        middle, spread = self._moments()
        rows = mean.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        return (rows - middle) / spread

    def from_x(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B c H W"]:
        middle, spread = self._moments()
        return (x * spread + middle).unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


class SD3:
    """Stable Diffusion 3 and 3.5: three encoders, a pooled text."""

    time, autoencoder, length = "time_text_embed", Autoencoder, 256
    parts = ("transformer", "scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3",
             "tokenizer_3")  # fmt: skip

    @staticmethod
    def side(net: nn.Module) -> int:
        return net.config.sample_size

    @staticmethod
    def embed(pipe, prompts: list[str], length: int) -> Embedding:
        rows, _, pooled, _ = pipe.encode_prompt(prompts, None, None, device="cpu", do_classifier_free_guidance=False,
                                                max_sequence_length=length)  # fmt: skip
        return Embedding(rows.float(), pooled=pooled.float())

    @staticmethod
    def velocity(net: nn.Module, x: Tensor, t: Float[Tensor, " B"], text: Embedding) -> Tensor:
        return net(x, timestep=1000 * t, encoder_hidden_states=text.tokens.to(x), pooled_projections=text.pooled.to(x)).sample


class ZImage:
    """Z-Image: one list entry per picture, texts of their own lengths, time backwards and the velocity with it."""

    time, autoencoder, length = "t_embedder", Autoencoder, 512
    parts = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")

    @staticmethod
    def side(net: nn.Module) -> int:
        return 128  # its config has none; it was trained at 1024 pixels

    @staticmethod
    def embed(pipe, prompts: list[str], length: int) -> Embedding:
        rows, _ = pipe.encode_prompt(list(prompts), "cpu", do_classifier_free_guidance=False, max_sequence_length=length)
        mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
        whole = torch.stack([nn.functional.pad(row.float(), (0, 0, 0, length - len(row))) for row in rows])
        return Embedding(whole, mask)

    @staticmethod
    def velocity(net: nn.Module, x: Tensor, t: Float[Tensor, " B"], text: Embedding) -> Tensor:
        told = [row[kept].to(x) for row, kept in zip(text.tokens, text.mask, strict=True)]
        out = net(list(x[:, :, None].unbind(0)), 1 - t, told, return_dict=False)[0]
        return -torch.stack(out)[:, :, 0]


class Flux2:
    """FLUX.2-klein-base: packed latents as a sequence with positions, one language model."""

    time, autoencoder, length = "time_guidance_embed", Packed, 512
    parts = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")

    @staticmethod
    def side(net: nn.Module) -> int:
        return 64  # its config has none; it was trained at 1024 pixels

    @staticmethod
    def embed(pipe, prompts: list[str], length: int) -> Embedding:
        depth = len(pipe.text_encoder.model.layers)
        layers = tuple(round(depth * share) for share in (0.25, 0.5, 0.75))  # 9, 18 and 27 of klein's 36
        return Embedding(pipe.encode_prompt(prompts, "cpu", max_sequence_length=length, text_encoder_out_layers=layers)[0].float())

    @staticmethod
    def velocity(net: nn.Module, x: Tensor, t: Float[Tensor, " B"], text: Embedding) -> Tensor:
        pipe, tokens = __import__("diffusers").Flux2KleinPipeline, text.tokens.to(x)
        where = {"txt_ids": pipe._prepare_text_ids(tokens).to(x.device), "img_ids": pipe._prepare_latent_ids(x).to(x.device)}
        out = net(hidden_states=x.flatten(2).mT, timestep=t.to(x), guidance=None, encoder_hidden_states=tokens, **where,
                  return_dict=False)[0]  # fmt: skip
        return out.mT.unflatten(2, x.shape[2:])


KINDS = {"StableDiffusion3Pipeline": SD3, "ZImagePipeline": ZImage, "Flux2KleinPipeline": Flux2}
