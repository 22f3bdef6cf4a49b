"""The conveyor: as many rows as asked for, the same whatever the timing, and nothing asked twice."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from kit import SEEDS, Ended, run
from rouge_score import rouge_scorer

from synthgen import output
from synthgen.asking import Asking
from synthgen.backends.recording import Recording
from synthgen.dedup import NoveltyByScript, Seen
from synthgen.errors import BackendError, NotAllowed, RequestRefused
from synthgen.growth import FIRST_LAG, LAST_LAG, Grown, lag
from synthgen.load import Pool
from synthgen.recipe import Ask, Outcome, Recipe, Setting, sample, thresholds
from synthgen.run import BARREN_TASKS, Conveyor, Ending, Plan
from synthgen.speakers import Speaker
from synthgen.store import Store
from synthgen.types import Capabilities, Completion, Request, Seed, Task

ADJECTIVES = (
    "quiet wooden narrow ancient hungry patient foreign clever electric distant golden frozen honest urban".split()
)
PLACES = (
    "harbour bakery library railway orchard theatre market hospital bridge garden museum factory airport island".split()
)
PEOPLE = (
    "nurses teachers farmers engineers tourists sailors bakers lawyers gardeners painters drivers musicians".split()
)
FORMS = "a letter,a poem,a speech,a riddle,a review,a story,a notice,a menu,a diary,a warning,a joke,a song".split(",")
FRAMES = (
    "Compose {} about the {} {} for {} {}.",
    "Why would anyone read {} in a {} {} full of {} {}?",
    "Turn {} that praises one {} {} into advice to {} {}.",
    "Before {} is published, which {} {} should ask {} {} to check it?",
)

DIFFERENT = (
    "Name one tall tree.",
    "Where do geese sleep?",
    "Add nine to itself.",
    "Explain tides in brief.",
    "Who paints old bridges?",
    "Thank your neighbour politely.",
)


def text_of(request: Request) -> str:
    return "\n".join(m.content for m in request.prompt if not isinstance(m, str))


def chance(request: Request) -> Random:
    """A source of chance that is a function of the request, its seed included, as a server's answer is."""
    return Random(hashlib.blake2b(request.body + b"%d" % (request.sampling.seed or 0)).digest())


def invented(rng: Random) -> str:
    """An instruction; some are near to others, some are unfit, some repeat."""
    drawn = rng.random()
    if drawn < 0.1:
        return rng.choice(("Draw a picture of a lighthouse at night.", "Sing it.", "Name one tall tree in the park."))
    words = [rng.choice(some) for some in (FORMS, ADJECTIVES, PLACES, ADJECTIVES, PEOPLE)]
    return rng.choice(FRAMES).format(*words)


def alpaca(request: Request) -> str:
    """A list of four triples, one of which may lack its output."""
    rng = chance(request)
    rows = []
    for k in range(4, 8):
        lines = [f"{k}. Instruction: {invented(rng)}", f"{k}. Input: <noinput>"]
        rows.append("\n".join([*lines, f"{k}. Output: {invented(rng)}"] if rng.random() > 0.05 else lines))
    return "\n###\n".join(rows)


def bootstrap(request: Request) -> str:
    """Self-Instruct's three kinds of answer."""
    rng, asked = chance(request), text_of(request)
    if "Answer Yes or No" in asked:
        return "No" if rng.random() < 0.8 else "Yes"
    if "class label" in asked.splitlines()[0]:
        return "Class label: good\nInput: It was a fine day.\nClass label: bad\nInput: It rained on us."
    if "of the last task" in asked.splitlines()[0]:
        return f"Output: {invented(rng)}"
    first, last = map(int, re.findall(r"with (\d+) to (\d+)", asked)[-1])
    return "\n".join(f"{k}. {invented(rng)}" for k in range(first, last + 1))


ANSWERS: dict[str, Callable[[Request], str]] = {"alpaca": alpaca, "self-instruct": bootstrap}


