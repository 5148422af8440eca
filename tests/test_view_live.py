"""`view --live`: a run seen while it works, and who may look."""

import contextlib
import http.client
import math
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import finished
from test_run import quick

from dream3d import checkpoint, cli
from dream3d.cameras import FOVY, look_at
from dream3d.commands import view as command
from dream3d.commands.parser import stored
from dream3d.errors import Mistake
from dream3d.export.views import frames
from dream3d.view import control, path
from dream3d.view.watch import Watcher


@pytest.mark.parametrize("host", ["256.1.1.1", "192.0.2.1", "", "a" * 70])
def test_what_is_no_address_of_this_machine_is_not_listened_on(host):
    with pytest.raises(Mistake, match="cannot listen on"):
        command._reachable(host)
    command._reachable("127.0.0.1")


def test_live_without_its_package_says_what_to_install(tmp_path, monkeypatch, capsys):
    run = finished(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "viser", None)
    assert cli.main(["view", str(run), "--live"]) == 2
    assert 'pip install "dream3d[view]"' in capsys.readouterr().err


def save(root, step: int, scene) -> None:
    checkpoint.save(root, step, {"scene": scene.state()}, {"stage": 0, "index": step, "attempt": 0})


@pytest.fixture
def working(tmp_path):
    """A run with one checkpoint, and the scene in it."""
    from dream3d import assemble

    folder = quick(tmp_path / "run")
    folder.report("running", 4, total=10)
    scene = assemble.scene(folder.config.stages[0], 0, 0)
    save(folder.path / "checkpoints", 4, scene)
    yield folder.path, scene
    folder.close()


def test_the_newest_of_checkpoints_and_what_is_shown_is_watched(working):
    run, scene = working
    watcher = Watcher(run, stored(run))
    assert torch.equal(watcher.look().position, scene.position) and watcher.step == 4
    assert watcher.look() is None, "nothing new"
    with torch.no_grad():
        scene.position += 1
    save(run / "live", 6, scene)
    assert torch.equal(watcher.look().position, scene.position) and watcher.step == 6
    save(run / "checkpoints", 8, scene)
    (run / "checkpoints" / "step_0000008" / "state.safetensors").write_bytes(b"half")
    assert watcher.look() is None, "a damaged one is passed over"


def eye(azimuth: float, elevation: float, aspect: float = 1.0) -> SimpleNamespace:
    """A viser camera, by its documented attributes."""
    camera = look_at(*torch.deg2rad(torch.tensor([[azimuth], [elevation]])))
    m = camera.to_world[0, :3, :3].double().numpy()
    w = math.sqrt(max(0.0, 1 + np.trace(m))) / 2
    wxyz = np.array([w, *(np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]) / (4 * w))])
    return SimpleNamespace(wxyz=wxyz, position=camera.centre[0].numpy(), fov=math.radians(FOVY), aspect=aspect, look_at=np.zeros(3),
                           on_update=lambda act: None)  # fmt: skip


@pytest.fixture
def live(working):
    pytest.importorskip("viser", reason="viser is not installed: pip install dream3d[view]")
    from dream3d.view.live import Live

    with Live(working[0], stored(working[0]), "127.0.0.1", 18080) as found:
        yield found


def client(live, camera) -> list:
    """Somebody looks; the pictures that are sent."""
    shown = []
    scene = SimpleNamespace(set_background_image=lambda image, **how: shown.append(image))
    live._arrives(SimpleNamespace(client_id=1, camera=camera, scene=scene))
    return shown


def test_who_looks_sees_what_our_renderer_shows(live, working):
    shown = client(live, eye(40, 20))
    live.eyes[1].moved = -100.0
    assert live.turn() and len(shown) == 1 and not live.turn()
    true = frames(working[1], look_at(*torch.deg2rad(torch.tensor([[40.0], [20.0]])), size=256))[0]
    assert abs(shown[0].astype(float) - true).mean() < 0.05 and true.std() > 5
    assert control.read(working[0])["watch"] == 2 and "4 of 10 steps; step 4 is shown" in live.state.content


