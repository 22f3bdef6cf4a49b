"""`vllm:PATH`: vLLM's engine below this process, without a server; it asks as vLLM's own server would."""

from __future__ import annotations

import asyncio
import gc
import json
import logging.config
import multiprocessing.spawn
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from synthgen.backends import Note
from synthgen.backends.served import tokens_per_char
from synthgen.backends.vllm_model import VllmModel, closest
from synthgen.backends.wire import one_line
from synthgen.errors import BackendError, NotAllowed, RequestRefused, UsageError
from synthgen.types import Capabilities, Completion, FinishReason, Message, Request

_NAMES = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty")
_FINISH: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}
_LONGEST_CHARS = 300
MOST_AT_ONCE = 256  # vLLM's own default, on most machines
_SCRIPT = """\
#!/bin/sh
exec >> {log} 2>&1
case "$*" in
    *resource_tracker*) exec {python} "$@" ;;
    *) exec {python} -S -c {dying} {python} "$@" ;;
esac
"""


class VllmProcess:
    """A `Backend` that starts an engine at its probe and ends it, with its processes, at `aclose`."""

    def __init__(self, model: VllmModel, note: Note) -> None:
        """Raises UsageError where vLLM is not installed."""
        if find_spec("vllm") is None:
            raise UsageError(
                f'--model vllm:{model.path}: vllm is not installed for this Python; pip install "synthgen[vllm]", '
                f"or start `vllm serve {model.path}` elsewhere and give --base-url http://localhost:8000/v1"
            )
        self.model = model.name
        self.name = f"vllm:{model.name}"
        self._asked, self._note = model, note
        self._starting: asyncio.Task[Any] | None = None
        self._engine: Any = None
        self._tokenizer: Any = None
        self._defaults: Mapping[str, Any] = {}
        self._context_tokens = 0
        self._logs: Path | None = None
        self._keep_logs = False  # an error names them
        self._count = 0
        places = model.typed.get("max_num_seqs")  # known before it starts; what is more than it has waits in its queue
        self.most_at_once = places if isinstance(places, int) else MOST_AT_ONCE

    async def probe(self) -> Capabilities:
        """Start the engine. Raises UsageError for an unknown option, NotAllowed with what it says if it cannot."""
        self._note(f"{self.name}: vLLM is starting in this process; that takes a minute or two")
        self._logs = Path(tempfile.mkdtemp(prefix="synthgen-vllm-"))
        try:
            self._starting = asyncio.create_task(asyncio.to_thread(_start, self._asked, self._logs))
            self._engine = await asyncio.shield(self._starting)
        except UsageError:
            raise
        except Exception as error:
            self._keep_logs = True
            raise NotAllowed(f"{self.name} does not start: {_short(error)} (its log: {self._logs}/vllm.log)") from error
        self._tokenizer = self._engine.get_tokenizer()
        config = self._engine.vllm_config
        self._context_tokens = config.model_config.max_model_len
        self._defaults = config.model_config.get_diff_sampling_param()
        return Capabilities(
            models=(self.model,),
            context_tokens=self._context_tokens,
            completions=True,
            seed=True,
            software="vllm",
            tokens_per_char=tokens_per_char(lambda text: len(self._encode(text))),
            measured_tokens=True,
        )

    async def complete(self, request: Request) -> Completion:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if request.kind != "generate":
            raise RequestRefused("this backend makes no embeddings")
        if request.tools:
            raise RequestRefused(f"{self.name} reads no tool calls; use a server: vllm serve --enable-auto-tool-choice")
        ids = self._prompt(request.prompt)
        left = self._context_tokens - len(ids)
        if left < 1:
            raise RequestRefused(
                f"the prompt has {len(ids):,} tokens, and the context {self._context_tokens:,}: no room for an answer"
            )
        self._count += 1
        try:
            sampling = self._sampling(request, left)
            asked = self._engine.generate({"prompt_token_ids": ids}, sampling, str(self._count))
            answers = [answer async for answer in asked]
        except EngineDeadError as error:
            self._keep_logs = True
            raise NotAllowed(f"{self.name} has died: {_short(error)} (its log: {self._logs}/vllm.log)") from error
        except EngineGenerateError as error:
            raise BackendError(f"{self.name}: {_short(error.__cause__ or error)}") from None  # an answer: see load.Pool
        except _refusals() as error:
            kind = BackendError if getattr(error, "http_status", 400) >= 500 else RequestRefused
            raise kind(f"{self.name}: {_short(error)}") from None
        return self._completion(answers[-1], len(ids))

    def _completion(self, output: Any, prompt_tokens: int) -> Completion:
        answer = output.outputs[0]
        if answer.finish_reason not in _FINISH:
            raise BackendError(f"{self.name} broke the answer off (finish_reason {answer.finish_reason})")
        return Completion(
            text=answer.text,
            finish_reason=_FINISH[answer.finish_reason],
            prompt_tokens=prompt_tokens,
            completion_tokens=len(answer.token_ids),
        )

    def _prompt(self, prompt: str | Sequence[Message]) -> list[int]:
        """As vLLM's server makes it: a text with the model's special tokens, a chat by its template alone."""
        if isinstance(prompt, str):
            return self._encode(prompt, special=True)
        try:
            text = self._tokenizer.apply_chat_template(
                [_turn(message) for message in prompt], tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, ValueError, TypeError, LookupError) as error:
            raise RequestRefused(f"the chat template of {self.model} refuses this: {_short(error)}") from None
        return self._encode(text)

    def _encode(self, text: str, *, special: bool = False) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=special))

    def _sampling(self, request: Request, left: int) -> Any:
        """The request's numbers, else those of the model's generation_config.json, else vLLM's."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        wanted = request.sampling
        given = {name: getattr(wanted, name) for name in _NAMES}
        given = {name: self._defaults.get(name) if value is None else value for name, value in given.items()}
        most = wanted.max_tokens if wanted.max_tokens is not None else self._defaults.get("max_tokens")
        schema = None if request.schema is None else StructuredOutputsParams(json=json.dumps(dict(request.schema)))
        return SamplingParams(
            **{name: value for name, value in given.items() if value is not None},
            max_tokens=left if most is None else min(most, left),
            stop=[stop for stop in dict.fromkeys(wanted.stop) if stop],
            seed=wanted.seed,
            structured_outputs=schema,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def aclose(self) -> None:
        """End the engine and wait for its processes, also those of a start that is still under way."""
        starting, self._starting, self._engine = self._starting, None, None
        if starting is not None:
            while not starting.done():  # a thread cannot be cancelled; without its process it gives up
                for child in multiprocessing.active_children():
                    if child.name.startswith("EngineCore"):
                        child.kill()
                await asyncio.wait([starting], timeout=0.2)
            if starting.exception() is None:
                engine = starting.result()
                await asyncio.to_thread(engine.shutdown)
                engine.shutdown = lambda: None  # its __del__ calls it once more, in an interpreter half gone
                del engine
        # What is still there when the interpreter ends complains of it, each library in its own words.
        self._tokenizer = starting = None
        gc.unfreeze()
        gc.collect()
        if self._logs is not None and not self._keep_logs:
            shutil.rmtree(self._logs, ignore_errors=True)


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises at a request that it does not take; the names have changed with its versions."""
    from vllm import exceptions

    own = (getattr(exceptions, name, ValueError) for name in ("VLLMError", "VLLMValidationError"))
    return (*own, ValueError, TypeError)


