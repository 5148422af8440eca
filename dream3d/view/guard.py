"""Whom the live page's server answers: pages that it served itself, under its own names. Every other page in the same browser could open a
websocket to it otherwise: browsers ask no server whether they may, they only say where the page is from."""

from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio import server

from dream3d.ui.guard import refused

FRAMED = {"Content-Security-Policy": "frame-ancestors 'none'", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}


@contextmanager
def guarded(hosts: tuple[str, ...] | None) -> Iterator[list[bool]]:
    """Servers of the package websockets that are started meanwhile answer only requests to one of `hosts` (None: any name) and, where a
    page asks, only one of the same address. viser has no setting for it, so that its `serve` is another one for as long. Yields a list,
    which is empty afterwards where none was started in this way."""
    real, taken = server.serve, []

    def serve(handler, *places, process_request=None, **settings):
        def asked(connection, request):
            headers = {name.lower(): value for name, value in request.headers.raw_items()}
            if problem := refused(headers, hosts):
                return connection.respond(403, f"{problem}\n")
            answer = None if process_request is None else process_request(connection, request)
            if hasattr(answer, "headers"):
                for name, value in FRAMED.items():
                    answer.headers[name] = value
            return answer

        taken.append(True)
        return real(handler, *places, process_request=asked, **settings)

    server.serve = serve
    try:
        yield taken
    finally:
        server.serve = real
