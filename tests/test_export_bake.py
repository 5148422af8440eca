"""Baked pictures against numbers: colours and materials of a fine mesh, its normals in the tangents of the file, occlusion of shapes whose
sky is known, light divided out."""

import dataclasses
import json
import math
import struct

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from export_scene import Blocks

from dream3d.bench.bake import compared
from dream3d.export.decimate import closed
from dream3d.export.delight import delit, harmonics
from dream3d.export.density import fitting
from dream3d.export.glb import write_glb
from dream3d.export.health import health
from dream3d.export.occlusion import cosine
from dream3d.export.rays import Tree
from dream3d.export.surface import surface
from dream3d.export.tangents import split
from dream3d.export.texels import Spread, between, sampled, texels, vertex_normals
from dream3d.export.texture import bake, hidden, unwrap
from dream3d.types import Mesh, Render

SIDE = 256


def ball(subdivisions: int = 4, radius: float = 0.5) -> Mesh:
    found = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(torch.tensor(found.vertices).float(), torch.tensor(found.faces).long())


def wavy() -> Mesh:
    """A ball with fine waves and a colour per vertex."""
    mesh = ball(5)
    way = F.normalize(mesh.vertices, dim=-1)
    height = 0.01 * torch.sin(30 * way[:, :1]) * torch.cos(25 * way[:, 2:])
    return Mesh(mesh.vertices + height * way, mesh.faces, rgb=way / 2 + 0.5)


@pytest.fixture(scope="module")
def fine() -> Mesh:
    return wavy()


@pytest.fixture(scope="module")
def baked(fine) -> Mesh:
    """With materials that are known: roughness grows along x, metal along z."""
    flat = unwrap(fine, 512, how="fast")
    index, face, weights = texels(flat, 512)
    place = between(flat.vertices, flat.faces, face, weights)
    orm = torch.stack([torch.ones(len(index)), place[:, 0] + 0.5, place[:, 2] + 0.5], -1)
    pictures = Spread(index, 512)
    maps = {"texture": pictures.picture(F.normalize(place, dim=-1) / 2 + 0.5), "orm": pictures.picture(orm)}
    return bake(dataclasses.replace(flat, **maps), None, faces=1500, texture=SIDE)


