"""One request, one identity: looked up, sent with a seed of its own, stored, and never asked twice."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from kit import capabilities

from synthgen.asking import Asking, TaskAsk, identity
from synthgen.backends import wire
from synthgen.backends.recording import Recording
from synthgen.errors import BackendError, RequestRefused, UsageError
from synthgen.load import Pool
from synthgen.speakers import Speaker, allow_files
from synthgen.store import Store
from synthgen.types import Completion, Message, Request, SamplingParams

PROMPT = (Message("user", "Name a tree."),)
Answer = Callable[[Request], str | Completion | BaseException]


def asked(
    folder: Path,
    answer: Answer,
    script: Callable[[Callable[[str], TaskAsk]], Any],
    *,
    run_seed: int = 0,
    model: str = "recording",
    context_tokens: int | None = None,
    retries: int = 0,
) -> tuple[Any, list[Request], Asking]:
    """What `script` returns, what the backend was asked, and the counters; `script` gets ask by task name."""

    async def main() -> tuple[Any, list[Request], Asking]:
        backend = Recording(answer, model=model, context_tokens=context_tokens)
        opened = Store(folder)
        speaker = Speaker(model, Pool([backend], concurrency=8, retries=retries), await backend.probe())
        shared = Asking(opened, {"default": speaker}, run_seed)
        try:
            found = await script(lambda task: TaskAsk(shared, task, lambda texts: [None] * len(texts)))
        finally:
            await speaker.pool.aclose()
            opened.close()
        return found, backend.requests, shared

    return asyncio.run(main())


def counting() -> Answer:
    """Answers that number themselves: a second answer to the same question is a different one."""
    numbers = iter(range(1000))
    return lambda _: f"answer {next(numbers)}"


def texts(*prompts: Sequence[Message] | str, task: str = "t", sampling: SamplingParams | None = None) -> Any:
    """A script that asks one after the other in one task."""

    async def script(ask_for: Callable[[str], TaskAsk]) -> list[str]:
        ask = ask_for(task)
        return [(await ask(p, sampling=sampling)).text for p in prompts]

    return script


def test_two_equal_requests_are_two_answers_and_stay_so(tmp_path: Path) -> None:
    """Without the ordinal best-of-n would silently be best-of-1."""
    first, requests, _ = asked(tmp_path, counting(), texts(PROMPT, PROMPT, PROMPT))
    assert first == ["answer 0", "answer 1", "answer 2"]
    assert len({r.sampling.seed for r in requests}) == 3
    assert len({r.body for r in requests}) == 1
    again, requests, shared = asked(tmp_path, counting(), texts(PROMPT, PROMPT, PROMPT))
    assert (again, requests) == (first, [])
    assert (shared.usage.requests, shared.usage.served) == (0, 3)
    more, requests, _ = asked(tmp_path, counting(), texts(*[PROMPT] * 4))
    assert more == [*first, "answer 0"]
    assert len(requests) == 1


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "system prompt": {"prompt": (Message("system", "Be brief."), *PROMPT)},
    "another prompt": {"prompt": (Message("user", "Name a tree!"),)},
    "raw text": {"prompt": "Name a tree."},
    "turns": {"prompt": (*PROMPT, Message("assistant", "Oak"), Message("user", "Another."))},
    "temperature": {"sampling": SamplingParams(temperature=0.5)},
    "temperature 0": {"sampling": SamplingParams(temperature=0.0)},
    "top_p": {"sampling": SamplingParams(top_p=0.5)},
    "top_k": {"sampling": SamplingParams(top_k=5)},
    "max_tokens": {"sampling": SamplingParams(max_tokens=5)},
    "presence": {"sampling": SamplingParams(presence_penalty=0.5)},
    "frequency": {"sampling": SamplingParams(frequency_penalty=0.5)},
    "repetition": {"sampling": SamplingParams(repetition_penalty=0.5)},
    "stop": {"sampling": SamplingParams(stop=("a",))},
    "five stops": {"sampling": SamplingParams(stop=("a", "b", "c", "d", "e"))},
    "another fifth stop": {"sampling": SamplingParams(stop=("a", "b", "c", "d", "f"))},
    "schema": {"schema": {"type": "object"}},
    "another schema": {"schema": {"type": "array"}},
    "task": {"task": "u"},
    "task and seed run together": {"task": "\x000t"},
    "run seed": {"run_seed": 1},
    "model": {"model": "another"},
}


def _asked_as(folder: Path, **variant: Any) -> Request:
    run = {name: variant.pop(name) for name in ("run_seed", "model") if name in variant}
    task, prompt = variant.pop("task", "t"), variant.pop("prompt", PROMPT)

    async def script(ask_for: Callable[[str], TaskAsk]) -> None:
        await ask_for(task)(prompt, **variant)

    return asked(folder, lambda _: "yes", script, **run)[1][0]


def test_everything_that_shapes_an_answer_is_in_its_identity(tmp_path: Path) -> None:
    """All variants share one store: none may be served another's answer, and their seeds all differ."""
    seeds = {name: _asked_as(tmp_path, **variant).sampling.seed for name, variant in VARIANTS.items()}
    alike = [(a, b) for a, b in combinations(VARIANTS, 2) if seeds[a] == seeds[b]]
    assert alike == []


