"""Two scenes as one: which places a cut finds, what a mask says, what is kept on either side of it."""

import pytest
import torch
from dream3d.renderers import _fields
from safetensors.torch import save_file

from dream3d import build
from dream3d.convert import cut, merge
from dream3d.convert.merge import merged, told, within
from dream3d.errors import Mistake
from dream3d.types import Field

SIDE, BOUND = 16, 0.8
BOX = (-0.8, -0.8, 0.0, 0.8, 0.8, 0.8)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def blocks(right: tuple[float, float, float]) -> Field:
    """Two blocks next to each other: the left one red, the other of this colour; nothing around them."""
    density, rgb = torch.zeros(SIDE, SIDE, SIDE), torch.zeros(SIDE, SIDE, SIDE, 3)
    density[3:13, 4:12, 4:12] = 100.0
    rgb[3:8], rgb[8:13] = torch.tensor([0.9, 0.1, 0.1]), torch.tensor(right)
    return Field(BOUND, density=density, rgb=rgb)


def voxels(data: Field, **more):
    settings = {"type": "voxels", "resolution": SIDE, "grid": SIDE, "samples": 16, "blob": "none", "bound": data.bound, **more}
    made = build.make("renderers", settings, torch.Generator().manual_seed(0))
    made.init_from(data)
    return made


def taken(mask, one: Field, other: Field) -> torch.Tensor:
    return within(told(mask, len(one.density), one.bound), one, other)


def right() -> torch.Tensor:
    found = torch.zeros(SIDE, SIDE, SIDE, dtype=torch.bool)
    found[8:13, 4:12, 4:12] = True
    return found


def test_a_cut_finds_the_boundary_of_two_blocks():
    one, other = blocks((0.1, 0.1, 0.9)), blocks((0.1, 0.9, 0.1))
    assert torch.equal(taken("cut", one, other), right())


def test_a_cut_finds_it_under_noise_where_each_place_alone_is_often_wrong():
    looks = cut.looks(blocks((0.1, 0.1, 0.9))), cut.looks(blocks((0.1, 0.9, 0.1)))
    weights = torch.where(right(), 0.4, 0.1) + 0.4 * (noise(SIDE, SIDE, SIDE) - 0.5)
    alone = (weights > cut.EVEN) & (looks[0][..., 0] > cut.THERE)
    assert (alone != right()).sum() > 20
    assert torch.equal(cut.cut(*looks, weights.clamp(0, 1)), right())


def test_a_cut_of_nothing_and_of_the_same_takes_nothing():
    empty = Field(BOUND, density=torch.zeros(4, 4, 4), rgb=torch.zeros(4, 4, 4, 3))
    assert not taken("cut", empty, empty).any()
    assert not taken("cut", blocks((0.1, 0.1, 0.9)), blocks((0.1, 0.1, 0.9))).any()


