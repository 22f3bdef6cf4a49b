"""Stands for vLLM's batch runner: its command line, its output written only at the end, its shapes of errors.

RUN_BATCH_SECONDS makes it slow; RUN_BATCH_FAULT is `exit`, or the first words of prompts to refuse; it appends what it
was given to RUN_BATCH_LOG.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson
from fake_server import completion


def answer(line: dict[str, Any], fault: str) -> dict[str, Any]:
    body = line["body"]
    row: dict[str, Any] = {"id": "vllm-1", "custom_id": line["custom_id"], "error": None}
    if line["url"] != "/v1/chat/completions":
        return {**row, "response": {"status_code": 400, "request_id": "r", "body": None}, "error": "URL was used."}
    if fault and fault in body["messages"][0]["content"]:
        error = {"error": {"message": "as a test wants it", "type": "BadRequestError", "param": None, "code": 400}}
        return {**row, "response": {"status_code": 400, "request_id": "r", "body": None}, "error": error}
    chance = int.from_bytes(hashlib.blake2b(orjson.dumps(body), digest_size=16).digest(), "big")
    return {**row, "response": {"status_code": 200, "request_id": "r", "body": completion(body, chance, "alpaca")}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", dest="module", required=True)
    parser.add_argument("-i", dest="given", type=Path, required=True)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--model", required=True)
    asked = parser.parse_args()
    assert asked.module == "vllm.entrypoints.openai.run_batch"
    lines = [orjson.loads(text) for text in asked.given.read_text(encoding="utf-8").strip().split("\n")]
    with Path(os.environ["RUN_BATCH_LOG"]).open("a") as log:
        log.write(f"{os.getpid()} {len(lines)}\n")
    fault = os.environ.get("RUN_BATCH_FAULT", "")
    if fault == "exit":
        sys.exit("ValueError: the engine does not start")
    print(f"Running batch:  50% Completed | {len(lines) // 2}/{len(lines)} [00:01<00:01]", file=sys.stderr, flush=True)
    time.sleep(float(os.environ.get("RUN_BATCH_SECONDS", "0")))
    rows = [answer(line, fault) for line in lines]
    asked.out.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


if __name__ == "__main__":
    main()