def test_what_does_not_shape_an_answer_is_not_in_its_identity() -> None:
    request = Request("m", PROMPT, SamplingParams(seed=1), body=b"{}")
    assert identity(0, "t", request, 0) == identity(0, "t", replace(request, sampling=SamplingParams(seed=2)), 0)
    assert len(identity(0, "t", request, 0)) == 16


def test_the_seed_is_derived_and_no_part_of_the_hashed_body(tmp_path: Path) -> None:
    request = _asked_as(tmp_path / "a")
    seed = request.sampling.seed
    assert seed is not None
    assert 0 <= seed < 1 << 31
    assert b'"seed"' not in request.body
    assert wire.with_seed(request.body, seed).endswith(b',"seed":%d}' % seed)
    assert _asked_as(tmp_path / "b").sampling.seed == seed  # the same in every life and on every machine
    assert _asked_as(tmp_path / "c", run_seed=1).body == request.body


def test_an_identity_does_not_change_between_releases() -> None:
    """Stored answers of an earlier release are found again only while the identity stays what it is."""
    body = wire.encode(Request("recording", PROMPT, SamplingParams(temperature=0.5)))
    assert body == b'{"messages":[{"content":"Name a tree.","role":"user"}],"model":"recording","temperature":0.5}'
    assert identity(7, "000001", Request("recording", PROMPT, body=body), 0).hex() == "44d401cdb7be6fba42517a641a3bc035"
    assert identity(7, "000001", Request("recording", PROMPT, body=body), 2).hex() == "131806887e4958b4cdbe4117971dfa23"


def test_an_answer_is_on_disk_before_the_caller_has_it(tmp_path: Path) -> None:
    async def script(ask_for: Callable[[str], TaskAsk]) -> int:
        ask = ask_for("t")
        await ask(PROMPT)
        opened = ask._shared.store
        return int(opened._one("select count(*) from identity join completion using (n) where text = 'Oak'"))

    assert asked(tmp_path, lambda _: "Oak", script)[0] == 1


def test_tasks_do_not_share_ordinals(tmp_path: Path) -> None:
    async def script(ask_for: Callable[[str], TaskAsk]) -> list[str]:
        both = ask_for("a"), ask_for("b")
        return [(await ask(PROMPT)).text for ask in (*both, *both)]

    assert asked(tmp_path, counting(), script)[0] == ["answer 0", "answer 1", "answer 2", "answer 3"]

    async def reverse(ask_for: Callable[[str], TaskAsk]) -> list[str]:
        both = ask_for("b"), ask_for("a")
        return [(await ask(PROMPT)).text for ask in (*both, *both)]

    assert asked(tmp_path, counting(), reverse)[0] == ["answer 1", "answer 0", "answer 3", "answer 2"]


