"""From rows to jobs: what makes two the same, what is wrong and where, and that a recipe is loaded once."""

from types import SimpleNamespace

import pytest

from dream3d import __version__, config
from dream3d.batch import library, plan
from dream3d.batch.manifest import Row
from dream3d.errors import Mistake

RED, DUCK = Row(2, "a red car"), Row(3, "a blue duck")


def planned(rows, tmp_path, **asked):
    return plan.plan(rows, plan.Asked(**asked), tmp_path)


def test_jobs_are_rows_by_seeds_by_the_grid(tmp_path):
    found = planned([RED, DUCK], tmp_path, seeds=(0, 1, 2), grid=plan.grid(["guidance.scale=7.5,20"]))
    assert len(found.jobs) == 12 == len({job.id for job in found.jobs}) and len(found.recipes) == 2 and not found.wrong
    assert [job.recipe for job in found.jobs] == sorted((job.recipe for job in found.jobs), key=list(found.recipes).index)
    scales = {found.configs[job.recipe].values["guidance"]["scale"] for job in found.jobs}
    assert scales == {7.5, 20.0}
    own = planned([Row(2, "a red car", seed=9)], tmp_path, seeds=(0, 1))
    assert [job.seed for job in own.jobs] == [9]


def test_a_jobs_name_is_a_hash_of_all_that_decides_it(tmp_path, monkeypatch):
    first = planned([RED], tmp_path).jobs[0]
    assert planned([Row(7, "a red car", id="x", tags=("toy",), category="cars")], tmp_path).jobs[0].id == first.id
    others = [
        planned([Row(2, "a red bus")], tmp_path),
        planned([Row(2, "a red car", seed=1)], tmp_path),
        planned([Row(2, "a red car", negative="a duck")], tmp_path),
        planned([RED], tmp_path, overrides=("steps=100",)),
        planned([Row(2, "a red car", settings=(("guidance.scale", 3),))], tmp_path),
        planned([Row(2, "a red car", config="csd-gaussian")], tmp_path),
    ]
    monkeypatch.setattr(plan, "__version__", str(int(__version__.split(".")[0]) + 1) + ".0")
    others.append(planned([RED], tmp_path))
    assert len({first.id, *(other.jobs[0].id for other in others)}) == 8


