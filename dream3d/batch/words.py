"""What else `batch` does, by its first word: status, sheets, blender, push, pull. Each is about a library there is."""

from pathlib import Path

from dream3d.commands.parser import Parser
from dream3d.errors import Mistake


def status(words: list[str]) -> int:
    """What a library's jobs are at."""
    made = _parser("status", "What a library's jobs are at, while it is worked on and afterwards.", ["batch status library"])
    library = _library(made.parse_args(words))
    from dream3d.batch.tables import told

    print(*told(library, library.jobs()), sep="\n")
    return 0


def sheets(words: list[str]) -> int:
    """Contact sheets."""
    made = _parser("sheets", "Contact sheets: pages of pictures with prompt and seed. Only pages that changed are made.",
                  ["batch sheets library", "batch sheets library --per 24 --to sheets"])  # fmt: skip
    made.add_argument("--per", type=int, default=48, metavar="N", help="pictures of a page (48)")
    made.add_argument("--to", type=Path, metavar="FOLDER", help="where (LIBRARY/sheets)")
    options = made.parse_args(words)
    library = _library(options)
    from dream3d.batch.sheets import sheets as pages

    to = options.to or library.path / "sheets"
    made_now = [fresh for _, fresh in pages(library.path, _records(library), to, options.per)]
    print(f"{len(made_now)} pages, {sum(made_now)} of them new: {to}")
    return 0


def blender(words: list[str]) -> int:
    """Blender's asset library. Exit code 6 where some assets could not be made into one."""
    made = _parser("blender", "A library for Blender's asset browser: one .blend for every asset, in catalogues by category. Only what "
                  "is missing is made.", ["batch blender library", "batch blender library --to assets"])  # fmt: skip
    made.add_argument("--to", type=Path, metavar="FOLDER", help="where (LIBRARY/blender)")
    options = made.parse_args(words)
    library = _library(options)
    from dream3d.batch.shelf import shelf

    to, count, left = options.to or library.path / "blender", {"made": 0, "there": 0}, []
    for name, path, what in shelf(library.path, _records(library), to):
        if what in count:
            count[what] += 1
            print(path, flush=True) if what == "made" else None
        else:
            left.append(f"{name}: {what}")
    print(*left, f"{count['made']} made, {count['there']} were there, {len(left)} left out: {to}", sep="\n")
    return 6 if left else 0


def push(words: list[str]) -> int:
    """A finished library to an address."""
    made = _parser("push", "Copy a library's results (catalogue, page, exports) to a folder or an address of fsspec. What is there and "
                  "the same stays; the catalogue comes last, so that it never names what is not there.",
                  ["batch push library s3://bucket/cars", "batch push library /mnt/share/cars"])  # fmt: skip
    made.add_argument("--runs", action="store_true", help="whole run folders too, with checkpoints")
    made.add_argument("to", metavar="URL", help="s3://bucket/folder, memory://x, a folder")
    options = made.parse_args(words)
    library = _library(options)
    from dream3d.batch.publish import push as publish

    return _copied(publish(library, options.to, runs=options.runs), options.to)


def pull(words: list[str]) -> int:
    """A published library to a folder."""
    made = _parser("pull", "Fetch a library that was pushed: to look at, or to go on with.",
                  ["batch pull library s3://bucket/cars"])  # fmt: skip
    made.add_argument("address", metavar="URL", help="where it was pushed to")
    options = made.parse_args(words)
    from dream3d.batch.publish import pull as fetch

    return _copied(fetch(options.address, options.library), str(options.library))


WORDS = {"status": status, "sheets": sheets, "blender": blender, "push": push, "pull": pull}


def _copied(steps, to: str) -> int:
    from dream3d.batch.place import shown

    fresh = [what for _, what in steps]
    stay = f", {fresh.count(None)} stay as they were made here" if None in fresh else ""
    print(f"{fresh.count(True)} files copied, {fresh.count(False)} were there{stay}: {shown(to)}")
    return 0


def _parser(word: str, about: str, examples: list[str]) -> Parser:
    """The library comes first."""
    made = Parser(f"batch {word}", about, examples)
    made.add_argument("library", nargs="?", type=Path, default=Path("library"), help="the library's folder (library)")
    return made


def _library(options):
    from dream3d.batch.library import Library

    if not (options.library / "jobs.jsonl").is_file():
        raise Mistake("this is no library: it has no jobs.jsonl", where=str(options.library), fix="batch LIST --out FOLDER makes one")
    return Library(options.library)


def _records(library) -> list[dict]:
    if not (records := library.catalogue()):
        raise Mistake("nothing is done in this library yet", where=str(library.path), fix=f"python launch.py batch status {library.path}")
    return records
