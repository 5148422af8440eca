"""The texts of a library's jobs, embedded before any of them begins: an encoder is loaded once for all, and no worker needs it again.

They lie in texts/, a file per text, named by a hash of the text and its encoder's weights; whoever removes them has them made again.
"""

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock

from dream3d import build
from dream3d.batch import disk
from dream3d.batch.library import Library
from dream3d.batch.plan import Job

MOST = 8 << 30  # bytes of texts that are made ahead; workers embed what is beyond


def folder(library: Path) -> Path:
    return library / "texts"


def wanted(library: Library, jobs: Iterable[Job]) -> bool:
    """Whether a recipe names a model of full size, told without torch: what ships with the project reads texts in no time."""
    shipped = {path.name for path in build.place("assets").iterdir()}
    texts = ((library.path / "recipes" / f"{name}.yaml").read_text(encoding="utf-8") for name in {job.recipe for job in jobs})
    return any(model.strip("'\"") not in shipped for text in texts for model in re.findall(r"\bmodel: ([^\s,}]+)", text))


def embed(library: Library, jobs: Iterable[Job], most: int = MOST) -> int:
    """Embed what is not there yet, up to `most` bytes; how many texts were asked for. One process at a time does; others then find them
    made. Jobs with a picture are left to their workers: each has a prior of its own."""
    from dream3d import assemble
    from dream3d.host import Loaded, asked, kind

    place = folder(library.path)
    place.mkdir(parents=True, exist_ok=True)
    loaded, seen = Loaded(texts(library.path)), set()
    with FileLock(place / ".lock"), ExitStack() as held:
        for i, job in enumerate(job for job in jobs if job.image is None):
            if i % 100 == 0 and (_size(place) >= most or disk.state(library.path)):  # nothing more can be kept
                break
            for stage in library.config(job).stages:
                if not kind(stage["prior"]).embeds:
                    continue
                if asked(stage, "cpu") != loaded.key:
                    held.close()  # before another encoder comes into memory
                    held.enter_context(loaded.get(stage, "cpu").source.held())
                if fresh := [text for text in assemble.told(stage) if (loaded.key, text) not in seen]:
                    loaded.prior.text(fresh)
                    seen |= {(loaded.key, text) for text in fresh}
    return len(seen)


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.glob("*.safetensors"))


def texts(library: Path):
    """Where a worker's priors find and keep embeddings."""
    from dream3d.priors import _texts

    return _texts.Texts(folder(library), _texts.folder())
