"""Libraries pushed and pulled over what others did, or while somebody is at work: nothing of either side is lost, and nothing that a list
there says leads out of the folder."""

import json

import published
import pytest

from dream3d import files
from dream3d.batch import place as places
from dream3d.batch import publish
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.place import Place, public, shown
from dream3d.batch.plan import Asked, plan
from dream3d.batch.publish import pull, push
from dream3d.commands import batch
from dream3d.errors import Mistake

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def library(tmp_path):
    return published.half_made(tmp_path)


@pytest.fixture(params=published.PLACES)
def address(request, tmp_path):
    return published.empty(request.param, tmp_path)


def other(tmp_path, prompts=("a blue duck",), done=1, name="other"):
    made = Library(tmp_path / name)
    made.begin(plan([Row(i + 2, prompt, seed=0) for i, prompt in enumerate(prompts)], Asked(), tmp_path))
    for job in made.jobs()[:done]:
        published.finish(made, job)
    return made


def kept(folder, job):
    return (folder / "jobs" / job.id[:2] / job.name / "run/export/mesh.glb").read_text()


def names(made):
    """What the catalogue says, sorted."""
    return sorted(json.loads(line)["name"] for line in (made.path / "catalog.jsonl").read_text().splitlines())


# --- nothing is lost ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pushed", [True, False])
def test_a_push_over_another_library_is_refused(library, address, tmp_path, pushed):
    """Published there, or at work there."""
    there = other(tmp_path)
    if pushed:
        list(push(there, address))
    else:
        address = str(there.path)
    with pytest.raises(Mistake, match="1 jobs lie there that this library does not have") as told:
        list(push(library, address))
    assert "batch pull" in told.value.near and [row["prompt"] for row in Place(address).rows("jobs.jsonl")] == ["a blue duck"]


def test_a_push_onto_itself_is_refused(library, tmp_path):
    (tmp_path / "link").symlink_to(library.path)
    for itself in (str(library.path), f"{library.path}/", f"file://{library.path}", str(tmp_path / "link")):
        with pytest.raises(Mistake, match="the library itself"):
            list(push(library, itself))
    assert not (library.path / places.LIST).exists()


def test_a_folder_of_something_else_is_left_alone(library, address, tmp_path, monkeypatch):
    """The one that an empty variable would name, too."""
    monkeypatch.chdir(tmp_path)
    for nowhere in ("", " "):
        with pytest.raises(Mistake, match="an address is empty"):
            list(push(library, nowhere))
    Place(address).put("gallery.html", b"my holidays")
    with pytest.raises(Mistake, match="not of a library"):
        list(push(library, address))
    assert Place(address).read("gallery.html") == b"my holidays" and not (tmp_path / "jobs").exists()


def test_a_pull_onto_a_library_adds_to_it(library, address, tmp_path):
    here, before = other(tmp_path, ("a blue duck", "a cat")), other(tmp_path, name="same").jobs()[0]
    list(push(library, address))
    list(pull(address, here.path))
    assert {job.prompt for job in here.jobs()} == {"a blue duck", "a cat", "a red car"} and len(here.jobs()) == 5
    assert len(here.catalogue()) == 3 and names(here) == sorted(record["name"] for record in here.catalogue())
    assert kept(here.path, before) and all(record["name"] in (here.path / "gallery.html").read_text() for record in here.catalogue())
    assert not any(fresh for _, fresh in pull(address, here.path)) and len(here.jobs()) == 5
    list(push(here, address))  # now it has all of them
    assert len(list(Place(address).rows("catalog.jsonl"))) == 3 and len(list(Place(address).rows("jobs.jsonl"))) == 5


def test_what_was_made_here_stays_and_what_was_only_fetched_is_renewed(library, address, tmp_path, capsys):
    """Two machines made the same job; later the one that pushed made its own anew."""
    one, two, three = library.jobs()
    list(push(library, address))
    here = Library(tmp_path / "here")
    list(pull(address, here.path))
    for made, text in ((here, "made here"), (library, "made there")):
        published.finish(made, three)
        files.write_text(made.run(three) / "export/mesh.glb", text)
        files.write_json(made.folder(three) / "done.json", {**made.done(three), "seconds": len(text)})
    library.again(one, done=True)
    published.finish(library, one)
    files.write_text(library.run(one) / "export/mesh.glb", "made again")
    files.write_json(library.folder(one) / "done.json", {**library.done(one), "seconds": 7})
    list(push(library, address))
    assert batch.main(["pull", str(here.path), address]) == 0 and "stay as they were made here" in capsys.readouterr().out
    assert kept(here.path, three) == "made here" and here.done(three)["seconds"] == 9
    assert kept(here.path, one) == "made again" and here.done(one)["seconds"] == 7
    assert len(names(here)) == 3


def test_a_job_that_is_being_made_here_is_left_alone(library, address, tmp_path):
    list(push(library, address))
    here, job = Library(tmp_path / "here"), library.jobs()[0]
    here.begin(plan([Row(2, "a red car", seed=0)], Asked(), tmp_path))
    held = Watch().take(here.open(job))
    list(pull(address, here.path))
    assert not here.run(job).exists() and here.done(job) is None and here.done(library.jobs()[1]) is not None
    held.release()
    list(pull(address, here.path))
    assert here.done(job) is not None


def test_results_of_another_machine_stay_in_the_catalogue_there(library, address, tmp_path):
    """Each made another part of the same list."""
    list(push(library, address))
    there, (_, _, third) = Library(tmp_path / "there2"), library.jobs()
    there.begin(plan([Row(i + 2, "a red car", seed=i) for i in range(3)], Asked(), tmp_path))
    published.finish(there, third)
    list(push(there, address))
    assert {row["id"] for row in Place(address).rows("catalog.jsonl")} == {job.id for job in library.jobs()}
    list(pull(address, tmp_path / "back"))
    assert len(Library(tmp_path / "back").catalogue()) == 3