def test_other_weights_of_the_same_name_are_another_job(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.json").write_text("1")
    one = plan.revision(str(tmp_path / "weights"))
    (tmp_path / "weights" / "model.json").write_text("2")
    assert plan.revision(str(tmp_path / "weights")) != one != plan.revision("nowhere/else") == "nowhere/else"


def test_what_was_asked_for_twice_is_one_job_with_both_lines(tmp_path):
    found = planned([RED, DUCK, Row(9, "a red car")], tmp_path)
    assert [job.lines for job in found.jobs] == [(2, 9), (3,)] and found.repeated == 1


def test_rows_that_cannot_be_are_told_by_line_and_the_others_planned(tmp_path):
    rows = [RED, Row(3, "a red zeppelin"), Row(4, "a red car", settings=(("guidance.scale", "much"),)), Row(5, "a cat", config="nothing"),
            Row(6, "a cat", image="cat.png"), Row(7, "a red zeppelin")]  # fmt: skip
    found = planned(rows, tmp_path)
    assert [job.prompt for job in found.jobs] == ["a red car"]
    assert [line for line, _ in found.wrong] == [3, 4, 5, 6, 7]
    assert "zeppelin" in found.wrong[0][1].problem and "takes no image" in found.wrong[3][1].problem


def test_a_picture_whose_name_would_be_lost_is_refused(tmp_path, monkeypatch):
    """The library keeps the ending, and takes only plain names back."""
    (tmp_path / "cat.p-g").write_bytes(b"x")
    recipes, values = plan.Recipes(plan.Asked(), tmp_path), {"prior": {"type": "exact"}}
    monkeypatch.setattr(plan.build, "signature", lambda *args: SimpleNamespace(parameters={"image"}))
    with pytest.raises(Mistake, match="no picture ends in '.p-g'"):
        recipes._image("cat.p-g", values)
    (tmp_path / "cat.PNG").write_bytes(b"x")
    assert library._job({"id": "a", "prompt": "p", "seed": 0, "recipe": "b", "image": recipes._image("cat.PNG", values)})


def test_recipes_of_a_manifest_lie_beside_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: sds-gaussian.yaml\nsteps: 77\n")
    found = planned([Row(2, "a red car", config="mine")], tmp_path)
    assert found.configs[found.jobs[0].recipe].values["steps"] == 77
    outside = planned([Row(2, "a red car", config="../mine")], tmp_path / "lists")
    assert not outside.jobs and "no recipe" in outside.wrong[0][1].problem


@pytest.mark.parametrize("text", ["", "-1", "3-", "a", "0-3,x", "1e3", "0-99999999999", "9999999999"])
def test_seeds_that_are_none(text):
    with pytest.raises(Mistake, match="seeds"):
        plan.seeds(text)


def test_seeds_and_grids_as_they_are_typed():
    assert plan.seeds("0-3,7,2") == (0, 1, 2, 3, 7)
    assert plan.grid(["guidance.scale=7.5, 20", "steps=3"]) == (("guidance.scale", ("7.5", "20")), ("steps", ("3",)))
    for text in ("guidance.scale", "=3", "steps=1,,2"):
        with pytest.raises(Mistake, match="grid"):
            plan.grid([text])


def test_a_thousand_rows_load_a_recipe_once(tmp_path, monkeypatch):
    loads, real = [], config.load
    monkeypatch.setattr(plan.config, "load", lambda *args: loads.append(1) or real(*args))
    rows = [Row(i, "a red car", seed=i) for i in range(1000)]
    found = planned(rows, tmp_path)
    assert len(found.jobs) == 1000 and len(loads) == 1


# --- the folder -------------------------------------------------------------------------------------------------------------------


def test_a_library_gives_back_what_was_planned_and_grows(tmp_path):
    made, found = library.Library(tmp_path / "lib"), planned([RED, DUCK], tmp_path)
    made.begin(found)
    made.begin(planned([DUCK, Row(4, "a cat", tags=("x", "y"), category="pets", negative="a dog")], tmp_path))
    jobs = made.jobs()
    assert [job.prompt for job in jobs] == ["a red car", "a blue duck", "a cat"]
    assert jobs[0] == found.jobs[0] and jobs[2].tags == ("x", "y") and jobs[2].negative == "a dog"
    told = made.config(jobs[2]).values
    assert (told["prompt"], told["negative"], told["seed"]) == ("a cat", "a dog", 0)
    assert told["out"] == str(made.run(jobs[2])) and made.config(jobs[2], {"steps": 5}).values["steps"] == 5


def test_a_folder_that_is_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(Mistake, match="not a library"):
        library.Library(tmp_path).begin(planned([RED], tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_job_is_finished_once(tmp_path):
    made, found = library.Library(tmp_path), planned([RED], tmp_path)
    made.begin(found)
    job = found.jobs[0]
    made.open(job)
    assert made.done(job) is None
    assert made.finish(job, {"id": job.id, "state": "done"}) and not made.finish(job, {"id": job.id, "state": "other"})
    assert made.done(job)["state"] == "done" and [row["state"] for row in made.catalogue()] == ["done"]


def test_the_catalogue_is_what_the_folders_say(tmp_path):
    """A line that a power cut tore, one of a job that was removed, one that is missing."""
    made, found = library.Library(tmp_path), planned([RED, DUCK, Row(4, "a cat")], tmp_path)
    made.begin(found)
    for job in found.jobs:
        made.open(job)
        made.finish(job, {"id": job.id, "prompt": job.prompt})
    lines = (tmp_path / "catalog.jsonl").read_text().splitlines()
    (tmp_path / "catalog.jsonl").write_text(lines[0] + "\n" + lines[1] + "\n" + lines[2][:10])
    (made.folder(found.jobs[0]) / "done.json").unlink()
    assert [row["prompt"] for row in made.mend()] == ["a blue duck", "a cat"]
    assert (tmp_path / "catalog.jsonl").read_text().count("\n") == 2
    made.enlist({"id": "after", "prompt": "p"})
    assert len((tmp_path / "catalog.jsonl").read_text().splitlines()) == 3


def test_lines_that_are_no_jobs_are_passed_over(tmp_path):
    made = library.Library(tmp_path)
    made.begin(planned([RED], tmp_path))
    with open(tmp_path / "jobs.jsonl", "a") as out:
        out.write('{"id": "../../etc", "prompt": "a", "seed": 0, "recipe": "x"}\n[1]\n{"id": "abc"}\nnonsense\n')
        out.write('{"id": "abc", "prompt": 3, "seed": 1, "recipe": "x"}\n')
    assert [job.prompt for job in made.jobs()] == ["a red car"]


def test_a_plan_after_a_torn_line_is_whole(tmp_path):
    made = library.Library(tmp_path)
    made.begin(planned([RED], tmp_path))
    with open(tmp_path / "jobs.jsonl", "a") as out:
        out.write('{"id": "torn')
    made.begin(planned([DUCK], tmp_path))
    assert [job.prompt for job in made.jobs()] == ["a red car", "a blue duck"]
