"""What gsplat's documentation promises of the three functions that splat_gsplat calls, in slow torch for any device."""

import torch


def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
    """Every (view, tile, splat) whose box touches the tile, by view, tile and depth: tiles per splat, sort keys, flat indices."""
    low = ((means2d - radii) / tile_size).floor()
    high = ((means2d + radii) / tile_size).ceil()
    rows = []
    for view in range(len(means2d)):
        for n in torch.nonzero((radii[view] > 0).all(-1)).flatten().tolist():
            (x0, y0), (x1, y1) = low[view, n].tolist(), high[view, n].tolist()
            for y in range(max(0, int(y0)), min(tile_height, int(y1))):
                for x in range(max(0, int(x0)), min(tile_width, int(x1))):
                    rows.append((view, y * tile_width + x, depths[view, n].item(), view * means2d.shape[1] + n))
    rows.sort(key=lambda row: row[:3])
    keys = torch.tensor([[view, tile] for view, tile, _, _ in rows]).reshape(-1, 2)
    return None, keys, torch.tensor([row[3] for row in rows], dtype=torch.int32)


def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
    """Where the list of each tile begins."""
    flat = isect_ids[:, 0] * tile_width * tile_height + isect_ids[:, 1]
    counts = torch.bincount(flat, minlength=n_images * tile_width * tile_height)
    return (counts.cumsum(0) - counts).int().reshape(n_images, tile_height, tile_width)


def rasterize_to_pixels(means2d, conics, colors, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids):
    """Colours and alphas, tile by tile, only from the splats in the tile's list; no background."""
    views, down, across = isect_offsets.shape
    ends = torch.cat([isect_offsets.flatten()[1:], torch.tensor([len(flatten_ids)])]).reshape(isect_offsets.shape)
    image = means2d.new_zeros(views, down * tile_size, across * tile_size, colors.shape[2] + 1)
    values = [v.flatten(0, 1) for v in (means2d, conics, colors, opacities)]
    for view, y, x in torch.cartesian_prod(torch.arange(views), torch.arange(down), torch.arange(across)).tolist():
        mine = flatten_ids[isect_offsets[view, y, x] : ends[view, y, x]].long()
        mean, conic, colour, opacity = (v[mine] for v in values)
        rows, columns = (torch.arange(tile_size) + 0.5 + k * tile_size for k in (y, x))
        dx, dy = mean[:, 0, None, None] - columns.to(mean), mean[:, 1, None, None] - rows.to(mean)[:, None]
        a, b, c = (v[:, None, None] for v in conic.unbind(-1))
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        alpha = (opacity[:, None, None] * torch.exp(-sigma)).clamp(max=0.999)
        alpha = torch.where((sigma >= 0) & (alpha >= 1 / 255), alpha, 0)
        after = (1 - alpha).cumprod(0)
        before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
        weight = torch.where(after > 1e-4, alpha * before, 0)
        full = torch.cat([colour, torch.ones_like(colour[:, :1])], -1)
        tile = torch.einsum("nhw,nc->hwc", weight, full)
        image = image.index_put(_block(view, y, x, tile_size), tile)
    image = image[:, :image_height, :image_width]
    return image[..., :-1], image[..., -1:]


def _block(view, y, x, size):
    rows, columns = torch.arange(size)[:, None] + y * size, torch.arange(size) + x * size
    return torch.tensor(view).expand(size, size), rows.expand(size, size), columns.expand(size, size)
