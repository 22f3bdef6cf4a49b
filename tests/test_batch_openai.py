"""`--batch openai` against a fake of the Batch API: the live path's dataset, no batch twice, whatever is killed when."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import environment
from fake_batch import Body, FakeBatch, serving

from synthgen.asking import identity
from synthgen.backends import ModelSpec, open_backends
from synthgen.backends.batch import Batch, Entry, lines
from synthgen.backends.wire import encode
from synthgen.batches import Batches, remembering
from synthgen.errors import BackendError, NotAllowed, NotYet, RequestRefused, SynthgenError, UsageError
from synthgen.store import Store
from synthgen.types import Completion, Message, Request, SamplingParams

FILES = ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl")


@pytest.fixture
def fake() -> Iterator[FakeBatch]:
    with serving() as server:
        yield server


def command(fake: FakeBatch, out: Path, *more: str) -> list[str]:
    base = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--count", "40", "--out", str(out)]
    return [*base, "--model", "openai:fake", "--base-url", fake.base_url, *more]


def finish(fake: FakeBatch, out: Path, *more: str, code: int = 0) -> str:
    done = subprocess.run(
        command(fake, out, *more), env=environment(OPENAI_API_KEY="key"), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def data(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that waited for each answer."""
    out = tmp_path_factory.mktemp("live")
    with serving() as server:
        finish(server, out)
        assert server.live > 5
        assert not server.batches
    return data(out)


def test_a_batch_makes_the_files_of_the_live_path(fake: FakeBatch, live: dict[str, bytes], tmp_path: Path) -> None:
    said = finish(fake, tmp_path, "--batch", "openai")
    assert data(tmp_path) == live
    assert (fake.live, len(fake.batches)) == (0, 1)
    assert "batch_0000: 8 requests handed over" in said
    assert finish(fake, tmp_path, "--batch", "openai") == ""
    finish(fake, tmp_path)  # the same answers, whichever way they came
    assert data(tmp_path) == live
    assert (fake.live, len(fake.batches)) == (0, 1)


@pytest.mark.parametrize("phase", ["upload", "create", "validating", "in_progress", "finalizing", "content"])
def test_killed_while_it_waits_it_goes_on_with_the_same_batch(
    phase: str, fake: FakeBatch, live: dict[str, bytes], tmp_path: Path
) -> None:
    if phase in ("upload", "create", "content"):
        fake.hangs = phase
    else:
        fake.hold = phase
    args = command(fake, tmp_path, "--batch", "openai")
    with subprocess.Popen(
        args, env=environment(OPENAI_API_KEY="key"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: fake.hangs == "reached" or (bool(fake.hold) and fake.states() == [fake.hold]), process)
        process.kill()
    fake.hangs = fake.hold = ""
    finish(fake, tmp_path, "--batch", "openai")
    assert data(tmp_path) == live
    assert len(fake.batches) == 1
    assert len(set(fake.asked)) == len(fake.asked)


def test_interrupted_it_leaves_the_batch_running_and_says_so(
    fake: FakeBatch, live: dict[str, bytes], tmp_path: Path
) -> None:
    fake.hold = "in_progress"
    args = command(fake, tmp_path, "--batch", "openai")
    with subprocess.Popen(
        args, env=environment(OPENAI_API_KEY="key"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: fake.states() == ["in_progress"], process)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "batch_0000 goes on at the server; the same command takes it up" in said
    assert "the same command continues" in said
    fake.hold = ""
    finish(fake, tmp_path, "--batch", "openai")
    assert data(tmp_path) == live
    assert len(fake.batches) == 1


def test_what_expired_is_taken_in_and_the_rest_goes_into_a_new_batch(
    fake: FakeBatch, live: dict[str, bytes], tmp_path: Path
) -> None:
    fake.most_lines = 3
    said = finish(fake, tmp_path, "--batch", "openai")
    assert data(tmp_path) == live
    assert fake.states()[:2] == ["expired", "expired"]
    assert len(set(fake.asked)) == len(fake.asked) >= 6
    assert "batch_0000: it expired before its end; 5 requests go into a new batch" in said


def test_what_somebody_cancelled_waits_for_the_next_command(
    fake: FakeBatch, live: dict[str, bytes], tmp_path: Path
) -> None:
    fake.most_lines, fake.ends = 3, "cancelled"
    said = finish(fake, tmp_path, "--batch", "openai", code=7)
    assert "batch_0000: it was cancelled; the same command asks the remaining 5 anew" in said
    fake.most_lines = 1 << 30
    finish(fake, tmp_path, "--batch", "openai")
    assert data(tmp_path) == live
    assert len(set(fake.asked)) == len(fake.asked)


def test_a_wrong_key_and_a_wrong_model_are_refused_before_any_file(fake: FakeBatch, tmp_path: Path) -> None:
    fake.api_key = "other"
    assert "does not accept the API key" in finish(fake, tmp_path, "--batch", "openai", code=4)
    fake.api_key, fake.model = "key", "fakes"
    assert "did you mean fakes?" in finish(fake, tmp_path, "--batch", "openai", code=4)
    assert not fake.files


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ModelSpec("embedded", batch="openai"), "give --model openai:NAME"),
        (ModelSpec(None, batch="openai"), "give --model openai:NAME"),
        (ModelSpec("m", ("http://a/v1", "http://b/v1"), batch="openai"), "one --base-url"),
    ],
)
def test_specifications_that_no_batch_can_serve(spec: ModelSpec, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_backends(spec)


# From here on in this process.


def request(number: int, **sampling: Any) -> Request:
    made = Request("fake", (Message("user", f"Say {number}."),), SamplingParams(max_tokens=50, seed=number, **sampling))
    return sealed(made)


def sealed(made: Request) -> Request:
    body = encode(made)
    made = Request(made.model, made.prompt, made.sampling, body=body)
    return Request(made.model, made.prompt, made.sampling, body=body, id=identity(0, "t", made, 0).hex())


Outcome = Completion | BaseException


def ask(fake: FakeBatch, folder: Path, requests: Sequence[Request], notes: list[str] | None = None) -> list[Outcome]:
    """What one life gets for these requests; its store keeps no answers."""

    async def main() -> list[Outcome]:
        backend = batch(fake, notes)
        with closing(Store(folder)) as store:
            try:
                async with remembering(store, [backend]):
                    asked = (backend.complete(one) for one in requests)
                    return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)
            finally:
                await backend.aclose()

    return asyncio.run(main())


