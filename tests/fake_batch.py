"""A fake of OpenAI's Batch API, from its published schema: files, batches, their states and their faults.

Answers are those of `fake_server` for the same body. A test holds a batch in a state with `hold`, and lets requests
hang with `hangs`; `created` counts batches.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson
from aiohttp import web
from fake_server import completion
from faulty import threaded

STATES = ("validating", "in_progress", "finalizing", "completed")
Body = dict[str, Any]


class FakeBatch:
    """`twist(body, round)` may give a status and an error body for a line; a line beyond `most_lines` expires."""

    def __init__(self, *, api_key: str = "key", model: str = "fake") -> None:
        self.api_key, self.model = api_key, model
        self.base_url = ""
        self.hold = ""  # batches do not leave this state
        # "upload" (nothing is stored), "create" (it is, but no answer comes), "content", "lost"
        self.hangs = ""
        self.most_lines = 1 << 30
        self.ends = "expired"  # how a batch with more lines than that ends
        self.tokens_allowed = 1 << 30  # lines of all batches that are under way
        self.newer: list[Body] = []  # what others have begun since, in the same account
        self.listed_late = 0  # so many listings do not show the newest batch
        self.twist: Callable[[Body, int], tuple[int, Body] | None] = lambda body, number: None
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, Body] = {}
        self.asked: list[str] = []  # custom_ids, in order of being computed
        self.live = 0  # answers given while the client waited
        self.listings = 0
        self.faults = 0  # so many requests are answered 500 first

    def states(self) -> list[str]:
        return [batch["status"] for batch in self.batches.values()]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _error(401, "Incorrect API key provided")
        if self.faults:
            self.faults -= 1
            return _error(500, "The server had an error")
        response: web.StreamResponse = await handler(request)
        return response

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28, middlewares=[self._guard])
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._retrieve)
        app.router.add_post("/v1/batches/{id}/cancel", self._cancel)
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _chat(self, request: web.Request) -> web.Response:
        self.live += 1
        body = orjson.loads(await request.read())
        status, answer = self._answer(body)
        return web.json_response(answer, status=status)

    def _answer(self, body: Body, number: int = 0) -> tuple[int, Body]:
        twisted = self.twist(body, number)
        if twisted is not None:
            return twisted
        chance = int.from_bytes(hashlib.blake2b(orjson.dumps(body), digest_size=16).digest(), "big")
        return 200, completion(body, chance, "alpaca")

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        field = form["file"]
        if form.get("purpose") != "batch" or not isinstance(field, web.FileField):
            return _error(400, "'purpose' and 'file' are required")
        with field.file as file:
            raw = file.read()
        if self.hangs == "upload":
            self.hangs = "reached"
            await asyncio.sleep(3600)
        name = f"file-{len(self.files):04d}"
        self.files[name] = field.filename, raw
        return web.json_response(
            {
                "id": name, "object": "file", "bytes": len(self.files[name][1]), "created_at": int(time.time()),
                "filename": field.filename, "purpose": "batch", "status": "processed",
            }
        )  # fmt: skip

    async def _content(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["id"])
        if found is None:
            return _error(404, "No such File object")
        if self.hangs == "content":
            self.hangs = "reached"
            await asyncio.sleep(3600)
        return web.Response(body=found[1], content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("completion_window") != "24h" or asked.get("input_file_id") not in self.files:
            return _error(400, "Invalid 'completion_window' or 'input_file_id'")
        if asked.get("endpoint") not in ("/v1/chat/completions", "/v1/completions"):
            return _error(400, "Invalid 'endpoint'")
        metadata = asked.get("metadata") or {}
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            return _error(400, "Invalid 'metadata'")
        batch: Body = {
            "id": f"batch_{len(self.batches):04d}", "object": "batch", "endpoint": asked["endpoint"], "errors": None,
            "input_file_id": asked["input_file_id"], "completion_window": "24h", "status": "validating",
            "created_at": int(time.time()), "metadata": metadata, "output_file_id": None, "error_file_id": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        self.batches[batch["id"]] = batch
        if self.hangs == "create":
            self.hangs = "reached"
            await asyncio.sleep(3600)
        if self.hangs == "lost":  # there is a batch, and the answer says that something broke
            self.hangs = ""
            return _error(500, "The server had an error")
        return web.json_response(batch)

    async def _list(self, request: web.Request) -> web.Response:
        self.listings += 1
        newest = list(reversed(self.batches.values()))
        if self.listed_late:
            self.listed_late -= 1
            newest = newest[1:]
        newest = self.newer + newest
        after, limit = request.query.get("after"), int(request.query.get("limit", 20))
        if after is not None:
            newest = newest[[batch["id"] for batch in newest].index(after) + 1 :]
        page = newest[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return web.json_response({"object": "list", "data": page, **ends, "has_more": len(newest) > limit})

    async def _retrieve(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "No such batch")
        self._advance(batch)
        return web.json_response(batch)

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        batch["status"] = "cancelled"
        self._finish(batch)
        return web.json_response(batch)

    def _advance(self, batch: Body) -> None:
        """One state a look, unless it is held."""
        if batch["status"] not in STATES[:-1] or batch["status"] == self.hold:
            return
        if batch["status"] == "validating":
            if errors := self._faults_of(batch):
                batch.update(status="failed", errors={"object": "list", "data": errors})
                return
            batch["request_counts"]["total"] = len(self._lines(batch))
        batch["status"] = STATES[STATES.index(batch["status"]) + 1]
        if batch["status"] == "completed":
            if len(self._lines(batch)) > self.most_lines:
                batch["status"] = self.ends
            self._finish(batch)

    def _lines(self, batch: Body) -> list[bytes]:
        return self.files[batch["input_file_id"]][1].splitlines()

    def _faults_of(self, batch: Body) -> list[Body]:
        """What the validation says of an input file."""
        found: list[Body] = []
        seen: set[str] = set()
        for number, text in enumerate(self._lines(batch), 1):
            try:
                line = orjson.loads(text)
            except orjson.JSONDecodeError:
                found.append({"code": "invalid_json_line", "line": number, "message": "This line is not valid JSON."})
                continue
            if line["custom_id"] in seen:
                found.append({"code": "duplicate_custom_id", "line": number, "message": "Duplicate custom_id"})
            seen.add(line["custom_id"])
            if line["method"] != "POST" or line["url"] != batch["endpoint"]:
                found.append({"code": "mismatched_url", "line": number, "message": "The URL does not match"})
            if line["body"].get("model") != self.model:
                found.append({"code": "model_not_found", "line": number, "message": "The model does not exist"})
        busy = [b for b in self.batches.values() if b is not batch and b["status"] in STATES[:-1]]
        if len(seen) + sum(len(self._lines(b)) for b in busy) > self.tokens_allowed:
            found.append({"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached"})
        if len(seen) > 50_000 or not seen:
            found.append({"code": "invalid_file", "line": None, "message": "1 to 50,000 lines"})
        return found

    def _finish(self, batch: Body) -> None:
        """Its two files. Answers stand in no order that a client may count on."""
        answers, errors = [], []
        number = list(self.batches).index(batch["id"])
        for place, text in enumerate(self._lines(batch)):
            line = orjson.loads(text)
            row: Body = {"id": f"batch_req_{place}", "custom_id": line["custom_id"], "response": None, "error": None}
            if place >= self.most_lines:
                row["error"] = {"code": "batch_expired", "message": "This request could not be executed in time."}
                errors.append(row)
                continue
            self.asked.append(line["custom_id"])
            status, body = self._answer(line["body"], number)
            row["response"] = {"status_code": status, "request_id": f"req-{place}", "body": body}
            (answers if status == 200 else errors).append(row)
        for kind, rows in (("output", answers[::-1]), ("error", errors)):
            if rows:
                name = f"file-{len(self.files):04d}"
                self.files[name] = f"{batch['id']}_{kind}.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows)
                batch[f"{kind}_file_id"] = name
        batch["request_counts"].update(completed=len(answers), failed=len(errors))


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


def serving() -> AbstractContextManager[FakeBatch]:
    """A `FakeBatch` on a loop of its own, in a thread, until the end of the block."""
    return threaded(FakeBatch())
