"""Documents for other readers: five pairs or a reason, one rewrite each, judged, and never two alike."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kit import Ended, recipe_of, run

from synthgen.errors import RequestRefused
from synthgen.types import UNREAD, Completion, Message, Request, Sample, Seed

GENRES = ("News report", "Fairy tale", "Checklist", "Debate", "Letter home")
AUDIENCES = ("Nurses", "Fishermen", "First graders", "Tax lawyers", "People who hate maths")
BEES = (
    "Honey bees tell one another where flowers are by dancing. The dance of a bee points to the flowers: its angle gives "
    "the direction from the sun, its length the distance. Other bees follow the dancing bee in the dark hive."
)
BEES_ZH = (
    "蜜蜂用舞蹈告诉同伴花在哪里。舞蹈的角度表示花与太阳的方向，舞蹈的长度表示距离。同伴在黑暗的蜂巢里跟随跳舞的蜜蜂。"
)
GOOD = '{"analysis": "same points", "score": 4}'


def document(name: str, text: str = BEES, **more: Any) -> Seed:
    """A document as `--documents` gives it."""
    fields = {"text": text, "title": "", "licence": "", "start": 0, "encoding": "utf-8", "columns": {}, **more}
    return Seed(name, fields, f"{name}.txt")


def question(name: str, *turns: str, reference: str | None = None, system: str = "", given: str = "") -> Seed:
    """A question as `--input` gives it; what is before the last turn was said."""
    said = [Message("system", system)] if system else []
    said += [Message("user" if n % 2 == 0 else "assistant", turn) for n, turn in enumerate(turns)]
    split = (turns[0], given) if len(turns) == 1 else None
    if given:
        said[-1] = Message("user", f"{turns[0]}\n{given}")
    fields = {"messages": tuple(said), "turns": (), "split": split, "reference": reference}
    return Seed(name, fields, f"{name}.jsonl:1")


def pairs(**more: str) -> str:
    found = {}
    for n, (genre, audience) in enumerate(zip(GENRES, AUDIENCES, strict=True), 1):
        found[f"audience_{n}"] = f"{audience}: Adults of forty. They read at night."
        found[f"genre_{n}"] = f"{genre}: Short and dry. It ends with a question."
    return json.dumps({**found, **more})


def rewrite(text: str) -> str:
    """A rewrite that holds what BEES says, in an order and words that depend on its genre."""
    genre = re.search(r"<genre>\n(\w+)", text)
    first, *rest = BEES.split(". ")
    key = sum(map(ord, genre[1])) if genre else 0
    words = [f"{word}{key % 89}" for word in ("lantern", "cobble", "marble", "anchor", "violet", "copper", "saddle")]
    return f"In a {genre[1].lower() if genre else 'tale'}, {' '.join(words)}: {rest[-1]}. {' '.join(reversed(words))}. {first}."


@dataclass(slots=True)
class Model:
    """Answers by what is asked; `asked` counts it."""

    pairs: Callable[[str], str] = lambda _: pairs()
    rewrite: Callable[[str], str | Completion | BaseException] = rewrite
    judge: Callable[[str], str] = lambda _: GOOD
    contradicts: Callable[[str], str] = lambda _: '{"analysis": "", "contradicts": "no"}'
    fits: Callable[[str], str] = lambda _: '{"analysis": "", "fits": "yes"}'
    asked: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, request: Request) -> str | Completion | BaseException:
        assert not isinstance(request.prompt, str)
        text = "\n".join(m.content for m in request.prompt)
        kind = (
            "contradicts" if '"contradicts"' in text else "fits" if '"fits"' in text else "judge" if '"score"' in text
            else "pairs" if "audience_1" in text else "rewrite"
        )  # fmt: skip
        self.asked[kind] += 1
        self.prompts.setdefault(kind, []).append(text)
        return getattr(self, kind)(text)


def reformulate(
    folder: Path, model: Model | None = None, seeds: tuple[Seed, ...] = (document("bees"),), **more: Any
) -> Ended:
    return run(folder, model or Model(), recipe="reformulate", seeds=seeds, **{"count": None, **more})


def reasons(done: Ended) -> dict[str, int]:
    return dict(done.falls.rejected)


def test_five_rewrites_of_a_document_with_where_each_comes_from(tmp_path: Path) -> None:
    model = Model()
    done = reformulate(tmp_path, model, (document("bees", start=100, licence="CC0-1.0", columns={"year": 1923}),))
    assert done.ending.code == 0
    assert model.asked == {"pairs": 1, "rewrite": 5, "judge": 5}
    assert [s.meta["genre"] for s in done.samples] == list(GENRES)
    assert [s.meta["audience"] for s in done.samples] == list(AUDIENCES)
    first = done.samples[0]
    assert first.text is not None
    assert not first.messages
    assert first.text.startswith("In a news")
    meta = first.meta
    assert meta["id"] == "bees/1.0"
    assert meta["parents"] == ["bees"]
    source = dict(meta["source"])
    assert source.pop("tokens") > 20
    assert source == {
        "document": "bees", "chunk": 1, "of": 1, "span": [100, 100 + len(BEES)], "where": "bees.txt", "licence": "CC0-1.0",
        "row": {"year": 1923}, "text": BEES,
    }  # fmt: skip
    assert meta["genre_description"] == "Short and dry. It ends with a question."
    assert meta["strictness"] == "base"
    assert meta["score"] == 4
    assert meta["scores"]["consistency"]["rationale"] == "same points"
    assert meta["tokens"] > 20
    assert 0.2 < meta["coverage"] <= 1
    assert 0 < meta["overlap"] < 0.9


def test_each_level_asks_in_its_own_words_and_reaches_the_judge(tmp_path: Path) -> None:
    asked = {}
    for level in ("strict", "base", "relaxed"):
        model = Model()
        done = reformulate(tmp_path / level, model, values={"strictness": level})
        assert [s.meta["strictness"] for s in done.samples] == [level] * 5
        assert model.asked["judge"] == 5
        asked[level] = model.prompts["rewrite"][0]
        assert all(
            f"Rewrite:\n<<<\n{s.text}\n>>>" in p for s, p in zip(done.samples, model.prompts["judge"], strict=True)
        )
        assert all(f"Original text:\n<<<\n{BEES}\n>>>" in p for p in model.prompts["judge"])
    assert "lightly" in asked["strict"]
    assert "Polish the draft for the audience" in asked["base"]
    assert "inspiration, no more" in asked["relaxed"]
    assert len(set(asked.values())) == 3


@pytest.mark.parametrize(
    "first", ["Sorry, I have no idea.", pairs(genre_6="x: y", audience_6="x: y"), pairs(genre_2=""), pairs()[:-5]]
)
def test_an_answer_that_is_not_five_pairs_is_repaired_once(first: str, tmp_path: Path) -> None:
    answers = iter([first, pairs()])
    model = Model(pairs=lambda _: next(answers))
    done = reformulate(tmp_path, model)
    assert len(done.samples) == 5
    assert model.asked["pairs"] == 2
    repair = model.prompts["pairs"][1]
    assert repair.startswith(model.prompts["pairs"][0])
    assert first.strip() in repair
    assert "This cannot be used: " in repair


def test_what_cannot_be_repaired_is_one_row_with_the_reason(tmp_path: Path) -> None:
    model = Model(pairs=lambda _: "No.")
    done = reformulate(tmp_path, model, (document("a"), document("b", "Other text about bees. " * 9)))
    assert reasons(done) == {"pairs": 2}
    assert model.asked == {"pairs": 4}
    assert done.ending.code == 7


def test_pairs_at_fault_are_left_out_when_the_repair_has_faults_too(tmp_path: Path) -> None:
    bad = pairs(genre_1="Comic strip: Funny. Loud.", genre_4="Fairy tales: Old. Odd.")
    better = pairs(audience_5="Nurse: Adults. They read.")
    answers = iter([bad, better])
    model = Model(pairs=lambda _: next(answers))
    done = reformulate(tmp_path, model)
    assert "not text alone" in model.prompts["pairs"][1]
    assert reasons(done) == {"repeated pair": 1}
    assert [s.meta["genre"] for s in done.samples] == list(GENRES[:4])
    # A repair that cannot be read leaves what the first answer has.
    answers = iter([bad, "No."])
    done = reformulate(tmp_path / "b", Model(pairs=lambda _: next(answers)))
    assert reasons(done) == {"visual genre": 1, "repeated pair": 1}
    assert len(done.samples) == 3


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "empty"),
        ("Here is the rewritten text:", "empty"),
        ("Sorry, I cannot help with that.", "refusal"),
        (BEES_ZH, "language"),
        (BEES, "copy"),
        (f"Here is the rewritten text:\n\n{BEES}\n\nNote: nothing was changed.", "copy"),
        ("Once there was a king who built a castle by the sea and never left it.", "keyword coverage"),
        (Completion("In a hive the bees dance, and flowers", finish_reason="length"), "truncated"),
    ],
)
def test_what_a_rule_finds_costs_no_judge(said: str | Completion, reason: str, tmp_path: Path) -> None:
    model = Model(rewrite=lambda text: said if "Fairy tale" in text else rewrite(text))
    done = reformulate(tmp_path, model)
    assert reasons(done) == {reason: 1}
    assert len(done.samples) == 4
    assert model.asked["judge"] == 4


def test_the_threshold_of_coverage_is_a_knob(tmp_path: Path) -> None:
    def castle(_: str) -> str:
        return "Once there was a king who built a castle by the sea and never left it."

    done = reformulate(tmp_path, Model(rewrite=castle), values={"coverage": "0"})
    assert reasons(done) == {"duplicate": 4}


def test_what_a_model_says_around_its_text_is_not_in_the_dataset(tmp_path: Path) -> None:
    def chatty(text: str) -> str:
        return f"Sure! Here is the rewritten text:\n\n{rewrite(text)}\n\nNote: I kept everything."

    done = reformulate(tmp_path, Model(rewrite=chatty))
    assert len(done.samples) == 5
    assert not [s for s in done.samples if "Sure" in str(s.text) or "Note" in str(s.text)]


def test_the_judge_decides_and_what_it_cannot_say_is_no_score(tmp_path: Path) -> None:
    verdicts = {
        "news": "score: 2",
        "fairy": "Well.",
        "checklist": '{"score": 9}',
        "debate": "score: 3",
        "letter": "4/5",
    }

    def judge(text: str) -> str:
        rewritten = text.partition("Rewrite:\n<<<\n")[2]
        return next(said for word, said in verdicts.items() if f"in a {word}" in rewritten.lower())

    done = reformulate(tmp_path, Model(judge=judge))
    assert reasons(done) == {"judge": 1, "unparsed": 2}
    assert [s.meta["score"] for s in done.samples] == [3, 4]
    assert done.falls.candidates == 5  # the full denominator
    strict = reformulate(tmp_path / "b", Model(judge=judge), values={"keep": "4"})
    assert [s.meta["score"] for s in strict.samples] == [4]


def test_of_siblings_that_are_too_near_the_best_one_stays(tmp_path: Path) -> None:
    common = " ".join(rewrite("<genre>\nX").split())

    def same(text: str) -> str:
        return common + (" Quite so." if "Checklist" in text else " So it is." if "Debate" in text else "")

    def judge(text: str) -> str:
        return '{"score": 5}' if "So it is" in text else '{"score": 4}'

    done = reformulate(tmp_path, Model(rewrite=same, judge=judge))
    assert reasons(done) == {"duplicate": 2, "novelty": 2}
    assert [s.meta["genre"] for s in done.samples] == ["Debate"]
    loose = reformulate(tmp_path / "b", Model(rewrite=same, judge=judge), values={"novelty": "1"})
    assert len(loose.samples) == 3


def test_as_instruction_the_document_is_the_input(tmp_path: Path) -> None:
    done = reformulate(tmp_path, values={"as": "instruction"})
    sample = done.samples[1]
    assert sample.text is None
    assert sample.input_split is not None
    instruction, given = sample.input_split
    assert instruction.startswith("Rewrite the following text for this audience: Fishermen: Adults of forty.")
    assert "Fairy tale: Short and dry." in instruction
    assert given == BEES
    assert sample.messages[0].content == f"{instruction}\n{BEES}"
    assert sample.messages[1].content.startswith("In a fairy")


def test_a_long_document_is_rewritten_chunk_by_chunk(tmp_path: Path) -> None:
    text = "\n\n".join(f"{BEES} Part {n} says more about hive number {n}." for n in range(12))
    model = Model()
    done = reformulate(tmp_path, model, (document("long", text),), values={"chunk_tokens": "100"})
    spans = [tuple(s.meta["source"]["span"]) for s in done.samples]
    assert model.asked["pairs"] == len(set(spans)) > 5
    for sample in done.samples:
        start, end = sample.meta["source"]["span"]
        assert text[start:end] == sample.meta["source"]["text"]
    assert {s.meta["parents"][0] for s in done.samples} == {"long"}


def test_a_document_that_is_not_used_asks_nothing(tmp_path: Path) -> None:
    model = Model()
    done = reformulate(tmp_path, model, (Seed("bad", {UNREAD: ("size", "3 words")}, "bad.txt"), document("good")))
    assert reasons(done) == {"document: size": 1}
    assert len(done.samples) == 5
    assert model.asked["pairs"] == 1


def test_a_request_that_is_refused_costs_its_own_rewrite(tmp_path: Path) -> None:
    model = Model(rewrite=lambda text: RequestRefused("too long") if "Debate" in text else rewrite(text))
    done = reformulate(tmp_path, model)
    assert done.ending.code == 5
    assert (len(done.samples), done.falls.failed) == (4, 1)


def test_the_order_of_answers_does_not_matter(tmp_path: Path) -> None:
    seeds = tuple(document(f"d{n}", f"{BEES} And so on, for the {n}th time.") for n in range(30))
    found = [reformulate(tmp_path / str(n), seeds=seeds, concurrency=n) for n in (1, 64)]
    assert [s.text for s in found[0].samples] == [s.text for s in found[1].samples]
    assert len(found[0].samples) == 150
    again = reformulate(tmp_path / "64", seeds=seeds)
    assert not again.backend.requests


# Pairs that nobody has to think of.
THREE = "学术论文-科研人员;对话体-老年人;教科书-中学生"


def test_given_pairs_and_the_library_ask_for_none(tmp_path: Path) -> None:
    model = Model()
    done = reformulate(tmp_path / "a", model, values={"pairs": "Ode-Toasters; Checklist - Nurses"})
    assert [(s.meta["genre"], s.meta["audience"]) for s in done.samples] == [
        ("Ode", "Toasters"),
        ("Checklist", "Nurses"),
    ]
    assert "genre_description" not in done.samples[0].meta
    assert done.samples[1].meta["genre_description"].startswith("Short points that can be ticked off")
    assert "pairs" not in model.asked
    two = (document("a"), document("b", f"{BEES} More."))
    drawn = reformulate(tmp_path / "b", seeds=two, values={"pairs": "library:4"})
    by_document = {name: [s.meta["genre"] for s in drawn.samples if s.meta["parents"] == [name]] for name in "ab"}
    assert {name: len(genres) for name, genres in by_document.items()} == {"a": 4, "b": 4}
    assert by_document["a"] != by_document["b"]
    # What stands before a document does not change its readers; another seed of the run does.
    alone = reformulate(tmp_path / "c", seeds=two[1:], values={"pairs": "library:4"})
    assert [s.meta["genre"] for s in alone.samples] == by_document["b"]
    other = reformulate(tmp_path / "d", seeds=two[1:], values={"pairs": "library:4"}, run_seed=1)
    assert [s.meta["genre"] for s in other.samples] != by_document["b"]


def test_a_number_is_so_many_pairs_in_one_request(tmp_path: Path) -> None:
    three = json.dumps({k: v for k, v in json.loads(pairs()).items() if k[-1] in "123"})
    model = Model(pairs=lambda _: three)
    assert len(reformulate(tmp_path, model, values={"pairs": "3"}).samples) == 3
    assert '"audience_4"' not in model.prompts["pairs"][0]


# One question, many answers.
LLM = "什么是大模型"


def answered(text: str) -> str:
    genre = re.search(r"<genre>\n([^：\n]+)", text)
    assert genre is not None
    return {
        "学术论文": "本文将大模型定义为参数规模巨大的神经网络，并讨论其训练数据与涌现能力。",
        "对话体": "“爷爷，它就像读过很多很多书的人。”“哦，那它会跟我聊天吗？”“会的，还会写信呢。”",
        "教科书": "一、定义：大模型是用海量文字训练出来的程序。二、例题：它怎样接着写一句话？三、小结。",
    }[genre[1]]


@pytest.mark.parametrize("reference", [None, "大模型是参数很多的神经网络，用海量文字训练而成。"])
def test_the_question_of_the_field_has_three_answers_each_for_its_audience(
    reference: str | None, tmp_path: Path
) -> None:
    model = Model(rewrite=answered)
    done = reformulate(tmp_path, model, (question("q", LLM, reference=reference),), lang="zh", values={"pairs": THREE})
    assert [[m.role for m in s.messages] for s in done.samples] == [["system", "user", "assistant"]] * 3
    for sample, audience, genre in zip(
        done.samples, ("科研人员", "老年人", "中学生"), ("学术论文", "对话体", "教科书"), strict=True
    ):
        assert f"受众回答：{audience}：" in sample.messages[0].content
        assert f"体裁：{genre}：" in sample.messages[0].content
        assert sample.messages[1].content == LLM
        assert sample.input_split == (LLM, "")
        assert sample.reference == reference
        assert sample.meta["parents"] == ["q"]
    assert len({s.messages[2].content for s in done.samples}) == 3
    checks = {"contradicts": 3} if reference else {}
    assert model.asked == {"rewrite": 3, "judge": 3, "fits": 3, **checks}
    assert all((f"<reference>\n{reference}" in p) == bool(reference) for p in model.prompts["rewrite"])


@pytest.mark.parametrize("where", ["system", "instruction", "none"])
def test_where_the_style_is_told(where: str, tmp_path: Path) -> None:
    seeds = (
        question("plain", "Why do bees dance?"),
        question("own", "Why do bees dance?", system="Be brief."),
        question("given", "Explain this.", given="Bees dance."),
        question("talk", "Hello.", "Hello, what is it?", "Why do bees dance?"),
    )
    done = reformulate(
        tmp_path, seeds=seeds, values={"pairs": "Ode-Toasters", "style_in": where, "contradictions": "none"}
    )
    plain, own, given, talk = done.samples
    style = "Answer for this audience: Toasters\nWrite in this genre: Ode"
    aside = "(Answer for this audience: Toasters Write in this genre: Ode)"
    if where == "system":
        assert [m.content for m in plain.messages[:2]] == [style, "Why do bees dance?"]
        assert own.messages[0].content == f"Be brief.\n\n{style}"
        assert [m.role for m in talk.messages] == ["system", "user", "assistant", "user", "assistant"]
    else:
        assert plain.messages[0].role == "user"
        assert own.messages[0].content == "Be brief."
        assert len(talk.messages) == 4
    if where == "instruction":
        assert plain.messages[0].content == f"Why do bees dance?\n{aside}"
        assert plain.input_split == (f"Why do bees dance?\n{aside}", "")
        assert given.messages[0].content == f"Explain this.\n{aside}\nBees dance."
        assert given.input_split == (f"Explain this.\n{aside}", "Bees dance.")
        assert talk.messages[2].content == f"Why do bees dance?\n{aside}"
        assert talk.messages[0].content == "Hello."
    else:
        assert given.input_split == ("Explain this.", "Bees dance.")
        assert talk.messages[-2].content == "Why do bees dance?"
    if where == "none":
        assert not [m for s in done.samples for m in s.messages if "Toasters" in m.content]


def test_what_was_said_before_the_question_is_shown(tmp_path: Path) -> None:
    model = Model()
    reformulate(tmp_path, model, (question("talk", "I keep bees.", "How nice.", "Why do they dance?"),), values={"pairs": "Ode-Toasters"})  # fmt: skip
    assert (
        "<user>\nI keep bees.\n</user>\n<assistant>\nHow nice.\n</assistant>\n<question>\nWhy do they dance?"
        in model.prompts["rewrite"][0]
    )


def test_an_answer_passes_all_gates_or_says_which_one_it_failed(tmp_path: Path) -> None:
    def judge(text: str) -> str:
        return '{"score": 1}' if "in a news" in text else GOOD

    def contradicts(text: str) -> str:
        return (
            '{"contradicts": "yes", "analysis": "the sun"}' if "in a fairy" in text.lower() else '{"contradicts": "no"}'
        )

    def fits(text: str) -> str:
        return '{"fits": "no"}' if "in a checklist" in text.lower() else '{"fits": "yes"}'

    model = Model(judge=lambda t: judge(t.lower()), contradicts=contradicts, fits=fits)
    seeds = (question("q", "How do bees tell where flowers are?", reference=BEES),)
    values = {"pairs": "5"}
    done = reformulate(tmp_path / "a", model, seeds, values=values)
    assert reasons(done) == {"judge": 1, "contradiction": 1, "style": 1}
    assert [s.meta["genre"] for s in done.samples] == ["Debate", "Letter home"]
    assert set(done.samples[0].meta["scores"]) == {"consistency", "contradiction", "style"}
    assert model.asked == {"pairs": 1, "rewrite": 5, "judge": 5, "contradicts": 4, "fits": 3}
    lax = {**values, "contradictions": "none", "style_check": "false"}
    assert reasons(reformulate(tmp_path / "b", model, seeds, values=lax)) == {"judge": 1}


def test_later_turns_are_told_and_not_answered(tmp_path: Path) -> None:
    seed = question("two", "Why do bees dance?")
    seed = Seed("two", {**seed.fields, "turns": ("And wasps?",)}, seed.where)
    (sample,) = reformulate(tmp_path, seeds=(seed,), values={"pairs": "Ode-Toasters"}).samples
    assert sample.meta["later_turns"] == ["And wasps?"]
    assert [m.role for m in sample.messages] == ["system", "user", "assistant"]


def test_a_question_may_ask_for_another_language(tmp_path: Path) -> None:
    seeds = (
        question("translate", "请把“蜜蜂会跳舞”翻译成英文。"),
        question("plain", "蜜蜂为什么会跳舞？"),
        question("reference", "蜜蜂会跳舞，用外语怎么说？", reference="Bees dance, and they dance in the hive."),
    )
    said = "Bees do dance inside their hive."
    values = {"pairs": "Ode-Toasters", "contradictions": "none"}
    done = reformulate(tmp_path, Model(rewrite=lambda _: said), seeds, lang="zh", values=values)
    assert [s.meta["parents"] for s in done.samples] == [["translate"], ["reference"]]
    assert reasons(done) == {"language": 1}


def test_three_pairs_are_thought_of_for_a_question(tmp_path: Path) -> None:
    model = Model()
    model.pairs = lambda _: json.dumps({k: v for k, v in json.loads(pairs()).items() if k[-1] in "123"})
    done = reformulate(tmp_path, model, (question("q", "Why do bees dance?"),))
    assert len(done.samples) == 3
    assert "Why do bees dance?" in model.prompts["pairs"][0]


def test_n_questions_are_k_times_n_answers_where_all_pass(tmp_path: Path) -> None:
    seeds = tuple(
        question(f"q{n}", f"How do bees of hive {n} tell where flowers are?", reference=BEES) for n in range(20)
    )
    done = reformulate(tmp_path, seeds=seeds, values={"pairs": "Ode-Toasters;News-Nurses;Debate-Lawyers"})
    assert len(done.samples) == 60
    assert Counter(s.meta["parents"][0] for s in done.samples) == {f"q{n}": 3 for n in range(20)}


# Small contexts, and what will be asked.
@pytest.mark.parametrize("context", [1536, 2048, 4096, 8192])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_request_leaves_room_for_its_answer(lang: str, context: int, tmp_path: Path) -> None:
    """The worst case: answers as long as they may be, and everything is repaired."""
    least = {"pairs": 5 * 90, "rewrite": 64, "judge": 300}
    sizes: dict[str, list[int]] = {}

    def tokens(text: str) -> int:  # what the recording backend is taken to count
        wide = sum("\u4e00" <= c <= "\u9fff" for c in text)
        return int(wide + 0.3 * (len(text) - wide)) + 1

    class Endless(Model):
        def __call__(self, request: Request) -> str | Completion | BaseException:
            assert not isinstance(request.prompt, str)
            asked = sum(tokens(m.content) + 8 for m in request.prompt)
            most = request.sampling.max_tokens
            assert most is not None
            assert asked + most <= context + 8
            text = "\n".join(m.content for m in request.prompt)
            kind = "judge" if '"score"' in text else "pairs" if "audience_1" in text else "rewrite"
            sizes.setdefault(kind, []).append(most)
            long = (BEES if lang == "en" else BEES_ZH) * 400
            if kind == "pairs" and len(request.prompt) > 2:
                return pairs()
            if kind == "judge" and len(request.prompt) > 1:
                return GOOD
            part = long[len(text) % 97 :][: int(0.9 * most / (0.3 if lang == "en" else 1))]
            return part[::-1] + part if kind == "pairs" else part

    text = "\n\n".join(f"{BEES if lang == 'en' else BEES_ZH} ({n})" for n in range(60))
    done = reformulate(tmp_path, Endless(), (document("d", text),), lang=lang, context_tokens=context, values={"copied": "1", "novelty": "1", "novelty_cjk": "1", "coverage": "0"})  # fmt: skip
    assert done.falls.failed == 0
    assert {kind: min(found) >= least[kind] for kind, found in sizes.items()} == dict.fromkeys(least, True), sizes


def test_a_rehearsal_goes_through_every_kind_of_request(tmp_path: Path) -> None:
    recipe = recipe_of("reformulate", "en", (document("d"),))
    rehearse: Any = recipe.rehearsed(())
    asked: Counter[str] = Counter()

    class Rehearsing:
        def nearest_many(self, texts: Any) -> list[None]:
            return [None] * len(texts)

        async def __call__(
            self, prompt: Any, *, role: str = "default", sampling: Any = None, schema: Any = None
        ) -> Completion:
            asked[role] += 1
            return Completion(rehearse(prompt, role))

    import asyncio
    from random import Random

    for seed, expected in (
        (document("d"), {"default": 6, "judge": 5}),
        (document("d", BEES_ZH * 4), {"default": 6, "judge": 5}),
        (question("q", "Why do bees dance?"), {"default": 4, "judge": 6}),
        (question("q", "Why do bees dance?", reference=BEES), {"default": 4, "judge": 9}),
    ):
        asked.clear()
        (task,) = recipe.tasks([seed], Random(0))
        items = asyncio.run(recipe.run(task, Rehearsing()))
        assert dict(asked) == expected, [getattr(i, "reason", "sample") for i in items]


def test_a_sample_is_what_its_format_holds(tmp_path: Path) -> None:
    made: Sample = reformulate(tmp_path).samples[0]
    recipe = recipe_of("reformulate")
    assert made.text
    assert recipe.formats_for("documents") == ("text",)
    assert recipe.formats_for("prompts") == ("alpaca", "sharegpt")
    assert recipe_of("reformulate", values={"as": "instruction"}).formats_for("documents") == ("alpaca", "sharegpt")
