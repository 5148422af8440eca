"""Khronos' validator of glTF (npm gltf-validator, run by node), where it can be found: in DREAM3D_GLTF_VALIDATOR or DREAM3D_NODE_MODULES
(its own folder, or the `node_modules` that has it), or where node finds it from the current folder."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SEVERITIES = ("error", "warning", "info", "hint")
ALLOWED = ("UNSUPPORTED_EXTENSION",)  # it says so of extensions that it is too old for
SPLATS = ("UNSUPPORTED_EXTENSION", "MESH_PRIMITIVE_INVALID_ATTRIBUTE")  # and takes their attributes for mistakes
RUN = """
const validator = require(process.argv[1]), path = process.argv[2];
const options = {uri: path, maxIssues: 1000, externalResourceFunction: (name) => Promise.reject(name)};
validator.validateBytes(new Uint8Array(require('fs').readFileSync(path)), options)
  .then((report) => console.log(JSON.stringify(report)), (error) => { console.error(error); process.exit(1); });
"""


@dataclass(frozen=True)
class Message:
    """One finding: how bad, its code, where in the document, in words."""

    severity: str
    code: str
    pointer: str
    text: str


def validate(path: Path) -> tuple[list[Message], dict]:
    """All findings about a .glb, and what the validator counted in it. Skips the test where there is no validator."""
    done = subprocess.run([shutil.which("node"), "-e", RUN, _package(), str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert not report["issues"].get("truncated"), "more than a thousand findings"
    found = [Message(SEVERITIES[m["severity"]], m["code"], m.get("pointer", ""), m["message"]) for m in report["issues"]["messages"]]
    return found, report["info"]


def valid(path: Path, *, allowed: tuple[str, ...] = ALLOWED) -> dict:
    """Fails where there is an error or a warning, hint or remark that is not `allowed` (codes); returns what the validator counted. Of
    files with Gaussians allow SPLATS."""
    found, info = validate(path)
    wrong = [message for message in found if message.code not in allowed]
    assert not wrong, "\n".join(map(str, wrong))
    return info


@cache
def _package() -> str:
    """The validator's folder."""
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    for place in filter(None, map(os.environ.get, ("DREAM3D_GLTF_VALIDATOR", "DREAM3D_NODE_MODULES"))):
        found = [folder for folder in (Path(place) / "gltf-validator", Path(place)) if (folder / "package.json").is_file()]
        if not found:
            pytest.fail(f"there is no gltf-validator in {place}")
        return str(found[0].resolve())
    ask = subprocess.run(["node", "-p", "require.resolve('gltf-validator')"], capture_output=True, text=True, timeout=60)
    if ask.returncode:
        pytest.skip("there is no gltf-validator: npm i gltf-validator, and DREAM3D_NODE_MODULES=THAT/node_modules")
    return str(Path(ask.stdout.strip()).parent)
