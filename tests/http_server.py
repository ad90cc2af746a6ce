"""A web server on this machine's loopback that gives files, counts what it is asked, and fails on request."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass
class Serving:
    """Files of one folder.

    Attributes:
        folder: whose files are given.
        ranges: False ignores which part is asked for.
        length: False tells no Content-Length.
        status: answered instead of a file, the next ``failures`` times.
        failures: how often; negative is always.
        dropped: share of the answers with a body that break off in their middle.
        latency_s: before each answer.
        bytes_per_s: of each connection; 0 is as fast as it can.
        asked: the parts that were asked for with GET, as (start, stop) or None for all.
        sent_bytes: of bodies.
        refused: answers with ``status``.
    """

    folder: Path
    ranges: bool = True
    length: bool = True
    status: int = 500
    failures: int = 0
    dropped: float = 0.0
    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    url: str = ""
    asked: list[tuple[int, int] | None] = field(default_factory=list)
    sent_bytes: int = 0
    refused: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> str:
        """The URL of a file."""
        return f"{self.url}/{name}"

    def forget(self) -> None:
        """Count from zero."""
        self.asked.clear()
        self.sent_bytes = 0


@contextmanager
def serving(folder: Path, **modes: object) -> Iterator[Serving]:
    """A server for as long as the context lasts."""
    state = Serving(folder, **modes)  # type: ignore[arg-type]
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = state
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    state: Serving

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that the other side closes are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2**16

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _answer(self, *, body: bool) -> None:
        assert isinstance(self.server, _Server)
        state = self.server.state
        if state.latency_s:
            time.sleep(state.latency_s)
        with state.lock:
            fails = state.failures != 0
            state.failures -= state.failures > 0
            state.refused += fails
            breaks = body and state.chance.random() < state.dropped
        path = state.folder / self.path.lstrip("/").partition("?")[0]
        if fails or not path.is_file():
            return self._plain(state.status if fails else 404)
        size = path.stat().st_size
        found = _RANGE.match(self.headers.get("Range", ""))
        start, stop = 0, size
        if found and state.ranges:
            start, stop = int(found[1]), min(size, int(found[2] or size - 1) + 1)
            if start >= size:
                return self._plain(416)
        if body:
            with state.lock:
                state.asked.append((start, stop) if found else None)
        self.send_response(206 if found and state.ranges else 200)
        if found and state.ranges:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        if state.length:
            self.send_header("Content-Length", str(stop - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if body:
            self._send(state, path, start, (start + stop) // 2 if breaks else stop)
        if breaks:
            self.close_connection = True
        return None

    def _send(self, state: Serving, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as stream:
            stream.seek(start)
            while start < stop:
                data = stream.read(min(2**16, stop - start))
                self.wfile.write(data)
                start += len(data)
                with state.lock:
                    state.sent_bytes += len(data)
                if state.bytes_per_s:
                    self.wfile.flush()
                    time.sleep(len(data) / state.bytes_per_s)

    def _plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