@pytest.mark.parametrize("error", [RequestRefused("too long"), BackendError("HTTP 500")])
def test_a_failure_is_not_stored(tmp_path: Path, error: BackendError) -> None:
    async def script(ask_for: Callable[[str], TaskAsk]) -> None:
        await ask_for("t")(PROMPT)

    with pytest.raises(type(error)):
        asked(tmp_path, lambda _: error, script)
    assert asked(tmp_path, lambda _: "Oak", texts(PROMPT))[0] == ["Oak"]


def test_answers_are_counted_once(tmp_path: Path) -> None:
    answer = Completion("Oak", "length", prompt_tokens=7, completion_tokens=2)
    _, _, shared = asked(tmp_path, lambda _: answer, texts(PROMPT, PROMPT))
    usage = shared.usage
    found = usage.requests, usage.served, usage.prompt_tokens, usage.completion_tokens
    assert found == (2, 0, 14, 4)
    usage = asked(tmp_path, lambda _: answer, texts(PROMPT, PROMPT))[2].usage
    assert (usage.requests, usage.served, usage.prompt_tokens) == (0, 2, 0)


def test_an_answer_comes_back_from_the_store_as_it_was(tmp_path: Path) -> None:
    answer = Completion("Oak", "length", reasoning="why", prompt_tokens=7, completion_tokens=2)

    async def script(ask_for: Callable[[str], TaskAsk]) -> Completion:
        return await ask_for("t")(PROMPT)

    assert asked(tmp_path, lambda _: answer, script)[0] == asked(tmp_path, counting(), script)[0] == answer


# max_tokens fits what the context leaves.


@pytest.mark.parametrize(
    ("context_tokens", "wanted", "sent"),
    [
        (None, 300, 300),  # an unknown context limits nothing
        (None, None, None),
        (4096, 300, 300),
        (100, 300, 100 - (int(12 * 0.3) + 1) - 8),  # "Name a tree." at 0.3 tokens a character, and a frame
        (100, None, 100 - 4 - 8),
        (10, 300, 5),  # nothing is left by the estimate: the server shall say so
    ],
)
def test_max_tokens_fits_the_context(
    tmp_path: Path, context_tokens: int | None, wanted: int | None, sent: int | None
) -> None:
    sampling = SamplingParams(max_tokens=wanted)
    requests = asked(tmp_path, lambda _: "y", texts(PROMPT, sampling=sampling), context_tokens=context_tokens)[1]
    assert requests[0].sampling.max_tokens == sent


def test_tokens_are_counted_by_script() -> None:
    speaker = Speaker("m", Pool([], concurrency=1), capabilities(tokens_per_char=(0.25, 0.8)))
    assert speaker.count_tokens("a" * 100) == 26
    assert speaker.count_tokens("树" * 100) == 81
    assert speaker.count_tokens("a" * 100 + "树" * 100) == 106
    assert speaker.count_tokens("") == 1


def test_a_role_without_a_model_of_its_own_is_the_default(tmp_path: Path) -> None:
    async def script(ask_for: Callable[[str], TaskAsk]) -> str:
        return (await ask_for("t")(PROMPT, role="judge")).text

    assert asked(tmp_path, lambda _: "Oak", script)[0] == "Oak"


def test_no_model_at_all_is_the_users_to_give(tmp_path: Path) -> None:
    opened = Store(tmp_path)
    try:
        with pytest.raises(UsageError, match="no model for the role 'judge'"):
            Asking(opened, {}, 0).request(PROMPT, "judge", SamplingParams(), None)
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("soft", "hard", "raised"), [(256, -1, 10_240), (65_536, -1, 65_536), (1024, 4096, 4096), (-1, -1, None)]
)
def test_the_limit_of_open_files_is_raised_and_never_lowered(
    soft: int, hard: int, raised: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    pool = Pool([Recording(lambda _: "ok")], concurrency=None)
    allow_files([pool])
    assert limits == ([] if raised is None else [(raised, hard)])
    assert pool.most_at_once == min(2048, (raised or 1 << 20) - 64)


def test_a_seed_changes_nothing_else() -> None:
    params = SamplingParams(0.5, 0.9, 40, 64, ("a", "b"), None, 0.1, 0.2, 1.1)
    assert params.seeded(7) == dataclasses.replace(params, seed=7)
