"""viewer.html in a real browser: clips play, materials are lit as our renderer lights them, keys and fingers turn the asset."""

import dataclasses
import math

import browser
import numpy as np
import pytest
import torch
from dream3d.renderers._light import Sky, environment, to_display, to_linear
from dream3d.renderers.gaussians import Gaussians
from export_runs import discs, run_of
from pages import check
from test_pages_in_a_browser import READY, SIZE, STILL, block, gaussians, off, press

from dream3d import assemble, checkpoint
from dream3d.cameras import look_at
from dream3d.cli import main
from dream3d.clips import MeshClip, Skin
from dream3d.commands.parser import stored
from dream3d.export.glb import write_glb
from dream3d.export.gltf_moving import write_morph, write_skin
from dream3d.export.moments import Moments
from dream3d.export.splat import write_ply
from dream3d.export.viewer import write_viewer
from dream3d.export.views import frames
from dream3d.types import Mesh

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.executable(), reason="no Chromium here: apt install chromium"),
]
FRONT = look_at(torch.tensor([0.0]), torch.tensor([math.radians(15)]), size=SIZE)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    found = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def shows(chromium, page, **where) -> np.ndarray:
    """The picture alone, as the page's address asks for it."""
    chromium.open(page, hash="#bare&" + "&".join(f"{k}={v}" for k, v in where.items()), size=(SIZE, SIZE))
    chromium.wait(READY)
    assert chromium.ask(READY) == "ready" and not chromium.complaints
    assert all(url.startswith(("file:", "data:", "blob:")) for url in chromium.requests)
    chromium.wait(STILL, 90)
    return chromium.picture().astype(float)


def at(step: float) -> Gaussians:
    """The cloud at a moment: it rises, turns about itself and fades to one side."""
    scene = gaussians()
    with torch.no_grad():
        scene.position += torch.tensor([0.0, 0.0, 0.3]) * step
        scene.log_scale -= 0.5 * step
    return scene


def test_splats_play_and_stop_where_asked(chromium, tmp_path):
    found = [tmp_path / f"frame_{i}.ply" for i in range(3)]
    for i, path in enumerate(found):
        write_ply(at(i / 2).handover(), path)
    page = write_viewer(tmp_path / "viewer.html", splats=None, mesh=None, title="x", moving=Moments(found, [0, 0.5, 1]))
    check(page)
    for time in (0, 0.5, 0.75, 1, 9):
        true = frames(at(min(time, 1)), FRONT)[0].astype(float)
        assert off(shows(chromium, page, time=time), true) < 0.25, time
    assert off(true, frames(at(0), FRONT)[0].astype(float)) > 5, "it has moved"


def test_a_run_of_gaussians_that_move_plays_without_being_asked_to(chromium, tmp_path):
    run = run_of(tmp_path / "run", {"type": "dynamic_gaussians", "count": 200}, handed=discs(), stirred="field")
    assert main(["export", str(run), "--quiet"]) == 0
    config = stored(run)
    scene = assemble.saved(config, *checkpoint.newest(run / "checkpoints", print), run)
    seen = {time: shows(chromium, run / "export" / "viewer.html", time=time) for time in (0, 1)}
    for time, picture in seen.items():
        with torch.no_grad():
            true = frames(scene, dataclasses.replace(FRONT, time=torch.tensor([float(time)])))[0].astype(float)
        assert off(picture, true) < 0.5, time
    assert off(seen[0], seen[1]) > 2, "it has moved"


def test_the_bar_plays_scrubs_and_pauses(chromium, tmp_path):
    found = [tmp_path / f"frame_{i}.ply" for i in range(2)]
    for i, path in enumerate(found):
        write_ply(at(i).handover(), path)
    page = write_viewer(tmp_path / "viewer.html", splats=None, mesh=None, title="x", moving=Moments(found, [0, 4]))
    chromium.open(page, hash="#time=0", size=(600, 500))
    chromium.wait(READY)
    clock, slider = "parseFloat(document.querySelector('.viewer-clock').textContent)", "document.querySelector('.viewer-play input')"
    assert chromium.ask(clock) == 0 and chromium.ask("!document.querySelector('.viewer-play').hidden")
    chromium.ask("document.querySelector('.viewer-play button').click()")
    chromium.wait(f"{clock} > 0.2")
    chromium.ask("document.querySelector('.viewer-play button').click()")
    stopped = chromium.ask(clock)
    chromium.ask("new Promise((done) => setTimeout(done, 200))")
    assert chromium.ask(clock) == stopped
    chromium.ask(f"{{const s = {slider}; s.value = 0.5; s.dispatchEvent(new Event('input'))}}")
    assert chromium.ask(clock) == 2
    press(chromium, "Loop")  # off
    chromium.ask("{const s = document.querySelector('.viewer-play select'); s.value = 2; s.dispatchEvent(new Event('change'))}")
    chromium.ask("document.querySelector('.viewer-play button').click()")
    chromium.wait(f"{clock} === 4 && document.querySelector('.viewer-play button').getAttribute('aria-label') === 'Play'")
    assert not chromium.complaints and "4 s" in chromium.ask("document.querySelector('.viewer-facts').textContent")


