"""`view`: look at a run or a file in the browser; with --live at a run while it works."""

import socket
import sys
from pathlib import Path

from dream3d.commands.parser import Parser, plug, plugin, some, source_up, stored
from dream3d.errors import Mistake

EXAMPLES = ["view duck", "view duck/export/mesh.glb", "view duck --no-open", "view duck --live", "view duck --live --port 8090"]
PORT, HOST = 8080, "127.0.0.1"  # of --live
FIX = "a run's folder, or a GLB, glTF, OBJ or PLY file"


def main(words: list[str]) -> int:
    """Write a page where there is none, and open it; or serve one."""
    parser = Parser("view", "Look at a run or a file in the browser; with --live at a run while it works.", EXAMPLES)
    parser.add_argument("what", nargs="?", metavar="RUN_OR_FILE", help=FIX)
    parser.add_argument("--no-open", action="store_true", help="print where the page is, open nothing")
    parser.add_argument("--live", action="store_true", help="serve a page of a run: orbit, time, pause, guidance.scale, camera paths")
    parser.add_argument("--port", type=int, metavar="N", help="of --live (8080, or the next that is free)")
    parser.add_argument("--listen", metavar="HOST", help="of --live: who reaches it may change the run")
    parser.add_argument("--out", type=some, metavar="FILE", help="the page of a file; otherwise NAME-viewer.html here")
    source_up(parser)
    plugin(parser)
    options = parser.parse_args(words)
    if options.what is None:
        raise Mistake("what is missing: RUN_OR_FILE", where="command line", fix=FIX)
    _fits(options)
    plug(options.plugin)
    return _live(options) if options.live else _still(options)


def _fits(options) -> None:
    """Raises Mistake for flags of the other way to look, and for a page that could not be one."""
    for flag, value in (("--port", options.port), ("--listen", options.listen)):
        if value is not None and not options.live:
            raise Mistake(f"{flag} is of --live; a page is a file, which nobody serves", where=flag, near=f"--live {flag} {value}")
    if options.live and options.source_up is not None:
        raise Mistake("--source-up is of files; a run knows its axes", where="--source-up", fix="without --source-up")
    if options.live and options.out is not None:
        raise Mistake("--out is of a page that is written, and --live writes none", where="--out", fix="--live, or --out")
    if options.live and Path(options.what).is_file():
        fix = f"python launch.py view {options.what}"
        raise Mistake(f"--live watches a run while it works; {Path(options.what).name} is a file", where="--live", fix=fix)
    if options.out is not None and (options.out.is_dir() or options.out.suffix.lower() not in (".html", ".htm")):
        page = f"{Path(options.what).stem}-viewer.html"
        problem = "is a folder" if options.out.is_dir() else "does not end in .html, so that no browser would show it"
        raise Mistake(f"{options.out.name} {problem}", where="--out", near=f"--out {options.out / page if options.out.is_dir() else page}")


def _still(options) -> int:
    from dream3d.convert import source
    from dream3d.view import still

    path = Path(options.what)
    if options.out is not None and options.out.resolve() == path.resolve():
        raise Mistake(f"the page would take the place of {path.name}", where="--out", fix="--out ANOTHER.html")
    page = path.suffix.lower() in (".html", ".htm")
    if page and options.out is not None:
        raise Mistake(f"{path.name} is a page already, and is opened as it is", where="--out", fix="without --out; copy it: it is one file")
    up = options.source_up
    if up is not None and (page or path.suffix.lower() == ".json"):
        raise Mistake(f"{path.name} says itself what is up", where="--source-up", fix="without --source-up")
    if (page or path.suffix.lower() == ".json") and path.is_file():
        page = still.of_file(path, options.out or Path(f"{path.stem}-viewer.html"))
    else:
        path = source.place(options.what)
        run = source.is_run(path)
        if run and options.out is not None:
            raise Mistake("--out is the page of a file; a run's lies in its export folder", where="--out", fix="copy it: it is one file")
        if run and up is not None:
            raise Mistake("--source-up is of files; a run knows its axes", where="--source-up", fix="without --source-up")
        page = still.of_run(path) if run else still.of_file(path, options.out or Path(f"{path.stem}-viewer.html"), up)
    print(page)
    if not options.no_open:
        _open(page.resolve().as_uri())
    return 0


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        print(f"no browser could be started: open {address}", file=sys.stderr)


def _reachable(host: str) -> None:
    """Raises Mistake where this machine has no such address: the server would try one port after the other."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        raise Mistake(f"cannot listen on {host!r}: {getattr(error, 'strerror', None) or error}", where="--listen",
                      near="--listen 127.0.0.1") from None  # fmt: skip


def _live(options) -> int:
    run = Path(options.what)
    config, port, host = stored(run), PORT if options.port is None else options.port, HOST if options.listen is None else options.listen
    if not 0 < port < 65536:
        raise Mistake(f"{port} is no port", where="--port", near=f"--port {PORT}")
    try:
        import viser  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        raise Mistake(f"--live needs {error.name}", where="--live", near="python launch.py view RUN shows what is exported",
                      fix='pip install "dream3d[view]"') from None  # fmt: skip
    _reachable(host)
    from dream3d.view.live import HERE, Live

    if host not in HERE:
        print(f"warning: whoever reaches {host} can look at this run, pause and change it: there is no password", file=sys.stderr)
    with Live(run, config, host, port) as live:
        print(live.address, flush=True)
        print(f"Ctrl-C ends it, not the run; from another machine: ssh -L {live.port}:127.0.0.1:{live.port} THIS_ONE", file=sys.stderr)
        if not options.no_open:
            _open(live.address)
        live.serve()
    return 0
