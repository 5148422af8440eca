"""The doctor: says what is here and what is missing, with what to type; exit code 0 only where the default job can run."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dream3d import cli, doctor
from dream3d.commands.doctor import table


@pytest.fixture
def quick(monkeypatch):
    """Two required packages instead of all, so that an examination takes no time."""
    monkeypatch.setattr(doctor, "requirements", lambda: {"torch": "2", "numpy": "1.26"})


def examined() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine()}


def test_here_the_default_job_can_run(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in told["checks"]}
    assert told["ready"] and {"ok"} == {rows[name]["state"] for name in (*doctor.requirements(), "ffmpeg", "python", "device auto")}
    assert {"torch", "pyyaml", "xatlas"} <= set(doctor.requirements()) and set(doctor.OPTIONAL) <= set(rows)
    missing = [row for row in told["checks"] if row["state"] == "missing"]
    assert all("pip install" in row["fix"] for row in missing)
    if rows["device auto"]["detail"].startswith("cpu"):
        assert "numba" in rows["renderer gaussians"]["detail"] and "numba" in rows["toybox renderer"]["detail"]


def test_the_table_has_a_line_for_every_check_and_one_for_what_to_do(quick, capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("The default job can run.\n") and "  -- gsplat " in out or "  ok gsplat " in out
    rows = [doctor.Check("a", "x", "ok", "1"), doctor.Check("b", "long", "missing", "2", "pip install long")]
    assert table(rows) == ["a", "  ok x     1", "", "b", "  -- long  2", "           pip install long"]


def test_without_torch_it_says_so_and_fails(quick, monkeypatch, capsys):
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "torch" else real(name))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert not err and "-- torch" in out and "runs on" not in out
    assert "The default job cannot run: torch is missing (pip install -c constraints.txt torch)." in out


def test_a_broken_torch_is_survived(quick, monkeypatch, capsys):
    def fails(name):
        raise OSError("libtorch_cpu.so: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor.importlib, "import_module", fails)
    assert [check.name for check in doctor.lacking(doctor.examine())] == ["torch", "numpy"]
    assert examined()["torch"].detail.endswith(": OSError: libtorch_cpu.so: cannot open shared object file")


@pytest.mark.parametrize("found, least, state", [("2.4", "99", "broken"), ("2.10.1", "2.9", "ok"), ("2.7.0+cu128", "2.7", "ok")])
def test_versions_are_compared_as_numbers(found, least, state, monkeypatch):
    monkeypatch.setattr(doctor, "requirements", lambda: {"numpy": least})
    monkeypatch.setattr(doctor, "version", lambda name: found)
    (check,) = doctor._required()
    assert check.state == state and ("--upgrade" in check.fix) == (state == "broken")


def test_a_full_disk_and_full_memory_stop_the_default_job(quick, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10**7))
    monkeypatch.setattr(doctor, "_available_memory", lambda: 0.5)
    assert [check.name for check in doctor.lacking(doctor.examine())] == ["free disk here", "free memory"]
    monkeypatch.setattr(doctor, "_available_memory", lambda: None)
    assert examined()["free memory"].state == "note"


def test_no_ffmpeg(quick, monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    (lacking,) = doctor.lacking(doctor.examine())
    assert lacking.name == "ffmpeg" and lacking.state == "missing" and "pip install" in lacking.fix


def test_settings_of_the_surroundings_are_noted(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet"))
    checks = examined()
    assert checks["OMP_WAIT_POLICY"].state == "note" and checks["numba cache"].detail == str(tmp_path / "not" / "yet")
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert examined()["numba cache"].state == "note" and "NUMBA_CACHE_DIR" in examined()["numba cache"].fix


SPINS = [({}, "PASSIVE 4000"), ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None")]


@pytest.mark.parametrize("said, found", SPINS, ids=str)
def test_threads_spin_for_a_moment_unless_somebody_says_otherwise(said, found):
    code = "import os, dream3d; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
    bare = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    told = subprocess.run([sys.executable, "-c", code], env=bare | said, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == found


def test_an_installed_package_knows_its_requirements_without_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "build", SimpleNamespace(__file__=str(tmp_path / "dream3d" / "build.py")))
    lines = ["torch>=2.7", "imageio[ffmpeg]>=2.36", 'pytest>=8; extra == "test"', "rich"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    assert doctor.requirements() == {"torch": "2.7", "imageio": "2.36", "rich": "0"}
    assert doctor.install("torch") == "pip install torch"


def test_why_this_device():
    def torch(available, cuda):
        found = SimpleNamespace(is_available=lambda: available, get_device_name=lambda: "A Card")
        return SimpleNamespace(cuda=found, version=SimpleNamespace(cuda=cuda), __version__="2.9")

    assert doctor._device(torch(True, "12.8"))[:2] == ("cuda", "cuda: A Card, CUDA 12.8")
    assert doctor._device(torch(False, None))[0] == "cpu" and "built without CUDA" in doctor._device(torch(False, None))[1]
    assert "no driver" in doctor._device(torch(False, "12.8"))[1]


def test_a_renderer_that_cannot_be_built_is_reported(quick, monkeypatch):
    def fails(catalogue, settings, *more):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(doctor.build, "make", fails)
    checks = examined()
    assert checks["renderer plane"].state == checks["renderer gaussians"].state == "broken"
    assert [check.name for check in doctor.lacking(list(checks.values()))] == ["renderer gaussians"]
