"""A page of a run that works: its scene from any side, drawn by our own renderer in this process, and what may be asked of the run.

This process only reads the run's folder and writes control.json: either may be killed at any time, and the other goes on.
"""

import contextlib
import dataclasses
import math
import queue
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import viser
from jaxtyping import Float, UInt8
from numpy import ndarray

from dream3d.cameras import DISTANCE, FOVY
from dream3d.config import Config
from dream3d.errors import Mistake
from dream3d.export import views
from dream3d.folder import read_status
from dream3d.interfaces import Representation
from dream3d.types import Cameras
from dream3d.ui.guard import LOCAL
from dream3d.view import control, path
from dream3d.view.film import KINDS, film
from dream3d.view.guard import guarded
from dream3d.view.watch import Watcher

HERE = ("127.0.0.1", "localhost", "::1")  # where only this machine reaches it
WATCH, LEASE = 2.0, 30.0  # seconds between scenes that the run shows, and for which it does so without being asked again
LOOK, REST = 0.5, 0.25  # seconds between looks at the folder, and without a movement until a picture has all its pixels
KNOWN = "1.1.1"  # a viser whose server can be told whom to answer
FAST = 0.08  # seconds that a picture of a movement may take
SMALLEST, SIDE, LARGEST = 48, 256, 1024  # pixels of a picture's shorter side


@dataclasses.dataclass
class Eye:
    """Somebody who looks: the browser's handle, whether the picture is old, whether it has few pixels, and when they moved."""

    client: Any
    old: bool = True
    coarse: bool = True
    moved: float = 0.0


