"""Judging through `ask`: repaired once, unparsed never a score, orders undone, nothing paid twice."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import synthgen
from faulty import Faulty
from kit import Ended, recipe_of, run, seed

from synthgen import prompts
from synthgen.bodies import load, parse
from synthgen.errors import RequestRefused
from synthgen.judging import (
    CONSISTENCY,
    CONTRADICTION,
    PAIRWISE,
    QUALITY,
    QUALITY_10,
    STYLE,
    TOGETHER,
    Judge,
    Rating,
    Verdict,
    scores,
)  # fmt: skip
from synthgen.judging.agreement import equal_share, krippendorff_alpha
from synthgen.output import decisions, reading
from synthgen.types import Completion, Message, Request, SamplingParams, Seed

TOY = Path(__file__).parent / "toy_judging.py"
RUBRICS = ("consistency", "contradiction", "quality", "pairwise", "together", "style", "repair")
TEMPLATES = {f"judge/{name}": prompts.load(f"judge/{name}", "en") for name in RUBRICS}
GOOD, BAD, ODD = '{"analysis": "all there", "score": 5}', '{"analysis": "made up", "score": 2}', "I like it a lot."
AGREES = '{"analysis": "agrees", "contradicts": "no"}'


class Script:
    """An `ask` that answers by a function of the conversation, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str], str | Completion | BaseException]) -> None:
        self.answer = answer
        self.asked: list[tuple[Message, ...]] = []
        self.sampling: list[SamplingParams | None] = []

    async def __call__(
        self, prompt: Any, *, role: str = "default", sampling: SamplingParams | None = None, schema: Any = None
    ) -> Completion:
        assert role == "judge"
        self.asked.append(tuple(prompt))
        self.sampling.append(sampling)
        said = self.answer("\n".join(m.content for m in prompt))
        if isinstance(said, BaseException):
            raise said
        return said if isinstance(said, Completion) else Completion(said)

    def nearest_many(self, texts: Sequence[str]) -> list[None]:
        raise AssertionError("judges compare nothing")


def sequence(*answers: str) -> Script:
    """The answers in the order of the requests."""
    left = list(answers)
    return Script(lambda _: left.pop(0))


def rate(ask: Script, **more: Any) -> Verdict:
    judge = Judge(TEMPLATES, **more)
    return asyncio.run(judge.rate(ask, CONSISTENCY, source="the source", rewrite="the rewrite"))


def test_one_rater_at_temperature_zero() -> None:
    ask = Script(lambda _: GOOD)
    verdict = rate(ask)
    assert (verdict.score, verdict.word, verdict.agreement, verdict.unparsed) == (5, None, None, False)
    assert verdict.analysis == "all there"
    assert ask.sampling == [SamplingParams(temperature=0.0, max_tokens=1024)]
    assert "the source" in ask.asked[0][0].content


def test_a_repair_is_asked_exactly_once() -> None:
    ask = sequence(ODD, GOOD)
    verdict = rate(ask)
    assert verdict.ratings == (Rating(5, "all there", repaired=True),)
    first, again = ask.asked
    assert again[: len(first)] == first
    assert [m.role for m in again[len(first) :]] == ["assistant", "user"]
    assert again[-2].content == ODD
    assert '"score" is one whole number from 1 to 5' in again[-1].content


@pytest.mark.parametrize("second", [ODD, "", '{"score": 9}'])
def test_what_stays_unreadable_is_no_score(second: str) -> None:
    ask = sequence(ODD, second)
    verdict = rate(ask)
    assert len(ask.asked) == 2
    assert (verdict.unparsed, verdict.score, verdict.word) == (True, None, None)
    rejected = verdict.rejection("judge", at_least=1)
    assert rejected is not None
    assert rejected.reason == "unparsed"
    assert scores([verdict])["scores"]["consistency"]["value"] is None


def test_no_empty_turn_is_sent() -> None:
    ask = sequence("<think>for ever", GOOD)
    assert rate(ask).score == 5
    assert all(m.content for m in ask.asked[1])