def batch(fake: FakeBatch, notes: list[str] | None = None) -> Batch:
    os.environ["OPENAI_API_KEY"] = "key"
    note = (notes if notes is not None else []).append
    (backend,) = open_backends(ModelSpec("openai:fake", (fake.base_url,), batch="openai"), note)
    assert isinstance(backend, Batch)
    backend._quiet_seconds = 0.05
    return backend


@pytest.fixture(autouse=True)
def no_key_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")


def test_a_line_that_is_refused_is_refused_as_by_a_live_server(fake: FakeBatch, tmp_path: Path) -> None:
    def twist(body: dict[str, Any], number: int) -> tuple[int, dict[str, Any]] | None:
        status = {"Say 1.": 400, "Say 2.": 429, "Say 3.": 500, "Say 4.": 404}.get(body["messages"][0]["content"])
        return status and (status, {"error": {"message": "as a test wants it", "code": None}})  # type: ignore[return-value]

    fake.twist = twist
    found = ask(fake, tmp_path, [request(n) for n in range(6)])
    kinds = [Completion, RequestRefused, BackendError, BackendError, NotAllowed, Completion]
    assert [type(one) for one in found] == kinds
    assert str(found[1]) == "HTTP 400: as a test wants it"
    fake.twist = lambda body, number: None  # the same command asks what failed anew, and only that
    again = ask(fake, tmp_path, [request(n) for n in range(6)])
    assert [type(one) for one in again] == [Completion] * 6
    assert [again[0], again[5]] == [found[0], found[5]]
    assert len(fake.asked) == 6 + 4


def test_a_field_that_is_refused_is_left_out_of_the_next_batch(fake: FakeBatch, tmp_path: Path) -> None:
    def twist(body: dict[str, Any], number: int) -> tuple[int, dict[str, Any]] | None:
        if "temperature" in body:
            error = {"message": "Unsupported value", "param": "temperature", "code": "unsupported_value"}
            return 400, {"error": error}
        if body.get("max_tokens", 0) > 20:
            message = "This model's maximum context length is 30 tokens and your request has 10 input tokens"
            return 400, {"error": {"message": message, "param": "max_tokens"}}
        return None

    fake.twist = twist
    notes: list[str] = []
    found = ask(fake, tmp_path, [request(n, temperature=0.5) for n in range(5)], notes)
    assert [type(one) for one in found] == [Completion] * 5
    assert len(fake.batches) == 3
    assert [line for line in notes if "left out" in line] == ["fake does not take temperature: it is left out"]


def test_more_than_may_wait_at_once_goes_in_halves(fake: FakeBatch, tmp_path: Path) -> None:
    fake.tokens_allowed = 5
    notes: list[str] = []
    found = ask(fake, tmp_path, [request(n) for n in range(16)], notes)
    assert [type(one) for one in found] == [Completion] * 16
    assert fake.states()[:2] == ["failed", "failed"]  # 16, 8, then 4 by 4
    assert fake.states()[2:] == ["completed"] * 4
    assert any("in halves" in line for line in notes)


def test_a_batch_that_is_refused_as_a_whole_ends_the_run(fake: FakeBatch, tmp_path: Path) -> None:
    fake.model = "another"
    found = ask(fake, tmp_path, [request(n) for n in range(3)])
    assert {type(one) for one in found} == {NotAllowed}
    assert "batch_0000 was refused: The model does not exist (line 1)" in str(found[0])