def test_what_a_mesh_file_animates_is_played(chromium, tmp_path):
    mesh, shift = block(), torch.tensor([0.2, 0.0, 0.1])
    places = torch.stack([mesh.vertices, mesh.vertices + shift])
    write_morph(MeshClip(mesh, places, torch.tensor([0.0, 2.0])), tmp_path / "mesh.glb", {})
    page = write_viewer(tmp_path / "viewer.html", splats=None, mesh=tmp_path / "mesh.glb", title="x")
    for time in (1, 0, 2):
        write_glb(dataclasses.replace(mesh, vertices=mesh.vertices + shift * time / 2), tmp_path / "there.glb", {})
        still = write_viewer(tmp_path / "still.html", splats=None, mesh=tmp_path / "there.glb", title="x")
        true = shows(chromium, still)
        assert off(shows(chromium, page, time=time), true) < 0.1, time
    assert "1 shapes \u00b7 2 s" in chromium.ask("document.querySelector('.viewer-facts').textContent")


def test_a_body_on_joints_is_played(chromium, tmp_path):
    """The upper half hangs on a joint that turns by a right angle about z within a second."""
    mesh, half = block(), math.sqrt(0.5)
    upper = (mesh.vertices[:, 2] > 0).float()
    turns = torch.tensor([[[1.0, 0, 0, 0], [1.0, 0, 0, 0]], [[1.0, 0, 0, 0], [half, 0, 0, half]]])
    joints, weights = torch.tensor([[0.0, 0, -0.3], [0.1, 0.2, 0]]), torch.stack([1 - upper, upper], -1)
    skin = Skin(mesh, ("root", "tip"), torch.tensor([-1, 0]), joints, weights, turns, torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    write_skin(skin, tmp_path / "mesh.glb", {})
    page = write_viewer(tmp_path / "viewer.html", splats=None, mesh=tmp_path / "mesh.glb", title="x")
    for time in (0, 0.5, 1):
        angle, away = torch.tensor(time * math.pi / 2), mesh.vertices - skin.joints[1]
        x, y, z = away.unbind(-1)
        turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y, z], -1) + skin.joints[1]
        there = torch.where(upper[:, None] > 0, turned, mesh.vertices)
        write_glb(dataclasses.replace(mesh, vertices=there), tmp_path / "there.glb", {})
        true = shows(chromium, write_viewer(tmp_path / "still.html", splats=None, mesh=tmp_path / "there.glb", title="x"))
        assert off(shows(chromium, page, time=time), true) < 0.1, time
    assert "2 joints" in chromium.ask("document.querySelector('.viewer-facts').textContent")


def ball(rough: float, metal: float, colour: list[float]) -> Mesh:
    """A fine unit ball of one material, half a metre in radius."""
    import trimesh

    shape = trimesh.creation.icosphere(5, 0.5)
    faces = torch.from_numpy(shape.faces.copy())
    uv = torch.full((len(faces), 3, 2), 0.5)
    flat = [torch.tensor(values).expand(4, 4, 3).contiguous() for values in (colour, [1.0, rough, metal])]
    return Mesh(torch.from_numpy(shape.vertices.copy()).float(), faces, uv=uv, texture=flat[0], orm=flat[1])