def test_an_answer_that_was_cut_is_not_read_as_if_it_were_whole() -> None:
    ask = Script(lambda _: Completion("Score: 1", finish_reason="length"))
    assert asyncio.run(Judge(TEMPLATES).rate(ask, QUALITY_10, prompt="p", answer="a", reference="")).unparsed
    whole = Script(lambda _: Completion('{"analysis": "x", "score": 10} And so on and', finish_reason="length"))
    assert asyncio.run(Judge(TEMPLATES).rate(whole, QUALITY_10, prompt="p", answer="a", reference="")).score == 10


def test_raters_have_a_mean_and_an_agreement() -> None:
    verdict = rate(sequence(GOOD, BAD, GOOD), raters=3)
    assert (verdict.score, verdict.agreement) == (4, pytest.approx(1 / 3))
    found = verdict.as_dict()
    assert [r["value"] for r in found["ratings"]] == [5, 2, 5]
    assert found["scale"] == [1, 5]


def test_a_mean_needs_more_than_half_of_the_raters() -> None:
    ask = sequence(GOOD, ODD, ODD, ODD, ODD)
    verdict = rate(ask, raters=3)
    assert len(ask.asked) == 5  # two repairs
    assert (verdict.unparsed, verdict.score) == (True, None)
    assert rate(sequence(GOOD, BAD, ODD, ODD), raters=3).score == 3.5
    assert rate(sequence(GOOD, ODD, ODD), raters=2).unparsed


def test_words_go_by_the_majority() -> None:
    def ratings(*words: str | None) -> Verdict:
        return Verdict("contradiction", tuple(Rating(w, "because") for w in words))

    assert ratings("no", "no", "yes").word == "no"
    split = ratings("no", "yes")
    assert (split.word, split.unparsed) == (None, False)
    rejected = split.rejection("contradiction", word="no")
    assert rejected is not None
    assert rejected.reason == "contradiction"
    assert ratings("no", "no", None).rejection("contradiction", word="no") is None


def test_repairs_of_equal_answers_keep_the_order_of_the_raters() -> None:
    """The first answers come in any order; the repairs are asked in the order of the raters all the same."""
    number = 0

    async def ask(prompt: Any, **_: Any) -> Completion:
        nonlocal number
        if len(prompt) == 1:
            number += 1
            mine = number
            await asyncio.sleep(0.01 * (3 - mine))
            return Completion(f"{ODD} {mine}")
        return Completion(f'{{"analysis": "{prompt[1].content[-1]}", "score": 3}}')

    judge = Judge(TEMPLATES, raters=2)
    verdict = asyncio.run(judge.rate(ask, CONSISTENCY, source="s", rewrite="r"))  # type: ignore[arg-type]
    assert [r.analysis for r in verdict.ratings] == ["1", "2"]


def test_a_rater_that_is_never_answered_ends_the_task_when_the_others_are_stored() -> None:
    ask = Script(lambda text: RequestRefused("too long") if "beta" in text else GOOD)
    things = [{"source": "s", "rewrite": word} for word in ("alpha", "beta", "gamma")]
    with pytest.raises(RequestRefused):
        asyncio.run(Judge(TEMPLATES).rate_each(ask, CONSISTENCY, things))
    assert len(ask.asked) == 3


# --- pairs and lists --------------------------------------------------------------------------------------------------


def compare(answer: Callable[[str], str], raters: int = 1) -> Any:
    ask = Script(answer)
    found = asyncio.run(Judge(TEMPLATES, raters=raters).compare(ask, "short", "much longer", prompt="Which?"))
    return found, ask


def shown_first(text: str) -> str:
    return re.findall(r"Answer A:\n<<<\n(.*?)\n>>>", text)[0]


def test_a_win_counts_where_both_orders_agree() -> None:
    found, ask = compare(lambda text: '{"winner": "A"}' if shown_first(text) == "short" else '{"winner": "B"}')
    assert (found.winner, found.flips, len(ask.asked)) == ("first", 0, 2)
    found, _ = compare(lambda text: '{"winner": "B"}' if shown_first(text) == "short" else '{"winner": "A"}')
    assert found.winner == "second"


@pytest.mark.parametrize("always", ["A", "B"])
def test_a_judge_that_favours_a_place_finds_a_tie(always: str) -> None:
    found, _ = compare(lambda _: f'{{"winner": "{always}"}}')
    assert (found.winner, found.flips) == ("tie", 1)