def test_outside_a_mask_is_the_one_inside_the_other():
    one, other = (voxels(blocks(colour)) for colour in ((0.1, 0.1, 0.9), (0.1, 0.9, 0.1)))
    with torch.no_grad():
        one.geometry_grid += noise(1, 1, SIDE, SIDE, SIDE)
    found, said = merged(one, other, BOX, SIDE)
    assert said == []
    given = [scene.handover() for scene in (one, other, found)]
    inside = taken(BOX, given[0], given[1])
    assert inside.sum() == SIDE**3 // 2
    for part in ("density", "rgb"):
        a, b, both = (getattr(field, part) for field in given)
        torch.testing.assert_close(both[~inside], a[~inside], atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(both[inside], b[inside], atol=2e-3, rtol=1e-3)
    assert not torch.allclose(given[0].rgb, given[1].rgb, atol=0.1)


def test_masks_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(_fields, "FINE", 24)
    one, other = blocks((0.1, 0.1, 0.9)), blocks((0.1, 0.9, 0.1))
    grid = tmp_path / "mask.safetensors"
    save_file({"mask": right().to(torch.uint8)}, grid)
    assert torch.equal(taken(str(grid), one, other), right())
    save_file({"weights": torch.where(right(), 0.9, 0.0)}, grid)
    assert torch.equal(taken(str(grid), one, other), right())
    mesh = tmp_path / "tetrahedron.ply"
    corners = "-0.5 -0.5 -0.5\n0.6 -0.5 -0.5\n-0.5 0.6 -0.5\n-0.5 -0.5 0.6\n"
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    sides = "3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
    mesh.write_text(f"{head}element face 4\nproperty list uchar int vertex_indices\nend_header\n{corners}{sides}")
    axis = torch.linspace(-BOUND, BOUND, SIDE)
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    depth = torch.cat([x + 0.5, (-0.4 - x.sum(-1, keepdim=True)) / 3**0.5], -1).amin(-1)  # metres inside
    found, sure = taken(str(mesh), one, other), depth.abs() > 0.06
    assert torch.equal(found[sure], (depth > 0)[sure]) and found.any()


def test_what_cannot_be_a_mask_says_so(tmp_path):
    one, other = blocks((0.1, 0.1, 0.9)), blocks((0.1, 0.9, 0.1))
    grid = tmp_path / "mask.safetensors"
    for tensors, said in (({"x": torch.ones(2, 2, 2)}, "needs one of mask, weights"), ({"mask": torch.ones(2, 2)}, "grid X Y Z"),
                          ({"weights": 2 * torch.ones(2, 2, 2)}, r"in \[0, 1\]"), ({"weights": torch.ones(2, 2, 2) / 0}, r"in \[0, 1\]"),
                          ({"mask": torch.ones(2, 0, 2)}, "grid X Y Z")):  # fmt: skip
        save_file(tensors, grid)
        with pytest.raises(Mistake, match=said):
            taken(str(grid), one, other)
    grid.write_bytes(b"nothing")
    with pytest.raises(Mistake, match="cannot be read"):
        taken(str(grid), one, other)
    with pytest.raises(Mistake, match="has no inside"):
        taken((0.1, 0.0, 0.0, 0.1, 1.0, 1.0), one, other)
    with pytest.raises(Mistake, match="holds no node"):
        taken((2.0, 2.0, 2.0, 3.0, 3.0, 3.0), one, other)


def test_masks_are_looked_at_before_the_scenes_are_read_off(tmp_path, monkeypatch):
    one, other = (voxels(blocks(colour)) for colour in ((0.1, 0.1, 0.9), (0.1, 0.9, 0.1)))
    monkeypatch.setattr(merge, "_voxels", lambda *_, **more: pytest.fail("read off"))
    both = tmp_path / "both.safetensors"
    save_file({"mask": torch.ones(2, 2, 2), "weights": torch.ones(2, 2, 2)}, both)
    for mask, said in (((2.0, 2.0, 2.0, 3.0, 3.0, 3.0), "holds no node"), (str(both), "needs one of mask, weights")):
        with pytest.raises(Mistake, match=said):
            merged(one, other, mask, SIDE)


def test_what_a_mask_leaves_out_is_told_with_numbers(tmp_path):
    one, other = (voxels(blocks(colour)) for colour in ((0.1, 0.1, 0.9), (0.1, 0.15, 0.9)))
    with pytest.raises(Mistake, match=r"the cut takes nothing: .* differ by 0.0\d at most, where 0.25"):
        merged(one, other, "cut", SIDE)
    grid = tmp_path / "mask.safetensors"
    for tensors in ({"mask": torch.full((2, 2, 2), 0.5)}, {"weights": torch.full((2, 2, 2), 0.25)}):
        save_file(tensors, grid)
        with pytest.raises(Mistake, match="nothing lies inside") as found:
            merged(one, other, str(grid), SIDE)
        assert "numbers above 0.5, weights above 0.25" in str(found.value)


def test_scenes_of_different_bounds_do_not_merge():
    one, other = voxels(blocks((0.1, 0.1, 0.9))), made_wide()
    with pytest.raises(Mistake, match="different bounds: 0.8 and 1"):
        merged(one, other, "cut", SIDE)
    with pytest.raises(Mistake, match="2 to 160 nodes"):
        merged(one, one, "cut", 1000)


def made_wide():
    data = blocks((0.1, 0.9, 0.1))
    return voxels(Field(1.0, density=data.density, rgb=data.rgb))


def flat(tmp_path, height: float = 0.0) -> str:
    """A mesh that is not closed: one triangle."""
    path = tmp_path / "flat.ply"
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    corners = f"-0.5 -0.5 {height}\n0.6 -0.5 {height}\n-0.5 0.6 {height}\n"
    path.write_text(f"{head}element face 1\nproperty list uchar int vertex_indices\nend_header\n{corners}3 0 1 2\n")
    return str(path)


def test_a_mask_with_nothing_inside_is_a_mistake_and_one_with_everything_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(_fields, "FINE", 24)
    one, other = (voxels(blocks(colour)) for colour in ((0.1, 0.1, 0.9), (0.1, 0.9, 0.1)))
    grid = tmp_path / "mask.safetensors"
    save_file({"mask": torch.zeros(4, 4, 4)}, grid)
    for mask in (flat(tmp_path), str(grid)):
        with pytest.raises(Mistake, match="nothing lies inside the mask") as caught:
            merged(one, other, mask, SIDE)
        assert caught.value.where == "system.mask" and "closed mesh" in caught.value.fix
    with pytest.raises(Mistake, match="the cut takes nothing"):
        merged(one, one, "cut", SIDE)
    assert merged(one, other, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), SIDE)[1] == [
        "everything is inside the mask: nothing is left of the first scene"
    ]


def spread(far: float):
    place = torch.tensor([[0.0, 0, 0], [far, 0, 0], [0, -0.6, 0]])
    made = build.make("renderers", {"type": "gaussians", "count": 3, "settle": 0}, torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.position.copy_(place)
        made.log_scale.fill_(-2.5)
        made.logit.fill_(4.0)
    return made


def test_what_reaches_beyond_is_merged_or_told():
    """The grid grows with what has no bound of its own, up to twice its size; what a field's bound leaves out is told."""
    box = (-0.3, -0.3, -0.3, 0.3, 0.3, 0.3)
    made, said = merged(spread(1.2), spread(0.5), box, 24)
    assert said == ["merged in [-1.26, 1.26]^3 m"] and made.handover().density[-4:].max() > 1
    _, said = merged(spread(5.0), spread(0.5), box, 24)
    assert said == ["1 of 3 Gaussians or points of the first scene lie beyond 1.6 m and are left out", "merged in [-1.6, 1.6]^3 m"]
    _, said = merged(voxels(blocks((0.1, 0.9, 0.1))), spread(1.2), box, SIDE)
    assert said == ["1 of 3 Gaussians or points of the second scene lie beyond 0.8 m and are left out"]
    assert merged(spread(0.7), spread(0.5), box, 24)[1] == []