def files(folder: Path, count: int | None) -> tuple[bytes, ...]:
    """The data of a run folder as `generate` writes it."""
    with output.reading(folder) as db:
        output.write_dataset(db, count, folder, ("alpaca", "sharegpt", "samples"))
        output.write_failures(db, count, folder)
    names = ("alpaca.jsonl", "sharegpt.jsonl", "samples.jsonl", "rejected.jsonl", "failures.jsonl")
    return tuple((folder / name).read_bytes() for name in names)


def rejected(folder: Path, count: int | None) -> list[dict[str, Any]]:
    files(folder, count)
    return [orjson.loads(line) for line in (folder / "rejected.jsonl").read_bytes().splitlines()]


def asked(outcome: Ended) -> Counter[bytes]:
    """Requests by identity, of which the seed is a part."""
    return Counter(r.body + b"%d" % (r.sampling.seed or 0) for r in outcome.backend.requests)


@pytest.mark.parametrize("recipe", ANSWERS)
@pytest.mark.parametrize("count", [1, 7, 40])
def test_exactly_as_many_rows_as_asked_for(recipe: str, count: int, tmp_path: Path) -> None:
    done = run(tmp_path, ANSWERS[recipe], recipe=recipe, count=count)
    assert (done.ending.code, done.ending.line) == (0, "")
    assert len(done.samples) == done.falls.accepted == count
    assert files(tmp_path, count)[0].count(b"\n") == count
    assert max(asked(done).values()) == 1
    ids = [s.meta["id"] for s in done.samples]
    assert len(set(ids)) == count
    assert [i.split(".")[0] for i in ids] == sorted(i.split(".")[0] for i in ids)


@pytest.mark.parametrize("recipe", ANSWERS)
def test_no_two_accepted_instructions_are_near(recipe: str, tmp_path: Path) -> None:
    """By an independent implementation, over all pairs, seeds included."""
    done = run(tmp_path, ANSWERS[recipe], recipe=recipe, count=50)
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    texts = [s.fields["instruction"] for s in SEEDS] + [row[0] for row in done.rows()]
    pairs = [(a, b) for i, a in enumerate(texts) for b in texts[:i]]
    assert max(scorer.score(a, b)["rougeL"].fmeasure for a, b in pairs) <= 0.7 + 1e-9
    assert done.falls.rejected["novelty"] + done.falls.rejected["duplicate"] > 0


class Late(Recording):
    """The same answers after pauses of their own, so that they come in any order."""

    def __init__(self, *args: Any, rng: Random, **more: Any) -> None:
        super().__init__(*args, **more)
        self._rng = rng

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self._rng.choice((0, 0, 0.001, 0.005, 0.02)))
        return await super().complete(request)