def test_one_order_that_cannot_be_read_leaves_no_winner() -> None:
    found, ask = compare(lambda text: '{"winner": "A"}' if shown_first(text) == "short" else ODD)
    assert (found.winner, found.unparsed, len(ask.asked)) == (None, True, 3)


def test_equal_texts_are_a_tie_that_nobody_is_asked_for() -> None:
    ask = Script(lambda _: ODD)
    found = asyncio.run(Judge(TEMPLATES).compare(ask, "same", "same", prompt="p"))
    assert (found.winner, found.unparsed, ask.asked) == ("tie", False, [])


def test_several_raters_of_a_pair() -> None:
    answers = iter(["A", "B", "A", "A", "A", "B"])  # first, flipped, first
    found, _ = compare(lambda _: f'{{"winner": "{next(answers)}"}}', raters=3)
    assert (found.said, found.winner, found.flips) == (["first", "tie", "first"], "first", 1)


def test_the_random_order_of_a_list_is_undone() -> None:
    """A judge that rates by length gives each text its own score, wherever it stood."""
    texts = ["a", "aa", "aaa", "aaaa", "aaaaa"]
    orders = set()

    def by_length(text: str) -> str:
        shown = re.findall(r"Answer \d+:\n<<<\n(a+)\n>>>", text)
        orders.add(tuple(shown))
        return json.dumps({"analysis": "by length", "scores": [len(one) for one in shown]})

    judge = Judge(TEMPLATES, raters=4)
    verdicts = asyncio.run(judge.rate_together(Script(by_length), texts, prompt="p"))
    assert [v.score for v in verdicts] == [1, 2, 3, 4, 5]
    assert len(orders) > 1
    assert all(v.agreement == 1 for v in verdicts)
    before = set(orders)
    asyncio.run(judge.rate_together(Script(by_length), texts, prompt="p"))
    assert orders == before  # the same requests again, to be served from the store


def test_a_list_with_a_score_too_few_is_unparsed_for_every_text() -> None:
    ask = Script(lambda _: '{"scores": [5, 4]}')
    verdicts = asyncio.run(Judge(TEMPLATES).rate_together(ask, ["a", "b", "c"], prompt="p"))
    assert [v.unparsed for v in verdicts] == [True, True, True]
    assert len(ask.asked) == 2
    assert "a list of 3 whole numbers from 1 to 5" in ask.asked[1][-1].content


# --- agreement --------------------------------------------------------------------------------------------------------


def test_krippendorffs_own_example() -> None:
    """The four observers of "Computing Krippendorff's Alpha-Reliability", section C to E: interval 0.849."""
    rows = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
    table = [[None if v == "." else float(v) for v in row.split()] for row in rows]
    assert krippendorff_alpha(list(zip(*table, strict=True))) == pytest.approx(0.849, abs=5e-4)


def test_agreement_at_its_ends() -> None:
    assert krippendorff_alpha([[1, 1], [5, 5], [3, 3]]) == 1
    assert krippendorff_alpha([[1, 5], [5, 1]]) < 0  # type: ignore[operator]
    assert [krippendorff_alpha(units) for units in ([], [[4]], [[4, None]], [[4, 4], [4, 4]])] == [None] * 4
    assert equal_share([4, 4, 4]) == 1
    assert equal_share([4]) is None


# --- a recipe that judges ---------------------------------------------------------------------------------------------


def asking(name: str) -> Seed:
    fields = {"messages": (Message("user", f"Tell me about {name}."),), "turns": (), "split": None, "reference": None}
    return Seed(name, {**seed(name, f"Tell me about {name}.").fields, **fields})


ASKED = tuple(asking(name) for name in ("good", "bad", "odd", "repaired", "wrong"))


def answer(request: Request) -> str:
    """Three models in one: who answers, who judges, who repairs."""
    said = "\n".join(m.content for m in request.prompt)  # type: ignore[union-attr]
    if "strict reviewer" not in said and "contradict the reference" not in said:
        return f"An answer: {said}"
    if "contradict the reference" in said:
        return AGREES if "about wrong" not in said else '{"analysis": "the year", "contradicts": "yes"}'
    repair = "could not be read" in said
    if "about odd" in said or ("about repaired" in said and not repair):
        return ODD
    return BAD if "about bad" in said else GOOD


