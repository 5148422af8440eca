"""Models of clips through diffusers: AnimateDiff (Guo et al. 2023, arXiv:2307.04725), ModelScope and ZeroScope (Wang et al. 2023,
arXiv:2308.06571), Wan 2.1 (Team Wan 2025, arXiv:2503.20314).

x is rows of C h w as everywhere, B = groups x views x frames, frames fastest: a clip is `frames` rows that are answered together and share
one t. AnimateDiff is a Stable Diffusion 1 folder with a motion adapter (`motion`), or a folder of both; its noise table is then linear, as
adapters are trained, which is not Stable Diffusion's. ModelScope's and Wan's clips hear the text of their first frame.

Wan's autoencoder makes one latent of four pictures (after the first), so its rows are moments a quarter of a second apart: each is held
for four pictures, and F rows are F latents. Its price: four times the encoding, on the way of the gradient too, and a clip that stands
between its moments, which Wan has seldom seen. `hold: false` encodes every row as a clip's first picture, which costs a quarter and is
further from what Wan was trained on.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._diffusers import Diffusers, opened
from dream3d.priors._network import Knobs, prepared
from dream3d.priors._videos import KINDS, PICTURES, apart, autoencoder, moving, rows
from dream3d.schedule import Count, Precision
from dream3d.types import Cameras, Embedding, Render


class Video(Diffusers, Prior):
    """model: a folder, alias or hub's name; motion: a motion adapter for a Stable Diffusion, which then may be one file with `config`;
    frames: of a clip (cameras.frames is a multiple); size: pixels a side (null: the U-Net's own, 480 for Wan); tokens: how many of a
    prompt Wan reads; hold: see above; tiny, slicing, precision, compile: as in stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "video": "frames > 1"}

    def __init__(
        self,
        *,
        model: str = "wan-2.1-1.3b",
        motion: str | None = None,
        config: str | None = None,
        frames: Count = 16,
        size: Count | None = None,
        tokens: Count = 512,
        hold: bool = True,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        family = "video" if motion is None else "stable_diffusion"
        self.source = opened(model, family, (*KINDS, PICTURES), precision, config)
        self._check_kind(motion)
        self.kind, self.adapters, self.length = KINDS.get(self.source.pipeline, KINDS["AnimateDiffPipeline"]), tokens, tokens
        self.time = self.kind.time
        if motion is None:
            net, self.table = self.source.get(self.kind.net), self.kind.table(self.source)
        else:
            net, self.table = moving(self.source, motion, precision)
        self.net = prepared(freeze(net), Knobs(compile=compile))
        self.vae = autoencoder(self.source, self.net, size, frames, hold, tiny, slicing)
        self._check_net(frames)
        can = offered(self.offers, {"frames": frames})
        self.spec = Spec(self.vae.size, self.vae.channels, "latent", frames=frames, flow=self.source.pipeline == "WanPipeline",
                         capabilities=can, factor=self.vae.factor)  # fmt: skip
        freeze(self)

    def _check_kind(self, motion: str | None) -> None:
        pictures = self.source.pipeline == PICTURES
        if pictures and motion is None:
            fix = "prior.motion=animatediff-v3, or a model of clips"
            raise Mistake("this is a model of pictures", where="prior.model", fix=fix, code=3)
        if motion is not None and not pictures:
            raise Mistake(f"a {self.source.pipeline} has its own motion", where="prior.motion", fix="prior.motion=null", code=3)
        if "transformer_2" in self.source.listed:
            raise Mistake("this model has two networks, of which each knows half of the noise levels", where="prior.model",
                          fix="a model with one, such as wan-2.1-1.3b", code=3)  # fmt: skip

    def _check_net(self, frames: int) -> None:
        config = self.net.config
        if config.in_channels != self.vae.channels:
            raise Mistake(f"this network takes {config.in_channels} channels, its autoencoder makes {self.vae.channels}",
                          where="prior.model", fix="a model of texts alone", code=3)  # fmt: skip
        if frames > (most := getattr(config, "motion_max_seq_length", None) or frames):
            raise Mistake(f"this model knows clips of at most {most} frames, not {frames}", where="prior.frames", near=str(most))

    def _embed(self, prompts: list[str]) -> Embedding:
        return self.kind.embed(self.source, prompts, self.length)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Raises Mistake where rows are not whole clips of one t each."""
        clips, low = apart(x, self.spec.frames), net.get_submodule(self.kind.first).weight.dtype
        levels = t.unflatten(0, (len(clips), -1))
        if not torch.equal(levels, levels[:, :1].expand_as(levels)):
            raise Mistake("the frames of a clip share one t", where="prior.frames", fix=f"cameras.frames={self.spec.frames}")
        out = self.kind.ask(net, clips.to(low), levels[:, 0], self.table, text.tokens.to(x.device, low))
        return self.table.to_eps(rows(out.float()), x.float(), t)
