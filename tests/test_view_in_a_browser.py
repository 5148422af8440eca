"""`view --live` in a real browser: the scene of a run, from 127.0.0.1 alone."""

import math
import re
import threading
import time

import browser
import numpy as np
import pytest
import torch
from dream3d.renderers.gaussians import Gaussians
from test_pages_in_a_browser import off
from test_run import quick
from test_view_live import save

from dream3d import assemble
from dream3d.cameras import look_at
from dream3d.commands.parser import stored
from dream3d.export.views import frames
from dream3d.view import control

pytest.importorskip("viser", reason="viser is not installed: pip install dream3d[view]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.executable(), reason="no Chromium here: apt install chromium"),
]
SIZE = (800, 600)


@pytest.fixture
def served(tmp_path):
    """A run with a scene, and the page that shows it."""
    from dream3d.view.live import Live

    folder = quick(tmp_path / "run")
    folder.report("running", 4, total=10)
    scene: Gaussians = assemble.scene(folder.config.stages[0], 0, 0)
    with torch.no_grad():
        scene.log_scale -= 1  # something to tell left from right by
        scene.logit += 4
        scene.colour += torch.randn(scene.colour.shape, generator=torch.Generator().manual_seed(0))
    save(folder.path / "checkpoints", 4, scene)
    with Live(folder.path, stored(folder.path), "127.0.0.1", 18090) as live:
        thread = threading.Thread(target=live.serve)
        thread.start()
        yield live, scene
        live.closing = True
        thread.join(30)
    folder.close()


@pytest.fixture
def chromium(tmp_path):
    found = browser.Browser(tmp_path / "profile")
    yield found
    found.close()


def visit(chromium, address: str) -> None:
    chromium.requests, chromium.complaints = [], []
    chromium.call("Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False)
    chromium.call("Page.navigate", url=address)
    chromium.wait("document.readyState === 'complete' && document.querySelector('canvas') !== null", 90)


def test_a_page_shows_the_scene_and_asks_nobody_else(chromium, served):
    live, scene = served
    visit(chromium, live.address)
    true = frames(scene, look_at(torch.tensor([0.0]), torch.tensor([math.radians(15)]), size=(SIZE[1], SIZE[0])))[0].astype(float)
    middle = np.s_[160:450, 200:440]  # beside the panel
    assert true[middle].std() > 15
    end = time.monotonic() + 30
    while (far := off(chromium.picture().astype(float)[middle], true[middle])) > 3 and time.monotonic() < end:
        time.sleep(0.3)
    assert far < 3 and min(off(true[middle], true[middle][:, ::-1]), off(true[middle], true[middle][::-1])) > 10, far
    others = [url for url in chromium.requests if not re.match(rf"(http|ws)://127\.0\.0\.1:{live.port}/|data:|blob:", url)]
    assert not others, others[:3]
    assert live.server.request_share_url() is None
    assert "4 of 10 steps" in chromium.ask("document.body.innerText")


def test_a_button_of_the_page_pauses_the_run(chromium, served):
    live, _ = served
    visit(chromium, live.address)
    pause = "[...document.querySelectorAll('button')].find((b) => b.textContent.trim() === '{}')"
    chromium.wait(f"{pause.format('Pause')} !== undefined", 60)
    chromium.ask(pause.format("Pause") + ".click()")
    chromium.wait(f"{pause.format('Go on')} !== undefined", 60)
    assert control.read(live.run)["pause"]


def test_pages_from_elsewhere_get_no_answer(chromium, served, tmp_path):
    live, _ = served
    talk = (f"new Promise((done) => {{const s = new WebSocket('ws://127.0.0.1:{live.port}'); s.onopen = () => done('open'); "
            "s.onerror = () => done('refused')})")  # fmt: skip
    visit(chromium, live.address)
    assert chromium.ask(talk) == "open"
    (tmp_path / "other.html").write_text("<title>other</title>")
    chromium.call("Page.navigate", url=(tmp_path / "other.html").as_uri())
    chromium.wait("document.title === 'other' && document.readyState === 'complete'")
    assert chromium.ask(talk) == "refused"