def judged(folder: Path, **more: Any) -> Ended:
    return run(folder, answer, recipe=str(TOY), seeds=ASKED, count=None, **more)


def test_unparsed_counts_against_all_that_was_judged(tmp_path: Path) -> None:
    done = judged(tmp_path)
    assert [s.messages[0].content for s in done.samples] == ["Tell me about good.", "Tell me about repaired."]
    assert done.falls.rejected == {"judge": 1, "unparsed": 1, "contradiction": 1}
    assert done.falls.accepted / done.falls.candidates == pytest.approx(2 / 5)
    found = done.samples[0].meta["scores"]
    assert found["consistency"] == {"value": 5.0, "parsed": True, "scale": [1, 5], "rationale": "all there"}
    assert found["contradiction"]["value"] == "no"


@pytest.mark.parametrize("raters", ["1", "3"])
def test_a_second_run_pays_nothing(raters: str, tmp_path: Path) -> None:
    first = judged(tmp_path, values={"raters": raters})
    assert first.backend.requests
    again = judged(tmp_path, values={"raters": raters}, concurrency=1)
    assert not again.backend.requests
    assert again.samples == first.samples


def test_the_templates_of_judges_are_those_of_the_recipe() -> None:
    """So their digests are part of what a run is, and a changed rubric is asked anew."""
    names = set(recipe_of(str(TOY), seeds=ASKED).prompts)
    assert names == {"judge/consistency", "judge/contradiction", "judge/repair"}


