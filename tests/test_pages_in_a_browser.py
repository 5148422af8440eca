"""viewer.html and report.html in a real browser, from file://: what they show is what our own renderers show."""

import math
import re

import browser
import numpy as np
import pytest
import torch
from dream3d.renderers.gaussians import Gaussians
from export_scene import draw
from pages import EVIL, finished
from scipy import ndimage

from dream3d.cameras import look_at
from dream3d.export.glb import write_glb
from dream3d.export.report import write_report
from dream3d.export.splat import write_ply
from dream3d.export.video import contact_sheet, thumbnail
from dream3d.export.viewer import write_viewer
from dream3d.export.views import frames
from dream3d.types import Mesh, Points

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.executable(), reason="no Chromium here: apt install chromium"),
]
SIZE = 256
VIEWS = [(0, 15), (60, 15), (200, -20), (-80, 70)]
READY = "document.getElementById('viewer').dataset.state"
STILL = "document.querySelector('.viewer-stage')?.dataset.still === 'true'"  # drawn as asked, with all pixels


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    found = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def gaussians() -> Gaussians:
    """A lopsided cloud: long, flat, round and less than a pixel, faint and solid, with colours that turn with the view; and
    one beyond the frame that reaches into it."""
    rng = torch.Generator().manual_seed(3)
    count = 300
    position = 0.25 * torch.randn(count, 3, generator=rng) * torch.tensor([1.6, 1.0, 0.6])
    scale = torch.exp(torch.empty(count, 3).uniform_(math.log(0.001), math.log(0.12), generator=rng))
    sh = torch.randn(count, 16, 3, generator=rng) * torch.tensor([1.2] + 15 * [0.15])[:, None]
    opacity = torch.rand(count, generator=rng).clamp(0.02, 0.98)
    position[0], scale[0], opacity[0] = torch.tensor([1.7, 0.9, 0.2]), 0.4, 0.98
    scene = Gaussians(rng, count=count, sh_degree=3)
    scene.init_from(Points(position, sh[:, 0].sigmoid(), scale, torch.randn(count, 4, generator=rng), opacity, sh))
    return scene


