"""The page's server, where gradio is installed: what it answers, and what it does not."""

import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from pages import EVIL
from test_ui import a_run

from dream3d.ui import guard


def fetch(address: str, *, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def served(place: Path, **more):
    """A page over place/runs, in which there is one run; its address, and what ends it."""
    pytest.importorskip("gradio")
    from dream3d.ui.page import serve

    if not (place / "runs").exists():
        a_run(place / "runs", "sds/one", EVIL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return serve(place / "runs", port=port, block=False, **{"host": None, "password": None, **more})


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    place = tmp_path_factory.mktemp("ui")
    (place / "secret.txt").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        found, close = served(place)
        yield found.rstrip("/")
        close()


def test_the_page_names_no_other_server(address):
    status, headers, page = fetch(f"{address}/")
    assert status == 200 and headers["content-security-policy"] == guard.POLICY
    text = page.decode()
    assert "fonts.googleapis" not in text and "cdnjs" not in text
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["'](https?:)?//""", text)
    settings = json.loads(fetch(f"{address}/config")[2])
    assert not settings.get("analytics_enabled") and not settings.get("share", False)


def test_no_file_is_served_that_the_page_has_not_shown(address):
    place = Path.cwd()
    for path in ("/etc/passwd", place / "secret.txt", place / "runs" / "sds" / "one" / "config.yaml", f"{place}/runs/../secret.txt",
                 f"{place}/runs/%2e%2e/secret.txt", "secret.txt", "runs/sds/one/config.yaml", "//etc/passwd",
                 "http://127.0.0.1:1/"):  # fmt: skip
        for root in ("gradio_api/file=", "file=", "static/", "assets/"):
            status, _, body = fetch(f"{address}/{root}{urllib.parse.quote(str(path), safe='/%:')}")
            told = b"secret" in body.replace(b"secret.txt", b"") or b"root:" in body or b"prompt:" in body
            assert status in (400, 403, 404, 405, 422) and not told, (root, path, status)
    assert fetch(f"{address}/gradio_api/upload", data=b"x")[0] == 403


def test_other_names_and_other_pages_are_refused(address):
    assert fetch(f"{address}/", Host="evil.example")[0] == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert fetch(f"{address}/gradio_api/queue/join", data=b"{}", Origin=origin)[0] == 403, origin
        assert fetch(f"{address}/config", Origin=origin)[0] == 403, "nor may they read"
    assert fetch(f"{address}/config", Origin=address)[0] == 200


def test_behind_a_password_nothing_is_answered_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, close = served(tmp_path, host="127.0.0.1", password="open sesame!")
    try:
        found = found.rstrip("/")
        for path in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
            assert fetch(f"{found}/{path}")[0] in (401, 403), path
        body = fetch(f"{found}/")[2].decode()
        assert "sds-gaussian" not in body
        assert fetch(f"{found}/login", data=b"username=me&password=wrong")[0] == 400
        status, headers, _ = fetch(f"{found}/login", data=b"username=me&password=open+sesame!")
        assert status == 200
        assert fetch(f"{found}/config", Cookie=headers["set-cookie"].partition(";")[0])[0] == 200
    finally:
        close()
