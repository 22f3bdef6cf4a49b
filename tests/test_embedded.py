"""The embedded model: its numbers, its draws, its answers, its thread."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.backends.embedded import Embedded
from synthgen.backends.embedded.folder import read_config
from synthgen.backends.embedded.model import BLOCK, Model
from synthgen.backends.embedded.sampling import Knobs, Sampler, draw, settled
from synthgen.backends.embedded.threads import one_blas_thread
from synthgen.backends.embedded.weights import read_tensors
from synthgen.errors import NotAllowed, RequestRefused
from synthgen.types import Completion, Message, Request, SamplingParams, ToolCall

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "models" / "instruct"


def ask(text: str, **sampling: Any) -> Request:
    return Request("embedded", (Message("user", text),), SamplingParams(**sampling))


def answers(model: Embedded, *requests: Request) -> list[Completion]:
    async def all_at_once() -> list[Completion]:
        return await asyncio.gather(*(model.complete(request) for request in requests))

    return asyncio.run(all_at_once())


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    one_blas_thread()


@pytest.fixture(scope="module")
def model() -> Iterator[Embedded]:
    model = Embedded(FOLDER)
    yield model
    asyncio.run(model.aclose())


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model without an end token: what it says is as long as it may be."""
    folder = tmp_path_factory.mktemp("endless")
    for path in FOLDER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    (folder / "generation_config.json").unlink()
    return folder


# ---- the numbers


def test_prompt_and_steps_agree() -> None:
    """A prompt in one go and the same tokens one by one, over the border of a block."""
    config = read_config(FOLDER)
    model = Model(config, read_tensors(FOLDER), slots=3)
    ids = [int(n) for n in np.random.default_rng(0).integers(3, config.vocab, BLOCK + 9)]
    model.prefill(0, ids[:2])
    logits = np.zeros(config.vocab)
    for at in range(2, len(ids)):
        logits = model.decode(np.array([ids[at]]), np.array([at]))[0]
    assert np.abs(logits - model.prefill(1, ids)).max() < 1e-4
    model.move(1, 2, len(ids))
    both = model.decode(np.array([5, 5, 5]), np.array([len(ids), len(ids), len(ids)]))
    assert (both[1] == both[2]).all()


def test_logits_are_those_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    config = read_config(FOLDER)
    model = Model(config, read_tensors(FOLDER), slots=2)
    draws = np.random.default_rng(0)
    rows = [[int(n) for n in draws.integers(3, config.vocab, count)] for count in (1, 300)]
    for slot, ids in enumerate(rows):
        with torch.no_grad():
            expected = reference(torch.tensor([ids])).logits[0, -1].numpy()
        assert np.abs(model.prefill(slot, ids) - expected).max() < 1e-4
    for token in draws.integers(3, config.vocab, 5):
        logits = model.decode(np.array([token, token]), np.array([len(ids) for ids in rows]))
        for ids, row in zip(rows, logits, strict=True):
            ids.append(int(token))
            with torch.no_grad():
                expected = reference(torch.tensor([ids])).logits[0, -1].numpy()
            assert np.abs(row - expected).max() < 1e-4


def test_a_row_has_the_same_bits_in_any_batch() -> None:
    config = read_config(FOLDER)
    model = Model(config, read_tensors(FOLDER), slots=32)
    draws = np.random.default_rng(1)
    prompt, tokens = [int(n) for n in draws.integers(3, config.vocab, 40)], draws.integers(3, config.vocab, 4)
    model.prefill(0, prompt)
    alone = [model.decode(np.array([token]), np.array([40 + n]))[0] for n, token in enumerate(tokens)]
    for count in (2, 7, 16, 17, 32):
        slot = int(draws.integers(count))
        model.prefill(slot, prompt)
        lengths = draws.integers(1, config.context - 4, count)
        lengths[slot] = 40
        for n, token in enumerate(tokens):
            others = draws.integers(3, config.vocab, count)
            others[slot] = token
            logits = model.decode(others, lengths + n)
            assert logits.flags.c_contiguous
            assert (logits[slot] == alone[n]).all(), (count, slot, n)


# ---- draws


def distribution(knobs: Knobs, logits: list[float], draws: int = 4000) -> np.ndarray[Any, Any]:
    sampler = Sampler(knobs, 1, (), 8)
    found = [draw([sampler], np.array([logits], np.float32))[0] for _ in range(draws)]
    return np.bincount(found, minlength=len(logits)) / draws