def block() -> Mesh:
    """A block of six colours, off the middle, one texel block per side."""
    corner = torch.tensor([[x, y, z] for x in (-0.5, 0.3) for y in (-0.2, 0.6) for z in (-0.3, 0.1)])
    sides = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    colours = torch.tensor(
        [[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.1], [0.5, 0.5, 0.5], [0.1, 0.7, 0.8]]
    )
    faces = sides[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    column = (torch.arange(6)[:, None].expand(6, 2).reshape(-1) + 0.5) / 6
    uv = torch.stack([column, torch.full((12,), 0.5)], -1)[:, None].expand(12, 3, 2).contiguous()
    return Mesh(corner, faces, uv=uv, texture=colours.repeat_interleave(8, 0).expand(48, 48, 3).contiguous())


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A viewer of both, and what our own renderers see of them from VIEWS."""
    folder, scene = tmp_path_factory.mktemp("asset"), gaussians()
    write_ply(scene.handover(), folder / "splats.ply")
    write_glb(block(), folder / "mesh.glb", {})
    page = write_viewer(folder / "viewer.html", splats=folder / "splats.ply", mesh=folder / "mesh.glb", title=EVIL)
    cameras = look_at(*torch.deg2rad(torch.tensor(VIEWS, dtype=torch.float32)).T, size=SIZE)
    truth = {"splats": frames(scene, cameras), "mesh": (draw(folder / "mesh.glb", cameras) * 255).round()}
    return page, {kind: pictures.astype(float) for kind, pictures in truth.items()}


def look(chromium, page, kind: str, view: int, *, size=(SIZE, SIZE), ground: str = "ffffff") -> np.ndarray:
    azimuth, elevation = VIEWS[view]
    where = f"#bare&show={kind}&azimuth={azimuth}&elevation={elevation}&background={ground}"
    chromium.open(page, hash=where, size=size)
    chromium.wait(READY)
    assert chromium.ask(READY) == "ready" and not chromium.complaints
    chromium.wait(STILL)
    assert all(re.match("file:|data:|blob:", url) for url in chromium.requests)
    return chromium.picture().astype(float)


def off(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a - b).mean())


@pytest.mark.parametrize("kind, most", [("splats", 0.25), ("mesh", 0.5)])
def test_colours_and_pose_are_those_of_our_own_renderer(chromium, shown, kind, most):
    page, truth = shown
    for view in range(len(VIEWS)):
        seen, true = look(chromium, page, kind, view), truth[kind][view]
        assert off(true, np.full_like(true, 255)) > 8, "there is something to see"
        assert off(seen, true) < most, (view, off(seen, true))
        assert min(off(seen, true[:, ::-1]), off(seen, true[::-1])) > 10 * most, "a mirrored asset would be noticed"
        inside = ndimage.binary_erosion(abs(true - 255).max(-1) > 30, iterations=2)
        assert abs((seen - true)[inside].mean(0)).max() < 0.5, "neither lighter nor darker"
        assert kind == "mesh" or abs(seen - true).max() <= 6, "the edges of a mesh are smoothed, splats are the same"


def test_other_grounds_shine_through_as_ours_do(chromium, shown):
    ground = (0x20 / 255, 0x40 / 255, 0x80 / 255)
    true = frames(
        gaussians(), look_at(*torch.deg2rad(torch.tensor(VIEWS[:1], dtype=torch.float32)).T, size=SIZE), ground
    )[0]
    assert off(look(chromium, shown[0], "splats", 0, ground="204080"), true.astype(float)) < 0.25


@pytest.mark.parametrize("size", [(SIZE, 400), (400, SIZE)])
def test_the_shorter_side_of_any_window_holds_the_picture(chromium, shown, size):
    page, truth = shown
    seen = look(chromium, page, "mesh", 1, size=size)
    x, y = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    assert off(seen[y : y + SIZE, x : x + SIZE], truth["mesh"][1]) < 0.5


def press(chromium, words: str) -> None:
    chromium.ask(f"[...document.querySelectorAll('button')].find((b) => b.textContent === '{words}').click()")


def test_the_panel_switches_without_a_jump(chromium, shown):
    page, _ = shown
    chromium.open(page, size=(900, 600))
    chromium.wait(READY)
    chromium.wait(STILL)
    splats = chromium.picture()
    press(chromium, "Mesh")
    chromium.wait("document.getElementById('viewer').dataset.shows === 'mesh'")
    assert chromium.ask("document.querySelector('.viewer-facts').textContent") == "12 triangles \u00b7 48 px texture"
    chromium.wait(STILL)
    assert off(chromium.picture().astype(float), splats.astype(float)) > 3
    press(chromium, "Splats")
    chromium.wait("document.getElementById('viewer').dataset.shows === 'splats'")
    chromium.wait(STILL)
    middle = np.s_[60:520]
    assert off(chromium.picture().astype(float)[middle], splats.astype(float)[middle]) < 0.05
    assert chromium.ask("document.querySelector('.viewer-facts').textContent") == "300 Gaussians"
    press(chromium, "Back")
    chromium.wait(STILL)
    behind = chromium.picture().astype(float)
    chromium.open(page, hash="#azimuth=180&elevation=15", size=(900, 600))
    chromium.wait(READY)
    chromium.wait(STILL)
    assert off(behind[middle], chromium.picture().astype(float)[middle]) < 0.05, "sorted anew"
    press(chromium, "Black")
    chromium.wait("document.getElementById('viewer').dataset.ground === 'Black'")
    assert chromium.ask("document.title").startswith(EVIL[:40]) and not chromium.complaints


def test_a_report_starts_its_viewer_when_asked(chromium, run):  # noqa: F811
    scene = gaussians()
    write_ply(scene.handover(), run / "export" / "splats.ply")
    thumbnail(scene, run / "export" / "thumbnail.png", 64)
    contact_sheet(scene, run / "export" / "contact.png", size=SIZE)
    page = write_report(run)
    chromium.open(page, size=(1200, 900))
    assert chromium.ask("typeof dream3dViewer") == "undefined", "nothing is parsed before it is wanted"
    height = chromium.ask("document.getElementById('viewer').clientHeight")
    press(chromium, "View in 3D")
    chromium.wait(READY)
    chromium.picture()
    assert chromium.ask("document.getElementById('viewer').clientHeight") == height, (
        "the canvas does not push its frame"
    )
    assert chromium.ask(READY) == "ready" and chromium.ask("document.querySelectorAll('.viewer canvas').length") == 1
    shown = "[...document.querySelectorAll('.strip figure')].map((f) => f.hidden ? '' : f.dataset.step).join('')"
    assert chromium.ask(shown) == "300"
    chromium.ask(
        "{const s = document.querySelector('.frames input'); s.value = 1; s.dispatchEvent(new Event('input'))}"
    )
    assert chromium.ask(shown) == "200"
    chromium.ask("document.querySelector('.curve svg').dispatchEvent(new PointerEvent('pointermove', {clientX: 0}))")
    assert chromium.ask("document.querySelector('.curve figcaption .quiet').textContent").startswith("step 0: 10")
    assert not chromium.complaints
    assert all(re.match("file:|data:|blob:", url) for url in chromium.requests)


@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_a_report_fits_a_phone_in_both_colour_schemes(chromium, run, scheme, dark):  # noqa: F811
    chromium.open(write_report(run), size=(390, 844), scheme=scheme)
    assert chromium.ask("document.documentElement.scrollWidth") == 390 and not chromium.complaints
    picture = chromium.picture()
    assert (np.median(picture) < 60) == dark and picture.std() > 5


def test_a_file_that_is_no_asset_is_a_sentence(chromium, tmp_path):
    (tmp_path / "splats.ply").write_bytes(b"ply\nno")
    page = write_viewer(tmp_path / "viewer.html", splats=tmp_path / "splats.ply", mesh=None, title="x")
    chromium.open(page)
    chromium.wait(READY)
    assert chromium.ask(READY) == "failed"
    assert "splats.ply is no .ply of Gaussians" in chromium.ask("document.querySelector('[role=alert]').textContent")
