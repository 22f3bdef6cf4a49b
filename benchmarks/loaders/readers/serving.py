"""What the readers have in common: a request a line in, an answer a line out, token ids as text and runs of text.

A request {path, format, task, model, ...} names a file of ours; the answer {rows} has what is trained of each row, in
the words of a `Run`: {text, trained}, under "chosen" and "rejected" where there are two, with "label" where there is
one. {error} is what stopped the trainer.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1", "DO_NOT_TRACK": "1"}

Answer = list[dict[str, Any]]


def serve(read: Callable[[dict[str, Any]], Answer]) -> None:
    """Answers until stdin ends; what libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                answer: dict[str, Any] = {"rows": read(request | {"scratch": scratch})}
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever stops a trainer is the answer
                answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), file=out, flush=True)


def run(tokenizer: Any, ids: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
    """The text of token ids, and the parts of it that are trained."""
    return {"text": text(tokenizer, ids), "trained": list(_trained(tokenizer, ids, labels))}


def text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _trained(tokenizer: Any, ids: Sequence[int], labels: Sequence[int]) -> Iterator[str]:
    for trained, part in groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != -100):
        if trained:
            yield text(tokenizer, [token for token, _ in part])