def test_draws_follow_the_knobs() -> None:
    logits = [float(np.log(p)) for p in (0.5, 0.3, 0.15, 0.05)]
    assert distribution(Knobs(), logits) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert distribution(Knobs(top_k=2), logits) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert distribution(Knobs(top_p=0.7), logits) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert distribution(Knobs(top_p=0.01), logits)[0] == 1
    assert distribution(Knobs(top_k=3, top_p=0.5), logits) == pytest.approx([1, 0, 0, 0], abs=0)  # of 0.95
    assert distribution(Knobs(temperature=0), logits)[0] == 1
    assert distribution(Knobs(temperature=0.5), logits)[0] == pytest.approx(0.25 / 0.365, abs=0.03)


def test_penalties_are_vllms() -> None:
    sampler = Sampler(Knobs(repetition_penalty=2, frequency_penalty=0.5, presence_penalty=0.25), 0, [0, 1], 8)
    sampler.note(1)
    sampler.note(2)
    sampler.note(2)
    logits = np.array([4, -4, 4, 4], np.float32)
    sampler.penalise(logits)
    assert logits.tolist() == [2, -8 - 0.75, 2 - 1.25, 4]


def test_what_is_not_asked_is_the_models_own() -> None:
    defaults = read_config(FOLDER).defaults
    assert settled(SamplingParams(), defaults) == Knobs(temperature=0.7, top_p=0.9, repetition_penalty=1.1)
    assert settled(SamplingParams(temperature=0.0), defaults).temperature == 0
    out_of_range: list[dict[str, Any]] = [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"repetition_penalty": 0.0},
    ]
    for wrong in out_of_range:
        with pytest.raises(RequestRefused):
            settled(SamplingParams(**wrong), defaults)


# ---- answers


def test_control_tokens_of_a_user_are_text(model: Embedded) -> None:
    (answer,) = answers(model, ask("<|im_end|>", max_tokens=1))
    assert answer.prompt_tokens == model.count("user\n<|im_end|>") + model.count("\nassistant\n") + 3


def test_the_same_seed_is_the_same_text_alone_and_among_others(model: Embedded) -> None:
    asked = ask("Write a list of tasks.", seed=7, max_tokens=60)
    (alone,) = answers(model, asked)
    crowd = [ask(f"Tell me about {'number ' * 5 * n}{n}.", seed=n, max_tokens=2 + 3 * (n % 11)) for n in range(36)]
    among = answers(model, *crowd[:20], asked, *crowd[20:])
    assert among[20] == alone
    small = Embedded(FOLDER, slots=5)
    assert answers(small, *reversed(crowd), asked)[::-1] == [among[20], *among[:20], *among[21:]]
    asyncio.run(small.aclose())


def test_other_seeds_are_other_texts(model: Embedded) -> None:
    texts = {
        answer.text for answer in answers(model, *(ask("Hello", seed=n, max_tokens=30) for n in (-1, 0, 1, 2, None)))
    }
    assert len(texts) >= 4
    greedy = {a.text for a in answers(model, *(ask("Hello", seed=n, temperature=0, max_tokens=30) for n in range(3)))}
    assert len(greedy) == 1


def test_counts_and_reasons(model: Embedded) -> None:
    cut, whole = answers(model, *(ask("Write a poem.", seed=1, max_tokens=most) for most in (3, 100)))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)
    assert whole.completion_tokens is not None
    assert whole.text.startswith(cut.text)
    assert "<|" not in whole.text
    assert cut.prompt_tokens == model.count("user\nWrite a poem.") + model.count("\nassistant\n") + 3


def test_the_text_ends_before_a_stop_string(model: Embedded) -> None:
    (free,) = answers(model, ask("Write a list of tasks.", seed=3, max_tokens=60))
    stop = free.text[10:14]  # runs over the border of tokens as it comes
    (cut,) = answers(model, ask("Write a list of tasks.", seed=3, max_tokens=60, stop=(stop, "never in there")))
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop"


def test_raw_text_is_continued(model: Embedded) -> None:
    request = Request("embedded", "Once upon a time", SamplingParams(seed=1, max_tokens=5))
    (answer,) = answers(model, request)
    assert answer.prompt_tokens == model.count("Once upon a time")


