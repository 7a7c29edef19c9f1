"""Both hubs on this machine: a few small repositories, with ranges, cut connections and refusals."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "c0ffee" + "0" * 34
KAGGLE_VERSION = 3


@dataclass
class Served:
    """One answer: what was asked for, from which byte on, and how many bytes of content were sent."""

    path: str
    start: int
    sent: int


@dataclass
class Hub:
    """What is served, and what goes wrong with it.

    Attributes:
        url: Of the server.
        repositories: Hugging Face: contents by file name, by ``models/org/name`` or ``datasets/org/name``.
        kaggle: Contents by file name, by a competition or ``owner/dataset``; "" is the whole dataset's archive.
        commit: Of every repository.
        announced: SHA-256 that the hub claims for a file, where it is not the true one.
        gated: Repositories that are refused to everybody.
        needs_token: Repositories that are refused to whoever sends no token.
        kaggle_status: What Kaggle answers to every question, if not what is asked for.
        cut_at: Byte of a file at which the connection is cut, once.
        stall_at: Byte of a file at which nothing more comes, until ``stalled`` is waited for and ``close`` called.
        served: Every content that was sent.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    kaggle: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commit: str = COMMIT
    announced: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    needs_token: set[str] = field(default_factory=set)
    kaggle_status: int | None = None
    cut_at: dict[str, int] = field(default_factory=dict)
    stall_at: dict[str, int] = field(default_factory=dict)
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    served: list[Served] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def downloads_of(self, name: str) -> list[Served]:
        """Answers that carried content of a file."""
        return [each for each in self.served if each.path.endswith(name)]


@contextmanager
def serve() -> Iterator[Hub]:
    """Start the server on a free port of 127.0.0.1."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"GET {path}")
        if path.startswith("/files/"):
            source, _, name = path.removeprefix("/files/").rpartition("/")
            self._send_content(path, self.hub.kaggle[source][name])
        elif path.startswith("/api/"):
            self._answer_api(path.removeprefix("/api/"))
        else:
            self._resolve(path, with_content=True)

    def do_HEAD(self) -> None:
        self._resolve(unquote(urlparse(self.path).path), with_content=False)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = self.path.rsplit("/", 1)[1]
        self.hub.requests.append(f"POST {request} {json.dumps(asked, sort_keys=True)}")
        if self.hub.kaggle_status is not None:
            self._send_json({"code": self.hub.kaggle_status, "message": "no"}, self.hub.kaggle_status)
        elif request == "GetDataset":
            self._send_json({"currentVersionNumber": KAGGLE_VERSION})
        else:
            source = asked.get("competitionName") or f"{asked['ownerSlug']}/{asked['datasetSlug']}"
            name = asked.get("fileName") or ""
            if f"{name}.zip" in self.hub.kaggle.get(source, {}):
                name = f"{name}.zip"  # how Kaggle sends some files
            if name not in self.hub.kaggle.get(source, {}):
                self._send_json({"code": 404, "message": "not found"}, 404)
            else:
                self._send(302, b"", {"Location": f"{self.hub.url}/files/{source}/{name}"})

    # ---- Hugging Face

    def _answer_api(self, rest: str) -> None:
        repository = "/".join(rest.split("/")[:3])
        if repository not in self.hub.repositories:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        files = self.hub.repositories[repository]
        if "/tree/" in rest:
            self._send_json([self._describe(name, content) for name, content in files.items()])
        else:
            siblings = [{"rfilename": name} for name in files]
            self._send_json({"id": repository.partition("/")[2], "sha": self.hub.commit, "siblings": siblings})

    def _describe(self, name: str, content: bytes) -> dict[str, Any]:
        described: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _blob_id(content)}
        if _is_large(name):
            described["lfs"] = {"oid": self._sha256(name, content), "size": len(content), "pointerSize": 130}
        return described

    def _sha256(self, name: str, content: bytes) -> str:
        return self.hub.announced.get(name, hashlib.sha256(content).hexdigest())

    def _resolve(self, path: str, with_content: bool) -> None:
        kind, _, rest = path[1:].partition("/") if path.startswith("/datasets/") else ("models", "", path[1:])
        repository, _, file = rest.partition("/resolve/")
        repository = f"{kind}/{repository}"
        name = file.partition("/")[2]
        refused = repository in self.hub.gated
        if refused or (repository in self.hub.needs_token and "Authorization" not in self.headers):
            self._send(403 if refused else 401, b"", {"X-Error-Code": "GatedRepo"})
            return
        content = self.hub.repositories[repository][name]
        etag = self._sha256(name, content) if _is_large(name) else _blob_id(content)
        headers = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{etag}"'}
        if with_content:
            self._send_content(path, content, headers)
        else:
            self._send(200, b"", {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(content))})

    # ---- contents

    def _send_content(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        for name, value in {"Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        name = path.rsplit("/", 1)[1]
        cut, stall = self.hub.cut_at.pop(name, None), self.hub.stall_at.pop(name, None)
        end = min(each for each in (cut, stall, len(content)) if each is not None)
        served = Served(path, start, 0)
        self.hub.served.append(served)
        try:
            self.wfile.write(content[start:end])
            self.wfile.flush()
            served.sent = end - start
        except OSError:  # whoever asked has gone
            self.close_connection = True
            return
        if stall is not None:
            self.hub.stalled.set()
            self.hub.go_on.wait(30)
        if end < len(content):
            self.close_connection = True

    def _send_json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _is_large(name: str) -> bool:
    return name.endswith((".parquet", ".safetensors"))


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
