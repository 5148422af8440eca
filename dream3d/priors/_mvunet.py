"""The U-Net of MVDream (Shi et al. 2023, arXiv:2308.16512) and ImageDream (Wang and Shi 2023, arXiv:2312.02201), which diffusers does not
have: Stable Diffusion 2.1's, whose self-attention runs over all views of a group at once and whose time embedding hears every camera.

Names and shapes of weights are those of the public checkpoints in diffusers' folders (LDM's: input_blocks, middle_block, output_blocks),
so that they load as they are. ImageDream's picture is resampled from a vision model's tokens (image_embed), heard by every
cross-attention beside the text (to_k_ip, to_v_ip), and joins self-attention as one more frame that has no noise and no camera.
"""

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float, Int
from torch import Tensor, nn

GROUPS = 32  # of every group norm


class MultiViewUNet(ModelMixin, ConfigMixin):
    """Settings are the published configs'. ip_dim: tokens that a picture becomes (0: this network sees none); the further ip_ settings,
    of what resamples them, are not in those configs."""

    @register_to_config
    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 4,
        model_channels: int = 320,
        out_channels: int = 4,
        num_res_blocks: int = 2,
        attention_resolutions: tuple[int, ...] | list[int] = (4, 2, 1),
        channel_mult: tuple[int, ...] | list[int] = (1, 2, 4, 4),
        num_head_channels: int = 64,
        transformer_depth: int = 1,
        context_dim: int = 1024,
        camera_dim: int = 16,
        ip_dim: int = 0,
        ip_weight: float = 1.0,
        ip_width: int = 1280,
        ip_depth: int = 4,
        ip_heads: int = 12,
    ):
        super().__init__()
        told = 4 * model_channels

        def stage(channels: int, out: int, halved: int, *more: nn.Module) -> Stage:
            if halved not in attention_resolutions:
                return Stage(Residual(channels, out, told), *more)
            return Stage(Residual(channels, out, told), attention(out), *more)

        def attention(channels: int) -> nn.Module:
            return Transformer(channels, num_head_channels, context_dim, transformer_depth, ip_dim, ip_weight)

        self.time_embed = _two_layers(model_channels, told)
        self.camera_embed = _two_layers(camera_dim, told)
        self.image_embed = Resampler(context_dim, ip_depth, ip_heads, ip_dim, ip_width) if ip_dim else None
        widths, last = [m * model_channels for m in channel_mult], len(channel_mult) - 1
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(in_channels, model_channels, 3, padding=1))])
        channels, skips = model_channels, [model_channels]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.input_blocks.append(stage(channels, width, 2**level))
                channels = width
                skips.append(width)
            if level < last:
                self.input_blocks.append(Stage(Halved(width)))
                skips.append(width)
        self.middle_block = Stage(Residual(channels, channels, told), attention(channels), Residual(channels, channels, told))
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                more = [Doubled(width)] if level and i == num_res_blocks else []
                self.output_blocks.append(stage(channels + skips.pop(), width, 2**level, *more))
                channels = width
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))

    def forward(
        self,
        x: Float[Tensor, "B C h w"],
        index: Int[Tensor, " B"],
        text: Float[Tensor, "B L D"],
        views: int,
        camera: Float[Tensor, "B 16"] | None = None,
        picture: tuple[Float[Tensor, "G M E"], Float[Tensor, "G C h w"]] | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """What the network predicts for B = G groups of `views` rows, views fastest. camera: None tells it none. picture: per group
        what a vision model saw, and its latent."""
        seen = self._told(index, camera, x.dtype)
        if picture is not None:
            tokens, latent = picture
            still = self._told(index[::views], None if camera is None else torch.zeros_like(camera[::views]), x.dtype)
            x, seen = _joined(x, latent, views), _joined(seen, still, views)
            words, views = _joined(text, text[views - 1 :: views], views), views + 1
            text = torch.cat([words, self.image_embed(tokens).repeat_interleave(views, 0)], 1)
        skips = []
        for block in self.input_blocks:
            x = block(x, seen, text, views)
            skips.append(x)
        x = self.middle_block(x, seen, text, views)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], 1), seen, text, views)
        x = self.out(x)
        return x if picture is None else x.unflatten(0, (-1, views))[:, :-1].flatten(0, 1)

    def _told(self, index: Int[Tensor, " B"], camera: Float[Tensor, "B 16"] | None, kind: torch.dtype) -> Float[Tensor, "B D"]:
        """Time and camera in one vector."""
        half = self.config.model_channels // 2
        slow = torch.exp(-math.log(10000) * torch.arange(half, device=index.device) / half)
        angle = index[:, None].float() * slow
        time = self.time_embed(torch.cat([angle.cos(), angle.sin()], 1).to(kind))
        return time if camera is None else time + self.camera_embed(camera.to(kind))


class Stage(nn.Sequential):
    """Layers in a row, each told what it listens to."""

    def forward(self, x: Tensor, seen: Tensor, text: Tensor, views: int) -> Tensor:
        for layer in self:
            match layer:
                case Residual():
                    x = layer(x, seen)
                case Transformer():
                    x = layer(x, text, views)
                case _:
                    x = layer(x)
        return x


class Residual(nn.Module):
    def __init__(self, channels: int, out: int, told: int):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(told, out))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1))
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Float[Tensor, "B c h w"], seen: Float[Tensor, "B D"]) -> Float[Tensor, "B o h w"]:
        return self.skip_connection(x) + self.out_layers(self.in_layers(x) + self.emb_layers(seen)[:, :, None, None])