class Server(viser.ViserServer):
    """On this machine alone: who looks cannot have it make itself known to viser's share server."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


class Live:
    """`with Live(run, config, host, port) as live: live.serve()`. Everything that touches the scene happens in the thread of serve()."""

    def __init__(self, run: Path, config: Config, host: str, port: int):
        self.run, self.config = Path(run), config
        self.watcher, self.scene = Watcher(run, config), None
        self.todo: queue.Queue[Callable[[], None]] = queue.Queue()
        self.eyes: dict[int, Eye] = {}
        self.views: list[path.View] = []
        self.side, self.leased, self.looked, self.closing = float(SIDE // 2), -math.inf, -math.inf, False
        with contextlib.redirect_stdout(sys.stderr):  # it says where it listens, which we do
            with guarded(LOCAL if host in HERE else None) as taken:
                self.server = Server(host=host, port=port, label=f"dream3d: {self.run.name}", verbose=False)
            if not taken:
                self.server.stop()
                raise Mistake(f"viser {viser.__version__} would answer the pages of other sites too", where="--live",
                              fix=f"pip install viser=={KNOWN}")  # fmt: skip
        self.port = self.server.get_port()
        self.address = f"http://{host}:{self.port}"
        self._panel()
        self.server.on_client_connect(lambda client: self.todo.put(lambda: self._arrives(client)))
        self.server.on_client_disconnect(lambda client: self.todo.put(lambda: self.eyes.pop(client.client_id, None) and None))

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *error) -> None:
        control.leave(self.run)
        with contextlib.redirect_stdout(sys.stderr):
            self.server.stop()

    def serve(self) -> None:
        """Until Ctrl-C."""
        try:
            while not self.closing:
                if not self.turn():
                    time.sleep(0.02)
        except KeyboardInterrupt:
            pass

    def turn(self) -> bool:
        """Do what there is to do now; whether there was anything."""
        busy = False
        while not self.todo.empty():
            self._do(self.todo.get())
            busy = True
        now = time.monotonic()
        if now - self.looked > LOOK:
            self.looked = now
            self._look()
        for eye in list(self.eyes.values()):
            if self.scene is not None and (eye.old or eye.coarse and now - eye.moved > REST):
                self._draw(eye)
                busy = True
        return busy

    def _do(self, action: Callable[[], None]) -> None:
        """What a button asked for; a mistake is shown where it was pressed."""
        try:
            action()
        except Mistake as mistake:
            self.said.content = f"**{mistake.problem}** {mistake.fix}"

    # --- the run ------------------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        status = read_status(self.run)
        if status.get("state") == "running" and time.monotonic() - self.leased > LEASE / 3:
            self.leased = time.monotonic()
            control.ask(self.run, watch=WATCH, until=time.time() + LEASE)
        if (scene := self.watcher.look()) is not None:
            self.scene = scene
            self._all_old()
            self.time.visible = type(scene).clip is not Representation.clip
        self._tell(status)

    def _tell(self, status: dict) -> None:
        try:
            asked = control.read(self.run)
        except ValueError:
            asked = {}
        paused = bool(asked.get("pause"))
        total = sum(stage["steps"] for stage in self.config.stages)
        state = status.get("state") or "unknown"
        if state == "running" and (paused or status.get("reason") == "paused"):
            state = "paused" if status.get("reason") == "paused" else "pausing"
        shown = f"step {self.watcher.step:,} is shown" if self.scene is not None else "nothing to show yet"
        changed = [e for e in status.get("changed") or [] if isinstance(e, dict)]
        more = f"; changed while it went: {len(changed)} times" if changed else ""
        words = f"{state}, {int(status.get('step') or 0):,} of {total:,} steps; {shown}{more}"
        if words != self.state.content:
            self.state.content = words
        self.pause.label = "Go on" if paused else "Pause"

    # --- pictures -----------------------------------------------------------------------------------------------------------------

    def _arrives(self, client) -> None:
        self.eyes[client.client_id] = eye = Eye(client)

        def moves(_) -> None:
            eye.old, eye.moved = True, time.monotonic()

        client.camera.on_update(moves)

    def _all_old(self, *_) -> None:
        for eye in self.eyes.values():
            eye.old = True

    def _draw(self, eye: Eye) -> None:
        """Few pixels while it moves, as many as asked for when it rests."""
        moving = time.monotonic() - eye.moved < REST
        side = min(self.side, float(self.sharp.value)) if moving else float(self.sharp.value)
        eye.old = False
        began = time.monotonic()
        picture = drawn(self.scene, eye.client.camera, side, float(self.time.value))
        took = time.monotonic() - began
        eye.coarse = moving
        if moving:
            self.side = float(np.clip(side * math.sqrt(FAST / max(took, 1e-3)), SMALLEST, LARGEST))
        eye.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=70 if moving else 92)

    # --- the panel ----------------------------------------------------------------------------------------------------------------

    def _panel(self) -> None:
        server, gui = self.server, self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False)
        server.scene.set_up_direction("+z")
        tilt = math.radians(15)
        server.initial_camera.position = (0.0, -DISTANCE * math.cos(tilt), DISTANCE * math.sin(tilt))
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.fov = math.radians(FOVY)
        with gui.add_folder("Run"):
            self.state = gui.add_markdown("")
            self.pause = gui.add_button("Pause", hint="Before the next step, saved; it stays so until it goes on")
            self.pause.on_click(self._later(lambda: control.ask(self.run, pause=not control.read(self.run).get("pause", False))))
            if (scale := configured(self.config)) is not None:
                self.scale = gui.add_number("guidance.scale", scale, min=0.0, max=control.GREATEST, step=0.1)
                use = gui.add_button("Use this scale", hint="From the next step on; the run is then not what its configuration says")
                use.on_click(self._later(lambda: control.ask(self.run, scale=float(self.scale.value))))
                gui.add_button("As configured").on_click(self._later(lambda: control.ask(self.run, scale=None)))
        with gui.add_folder("Picture"):
            self.time = gui.add_slider("Time", 0.0, 1.0, 0.01, 0.0, visible=False)
            self.sharp = gui.add_slider("Pixels", 64, LARGEST, 32, SIDE, hint="Of the shorter side, at rest")
            for handle in (self.time, self.sharp):
                handle.on_update(self._later(self._all_old))
        with gui.add_folder("Camera path"):
            add = gui.add_button("Add this view")
            add.on_click(lambda event: self.todo.put(lambda: self._add(event.client)))
            gui.add_button("Forget all").on_click(self._later(self._forget))
            self.closed = gui.add_checkbox("Closed", False, hint="Back to the first view")
            self.seconds = gui.add_number("Seconds", 4.0, min=0.1, max=60.0, step=0.1)
            self.size = gui.add_slider("Side", 64, LARGEST, 32, 512)
            self.kind = gui.add_dropdown("File", KINDS)
            gui.add_button("Render").on_click(self._later(self._film))
            self.said = gui.add_markdown("no views")

    def _later(self, action: Callable[[], None]) -> Callable:
        """For callbacks, which viser calls in threads of its own."""
        return lambda *_: self.todo.put(action)

    def _add(self, client) -> None:
        camera = client.camera
        if len(self.views) == path.MOST:
            raise Mistake(f"a path has at most {path.MOST} views")
        place, target = (tuple(map(float, v)) for v in (camera.position, camera.look_at))
        self.views.append(path.View(place, target, math.degrees(float(camera.fov)), float(self.time.value)))
        self.said.content = f"{len(self.views)} views"

    def _forget(self) -> None:
        self.views.clear()
        self.said.content = "no views"

    def _film(self) -> None:
        """Into the run's view folder, with the path as JSON beside it."""
        if self.scene is None:
            raise Mistake("there is no scene yet")
        side = int(self.size.value) // 2 * 2
        around = path.cameras(self.views, path.frames_of(float(self.seconds.value)), size=(side, side), closed=bool(self.closed.value))
        path.save(self.views, self.run / "view" / "camera-path.json")

        def tell(share: float) -> None:
            self.said.content = f"drawing: {100 * share:.0f} %"

        made = film(self.scene, around, self.run / "view" / f"camera-path.{self.kind.value}", kind=self.kind.value, tell=tell)
        self.said.content = f"{made.name} lies in {made.parent.name}/"


