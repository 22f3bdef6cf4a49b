"""What a run would cost: from prompts as they would be sent, and from what earlier runs measured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty import Faulty, generate, synthgen
from kit import SEEDS, capabilities, recipe_of, seed

from synthgen.budget import Price
from synthgen.estimate import Asked, Estimate, Work, estimate, rehearse
from synthgen.load import Pool
from synthgen.recipes import find
from synthgen.speakers import Speaker
from synthgen.types import Message, Seed

SPEAKER = Speaker("m", Pool([], concurrency=1), capabilities(context_tokens=8192))


def work(recipe: str, folder: Path, **more: Any) -> Work:
    values, tasks = more.pop("values", {}), more.pop("tasks", None)
    made = recipe_of(recipe, values=values, context_tokens=8192, count_tokens=SPEAKER.count_tokens)
    given: dict[str, Any] = {"samples": 70, "tasks": tasks, "prices": {}, "seeds": SEEDS, **more}
    return Work(made, run_seed=0, speakers={"default": SPEAKER}, folder=folder, **given)


def estimated(what: Work) -> Estimate:
    found = asyncio.run(estimate(what))
    assert found is not None
    return found


def parts(asked: list[Asked]) -> list[str]:
    """The first words of each prompt."""
    return [" ".join(a.messages[0].content.split()[:2]) for a in asked]


@pytest.mark.parametrize(("values", "steps"), [({}, 2), ({"classification_only": "yes"}, 1)])
def test_all_steps_are_rendered(tmp_path: Path, values: dict[str, Any], steps: int) -> None:
    """Four seeds as new instructions: one request for them, then each one's own."""
    seeds = [seed(s.id, s.fields["instruction"], is_classification=True) for s in SEEDS]
    for asked in asyncio.run(rehearse(work("self-instruct", tmp_path, values=values, seeds=seeds))):
        assert len(asked) == 1 + 4 * steps
        assert len(set(parts(asked))) == 1 + steps
        assert {a.most_tokens for a in asked} == ({1024, 3, 350} if steps == 2 else {1024, 300})


def prompts(number: int) -> list[Seed]:
    """Prompts as `Inputs` gives them, each ten characters longer than the one before; odd ones have a second turn."""
    return [
        Seed(
            f"p{n}",
            {"messages": (Message("user", "word " * 2 * n),), "turns": ("And?",) * (n % 2), "split": None, "reference": None},
        )
        for n in range(number)
    ]  # fmt: skip


