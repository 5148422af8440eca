"""`new guidance NAME`: what it writes works as it is, in a checkout and as a plug-in; what it refuses, and that it then writes nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dream3d
from dream3d import build, cli, config
from dream3d.commands import new

ROOT = Path(dream3d.__file__).resolve().parent.parent
FILES = ["guidance/calm.py", "tests/theory/test_calm.py", "configs/calm-gaussian.yaml"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty checkout that the command takes for its own, and whose formulas and recipes are found before ours."""
    for folder in ("guidance", "configs", "tests/theory"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "sds-gaussian.yaml", tmp_path / "checkout" / "configs")
    monkeypatch.setattr(new, "checkout", lambda: tmp_path / "checkout")
    monkeypatch.setattr(dream3d, "__path__", [*dream3d.__path__, str(tmp_path / "checkout")])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "checkout"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_three_files_that_are_found_checked_and_described(root, capsys):
    before = files(root)
    assert cli.main(["new", "guidance", "calm"]) == 0
    out = capsys.readouterr().out
    assert set(files(root)) - set(before) == set(FILES) and all(f"checkout/{file}\n" in out for file in FILES)
    assert "calm" in build.available("guidance") and build.signature("guidance", "calm").name == "Calm"
    found = config.load("calm-gaussian", ["guidance.scale=3"])
    assert found.values["guidance"]["type"] == "calm" and found.values["guidance"]["scale"] == 3
    assert cli.main(["describe", "calm"]) == 0 and "used by  calm-gaussian" in capsys.readouterr().out
    assert max(len(line) for file in FILES for line in (root / file).read_text().splitlines()) <= 140


def test_what_it_writes_passes_its_own_proof_and_the_contract(tmp_path):
    """In a copy of the whole checkout, by the commands that it prints, and so do the linter's rules where there is a linter."""
    copy = tmp_path / "copy"
    for part in ("dream3d", "guidance", "renderers", "systems", "configs", "assets", "tests"):
        shutil.copytree(ROOT / part, copy / part)  # compiled kernels too
    for file in ("launch.py", "pyproject.toml"):
        shutil.copy(ROOT / file, copy)
    out = call(copy, "launch.py", "new", "guidance", "calm")
    assert out.splitlines()[:3] == FILES
    proof = next(line for line in out.splitlines() if "-m pytest" in line).split()[1:]
    done = call(copy, *proof, "-p", "no:cacheprovider")
    assert "failed" not in done and done.count(".") > 10
    assert "Calm" in call(copy, "launch.py", "describe", "calm")
    if shutil.which("ruff"):
        subprocess.run(["ruff", "check", "--no-cache", *FILES[:2]], cwd=copy, check=True)
    broken = copy / "guidance/calm.py"
    broken.write_text(broken.read_text().replace("(eps - noise)", "(eps + noise)"))
    with pytest.raises(subprocess.CalledProcessError):
        call(copy, "-m", "pytest", "tests/theory/test_calm.py", "-p", "no:cacheprovider")


def call(folder, *words):
    return subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("flags", [["--here"], []])
def test_outside_a_checkout_it_is_a_plug_in(flags, tmp_path, monkeypatch, capsys):
    """Three files beside each other; the recipe runs with --plugin, the proof proves it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "plugins", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    if not flags:
        monkeypatch.setattr(new, "checkout", lambda: None)
    assert cli.main(["new", "guidance", "calm_one", *flags]) == 0
    assert files(tmp_path) == ["calm_one-gaussian.yaml", "calm_one.py", "test_calm_one.py"]
    assert ("dream3d --plugin calm_one" in capsys.readouterr().out) == (not flags)
    words = ["--plugin", "calm_one", "--config", "calm_one-gaussian.yaml", "--dry-run", "prompt=a duck"]
    assert cli.main(words) == 0 and "type: calm_one" in capsys.readouterr().out
    if flags:
        here = f"import sys, pytest; sys.path.insert(0, {str(ROOT)!r}); sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))"
        assert "3 passed" in call(tmp_path, "-c", here)


WRONG = {
    "new": "missing: guidance", "new guidance": "missing: NAME", "new renderer x": "there is no skeleton of a 'renderer'",
    "new guidance 2fast": "my_2fast", "new guidance My-SDS": "try: my_sds", "new guidance class": "my_class", "new guidance _x": "try: x",
    "new guidance sds": "there is a guidance 'sds' already",
    "new guidance ../x": "try: x", "new guidance json --here": "Python has a module",
    "new guidance a b": "nothing is known about b", "new guidance ümlaut": "cannot be the name", "new guidance x --her": "--here",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_refusals_write_nothing(line, root, capsys):
    before = files(root.parent)
    code = cli.main(line.split())
    err = capsys.readouterr().err
    assert code == 2 and WRONG[line] in err and len(err.splitlines()) <= 5 and files(root.parent) == before


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_overwritten(file, root, capsys):
    """Where one of the three is there, none is written."""
    (root / file).write_text("mine")
    before = files(root)
    assert cli.main(["new", "guidance", "calm"]) == 2
    assert files(root) == before and (root / file).read_text() == "mine"
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("name", ["step", "view", "guidance", "times"])
def test_names_that_the_skeleton_uses_itself_still_make_a_class(name, root):
    assert cli.main(["new", "guidance", name]) == 0
    found = build.signature("guidance", name)
    assert found.name == f"{name.capitalize()}Formula" and "scale" in found.parameters


def test_a_folder_that_cannot_be_written_is_told(root, capsys):
    (root / "guidance").rmdir()
    (root / "guidance").write_text("a file")
    assert cli.main(["new", "guidance", "calm"]) == 2 and "cannot write calm.py" in capsys.readouterr().err