def _start(model: VllmModel, logs: Path) -> Any:
    """The engine, ready to answer; it runs in processes of its own."""
    log = logs / "vllm.log"
    _quiet(logs, log)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    known = [field.name for field in fields(AsyncEngineArgs)]
    for name in model.options:
        if name not in known:
            raise UsageError(f"--model vllm:{model.path}: vLLM has no engine argument {name}{closest(name, known)}")
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it warns of prompts that we refuse ourselves
    options = {"disable_log_stats": True, **model.typed}
    python = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable(str(_into(log, os.fsdecode(python))))
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(model=model.path, **options))
    finally:
        multiprocessing.set_executable(python)


def _quiet(logs: Path, log: Path) -> None:
    """vLLM's log goes to a file; where the user has said how it is to log, that stands."""
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s %(asctime)s %(name)s: %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(log), "formatter": "line"}},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    (logs / "logging.json").write_text(json.dumps(config))
    if "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(logs / "logging.json")
        logging.config.dictConfig(config)  # what it says while it is imported comes before it has read that
    # A copy of a process that has threads may wait for a lock that none of its threads holds any more.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


def _into(log: Path, python: str) -> Path:
    """A Python for the engine's processes: it writes into the log, as libraries below vLLM print as they like, hears
    no Ctrl-C of the terminal, and dies with this process, even by SIGKILL; what clears up shared memory lives on."""
    dying = "import ctypes, os, sys; os.setsid(); ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
    words = {"python": shlex.quote(python), "log": shlex.quote(str(log)), "dying": shlex.quote(dying)}
    script = log.with_name("python")
    script.write_text(_SCRIPT.format(**words))
    script.chmod(0o700)
    return script


def _turn(message: Message) -> dict[str, Any]:
    """A message as templates read it: arguments of calls are objects."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": dict(c.arguments)}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _short(error: BaseException) -> str:
    text = one_line(str(error)) or type(error).__name__
    return text if len(text) <= _LONGEST_CHARS else text[: _LONGEST_CHARS - 1] + "…"
