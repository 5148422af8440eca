"""A run's folder on disk: its name, its lock, its status. Works before torch is imported."""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
import unicodedata
from pathlib import Path

from filelock import FileLock, Timeout

from dream3d import __version__, files
from dream3d.config import Config, load
from dream3d.errors import Mistake

RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # names of devices on Windows


def slug(prompt: str | list[str]) -> str:
    """A prompt as part of a folder's name: ASCII letters, digits and dashes, at most 48."""
    text = " ".join(prompt) if isinstance(prompt, list) else prompt
    ascii_text = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:48].strip("-") or "prompt"
    return f"{found}-" if RESERVED.fullmatch(found) else found


class Folder:
    """runs/<config>/<time>-<slug>-<hash>/, or exactly `out`. Opening it takes its lock; a second process is told who runs it."""

    def __init__(self, path: Path, config: Config, *, resume: bool = False):
        self.path = Path(os.path.realpath(path)) if ".." in path.parts else path  # out of what is not there yet, .. leads anywhere
        self.config = config
        self._open()
        try:
            self._claim(resume)
        except BaseException:
            self.discard()
            raise

    @staticmethod
    def place(config: Config) -> Path:
        """Where this configuration runs: `out`, else the newest folder it has run in, else a new one."""
        if config.values["out"]:
            try:
                return Path(config.values["out"]).expanduser()
            except RuntimeError:
                raise Mistake(f"there is no user whose home is {config.values['out']!r}", where=config.where("out"),
                              fix="give out= without ~") from None  # fmt: skip
        base, tail = Path("runs") / slug(config.values["name"]), f"-{slug(config.values['prompt'])}-{config.hash}"
        earlier = sorted(p for p in base.glob(f"*{tail}") if (p / "config.yaml").is_file())
        return earlier[-1] if earlier else base / (time.strftime("%Y%m%d-%H%M%S") + tail)

    def _open(self) -> None:
        """Make and lock the folder, noting what was there before."""
        self.made: list[Path] = []  # folders, the innermost first
        try:
            self.made = [folder for folder in (self.path, *self.path.parents) if not os.path.lexists(folder)]
            before = [] if self.made else os.listdir(self.path)
            self._refuse_foreign(before)
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = lock(self.path)
            self.had = set(os.listdir(self.path)) - ({".lock"} - set(before))
        except (OSError, ValueError) as error:
            self._unmake()
            reason = "a file has this name" if self._blocked() else getattr(error, "strerror", None) or error
            raise Mistake(f"the run folder cannot be made: {reason}", where=str(self.path),
                          fix="give out=FOLDER where you may write") from None  # fmt: skip

    def _blocked(self) -> bool:
        """Whether a file is in the way."""
        try:
            return self.path.is_file()
        except (OSError, ValueError):
            return False

    def _refuse_foreign(self, names: list[str]) -> None:
        others = sorted(name for name in names if name != ".lock" and not files.is_temporary(Path(name)))
        if others and not (self.path / "config.yaml").is_file():
            raise Mistake(f"the folder is not empty and not a run (it holds {others[0]!r})", where=str(self.path),
                          near=f"out={self.path}-2", fix="give another out=")  # fmt: skip

    @property
    def fresh(self) -> bool:
        """Whether this process has begun the run."""
        return "config.yaml" not in self.had

    def discard(self) -> None:
        """Take back all that this process has made in a fresh folder, the folders too; of a run there was, only a new lock."""
        for path in list(self.path.iterdir()) if self.path.is_dir() else []:
            if path.name not in self.had and (self.fresh or path.name == ".lock"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        self.close()
        self._unmake()

    def _unmake(self) -> None:
        for folder in self.made:
            try:
                folder.rmdir()
            except (OSError, ValueError):  # not made after all, or somebody else has put something there
                continue

    def _claim(self, resume: bool) -> None:
        """A run of another configuration that has got anywhere is left alone."""
        stored = self.path / "config.yaml"
        files.sweep(self.path)
        if resume:
            check_untouched(self.path, self.config)
        elif not stored.is_file() or not self._same(stored):
            self._begin(stored)

    def _same(self, stored: Path) -> bool:
        """Whether this is the run that began here: by its hash, or, since a newer version may know more settings, by its file. A
        status.json that cannot be read leaves config.yaml to say."""
        begun = self.status().get("config")
        if begun == self.config.hash:
            return True
        return (begun is None or untouched(self.path)) and load(str(stored)).hash == self.config.hash

    def _begin(self, stored: Path) -> None:
        kept = [p for p in (self.path / "checkpoints").glob("step_*") if not p.name.startswith("step_0000000")]
        if kept or self.status().get("step", 0) > 0 or self.status().get("state") == "done":
            raise Mistake(
                "this folder holds a run of another configuration",
                where=str(stored),
                fix="give another out=, or delete it",
            )
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)  # at step 0 there is nothing to lose
        files.write_text(stored, self.config.text())
        files.write_text(self.path / "command.txt", shlex.join(sys.argv) + "\n")
        self.report("running", 0, "preparing", file=digest(stored))

    def status(self) -> dict:
        """What status.json says; empty where there is none."""
        return read_status(self.path)

    def report(self, state: str, step: int, reason: str = "", **more) -> None:
        """Write status.json: state is running, done, failed or interrupted."""
        old = self.status()
        started = old.get("started", time.time())
        status = {
            "state": state,
            "step": step,
            "reason": reason,
            "pid": os.getpid(),
            "started": started,
            "updated": time.time(),
            "config": self.config.hash,
            **{key: old[key] for key in ("file", "changed") if key in old},
        }
        files.write_json(self.path / "status.json", {**status, "version": __version__, **more})

    def tell(self, line: str) -> None:
        """Append a line to log.txt."""
        files.append(self.path / "log.txt", f"{time.strftime('%H:%M:%S')} {line}\n")

    def metrics(self, entries: list[dict]) -> None:
        files.append(self.path / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))

    def rewind_metrics(self, step: int) -> None:
        """Drop what was measured from `step` on: it will be measured again."""
        path = self.path / "metrics.jsonl"
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            files.write_text(path, "".join(line + "\n" for line in lines if _step_of(line) < step))

    def close(self) -> None:
        self.lock.release()