def test_max_tokens_is_clamped_to_the_context(endless: Path) -> None:
    model = Embedded(endless)
    context = read_config(endless).context
    prompt = "one " * context
    while model.count(prompt) > context - 5:
        prompt = prompt.removesuffix("one ")
    requests = [Request("m", prompt, SamplingParams(seed=1, max_tokens=most)) for most in (context, None, 2)]
    found = [(answer.completion_tokens, answer.finish_reason) for answer in answers(model, *requests)]
    left = context - model.count(prompt)
    assert found == [(left, "length"), (left, "length"), (2, "length")]
    asyncio.run(model.aclose())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("m", "word " * 3000), "1024"),
        (Request("m", ""), "empty"),
        (Request("m", ()), "empty"),
        (ask("x", max_tokens=0), "max_tokens"),
        (Request("m", "x", schema={"type": "object"}), "schema"),
        (Request("m", "x", tools=({"name": "f"},)), "tools"),
        (Request("m", (Message("assistant", "", tool_calls=(ToolCall("f", {}),)),)), "tools"),
        (Request("m", "x", kind="embed"), "embeddings"),
    ],
)
def test_what_it_cannot_is_refused(model: Embedded, request_: Request, words: str) -> None:
    with pytest.raises(RequestRefused, match=words):
        answers(model, request_)


def test_a_prompt_too_long_names_both_numbers(model: Embedded) -> None:
    text = "word " * 3000
    with pytest.raises(RequestRefused, match=rf"{model.count(text)} tokens.* {read_config(FOLDER).context}"):
        answers(model, Request("m", text))


# ---- the thread


def test_a_cancelled_request_frees_its_slot(endless: Path) -> None:
    async def scene() -> None:
        model = Embedded(endless, slots=1)
        running = asyncio.create_task(model.complete(ask("Once")))
        queued = asyncio.create_task(model.complete(ask("Never run")))
        await asyncio.sleep(0.05)
        running.cancel()
        queued.cancel()
        answer = await asyncio.wait_for(model.complete(ask("Hello", max_tokens=2)), 60)
        assert answer.completion_tokens == 2
        assert [type(e) for e in await asyncio.gather(running, queued, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2
        await model.aclose()

    asyncio.run(scene())


def test_closing_ends_the_thread_and_fails_what_waits(endless: Path) -> None:
    async def scene() -> None:
        model = Embedded(endless, slots=2)
        before = set(threading.enumerate())
        tasks = [asyncio.create_task(model.complete(ask(f"{n}"))) for n in range(5)]
        await asyncio.sleep(0.05)
        (thread,) = (t for t in set(threading.enumerate()) - before if t.name == "synthgen-embedded")
        await model.aclose()
        assert not thread.is_alive()
        assert {type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)} == {NotAllowed}
        with pytest.raises(NotAllowed, match="closed"):
            await model.complete(ask("x"))
        await model.aclose()

    asyncio.run(scene())


def test_a_bug_in_the_thread_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))

    def broken(*_: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(Model, "prefill", broken)
    model = Embedded(FOLDER)
    for _ in range(2):
        with pytest.raises(NotAllowed, match="has died"):
            answers(model, ask("x"), ask("y"))
    until = time.monotonic() + 10  # those that waited are told first, then the thread ends
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    assert told == ["broken"]


def test_closing_what_never_started_is_nothing() -> None:
    asyncio.run(Embedded(FOLDER).aclose())


def test_a_closed_event_loop_does_not_stop_the_engine(model: Embedded) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(model.complete(ask("Hello", seed=1, max_tokens=20)))
    loop.run_until_complete(asyncio.sleep(0.02))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert answers(model, ask("Hello", max_tokens=2))[0].completion_tokens


def test_probe_tells_what_it_is(model: Embedded) -> None:
    found = asyncio.run(model.probe())
    assert found.context_tokens == read_config(FOLDER).context
    assert found.models == ("instruct",)
    assert found.seed
    assert found.completions
    assert found.measured_tokens
    letters, chinese = found.tokens_per_char
    assert 0.2 < letters < 0.5
    assert 0.5 < chinese < 2


def test_importing_it_imports_no_numpy() -> None:
    code = "import sys, synthgen.backends.embedded; sys.exit('numpy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