def configured(config: Config) -> float | None:
    """The scale that the first formula with one begins with."""
    for stage in config.stages:
        for entry in stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]:
            scale = entry.get("scale") if isinstance(entry, dict) else None
            scale = scale.get("start") if isinstance(scale, dict) else getattr(scale, "start", scale)
            if isinstance(scale, int | float) and not isinstance(scale, bool):
                return float(scale)
    return None


def drawn(scene: Representation, camera: Any, side: float, moment: float) -> UInt8[ndarray, "H W 3"]:
    """What a viser camera sees, `side` pixels on the shorter side, over white."""
    aspect = float(np.clip(camera.aspect or 1.0, 0.2, 5.0))
    height, width = (side, side * aspect) if aspect >= 1 else (side / aspect, side)
    return views.frames(scene, seen(camera, (max(8, round(height)), max(8, round(width))), moment))[0]


def seen(camera: Any, size: tuple[int, int], moment: float) -> Cameras:
    """A viser camera (OpenCV axes, its lens spans the height) as one of ours."""
    to_world = torch.eye(4)
    to_world[:3, :3] = torch.from_numpy(_rotation(np.asarray(camera.wxyz, np.float64))).float()
    to_world[:3, 3] = torch.from_numpy(np.asarray(camera.position, np.float64)).float()
    away = -to_world[:3, 2]
    return path.seen(to_world[None], torch.tensor([float(camera.fov)]), size, azimuth=torch.atan2(away[0], -away[1])[None],
                     elevation=torch.asin(away[2].clamp(-1, 1))[None], time=torch.tensor([float(moment)]))  # fmt: skip


def _rotation(wxyz: Float[ndarray, "4"]) -> Float[ndarray, "3 3"]:
    w, x, y, z = wxyz / max(float(np.linalg.norm(wxyz)), 1e-12)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])  # fmt: skip
