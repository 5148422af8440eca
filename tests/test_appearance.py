"""What surfaces are made of: numbers per vertex, per texel, in a field; uvs, seams, materials, latents."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from dream3d.renderers._appearance import KINDS, Appearance, appearance, latents, shown
from dream3d.renderers._atlas import Atlas, painted, places, sampled, tangents, taps
from dream3d.renderers._shading import Shading
from dream3d.renderers._surface import draw
from dream3d.renderers.mesh import ball

from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.export.texture import unwrap
from dream3d.optim import Adam
from dream3d.types import Mesh, Step


def globe(faces: int = 320) -> Mesh:
    """Its colours are its places."""
    mesh = ball(faces, (0.6, 0.5, 0.4))
    return dataclasses.replace(mesh, rgb=mesh.vertices / 1.5 + 0.5)


def square(texture: torch.Tensor, **more) -> Mesh:
    """From -0.5 to 0.5, upright, facing -y; uvs cover the whole picture."""
    corner = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(corner, faces, uv=(corner[:, [0, 2]] + 0.5)[faces], texture=texture, **more)


def made(kind: str, **settings) -> Appearance:
    return appearance(kind, torch.Generator().manual_seed(0), **settings)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind, error", [("vertex", 1e-5), ("texture", 5e-3), ("field", 3e-2)])
def test_every_kind_starts_as_the_mesh_looks_and_hands_that_over(kind, error):
    mesh, look = globe(), made(kind, texture=128)
    look.paint(mesh)
    face, weights = places(mesh, 3000)
    found = look.at(face, weights, mesh.vertices, mesh.faces).rgb
    assert (found - painted(mesh, face, weights)).abs().mean() < error
    handed = look.onto(Mesh(mesh.vertices, mesh.faces), 128)
    assert (painted(handed, face, weights) - found).abs().mean() < max(2 * error, 1e-5)
    assert not any(v.requires_grad for v in vars(handed).values() if isinstance(v, torch.Tensor))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"pbr": True}, {"features": 4}, {"features": 7}])
def test_every_kind_continues_from_its_state_and_learns(kind, settings):
    mesh, look, other = globe(80), made(kind, texture=32, **settings), made(kind, texture=32, **settings)
    look.paint(mesh)
    face, weights = places(mesh, 200)
    before = look.at(face, weights, mesh.vertices, mesh.faces)
    loss = (before.features if "features" in settings else before.rgb).square().sum()
    loss.backward()
    optimizer, groups = Adam(), look.groups(1e-2)
    assert len({g.name for g in groups}) == len(groups) and optimizer.step(groups)
    after = look.at(face, weights, mesh.vertices, mesh.faces)
    assert not torch.equal(after.rgb, before.rgb)
    other.restore({k: v.clone() for k, v in look.state_dict().items()})
    again = other.at(face, weights, mesh.vertices, mesh.faces)
    assert all(torch.equal(a, b) for a, b in zip(vars(after).values(), vars(again).values(), strict=True) if a is not None)
    assert (after.rough is not None) == ("pbr" in settings)


@pytest.mark.parametrize("kind", KINDS)
def test_values_have_a_derivative_in_place_and_numbers(kind):
    """Against central differences along random directions, in double precision but for the hash grid's own."""
    mesh, look = globe(80), made(kind, texture=16)
    look.paint(mesh)
    look, vertices = look.double(), mesh.vertices.double()
    if kind == "vertex":
        look.colour.data = 0.2 + 0.6 * rand(*look.colour.shape).double()
    face, weights = places(mesh, 50)
    weights = (0.8 * weights + 0.2 / 3).double().requires_grad_()
    pull = rand(50, 3, seed=3).double()
    parameters = [p for p in look.parameters()]
    inputs = [weights, *parameters]
    grads = torch.autograd.grad((look.at(face, weights, vertices, mesh.faces).rgb * pull).sum(), inputs)
    for k, grad in enumerate(grads):
        way = torch.randn(grad.shape, generator=torch.Generator().manual_seed(k), dtype=torch.double)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                inputs[k] += sign * 1e-6 * way
                ends.append((look.at(face, weights, vertices, mesh.faces).rgb * pull).sum().item())
                inputs[k] -= sign * 1e-6 * way
        assert (grad * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)