def at_texels(mesh: Mesh) -> tuple:
    """Places and normals in the world of every covered texel, and the row of its pictures."""
    index, face, weights = texels(mesh, SIDE)
    row = (SIDE - 1 - index // SIDE) * SIDE + index % SIDE
    return between(mesh.vertices, mesh.faces, face, weights), row, face, weights


def test_colours_and_materials_are_those_below_each_texel(baked):
    place, row, _, _ = at_texels(baked)
    assert len(baked.faces) == pytest.approx(1500, abs=10) and closed(baked.faces)
    way = F.normalize(place, dim=-1)
    off = (baked.texture.reshape(-1, 3)[row] - (way / 2 + 0.5)).abs()
    assert off.mean() < 0.004 and off.quantile(0.99) < 0.03
    orm = baked.orm.reshape(-1, 3)[row]
    assert (orm[:, 1] - (place[:, 0] + 0.5)).abs().mean() < 0.01 and (orm[:, 2] - (place[:, 2] + 0.5)).abs().mean() < 0.01
    assert orm[:, 0].min() > 0.7 and orm[:, 0].mean() < 1  # waves hide a little


def attributes(path) -> tuple[dict, dict]:
    """A file's JSON, and the arrays of its only primitive."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document, start = json.loads(data[20 : 20 + length]), 28 + length

    def array(number: int) -> np.ndarray:
        entry = document["accessors"][number]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
        kind = {5126: "<f4", 5125: "<u4"}[entry["componentType"]]
        at = start + document["bufferViews"][entry["bufferView"]]["byteOffset"]
        return np.frombuffer(data, kind, width * entry["count"], at).reshape(-1, width)

    primitive = document["meshes"][0]["primitives"][0]
    return document, {name: array(n) for name, n in primitive["attributes"].items()} | {"indices": array(primitive["indices"])}


def test_normals_as_a_reader_of_the_file_sees_them_are_those_of_the_fine_surface(baked, fine, tmp_path):
    """By the rules of glTF alone: tangent, w cross(normal, tangent) and normal, interpolated, times the picture; y is up in the file."""
    write_glb(baked, tmp_path / "a.glb", {})
    document, arrays = attributes(tmp_path / "a.glb")
    normal, tangent, uv = (torch.tensor(arrays[name]) for name in ("NORMAL", "TANGENT", "TEXCOORD_0"))
    assert (tangent[:, :3].norm(dim=-1) - 1).abs().max() < 1e-5 and bool((tangent[:, 3].abs() == 1).all())
    assert (normal * tangent[:, :3]).sum(-1).abs().max() < 1e-5
    faces = torch.tensor(arrays["indices"].astype(np.int64)).view(-1, 3)
    flipped = torch.stack([uv[:, 0], 1 - uv[:, 1]], -1)
    index, face, weights = texels(Mesh(torch.tensor(arrays["POSITION"]), faces, uv=flipped[faces]), SIDE)
    n, t, at = (between(rows, faces, face, weights) for rows in (normal, tangent, flipped))
    bump = 2 * torch.round(255 * (sampled(baked.bump, at) / 2 + 0.5)) / 255 - 1
    shown = F.normalize(bump[:, :1] * t[:, :3] + bump[:, 1:2] * t[:, 3:] * torch.linalg.cross(n, t[:, :3]) + bump[:, 2:] * n, dim=-1)
    place = between(torch.tensor(arrays["POSITION"]), faces, face, weights)
    place = torch.stack([place[:, 0], -place[:, 2], place[:, 1]], -1)  # z up
    on, mix = Tree(fine).nearest(place)
    true = F.normalize(between(vertex_normals(fine), fine.faces, on, mix), dim=-1)
    shown = torch.stack([shown[:, 0], -shown[:, 2], shown[:, 1]], -1)
    flat = torch.stack([n[:, 0], -n[:, 2], n[:, 1]], -1)
    turned = torch.rad2deg(torch.acos((shown * true).sum(-1).clamp(-1, 1)))
    before = torch.rad2deg(torch.acos((F.normalize(flat, dim=-1) * true).sum(-1).clamp(-1, 1)))
    assert turned.mean() < 2.0 and before.mean() > 5 * turned.mean() and turned.quantile(0.99) < 8
    assert document["materials"][0]["occlusionTexture"]["index"] == 1 and "extensionsUsed" not in document


def test_a_mirrored_picture_has_the_other_hand():
    vertices = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    plain = vertices[faces][..., :2]
    found = split(Mesh(vertices, faces, uv=plain), tangents=True)
    np.testing.assert_allclose(found.tangent, np.tile([1, 0, 0, 1], (4, 1)), atol=1e-6)
    mirrored = split(Mesh(vertices, faces, uv=torch.stack([1 - plain[..., 0], plain[..., 1]], -1)), tangents=True)
    np.testing.assert_allclose(mirrored.tangent, np.tile([-1, 0, 0, -1], (4, 1)), atol=1e-6)
    half = plain.clone()
    half[1] = torch.stack([half[1, :, 1], half[1, :, 0]], -1)  # the second face mirrored about the diagonal, whose uvs stay
    both = split(Mesh(vertices, faces, uv=half), tangents=True)
    assert len(both.origin) == 6 and sorted(both.tangent[:, 3]) == [-1, -1, -1, 1, 1, 1]
    none = split(Mesh(vertices, faces, uv=torch.zeros(2, 3, 2)), tangents=True)
    assert (np.abs(np.linalg.norm(none.tangent[:, :3], axis=1) - 1) < 1e-6).all()


def sky(mesh: Mesh, place: list, normal: list, rays: int = 1024) -> float:
    return float(Tree(mesh).open(torch.tensor([place]), torch.tensor([normal]), cosine(rays), 10.0, 1e-4))


def test_rays_see_the_sky_that_geometry_says():
    """Beside a wall of height h at distance d, cosine-weighted, sin(atan(h / d)) / 2 of the sky is hidden; under a disc, sin^2."""
    wall = Mesh(torch.tensor([[0.3, -99.0, 0.0], [0.3, 99.0, 0.0], [0.3, 99.0, 0.4], [0.3, -99.0, 0.4]]),
                torch.tensor([[0, 1, 2], [0, 2, 3]]))  # fmt: skip
    hidden_share = (1 - math.cos(math.atan2(0.4, 0.3))) / 2
    assert sky(wall, [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]) == pytest.approx(1 - hidden_share, abs=0.01)
    turn = torch.linspace(0, 2 * math.pi, 129)[:-1]
    rim = torch.stack([turn.cos(), turn.sin(), torch.ones(128)], -1)
    around = torch.arange(128)
    faces = torch.stack([around, (around + 1) % 128, torch.full((128,), 128)], 1)
    disc = Mesh(torch.cat([rim, torch.tensor([[0.0, 0.0, 1.0]])]), faces)
    assert sky(disc, [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]) == pytest.approx(0.5, abs=0.01)
    assert sky(disc, [0.0, 0.0, 0.0], [0.0, 0.0, -1.0]) == 1.0


def test_the_tree_finds_what_trying_every_face_finds():
    mesh, rng = ball(2), torch.Generator().manual_seed(0)
    place = torch.rand(200, 3, generator=rng) * 1.4 - 0.7
    face, weights = Tree(mesh).nearest(place)
    found = between(mesh.vertices, mesh.faces, face, weights)
    other = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    _, distance, _ = trimesh.proximity.closest_point_naive(other, place.numpy())
    np.testing.assert_allclose((found - place).norm(dim=-1), distance, atol=1e-5)
    way = F.normalize(place, dim=-1)
    face, weights = Tree(mesh).along(place, way, 1.0)
    there = face >= 0
    meets = between(mesh.vertices, mesh.faces, face[there], weights[there])
    assert there.float().mean() > 0.95 and (F.normalize(meets, dim=-1) - way[there]).abs().max() < 1e-5
    assert not bool((Tree(mesh).along(place, way, 1e-3)[0][place.norm(dim=-1) < 0.4] >= 0).any())


def test_a_mesh_with_materials_gets_the_occlusion_it_lacks():
    """A ball in a bowl: what faces the gap is hidden; a mesh that knows already, or has no texels of its own, stays."""
    inner, outer = ball(3, 0.3), ball(3, 0.4)
    bowl = outer.faces[outer.vertices[outer.faces][..., 2].amax(1) < 0.05].flip(1)
    flat = unwrap(Mesh(torch.cat([inner.vertices, outer.vertices]), torch.cat([inner.faces, bowl + len(inner.vertices)])), 128)
    mesh = dataclasses.replace(flat, texture=torch.rand(128, 128, 3), orm=torch.ones(128, 128, 3))
    after = hidden(mesh)
    index, face, weights = texels(mesh, 128)
    low = between(mesh.vertices, mesh.faces, face, weights)[:, 2]
    share = after.orm.flip(0).reshape(-1, 3)[index, 0]
    ball_only = face < len(inner.faces)
    assert share[ball_only & (low < -0.1)].mean() < 0.3 and share[ball_only & (low > 0.2)].mean() > 0.95
    assert hidden(after) is after and after.orm[..., 1:].equal(mesh.orm[..., 1:])
    assert hidden(dataclasses.replace(mesh, uv=torch.cat([mesh.uv[:1], mesh.uv[:-1]]))) is not None
    assert hidden(dataclasses.replace(mesh, uv=3 * mesh.uv)).orm is mesh.orm


def test_light_is_divided_out_of_paints_that_have_all_directions():
    generator = torch.Generator().manual_seed(0)
    normal = F.normalize(torch.randn(20000, 3, generator=generator), dim=-1)
    paint = torch.tensor([[0.6, 0.1, 0.1], [0.15, 0.2, 0.5]])[(torch.rand(20000, generator=generator) < 0.4).long()]
    light = harmonics(normal) @ torch.tensor([0.8, 0.1, -0.2, 0.35, 0.02, 0.03, -0.05, 0.05, 0.04])
    lit = (paint * light[:, None]).clamp(0, 1)
    display = torch.where(lit <= 0.0031308, 12.92 * lit, 1.055 * lit.clamp(min=0.003) ** (1 / 2.4) - 0.055)
    after = delit(display, normal)
    spread = [values[paint[:, 0] > 0.5].std(0).max() for values in (display, after)]
    assert spread[1] < 0.15 * spread[0]
    plain = torch.full((20000, 3), 0.5)
    assert (delit(plain, normal) - plain).abs().max() < 0.01  # nothing to divide out


def test_the_asset_looks_like_the_scene():
    mesh = surface(Blocks(), resolution=64, views=32, size=128)
    asset = bake(mesh, Blocks(), faces=3000, texture=SIDE, views=16, size=192)
    told = compared(Blocks(), asset, size=96)
    assert told["iou"] > 0.95 and told["psnr"] > 27
    assert asset.orm is None and asset.bump is None and health(asset).sound
    heard = []
    lit = bake(mesh, Blocks(), faces=500, texture=64, views=6, size=64, delight=True, occlusion=False,
               progress=lambda what, share: heard.append((what, share)))  # fmt: skip
    assert lit.orm is not None and float(lit.orm[..., 0].min()) == 1 and lit.bump is not None
    shares = [share for _, share in heard]
    assert [what for what, _ in heard][:3] == ["decimate", "unwrap", "colour"] and shares == sorted(shares) and shares[-1] < 1


def rolled() -> Mesh:
    """A thin wall rolled up: seen along any axis it lies over itself."""
    turn = torch.linspace(0, 6 * math.pi, 200)
    rows = [torch.stack([0.03 * turn * turn.cos(), torch.full_like(turn, y), 0.03 * turn * turn.sin()], -1) for y in (-0.3, 0.3)]
    a, b = torch.arange(199), torch.arange(200, 399)
    return Mesh(torch.cat(rows), torch.cat([torch.stack([a, b, a + 1], 1), torch.stack([a + 1, b, b + 1], 1)]))


@pytest.mark.parametrize("shape", [rolled, wavy, lambda: surface(Blocks(), resolution=48, views=16, size=96)])
def test_projections_lay_every_face_flat_once(shape):
    mesh = shape()
    flat = unwrap(mesh, SIDE, how="fast")
    told = health(dataclasses.replace(flat, texture=torch.zeros(SIDE, SIDE, 3)))
    assert flat.uv.min() >= 0 and flat.uv.max() <= 1 and flat.faces.equal(mesh.faces)
    assert told.overlap < 1e-3 and told.stretch < 1.15 and told.flat_uv == 0 and told.least_density > 0.5 * told.median_density
    s, t = flat.uv[:, 1] - flat.uv[:, 0], flat.uv[:, 2] - flat.uv[:, 0]
    assert bool((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0] > 0).all())  # none is mirrored


def test_large_meshes_are_laid_flat_by_projections(monkeypatch, fine):
    from dream3d.export import unwrap as module

    monkeypatch.setattr(module, "MANY", 100)
    assert unwrap(fine, SIDE).uv.equal(unwrap(fine, SIDE, how="fast").uv)
    small = ball(1)
    assert unwrap(small, SIDE).uv.equal(unwrap(small, SIDE, how="atlas").uv)


def test_the_level_of_gaussians_is_where_their_outlines_are():
    """A field that falls with the distance, and a scene that shows a ball: the level is the field's on the ball."""
    axis = torch.linspace(-0.8, 0.8, 64)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    field = (1.5 - 2 * (x.square() + y.square() + z.square()).sqrt()).clamp(min=0)

    class Ball(Blocks):
        def render(self, cameras, now=None):
            origin, way = cameras.rays()
            near = torch.linalg.cross(origin.expand_as(way), F.normalize(way, dim=-1)).norm(dim=-1, keepdim=True)
            alpha = (near < 0.4).float()
            return Render(alpha.expand(*alpha.shape[:-1], 3), alpha, alpha)

    assert fitting(field.numpy(), Ball(), 0.8) == pytest.approx(1.5 - 2 * 0.4, abs=0.03)
