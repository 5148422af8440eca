"""The scene of a run as it is now: the newest of what it has saved and of what it shows to who watches."""

from pathlib import Path

from safetensors import SafetensorError

from dream3d import assemble, checkpoint
from dream3d.config import Config
from dream3d.errors import Mistake
from dream3d.interfaces import Representation
from dream3d.view.control import LIVE


class Watcher:
    """Reads live/ and checkpoints/; a file that is replaced meanwhile is read again the next time."""

    def __init__(self, run: Path, config: Config):
        self.run, self.config = Path(run), config
        self.seen: tuple[str, int] | None = None
        self.step = -1

    def look(self) -> Representation | None:
        """The newest scene, on the CPU; None where there is none newer than the last one."""
        for mark, folder in self._found():
            if mark == self.seen:
                return None
            try:
                about, state = checkpoint.read(folder)
                scene = assemble.saved(self.config, about, state, self.run)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError, Mistake):
                continue  # just being replaced, or damaged: the one before
            self.seen, self.step = mark, int(mark[0].removeprefix("step_").rstrip("b"))
            return scene.requires_grad_(False)
        return None

    def _found(self) -> list[tuple[tuple[str, int], Path]]:
        """Newest first: by step, of the same step what was written last."""
        found = []
        for root in (self.run / LIVE, self.run / "checkpoints"):
            for folder in checkpoint.listed(root):
                try:
                    found.append(((folder.name, (folder / "state.json").stat().st_mtime_ns), folder))
                except OSError:
                    continue
        return sorted(found, key=lambda entry: entry[0], reverse=True)