@pytest.mark.parametrize("recipe", ANSWERS)
def test_neither_concurrency_nor_the_order_of_answers_shows(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 90
    run(tmp_path / "one", ANSWERS[recipe], recipe=recipe, count=count, concurrency=1)
    reference = files(tmp_path / "one", count)
    assert reference[3].count(b"\n") > 10
    run(tmp_path / "many", ANSWERS[recipe], recipe=recipe, count=count, concurrency=64)
    assert files(tmp_path / "many", count) == reference
    for n in range(4):
        rng = Random(n)
        monkeypatch.setattr("kit.Recording", lambda *a, rng=rng, **m: Late(*a, rng=rng, **m))
        run(tmp_path / str(n), ANSWERS[recipe], recipe=recipe, count=count, concurrency=(3, 16, 64, 7)[n])
        assert files(tmp_path / str(n), count) == reference


def test_a_run_that_is_broken_off_anywhere_comes_to_the_same(tmp_path: Path) -> None:
    """The process dies after n answers, again and again: what is stored is not asked again, the end is the same."""
    run(tmp_path / "whole", bootstrap, recipe="self-instruct", count=30, concurrency=1)
    lives = 0
    for lives in range(1, 200):  # noqa: B007 - counted
        left = iter(range(9))

        def answer(request: Request, left: Iterator[int] = left) -> str:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return bootstrap(request)

        try:
            done = run(tmp_path / "broken", answer, recipe="self-instruct", count=30, concurrency=1)
        except KeyboardInterrupt:
            continue
        break
    assert lives > 5
    assert done.ending.code == 0
    assert files(tmp_path / "broken", 30) == files(tmp_path / "whole", 30)
    store = Store(tmp_path / "broken")
    try:
        assert store._one("select count(*) from completion") == store._one("select count(*) from identity")
    finally:
        store.close()


@pytest.mark.parametrize("recipe", ANSWERS)
def test_a_larger_count_goes_on_and_a_smaller_one_is_a_prefix(recipe: str, tmp_path: Path) -> None:
    answer = ANSWERS[recipe]
    first = run(tmp_path / "grows", answer, recipe=recipe, count=15)
    small = files(tmp_path / "grows", 15)
    more = run(tmp_path / "grows", answer, recipe=recipe, count=40)
    large = files(tmp_path / "grows", 40)
    assert not asked(first) & asked(more), "something was asked again"
    assert more.samples[:15] == first.samples
    run(tmp_path / "at once", answer, recipe=recipe, count=40)
    assert files(tmp_path / "at once", 40) == large
    back = run(tmp_path / "grows", answer, recipe=recipe, count=15)
    assert back.backend.requests == []
    assert files(tmp_path / "grows", 15) == small


def test_surplus_is_rejected_and_comes_back(tmp_path: Path) -> None:
    def four(request: Request) -> str:
        words = "river mountain valley forest".split()
        tail = chance(request).getrandbits(60)
        rows = (f"{k}. Instruction: Sing of {w} {tail} {k}\n{k}. Output: La {k}." for k, w in enumerate(words, 5))
        return "\n".join(rows)

    done = run(tmp_path, four, count=2, concurrency=1)
    assert len(done.backend.requests) == 1
    assert done.falls.rejected == {"surplus": 2}
    rows = rejected(tmp_path, 2)
    assert [row["reason"] for row in rows] == ["surplus", "surplus"]
    done = run(tmp_path, four, count=4, concurrency=1)
    assert done.backend.requests == []
    assert done.falls.rejected == {}
    assert [s.input_split[0] for s in done.samples if s.input_split][2:] == [
        r["sample"]["messages"][0]["content"] for r in rows
    ]


# Knobs and seeds.


def test_a_changed_knob_is_replayed_from_the_store(tmp_path: Path) -> None:
    """A knob that no request shows costs nothing: the same answers are read under the new rule."""
    first = run(tmp_path / "a", alpaca, count=30)
    forget(tmp_path / "a")
    other = run(tmp_path / "a", alpaca, count=30, values={"novelty": "0.4"})
    assert not asked(first) & asked(other)
    assert other.falls.rejected["novelty"] > first.falls.rejected["novelty"]
    run(tmp_path / "b", alpaca, count=30, values={"novelty": "0.4"})
    assert files(tmp_path / "a", 30) == files(tmp_path / "b", 30)


def test_another_seed_and_back_again(tmp_path: Path) -> None:
    first = run(tmp_path, alpaca, count=12)
    files_of_0 = files(tmp_path, 12)
    forget(tmp_path)
    other = run(tmp_path, alpaca, count=12, run_seed=1)
    assert other.backend.requests
    assert not asked(first) & asked(other)
    assert files(tmp_path, 12) != files_of_0
    forget(tmp_path)
    back = run(tmp_path, alpaca, count=12)
    assert back.backend.requests == []
    assert files(tmp_path, 12) == files_of_0


def forget(folder: Path) -> None:
    """What `generate` does when it finds that knobs, seed, model or templates are others than before."""
    store = Store(folder)
    store.forget_decisions(0)
    store.close()


# Failures.


def failing(*numbers: int, error: Callable[[], BaseException], of: Callable[[Request], str] = alpaca) -> Any:
    """An answer function under which the n-th requests fail."""
    count = iter(range(1 << 30))

    def answer(request: Request) -> str | BaseException:
        return error() if next(count) in numbers else of(request)

    return answer


def test_a_refused_request_costs_one_row_and_is_asked_again(tmp_path: Path) -> None:
    refusing = failing(2, error=lambda: RequestRefused("HTTP 400: the prompt is too long"))
    done = run(tmp_path / "a", refusing, count=20, concurrency=1)
    assert done.ending.code == 5
    assert "the same command asks" in done.ending.line
    assert len(done.samples) == 20
    written = [orjson.loads(line) for line in files(tmp_path / "a", 20)[4].splitlines()]
    assert written == [{"task": "000002", "error": "HTTP 400: the prompt is too long", "attempts": 1}]
    again = run(tmp_path / "a", alpaca, count=20, concurrency=1)
    assert again.ending.code == 0
    assert len(again.backend.requests) == 1
    assert {r.sampling.seed for r in again.backend.requests} == {done.backend.requests[2].sampling.seed}
    run(tmp_path / "b", alpaca, count=20, concurrency=1)
    assert files(tmp_path / "a", 20) == files(tmp_path / "b", 20)


def test_an_instance_that_was_refused_costs_its_own_sample_alone(tmp_path: Path) -> None:
    refusing = failing(3, error=lambda: RequestRefused("no"), of=bootstrap)
    done = run(tmp_path, refusing, recipe="self-instruct", count=20, concurrency=1)
    assert (done.ending.code, done.falls.failed, len(done.samples)) == (5, 1, 20)
    assert any(s.meta["id"].startswith("000000.") for s in done.samples), "the others of that task are kept"


def test_a_growing_run_keeps_the_failures_that_later_tasks_were_made_without(tmp_path: Path) -> None:
    refusing = failing(3, error=lambda: RequestRefused("no"), of=bootstrap)
    run(tmp_path, refusing, recipe="self-instruct", count=20, concurrency=1)
    before = files(tmp_path, 20)
    again = run(tmp_path, bootstrap, recipe="self-instruct", count=20, concurrency=1)
    assert again.ending.code == 5
    assert "after which nothing was accepted" in again.ending.line
    assert again.backend.requests == []
    assert files(tmp_path, 20) == before


def _dying(after_tasks: int, after_requests: int) -> Callable[[Request], str | BaseException]:
    """A server that is gone for good so many requests after so many tasks have begun."""
    begun, more = iter(range(1 << 30)), iter(range(1 << 30))
    state = {"begun": 0}

    def answer(request: Request) -> str | BaseException:
        if "Come up" in text_of(request):
            state["begun"] = next(begun) + 1
        if state["begun"] > after_tasks and next(more) >= after_requests:
            return BackendError("HTTP 503: overloaded")
        return bootstrap(request)

    return answer


@pytest.mark.parametrize(
    "after_requests",
    [
        0,
        10,
    ],
    ids=["whole tasks", "a task in part"],
)
def test_failures_at_the_end_of_a_growing_run_are_asked_again(after_requests: int, tmp_path: Path) -> None:
    """Nothing was accepted after them, so no later task was made without them."""
    done = run(tmp_path / "a", _dying(7, after_requests), recipe="self-instruct", count=60, concurrency=1)
    assert (done.ending.code, done.falls.failed >= 20) == (5, True)
    in_part = {name.split("#")[0] for name in _failed(tmp_path / "a")} & {s.meta["id"][:6] for s in done.samples}
    assert bool(in_part) == bool(after_requests)
    again = run(tmp_path / "a", bootstrap, recipe="self-instruct", count=60, concurrency=1)
    assert (again.ending.code, again.falls.failed, len(again.samples)) == (0, 0, 60)
    run(tmp_path / "b", bootstrap, recipe="self-instruct", count=60, concurrency=1)
    assert files(tmp_path / "a", 60) == files(tmp_path / "b", 60)


def _failed(folder: Path) -> list[str]:
    return [orjson.loads(line)["task"] for line in files(folder, None)[4].splitlines()]


def test_retries_come_before_failures(tmp_path: Path) -> None:
    done = run(tmp_path, failing(0, 1, error=lambda: BackendError("HTTP 503")), count=4, retries=2, concurrency=1)
    assert done.ending.code == 0
    assert done.falls.failed == 0


def test_a_server_that_does_not_let_us_in_stops_the_run(tmp_path: Path) -> None:
    refusing = failing(4, error=lambda: NotAllowed("the server does not accept the API key"))
    done = run(tmp_path, refusing, count=40, concurrency=1)
    assert (done.ending.code, done.ending.line) == (4, "the server does not accept the API key")
    assert len(done.backend.requests) == 5
    assert 0 < len(done.samples) < 40
    assert done.falls.failed == 0
    assert run(tmp_path, alpaca, count=40).ending.code == 0


def test_not_allowed_in_one_of_many_parts_of_a_task_stops_too(tmp_path: Path) -> None:
    refusing = failing(3, error=lambda: NotAllowed("HTTP 401"), of=bootstrap)
    assert run(tmp_path, refusing, recipe="self-instruct", count=40).ending.code == 4


def test_twenty_of_twenty_five_failures_stop_the_run(tmp_path: Path) -> None:
    def refusing(request: Request) -> str | BaseException:
        return BackendError("HTTP 500: out of memory")

    done = run(tmp_path, refusing, count=40, concurrency=1)
    assert done.ending.code == 5
    assert "20 of the last 20 tasks failed for one reason: HTTP 500: out of memory" in done.ending.line
    assert len(done.backend.requests) == 20


@pytest.mark.parametrize(("every", "stops"), [(6, True), (5, True), (4, False)])
def test_failures_among_answers(every: int, stops: bool, tmp_path: Path) -> None:
    """One answer in five leaves twenty failures of 25, which stops the run; one in four does not."""
    count = iter(range(1 << 30))

    def answer(request: Request) -> str | BaseException:
        return alpaca(request) if next(count) % every == 0 else BackendError("HTTP 500")

    done = run(tmp_path, answer, count=60, concurrency=1)
    assert done.ending.code == 5
    assert ("failed for one reason" in done.ending.line) == stops
    assert (len(done.samples) == 60) != stops


@pytest.mark.parametrize(("after", "stops"), [(0, True), (1, False)])
def test_refused_requests_that_stand_together_stop_a_run_only_where_nothing_is_answered(
    after: int, stops: bool, tmp_path: Path
) -> None:
    """Else what comes after them would never be asked, however often the command is given."""
    refusing = failing(*range(after, after + 40), error=lambda: RequestRefused("HTTP 400: the prompt is too long"))
    done = run(tmp_path, refusing, count=60, concurrency=1)
    assert ("failed for one reason" in done.ending.line) == stops
    assert (done.ending.code, len(done.samples)) == (5, 0 if stops else 60)


def test_failures_for_many_reasons_do_not_stop_the_run(tmp_path: Path) -> None:
    count = iter(range(1 << 30))

    def answer(request: Request) -> str | BaseException:
        n = next(count)
        return RequestRefused(f"{n} is the reason") if n < 30 else alpaca(request)

    done = run(tmp_path, answer, count=5, concurrency=1)
    assert len(done.samples) == 5
    assert (done.ending.code, done.falls.failed) == (5, 30)


@pytest.mark.parametrize(
    "nth",
    [
        1,
        2,
    ],
)
def test_a_kill_while_failures_are_taken_up_leaves_none_behind(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the n-th transaction; where there is no n-th, the run simply ends."""
    run(tmp_path, failing(2, error=lambda: RequestRefused("no")), count=20, concurrency=1)
    transactions, writing = iter(range(1, 100)), Store._writing

    def dying(store: Store) -> Any:
        if next(transactions) == nth:
            raise KeyboardInterrupt
        return writing(store)

    monkeypatch.setattr(Store, "_writing", dying)
    with suppress(KeyboardInterrupt):
        run(tmp_path, alpaca, count=20, concurrency=1)
    monkeypatch.undo()
    done = run(tmp_path, alpaca, count=20, concurrency=1)
    assert (done.ending.code, done.falls.failed) == (0, 0)


class Meeting(Recording):
    """Nobody is answered after the first four until four wait at each of two models."""

    def __init__(self, free: int, barrier: asyncio.Barrier) -> None:
        super().__init__(lambda _: "fine")
        self.free, self.barrier = free, barrier

    async def complete(self, request: Request) -> Completion:
        self.free -= 1
        if -4 <= self.free < 0:
            await self.barrier.wait()
        return await super().complete(request)


def test_two_models_are_both_kept_busy(tmp_path: Path) -> None:
    class Judged(Finite):
        name = "judged"

        def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
            yield from (Task(f"{n:06d}", {}) for n in range(20))

        async def run(self, task: Task, ask: Ask) -> list[Outcome]:
            made = await ask(task.id)
            await ask(task.id, role="judge")
            return [sample(task.id, "", made.text)]

    async def main() -> Ending:
        barrier, store = asyncio.Barrier(8), Store(tmp_path)
        pools = {
            "default": Pool([Meeting(4, barrier)], concurrency=4),
            "judge": Pool([Meeting(0, barrier)], concurrency=4),
        }
        speakers = {role: Speaker("m", pool, Capabilities()) for role, pool in pools.items()}
        made = Judged(Setting())
        made.novel = made.filtered = False
        seen = Seen(NoveltyByScript(*thresholds(made)))
        conveyor = Conveyor(made, (), seen, Asking(store, speakers, 0), Plan(None))
        try:
            return await asyncio.wait_for(conveyor.run(), 10)
        finally:
            store.close()
            assert all(pool.users == {} for pool in pools.values())

    assert asyncio.run(main()).code == 0


# Nothing comes any more, or comes wrong.


@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_barren_run_stops_after_two_hundred_tasks(concurrency: int, tmp_path: Path) -> None:
    done = run(tmp_path, lambda _: "I have no idea.", count=3, concurrency=concurrency)
    assert done.ending.code == 7
    assert f"no sample accepted in the last {BARREN_TASKS} tasks (200 parse)" in done.ending.line
    assert BARREN_TASKS == 200
    assert done.falls.rejected == {"parse": 200}
    assert 200 <= len(done.backend.requests) < 200 + concurrency


def test_two_hundred_tasks_are_counted_from_the_last_sample(tmp_path: Path) -> None:
    count = iter(range(1 << 30))

    def drying(request: Request) -> str:
        return alpaca(request) if next(count) < 3 else "I have no idea."

    done = run(tmp_path, drying, count=1000, concurrency=1)
    assert done.ending.code == 7
    last = int(done.samples[-1].meta["id"].split(".")[0])
    assert len(done.backend.requests) == last + 1 + 200


def test_a_barren_run_gets_another_chance_when_it_is_started_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, lambda _: "I have no idea.", count=3, concurrency=1)
        assert (done.ending.code, len(done.backend.requests)) == (7, 200)


def test_an_interrupted_barren_run_stops_where_a_whole_one_does(tmp_path: Path) -> None:
    count = iter(range(1 << 30))

    def broken(request: Request) -> str:
        if next(count) == 120:
            raise KeyboardInterrupt
        return "I have no idea."

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", broken, count=3, concurrency=1)
    run(tmp_path / "broken", broken, count=3, concurrency=1)
    run(tmp_path / "whole", lambda _: "I have no idea.", count=3, concurrency=1)
    assert files(tmp_path / "broken", 3) == files(tmp_path / "whole", 3)


@pytest.mark.parametrize("stage", ["run", "tasks"])
def test_a_bug_in_a_recipe_is_raised(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    def broken_tasks(*_: object) -> Iterator[Task]:
        yield Task("000000", {"demonstrations": [], "parents": []})
        raise ZeroDivisionError("a bug")

    from synthgen.recipes.alpaca import Alpaca

    if stage == "run":
        monkeypatch.setattr(Alpaca, "_item", broken)
    else:
        monkeypatch.setattr(Alpaca, "tasks", broken_tasks)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(tmp_path, alpaca, count=30)
    monkeypatch.undo()
    assert len(run(tmp_path, alpaca, count=3).samples) == 3, "what was stored before the bug is whole"


def test_a_task_that_its_recipe_cancels_is_a_bug_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthgen.recipes.alpaca import Alpaca

    made, of = Alpaca.run, iter(range(1000))

    async def cancelling(self: Alpaca, task: Task, ask: Ask) -> list[Outcome]:
        if next(of) == 2:
            raise asyncio.CancelledError
        return await made(self, task, ask)

    monkeypatch.setattr(Alpaca, "run", cancelling)
    with pytest.raises(RuntimeError, match="the task 000002 was cancelled by its own recipe"):
        run(tmp_path, alpaca, count=90)
    monkeypatch.undo()
    whole = run(tmp_path, alpaca, count=90)
    assert len(whole.samples) == 90
    assert whole.asking.speaker("default").pool.users == {}, "a conveyor that has ended leaves the pool"


class Finite(Recipe):
    """Three tasks and no more."""

    name = "finite"
    summary = "three tasks"

    def tasks(self, seeds: Sequence[Seed], rng: Random) -> Iterator[Task]:
        yield from (Task(f"{n:06d}", {}) for n in range(3))

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        reply = await ask(f"Say {task.id}")
        return [sample(reply.text, "", "So it is.")]


def _echo(request: Request) -> str:
    return DIFFERENT[int(str(request.prompt)[-6:])]


@pytest.fixture
def finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.find", lambda _: Finite)


@pytest.mark.usefixtures("finite")
def test_without_a_count_all_tasks_are_run(tmp_path: Path) -> None:
    done = run(tmp_path, _echo, count=None)
    assert (done.ending.code, len(done.backend.requests)) == (0, 3)


@pytest.mark.usefixtures("finite")
def test_a_recipe_that_runs_out_before_the_count_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, _echo, count=10)
    assert len(done.backend.requests) == 3
    assert done.ending.code == 7
    assert "the tasks are used up" in done.ending.line
    assert "3 of 10 samples" in done.ending.line


# A recipe that grows.


def test_the_lag_belongs_to_the_run() -> None:
    assert (FIRST_LAG, LAST_LAG) == (5, 64)
    assert [lag(i) for i in (0, 5, 11, 12, 40, 128, 129, 10_000)] == [5, 5, 5, 6, 20, 64, 64, 64]
    assert all(i - lag(i) <= i + 1 - lag(i + 1) for i in range(300)), "a later task never sees less"


def test_the_pool_is_a_prefix() -> None:
    pool = Grown()
    pool.add([("a", "x"), ("b", "y")])
    pool.add([])
    pool.add([("c", "z")])
    assert [_seen(pool, n) for n in range(5)] == [[], ["a", "b"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    with pytest.raises(IndexError):
        pool[3]
    pool.visible_tasks = 1
    with pytest.raises(IndexError):
        pool[2]


def _seen(pool: Grown, tasks: int) -> list[str]:
    pool.visible_tasks = tasks
    return [pool[i][0] for i in range(len(pool))]


def _demonstrations(request: Request) -> list[str]:
    return re.findall(r"^\d+\. (.+)$", text_of(request), re.MULTILINE)


@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_growing_recipe_sees_only_what_was_accepted_before_its_lag(concurrency: int, tmp_path: Path) -> None:
    done = run(tmp_path, bootstrap, recipe="self-instruct", count=150, concurrency=concurrency, values={"machine": "4"})
    born = {row[0]: int(s.meta["id"].split(".")[0]) for s, row in zip(done.samples, done.rows(), strict=True)}
    seeds = {s.fields["instruction"] for s in SEEDS}
    first_steps = [r for r in done.backend.requests if "Come up with a series" in text_of(r)]
    assert len(first_steps) > 20
    machine_made = 0
    for index, request in enumerate(first_steps):  # tasks are made, and so first ask, in their order
        shown = [text for text in _demonstrations(request) if text not in seeds]
        assert all(born[text] < index - lag(index) for text in shown)
        visible = sum(1 for task in born.values() if task < index - lag(index))
        assert len(shown) == min(4, visible)
        machine_made += len(shown)
    assert machine_made > 40


def repeating(line: str) -> Callable[[Request], str]:
    """Every list of new instructions has `line` as its ninth."""

    def answer(request: Request) -> str:
        text = bootstrap(request)
        return re.sub(r"(?m)^9\. .*", f"9. {line}", text) if "Come up" in text_of(request) else text

    return answer


def test_nothing_is_paid_for_a_candidate_that_is_near_to_a_seed(tmp_path: Path) -> None:
    near = "Name three rivers that cross the border."
    done = run(tmp_path, repeating(near), recipe="self-instruct", count=20)
    assert [r for r in done.backend.requests if near in text_of(r) and "Come up" not in text_of(r)] == []
    told = [r for r in rejected(tmp_path, 20) if near in str(r["sample"])]
    assert told
    assert {r["reason"] for r in told} == {"novelty"}
    assert all("rouge-l to s1: Name three rivers that cross a border." in r["detail"] for r in told)


def test_a_candidate_near_to_an_accepted_sample_is_not_paid_for_once_it_is_visible(tmp_path: Path) -> None:
    again = "Describe the harbour of a small northern island in autumn."
    values = {"human": "4", "machine": "4"}
    done = run(tmp_path, repeating(again), recipe="self-instruct", count=120, concurrency=1, values=values)
    first_steps = [i for i, r in enumerate(done.backend.requests) if "Come up" in text_of(r)]
    tasks_that_paid = {
        sum(1 for at in first_steps if at < i) - 1
        for i, r in enumerate(done.backend.requests)
        if i not in first_steps and again in text_of(r)
    }
    # Task 0 pays; those that cannot see what it gave, too; none after that.
    assert tasks_that_paid == set(range(FIRST_LAG + 1))
    assert sum(1 for row in done.rows() if row[0] == again) == 1


def test_a_growing_run_goes_on_in_another_life_as_if_it_were_one(tmp_path: Path) -> None:
    for count in (10, 35, 36, 80):
        run(tmp_path / "lives", bootstrap, recipe="self-instruct", count=count, concurrency=64)
    run(tmp_path / "one", bootstrap, recipe="self-instruct", count=80, concurrency=1)
    assert files(tmp_path / "lives", 80) == files(tmp_path / "one", 80)


def test_little_is_asked_for_the_bin_at_the_end(tmp_path: Path) -> None:
    """With many places and a small target, places stay empty: a sample of four tasks' worth is not asked 64 times."""
    done = run(tmp_path, alpaca, count=4, concurrency=64)
    assert len(done.backend.requests) <= 5


@pytest.mark.parametrize("concurrency", [1, 64])
def test_what_happens_beyond_the_target_is_no_part_of_the_run(concurrency: int, tmp_path: Path) -> None:
    """A task that is under way when the target is reached may fail or not: that depends on the concurrency alone."""
    lines = [f"{k}. Instruction: {text}\n{k}. Output: Yes {k}." for k, text in enumerate(DIFFERENT, 4)]
    answers = iter(["\n".join(lines)])
    done = run(tmp_path, lambda _: next(answers, RequestRefused("no")), count=6, concurrency=concurrency)
    assert len(done.backend.requests) == (1 if concurrency == 1 else 2)
    assert (done.ending.code, done.falls.failed, len(done.samples)) == (0, 0, 6)


def test_the_board_counts_what_happened(tmp_path: Path) -> None:
    done = run(tmp_path, failing(1, error=lambda: RequestRefused("no")), count=20, concurrency=1)
    assert done.falls.failed == 1
    assert done.falls.candidates == done.falls.accepted + sum(done.falls.rejected.values())
    assert done.asking.usage.requests == len(done.backend.requests) - 1


def test_the_nearest_earlier_instructions_stand_with_each_sample(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", alpaca, count=20)
    told = run(tmp_path / "b", alpaca, count=20, values={"similar": "3"}, concurrency=1)
    assert told.rows() == plain.rows()
    earlier = [s.fields["instruction"] for s in SEEDS]
    for one in told.samples:
        near = one.meta["most_similar_instructions"]
        assert set(near) <= set(earlier)
        assert len(near) == min(3, len(earlier))
        assert list(near.values()) == sorted(near.values(), reverse=True)
        earlier.append(one.input_split[0])
