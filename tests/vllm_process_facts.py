"""Run by vLLM's Python: asks an engine below this process, then kills it; prints what came as one JSON object."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import asdict, replace
from typing import Any

from synthgen.backends import ModelSpec, open_backends
from synthgen.backends.vllm_process import VllmProcess
from synthgen.errors import SynthgenError
from synthgen.types import Message, Request, SamplingParams

CHAT = (Message("system", "You are helpful."), Message("user", "Give three tips for staying healthy."))
DRAW = SamplingParams(temperature=0.9, top_p=0.95, max_tokens=24, presence_penalty=0.3, seed=11)
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 20}, "answer": {"enum": ["yes", "no"]}},
    "required": ["reason", "answer"],
    "additionalProperties": False,
}
# Names and requests: each is asked here and, by the test, of a real server.
ASKED: dict[str, Request] = {
    "chat": Request("tiny", CHAT, DRAW),
    "another seed": Request("tiny", CHAT, replace(DRAW, seed=12)),
    "defaults": Request("tiny", CHAT, SamplingParams(max_tokens=16, seed=1)),
    "bare text": Request("tiny", "One two three", replace(DRAW, stop=("\n\n", "@", "#", "%", "&", ","))),
    "to the end of the context": Request("tiny", CHAT, replace(DRAW, max_tokens=5000, stop=("\n",))),
    "too long": Request("tiny", (Message("user", "word " * 3000),), DRAW),
    "no number for a temperature": Request("tiny", CHAT, replace(DRAW, temperature=-1.0)),
    "tools": Request("tiny", CHAT, DRAW, tools=({"type": "function", "function": {"name": "f", "parameters": {}}},)),
    **{f"schema {n}": Request("tiny", CHAT, SamplingParams(max_tokens=120, seed=n), schema=SCHEMA) for n in range(6)},
}


async def answer(backend: Any, request: Request) -> dict[str, Any]:
    try:
        return asdict(await backend.complete(request))
    except SynthgenError as error:
        return {"error": type(error).__name__, "said": str(error)}


async def main(path: str) -> None:
    notes: list[str] = []
    (backend,) = open_backends(ModelSpec(f"vllm:{path}"), notes.append)
    assert isinstance(backend, VllmProcess)
    found: dict[str, Any] = {"probe": asdict(await backend.probe()), "notes": notes, "most": backend.most_at_once}
    alone = {name: await answer(backend, request) for name, request in ASKED.items()}
    together = await asyncio.gather(*(answer(backend, request) for request in ASKED.values()))
    found |= {"alone": alone, "together": dict(zip(ASKED, together, strict=True))}
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    long = Request("tiny", CHAT, SamplingParams(max_tokens=600))
    found["dead"] = [await asyncio.wait_for(answer(backend, long), 60) for _ in range(2)]
    await backend.aclose()
    found["left"] = [child.name for child in multiprocessing.active_children()]
    print(json.dumps(found))


if __name__ == "__main__":  # the engine's process imports this file
    asyncio.run(main(sys.argv[1]))
