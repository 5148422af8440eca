"""Wrong invocations by the hundred, from a seed: no exception, no traceback, exit code 2 with a message that teaches, or 0 where the
mutation happened to be right; nothing is left behind and none takes long."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_errors import ROOT, tree

from dream3d import build, cli, config
from dream3d.commands import COMMANDS
from dream3d.commands.bench import BENCHES


def leaves(tree, path=""):
    """The paths of all single values."""
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in leaves(value, f"{path}.{key}" if path else key)]


RECIPES = sorted(build.place("configs").glob("*.yaml"))
PATHS = ["steps", "seed", "prompt", "negative", "name", "device", "out", "clip", "stages", "guidance", "guidance.type", "guidance.scale",
         "guidance.t", "guidance.t.start", "guidance.sees", "guidance.views", "guidance.weight", "guidance.0.scale", "prior",
         "prior.type", "prior.unknown", "prior.size", "renderer", "renderer.count", "renderer.lr_position", "cameras.batch",
         "cameras.elevation", "background.type", "optimizer", "penalties.opacity", "penalties", "text.views", "text.front",
         "keep.seconds", "export.faces", "export.mesh", "system", "stages.0.share", "extends", "version"]  # fmt: skip
VALUES = ["3", "0", "-1", "100", "9" * 20, "0.5", "1e-300", "1.0e+300", "1.5", "1e3", "1e999", ".nan", "-.inf", "true", "null", "", "~",
          "abc", "a red car", "[1, 2]", "[0.9, 0.1]", "[]", "[0, 9]", "{start: 0, end: 1.0e+300}", "{start: 1, end: 2, shape: exp}", "{}",
          "{start: 1, end: 2}", "{start: 1, ned: 2}", "{type: sds}", "{type: x}", "[{type: sds}, {}]", "[[[[]]]]", "{", "]", "'", '"',
          "${seed}", "${x}", "${}", "a${seed}", "&a [*a]", "*a", "!!python/name:os.system x", "!!binary aGk=", "2020-01-01", "0x10",
          "1_000", "1:30", "%", "@", "`", "sds", "exact", "../..", "/", "/proc/x", "~nobody/x", "x" * 300, "9" * 400, "\x00", "\x1b[31m",
          "\ud800", "\udcff", "é", "🦊", "\u202e", "\r\n", "- a\n- b", "a: b: c", "#", "? a", "<<: x", "=", "???"]  # fmt: skip
WORDS = ["--dry-run", "--config", "sds-gaussian", "sds-plane.yaml", "--plugin", "json", "--quiet", "--help", "--", "-", "-h", "--version",
         "c.yaml", "prompt=a red car", "prompt=a zebra", "resume", "export", "list", "describe", "run", ".", "..", "/", "", " ", "configs",
         "guidance", "sds", "exact", "gaussians", "--json", "diff", "show", "schema", "bash", "quality", "faces=3"]  # fmt: skip
LEAVES = sorted({path for recipe in RECIPES for path in leaves(config.load(str(recipe)).values)})  # every setting there is
SAFE = ["generate", "resume", "export", "list", "describe", "config", "cite", "completion", "help", "complete", "bench"]
STRANGE = [*"\x00\x01\x07\x1b\t\n\r :{}[]&*!|>'\"%@`#,?-=.$~\\\ufeff\u2028\u202e\ud800\udcffé🦊0aZ", "\n  ", ": ", "- ", "{{", "!!", "<<"]


class Fuzzer:
    """Random invocations of the command line in the current folder, all from one seed. None of them would run anything for long:
    what makes an asset always has --dry-run, or an `out` where none can be."""

    def __init__(self, seed: str):
        self.rng = random.Random(seed)

    def case(self) -> tuple[list[str], dict[str, bytes]]:
        """The words of one command line and the files it finds."""
        kind = self.rng.choice([self.overridden, self.overridden, self.filed, self.filed, self.structured, self.jumbled, self.command])
        words, files = kind()
        return [word.replace("\x00", "") if self.rng.random() < 0.5 else word for word in words], files

    def overridden(self):
        """A good command line with bad overrides, one of its words or characters changed."""
        words = ["--config", self.rng.choice(RECIPES).name, *(self.override() for _ in range(self.rng.choice([1, 1, 1, 2, 4])))]
        return ["--dry-run", *(self.damaged(words) if self.rng.random() < 0.5 else words)], {}

    def override(self) -> str:
        path = self.rng.choice(PATHS if self.rng.random() < 0.5 else LEAVES)
        if self.rng.random() < 0.3:
            path = self.text(path)
        return f"{path}={self.rng.choice(VALUES)}" if self.rng.random() < 0.9 else path

    def filed(self):
        """A bundled recipe with its text changed."""
        text = self.rng.choice(RECIPES).read_text(encoding="utf-8")
        data = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        for _ in range(self.rng.choice([1, 1, 2, 3, 10])):
            data = self.text(data)
        data = data.encode("utf-8", "surrogatepass")
        return ["--dry-run", "--config", "c.yaml"], {"c.yaml": self.bytes(data) if self.rng.random() < 0.3 else data}

    def structured(self):
        """A bundled recipe with keys and values changed, and sometimes another below it."""
        lines = [line for line in self.rng.choice(RECIPES).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            i = self.rng.randrange(len(lines))
            key, _, value = lines[i].partition(":")
            lines[i] = self.rng.choice([
                f"{key}: {self.rng.choice(VALUES)}", f"{self.text(key)}:{value}", f"{self.rng.choice(PATHS)}: {self.rng.choice(VALUES)}",
                f"{key}:\n  {self.rng.choice(PATHS)}: {self.rng.choice(VALUES)}", f"{lines[i]}\n{lines[i]}", f" {lines[i]}",
                f"{key}:\n- {value}\n- {self.rng.choice(VALUES)}",
                f"extends: {self.rng.choice(['c.yaml', 'd.yaml', 'sds-plane', '.', '3'])}",
            ])  # fmt: skip
        below = {"d.yaml": self.rng.choice([b"steps: 3\n", b"stpes: 3\n", b"extends: c.yaml\n", b"\xff"])}
        return ["--dry-run", "--config", "c.yaml"], {"c.yaml": "\n".join(lines).encode("utf-8", "surrogatepass"), **below}

    def jumbled(self):
        """Words in any order."""
        words = [self.rng.choice([*WORDS, *VALUES]) for _ in range(self.rng.randrange(1, 7))]
        return self.harmless(words), {}

    def command(self):
        """A command with wrong words after it, in a folder that may look like a run."""
        words = [self.rng.choice(SAFE), *(self.rng.choice([*WORDS, self.override()]) for _ in range(self.rng.randrange(4)))]
        stored = self.text(config.load("sds-gaussian").text()).encode("utf-8", "surrogatepass")
        files = {"run/config.yaml": stored, "run/status.json": b'{"version": "9", "config": "begun with another"}'}
        return self.harmless(self.damaged(words) if self.rng.random() < 0.3 else words), files

    def harmless(self, words: list[str]) -> list[str]:
        """The same words, unable to start a run or a measurement."""
        words = [word for word in words if word not in ("doctor", *BENCHES)]
        first = words[0] if words else ""
        return words if first in COMMANDS and first != "generate" else [*words[:1], "out=/dev/null/x", "--dry-run", *words[1:]]

    def damaged(self, words: list[str]) -> list[str]:
        """One word left out, doubled, moved or changed."""
        words, i = list(words), self.rng.randrange(len(words))
        match self.rng.randrange(5):
            case 0:
                del words[i]
            case 1:
                words.insert(i, words[i])
            case 2:
                words.insert(self.rng.randrange(len(words)), words.pop(i))
            case _:
                words[i] = self.text(words[i])
        return words

    def text(self, text: str) -> str:
        """One place changed: a character left out, put in, exchanged with its neighbour, or a piece doubled or cut off."""
        i, j = sorted(self.rng.randrange(len(text) + 1) for _ in range(2))
        return self.rng.choice([
            text[:i] + text[i + 1 :], text[:i] + self.rng.choice(STRANGE) + text[i:],
            text[:i] + text[i + 1 : i + 2] + text[i : i + 1] + text[i + 2 :], text[:i] + text[i:j] + text[i:j] + text[j:], text[:i],
            text[:i] + self.rng.choice(STRANGE) * 3 + text[i + 1 :],
        ])  # fmt: skip

    def bytes(self, data: bytes) -> bytes:
        i = self.rng.randrange(len(data) + 1)
        return data[:i] + self.rng.randbytes(self.rng.choice([1, 2, 9])) + data[i + 1 :]


def lay(files: dict[str, bytes], folder: Path) -> dict:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return tree(folder)


def judge(code: int, out: str, err: str, seconds: float, kept: bool) -> list[str]:
    """What is wrong with an answer."""
    lines = err.rstrip("\n").split("\n")
    return [text for text, bad in {
        f"exit code {code}": code not in (0, 2),
        "traceback": "Traceback" in err + out,
        "no error": code == 2 and not lines[0].startswith("error: "),
        f"{len(lines)} lines": code == 2 and not 2 <= len(lines) <= 5,
        f"{max(map(len, lines))} characters": code == 2 and max(map(len, lines)) > 200,
        "control characters": not all(line.isprintable() for line in lines),
        "output before the error": code == 2 and bool(out),
        f"{seconds:.1f} s": seconds > 5,
        "something is left": not kept,
    }.items() if bad]  # fmt: skip


def storm(seed: str, count: int, folder: Path, monkeypatch, capsys) -> tuple[int, list]:
    """`count` invocations in this process: how many were refused, and what was wrong with any."""
    fuzzer, refused, wrong = Fuzzer(seed), 0, []
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for number in range(count):
        words, files = fuzzer.case()
        place = folder / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(build, "plugins", {})
        before, started = lay(files, place), time.process_time()
        try:
            code = cli.main(words)
        except SystemExit as stop:  # --help, --version
            code = stop.code or 0
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - started
        faults = judge(code, *capsys.readouterr(), seconds, tree(place) == before)
        refused += code == 2
        wrong += [(words, files.get("c.yaml"), faults)] if faults else []
    return refused, wrong


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_wrong_invocations(count, tmp_path, monkeypatch, capsys):
    refused, wrong = storm(f"storm {count}", count, tmp_path, monkeypatch, capsys)
    assert not wrong, wrong[:5]
    assert refused > 0.7 * count, "most of what the fuzzer does is wrong"


@pytest.mark.slow
def test_wrong_invocations_of_the_real_process(tmp_path):
    fuzzer, wrong = Fuzzer("process"), []
    for number in range(20):
        words, files = fuzzer.case()
        words = [word.replace("\x00", "").encode("utf-8", "surrogateescape" if "\udcff" in word else "replace") for word in words]
        place = tmp_path / str(number)
        place.mkdir()
        before, started = lay(files, place), time.perf_counter()
        done = subprocess.run([sys.executable, ROOT / "launch.py", *words], cwd=place, capture_output=True, timeout=60,
                              env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
        seconds = (time.perf_counter() - started) / 5  # starting Python takes a while on a busy machine
        faults = judge(done.returncode, done.stdout.decode(), done.stderr.decode(), seconds, tree(place) == before)
        wrong += [(words, files, faults)] if faults else []
    assert not wrong, wrong[:5]
