"""A library that was moved: runs that began from a picture go on, and nothing else about them may have changed."""

import json
import shutil

import pytest
from PIL import Image

from dream3d import files
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, plan
from dream3d.errors import Mistake
from dream3d.folder import Folder


@pytest.fixture
def library(tmp_path):
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "duck.png")
    made = Library(tmp_path / "before" / "library")
    rows = [Row(2, "a red car", seed=0, image="duck.png")]
    found = plan(rows, Asked("mvsds-gaussian", overrides=("steps=7",)), tmp_path)
    assert not found.wrong
    made.begin(found)
    assert made.jobs()[0].image
    return made


def begun(library):
    """A run that has got to step 5."""
    (job,) = library.jobs()
    library.open(job)
    folder = Folder(library.run(job), library.config(job, {"out": str(library.run(job))}))
    folder.report("interrupted", 5)
    folder.close()
    return job


def moved(library, tmp_path):
    (tmp_path / "after").mkdir()
    shutil.move(library.path, tmp_path / "after" / "library")
    return Library(tmp_path / "after" / "library")


def test_a_run_goes_on_where_the_library_lies_now(library, tmp_path):
    job = begun(library)
    there = moved(library, tmp_path)
    folder = Folder(there.run(job), there.config(job, {"out": str(there.run(job))}))
    folder.close()
    assert folder.status()["step"] == 5 and str(there.path) in (there.run(job) / "config.yaml").read_text()


@pytest.mark.parametrize("change", ["another picture", "another setting", "touched"])
def test_another_run_is_still_another(library, tmp_path, change):
    job = begun(library)
    there = moved(library, tmp_path)
    stored = there.run(job) / "config.yaml"
    text = stored.read_text()
    changed = {"another picture": text.replace(job.image, "0123456789abcdef.png"), "another setting": text.replace("steps: 7", "steps: 8"),
               "touched": text + "\n# by hand\n"}[change]  # fmt: skip
    assert changed != text
    files.write_text(stored, changed)
    if change != "touched":
        from dream3d.folder import digest, read_status

        files.write_text(there.run(job) / "status.json", json.dumps({**read_status(there.run(job)), "file": digest(stored)}))
    there.config(job, {"out": str(there.run(job))})
    assert stored.read_text() == changed
    if change != "touched":
        files.write_text(there.run(job) / "status.json", json.dumps({"step": 5, "config": "another", "file": digest(stored)}))
        with pytest.raises(Mistake, match="another configuration"):
            Folder(there.run(job), there.config(job, {"out": str(there.run(job))}))
