"""Self-Instruct with recorded answers: four steps, the paper's numbers, its pitfalls not repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from kit import SEEDS, Ended, capabilities, recipe_of, run, seed

from synthgen import output
from synthgen.data import folder
from synthgen.errors import RequestRefused, UsageError
from synthgen.load import Pool
from synthgen.recipes import find
from synthgen.seeds import read_seeds
from synthgen.speakers import Speaker
from synthgen.types import Completion, Request, SamplingParams, Seed

LABELLED = (
    seed("c1", "Tell whether the review is positive or negative.", "I loved it.", "positive", is_classification=True),
    seed("c2", "Is the number odd or even?", "17", "odd", is_classification=True),
)
EIGHT = (
    *SEEDS,
    seed("s5", "Write a short poem on the sea.", output="Blue and wide."),
    seed("s6", "Explain why the sky is blue.", output="Light is scattered."),
    seed("s7", "List five uses of an empty jar.", output="Pens, seeds, jam, tea, coins."),
    seed("s8", "Shorten the paragraph.", "It was a long and winding road.", "A long road."),
)
CHINESE = (
    seed("甲", "列出三条跨越国境的河流。", output="莱茵河、多瑙河、尼罗河"),
    seed("乙", "把下面的句子改成疑问句。", "蜜蜂酿蜜。", "蜜蜂酿蜜吗？"),
    seed("丙", "判断这条评论是褒义还是贬义。", "很好吃。", "褒义", is_classification=True),
)
NEW = (
    "Describe a lighthouse in winter.",
    "Sort the numbers from small to large.",
    "Why do cats purr at night?",
    "Rewrite the phrase politely.",
    "Plan a picnic for ten people.",
    "Convert 85 F to Celsius in NASA units.",
    "Invent a name for a bakery.",
)
Step = str | Completion | BaseException


def step_of(request: Request) -> str:
    """Which of the four questions a request asks."""
    first = text_of(request).strip().splitlines()[0]
    if re.search("Answer Yes or No|请回答“是”或“否”", first):
        return "classification"
    if re.search("class label|可能的类别", first):
        return "output first"
    return "input first" if re.search("of the last task|请为最后一个任务写", first) else "instructions"


def text_of(request: Request) -> str:
    return "\n".join(m.content for m in request.prompt if not isinstance(m, str))


def asks_of(request: Request) -> str:
    """The instruction that a request of steps 2 and 3 is about."""
    return re.findall(r"(?:Task: |任务：)(.+)", text_of(request))[-1]


def answering(steps: Mapping[str, Step | Callable[[Request], Step]]) -> Callable[[Request], Step]:
    """An answer for each step, some by the instruction."""

    def answer(request: Request) -> Step:
        found = steps[step_of(request)]
        return found(request) if callable(found) else found

    return answer


def listed(*instructions: str, first: int = 9) -> str:
    return "\n".join(f"{k}. {text}" for k, text in enumerate(instructions, first))


PLAIN: dict[str, Step | Callable[[Request], Step]] = {
    "instructions": listed(*NEW),
    "classification": "No",
    "input first": lambda request: f"Output: It is done: {asks_of(request)}",
    "output first": "Class label: up\nInput: The line rises.\nClass label: down\nInput: The line falls.",
}


def once(tmp_path: Path, count: int = 1, seeds: tuple[Seed, ...] = EIGHT, **more: Any) -> Ended:
    """A run with one place; what is not given is answered plainly."""
    steps = {name: more.pop(name.replace(" ", "_"), answer) for name, answer in PLAIN.items()}
    return run(tmp_path, answering(steps), recipe="self-instruct", seeds=seeds, count=count, concurrency=1, **more)


def asked(outcome: Ended, step: str) -> list[Request]:
    return [r for r in outcome.backend.requests if step_of(r) == step]


def body_of(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(request.body)
    return {k: v for k, v in found.items() if k not in ("messages", "model")}


def reasons(folder_: Path, count: int) -> list[tuple[str | None, str]]:
    """(reason, detail) of every decided sample."""
    from synthgen import bodies

    with output.reading(folder_) as db:
        return [(reason, bodies.parse(body)[1]) for _, reason, body in output.decisions(db, count)]


# The numbers.


def test_the_papers_numbers_are_the_defaults() -> None:
    knobs = {name: k.default for name, k in find("self-instruct").knobs().items()}
    assert knobs == {
        "novelty": 0.7, "novelty_cjk": 0.8, "similar": 0,
        "human": 6, "machine": 2, "new": 7,
        "classification_only": False, "instances": 1,
        "yes_shown": 12, "no_shown": 19, "input_first_shown": 11, "output_first_shown": 16,
        "instance_tokens": 350, "label_tokens": 300,
    }  # fmt: skip
    assert find("self-instruct").knobs()["instances"].high == 5
    assert recipe_of("self-instruct").most_per_task() == 7


def test_the_sampling_of_each_step(tmp_path: Path) -> None:
    def kind(request: Request) -> str:
        return "Yes" if "lighthouse" in asks_of(request) else "No"

    done = once(tmp_path, 8, classification=kind)
    sent = {step: body_of(asked(done, step)[0]) for step in PLAIN}
    assert sent == {
        "instructions": {
            "temperature": 0.7, "top_p": 0.5, "presence_penalty": 2.0, "max_tokens": 1024, "stop": ["\n16."],
        },
        "classification": {"temperature": 0.0, "max_tokens": 3},
        "output first": {
            "temperature": 0.0, "top_p": 1.0, "presence_penalty": 1.5, "max_tokens": 300,
            "stop": ["\nTask:", "\n任务："],
        },
        "input first": {
            "temperature": 0.0, "top_p": 1.0, "presence_penalty": 1.5, "max_tokens": 350,
            "stop": ["\nTask:", "\n任务："],
        },
    }  # fmt: skip


def test_the_stop_follows_the_knobs() -> None:
    assert recipe_of("self-instruct", values={"new": "4", "human": "3", "machine": "1"}).sampling.stop == ("\n9.",)
    given = recipe_of("self-instruct", sampling=SamplingParams(temperature=0.1, stop=("END",))).sampling
    assert (given.temperature, given.top_p, given.stop) == (0.1, 0.5, ("END",))


# Step 1.


def test_eight_instructions_are_shown_and_seven_asked_for(tmp_path: Path) -> None:
    done = once(tmp_path)
    text = text_of(asked(done, "instructions")[0])
    assert text.startswith("Come up with a series of tasks:\n")
    assert text.rstrip().endswith("Continue the list with 9 to 15: new tasks, one a line.")
    shown = re.findall(r"^(\d+)\. (.+)$", text, re.MULTILINE)
    assert [int(k) for k, _ in shown] == list(range(1, 9))
    assert {t for _, t in shown} == {s.fields["instruction"] for s in EIGHT}, "the first round shows seeds alone"


def test_two_of_the_pool_stand_beside_six_seeds(tmp_path: Path) -> None:
    numbers = iter(range(1000))
    words = "apple brick cloud drum eagle flute grape house igloo juice kite lemon".split()

    def fresh(request: Request) -> str:
        n = next(numbers)
        two = words[n % 12], words[(n * 5 + 1 + n // 12) % 12]
        return listed(f"Tell the {two[0]} story of {two[1]} number {n}.", f"Is {two[1]} {n} older than {two[0]}?")

    done = once(tmp_path, 30, instructions=fresh)
    seeds = {s.fields["instruction"] for s in EIGHT}
    counts = []
    for request in asked(done, "instructions"):
        shown = re.findall(r"^\d+\. (.+)$", text_of(request), re.MULTILINE)
        assert len(shown) == len(set(shown)) == 8
        counts.append(sum(1 for text in shown if text not in seeds))
    assert counts[0] == 0
    assert set(counts[8:]) == {2}
    places = [
        [text in seeds for text in re.findall(r"^\d+\. (.+)$", text_of(r), re.MULTILINE)].index(False)
        for r in asked(done, "instructions")[8:]
    ]
    assert len(set(places)) > 1, "they are shuffled"


def test_fewer_seeds_than_places_show_what_there_is(tmp_path: Path) -> None:
    text = text_of(asked(once(tmp_path, seeds=EIGHT[:3], instructions=listed(*NEW, first=4)), "instructions")[0])
    assert text.rstrip().endswith("Continue the list with 4 to 10: new tasks, one a line.")
    assert "4. " not in text


def test_at_most_seven_are_taken(tmp_path: Path) -> None:
    done = once(tmp_path, 7, instructions=listed(*NEW, "Count the windows of a castle."))
    assert [row[0] for row in done.rows()] == list(NEW)
    assert len(asked(done, "classification")) == 7


def test_a_cut_list_loses_its_last_instruction(tmp_path: Path) -> None:
    done = once(tmp_path, 2, instructions=Completion(listed(*NEW[:2], "Name the tallest tree of"), "length"))
    assert [row[0] for row in done.rows()] == list(NEW[:2])
    assert len(asked(done, "classification")) == 2


@pytest.mark.parametrize("text", ["", "Sure, what about?", "<think>1. bait"])
def test_prose_is_a_rejection(text: str, tmp_path: Path) -> None:
    answers = iter([text])
    done = once(tmp_path, instructions=lambda _: next(answers, listed(*NEW)))
    assert done.falls.rejected == {"parse": 1, "surplus": 6}


def test_case_is_kept_and_the_last_colon_goes(tmp_path: Path) -> None:
    """The reference lower-cases everything behind the first letter: NASA becomes nasa."""
    done = once(tmp_path, 2, instructions=listed("Convert  85 F to Celsius\tin NASA units:", "Ask the FBI politely："))
    assert [row[0] for row in done.rows()] == ["Convert 85 F to Celsius in NASA units", "Ask the FBI politely"]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Sing it loud.", "instruction length"),
        ("Draw a picture of a horse.", "keyword"),
        ("Write a program that sorts numbers.", "write a program"),
        ("(Optional) name a tree you like.", "starts with punctuation"),
        ("用一句话描述你的家乡。", "language"),
    ],
)
def test_nothing_is_paid_for_an_unfit_instruction(instruction: str, reason: str, tmp_path: Path) -> None:
    done = once(tmp_path, 1, instructions=listed(instruction, NEW[0]))
    assert reasons(tmp_path, 1)[0] == (reason, instruction)
    assert [asks_of(r) for r in done.backend.requests if step_of(r) != "instructions"] == [NEW[0]] * 2


def test_near_duplicates_of_one_reply_are_caught_before_they_are_paid_for(tmp_path: Path) -> None:
    near = "Describe a lighthouse in deep winter."
    done = once(tmp_path, 2, instructions=listed(NEW[0], near, NEW[0], NEW[2]))
    assert [row[0] for row in done.rows()] == [NEW[0], NEW[2]]
    assert done.falls.rejected == {"novelty": 2}
    assert all("to its neighbour: Describe a lighthouse in winter." in d for r, d in reasons(tmp_path, 2) if r)
    assert {asks_of(r) for r in asked(done, "classification")} == {NEW[0], NEW[2]}


def test_a_copy_of_a_seed_is_not_paid_for(tmp_path: Path) -> None:
    done = once(tmp_path, 1, instructions=listed("Explain to me why the sky is blue.", NEW[0]))
    assert reasons(tmp_path, 1)[0][0] == "novelty"
    assert len(asked(done, "classification")) == 1


# Step 2.


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_twelve_and_nineteen_tasks_are_shown_in_step_2(lang: str, tmp_path: Path) -> None:
    answers = {} if lang == "en" else {"instructions": listed("写一首关于秋天的短诗。"), "classification": "否"}
    done = once(tmp_path, lang=lang, seeds=EIGHT if lang == "en" else CHINESE, **answers)
    text = text_of(asked(done, "classification")[0])
    yes, no = ("Answer: Yes", "Answer: No") if lang == "en" else ("回答：是", "回答：否")
    marks = re.findall(f"^(?:{yes}|{no})$", text, re.MULTILINE)
    assert (marks.count(yes), marks.count(no)) == (12, 19)
    assert marks != sorted(marks), "they are mixed"
    assert marks != sorted(marks, reverse=True)
    assert len(set(re.findall(r"^(?:Task: |任务：)(.+)$", text, re.MULTILINE))) == 32
    bundled = {s.fields["instruction"]: s.fields["is_classification"] for s in read_seeds([folder("seeds") / lang])}
    pairs = re.findall(r"^(?:Task: |任务：)(.+)\n(?:Answer: |回答：)(\S+)$", text, re.MULTILINE)
    assert all(bundled[task] == (answer in ("Yes", "是")) for task, answer in pairs)


@pytest.mark.parametrize(
    ("answer", "labelled"),
    [("Yes", True), ("yes.", True), ("YES", True), (" Yes,", True), ("是", True), ("是的", True), ("No", False),
     ("否", False), ("不是", False), ("no", False), ("perhaps", False), ("", False)],
)  # fmt: skip
def test_yes_leads_to_output_first_and_everything_else_to_input_first(
    answer: str, labelled: bool, tmp_path: Path
) -> None:
    done = once(tmp_path, 1, instructions=listed(NEW[0]), classification=answer)
    assert len(asked(done, "output first")) == labelled
    assert len(asked(done, "input first")) == (not labelled)
    assert done.samples[0].meta["classification"] is labelled


# Step 3.


def test_eleven_tasks_are_shown_input_first_and_sixteen_output_first(tmp_path: Path) -> None:
    done = once(tmp_path, 2, classification=lambda r: "Yes" if asks_of(r) == NEW[0] else "No")
    bundled = {s.fields["instruction"]: s.fields["is_classification"] for s in read_seeds([folder("seeds") / "en"])}
    for step, shown, labelled in (("input first", 11, False), ("output first", 16, True)):
        tasks = re.findall(r"^Task: (.+)$", text_of(asked(done, step)[0]), re.MULTILINE)
        assert len(tasks) == shown + 1
        assert {bundled[t] for t in tasks[:-1]} == {labelled}
        assert tasks[-1] in NEW


def test_the_prompts_of_steps_2_and_3_share_their_beginning(tmp_path: Path) -> None:
    """A server that caches prefixes reads the demonstrations once."""
    done = once(tmp_path, 3)
    for step in ("classification", "input first"):
        texts = [text_of(r) for r in asked(done, step)]
        assert len(texts) >= 3
        assert len({t.rsplit("Task: ", 1)[0] for t in texts}) == 1


def test_an_instance_with_input_and_one_without(tmp_path: Path) -> None:
    answers = {NEW[0]: "Input: the one at Whitby\nOutput: White and cold.", NEW[1]: "Output: There are none to sort."}
    done = once(tmp_path, 2, instructions=listed(*NEW[:2]), input_first=lambda r: answers[asks_of(r)])
    assert done.rows() == [(NEW[0], "the one at Whitby", "White and cold."), (NEW[1], "", "There are none to sort.")]
    assert [m.content for m in done.samples[0].messages] == [f"{NEW[0]}\nthe one at Whitby", "White and cold."]
    assert set(done.samples[0].meta["parents"]) == {s.id for s in EIGHT}


@pytest.mark.parametrize(
    "answer", ["A bare answer without labels.", "Input: <noinput>\nOutput: A bare answer without labels."]
)
def test_a_bare_answer_is_the_output(answer: str, tmp_path: Path) -> None:
    done = once(tmp_path, 1, instructions=listed(NEW[0]), input_first=answer)
    assert done.rows() == [(NEW[0], "", "A bare answer without labels.")]


FIVE = "\n".join(f"Input: sheep {n}\nOutput: wool {n}" for n in range(7))


def test_one_instance_by_default(tmp_path: Path) -> None:
    done = once(tmp_path, 2, instructions=listed(*NEW[:2]), input_first=FIVE)
    assert [row[0] for row in done.rows()] == list(NEW[:2])
    assert "Write an example of the last task" in text_of(asked(done, "input first")[0])


def test_up_to_five_instances_by_knob(tmp_path: Path) -> None:
    done = once(tmp_path, 5, instructions=listed(NEW[0]), input_first=FIVE, values={"instances": "5"})
    assert [row[0] for row in done.rows()] == [NEW[0]] * 5
    numbers = [int(row[1][-1]) for row in done.rows()]
    assert numbers == sorted(set(numbers))
    assert [row[2][-1] for row in done.rows()] == [str(n) for n in numbers]
    assert "up to 5 examples" in text_of(asked(done, "input first")[0])
    with pytest.raises(UsageError, match="out of range"):
        recipe_of("self-instruct", values={"instances": "6"})


def test_equal_instances_are_one(tmp_path: Path) -> None:
    twice = "Input: a\nOutput: b\nInput: a\nOutput: b\nInput: c\nOutput: d"
    done = once(tmp_path, 2, instructions=listed(NEW[0]), input_first=twice, values={"instances": "5"})
    assert done.rows() == [(NEW[0], "a", "b"), (NEW[0], "c", "d")]
    assert done.falls.rejected == {}


def test_conflicting_instances_drop_the_task(tmp_path: Path) -> None:
    answers = {NEW[0]: "Input: a\nOutput: b\nInput: a\nOutput: c\nInput: d\nOutput: e", NEW[1]: "Input: x\nOutput: y"}
    done = once(
        tmp_path, 1, instructions=listed(*NEW[:2]), input_first=lambda r: answers[asks_of(r)], values={"instances": "5"}
    )
    assert done.rows() == [(NEW[1], "x", "y")]
    assert reasons(tmp_path, 1)[0] == ("conflicting instances", NEW[0])


def test_different_outputs_without_an_input_are_no_conflict(tmp_path: Path) -> None:
    done = once(tmp_path, 2, instructions=listed(NEW[0]), input_first="Output: b\nOutput: c", values={"instances": "5"})
    assert done.rows() == [(NEW[0], "", "b"), (NEW[0], "", "c")]


def test_the_last_instance_of_a_cut_answer_is_dropped(tmp_path: Path) -> None:
    cut = Completion("Input: a\nOutput: whole\nInput: b\nOutput: cut in the mid", "length")
    done = once(tmp_path, 1, instructions=listed(NEW[0]), input_first=cut, values={"instances": "5"})
    assert done.rows() == [(NEW[0], "a", "whole")]


def test_an_answer_cut_in_its_only_instance_is_rejected(tmp_path: Path) -> None:
    answers = {NEW[0]: Completion("Input: a\nOutput: cut in the mid", "length"), NEW[1]: Completion("Output: whole")}
    done = once(tmp_path, 1, instructions=listed(*NEW[:2]), input_first=lambda r: answers[asks_of(r)])
    assert done.rows() == [(NEW[1], "", "whole")]
    assert [r for r, _ in reasons(tmp_path, 1)] == ["truncated", None]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Input: the same\nOutput: the same", "output equals input"),
        ("Input: x\nOutput:", "empty output"),
        ("Input: x\nOutput: It is as follows:", "output ends with a colon"),
        ("Input: the following:\nOutput: y", "input ends with a colon"),
    ],
)
def test_unfit_instances_are_rejected(answer: str, reason: str, tmp_path: Path) -> None:
    answers = {NEW[0]: answer, NEW[1]: "Output: y"}
    done = once(tmp_path, 1, instructions=listed(*NEW[:2]), input_first=lambda r: answers[asks_of(r)])
    assert done.rows() == [(NEW[1], "", "y")]
    assert [r for r, _ in reasons(tmp_path, 1)] == [reason, None]


def test_labels_of_a_classification_are_counted(tmp_path: Path) -> None:
    done = once(tmp_path, 2, instructions=listed(NEW[0]), classification="Yes", values={"instances": "5"})
    assert done.rows() == [(NEW[0], "The line rises.", "up"), (NEW[0], "The line falls.", "down")]
    assert [(s.meta["labels"], "flags" in s.meta) for s in done.samples] == [(2, False)] * 2


def test_a_single_label_is_flagged(tmp_path: Path) -> None:
    one = "Class label: up\nInput: The line rises.\nClass label: up\nInput: The road climbs."
    done = once(tmp_path, 1, instructions=listed(NEW[0]), classification="Yes", output_first=one)
    assert done.samples[0].meta["labels"] == 1
    assert done.samples[0].meta["flags"] == ["single label"]
    assert "labels" not in once(tmp_path / "plain", 1).samples[0].meta


def test_a_refused_step_costs_its_own_instruction(tmp_path: Path) -> None:
    refused: Callable[[Request], Step] = lambda r: RequestRefused("no") if asks_of(r) == NEW[1] else "No"  # noqa: E731
    done = once(tmp_path, 2, instructions=listed(*NEW[:3]), classification=refused)
    assert [row[0] for row in done.rows()] == [NEW[0], NEW[2]]
    assert (done.ending.code, done.falls.failed) == (5, 1)
    with output.reading(tmp_path) as db:
        output.write_failures(db, None, tmp_path)
    row = orjson.loads((tmp_path / "failures.jsonl").read_bytes())
    assert row == {"task": "000000", "error": "no", "attempts": 1}


# Classification alone.


def test_classification_only_shows_and_asks_for_nothing_else(tmp_path: Path) -> None:
    labelled = (
        *LABELLED,
        seed("c3", "Sort the fruit by colour: red, green or yellow.", "kiwi", "green", is_classification=True),
    )
    done = once(
        tmp_path,
        1,
        seeds=(*EIGHT, *labelled),
        instructions=listed(NEW[0], first=4),
        values={"classification_only": "true"},
    )
    text = text_of(asked(done, "instructions")[0])
    assert text.startswith("Come up with a series of classification tasks. Say what the possible labels are.")
    shown = set(re.findall(r"^\d+\. (.+)$", text, re.MULTILINE))
    assert shown == {s.fields["instruction"] for s in labelled}
    assert asked(done, "classification") == [], "what was asked for need not be asked about"
    assert len(asked(done, "output first")) == 1
    assert done.samples[0].meta["classification"] is True


def test_classification_only_needs_classification_seeds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="classification_only needs seeds with is_classification: true"):
        once(tmp_path, values={"classification_only": "true"})


# Chinese.


def test_a_chinese_run_is_chinese_from_end_to_end(tmp_path: Path) -> None:
    new = ("写一首关于秋天的短诗。", "判断下面的评论是褒义还是贬义，说出理由。")
    done = once(
        tmp_path,
        2,
        lang="zh",
        seeds=CHINESE,
        instructions=f"4、{new[0]}\n5. {new[1]}",
        classification=lambda r: "是" if asks_of(r) == new[1] else "否",
        input_first="输入：<无输入>\n输出：秋风起，叶落满山。",
        output_first="类别：褒义\n输入：这家店真好。\n类别：贬义\n输入：再也不来了。",
        values={"instances": "1"},
    )
    assert done.rows()[0] == (new[0], "", "秋风起，叶落满山。")
    assert done.rows()[1] in ((new[1], "这家店真好。", "褒义"), (new[1], "再也不来了。", "贬义"))
    for step in PLAIN:
        text = text_of(asked(done, step)[0])
        assert not re.search(r"\b(?:Task|Input|Output|Answer|Come|Write|Class label)\b", text.splitlines()[0])
        assert re.search("[\u4e00-\u9fff]", text.splitlines()[0])
    assert text_of(asked(done, "instructions")[0]).rstrip().endswith("请接着写第4到第10个新任务，每行一个。")


def test_characters_count_in_chinese(tmp_path: Path) -> None:
    one, other = "请写一段话介绍春天里公园中盛开的樱花。", "请写一段话介绍春天里公园中盛开的桃花。"
    done = once(
        tmp_path, 1, lang="zh", seeds=CHINESE, instructions=listed(one, other, first=4), classification="否",
        input_first="输出：花开满园，游人如织。",
    )  # fmt: skip
    assert [row[0] for row in done.rows()] == [one]
    assert [r for r, _ in reasons(tmp_path, 1)] == ["novelty", None]


# A small context.

COUNT_TOKENS = Speaker("m", Pool([], concurrency=1), capabilities()).count_tokens


def _fitted(context_tokens: int | None, lang: str = "en") -> Any:
    seeds = read_seeds([folder("seeds") / lang])
    return recipe_of("self-instruct", lang, seeds, context_tokens=context_tokens, count_tokens=COUNT_TOKENS)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("context_tokens", [None, 16_384])
def test_a_large_context_changes_nothing(context_tokens: int | None, lang: str) -> None:
    assert _fitted(context_tokens, lang).notes == []


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    "context_tokens",
    [
        256,
        512,
        768,
        1024,
    ],
)
def test_a_small_context_takes_demonstrations_and_says_so_once(context_tokens: int, lang: str) -> None:
    recipe = _fitted(context_tokens, lang)
    (note,) = recipe.notes
    assert note.startswith(f"fitted to a context of {context_tokens:,} tokens: demonstrations ")
    kept = {part: len(tasks) for part, tasks in recipe._demonstrations.items()}
    for part, of in (("classification", 31), ("input_first", 11), ("output_first", 16)):
        assert (f"{kept[part]} of {of} for {part.replace('_', '-')}" in note) == (kept[part] < of)
        assert kept[part] >= 1
        task = {"instruction": NEW[0], **({"most": 1} if part == "input_first" else {})}
        text = recipe.render(part, demonstrations=recipe._demonstrations[part], **task)[-1].content
        assert COUNT_TOKENS(text) < 0.8 * context_tokens, "there is room for the task and its answer"
    tasks = recipe.rounds(read_seeds([folder("seeds") / lang]), [], Random(0))
    for _ in range(50):
        shown = next(tasks).vars["demonstrations"]
        text = recipe.render("instructions", demonstrations=shown, first=9, last=15, classification=False)[-1].content
        assert COUNT_TOKENS(text) < 0.8 * context_tokens
