"""Size and origin of an asset: one move for meshes, Gaussians and what moves, which comes back as it went."""

import dataclasses

import pytest
import torch
from skinned_scenes import coloured, scene

from dream3d.clips import MeshClip, SplatClip, posed
from dream3d.errors import Mistake
from dream3d.export.place import Placement, box, placement
from dream3d.types import Mesh, Points

MOVE = Placement(2.5, (0.3, -1.0, 0.25))


def block() -> Mesh:
    """0.4 by 0.8 by 0.2 metres, and a vertex far away that no face uses."""
    grid = torch.tensor([[x, y, z] for x in (0.1, 0.5) for y in (-0.5, 0.3) for z in (0.2, 0.4)])
    faces = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
                          [1, 5, 7], [1, 7, 3]])  # fmt: skip
    return Mesh(torch.cat([grid, torch.full((1, 3), 9.0)]), faces)


def splats(count: int = 5) -> Points:
    make = torch.Generator().manual_seed(1)
    turn = torch.nn.functional.normalize(torch.randn(count, 4, generator=make), dim=-1)
    return Points(torch.randn(count, 3, generator=make), torch.rand(count, 3, generator=make), 0.1 * torch.rand(count, 3, generator=make),
                  turn, torch.linspace(0.2, 1, count))  # fmt: skip


def test_the_longest_side_is_as_long_as_asked_about_the_origin_as_it_is():
    made = placement(box(block()), 2.0, "center")
    sides = box(made(block()))
    assert (sides[1] - sides[0]).tolist() == pytest.approx([1.0, 2.0, 0.5]) and made.shift == (0, 0, 0)
    torch.testing.assert_close(sides, 2.5 * box(block()))


def test_the_base_is_the_middle_of_the_bottom():
    low, high = box(placement(box(block()), None, "base")(block()))
    assert low.tolist() == pytest.approx([-0.2, -0.4, 0], abs=1e-6) and high.tolist() == pytest.approx([0.2, 0.4, 0.2], abs=1e-6)
    low, high = box(placement(box(block()), 4.0, "base")(block()))
    assert low.tolist() == pytest.approx([-1, -2, 0], abs=1e-6) and high[1] == pytest.approx(2)


def test_nothing_asked_changes_nothing():
    mesh = block()
    assert placement(box(mesh), None, "center") == Placement() and Placement()(mesh) is mesh


def test_one_move_after_another_is_one_move():
    other = Placement(0.5, (1.0, 2.0, 3.0))
    torch.testing.assert_close(other.after(MOVE)(block()).vertices, other(MOVE(block())).vertices)


def test_gaussians_count_where_they_can_be_seen_out_to_a_standard_deviation():
    one = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0, 1.0]]), dim=-1)  # a quarter turn about z
    seen = Points(torch.tensor([[1.0, 0, 0], [50.0, 0, 0]]), torch.zeros(2, 3), torch.tensor([[0.1, 0.2, 0.3]] * 2), one.repeat(2, 1),
                  torch.tensor([0.9, 0.01]))  # fmt: skip
    assert box(seen).flatten().tolist() == pytest.approx([0.8, -0.1, -0.3, 1.2, 0.1, 0.3], abs=1e-6)
    faint = dataclasses.replace(seen, opacity=torch.tensor([0.02, 0.01]))  # nothing can be seen well: the best counts
    assert box(faint)[1, 0] == pytest.approx(1.2, abs=1e-6)


def test_gaussians_grow_with_their_scene_and_keep_their_turns():
    before, after = splats(), MOVE(splats())
    torch.testing.assert_close(after.position, 2.5 * before.position + torch.tensor(MOVE.shift))
    torch.testing.assert_close(after.scale, 2.5 * before.scale)
    assert torch.equal(after.rotation, before.rotation) and torch.equal(after.rgb, before.rgb)


def test_what_moves_is_moved_at_every_moment():
    mesh, times = block(), torch.tensor([0.0, 0.5])
    clip = MOVE(MeshClip(mesh, torch.stack([mesh.vertices, mesh.vertices + 1]), times))
    torch.testing.assert_close(clip.places[1], clip.mesh.vertices + 2.5)
    frames = MOVE(SplatClip((splats(), splats()), times)).frames
    assert len(frames) == 2 and torch.equal(frames[1].scale, 2.5 * splats().scale)
    assert torch.equal(box(clip), box(clip.mesh)) and torch.equal(box(SplatClip(frames, times)), box(frames[0]))


def test_a_body_on_joints_goes_where_its_skin_goes():
    skin = coloured(scene(motion="wave")).clip(torch.linspace(0, 1, 3))
    skin = dataclasses.replace(skin, **{name: getattr(skin, name).detach() for name in ("joints", "turns", "shift", "weights")},
                               mesh=dataclasses.replace(skin.mesh, vertices=skin.mesh.vertices.detach()))  # fmt: skip
    skin = dataclasses.replace(skin, shift=skin.shift + torch.tensor([[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]]))
    wanted = 2.5 * posed(skin).places + torch.tensor(MOVE.shift)
    torch.testing.assert_close(posed(MOVE(skin)).places, wanted, atol=2e-6, rtol=1e-5)


def test_what_has_no_size_says_so():
    point = Points(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(Mistake, match="no extent"):
        placement(box(point), 1.0, "center")
    with pytest.raises(Mistake, match="nothing to export"):
        box(Points(torch.zeros(0, 3), torch.zeros(0, 3)))
    with pytest.raises(TypeError):
        Placement(2.0)("mesh")
