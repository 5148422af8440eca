"""`view`: pages of runs and files; a run seen while it works."""

import contextlib
import http.client
import json
import math
import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from export_runs import SMALL, call, discs, run_of
from pages import blocks, check, finished
from test_run import quick
from test_viewer import clip

from dream3d import checkpoint, cli
from dream3d.cameras import FOVY, look_at
from dream3d.commands import view as command
from dream3d.commands.parser import stored
from dream3d.errors import Mistake
from dream3d.export import asset
from dream3d.export.formats.sequence import fewer
from dream3d.export.views import frames
from dream3d.view import control, path, still
from dream3d.view.watch import Watcher


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


def test_a_run_is_shown_by_its_files_and_its_page_is_kept(run, capsys):
    page, code = run / "export" / "viewer.html", cli.main(["view", str(run), "--no-open"])
    assert code == 0 and capsys.readouterr().out == f"{page}\n"
    held = {"splats": "splats.ply", "mesh": "mesh.glb"}
    assert blocks(check(page)) == {name: (run / "export" / file).read_bytes() for name, file in held.items()}
    old = page.stat().st_mtime_ns
    assert cli.main(["view", str(run), "--no-open"]) == 0 and page.stat().st_mtime_ns == old
    later = page.stat().st_mtime + 10
    os.utime(run / "export" / "mesh.glb", (later, later))
    assert cli.main(["view", str(run), "--no-open"]) == 0 and page.stat().st_mtime_ns != old


def test_a_run_that_writes_other_files_gets_a_page_too(tmp_path, capsys):
    others = {"export": SMALL["export"] | {"formats": ["stl"], "mesh": False}}
    run = run_of(tmp_path / "run", {"type": "gaussians", "count": 200}, handed=discs(), **others)
    assert cli.main(["view", str(run), "--no-open"]) == 0
    page = run / "export" / "viewer.html"
    assert capsys.readouterr().out == f"{page}\n" and {"splats", "mesh"} == set(blocks(check(page)))
    assert cli.main(["view", str(run), "--no-open", "--out", str(tmp_path / "a.html")]) == 2 and not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("host", ["256.1.1.1", "192.0.2.1", "", "a" * 70])
def test_what_is_no_address_of_this_machine_is_not_listened_on(host):
    with pytest.raises(Mistake, match="cannot listen on"):
        command._reachable(host)
    command._reachable("127.0.0.1")


def test_a_page_is_opened_where_there_is_a_browser(run, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
    assert cli.main(["view", str(run)]) == 0
    assert opened == [(run / "export" / "viewer.html").resolve().as_uri()] and "open file://" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["splats.ply", "mesh.glb"])
def test_a_file_is_shown_as_it_is(run, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["view", str(run / "export" / name), "--no-open"]) == 0
    page = tmp_path / f"{name[:-4]}-viewer.html"
    assert blocks(check(page)) == {name.split(".")[0]: (run / "export" / name).read_bytes()}


def test_other_files_are_turned_into_what_pages_hold(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    page = still.of_file(tmp_path / "a.obj", tmp_path / "a.html")
    assert blocks(check(page))["mesh"][:4] == b"glTF"
    assert still.of_file(page, tmp_path / "b.html") == page


def sequence(folder, **changes):
    found = clip(folder, [0, 1, 2])
    told = {"version": 1, "kind": "splats", "up": "z", "frames": [{"file": p.name, "time": i / 2} for i, p in enumerate(found)]}
    (folder / "sequence.json").write_text(json.dumps(told | changes))
    return folder / "sequence.json"


def test_a_sequence_is_played(tmp_path, run):
    page = still.of_file(sequence(tmp_path), tmp_path / "a.html")
    assert b'"times":[0.0,0.5,1.0]' in blocks(check(page))["moments"]
    (run / "export" / "sequence").mkdir()
    sequence(run / "export" / "sequence")
    assert {"splats", "moments", "mesh"} == set(blocks(check(still.of_run(run))))
    made = {"splats": run / "export" / "splats.ply", "sequence": run / "export" / "sequence" / "sequence.json"}
    assert "moments" in blocks(check(asset.pages(run, made, "x")["viewer"])), "and where a run is exported"
    made["sequence"].write_text("{}")
    assert "moments" not in blocks(check(asset.pages(run, made, "x")["viewer"])), "of meshes it is none of the viewer's"


def test_gaussians_that_move_play_in_the_page_of_their_run(tmp_path, capsys, monkeypatch):
    run = run_of(tmp_path / "run", {"type": "dynamic_gaussians", "count": 200}, handed=discs(), stirred="field")
    page, frames_of = run / "export" / "viewer.html", run / "export" / "sequence"
    code, told, said = call(["export", run], capsys)
    assert code == 0 and str(frames_of / "sequence.json") in told.splitlines(), said
    assert len([*frames_of.glob("frame_*.ply")]) == SMALL["export"]["moments"]
    assert b'"times":[0.0,0.5,1.0]' in blocks(check(page))["moments"]
    assert call(["export", run, "--format", "glb"], capsys)[0] == 0
    assert "moments" in blocks(check(page)), "whatever else is written later"
    monkeypatch.setattr("dream3d.export.asset.fewer", lambda clip: fewer(clip, 2 * 4 * len(clip.frames[0].position) * 17))
    code, _, said = call(["export", run], capsys)
    assert code == 0 and "note: sequence: 2 of 3 moments" in said and len([*frames_of.glob("frame_*.ply")]) == 2


BAD = [{"kind": "mesh"}, {"up": "y"}, {"frames": []}, {"frames": 3}, {"frames": [{"file": "../a.ply", "time": 0}]},
       {"frames": [{"file": "/a.ply", "time": 0}]}, {"frames": [{"file": 3, "time": 0}]}, {"frames": [{"file": "a.ply", "time": "0"}]},
       {"frames": [{"file": "a.ply", "time": -1}]}]  # fmt: skip


@pytest.mark.parametrize("changes", BAD)
def test_what_is_no_sequence_is_said(tmp_path, changes):
    with pytest.raises(Mistake, match="sequence.json is no sequence of Gaussians"):
        still.sequence(sequence(tmp_path, **changes))


WRONG = [([], "RUN_OR_FILE"), (["nothing-here"], "neither a run nor a file"), (["x", "--live"], "not a run"),
         (["x", "--prot", "3"], "--port"), (["x", "--port", "3"], "--live --port 3"), (["x", "--listen", "0.0.0.0"], "is of --live"),
         (["x", "--live", "--out", "a.html"], "--live writes none"), ([__file__, "--live"], "test_view_command.py is a file"),
         (["x", "--out", "a.txt"], "--out x-viewer.html"), (["x.glb", "--out", "."], "--out x-viewer.html"),
         (["x", "--live", "--port", "a"], "--port: expected a whole number, but it is 'a'")]  # fmt: skip


@pytest.mark.parametrize("words, said", WRONG)
def test_mistakes_are_sentences(words, said, capsys):
    assert cli.main(["view", *words]) == 2
    assert said in capsys.readouterr().err


def test_live_without_its_package_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert cli.main(["view", str(run), "--live"]) == 2
    assert 'pip install "dream3d[view]"' in capsys.readouterr().err


# --- a run that works -----------------------------------------------------------------------------------------------------------------


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
