"""What a shell is told may stand next: in process, and once through bash."""

import subprocess
import sys
from pathlib import Path

import pytest

from dream3d import cli
from dream3d.commands.complete import candidates

ROOT = Path(cli.__file__).parent.parent

COMPLETIONS = {
    "dream3d li": ["list"], "dream3d list g": ["guidance"], "python launch.py describe gaus": ["gaussians"],
    "dream3d help bench": ["bench"],
    "dream3d --config sds-g": ["sds-gaussian.yaml"], "dream3d guidance.w=u": ["guidance.w=uniform"],
    "dream3d cite sds-pl": ["sds-plane.yaml"],
    "dream3d --config sds-plane.yaml renderer.p": ["renderer.particles="], "dream3d renderer=plane renderer.noi": ["renderer.noise="],
    "dream3d export.mesh=t": ["export.mesh=true"], "dream3d export some/run fa": ["faces="], "dream3d rendere": ["renderer=", "renderer."],
    "dream3d renderer.type=pl": ["renderer.type=plane"], "dream3d completion z": ["zsh"], "dream3d config d": ["diff"],
    "dream3d --dr": ["--dry-run"], "dream3d 'unfin": [], "dream3d penalties.opa": ["penalties.opacity=", "penalties.opaque="],
    "dream3d new gui": ["guidance"],
    "dream3d bench s": ["splats"], "dream3d --config nope.yaml guidance.w=u": [], "dream3d guidance.sees=d": ["guidance.sees=depth"],
}  # fmt: skip


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["complete", "--", line]) == 0
    assert capsys.readouterr() == ("".join(f"{word}\n" for word in COMPLETIONS[line]), "")


def test_run_folders_are_completed_newest_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/sds/one", "two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("prompt: a duck\n")
    assert set(candidates("dream3d resume ")) == {"runs/sds/one", "two"} and candidates("dream3d export tw") == ["two"]


def test_bash_completes_through_the_script(tmp_path):
    """The one test with a real shell: what follows the last = is what bash replaces; whole words get their space."""
    script = """
    PROGRAM() { "$PYTHON" "$LAUNCH" "$@"; }
    source <(PROGRAM completion bash | sed s/dream3d/PROGRAM/g)
    for COMP_LINE in "PROGRAM li" "PROGRAM --config sds-gaussian guidance.w=" "PROGRAM guidance."; do
      COMP_POINT=${#COMP_LINE} COMP_WORDS=($COMP_LINE)
      _PROGRAM
      printf '<%s>' "${COMPREPLY[@]:0:3}"
    done"""
    environment = {"PYTHON": sys.executable, "LAUNCH": str(ROOT / "launch.py"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout == "<list ><sds ><uniform ><fantasia3d ><guidance.type=><guidance.scale=><guidance.t=>", done.stderr