@pytest.mark.parametrize("rough, metal", [(1.0, 0.0), (0.5, 0.0), (0.4, 1.0), (0.2, 1.0)])
def test_materials_are_lit_as_ours(chromium, tmp_path, rough, metal):
    colour = [0.8, 0.5, 0.3]
    write_glb(ball(rough, metal, colour), tmp_path / "mesh.glb", {})
    page = write_viewer(tmp_path / "viewer.html", splats=None, mesh=tmp_path / "mesh.glb", title="x")
    seen = shows(chromium, page)
    origin, way = (v[0].reshape(-1, 3) for v in FRONT.rays())
    way = torch.nn.functional.normalize(way, dim=-1)
    b, c = (origin * way).sum(-1), (origin * origin).sum(-1) - 0.25
    hit = b * b - c > 0.02  # well inside the outline
    normal = torch.nn.functional.normalize(origin + way * (-b - (b * b - c).clamp(min=0).sqrt())[:, None], dim=-1)[hit]
    ones = torch.ones(len(normal), 1)
    albedo = to_linear(torch.tensor(colour)).expand(len(normal), 3)
    light = Sky(environment("studio"))(albedo, rough * ones, metal * ones, normal, -way[hit])
    true, there = to_display(light).numpy() * 255, seen.reshape(-1, 3)[hit.numpy()]
    assert true.std() > 15
    assert abs(there - true).mean() < 5 and abs((there - true).mean(0)).max() < 4, (abs(there - true).mean(), (there - true).mean(0))


def test_keys_and_drags_turn_the_asset(chromium, tmp_path):
    scene = gaussians()
    write_ply(scene.handover(), tmp_path / "splats.ply")
    page = write_viewer(tmp_path / "viewer.html", splats=tmp_path / "splats.ply", mesh=None, title="x")
    shows(chromium, page)
    chromium.ask("document.querySelector('.viewer-stage').focus()")

    def key(name):
        for kind in ("keyDown", "keyUp"):
            chromium.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    for name in ("ArrowRight", "ArrowRight", "ArrowUp"):
        key(name)
    same(chromium, scene, 10, 20)
    middle = {"x": SIZE / 2, "y": SIZE / 2, "button": "left", "clickCount": 1}
    chromium.call("Input.dispatchMouseEvent", type="mousePressed", **middle)
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=SIZE / 2 - 40, y=SIZE / 2, button="left", buttons=1)
    chromium.call("Input.dispatchMouseEvent", type="mouseReleased", x=SIZE / 2 - 40, y=SIZE / 2, button="left", clickCount=1)
    turned = settled(chromium)
    assert turned[0] > 30 and abs(turned[1] - 20) < 0.5, turned
    same(chromium, scene, *turned)
    chromium.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": 100, "y": 100}])
    chromium.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": 130, "y": 100}])
    chromium.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    again = settled(chromium)
    assert again[0] < turned[0] - 10, (turned, again)
    same(chromium, scene, *again)


def settled(chromium) -> tuple[float, float]:
    """Azimuth and elevation once nothing turns any more."""
    where = "['azimuth', 'elevation'].map((name) => Number(document.getElementById('viewer').dataset[name]))"
    before = None
    while (now := chromium.ask(where)) != before:
        before = now
        chromium.ask("new Promise((done) => setTimeout(done, 400))")
        chromium.wait(STILL)
    return tuple(now)


def same(chromium, scene, azimuth: float, elevation: float) -> None:
    chromium.wait(STILL)
    assert settled(chromium) == pytest.approx((azimuth, elevation), abs=1e-2)
    angles = torch.deg2rad(torch.tensor([[azimuth], [elevation]]))
    inside = np.s_[4:-4, 4:-4]  # of the outline that says where keys go
    seen, true = chromium.picture().astype(float)[inside], frames(scene, look_at(*angles, size=SIZE))[0].astype(float)[inside]
    assert off(seen, true) < 0.4


def test_many_gaussians_are_drawn_coarsely_first_and_sharp_at_rest(chromium, tmp_path):
    rng = torch.Generator().manual_seed(0)
    scene = Gaussians(rng, count=60_000, radius=0.6)
    write_ply(scene.handover(), tmp_path / "splats.ply")
    page = write_viewer(tmp_path / "viewer.html", splats=tmp_path / "splats.ply", mesh=None, title="x")
    chromium.open(page, hash="#bare", size=(SIZE, SIZE))
    chromium.wait(READY)
    chromium.wait(STILL)
    assert off(chromium.picture().astype(float), frames(scene, FRONT)[0].astype(float)) < 0.4