def test_chats_and_bare_texts_go_into_files_of_their_own(fake: FakeBatch, tmp_path: Path) -> None:
    bare = sealed(Request("fake", "One two three", SamplingParams(max_tokens=20)))
    found = ask(fake, tmp_path, [request(1), bare])
    assert [type(one) for one in found] == [Completion] * 2
    assert sorted(one["endpoint"] for one in fake.batches.values()) == ["/v1/chat/completions", "/v1/completions"]


def test_a_server_that_fails_now_and_then_is_asked_again(fake: FakeBatch, tmp_path: Path) -> None:
    fake.faults = 3
    notes: list[str] = []
    assert type(ask(fake, tmp_path, [request(1)], notes)[0]) is Completion
    assert len([line for line in notes if "asked again until it answers" in line]) == 1


def test_an_answer_to_the_creation_that_is_lost_makes_no_second_batch(fake: FakeBatch, tmp_path: Path) -> None:
    fake.hangs = "lost"
    fake.listed_late = 1
    assert type(ask(fake, tmp_path, [request(1)])[0]) is Completion
    assert len(fake.batches) == 1


def others(number: int, created_at: float) -> list[Body]:
    """Batches of somebody else."""
    made = {"object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "f", "completion_window": "24h"}
    return [{**made, "id": f"x{n}", "status": "failed", "created_at": int(created_at)} for n in range(number)]


def test_a_batch_is_found_behind_a_hundred_others(fake: FakeBatch, tmp_path: Path) -> None:
    fake.hangs, fake.newer = "lost", others(250, time.time())
    assert type(ask(fake, tmp_path, [request(1)])[0]) is Completion
    assert (fake.listings, len(fake.batches)) == (3, 1)


def test_a_clock_that_is_a_day_ahead_makes_no_second_batch(fake: FakeBatch, tmp_path: Path) -> None:
    fake.hangs, fake.newer = "lost", others(250, time.time() - 86_400)  # as if they were older than our own request
    assert type(ask(fake, tmp_path, [request(1)])[0]) is Completion
    assert len(fake.batches) == 1


def test_answers_that_nobody_asks_for_stay_with_their_batch(fake: FakeBatch, tmp_path: Path) -> None:
    everything = ask(fake, tmp_path, [request(n) for n in range(4)])
    assert ask(fake, tmp_path, [request(2)]) == [everything[2]]
    assert ask(fake, tmp_path, [request(n) for n in range(4)]) == everything
    assert len(fake.batches) == 1


def test_another_key_does_not_pay_for_a_batch_again(fake: FakeBatch, tmp_path: Path) -> None:
    ask(fake, tmp_path, [request(1)])
    fake.batches.clear()
    (found,) = ask(fake, tmp_path, [request(1)])
    assert isinstance(found, NotAllowed)
    assert "batch_0000 is not known to this key" in str(found)


def test_the_ledger_keeps_what_has_an_answer_to_come(tmp_path: Path) -> None:
    entry = Entry("one", ("00" * 16, "11" * 16), {"created": 1.5})

    async def main() -> None:
        with closing(Store(tmp_path)) as store, closing(Batches(store)) as ledger:
            ledger.remember("here", entry)
            await store.save(bytes(16), "t", "m", Completion("x"))
            assert ledger.unfinished("here") == [entry]
            assert ledger.unfinished("there") == []
            later = Entry("one", entry.keys, {"created": 1.5, "id": "b"})
            ledger.remember("here", later)
            assert ledger.unfinished("here") == [later]
            await store.save(b"\x11" * 16, "t", "m", Completion("x"))
            assert ledger.unfinished("here") == []

    asyncio.run(main())


def test_lines_of_every_shape() -> None:
    body = {"choices": []}
    rows = [
        b'{"custom_id":"a","response":{"status_code":200,"body":{"choices":[]}},"error":null}',
        b'{"custom_id":"b","response":{"status_code":400,"body":{"error":{"message":"no"}}},"error":null}',
        b'{"custom_id":"c","response":null,"error":{"code":"batch_expired","message":"late"}}',
        b'{"custom_id":"d","response":null,"error":{"code":"server_error","message":"broke"}}',
        b'{"custom_id":"e","response":{"status_code":400,"body":null},"error":{"error":{"error":{"message":"vllm"}}}}',
        b'{"custom_id":"f","response":{"status_code":400},"error":"a word"}',
        b'{"custom_id":7}', b"[]", b"not json", b'{"custom_id":"cut","response":{"status_co',
    ]  # fmt: skip
    found = dict(lines.read(b"\n".join(rows)))
    assert list(found) == ["a", "b", "d", "e", "f"]
    assert [line.status for line in found.values()] == [200, 400, 500, 400, 400]
    assert found["e"].body == b'{"error":{"message":"vllm"}}'
    assert found["f"].body == b'{"error":"a word"}'
    assert lines.write("a", "/v1/x", body) == (
        b'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"choices":[]}}\n'
    )


def test_not_yet_is_an_end_that_the_same_command_goes_on_from() -> None:
    assert (NotYet.fate, NotYet.exit_code) == ("stop", 7)
    assert issubclass(NotYet, SynthgenError)
    assert not issubclass(NotYet, BackendError)
