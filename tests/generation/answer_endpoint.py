"""An endpoint on this machine that answers as it is told and notes what it was asked."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", int], None]
"""Writes the reply to the n-th try (from 1) of a prompt."""


class Endpoint:
    """Replies by the first word of a prompt, ``answer`` by default.

    Attributes:
        bodies: What was asked, in order.
        headers: With which headers.
        times: When, by prompt.
        most_at_once: Requests that were under way at the same time.
    """

    def __init__(self, url: str, replies: dict[str, Reply]) -> None:
        self.url, self.replies = url, replies
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: dict[str, list[float]] = {}
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()

    @property
    def tries(self) -> Counter[str]:
        return Counter(body["messages"][0]["content"] for body in self.bodies)


class Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.prompt = body["messages"][0]["content"]
        it = self.endpoint
        with it.lock:
            it.bodies.append({"path": self.path, **body})
            it.headers.append({name.lower(): value for name, value in self.headers.items()})
            it.times.setdefault(self.prompt, []).append(time.monotonic())
            attempt = it.tries[self.prompt]
            it.at_once += 1
            it.most_at_once = max(it.most_at_once, it.at_once)
        try:
            it.replies.get(self.prompt.split(" ")[0], answer)(self, attempt)
        except OSError:  # the client did not wait
            self.close_connection = True
        finally:
            with it.lock:
                it.at_once -= 1

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None, kind: str = "json") -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": f"application/{kind}", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def completion(text: str | None, finish_reason: str | None = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def answer(handler: Handler, attempt: int) -> None:
    handler.send(200, completion(f"{handler.prompt}!"))


@contextmanager
def serve(replies: dict[str, Reply]) -> Iterator[Endpoint]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", replies)
    server.RequestHandlerClass = type("BoundHandler", (Handler,), {"endpoint": endpoint})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
