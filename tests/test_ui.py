"""The web page without a browser: its form, its queue, what it shows, what its guard lets through; with gradio, its server."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
import yaml
from pages import EVIL

from dream3d import catalogue, cli, config
from dream3d.commands import ui
from dream3d.errors import Mistake
from dream3d.ui import form, guard, shown
from dream3d.ui.jobs import Queue

# --- the form -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", catalogue.names("configs"))
def test_every_recipe_has_a_form_whose_own_values_change_nothing(recipe):
    fields = form.fields(recipe)
    paths = [field.path for field in fields]
    assert len(paths) == len(set(paths)) > 20 and {"steps", "seed", "negative"} <= set(paths)
    assert form.overrides(recipe, "a red car", {field.path: field.value for field in fields}) == ["prompt=a red car"]


def test_kinds_of_fields_come_from_the_schema():
    known = {field.path: field for field in form.fields("sds-gaussian")}
    assert known["guidance.rescale"].kind == "slider" and (known["guidance.rescale"].low, known["guidance.rescale"].high) == (0, 1)
    assert known["guidance.w"].kind == "choice" and known["guidance.w"].choices == ("sds", "uniform", "fantasia3d", "x0")
    assert known["renderer.antialias"].kind == "switch" and known["renderer.halves"].choices[0] == "null"
    assert known["guidance.t"].kind == "text" and known["guidance.t"].value == "{start: 0.98, end: 0.5}"
    assert known["steps"].whole and known["steps"].low == 1 and known["steps"].value == 800


def test_what_names_files_folders_or_models_has_no_field():
    every = {field.path for recipe in catalogue.names("configs") for field in form.fields(recipe)}
    last = {path.rpartition(".")[2] for path in every}
    assert not last & {"out", "name", "file", "sha256", "model", "track", "rig", "layout", "teacher", "merge", "digests", "lora",
                        "debias", "device"}
    assert not [path for path in every if path.startswith(("init", "keep", "system", "stages"))]


def test_changes_are_the_words_of_a_command_line():
    given = {"steps": 300.0, "guidance.t": "[0.1, 0.9]", "guidance.w": "x0", "renderer.antialias": False, "guidance.rescale": 0.25,
             "negative": "no: {wheels}"}  # fmt: skip
    words = form.overrides("sds-gaussian", "a duck: [draft]", given)
    assert words == ["prompt=a duck: [draft]", "steps=300", "guidance.t=[0.1, 0.9]", "guidance.w=x0", "renderer.antialias=false",
                     "guidance.rescale=0.25", "negative=no: {wheels}"]  # fmt: skip
    values = config.load("sds-gaussian", words).values
    assert values["steps"] == 300 and values["negative"] == "no: {wheels}" and values["guidance"]["t"] == [0.1, 0.9]


@pytest.mark.parametrize("given", [{"out": "/etc"}, {"init.file": "/etc/passwd"}, {"guidance.type": "sds"}, {"steps": "3; rm"},
                                   {"steps": True}, {"steps": float("nan")}, {"guidance.w": "sds --x"}, {"guidance.t": 3},
                                   {"guidance.t": "x" * 2001},
                                   {"negative": "a\0b"}, {"negative": "\ud800"}, {"../x": 1}])  # fmt: skip
def test_what_is_no_setting_of_the_page_is_refused(given):
    with pytest.raises(Mistake) as caught:
        form.overrides("sds-gaussian", "a red car", given)
    assert caught.value.code == 2


@pytest.mark.parametrize("recipe", ["../configs/sds-gaussian", "/etc/passwd", "", "sds-gaussian.yaml", "configs/sds-gaussian.yaml"])
def test_a_recipe_is_a_name_and_no_path(recipe):
    with pytest.raises(Mistake):
        form.fields(recipe)


@pytest.mark.parametrize("prompt", ["", "  ", "a\0b", "x" * 2001, "a purple zebra"])
def test_prompts_that_cannot_be_made_are_told(prompt):
    with pytest.raises(Mistake):
        form.checked("sds-gaussian", form.overrides("sds-gaussian", prompt, {}))


# --- the queue ----------------------------------------------------------------------------------------------------------------------

CHILD = """
import signal, sys, time, pathlib
def save(number, frame):
    pathlib.Path(sys.argv[2]).write_text("saved")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
if sys.argv[1] == "fail":
    print("error: no \\x1b[31m<b>space</b>", flush=True)
    sys.exit(2)
if sys.argv[1] == "secret":
    import os; print(os.environ.get("DREAM3D_UI_PASSWORD"), flush=True)