# --- textures -------------------------------------------------------------------------------------------------------


def test_texels_are_where_they_should_be():
    """A texel's centre shows it alone; the top row of the picture is where v is near 1."""
    picture = rand(4, 4, 3)
    look = made("texture", texture=4)
    look.paint(square(picture))
    uv = torch.tensor([[0.125, 0.875], [0.875, 0.875], [0.375, 0.125]])
    index, mix = taps(uv, 4, False)
    rows = look.colour[look.nearest[index]]
    shown_there = (rows * mix[..., None]).sum(1)
    torch.testing.assert_close(shown_there, torch.stack([picture[0, 0], picture[0, 3], picture[3, 1]]))
    torch.testing.assert_close(sampled(picture, uv), shown_there)
    torch.testing.assert_close(look.onto(square(picture), 4).texture, picture)


def test_a_foreign_mesh_keeps_its_uvs_and_texels():
    picture = rand(64, 64, 3)
    mesh, look = square(picture), made("texture", texture=64)
    look.paint(mesh)
    handed = look.onto(mesh, 64)
    assert torch.equal(handed.uv, mesh.uv) and torch.equal(handed.texture, picture)


@pytest.mark.parametrize("shape", [(7, 13), (128, 64), (1, 1)])
def test_pictures_of_odd_sizes_are_resized(shape):
    picture = torch.full((*shape, 3), 0.25)
    look = made("texture", texture=32)
    look.paint(square(picture))
    torch.testing.assert_close(look.onto(square(picture), 32).texture, torch.full((32, 32, 3), 0.25))


def test_uvs_beyond_the_picture_repeat_it():
    picture, face = rand(16, 16, 3), torch.tensor([0, 0])
    mesh = square(picture)
    tiled = dataclasses.replace(mesh, uv=3 * mesh.uv - 1)
    look = made("texture", texture=16)
    look.paint(tiled)
    place = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.3, 0.6]])
    wanted = sampled(picture, (place[..., None] * tiled.uv[face]).sum(1) % 1)
    assert (look.at(face, place, mesh.vertices, mesh.faces).rgb - wanted).abs().max() < 1e-4
    assert torch.equal(look.onto(tiled, 16).texture, picture)