class Halved(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c i j"]:
        return self.op(x)


class Doubled(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c i j"]:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Transformer(nn.Module):
    """Attention over the pixels of all views of a group, then over the words, then pixel by pixel."""

    def __init__(self, channels: int, head: int, context: int, depth: int, ip_dim: int, ip_weight: float):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(Block(channels, head, context, ip_dim, ip_weight) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "B c h w"], text: Float[Tensor, "B L D"], views: int) -> Float[Tensor, "B c h w"]:
        y = self.proj_in(self.norm(x).flatten(2).mT)
        for block in self.transformer_blocks:
            y = block(y, text, views)
        return x + self.proj_out(y).mT.reshape(x.shape)


class Block(nn.Module):
    def __init__(self, width: int, head: int, context: int, ip_dim: int, ip_weight: float):
        super().__init__()
        self.attn1 = Attention(width, head, width)
        self.attn2 = Attention(width, head, context, ip_dim, ip_weight)
        self.ff = Gated(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Float[Tensor, "B N c"], text: Float[Tensor, "B L D"], views: int) -> Float[Tensor, "B N c"]:
        pixels = x.shape[1]
        x = x.reshape(-1, views * pixels, x.shape[2])
        y = self.norm1(x)
        x = (x + self.attn1(y, y)).reshape(-1, pixels, x.shape[2])
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class Attention(nn.Module):
    """The last `ip_dim` tokens of what is heard are a picture's: they have keys and values of their own, and their answer is added."""

    def __init__(self, width: int, head: int, context: int, ip_dim: int = 0, ip_weight: float = 1.0):
        super().__init__()
        self.head, self.ip_dim, self.ip_weight = head, ip_dim, ip_weight
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, width, bias=False) for _ in range(2))
        if ip_dim:
            self.to_k_ip, self.to_v_ip = (nn.Linear(context, width, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "B N c"], heard: Float[Tensor, "B L D"]) -> Float[Tensor, "B N c"]:
        words = heard[:, : heard.shape[1] - self.ip_dim]
        q = self.to_q(x)
        out = attend(q, self.to_k(words), self.to_v(words), self.head)
        if self.ip_dim:
            seen = heard[:, -self.ip_dim :]
            out = out + self.ip_weight * attend(q, self.to_k_ip(seen), self.to_v_ip(seen), self.head)
        return self.to_out(out)


class Gated(nn.Module):
    """GEGLU and a linear layer; names as in the checkpoints."""

    def __init__(self, width: int, factor: int = 4):
        super().__init__()
        gate = nn.Module()
        gate.proj = nn.Linear(width, 2 * factor * width)
        self.net = nn.ModuleList([gate, nn.Identity(), nn.Linear(factor * width, width)])

    def forward(self, x: Float[Tensor, "B N c"]) -> Float[Tensor, "B N c"]:
        value, gate = self.net[0].proj(x).chunk(2, -1)
        return self.net[2](value * F.gelu(gate))


class Resampler(nn.Module):
    """A picture's many tokens become `count`, by learnt questions (IP-Adapter plus, arXiv:2308.06721)."""

    def __init__(self, width: int, depth: int, heads: int, count: int, given: int, head: int = 64, factor: int = 4):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, count, width) / width**0.5)
        self.proj_in, self.proj_out, self.norm_out = nn.Linear(given, width), nn.Linear(width, width), nn.LayerNorm(width)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            narrow, wide = (nn.Linear(width, factor * width, bias=False), nn.Linear(factor * width, width, bias=False))
            self.layers.append(nn.ModuleList([Asked(width, heads, head), nn.Sequential(nn.LayerNorm(width), narrow, nn.GELU(), wide)]))

    def forward(self, tokens: Float[Tensor, "G N E"]) -> Float[Tensor, "G M D"]:
        tokens = self.proj_in(tokens)
        found = self.latents.expand(len(tokens), -1, -1)
        for attention, feed in self.layers:
            found = attention(tokens, found) + found
            found = feed(found) + found
        return self.norm_out(self.proj_out(found))


class Asked(nn.Module):
    """Questions attend to a picture's tokens and to themselves."""

    def __init__(self, width: int, heads: int, head: int):
        super().__init__()
        self.head = head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * head, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * head, bias=False)
        self.to_out = nn.Linear(heads * head, width, bias=False)

    def forward(self, tokens: Float[Tensor, "G N D"], found: Float[Tensor, "G M D"]) -> Float[Tensor, "G M D"]:
        found = self.norm2(found)
        k, v = self.to_kv(torch.cat([self.norm1(tokens), found], 1)).chunk(2, -1)
        return self.to_out(attend(self.to_q(found), k, v, self.head))


def attend(q: Float[Tensor, "B N c"], k: Float[Tensor, "B L c"], v: Float[Tensor, "B L c"], head: int) -> Float[Tensor, "B N c"]:
    """Attention in heads of `head` channels."""
    q, k, v = (x.unflatten(-1, (-1, head)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _two_layers(given: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, width), nn.SiLU(), nn.Linear(width, width))


def _joined(rows: Float[Tensor, "B ..."], last: Float[Tensor, "G ..."], views: int) -> Float[Tensor, "H ..."]:
    """One more row at the end of every group."""
    return torch.cat([rows.unflatten(0, (-1, views)), last[:, None].to(rows.dtype)], 1).flatten(0, 1)
