"""A run: stages in a folder, with progress, previews, checkpoints, resume and the export at the end."""

import platform
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numba
import torch
from PIL import Image

from dream3d import assemble, checkpoint, files
from dream3d.errors import Interrupted, Mistake
from dream3d.export.formats import named
from dream3d.folder import Folder, last_metrics
from dream3d.host import Host, Lost
from dream3d.interfaces import Representation, System
from dream3d.options import Export, Init, Keep
from dream3d.preview import strip
from dream3d.progress import Display, shares
from dream3d.trackers import tracking
from dream3d.view.control import Control

STREAK, RETRIES = 10, 3  # non-finite steps in a row that roll back, and how often before a run has diverged
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PACKAGES = ("torch", "numpy", "numba", "safetensors", "omegaconf", "trimesh", "scikit-image", "xatlas", "imageio-ffmpeg", "diffusers",
            "transformers", "peft")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, the files it made by name, the scene, and the scalars of its last step."""

    path: Path
    exports: dict[str, Path]
    scene: Representation
    metrics: dict[str, int | float]


class Run:
    """One configuration in one folder, from wherever it stopped to its last file. `host`: who makes many of them."""

    def __init__(self, folder: Folder, show: Display, host: Host | None = None):
        self.folder, self.config, self.show, self.host = folder, folder.config, show, host or Host()
        self.stages, self.seed = self.config.stages, self.config.values["seed"]
        self.device = device_named(self.config.values["device"])
        self.keep = Keep(**self.config.values["keep"])
        self.checkpoints = folder.path / "checkpoints"
        self.offsets = [sum(s["steps"] for s in self.stages[:i]) for i in range(len(self.stages) + 1)]
        self.stage = self.attempt = self.index = 0
        self.stop: int | None = None
        self.saved: dict | None = None  # what the last checkpoint of this process stands for
        self.control = Control(folder.path, self._tell)  # what somebody who watches asks

    @property
    def step(self) -> int:
        """Steps done, over all stages."""
        return self.offsets[self.stage] + self.index

    def go(self) -> Result:
        """Run what is left. Raises Interrupted, Lost, or Mistake with exit code 5 where it diverged."""
        begun = self.folder.status().get("started", 0.0)
        with _signals(self), tracking(self.folder.path, self.config.values, begun, self._tell) as self.trackers:
            self._start()
            system = self._resume() or self._enter(0, None)
            while True:
                system = self._optimise(system)
                if self.stage + 1 == len(self.stages):
                    break
                system = self._enter(self.stage + 1, system.scene.handover())
            self._save(system)
            exports = self._export(system.scene)
            if "mesh" in exports:
                self.trackers.mesh(exports["mesh"])
        self._heed()
        self.folder.report(
            "done", self.step, exports={k: str(v.relative_to(self.folder.path)) for k, v in exports.items()}
        )
        self.folder.tell(f"done: {', '.join(exports)}")
        return Result(self.folder.path, exports, system.scene, last_metrics(self.folder.path))

    # --- stages ---------------------------------------------------------------------------------------------------------------

    def _build(self) -> System:
        return assemble.stage(self.stages[self.stage], self.seed, self.device, self.stage, self.attempt, self.host.loaded)

    def _enter(self, stage: int, handed) -> System:
        """Begin a stage from a file or what the one before handed over, and save at once: a kill from here on comes back here."""
        self.stage, self.index = stage, 0
        handed = self._given() or handed
        self._heed()
        self.folder.rewind_metrics(self.step)
        system = self._build()
        system.begin(handed)
        self._tell(
            f"stage {stage + 1} of {len(self.stages)}: {assemble.describe(self.stages[stage], system, self.device)}"
        )
        self._save(system)
        return system

    def _given(self):
        """What the user has this stage start from."""
        init = Init(**self.stages[self.stage]["init"])
        if init.file is None:
            return None
        from dream3d.foreign.load import given

        data, said = given(init, self.stages[self.stage]["renderer"])
        for line in said:
            self._tell(f"{init.file}: {line}")
        return data

    def _resume(self) -> System | None:
        found = checkpoint.newest(self.checkpoints, self._tell)
        if found is None:
            return None
        about, state = found
        self.stage, self.index, self.attempt = assemble.place(about, self.stages, self.folder.path)
        system = self._build()
        assemble.restore(system, state, self.folder.path)
        self.folder.rewind_metrics(self.step)
        self._tell(f"continuing from step {self.step}: {assemble.describe(self.stages[self.stage], system, self.device)}")
        return system

    def _roll_back(self) -> System:
        """The last good checkpoint again, with other randomness."""
        tried = self.attempt + 1
        reason = f"{STREAK} steps in a row had non-finite gradients (step {self.step})"
        if tried > RETRIES:
            raise Mistake(f"the run diverged: {reason}", where=str(self.folder.path), code=5,
                          fix="lower the renderer's learning rates, or set clip")  # fmt: skip
        about, state = checkpoint.newest(self.checkpoints, self._tell)
        self.stage, self.index, self.attempt = about["stage"], about["index"], tried
        self._tell(f"{reason}: rolled back to step {self.step} (attempt {tried + 1})")
        system = self._build()
        system.restore(state)
        self.folder.rewind_metrics(self.step)
        return system

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def _optimise(self, system: System) -> System:
        """The steps of this stage."""
        total, pending, seconds = self.stages[self.stage]["steps"], [], {}
        saved = reported = time.monotonic()
        self.show.begin(f"stage {self.stage + 1}/{len(self.stages)}", total, self.index)
        while self.index < total:
            if self.control.heed(self, system):
                pending = self._flush(pending)
                self.control.wait(self, system)
            if self.keep.preview and self.index % self.keep.preview == 0:
                self._preview(system)
            log = system.step(self.index)
            self._heed()
            self.index += 1
            pending.append({"step": self.step - 1, "stage": self.stage, **log.scalars})
            seconds = {part: seconds.get(part, 0.0) + s for part, s in log.seconds.items()}
            self.show.step(self.index, f"clipped {100 * log.scalars.get('clipped', 0):.0f}%  {shares(seconds)}")
            if system.optimizer.streak >= STREAK:
                pending.clear()
                system = self._roll_back()
            elif self.stop or self._due(saved) and not log.skipped:
                pending = self._flush(pending)
                self._save(system)
                saved = time.monotonic()
            if time.monotonic() - reported > 2:
                pending, reported = self._flush(pending), time.monotonic()
                self.folder.report("running", self.step, total=self.offsets[-1])
            self._check_stop()
        self._flush(pending)
        self.control.end()
        self._preview(system)
        return system

    def _due(self, saved: float) -> bool:
        by_step = self.keep.steps and self.index % self.keep.steps == 0
        return bool(by_step or self.keep.seconds and time.monotonic() - saved > self.keep.seconds)

    def _flush(self, pending: list[dict]) -> list[dict]:
        self.folder.metrics(pending)
        self.trackers.scalars(pending)
        return []

    def _save(self, system: System) -> None:
        about = {"stage": self.stage, "index": self.index, "attempt": self.attempt}
        if about == self.saved:
            return
        self._heed()
        self.saved = about
        checkpoint.save(self.checkpoints, self.step, system.state(), about, keep=self.keep.checkpoints)
        self.folder.report("running", self.step, total=self.offsets[-1])

    def _preview(self, system: System) -> None:
        picture = (strip(system, min(self.index, system.steps - 1)).cpu() * 255).round().byte().numpy()
        for name in (f"step_{self.step:06d}.png", "latest.png"):
            with files.replacing(self.folder.path / "previews" / name) as path:
                Image.fromarray(picture).save(path, format="PNG")
        self.trackers.image(self.step, "previews", self.folder.path / "previews" / f"step_{self.step:06d}.png")

    def _heed(self) -> None:
        """Take up a signal that the host has heard. Raises Lost where the folder is another's by now, before anything is written."""
        if self.host.lost():
            raise Lost
        self.stop = self.stop or self.host.stop()

    def _check_stop(self) -> None:
        self._heed()
        if self.stop:
            raise Interrupted(self.stop)

    # --- before and after -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for name in self.config.values["export"]["formats"] or []:
            named(name).check()  # what is missing is said now, not at the end
        torch.set_deterministic_debug_mode("error" if self.device == "cpu" else "default")  # its twin imports the compiler, 2 s
        one_team_of_threads()
        files.write_json(self.folder.path / "environment.json", _environment(self.device))
        self.folder.report("running", self.folder.status().get("step", 0), total=self.offsets[-1])

    def _export(self, scene: Representation) -> dict[str, Path]:
        from dream3d.export import about
        from dream3d.export.asset import export, pages
        from dream3d.export.noted import noted

        settings = Export(**self.config.values["export"])
        self.show.begin("export", 100)

        def progress(what: str, share: float) -> None:
            self.show.step(round(100 * share), what)
            self._check_stop()

        facts = about.of_run(self.config)
        with torch.no_grad(), noted(self._tell):
            made = export(scene, self.folder.path / "export", settings, extras=facts, progress=progress)
        ends = {"state": "done", "step": self.step, "reason": "", "updated": time.time()}  # what status.json says next
        return made | pages(self.folder.path, made, self.config.values["prompt"], status=ends)

    def _tell(self, text: str) -> None:
        self.show.line(text)
        self.folder.tell(text)


@contextmanager
def _signals(run: Run):
    """The first SIGINT or SIGTERM asks the loop to save and stop; a second SIGINT stops at once."""

    def ask(number, frame):
        if run.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        run.stop = number

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def one_team_of_threads() -> None:
    """numba's first parallel call would change torch's number of threads, and with it the last bits of what comes after: a run and its
    continuation would differ where the two numbers do (OMP_NUM_THREADS without NUMBA_NUM_THREADS)."""
    count = torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)


def device_named(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Mistake(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}", where="device", fix="device=cpu"
        ) from None
    return name


def _environment(device: str) -> dict:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    hardware = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return {"python": sys.version.split()[0], "platform": platform.platform(), "device": device, "hardware": hardware,
            "threads": torch.get_num_threads(), "packages": found}  # fmt: skip