def test_uvs_on_the_rim_of_the_picture_see_that_rim():
    """A hair beyond by rounding is not a whole picture further."""
    picture = rand(4, 4, 3)
    uv = torch.tensor([[-1e-6, 0.125], [1 + 1e-6, 0.125], [0.125, -1e-6], [0.125, 1 + 1e-6]])
    wanted = torch.stack([picture[3, 0], picture[3, 3], picture[3, 0], picture[0, 0]])
    torch.testing.assert_close(sampled(picture, uv), wanted, atol=1e-4, rtol=0)
    away = sampled(picture, rand(20, 2) + torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(away, sampled(picture, rand(20, 2)), atol=1e-4, rtol=0)


def test_materials_that_repeat_keep_every_texel():
    bump = F.normalize(torch.cat([rand(8, 8, 2, seed=1) - 0.5, torch.ones(8, 8, 1)], -1), dim=-1)
    orm = torch.cat([torch.ones(8, 8, 1), rand(8, 8, 2, seed=2)], -1)
    mesh = square(rand(8, 8, 3), bump=bump, orm=orm)
    tiled, look = dataclasses.replace(mesh, uv=3 * mesh.uv - 1), made("texture", texture=8, pbr=True)
    look.paint(tiled)
    handed = look.onto(tiled, 8)
    torch.testing.assert_close(handed.bump, bump)
    assert torch.equal(handed.orm, orm) and torch.equal(handed.texture, mesh.texture)
    latent = made("texture", texture=8, features=4)
    latent.paint(tiled)
    torch.testing.assert_close(latent.onto(tiled, 8).texture, mesh.texture, atol=1e-5, rtol=0)


def test_a_palette_of_single_points_keeps_its_colours():
    """Faces whose uvs have no area, as in many models that are coloured by a small palette."""
    picture = rand(4, 4, 3)
    mesh = square(picture)
    point = dataclasses.replace(mesh, uv=torch.tensor([0.125, 0.125]).expand(2, 3, 2).contiguous())
    look = made("texture", texture=4)
    look.paint(point)
    found = look.at(*places(point, 10), mesh.vertices, mesh.faces).rgb
    torch.testing.assert_close(found, picture[3, 0].expand(10, 3))


def test_nothing_bleeds_across_seams():
    """All texels that faces cover are white: so is every place, though the atlas is mostly empty; and so is the handed over picture."""
    mesh, look = globe(), made("texture", texture=64)
    look.paint(dataclasses.replace(mesh, rgb=torch.ones(len(mesh.vertices), 3)))
    assert len(look.colour) < 0.9 * 64**2
    found = look.at(*places(mesh, 5000), mesh.vertices, mesh.faces).rgb
    assert min(found.min(), look.onto(mesh, 64).texture.min()) > 1 - 1e-5


def test_an_atlas_names_every_covered_texel_once():
    mesh = unwrap(globe(), 64)
    atlas = Atlas(mesh.uv, 64)
    assert atlas.index.diff().min() > 0
    assert torch.equal(atlas.nearest[atlas.index], torch.arange(len(atlas.index)))
    uv = (atlas.weights[..., None] * mesh.uv[atlas.face]).sum(1)
    y, x = atlas.index // 64, atlas.index % 64
    assert (uv * 64 - torch.stack([x, y], -1) - 0.5).abs().max() < 0.5 + 1e-3
    with pytest.raises(Mistake, match="finite"):
        Atlas(torch.full((2, 3, 2), math.nan), 64)


def test_tangents_are_those_of_the_picture_also_where_it_is_mirrored():
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 0, 2]], [[0.0, 0, 0], [1, 0, 0], [1, 0, 2]]])
    uv = torch.tensor([[[0.0, 0], [0.5, 0], [0.5, 0.5]], [[0.5, 0], [0, 0], [0, 0.5]]])
    along, up = tangents(corners, uv)
    torch.testing.assert_close(along, torch.tensor([[1.0, 0, 0], [-1, 0, 0]]))
    torch.testing.assert_close(up, torch.tensor([[0.0, 0, 1], [0, 0, 1]]))


def test_a_picture_of_bumps_tilts_normals_where_it_says():
    """Half the slope along u: the shaded normal is (0.5, -1, 0) / |.| on a square that faces -y; and it is handed over as it came."""
    bump = F.normalize(torch.tensor([0.5, 0.0, 1.0]), dim=0).expand(8, 8, 3).contiguous()
    orm = torch.tensor([1.0, 0.3, 0.7]).expand(8, 8, 3).contiguous()
    mesh, look = square(rand(8, 8, 3), bump=bump, orm=orm), made("texture", texture=8, pbr=True)
    look.paint(mesh)
    found = look.at(*places(mesh, 20), mesh.vertices, mesh.faces)
    torch.testing.assert_close(found.bump, torch.tensor([0.5, 0.0, 0.0]).expand(20, 3))
    torch.testing.assert_close(found.rough, torch.tensor([0.3, 0.7]).expand(20, 2))
    handed = look.onto(mesh, 8)
    torch.testing.assert_close(handed.bump, bump)
    torch.testing.assert_close(handed.orm, orm)


def test_what_is_a_bump_from_the_front_is_a_dent_from_behind():
    """As glTF's renderers show a surface with two sides: behind it, the bumped normal is the opposite of that in front."""
    bump = F.normalize(torch.tensor([0.5, 0.3, 1.0]), dim=0).expand(8, 8, 3).contiguous()
    orm = torch.tensor([1.0, 0.3, 0.7]).expand(8, 8, 3).contiguous()
    mesh, look = square(rand(8, 8, 3), bump=bump, orm=orm), made("texture", texture=8, pbr=True)
    look.paint(mesh)
    shading, asked = Shading("albedo", ambient=0.1), []
    shading.mode = lambda now: "pbr"
    shading.sky = lambda albedo, rough, metal, normal, *_: asked.append((normal, rough, metal)) or albedo
    for cameras in (ring(1, size=8), look_at(torch.tensor([math.pi]), torch.zeros(1), size=8)):
        draw(mesh.vertices, mesh.faces, cameras, shading.shader(look, mesh.vertices, mesh.faces, cameras, None))
    wanted = F.normalize(torch.tensor([0.5, -1.0, 0.3]), dim=0)
    for sign, (normal, rough, metal) in zip((1, -1), asked, strict=True):
        assert (normal - sign * wanted).abs().max() < 1e-5 and (rough - 0.3).abs().max() < 1e-5 and (metal - 0.7).abs().max() < 1e-5


