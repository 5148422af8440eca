"""A library at another address: what arrives is what was there, the catalogue last; only what changed is copied."""

import json
import os
import threading
import time

import published
import pytest

from dream3d.batch import publish
from dream3d.batch.library import Library
from dream3d.batch.place import Place
from dream3d.batch.publish import pull, push
from dream3d.commands import batch
from dream3d.errors import Mistake

pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def library(tmp_path):
    return published.half_made(tmp_path)


@pytest.fixture(params=published.PLACES)
def address(request, tmp_path):
    return published.empty(request.param, tmp_path)


def test_what_arrives_is_what_was_there(library, address, tmp_path):
    put = list(push(library, address))
    assert all(fresh for _, fresh in put) and [name for name, _ in put][-3:] == ["jobs.jsonl", "gallery.html", "catalog.jsonl"]
    assert not any("checkpoints" in name or "lease" in name or ".." in name for name, _ in put)
    got = list(pull(address, tmp_path / "back"))
    assert sorted(name for name, _ in got) == sorted(name for name, _ in put) and got[-1][0] == "catalog.jsonl"
    for name, _ in put:
        assert (tmp_path / "back" / name).read_bytes() == (library.path / name).read_bytes()
    assert not any(fresh for _, fresh in pull(address, tmp_path / "back")) and not any(fresh for _, fresh in push(library, address))


def test_only_what_is_new_is_copied_and_a_damaged_copy_is_fetched_again(library, address, tmp_path):
    list(push(library, address))
    published.finish(library, library.jobs()[2])
    fresh = {name for name, fresh in push(library, address) if fresh}
    assert len(fresh) == 5 and "catalog.jsonl" in fresh and sum(library.jobs()[2].id in name for name in fresh) == 4
    list(pull(address, tmp_path / "back"))
    some = next((tmp_path / "back").rglob("mesh.glb"))
    some.write_text("torn")
    assert [name for name, fresh in pull(address, tmp_path / "back") if fresh] == [some.relative_to(tmp_path / "back").as_posix()]


def test_the_catalogue_never_names_what_is_not_there(library, address, monkeypatch):
    """However a push ends, and the next one goes on from there."""
    list(push(library, address))
    published.finish(library, library.jobs()[2])
    real, names = Place.put, [name for name, _ in push(library, "memory://count")]
    for stop in range(len(names) + 1):
        count = [0]

        def put(self, name, what, count=count, stop=stop):
            count[0] += 1
            if count[0] > stop:
                raise OSError("the connection is gone")
            real(self, name, what)

        monkeypatch.setattr(Place, "put", put)
        try:
            list(push(library, address))
        except OSError:
            pass
        place = Place(address)
        for line in place.system.cat_file(place._path("catalog.jsonl")).splitlines():
            assert place.system.exists(place._path(json.loads(line)["files"]["thumbnail"]))
    assert len(place.system.cat_file(place._path("catalog.jsonl")).splitlines()) == 3


@pytest.mark.parametrize("runs", [False, True])
def test_a_library_goes_on_elsewhere(library, address, tmp_path, runs):
    list(push(library, address, runs=runs))
    steps = pull(address, tmp_path / "back")
    assert next(steps)[0] == "jobs.jsonl"
    for _ in range(4):
        next(steps)
    del steps  # interrupted
    list(pull(address, tmp_path / "back"))
    there = Library(tmp_path / "back")
    assert [there.done(job) is not None for job in there.jobs()] == [True, True, False] and there.catalogue() == library.catalogue()
    assert there.config(there.jobs()[2]).values["seed"] == 2 and runs == any((tmp_path / "back").rglob("*.safetensors"))


def test_what_was_published_is_checked(library, address, tmp_path):
    with pytest.raises(Mistake, match="nothing was published"):
        list(pull(address, tmp_path / "back"))
    list(push(library, address))
    place = Place(address)
    known = place.listed()
    for bad in (b"{", b"[1]", b'{"../x": [1, "y"]}', b'{"/etc/x": [1, "y"]}', b'{"a": 3}', b"\xff"):
        place.put("published.json", bad)
        with pytest.raises(Mistake, match="no list of a library"):
            list(pull(address, tmp_path / "back"))
    name = next(name for name in known if name.endswith("mesh.glb"))
    place.put("published.json", publish._text(known))
    place.put(name, b"another")
    with pytest.raises(Mistake, match="is not what was published"):
        list(pull(address, tmp_path / "back"))
    assert not (tmp_path / "back" / name).exists() and not (tmp_path / "back" / "catalog.jsonl").exists()


@pytest.mark.parametrize("bad", ["nosuch://x/y", "s3://bucket/x"])
def test_addresses_that_nothing_is_installed_for(library, bad):
    if bad.startswith("s3") and __import__("importlib.util").util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(Mistake, match="does not do") as told:
        list(push(library, bad))
    assert "pip install" in told.value.fix


def test_the_command_copies_and_counts(library, address, tmp_path, capsys):
    assert batch.main(["push", str(library.path), address]) == 0 and batch.main(["pull", str(tmp_path / "back"), address]) == 0
    assert capsys.readouterr().out.count("12 files copied, 0 were there") == 2


def test_several_jobs_go_at_once_and_what_is_of_none_alone():
    """Of each job one file after the other; where it is stopped half-way no more begins."""
    names = ["recipes/a.yaml", *(f"jobs/0{i}/x/{name}" for i in range(60) for name in ("a.png", "done.json")), "gallery.html"]
    began, busy, seen, lock = [], [], [], threading.Lock()

    def act(name):
        with lock:
            began.append(name)
            busy.append(name)
            seen.append((name, len(busy)))
        time.sleep(0.005)
        with lock:
            busy.remove(name)
        return len(began)

    done = list(publish._eight(names, act))
    assert [name for name, _ in done] == names and done[0][1] == 1 and done[-1][1] == len(names)
    assert all(began.index(f"jobs/0{i}/x/a.png") < began.index(f"jobs/0{i}/x/done.json") for i in range(60))
    assert 1 < max(count for _, count in seen) <= publish.WORKERS
    assert all(count == 1 for name, count in seen if not name.startswith("jobs"))
    began.clear()
    some = publish._eight(names, act)
    next(some), next(some)
    some.close()
    assert len(began) < 60


def test_files_are_read_once(library, address, monkeypatch):
    """Until one is written again, whatever is said of it elsewhere; a list of them that is damaged is made anew."""
    for path in library.path.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    read, real = [], publish._key
    monkeypatch.setattr(publish, "_key", lambda path: read.append(path.name) or real(path))
    put = {name for name, _ in push(library, address)}
    assert len(read) == len(put) - 3 and not (read.clear() or [*push(library, address)] and read)
    some = next(library.path.rglob("mesh.glb"))
    some.write_text("other")
    assert [name for name, fresh in push(library, address) if fresh] == [some.relative_to(library.path).as_posix()] and read == ["mesh.glb"]
    read.clear()
    (library.path / ".read.json").write_text('{"a": ')
    assert not any(fresh for _, fresh in push(library, address)) and len(read) == len(put) - 3
    assert not any(".read" in name for name in put)
