"""What the tests of published libraries share: a library of which two of three jobs are done, and places to put it."""

from dream3d import files
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, plan

PLACES = ["memory", "folder"]


def half_made(folder):
    made = Library(folder / "library")
    made.begin(plan([Row(i + 2, "a red car", seed=i) for i in range(3)], Asked(), folder))
    for job in made.jobs()[:2]:
        finish(made, job)
    files.write_text(made.path / "gallery.html", "<html>")
    return made


def finish(library, job):
    run = library.folder(job) / "run"
    library.open(job)
    for name in ("export/thumbnail.png", "export/mesh.glb", "checkpoints/step_1/x.safetensors", "config.yaml"):
        files.write_text(run / name, f"{name} of {job.seed}")
    files.write_text(library.folder(job) / "lease.1.json", "{}")
    at = run.relative_to(library.path).as_posix()
    made = {"thumbnail": f"{at}/export/thumbnail.png", "x": "../../etc/passwd"}
    told = {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seed": job.seed}
    library.finish(job, told | {"run": at, "files": made})


def empty(kind, folder):
    """An address at which nothing is."""
    if kind == "folder":
        return str(folder / "there")
    import fsspec

    fsspec.filesystem("memory").store.clear()
    return "memory://cars/one"