def test_given_prompts_are_counted_and_rendered_with_their_later_turns(tmp_path: Path) -> None:
    given = work("respond", tmp_path, seeds=prompts(100), samples=None, tasks=100)
    rehearsed = asyncio.run(rehearse(given))
    assert [len(asked) for asked in rehearsed] == [1, 2] * 50
    found = asyncio.run(estimate(given, rehearsed))
    assert found is not None
    assert found.requests == (150, 150)
    exact = sum(a.prompt_tokens for asked in rehearsed for a in asked)
    assert found.prompt_tokens == pytest.approx((exact, exact), abs=1)
    assert found.completion_tokens == pytest.approx((150 * 2048 // 10, 150 * 2048), abs=1)
    spread = asyncio.run(rehearse(given, most=20))  # from the whole of them
    assert len(spread) == 20
    assert sum(a.prompt_tokens for a in spread[-1]) > sum(a.prompt_tokens for a in rehearsed[90])
    rest = asyncio.run(rehearse(replace(given, decided=98, tasks=2)))
    assert [[a.messages for a in asked] for asked in rest] == [[a.messages for a in asked] for asked in rehearsed[98:]]


def test_without_an_earlier_run_it_is_assumed(tmp_path: Path) -> None:
    found = estimated(
        work("alpaca", tmp_path / "runs" / "one", prices={"default": Price(1, 2)})
    )  # no other run beside it
    assert found.requests == (5, 18)  # 17 samples a task, a quarter of that, and one under way at the end
    assert found.basis.startswith("assumed, as no earlier run was found")
    assert found.seconds is None
    assert found.completion_tokens == (5 * 3072 // 10, 18 * 3072)
    assert found.usd is not None
    assert found.usd[1] == pytest.approx((found.prompt_tokens[1] + 2 * found.completion_tokens[1]) / 1e6, rel=1e-3)


def test_nothing_left_is_no_estimate(tmp_path: Path) -> None:
    assert asyncio.run(estimate(work("alpaca", tmp_path, samples=0))) is None
    assert asyncio.run(estimate(work("respond", tmp_path, seeds=[], samples=None, tasks=0))) is None


def reported(folder: Path, **changed: Any) -> None:
    """A run of 100 requests in 50 s, of which 90 were needed for the 180 samples."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = {"roles": ["default"], "model": "m", "requests": 100, "prompt_tokens": 50_000, "completion_tokens": 20_000}
    report = {
        "recipe": "alpaca", "lang": "en", "models": {"default": "m"}, "requests": 100, "accepted": 180,
        "candidates": 400, "tasks": 90, "tasks_asked": 100, "usage": [usage], "seconds_in_all": 50.0, **changed,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))


def test_an_earlier_run_is_what_it_rests_on(tmp_path: Path) -> None:
    here = work("alpaca", tmp_path / "b", samples=1800)
    reported(tmp_path / "a")
    found = estimated(here)
    low, high = found.requests
    assert low < 900 < high < 1.5 * 900
    assert found.prompt_tokens[0] == pytest.approx(500 * low, rel=0.01)
    assert found.completion_tokens[1] == pytest.approx(200 * high, rel=0.01)
    assert found.seconds == pytest.approx((low / 2, high / 2), rel=0.01)
    assert "measured on" in found.basis
    assert "0.45 accepted a candidate" in found.basis


def basis(path: Path) -> Callable[[Work], bool]:
    return lambda here: str(path) in estimated(here).basis


def test_which_earlier_run_it_is(tmp_path: Path) -> None:
    here = work("alpaca", tmp_path / "x")
    reported(tmp_path / "recipe", recipe="respond")
    reported(tmp_path / "language", lang="zh")
    reported(tmp_path / "short", requests=9)
    reported(tmp_path / "nothing", accepted=0)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "report.json").write_text("[1")
    assert "assumed" in estimated(here).basis
    reported(tmp_path / "other", requests=10_000, models={"default": "another"})
    found = estimated(here)
    assert "with another model (another)" in found.basis
    assert found.seconds is None
    reported(tmp_path / "same")
    assert basis(tmp_path / "same")(here)
    reported(tmp_path / "x", requests=20)
    assert basis(tmp_path / "x")(here)


def test_prompts_are_rendered_even_where_an_earlier_run_was_measured(tmp_path: Path) -> None:
    reported(tmp_path / "a", recipe="respond", accepted=90)
    found = estimated(work("respond", tmp_path / "b", seeds=prompts(100), samples=None, tasks=100))
    assert found.requests == (150, 150)
    low, high = found.completion_tokens
    assert low < 200 * found.requests[0] < high < 2 * low


def test_every_recipe_can_be_rehearsed() -> None:
    from synthgen.recipes import names

    for name in names():
        assert find(name).rehearsed is not None


def test_a_dry_run_learns_from_the_run_and_asks_nothing(tmp_path: Path, server: Faulty) -> None:
    # One at a time: with more, what is on its way when the last sample is there is asked and not measured.
    words = generate(server, "--out", "run", "--price", "in=1,out=2", "--set", "listed=4", "--concurrency", "1")
    assert synthgen(*words, "--count", "40", cwd=tmp_path).code == 0
    asked, before = len(server.bodies), json.loads((tmp_path / "run" / "report.json").read_text())
    dry = synthgen(*words, "--count", "140", "--dry-run", "--json", cwd=tmp_path)
    assert (dry.code, len(server.bodies)) == (0, asked)
    assert dry.before == dry.after
    events = [json.loads(line) for line in dry.out.splitlines()]
    assert [e["event"] for e in events][-1] == "result"
    found = events[-1]["estimate"]
    left = found["samples"]
    assert 80 < left <= 100  # what was surplus to forty is there already
    assert "measured on run" in found["basis"]
    assert found["seconds"] is not None
    each = before["requests"] / before["accepted"]
    assert found["requests"][0] <= left * each
    nothing = synthgen(*words, "--count", "40", "--dry-run", cwd=tmp_path)
    assert "nothing is left to do in run" in nothing.out
    done = synthgen(*words, "--count", "140", cwd=tmp_path)
    assert done.code == 0
    after = json.loads((tmp_path / "run" / "report.json").read_text())
    assert after["estimate"]["samples"] == after["measured"]["samples"] == left
    assert after["measured"]["requests"] == len(server.bodies) - asked
    assert f"measured for {left}: {after['measured']['requests']} requests" in done.out
