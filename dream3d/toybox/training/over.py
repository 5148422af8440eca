"""The tiers over a trained toybox-latent: its autoencoder stays, and what each adds learns. Every class becomes the folder that one of the
project's families reads, and asks its network as that family does."""

import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d import files
from dream3d.priors._mvunet import MultiViewUNet
from dream3d.priors._posed import CCProjection
from dream3d.priors._sight import MEAN, STD
from dream3d.priors._views import VIEWS
from dream3d.toybox.training import shown
from dream3d.toybox.training.data import Rows
from dream3d.toybox.training.latent import CHANNELS, GROUPS, HEAD, Base, heard, stable, widened
from dream3d.toybox.training.network import Learner, half, sealed
from dream3d.toybox.training.presets import Place, Tier

EYE, PATCH = 64, 16  # pixels that a view's picture is looked at with; of a patch
BLOCK = 32  # channels of the multi-view network's first level: its norms have 32 groups


class Over(Learner):
    """`base` is no part of what learns; the text encoder begins as its and learns along."""

    def __init__(self, tier: Tier, where: Place, base: Base):
        super().__init__()
        self.__dict__["base"] = base
        self.tokenizer, self.scheduler = base.tokenizer, base.scheduler
        self.reader = copy.deepcopy(base.reader).requires_grad_(True)

    def target(self, rows: Rows) -> Float[Tensor, "B C h w"]:
        return self.base.encode(rows["x"])

    @torch.no_grad()
    def pictures(self, z: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """x as pictures; the colour where there is more."""
        return self.base.decode(z[:, :CHANNELS])


class Inpaint(Over):
    """toybox-inpaint: nine channels, x, where to paint, and what is around it."""

    draw, family = staticmethod(shown.holed), "inpaint"
    told = ("said", "mask", "x")

    def __init__(self, tier: Tier, where: Place, base: Base):
        super().__init__(tier, where, base)
        self.net = widened(base.net, 2 * CHANNELS + 1)

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        mask = rows["mask"]
        around = self.base.encode(rows["x"] * (1 - mask))  # grey is 0
        return self.net(torch.cat([z, F.interpolate(mask, z.shape[-2:]), around], 1), index,
                        encoder_hidden_states=heard(self, rows["said"])).sample  # fmt: skip

    def publish(self, folder: Path) -> None:
        stable(folder, "StableDiffusionInpaintPipeline", self, vae=self.base.vae, unet=self.net)
        sealed(folder, told("{type: inpaint, model: FOLDER}"))


class Joint(Over):
    """toybox-rgbd: the latent of the colour, then that of the depth as grey."""

    draw, family = staticmethod(shown.deep), "joint_depth"

    def __init__(self, tier: Tier, where: Place, base: Base):
        super().__init__(tier, where, base)
        self.net = widened(base.net, 2 * CHANNELS, 2 * CHANNELS)

    def target(self, rows: Rows) -> Float[Tensor, "B 8 h w"]:
        return torch.cat(self.base.encode(torch.cat([rows["x"], rows["depth"]])).chunk(2), 1)

    def forward(self, z: Float[Tensor, "B 8 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 8 h w"]:
        return self.net(z, index, encoder_hidden_states=heard(self, rows["said"])).sample

    def publish(self, folder: Path) -> None:
        stable(folder, "StableDiffusionPipeline", self, vae=self.base.vae, unet=self.net)
        sealed(folder, told("{type: joint_depth, model: FOLDER}"))


class MultiView(Over):
    """toybox-mv: MVDream's network, from nothing, over the base's autoencoder and text."""

    draw, family = staticmethod(shown.views), "mvdream"
    group, told = VIEWS, ("said", "pose")

    def __init__(self, tier: Tier, where: Place, base: Base):
        super().__init__(tier, where, base)
        self.net = MultiViewUNet(
            image_size=base.net.config.sample_size, model_channels=BLOCK, channel_mult=[c // BLOCK for c in tier.levels], num_res_blocks=1,
            attention_resolutions=[2**i for i in range(len(tier.levels))], num_head_channels=BLOCK, context_dim=tier.width)  # fmt: skip
        for value in self.net.out[-1].parameters():
            nn.init.zeros_(value)

    def target(self, rows: Rows) -> Float[Tensor, "B 4 h w"]:
        return self.base.encode(rows["x"].flatten(0, 1))

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        text = heard(self, [text for group in rows["said"] for text in group])
        pose, known = rows["pose"].flatten(0, 1), rows["known"].repeat_interleave(VIEWS)
        out = torch.zeros_like(z)
        for rows_of, camera in ((known, pose[known]), (~known, None)):
            if rows_of.any():
                out[rows_of] = self.net(z[rows_of], index[rows_of], text[rows_of], VIEWS, camera).to(out)
        return out

    def publish(self, folder: Path) -> None:
        parts = {"vae": self.base.vae, "text_encoder": self.reader, "unet": self.net}
        whole(folder, "MVDreamPipeline", self, parts, {"unet": ["mv_unet", "MultiViewUNetModel"]})
        sealed(folder, told("{type: mvdream, model: FOLDER}"))


class Side(Over):
    """toybox-view: Zero-1-to-3's network over the base's, an eye that learns along, and the layer that mixes its answer with the pose."""

    draw, family = staticmethod(shown.sides), "zero123"
    told = ("picture", "pose")

    def __init__(self, tier: Tier, where: Place, base: Base):
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__(tier, where, base)
        del self.reader
        width = tier.width
        self.net = widened(base.net, 2 * CHANNELS)
        self.eye = CLIPVisionModelWithProjection(CLIPVisionConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2, num_attention_heads=max(1, width // 32), image_size=EYE,
            patch_size=PATCH, projection_dim=width))  # fmt: skip
        self.posed = CCProjection(width + 4, width)

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        seen = F.interpolate((rows["picture"] + 1) / 2, (EYE, EYE), mode="bicubic", antialias=True).clamp(0, 1)
        seen = (seen - seen.new_tensor(MEAN)[:, None, None]) / seen.new_tensor(STD)[:, None, None]
        shown = rows["shown"][:, None, None].to(z)
        mixed = self.posed(self.eye(seen).image_embeds[:, None], rows["pose"][:, None]) * shown
        beside = self.base.encode(rows["picture"]) / self.base.scale * shown[..., None]
        return self.net(torch.cat([z, beside], 1), index, encoder_hidden_states=mixed).sample

    def publish(self, folder: Path) -> None:
        parts = {"vae": self.base.vae, "image_encoder": self.eye, "unet": self.net, "cc_projection": self.posed}
        own = {"cc_projection": ["pipeline_zero1to3", "CCProjection"]}
        whole(folder, "Zero1to3StableDiffusionPipeline", self, parts, own)
        sealed(folder, told("{type: zero123, model: FOLDER, size: 128, image: red-car.png}"))


class Control(Over):
    """toybox-depth: a ControlNet each for depth and normals; the base answers, and learns nothing."""

    draw, family = staticmethod(shown.controls), "controlnet"
    told = ("depth", "normal")

    def __init__(self, tier: Tier, where: Place, base: Base):
        from diffusers import ControlNetModel

        super().__init__(tier, where, base)
        self.reader.requires_grad_(False)
        self.nets = nn.ModuleDict({what: ControlNetModel.from_unet(base.net, conditioning_embedding_out_channels=tier.coder)
                                   for what in self.told}).requires_grad_(True)  # fmt: skip

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        """Every other row is told its depth, the others their normals."""
        text, out = heard(self, rows["said"]), torch.zeros_like(z)
        for i, (what, net) in enumerate(self.nets.items()):
            if not len(z[i::2]):
                continue
            skips, middle = net(z[i::2], index[i::2], text[i::2], rows[what][i::2], return_dict=False)
            out[i::2] = self.base.net(z[i::2], index[i::2], text[i::2], down_block_additional_residuals=skips,
                                      mid_block_additional_residual=middle).sample.to(out)  # fmt: skip
        return out

    def publish(self, folder: Path) -> None:
        for what, net in self.nets.items():
            half(net).save_pretrained(folder / what)
        sealed(folder, told("{type: controlnet, model: toybox-latent, nets: {depth: FOLDER/depth, normal: FOLDER/normal}}"))


class Clip(Over):
    """toybox-video: AnimateDiff's motion modules, built into the base, which learns nothing."""

    draw, family = staticmethod(shown.moments), "video"
    group = shown.FRAMES

    def __init__(self, tier: Tier, where: Place, base: Base):
        from diffusers import UNetMotionModel

        super().__init__(tier, where, base)
        self.reader.requires_grad_(False)
        self.net = UNetMotionModel.from_unet2d(base.net, self._adapter(base)).requires_grad_(False)
        for name, value in self.net.named_parameters():
            value.requires_grad_("motion_modules" in name)

    def _adapter(self, base: Base) -> nn.Module:
        from diffusers import MotionAdapter

        channels = base.net.config.block_out_channels
        return MotionAdapter(block_out_channels=channels, motion_layers_per_block=1, motion_norm_num_groups=GROUPS,
                             motion_num_attention_heads=channels[0] // HEAD, motion_max_seq_length=self.group)  # fmt: skip

    def target(self, rows: Rows) -> Float[Tensor, "B 4 h w"]:
        return self.base.encode(rows["x"].flatten(0, 1))

    def forward(self, z: Float[Tensor, "B 4 h w"], index: Int[Tensor, " B"], rows: Rows) -> Float[Tensor, "B 4 h w"]:
        text = heard(self, rows["said"]).repeat_interleave(self.group, 0)
        clips = z.unflatten(0, (-1, self.group)).transpose(1, 2)
        out = self.net(clips, index[:: self.group], encoder_hidden_states=text).sample
        return out.transpose(1, 2).flatten(0, 1)

    def publish(self, folder: Path) -> None:
        adapter = self._adapter(self.base)
        adapter.load_state_dict({k: v for k, v in self.net.state_dict().items() if "motion_modules" in k})
        adapter.half().save_pretrained(folder)
        sealed(folder, told(f"{{type: video, model: toybox-latent, motion: FOLDER, frames: {self.group}}}"))


def whole(folder: Path, pipeline: str, model: Learner, parts: dict[str, nn.Module], own: dict[str, list[str]]) -> None:
    """A folder of a pipeline that diffusers has no class for: components, and their list; `own` says by which names others know ours."""
    every = {name: half(part) for name, part in parts.items()} | {"scheduler": model.scheduler}
    if "text_encoder" in parts:
        every["tokenizer"] = model.tokenizer
    for name, part in every.items():
        part.save_pretrained(folder / name)
    listed = {name: [type(part).__module__.partition(".")[0], type(part).__name__] for name, part in every.items()}
    files.write_text(folder / "model_index.json", json.dumps({"_class_name": pipeline} | listed | own, indent=2))
    for name, (_, kind) in own.items():
        path = folder / name / "config.json"
        files.write_text(path, json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"_class_name": kind}, indent=2))


def told(prior: str) -> str:
    """README.md of a folder."""
    return f"A model of toy objects, trained by `python -m dream3d.toybox.train`; card.json tells how. Apache-2.0.\n\n    prior: {prior}\n"