def test_planted_contradictions_are_rejected_with_their_reason(tmp_path: Path) -> None:
    """40 rewrites that contradict their source and 60 that do not, past a judge that never objects."""
    lines = (Path(__file__).parent / "data" / "contradictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {f"{n}\n{row['reference']}": row for n, row in enumerate(map(json.loads, lines))}
    seeds = tuple(
        Seed(text, {**ASKED[0].fields, "messages": (Message("user", text),), "instruction": text}) for text in rows
    )

    def said(request: Request) -> str:
        text = request.prompt[0].content  # type: ignore[union-attr]
        found = rows.get(text)  # type: ignore[arg-type]
        return found["rewrite"] if found else AGREES if "contradict" in text else GOOD  # type: ignore[operator]

    done = run(tmp_path, said, recipe=str(TOY), seeds=seeds, count=None)
    assert [rows[s.messages[0].content]["kind"] for s in done.samples].count(None) >= 57
    with reading(tmp_path) as db:
        bodies = [(reason, body) for _, reason, body in decisions(db, None) if reason]
    right = []
    for reason, body in bodies:
        _, detail = parse(body)
        kind = rows[load(body).messages[0].content]["kind"]
        right += [kind] if kind and reason == "contradiction" and f"{kind}: " in detail else []
    assert len(right) >= 38


RULES = [
    {"match": "could not be read", "answer": ODD},
    {"match": r"strict reviewer.*Original text:\n<<<\nWhat is odd", "answer": ODD},
    {
        "match": "strict reviewer.*Original text:\n<<<\nWhat is (loose)",
        "answer": '{"analysis": "\\\\g<1>", "score": 2}',
    },
    {"match": "strict reviewer", "answer": GOOD},
    {"match": "contradict the reference", "answer": AGREES},
    {"match": r"^What is (\w+)\?", "answer": r"It is \g<1>."},
]


def judge_words(server: Faulty, *more: str) -> tuple[str, ...]:
    return ("generate", str(TOY), "--input", "p.jsonl", "--base-url", server.base_url, *more)


def test_a_run_with_a_scripted_judge(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    (tmp_path / "p.jsonl").write_text(
        "".join(f'{{"prompt": "What is {w}?"}}\n' for w in ("tea", "odd", "loose", "salt"))
    )
    server.script = str(tmp_path / "rules.json")
    done = synthgen(*judge_words(server, "--json", "--out", "run", "--format", "samples"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["accepted"], found["rejected"]) == (2, {"unparsed": 1, "judge": 1})
    assert sum("judges its own answers" in line for line in done.stdout.splitlines()) == 1
    rejected = [json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()]
    assert {r["reason"]: r["sample"]["meta"]["scores"]["consistency"]["value"] for r in rejected} == {
        "unparsed": None,
        "judge": 2.0,
    }
    asked = len(server.bodies)
    assert asked == 4 + 5 + 2  # answers, ratings with one repair, contradictions
    again = synthgen(*judge_words(server, "--out", "run", "--format", "samples"), cwd=tmp_path)
    assert again.returncode == 0
    assert len(server.bodies) == asked


def test_a_judge_that_is_never_understood_is_what_to_change(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps([{"match": "strict reviewer", "answer": ODD}, *RULES[-1:]]))
    (tmp_path / "p.jsonl").write_text('{"prompt": "What is tea?"}\n')
    server.script = str(tmp_path / "rules.json")
    done = synthgen(*judge_words(server), cwd=tmp_path)
    assert done.returncode == 7
    assert "1 unparsed" in done.stderr
    assert "another --judge-model" in done.stderr


def test_the_judge_is_a_role_of_its_own(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    (tmp_path / "p.jsonl").write_text('{"prompt": "What is tea?"}\n')
    server.script, server.models = str(tmp_path / "rules.json"), ["fake", "strict"]
    done = synthgen(*judge_words(server, "--model", "fake", "--judge-model", "strict"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [body["model"] for body in server.bodies] == ["fake", "strict", "strict"]
    assert "judges its own answers" not in done.stderr


def test_a_template_of_a_judge_can_be_replaced(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "What is tea?"}\n')
    (tmp_path / "mine" / "judge").mkdir(parents=True)
    source = prompts.load("judge/consistency", "en").path.read_text(encoding="utf-8")
    (tmp_path / "mine" / "judge" / "consistency.en.jinja").write_text(source.replace("strict reviewer", "mild reader"))
    (tmp_path / "rules.json").write_text(json.dumps([{"match": "mild reader", "answer": GOOD}, *RULES[4:]]))
    server.script = str(tmp_path / "rules.json")
    done = synthgen(*judge_words(server, "--prompts", "mine"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert any("mild reader" in text for text in server.texts())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_consistency_judge_says_what_it_must(lang: str) -> None:
    """The content list of methods.md 2.4; each element by words that hold it."""
    said = prompts.load("judge/consistency", lang).render(source="SOURCE", rewrite="REWRITE")[0].content
    elements = {
        "en": ("Be strict and tell cases apart", "List the information points of the original",
               "List the information points of the rewrite", "Another style, tone, wording, focus",
               "left out. If this is the only difference, the score is 5", "New information points",
               "moves away from the core", "Another order", "recognise it as derived",
               "none of the information points", '"analysis"', '"score"'),
        "zh": ("要严格，要拉开差距", "列出原文的信息点", "列出改写文本的信息点", "风格、语气、表达方式、侧重点",
               "省略了原文的信息。如果这是唯一的差别，给5分", "增加了新的信息点", "偏离了原文的核心", "先后顺序不同",
               "看不出是由原文改写而来", "不包含原文的任何信息点", '"analysis"', '"score"'),
    }  # fmt: skip
    assert [element for element in elements[lang] if element not in said] == []
    assert said.index('"analysis"') < said.index('"score"')
    assert "SOURCE" in said
    assert "REWRITE" in said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_rubric_is_rendered_in_both_languages(lang: str) -> None:
    values: dict[str, dict[str, Any]] = {
        "quality": {"prompt": "P", "answer": "A", "reference": ""},
        "pairwise": {"prompt": "P", "first": "F", "second": "S"},
        "together": {"prompt": "P", "answers": ["A", "B"]},
        "style": {"genre": "G", "audience": "A", "text": "T"},
        "contradiction": {"reference": "R", "rewrite": "W"},
        "consistency": {"source": "S", "rewrite": "R"},
    }
    for rubric in (CONSISTENCY, QUALITY, QUALITY_10, PAIRWISE, TOGETHER, CONTRADICTION, STYLE):
        (said,) = prompts.load(rubric.template, lang).render(**rubric.fixed, **values[rubric.name])
        assert f'"{rubric.keys[0]}"' in said.content
        if rubric.scale is not None and "high" in rubric.fixed:
            assert str(rubric.scale.high) in said.content
        (repair,) = prompts.load("judge/repair", lang).render(**rubric.form())
        assert f'"{rubric.keys[0]}"' in repair.content
        assert all(f'"{word}"' in repair.content for word in rubric.shown)