# --- latents --------------------------------------------------------------------------------------------------------


def test_latents_are_shown_as_the_colours_they_came_from():
    rgb = rand(20, 3)
    torch.testing.assert_close(shown(latents(rgb, 4)), rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(shown(latents(rgb, 7)), rgb)
    with pytest.raises(Mistake, match="no material"):
        made("texture", features=4, pbr=True)


def test_a_latent_texture_follows_its_gradient():
    """Latent-Paint: a target in latent space is met through the drawn features."""
    mesh, look, cameras = globe(), made("texture", texture=16, features=4), ring(4, size=24)
    look.paint(mesh)
    target, optimizer = torch.tensor([1.0, -0.5, 0.3, 2.0]), Adam()
    shading = Shading("albedo", ambient=0.3, environment="studio", turning=False)
    losses = []
    for index in range(80):
        render = draw(mesh.vertices, mesh.faces, cameras, shading.shader(look, mesh.vertices, mesh.faces, cameras, None))
        loss = (render.features - target * render.alpha).square().sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step(look.groups(0.3 * (1 - index / 80)))
    assert render.features.shape[-1] == 4 and losses[-1] < 2e-3 * losses[0]


def test_latents_are_there_whatever_the_light():
    mesh, look, cameras = globe(80), made("vertex", features=4), ring(2, size=16)
    look.paint(mesh)
    for mode in ("albedo", "lambert", "textureless"):
        shading = Shading(mode, ambient=0.3)
        render = draw(mesh.vertices, mesh.faces, cameras, shading.shader(look, mesh.vertices, mesh.faces, cameras, Step.make(0, 9, 0)))
        assert render.features.shape[-1] == 4 and render.features.abs().max() > 0.1


# --- shading --------------------------------------------------------------------------------------------------------


def test_ways_of_shading_come_in_their_shares():
    shading = Shading({"albedo": 0.5, "textureless": 0.25, "lambert": 0.25, "pbr": 0.0}, ambient=0.1, environment="studio", turning=True)
    drawn = [shading.mode(Step.make(i, 400, 0)) for i in range(400)]
    assert set(drawn) == {"albedo", "textureless", "lambert"} and 160 < drawn.count("albedo") < 240
    assert shading.mode(None) == "albedo" and not shading.pbr and drawn[7] == shading.mode(Step.make(7, 400, 0))
    assert Shading("textureless", ambient=0.1, environment="studio", turning=True).mode(None) == "textureless"
    with pytest.raises(Mistake, match="probability"):
        Shading({"albedo": 0.0}, ambient=0.1, environment="studio", turning=True)


def test_shading_shows_what_its_name_says():
    mesh, cameras = globe(1280), ring(2, size=32)
    pictures = {}
    for mode in ("albedo", "lambert", "textureless", "pbr"):
        shading, look = Shading(mode, ambient=0.1, environment="constant", turning=True), made("vertex", pbr=mode == "pbr")
        look.paint(mesh)
        shade = shading.shader(look, mesh.vertices, mesh.faces, cameras, Step.make(3, 10, 0))
        pictures[mode] = draw(mesh.vertices, mesh.faces, cameras, shade)
    inside = pictures["albedo"].alpha[..., 0] == 1
    rgb = {mode: picture.rgb[inside] for mode, picture in pictures.items()}
    grey = rgb["textureless"]
    assert (grey.amax(-1) - grey.amin(-1)).max() < 1e-6 and grey.min() >= 0.1 - 1e-5 and grey.std() > 0.1
    torch.testing.assert_close(rgb["lambert"], rgb["albedo"] * grey, atol=1e-5, rtol=0)
    assert ((rgb["pbr"] - rgb["albedo"]).abs().mean()) < 0.08  # a mostly diffuse surface in even light