def test_a_movement_is_drawn_with_few_pixels_and_a_rest_with_all(live):
    shown = client(live, eye(0, 15, aspect=1.5))
    live.turn()
    shown.clear()
    live.eyes[1].moved, live.eyes[1].old, live.side = math.inf, True, 60.0
    live.turn()
    live.eyes[1].moved = -100.0
    live.turn()
    assert [picture.shape for picture in shown] == [(60, 90, 3), (256, 384, 3)]


def test_buttons_ask_the_run_and_mistakes_are_shown(live, working):
    run = working[0]
    live.turn()
    press(live.pause)
    live.turn()
    assert control.read(run)["pause"]
    live.looked = -100.0
    live.turn()
    assert live.pause.label == "Go on" and live.state.content.startswith("pausing")
    live._do(live._film)
    assert "needs a view" in live.said.content
    live._add(SimpleNamespace(camera=eye(0, 15)))
    live._add(SimpleNamespace(camera=eye(90, 15)))
    live.seconds.value, live.size.value = 0.1, 64
    live._do(live._film)
    made = run / "view" / "camera-path.mp4"
    assert made.stat().st_size > 500 and len(path.load(run / "view" / "camera-path.json")) == 2 and made.name in live.said.content


def press(button) -> None:
    """As the browser's click arrives."""
    for act in button._impl.update_cb:
        act(SimpleNamespace(client=None))


OWN = "127.0.0.1:18080"
ASKED = [(None, OWN, True), (f"http://{OWN}", OWN, True), ("http://localhost:18080", "localhost:18080", True),
         ("https://evil.example", OWN, False), ("null", OWN, False), ("file://", OWN, False), ("http://127.0.0.1:1", OWN, False),
         ("http://evil.example:18080", "evil.example:18080", False), (f"http://{OWN}.evil.example", OWN, False)]  # fmt: skip


def test_only_its_own_page_may_talk_to_it(live):
    """As browsers do it: who opens a websocket says where the page is from."""
    import viser
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    for origin, host, let in ASKED:
        headers = {"origin": origin.replace("18080", str(live.port))} if origin else {}

        def visit(host=host, headers=headers):
            return connect(f"ws://{host}".replace("18080", str(live.port)), sock=socket.create_connection(("127.0.0.1", live.port)),
                           additional_headers=headers, proxy=None, subprotocols=[f"viser-v{viser.__version__}"])  # fmt: skip

        if let:
            with visit() as found:
                assert len(found.recv(timeout=20)) > 20, origin
        else:
            with pytest.raises(InvalidStatus, match="403"):
                visit()


def test_its_files_are_for_its_own_names_and_no_frame(live):
    def fetch(host: str):
        line = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
        line.request("GET", "/", headers={"host": host})
        return line.getresponse()

    page = fetch(f"127.0.0.1:{live.port}")
    assert page.status == 200 and page.headers["x-frame-options"] == "DENY" and b"<html" in page.read().lower()
    assert fetch(f"evil.example:{live.port}").status == 403


def test_a_viser_that_cannot_be_told_is_not_served(working, monkeypatch):
    pytest.importorskip("viser", reason="viser is not installed: pip install dream3d[view]")
    from dream3d.view import live

    @contextlib.contextmanager
    def passed_by(hosts):
        yield []

    monkeypatch.setattr(live, "guarded", passed_by)
    with pytest.raises(Mistake, match="would answer the pages of other sites"):
        live.Live(working[0], stored(working[0]), "127.0.0.1", 18090)


def test_nobody_can_have_it_shared(live):
    assert live.server.request_share_url() is None and live.server.get_host() == "127.0.0.1"


def test_who_leaves_takes_back_only_the_watching(tmp_path):
    control.ask(tmp_path, watch=2.0, until=9.0)
    control.leave(tmp_path)
    assert not (tmp_path / control.NAME).exists()
    control.ask(tmp_path, scale=9.0, watch=2.0, until=9.0)
    control.leave(tmp_path)
    assert control.read(tmp_path) == {"pause": False, "scale": 9.0, "watch": None, "until": 0.0}
    (tmp_path / control.NAME).write_text("{")
    control.leave(tmp_path)
    assert (tmp_path / control.NAME).read_text() == "{"
