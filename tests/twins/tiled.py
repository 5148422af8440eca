"""What gsplat 1.5 documents of the three functions that splat_gsplat calls, in slow torch for any device, and as strict as its bindings
about shapes and types. Float64 is allowed here, so that only the wrapper's own errors show."""

import torch

COMPILED = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65)  # channel counts with kernels; what gsplat 1.5 fills up itself is not trusted


def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
    """Every (view, tile, splat) whose box touches the tile: tiles per splat; ids view | tile | the 32 bits of the depth, ascending and
    stable; flat indices into the views' splats."""
    views, count = depths.shape
    assert means2d.shape == radii.shape == (views, count, 2)
    assert radii.dtype == torch.int32 and depths.dtype == torch.float32 and not means2d.requires_grad
    assert tile_size == 16
    bits = (tile_width * tile_height).bit_length()
    low, high = ((means2d - radii) / tile_size).floor(), ((means2d + radii) / tile_size).ceil()
    many, ids, flat = torch.zeros(views, count, dtype=torch.int32), [], []
    for view, n in torch.nonzero((radii > 0).all(-1)).tolist():
        (x0, y0), (x1, y1) = low[view, n].tolist(), high[view, n].tolist()
        order = depths[view, n].view(torch.int32).item() & 0xFFFFFFFF
        for y in range(max(0, int(y0)), min(tile_height, int(y1))):
            for x in range(max(0, int(x0)), min(tile_width, int(x1))):
                ids.append(((view << bits | y * tile_width + x) << 32) | order)
                flat.append(view * count + n)
                many[view, n] += 1
    ids, by_id = torch.tensor(ids, dtype=torch.int64).sort(stable=True)
    return many, ids, torch.tensor(flat, dtype=torch.int32)[by_id]


def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
    """Where the list of each tile begins: views x tile rows x tile columns."""
    tiles = tile_width * tile_height
    bits = tiles.bit_length()
    tile = isect_ids >> 32
    counts = torch.bincount((tile >> bits) * tiles + (tile & (1 << bits) - 1), minlength=n_images * tiles)
    return (counts.cumsum(0) - counts).int().reshape(n_images, tile_height, tile_width)


def rasterize_to_pixels(means2d, conics, colors, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids):
    """Colours and alphas, tile by tile, only from the splats in the tile's list; no background."""
    views, count = opacities.shape
    assert means2d.shape == (views, count, 2) and conics.shape == (views, count, 3)
    assert colors.shape[:2] == (views, count) and colors.shape[2] in COMPILED
    assert isect_offsets.dtype == flatten_ids.dtype == torch.int32 and len(isect_offsets) == views
    down, across = isect_offsets.shape[1:]
    assert down * tile_size >= image_height and across * tile_size >= image_width
    ends = torch.cat([isect_offsets.flatten()[1:], torch.tensor([len(flatten_ids)])]).reshape(isect_offsets.shape)
    values = [v.flatten(0, 1) for v in (means2d, conics, torch.cat([colors, torch.ones_like(colors[..., :1])], -1), opacities)]
    tiles = [
        _tile(x * tile_size, y * tile_size, tile_size, *(v[flatten_ids[isect_offsets[b, y, x] : ends[b, y, x]].long()] for v in values))
        for b in range(views) for y in range(down) for x in range(across)
    ]  # fmt: skip
    image = torch.stack(tiles).unflatten(0, (views, down, across)).transpose(2, 3).flatten(1, 2).flatten(2, 3)
    image = image[:, :image_height, :image_width]
    return image[..., :-1], image[..., -1:]


def _tile(left, top, size, mean, conic, colour, opacity):
    x, y = (torch.arange(size, dtype=mean.dtype) + 0.5 + k for k in (left, top))
    dx, dy = mean[:, 0, None, None] - x, mean[:, 1, None, None] - y[:, None]
    a, b, c = (v[:, None, None] for v in conic.unbind(-1))
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacity[:, None, None] * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where((sigma >= 0) & (alpha >= 1 / 255), alpha, 0)
    after = (1 - alpha).cumprod(0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    return torch.einsum("nhw,nc->hwc", torch.where(after > 1e-4, alpha * before, 0), colour)
