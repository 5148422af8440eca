"""Composite projected Gaussians in plain torch, on any device and in any precision: the portable twin of splat_numba.

The image is cut into tiles of 4x4 pixels; every tile has the depth-ordered list of splats whose extent touches it.
Tiles are sorted by the length of their lists and handled in chunks of bounded size, as dense (tile, splat, pixel)
arrays. The backward is our own: it recomputes each chunk, so that nothing is stored per pixel and splat. Rules and
arguments as in splat_dense.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

TILE, BUDGET = 4, 1 << 21  # pixels; elements of the largest array of a chunk


def composite(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """Features and alpha, front to back. See splat_dense.composite for the meaning of every argument."""
    values = torch.cat([means2d, conics, opacities[..., None], features, torch.ones_like(opacities)[..., None]], -1)
    lists = _Lists(values.detach().flatten(0, 1), depths.detach(), height, width)
    image = _Composite.apply(values.flatten(0, 1), lists)
    return image[..., :-1], image[..., -1:]


class _Lists:
    """Which splats touch which tile: `splat` holds rows of the flattened splats, tile by tile and front to back."""

    def __init__(self, values: Float[Tensor, "BN K"], depths: Float[Tensor, "B N"], height: int, width: int):
        self.shape = len(depths), height, width
        self.down, self.across = -(-height // TILE), -(-width // TILE)
        order = depths.argsort(dim=1, stable=True)
        order = (order + torch.arange(len(order), device=order.device)[:, None] * order.shape[1]).flatten()
        low, high = self._box(values[order])
        many = (high - low).clamp(min=0).prod(-1)
        rank = torch.repeat_interleave(many)
        nth = torch.arange(len(rank), device=rank.device) - (many.cumsum(0) - many)[rank]
        wide = (high - low)[rank, 0]
        view = order[rank] // max(depths.shape[1], 1)
        tile = (view * self.down + low[rank, 1] + nth // wide) * self.across + low[rank, 0] + nth % wide
        tile, by_tile = tile.sort(stable=True)
        self.splat = order[rank[by_tile]]
        self.length = torch.bincount(tile, minlength=len(depths) * self.down * self.across)
        self.first = self.length.cumsum(0) - self.length

    def _box(self, values: Float[Tensor, "BN K"]) -> tuple[Int[Tensor, "BN 2"], Int[Tensor, "BN 2"]]:
        """The half-open range of tiles (x, y) within alpha >= 1/255; empty for what is not drawn."""
        mean, (a, b, c), opacity = values[:, :2], values[:, 2:5].double().unbind(-1), values[:, 5]
        det = a * c - b * b
        drawn = (opacity * 255 >= 1) & (a > 0) & (det > 0)
        limit = 2 * (255 * opacity.double()).clamp(min=1).log()
        reach = (limit * torch.stack([c, a]) / det.where(drawn, 1)).clamp(min=0).sqrt().T + 0.01
        most = torch.tensor([self.across, self.down], device=mean.device)
        low = ((mean - reach) / TILE).floor().clamp(min=0).minimum(most.double()).long()
        high = ((mean + reach) / TILE).floor().add(1).clamp(min=0).minimum(most.double()).long()
        return low, torch.where(drawn[:, None], high, low)

    def chunks(self):
        """(tiles, splat rows padded to the longest list, which of them are real), longest lists last."""
        tiles = self.length.argsort(stable=True)
        tiles = tiles[self.length[tiles] > 0]
        lengths, begin = self.length[tiles].tolist(), 0
        while begin < len(tiles):
            end = begin + 1
            while end < len(tiles) and (end + 1 - begin) * lengths[end] * TILE * TILE <= BUDGET:
                end += 1
            rows = torch.arange(lengths[end - 1], device=tiles.device)
            real = rows < self.length[tiles[begin:end], None]
            place = (self.first[tiles[begin:end], None] + rows).clamp(max=len(self.splat) - 1)
            yield tiles[begin:end], self.splat[place], real
            begin = end

    def pixels(self, tiles: Int[Tensor, " t"]) -> tuple[Int[Tensor, "t p"], Int[Tensor, "t p"], Int[Tensor, " t"]]:
        """Columns, rows and view of every pixel of the tiles."""
        inner = torch.arange(TILE * TILE, device=tiles.device)
        x = (tiles % self.across)[:, None] * TILE + inner % TILE
        y = (tiles // self.across % self.down)[:, None] * TILE + inner // TILE
        return x, y, tiles // (self.across * self.down)

    def padded(self, like: Tensor, channels: int) -> Float[Tensor, "B H W C"]:
        return like.new_zeros(self.shape[0], self.down * TILE, self.across * TILE, channels)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, lists):
        image = lists.padded(values, values.shape[1] - 6)
        for tiles, splat, real in lists.chunks():
            x, y, view = lists.pixels(tiles)
            chunk = values[splat]
            weight = _Weights(chunk, real, x, y).weight
            image[view[:, None], y, x] = weight.mT @ chunk[..., 6:]
        ctx.save_for_backward(values, image)
        ctx.lists = lists
        return image[:, : lists.shape[1], : lists.shape[2]]

    @staticmethod
    def backward(ctx, pull):
        (values, image), lists = ctx.saved_tensors, ctx.lists
        gradient = torch.zeros_like(values)
        full = torch.zeros_like(image)
        full[:, : pull.shape[1], : pull.shape[2]] = pull
        for tiles, splat, real in lists.chunks():
            x, y, view = lists.pixels(tiles)
            chunk = values[splat]
            part = _Weights(chunk, real, x, y).gradient(chunk, full[view[:, None], y, x])
            gradient.index_add_(0, splat[real], part[real])
        return gradient, None


class _Weights:
    """Alpha and weight of k splats at p pixels of t tiles, and the gradients back from them."""

    def __init__(self, chunk, real, x, y):
        mean_x, mean_y, self.a, self.b, self.c, opacity = (v[..., None] for v in chunk[..., :6].unbind(-1))
        self.dx, self.dy = mean_x - (x[:, None] + 0.5), mean_y - (y[:, None] + 0.5)
        sigma = 0.5 * (self.a * self.dx**2 + self.c * self.dy**2) + self.b * self.dx * self.dy
        self.opacity, self.full = opacity, opacity * torch.exp(-sigma)
        drawn = (sigma >= 0) & (self.full >= 1 / 255) & real[..., None]
        self.alpha = torch.where(drawn, self.full.clamp(max=0.999), 0)
        after = (1 - self.alpha).cumprod(1)
        self.taken = after > 1e-4
        self.light = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
        self.weight = torch.where(self.taken, self.alpha * self.light, 0)

    def gradient(self, chunk: Float[Tensor, "t k K"], pull: Float[Tensor, "t p C"]) -> Float[Tensor, "t k K"]:
        value = chunk[..., 6:] @ pull.mT  # what a unit of weight changes in the loss
        gained = self.weight * value
        behind = gained.sum(1, keepdim=True) - gained.cumsum(1)
        slope = self.light * value - behind / (1 - self.alpha)
        free = self.taken & (self.alpha > 0) & (self.full <= 0.999)
        q = torch.where(free, -self.alpha * slope, 0)  # d loss / d sigma
        qx, qy = q * self.dx, q * self.dy
        parts = [self.a * qx + self.b * qy, self.b * qx + self.c * qy,
                 0.5 * qx * self.dx, qx * self.dy, 0.5 * qy * self.dy, -q / self.opacity]  # fmt: skip
        own = torch.stack([part.sum(-1) for part in parts], -1)
        return torch.cat([own, self.weight @ pull], -1)