def lock(path: Path, fix: str = "wait, or give out=ANOTHER") -> FileLock:
    """The folder's lock, taken. Raises Mistake where another process holds it."""
    taken = FileLock(path / ".lock")
    try:
        taken.acquire(timeout=0)
    except Timeout:
        pid = read_status(path).get("pid", "another process")
        raise Mistake(f"this run is already going on (process {pid})", where=str(path), fix=fix) from None
    return taken


def read_status(path: Path) -> dict:
    """What a run's status.json says; empty where there is none to read."""
    try:
        status = json.loads((path / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def check_untouched(path: Path, config: Config) -> None:
    """A run continues with the configuration that it began with."""
    if read_status(path).get("config", config.hash) != config.hash and not untouched(path):
        raise Mistake(
            "config.yaml is not the one this run began with",
            where=str(path / "config.yaml"),
            fix="put it back, or start anew with out=ANOTHER",
        )


def untouched(path: Path) -> bool:
    """Whether config.yaml is, byte for byte, what the run began with."""
    return read_status(path).get("file") == digest(path / "config.yaml")


def digest(path: Path) -> str:
    """Of a file, as status.json keeps that of config.yaml."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _step_of(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # the last line of a killed run may be torn
        return float("inf")


def last_metrics(run: Path) -> dict[str, int | float]:
    """What the last step measured; empty before the first."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    whole = [line for line in lines if _step_of(line) < float("inf")]
    return json.loads(whole[-1]) if whole else {}