if sys.argv[1] == "stuck":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
time.sleep(30 if sys.argv[1] in ("long", "stuck") else 0)
"""


@pytest.fixture
def queue(tmp_path):
    made = Queue([sys.executable, "-S", "-c", CHILD], tmp_path)
    yield made
    made.close()


def until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_at_a_time_in_their_order(queue, tmp_path):
    jobs = [queue.add(name, ["quick", name], tmp_path) for name in "abc"]
    assert [job.number for job in jobs] == [1, 2, 3]
    until(lambda: all(job.ended for job in jobs) or sum(job.state in ("running", "stopping") for job in queue.listed()) > 1)
    assert [job.state for job in jobs] == ["done"] * 3 and queue.current() is jobs[2]


def test_what_runs_is_stopped_and_saves_itself_what_waits_is_taken_out(queue, tmp_path):
    first, second = queue.add("a", ["long", str(tmp_path / "saved")], tmp_path), queue.add("b", ["long", "x"], tmp_path)
    with pytest.raises(Mistake, match="waits already"):
        queue.add("b", ["long", "x"], tmp_path)
    until(lambda: "begun" in first.said)
    assert queue.current() is first and second.state == "waiting"
    queue.stop(second.number)
    queue.stop(first.number)
    until(lambda: first.ended)
    assert (first.state, second.state, (tmp_path / "saved").read_text()) == ("stopped", "stopped", "saved")
    queue.stop(99)


def test_one_that_does_not_stop_is_ended_when_asked_again(queue, tmp_path):
    job = queue.add("a", ["stuck", "x"], tmp_path)
    until(lambda: "deaf" in job.said)
    queue.stop(job.number)
    assert job.state == "stopping"
    queue.stop(job.number)
    until(lambda: job.ended)
    assert job.state == "stopped"


def test_one_that_fails_says_why_and_the_next_goes_on(queue, tmp_path, monkeypatch):
    monkeypatch.setenv("DREAM3D_UI_PASSWORD", "open sesame")
    bad, odd, good = (queue.add(kind, [kind, "x"], tmp_path) for kind in ("fail", "nul\0", "secret"))
    until(lambda: good.ended)
    assert bad.state == "failed" and bad.reason == "error: no \\x1b[31m<b>space</b>" and odd.state == "failed" and "started" in odd.reason
    assert good.state == "done" and list(good.said) == ["begun", "None"], "the page's password is not for others"
    assert "&lt;b&gt;space" in shown.queue(queue.listed()) and "<b>" not in shown.queue(queue.listed())


def test_closing_stops_everything(tmp_path):
    made = Queue([sys.executable, "-S", "-c", CHILD], tmp_path)
    job = made.add("a", ["long", str(tmp_path / "saved")], tmp_path)
    until(lambda: "begun" in job.said)
    made.add("b", ["quick", "x"], tmp_path)
    made.close()
    assert [j.state for j in made.listed()] == ["stopped", "stopped"] and (tmp_path / "saved").is_file() and not made.thread.is_alive()


# --- what is shown ------------------------------------------------------------------------------------------------------------------


def a_run(base: Path, name: str, prompt: str = "a red car", **status) -> Path:
    run = base / name
    (run / "export").mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"prompt": prompt}))
    (run / "status.json").write_text(json.dumps({"state": "done", "step": 3, "total": 10} | status))
    for file in ("thumbnail.png", "mesh.glb", ".hidden"):
        (run / "export" / file).write_bytes(b"\x89PNG\r\n\x1a\n")
    return run


def test_runs_are_found_by_name_and_only_below_their_folder(tmp_path):
    base, elsewhere = tmp_path / "runs", tmp_path / "elsewhere" / "x"
    run = a_run(base, "sds/one")
    a_run(base, "sds/two", EVIL, state=EVIL, step="many")
    secret = a_run(elsewhere, "private") / "export" / "thumbnail.png"
    (base / "linked").symlink_to(elsewhere)
    (run / "export" / "stolen.png").symlink_to(secret)
    (base / "sds" / "no run").mkdir()
    found = {one.name: one for one in shown.runs(base)}
    assert set(found) == {"sds/one", "sds/two"}
    assert [path.name for path in found["sds/one"].files] == ["mesh.glb", "thumbnail.png"], "links that lead out are left out"
    assert found["sds/two"].state == "unknown" and found["sds/two"].step == 0 and found["sds/two"].prompt == EVIL
    assert shown.find(base, "sds/one").path == run and found["sds/one"].model.name == "mesh.glb"
    for name in ("../elsewhere/x/private", "sds/../sds/one", str(run), "", None, "linked/private", 0, ["sds/one"], "sds/one/"):
        with pytest.raises(Mistake):
            shown.find(base, name)


def test_everything_shown_is_escaped(tmp_path):
    run = a_run(tmp_path, "sds/one", EVIL)
    (run / "log.txt").write_text(EVIL + "\x1b[31m\n" + EVIL)
    queue = Queue([sys.executable, "-c", ""], tmp_path)
    job = queue.add(EVIL, ["x"], run)
    queue.close()
    made = [shown.progress(job), shown.queue([job]), shown.facts(shown.find(tmp_path, "sds/one")), shown.trouble(Mistake(EVIL, where=EVIL))]
    for text in made:
        assert "alert(1)" in text and "<script" not in text and "<img src=x" not in text and "\x1b" not in text
    (one,) = shown.runs(tmp_path)
    assert "\u202e" not in shown.caption(one) and len(shown.caption(one)) < 100


@pytest.mark.parametrize("data, kind", [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
                                        (b"<svg onload=alert(1)>", None), (b"", None)])  # fmt: skip
def test_only_pictures_are_shown_as_pictures(tmp_path, data, kind):
    (tmp_path / "latest.png").write_bytes(data)
    made = shown.picture_of(tmp_path / "latest.png", "words")
    assert made is None if kind is None else f'src="data:{kind};base64,' in made
    assert shown.picture_of(tmp_path / "none.png", "words") is None and shown.log(tmp_path) == []


# --- who may ask --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers, allowed", [
    ({"host": "127.0.0.1:7860"}, True), ({"host": "localhost:7860"}, True), ({"host": "[::1]:7860"}, True),
    ({"host": "evil.example:7860"}, False), ({}, False), ({"host": "127.0.0.1.evil.example"}, False),
    ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}, True), ({"host": "127.0.0.1:7860", "origin": ""}, False),
    ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, False), ({"host": "127.0.0.1:7860", "origin": "null"}, False),
    ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:80"}, False), ({"host": "127.0.0.1:7860", "origin": "http://["}, False),
    ({"host": "[::1"}, False), ({"host": "evil@localhost.evil"}, False),
    ({"host": "localhost", "origin": "http://localhost.evil"}, False)])  # fmt: skip
def test_the_guard(headers, allowed):
    assert (guard.refused(headers, guard.LOCAL) == "") is allowed


@pytest.mark.parametrize("path, allowed", [
    ("/", True), ("/gradio_api/file=/somewhere/x/thumbnail.png", True), ("/gradio_api/file=C:/x.png", True),
    ("/gradio_api/queue/join", True),
    ("/gradio_api/file=http://169.254.169.254/", False), ("/file=https://host/", False),
    ("/gradio_api/file= HTTP://host/", False),
    ("/gradio_api/file=file:///etc/passwd", False), ("/gradio_api/proxy=http://host", False), ("/gradio_api/upload", False)])  # fmt: skip
def test_nothing_is_fetched_for_others_and_nothing_taken(path, allowed):
    assert (guard.closed(path) == "") is allowed


def asked(app, **scope) -> list[dict]:
    said = []

    async def send(message):
        said.append(message)

    asyncio.run(app({"type": "http", "method": "GET", "headers": [(b"host", b"localhost")], **scope}, None, send))
    return said


def test_answers_have_a_policy_and_refusals_reach_nothing():
    reached = []

    async def app(scope, receive, send):
        reached.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Security-Policy", b"default-src *")]})

    (answer,) = asked(guard.Guard(app))
    headers = dict(answer["headers"])
    assert headers[b"content-security-policy"].startswith(b"default-src 'self'") and b"Content-Security-Policy" not in headers
    assert "http" not in guard.POLICY and "*" not in guard.POLICY
    refusal = asked(guard.Guard(app), headers=[(b"host", b"evil")])
    assert refusal[0]["status"] == 403 and len(reached) == 1
    assert asked(guard.Guard(app), type="websocket", headers=[(b"host", b"localhost"), (b"origin", b"http://evil")])[0]["code"] == 1008
    asked(guard.Guard(app, hosts=None), headers=[(b"host", b"my-machine")])
    assert len(reached) == 2


@pytest.mark.parametrize("words, fix", [(["--listen", "0.0.0.0"], "--password"), (["--listen", "0.0.0.0", "--password", ""], "--password"),
                                        (["--listen", "0.0.0.0", "--password", "short"], "longer"), (["--listen", " "], ""),
                                        (["--password", "short"], "longer"), (["--port", "0"], ""), (["--port", "x"], "--help"),
                                        (["--share"], "--help")])  # fmt: skip
def test_other_machines_need_a_password(words, fix, monkeypatch, capsys):
    monkeypatch.delenv("DREAM3D_UI_PASSWORD", raising=False)
    monkeypatch.setattr(ui.importlib.util, "find_spec", lambda name: pytest.fail("nothing may begin"))
    assert cli.main(["ui", *words]) == 2 and fix in capsys.readouterr().err


def test_without_gradio_the_page_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(ui.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["ui"]) == 2 and 'pip install "dream3d[ui]"' in capsys.readouterr().err

