"""A Hugging Face Hub of a few files, served to the real client over HTTP on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """The repositories by id; `gated` ones refuse their files, `requested` is what was fetched."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.requested: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_lfs(name: str) -> bool:
    return name.endswith(".safetensors")


def _describe(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"size": len(data), "type": "file"}
    entry["oid"] = entry["blobId"] = hashlib.sha1(data).hexdigest()
    if _is_lfs(name):
        entry["lfs"] = {
            "oid": _sha(data), "sha256": _sha(data), "size": len(data), "pointerSize": 100,
        }  # fmt: skip
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        path = unquote(urlsplit(self.path).path).strip("/")
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self._api("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._send(404, b"{}")

    def _api(self, repo: str, rest: list[str]) -> None:
        files = self.hub.repos.get(repo)
        if files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["tree"]:
            listed = [{"path": name, **_describe(name, data)} for name, data in files.items()]
            self._send(200, json.dumps(listed).encode())
        else:
            siblings = [
                {"rfilename": name, **_describe(name, data)} for name, data in files.items()
            ]
            info = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}
            self._send(200, json.dumps(info | {"private": False, "tags": []}).encode())

    def _file(self, repo: str, name: str) -> None:
        data = self.hub.repos.get(repo, {}).get(name)
        if repo in self.hub.gated and not self.headers.get("Authorization"):
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        if data is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.hub.requested.append(f"{name} {self.headers.get('Range', '')}".strip())
        etag = _sha(data) if _is_lfs(name) else hashlib.sha1(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data))}
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._send(206 if begin else 200, data[begin:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve() -> Iterator[Hub]:
    """Runs a hub; `hub.url` goes into HF_ENDPOINT."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
