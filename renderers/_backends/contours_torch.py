"""Where surfaces end between neighbouring pixels that show different faces, in plain torch: the readable twin of contours_numba.

Three kinds, in this order. (1) Contours: edges all of whose faces lie on one side as the camera sees them (one front, one back; or the rim
of a sheet), in front of what the outer pixel shows. (2) Meetings: where parts of the mesh that no edge joins go into one another, the
planes of the two faces cross between the pixels. (3) Steps: parts that end between the pixels in a face too narrow to be seen, at the
outermost edge of the part in front of the other. Inside one part a colour is taken to be continuous.
All in float64; no gradients.
"""

import torch
from dream3d.renderers._contours import NEAR, Ends, gaps, nearness, project
from jaxtyping import Float, Int
from torch import Tensor


def find(points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], seen: Int[Tensor, "B H W"]) -> Ends:
    """The ends of surfaces in a picture whose pixels show the faces `seen` (-1: none), in the order of pairs: those in rows first.
    `points` are in camera coordinates. Of several crossings of a pair the outermost of the nearer surface counts."""
    return _Search(points.detach().double(), faces, intrinsics.detach().double(), seen).ends()


class _Search:
    """One picture. A slot is a pair: the flat index of its first pixel, and B H W more for pairs in columns."""

    def __init__(self, points, faces, intrinsics, seen):
        self.points, self.faces, self.lens = points, faces, intrinsics
        self.views, self.height, self.width = seen.shape
        self.flat, self.pixels = seen.flatten(), seen.numel()
        key = torch.stack([faces, faces.roll(-1, 1)], -1)
        self.along = torch.where(key[..., 0] < key[..., 1], 1.0, -1.0).double()  # the face goes from the edge's lower vertex to the higher
        key, self.of = (key.amin(-1) * points.shape[1] + key.amax(-1)).unique(return_inverse=True)
        self.edges = torch.stack([key // points.shape[1], key % points.shape[1]], -1)

    def ends(self) -> Ends:
        index = torch.arange(self.pixels, device=self.flat.device).view(self.views, self.height, self.width)
        slots = torch.cat([index[:, :, :-1].flatten(), index[:, :-1].flatten() + self.pixels])
        first, second = self._pair(slots)
        slots = slots[self.flat[first] != self.flat[second]]
        contour, rows = self._contours(slots)
        free = self._mask(slots) & ~self._mask(contour)
        slots = slots[free[slots] & (self.flat[torch.stack(self._pair(slots))] >= 0).all(0)]
        root = parts(self.faces, self.points.shape[1])
        owner = root[self.faces[:, 0]]
        slots = slots[(owner[self.flat[torch.stack(self._pair(slots))]]).diff(dim=0)[0] != 0]
        meeting, corners = self._meetings(slots)
        free = self._mask(slots) & ~self._mask(meeting)
        step, ends = self._steps(slots[free[slots]], root, owner)
        slot = torch.cat([contour, meeting, step])
        rows = torch.cat([torch.nn.functional.pad(rows, (0, 4), value=-1), corners, torch.nn.functional.pad(ends, (0, 4), value=-1)])
        order = slot.argsort()
        slot, rows = slot[order], rows[order]
        return Ends(*self._pair(slot), slot < self.pixels, rows[:, 2] >= 0, rows)

    def _pair(self, slot):
        first = slot % self.pixels
        return first, first + torch.where(slot < self.pixels, 1, self.width)

    def _mask(self, slots):
        mask = torch.zeros(2 * self.pixels, dtype=torch.bool, device=self.flat.device)
        mask[slots] = True
        return mask

    def _contours(self, slots):
        corners = self.points[:, self.faces]
        a, b, c = corners.unbind(2)
        sign = (a * torch.linalg.cross(b - a, c - a)).sum(-1).sign()
        side = (sign[..., None] * self.along).flatten(1)  # of the edge, on which the face lies
        index = self.of.flatten().expand_as(side)
        none = side.new_zeros(self.views, len(self.edges))
        high, low = (none.scatter_reduce(1, index, side, way) for way in ("amax", "amin"))
        view, edge = (high + low).nonzero(as_tuple=True)
        side = (high + low)[view, edge]

        def judge(which, axis, along, slot, pair, nearness_at, s):
            beyond = side[which] * (-along if axis == 0 else along) > 0  # the surface lies at the second pixel
            near, far = nearness_at(torch.where(beyond, *pair[::-1])), nearness_at(torch.where(beyond, *pair))
            return beyond, (s > far) & (2 * near > s + far)

        return self._outermost(view, edge, self._mask(slots), judge)

    def _meetings(self, slots):
        first, second = self._pair(slots)
        view = first // (self.height * self.width)
        rows = (view[:, None, None] * self.points.shape[1] + self.faces[self.flat[torch.stack([first, second], -1)]]).flatten(1)
        spot = torch.stack([first % self.width + 0.5, first // self.width % self.height + 0.5], -1).double()
        gap = gaps(self.points.flatten(0, 1)[rows].unflatten(1, (2, 3)), spot, slots < self.pixels, self.lens[view])
        keep = (gap[:, 0] >= 0) & (gap[:, 1] <= 0) & (gap[:, 0] > gap[:, 1])
        return slots[keep], rows[keep]

    def _steps(self, slots, root, owner):
        used = torch.zeros(len(root), dtype=torch.bool, device=root.device)
        used[owner[self.flat[torch.cat(self._pair(slots))]]] = True
        edge = used[root[self.edges[:, 0]]].nonzero()[:, 0]
        view = torch.arange(self.views, device=edge.device).repeat_interleave(len(edge))
        edge = edge.repeat(self.views)

        def judge(which, axis, along, slot, pair, nearness_at, s):
            mine = root[self.edges[edge[which], 0]]
            first, second = (owner[self.flat[pixel]] == mine for pixel in pair)
            return second, (first | second) & (s > nearness_at(torch.where(second, *pair)))

        return self._outermost(view, edge, self._mask(slots), judge)

    def _outermost(self, view, edge, wanted, judge):
        """Walk edges over rows and columns of pixel centres, ask `judge` (does the surface lie at the second pixel; is this its end) and
        keep of each wanted slot the crossing that is farthest from the surface's pixel, of equals the first edge's."""
        ends = view[:, None] * self.points.shape[1] + self.edges[edge]
        on, depth = project(self.points.flatten(0, 1)[ends], self.lens[view])
        usable = (depth > NEAR).any(1) & on.isfinite().flatten(1).all(1)
        found = [self._walk(axis, view, on, depth, usable, wanted, judge) for axis in (0, 1)]
        which, slot, extent = (torch.cat(part) for part in zip(*found, strict=True))
        best = extent.new_full((2 * self.pixels,), -1.0).scatter_reduce(0, slot, extent, "amax")
        order = torch.where(extent == best[slot], torch.arange(len(slot), device=slot.device), len(slot))
        chosen = order.new_full((2 * self.pixels,), len(slot)).scatter_reduce(0, slot, order, "amin")
        chosen = chosen[chosen < len(slot)]
        return slot[chosen], ends[which[chosen]]

    def _walk(self, axis, view, on, depth, usable, wanted, judge):
        lines, across = (self.height, self.width) if axis == 0 else (self.width, self.height)
        begin, stop = (v.sub(0.5).ceil().clamp(0, lines).long() for v in on[..., 1 - axis].nan_to_num().aminmax(dim=1))
        count = torch.where(usable, stop - begin, 0)
        which = torch.repeat_interleave(count)
        line = begin[which] + torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
        a, b = on[which].unbind(1)
        along = (b - a)[:, 1 - axis]
        share = (line + 0.5 - a[:, 1 - axis]) / along
        where = a[:, axis] + share * (b - a)[:, axis]
        cell = (where - 0.5).floor()
        keep = ((cell >= 0) & (cell < across - 1)).nonzero()[:, 0]
        which, line, along, share, where, cell = (v[keep] for v in (which, line, along, share, where, cell))
        cell = cell.long()
        pixel = view[which] * self.height * self.width + (line * self.width + cell if axis == 0 else cell * self.width + line)
        keep = wanted[pixel + axis * self.pixels].nonzero()[:, 0]
        which, line, along, share, where, cell, pixel = (v[keep] for v in (which, line, along, share, where, cell, pixel))
        slot = pixel + axis * self.pixels
        s = (1 / depth[which]).unbind(1)
        s = s[0] + share * (s[1] - s[0])
        spot = torch.stack([where, line + 0.5] if axis == 0 else [line + 0.5, where], -1)

        def nearness_at(pixel):
            face = self.flat[pixel]
            corners = self.points[view[which][:, None], self.faces[face.clamp(min=0)]]
            return torch.where(face >= 0, nearness(corners, spot, self.lens[view[which]]), 0)

        beyond, ends = judge(which, axis, along, slot, self._pair(slot), nearness_at, s)
        extent = where - (cell + 0.5)
        return which[ends], slot[ends], torch.where(beyond, 1 - extent, extent)[ends]


def parts(faces: Int[Tensor, "F 3"], count: int) -> Int[Tensor, " V"]:
    """The lowest vertex to which each of `count` vertices is joined by edges."""
    root = torch.arange(count, device=faces.device)
    while True:
        old, corners = root, root[faces]
        low = corners.amin(1, keepdim=True).expand_as(faces).flatten()
        root = root.scatter_reduce(0, faces.flatten(), low, "amin").scatter_reduce(0, corners.flatten(), low, "amin")
        root = root[root]
        if torch.equal(root, old):
            return root
