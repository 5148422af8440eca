"""`ui`: a local web page that makes assets and shows them."""

import importlib.util
import os
from pathlib import Path

from dream3d.commands.parser import Parser
from dream3d.errors import Mistake

SHORTEST = 8  # characters of a password


def main(words: list[str]) -> int:
    """Check, serve until Ctrl-C."""
    parser = Parser("ui", "A web page on this machine: prompt, settings, live preview, queue, past runs, files. Ctrl-C saves what runs.",
                    ["ui", "ui --port 8000 --open", "DREAM3D_UI_PASSWORD=... python launch.py ui --listen 0.0.0.0"])  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument("--listen", metavar="HOST", help="an address that other machines reach; demands a password, is not encrypted")
    parser.add_argument("--password", help=f"at least {SHORTEST} characters; better in DREAM3D_UI_PASSWORD, which no list of "
                        "processes shows")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="in a browser")
    options = parser.parse_args(words)
    password = check(options)
    if importlib.util.find_spec("gradio") is None:
        raise Mistake("the page needs gradio", where="ui", fix='pip install "dream3d[ui]"')
    from dream3d.ui.page import serve

    try:
        serve(Path("runs"), host=options.listen, port=options.port, password=password, browser=options.open)
    except KeyboardInterrupt:
        pass
    return 0


def check(options) -> str | None:
    """The password. Raises Mistake where other machines could reach a page without one."""
    password = options.password if options.password is not None else os.environ.get("DREAM3D_UI_PASSWORD")
    if not 1 <= options.port <= 65535:
        raise Mistake(f"there is no port {options.port}", where="--port", near="--port 7860")
    if options.listen is not None and not options.listen.strip():
        raise Mistake("no address to listen on", where="--listen", near="--listen 0.0.0.0")
    if options.listen is not None and not password:
        raise Mistake("other machines may not have this page without a password", where="--listen",
                      fix="--password, or DREAM3D_UI_PASSWORD")  # fmt: skip
    if password is not None and len(password) < SHORTEST:
        raise Mistake(f"the password has fewer than {SHORTEST} characters", where="--password", fix="a longer one")
    return password
