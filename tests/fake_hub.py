"""A hub of Hugging Face that takes uploads: what `huggingface_hub` asks for, and what came of it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """`status` is what every request gets in place of an answer."""

    url: str = ""
    status: int = 0
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Hub]:
    """The hub, until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append(self.path)
            hub.tokens.add(self.headers.get("Authorization"))
            if hub.status:
                self._answer(hub.status, {"error": "You don't have the rights to create a dataset there"})
            elif self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                there = name in hub.repos
                hub.repos.setdefault(name, asked)
                self._answer(409 if there else 200, {"url": f"{hub.url}/datasets/{name}", "id": name})
            elif self.path == "/api/validate-yaml":
                asked = json.loads(body)
                hub.cards.append(asked["content"])
                self._answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                self._answer(200, {"files": files})
            elif "/commit/" in self.path:
                self._commit(body)
            else:
                self._answer(404, {"error": "no such place"})

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            self._answer(404, {"error": "no such place"})

        def _commit(self, body: bytes) -> None:
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "header":
                    hub.commits.append(one["value"]["summary"])
                else:
                    assert one["key"] == "file"
                    hub.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            self._answer(
                200, {"success": True, "commitUrl": f"{hub.url}/datasets/x/y/commit/{'0' * 40}", "commitOid": "0" * 40}
            )

        def _answer(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
