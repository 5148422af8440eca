"""Files that users bring: what they are, what belongs to them, how large they may be. Nothing here needs torch."""

import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dream3d.errors import Mistake, nearest

KINDS = {".glb": "glTF", ".gltf": "glTF", ".obj": "OBJ", ".ply": "PLY", ".splat": "splat", ".spz": "SPZ", ".sog": "SOG"}
LIMITS = {"bytes": 1 << 30, "text": 1 << 28, "json": 4_000_000, "zeros": 1_000_000,
          "vertices": 10_000_000, "faces": 10_000_000, "entries": 50_000_000, "pieces": 10_000}  # fmt: skip
MOST, LINE = 1000, 1 << 20  # files that one names; bytes
FIX = "a GLB, glTF, OBJ or PLY file, as Blender exports them, or splats as PLY, .splat, .spz or .sog"


def kind(path: Path) -> str:
    """One of KINDS, by the name's end and the first bytes. Raises Mistake where there is no such file, or a huge one."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _missing(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise Mistake(f"{path.name or path} is no file", where=str(path), near=_near(path / "x"), fix=FIX)
    if status.st_size > LIMITS["bytes"]:
        raise Mistake(f"{path.name} is larger than 1 GiB", where=str(path), fix="decimate it first")
    head, found = read(path, 64), KINDS.get(path.suffix.lower())
    if found is None:
        raise Mistake(f"{path.name} is of no kind that can be read", where=str(path), near=", ".join(KINDS), fix=FIX)
    glb = head[:4] == b"glTF"
    right = {".glb": glb, ".gltf": head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{", ".ply": head[:3] == b"ply",
             ".obj": b"\0" not in head and not glb, ".splat": status.st_size % 32 == 0 and not glb and head[:3] != b"ply",
             ".spz": head[:2] == b"\x1f\x8b" or head[:4] == b"NGSP", ".sog": head[:2] == b"PK"}  # fmt: skip
    if not right[path.suffix.lower()]:
        true = _by_content(head)
        fix = f"rename it: {path.with_suffix(true).name}" if true else FIX
        raise Mistake(f"{path.name} is not what its name says", where=str(path), near="" if true else ", ".join(KINDS), fix=fix)
    return found


def _by_content(head: bytes) -> str:
    """The name's end that a file's first bytes ask for; "" where they do not tell."""
    begins = {b"glTF": ".glb", b"ply": ".ply", b"NGSP": ".spz", b"{": ".gltf"}
    return next((end for start, end in begins.items() if head.startswith(start)), "")


def _missing(path: Path, error: OSError | ValueError) -> Mistake:
    reason = "there is no file" if isinstance(error, FileNotFoundError | NotADirectoryError) else "cannot read"
    return Mistake(f"{reason} {str(path)!r}", where=str(path), near=_near(path), fix=FIX)


def _near(path: Path) -> str:
    """Files that can be read and lie where one was looked for."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in KINDS)
    except (OSError, ValueError):
        return ""
    return ", ".join(str(path.with_name(name)) for name in nearest(path.name, names) or names[:3])


def read(path: Path, most: int) -> bytes:
    """At most that many bytes from the file's beginning."""
    with _opened(path) as file:
        return file.read(min(most, os.fstat(file.fileno()).st_size))  # read(n) takes n bytes before it looks


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise Mistake(f"cannot read {path.name}: {error.strerror or error}", where=str(path), fix="make it readable") from None


def whole(path: Path, most: int) -> bytes:
    """All of a file that has at most that many bytes."""
    data = read(path, most + 1)
    if len(data) > most:
        raise Mistake(f"{path.name} is larger than {most >> 20} MiB", where=str(path), fix="save it in a binary kind: .glb or .ply")
    return data


def broken(path: Path, why: str, *, fix: str = "export it again") -> Mistake:
    return Mistake(f"cannot read {path.name}: {why}", where=str(path), fix=fix)


