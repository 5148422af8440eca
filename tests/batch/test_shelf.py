"""A library for Blender's asset browser: what is asked of Blender, that only what is missing is; and what a real Blender finds there."""

import errno
import json
import uuid

import pytest
from PIL import Image
from solid_scenes import box

from dream3d.batch import shelf
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, plan
from dream3d.blender import assets, find
from dream3d.commands import batch
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named

PLACES = ("toys/cars", "toys", "")


@pytest.fixture
def library(tmp_path):
    """Three with a mesh, one without."""
    made = Library(tmp_path / "library")
    rows = [Row(i + 2, "a red car", seed=i, category=category, tags=("shiny",)) for i, category in enumerate([*PLACES, "flat"])]
    made.begin(plan(rows, Asked(), tmp_path))
    for job in made.jobs():
        run = made.open(job) / "run"
        (run / "export").mkdir(parents=True)
        if job.category != "flat":
            named("glb").write(box(), run / "export" / "mesh.glb", Ask({"prompt": job.prompt, "seed": job.seed, "recipe": "sds-mesh"}))
            Image.new("RGB", (64, 64), (200, 0, 0)).save(run / "export" / "thumbnail.png")
        told = {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seed": job.seed, "category": job.category}
        made.finish(job, told | {"recipe": "sds-mesh", "tags": list(job.tags), "run": run.relative_to(made.path).as_posix()})
    return made


@pytest.fixture
def asked(monkeypatch):
    """What Blender would be asked; its files are empty."""
    groups = []

    def ask(tasks, seconds):
        groups.append(tasks)
        for task in tasks:
            if task["name"].endswith(refused[0]) if refused else False:
                raise Mistake("Blender could not do it: so it is", code=3)
            task["target"].write_bytes(b"BLENDER")

    refused: list[str] = []
    monkeypatch.setattr(shelf, "ask", ask)
    monkeypatch.setattr(shelf, "check", lambda: None)
    return groups, refused


def test_only_what_is_missing_is_made_and_is_named_as_its_job(library, asked, tmp_path, capsys):
    groups, _ = asked
    assert batch.main(["blender", str(library.path)]) == 6  # one has no mesh
    said, jobs, to = capsys.readouterr().out, library.jobs(), library.path / "blender"
    assert "3 made, 0 were there, 1 left out" in said and f"{jobs[3].name}: it has no mesh" in said
    assert sorted(path.name for path in to.glob("*.blend")) == sorted(f"{job.name}.blend" for job in jobs[:3]) and len(groups) == 1
    assert groups[0][0]["tags"][0] == "shiny" and "car" in groups[0][0]["tags"] and groups[0][0]["picture"].name == "thumbnail.png"
    known = (to / assets.CATALOGUES).read_text()
    for task, path in zip(groups[0], ("Library/toys/cars", "Library/toys", "Library/sds-mesh"), strict=True):
        assert task["catalog"] == assets.catalogue(path) and f"{uuid.UUID(task['catalog'])}:{path}:" in known
    batch.main(["blender", str(library.path)])
    assert len(groups) == 1 and "0 made, 3 were there" in capsys.readouterr().out
    (to / f"{jobs[1].name}.blend").unlink()
    batch.main(["blender", str(library.path)])
    assert [task["name"] for task in groups[1]] == [jobs[1].name] and (to / assets.CATALOGUES).read_text() == known


def test_catalogues_that_were_removed_are_entered_again(library, asked):
    to = library.path / "b"
    list(shelf.shelf(library.path, library.catalogue(), to))
    before = (to / assets.CATALOGUES).read_text()
    (to / assets.CATALOGUES).unlink()
    assert {what for _, _, what in shelf.shelf(library.path, library.catalogue()[:3], to)} == {"there"}
    assert sorted((to / assets.CATALOGUES).read_text().splitlines()) == sorted(before.splitlines())


def test_a_full_disk_ends_it(library, asked, monkeypatch):
    """Instead of Blender's start for each of thousands."""
    asks = []

    def full(tasks, seconds):
        asks.append(tasks)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(shelf, "ask", full)
    with pytest.raises(Mistake, match="no space left"):
        list(shelf.shelf(library.path, library.catalogue(), library.path / "b"))
    assert len(asks) == 1


def test_one_that_blender_cannot_take_does_not_keep_the_others_back(library, asked):
    groups, refused = asked
    jobs = library.jobs()
    refused.append(jobs[1].id)
    found = {name: what for name, _, what in shelf.shelf(library.path, library.catalogue(), library.path / "b")}
    assert "so it is" in found[jobs[1].name] and [found[job.name] for job in (jobs[0], jobs[2])] == ["made", "made"]
    assert sorted(path.suffix for path in (library.path / "b").iterdir()) == [".blend", ".blend", ".txt"] and len(groups) == 4


@pytest.mark.parametrize("bad", [{"run": "../../x"}, {"name": "../x"}, {"name": ".x"}, {"run": None}, {"name": None, "run": 3}])
def test_records_lead_nowhere_else(library, asked, bad):
    (_, _, what), *_ = shelf.shelf(library.path, [library.catalogue()[0] | bad], library.path / "b")
    assert "no folder and no name" in what or "no mesh" in what
    assert not asked[0]


@pytest.mark.parametrize(("told", "path"), [("a/b", "a/b"), ("../..", ""), ("a//:b\n", "a/b"), ("x" * 99, "x" * 60), ("/" * 9, "")])
def test_categories_are_catalogues(told, path):
    assert shelf.home({"category": told}) == "/".join(filter(None, ("Library", path)))


def test_without_blender_it_says_what_to_install(library, monkeypatch, tmp_path):
    monkeypatch.setenv(find.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(Mistake, match="names no program") as told:
        batch.main(["blender", str(library.path)])
    assert find.VARIABLE in told.value.fix and not (library.path / "blender").exists()


@pytest.mark.slow
def test_a_real_blender_finds_them(library, tmp_path):
    try:
        find.command()
    except Mistake as mistake:
        pytest.skip(mistake.lines[0])
    import subprocess

    assert batch.main(["blender", str(library.path)]) == 6
    code = ("import bpy, json, sys\nfound = {}\nfor path in sys.argv[1:]:\n"
            "    with bpy.data.libraries.load(path, assets_only=True) as (there, here): here.objects = list(there.objects)\n"
            "    made = [o for o in here.objects if o.asset_data]\n"
            "    found[path] = [[o.name, o.asset_data.catalog_id, [t.name for t in o.asset_data.tags]] for o in made]\n"
            "print('FOUND' + json.dumps(found))")  # fmt: skip
    files = sorted(map(str, (library.path / "blender").glob("*.blend")))
    start = find.command()
    if start[0].endswith("blender"):
        pytest.skip("the look inside needs a Python that has bpy: DREAM3D_BLENDER_PYTHON")
    told = subprocess.run([start[0], "-c", code, *files], capture_output=True, text=True, timeout=300)
    found = json.loads(next(line for line in told.stdout.splitlines() if line.startswith("FOUND"))[5:])
    for job, category in zip(library.jobs(), ("toys/cars", "toys", "sds-mesh"), strict=False):
        ((name, catalogue, tags),) = found[str(library.path / "blender" / f"{job.name}.blend")]
        assert name == job.name and catalogue == assets.catalogue(f"Library/{category}") and {"shiny", "car"} <= set(tags)
