"""What the tests of several jobs in one process share: small libraries, and what is in their runs."""

import json

from dream3d.batch import plan
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row

SMALL = ("export={mesh: false, frames: 2, size: 32}", "cameras.batch=1", "keep={preview: 0, steps: 0, seconds: 0}")


def made(folder, prompts, *settings, config="sds-plane", seeds=(0,)):
    """A library of jobs that take a second."""
    library = Library(folder)
    found = plan.plan([Row(i, prompt) for i, prompt in enumerate(prompts, 2)], plan.Asked(config, seeds, (*SMALL, *settings)), folder)
    assert not found.wrong, found.wrong[0][1]
    library.begin(found)
    return library


def last(library, job):
    """The bytes of a job's last checkpoint, and its scalars step by step."""
    folder = sorted((library.run(job) / "checkpoints").glob("step_*"))[-1]
    rows = [json.loads(line) for line in (library.run(job) / "metrics.jsonl").read_text().splitlines()]
    return folder.name, (folder / "state.safetensors").read_bytes(), rows