def test_scores_go_with_their_jobs(library, address, tmp_path):
    """Wherever the catalogue is written anew."""
    job = library.jobs()[0]
    files.write_json(library.run(job) / "eval.json", {"scores": {"recognition": 0.5}})
    list(push(library, address))
    list(pull(address, tmp_path / "back"))
    assert Library(tmp_path / "back").catalogue() == library.catalogue() and library.catalogue()[0]["metrics"] == {"recognition": 0.5}


# --- ends in the middle ------------------------------------------------------------------------------------------------------------------


def test_jobs_that_end_meanwhile_wait_for_the_next_push(library, address):
    steps = push(library, address)
    next(steps)
    published.finish(library, library.jobs()[2])
    list(steps)
    place = Place(address)
    for row in place.rows("catalog.jsonl"):
        assert place.system.exists(place._path(row["files"]["thumbnail"]))
    assert len(list(place.rows("catalog.jsonl"))) == 2
    list(push(library, address))
    assert len(list(place.rows("catalog.jsonl"))) == 3


def test_an_interrupted_push_goes_on_from_where_it_was(library, address, monkeypatch):
    monkeypatch.setattr(publish, "EVERY", -1.0)
    steps = push(library, address)
    first = [next(steps)[0] for _ in range(5)]
    del steps
    again = dict(push(library, address))
    assert not any(again[name] for name in first) and any(again.values())


def test_after_an_interrupted_pull_no_job_is_taken_for_done(library, address, tmp_path):
    list(push(library, address))
    for count in range(1, 12):
        steps, folder = pull(address, tmp_path / f"back{count}"), tmp_path / f"back{count}"
        for _ in range(count):
            next(steps)
        del steps
        there = Library(folder)
        assert all(kept(folder, job) for job in there.jobs() if there.done(job))


def test_what_changes_while_it_is_pushed_is_put_again(library, address, monkeypatch):
    path, real, times = library.run(library.jobs()[0]) / "export/mesh.glb", Place.put, []

    def put(self, name, what):
        real(self, name, what)
        if name.endswith("mesh.glb") and name.startswith(f"jobs/{library.jobs()[0].id[:2]}") and len(times) < limit:
            times.append(name)
            files.write_text(path, f"another {len(times)}")

    monkeypatch.setattr(Place, "put", put)
    limit = 1
    list(push(library, address))
    assert Place(address).read(times[0]) == b"another 1" and not any(fresh for _, fresh in push(library, address))
    limit = 99
    files.write_text(path, "and another")
    with pytest.raises(Mistake, match="changes while it is pushed"):
        list(push(library, address))


def test_a_store_that_fails_is_no_bug_of_ours(library, monkeypatch):
    class Refused(Exception):
        """As stores have them: neither OSError nor ValueError."""

    def fails(*args, **more):
        raise Refused("ftp://me:secret@host says no")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "put_file", fails)
    with pytest.raises(Mistake, match=r"does not do: ftp://\.\.\.@host says no"):
        list(push(library, "memory://refuses"))


# --- what others wrote -------------------------------------------------------------------------------------------------------------------

HOSTILE = [
    *("", ".", "..", "/etc/x", "~/x", "C:/x", "x.txt", ".lock", "published.json", "jobs", "jobs/", "jobs//x", "jobs/./x", "jobs.jsonl/x"),
    *("jobs/../../x", "jobs/a\0b", "jobs/\ud800", "jobs/a:b", "jobs/a\n\x1b[31mb", "jobs/a\\..\\x", "jobs/" + "x" * 300),
    *("jobs/aa/x/lease.9.json", "jobs/aa/x/beat.1.json", "jobs/aa/.git/x", "jobs/" + "a/" * 40 + "x"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_list_leads_nowhere_else(address, tmp_path, name):
    Place(address).put(places.LIST, json.dumps({"jobs.jsonl": [0, ""], name: [1, "y"]}).encode())
    with pytest.raises(Mistake, match="no list of a library"):
        list(pull(address, tmp_path / "back"))
    assert not (tmp_path / "back").exists() and not public(name)


@pytest.mark.parametrize("run", [".", "jobs", "x", "", "..", "jobs/aa", "jobs/aa/x/../../../run", 3, "a\0b", "recipes/x/run"])
def test_a_record_does_not_say_what_else_is_published(library, address, run):
    job = library.jobs()[0]
    files.write_text(library.path / "notes.txt", "mine")
    more = {"run": run, "files": {"a": "notes.txt", "b": "", "c": ["x"], "d": "jobs/a\0", "e": ".lock"}}
    files.write_json(library.folder(job) / "done.json", {**library.done(job), **more})
    put = [name for name, _ in push(library, address)]
    assert len(put) == len(set(put)) and "notes.txt" not in put and put[-1] == "catalog.jsonl"


def test_rows_there_that_are_no_jobs_are_passed_over(library, address, tmp_path):
    list(push(library, address))
    here, place = other(tmp_path), Place(address)
    place.put("jobs.jsonl", place.read("jobs.jsonl") + b'{"id": []}\n{"id": "../x", "prompt": "a", "seed": 0, "recipe": "x"}\n[1]\n{\n')
    list(pull(address, here.path))
    assert len(here.jobs()) == 4 and "../x" not in (here.path / "jobs.jsonl").read_text()


def test_passwords_are_not_shown():
    assert shown("ftp://me:secret@host/x") == "ftp://...@host/x" and shown("s3://bucket/a@b") == "s3://bucket/a@b"