def beside(path: Path, name: str) -> Path | None:
    """The file that another one names, if it is there. Absolute names, which are of the computer that wrote them, count as those of
    files beside. Raises Mistake for a name that leads out of the folder, by `..` or by a link."""
    name = name.strip().replace("\\", "/")
    if re.match(r"/|[A-Za-z]:|\w+://", name):
        name = name.rpartition("/")[2]
    folder = path.resolve().parent
    try:
        found = (folder / name).resolve()
        inside, there = found.is_relative_to(folder), found.is_file()
    except (OSError, ValueError, RuntimeError):
        return None
    if not inside:
        raise broken(path, f"it names {name[:80]!r}, which is outside its folder", fix="put that file beside it, and name it so")
    return found if name and there else None


def digest(path: Path) -> str:
    """64 hexadecimal digits of a file and of everything it names: they change when what would be read does."""
    found = hashlib.sha256()
    for part in [path, *named(path)]:
        with _opened(part) as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def named(path: Path) -> list[Path]:
    """The files beside it that a file names, and those that they name, in their order, once each."""
    if path.suffix.lower() == ".obj":
        words = (words[1:] for words in lines(path) if words[0] == b"mtllib")
        found = _there(path, (name for each in words for name in libraries(each)))
        maps = [(part, (mapped(words) for words in lines(part) if _lower(words[0]) in MAPS and words[1:])) for part in found]
        return list(dict.fromkeys([*found, *(texture for part, names in maps for texture in _there(part, names))]))
    head = read(path, 1 << 16).partition(b"end_header")[0] if path.suffix.lower() == ".ply" else b""
    return _there(path, (name.decode("utf-8", "replace") for name in re.findall(rb"\ncomment TextureFile ([^\r\n]+)", head)))


def _there(path: Path, names: Iterator[str]) -> list[Path]:
    """Those of the files that one names which are there."""
    names = list(dict.fromkeys(itertools.islice(names, MOST + 1)))
    if len(names) > MOST:
        raise broken(path, f"it names more than {MOST} other files")
    return [found for name in names if (found := beside(path, name)) is not None]


MAPS = ("map_kd", "norm")  # of a material that are read


def lines(path: Path) -> Iterator[list[bytes]]:
    """The words of every line of an OBJ or MTL file, without comments and a mark of UTF-8; a backslash at its end continues a line."""
    size = path.stat().st_size
    if size > LIMITS["text"]:
        raise Mistake(f"{path.name} is larger than {LIMITS['text'] >> 20} MiB", where=str(path), fix="save it as .glb")
    with _opened(path) as file:
        held: list[bytes] = []
        file.seek(3 * (file.read(3) == b"\xef\xbb\xbf"))
        while line := file.readline(LINE):
            words = line.split()
            if len(line) == LINE or len(held) > LINE:
                raise broken(path, f"a line is longer than {LINE >> 10} KiB")
            if words and words[-1] == b"\\":
                held += words[:-1]
                continue
            words, held = held + words, []
            if words and not words[0].startswith(b"#"):
                yield words
        if held:
            yield held


def text(words: list[bytes]) -> str:
    """A name with spaces, put together again."""
    return b" ".join(words).decode("utf-8", "replace")


def libraries(words: list[bytes]) -> list[str]:
    """What `mtllib` may mean: one name with spaces, or several."""
    return list(dict.fromkeys([text(words), *(text([word]) for word in words)])) if words else []


OPTIONS = {b"-s": 3, b"-o": 3, b"-t": 3, b"-mm": 2}  # of a map in an MTL file, with as many numbers; others have one word


def mapped(words: list[bytes]) -> str:
    """The file name of `map_Kd -s 1 1 1 name.png`."""
    rest = words[1:]
    while len(rest) > 1 and rest[0].startswith(b"-"):
        most, rest = OPTIONS.get(rest[0], 0), rest[1:]
        if not most:
            rest = rest[1:]
        while most and len(rest) > 1 and re.fullmatch(rb"[-+.\deE]+", rest[0]):
            rest, most = rest[1:], most - 1
    return text(rest)


def _lower(word: bytes) -> str:
    return word.lower().decode("ascii", "replace")
