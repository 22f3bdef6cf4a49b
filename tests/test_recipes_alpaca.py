"""Alpaca and BELLE with recorded answers: the published numbers, the prompt, and every way a list comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from kit import SEEDS, Ended, capabilities, recipe_of, run, seed

from synthgen import output
from synthgen.data import folder
from synthgen.errors import UsageError
from synthgen.load import Pool
from synthgen.recipe import Recipe
from synthgen.recipes import find
from synthgen.seeds import read_seeds
from synthgen.speakers import Speaker
from synthgen.types import Completion, Request, SamplingParams

CHINESE = (
    seed("甲", "列出三条跨越国境的河流。", output="莱茵河、多瑙河、尼罗河"),
    seed("乙", "把下面的句子改成疑问句。", "蜜蜂酿蜜。", "蜜蜂酿蜜吗？"),
    seed("丙", "十二乘以十一等于多少？", output="一百三十二"),
)
# What the conveyor has to take away is no matter here: these are new, fit and unlike each other.
TASKS = (
    ("Describe a lighthouse in winter.", "", "It stands white among the waves."),
    ("Sort these numbers from small to large.", "9, 4, 7", "4, 7, 9"),
    ("Why do cats purr?", "", "They purr when they are content."),
    ("Rewrite the phrase politely.", "Give me that!", "Could you please hand me that?"),
)


def listed(*tasks: tuple[str, str, str], first: int = 4, none: str = "<noinput>") -> str:
    """A list as the prompt asks for it."""
    rows = (
        f"{k}. Instruction: {instruction}\n{k}. Input: {given or none}\n{k}. Output: {answer}"
        for k, (instruction, given, answer) in enumerate(tasks, first)
    )
    return "\n###\n".join(rows)


def one(tmp_path: Path, answer: str | Completion, **more: Any) -> Ended:
    """One task, whatever comes of it."""
    return run(tmp_path, lambda _: answer, count=1, concurrency=1, **more)


def items(answer: str | Completion, **more: Any) -> Any:
    """What the recipe makes of one answer, before filters and novelty."""
    recipe = recipe_of("alpaca", more.pop("lang", "en"), more.pop("seeds", SEEDS), **more)
    task = next(recipe.tasks(SEEDS, Random(0)))

    class _Ask:
        async def __call__(self, *_: Any, **__: Any) -> Completion:
            return Completion(answer) if isinstance(answer, str) else answer

    return asyncio.run(recipe.run(task, _Ask()))


def triples(found: Any) -> list[tuple[str, str, str]]:
    return [(*item.input_split, item.messages[-1].content) for item in found]


def prompt_of(outcome: Ended, at: int = 0) -> str:
    return "\n".join(m.content for m in outcome.backend.requests[at].prompt if not isinstance(m, str))


def body_of(outcome: Ended, at: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(outcome.backend.requests[at].body)
    return found


# The numbers.


def test_the_published_numbers_are_the_defaults() -> None:
    knobs = {name: (k.value("en"), k.value("zh")) for name, k in find("alpaca").knobs().items()}
    assert knobs == {
        "shown": (3, 3),
        "listed": (20, 10),
        "novelty": (0.7, 0.7),
        "novelty_cjk": (0.8, 0.8),
        "similar": (0, 0),
    }
    english = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=3072)
    assert recipe_of("alpaca").sampling == english
    assert recipe_of("alpaca", "zh", CHINESE).sampling == SamplingParams(temperature=1.0, top_p=1.0, max_tokens=1024)
    assert recipe_of("alpaca").most_per_task() == 17


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_request_has_neither_stop_nor_logit_bias(lang: str, tmp_path: Path) -> None:
    """The stop "20." cuts any text with "2020."; the bias suppresses an arbitrary token of another vocabulary."""
    body = body_of(one(tmp_path, "", lang=lang, seeds=SEEDS if lang == "en" else CHINESE))
    assert set(body) == {"model", "messages", "temperature", "top_p", "max_tokens"}
    assert (body["temperature"], body["top_p"]) == (1.0, 1.0)
    assert body["max_tokens"] == (3072 if lang == "en" else 1024)
    assert [m["role"] for m in body["messages"]] == ["user"]


def test_sampling_of_the_user_comes_before_the_recipes_own() -> None:
    sampling = SamplingParams(temperature=0.2, stop=("END",), max_tokens=99)
    made = recipe_of("alpaca", sampling=sampling).sampling
    assert made == SamplingParams(temperature=0.2, top_p=1.0, stop=("END",), max_tokens=99)


# The prompt.


def test_three_seeds_are_shown_and_the_list_goes_on_at_four(tmp_path: Path) -> None:
    text = prompt_of(one(tmp_path, ""))
    assert text.startswith("Write a varied list of 20 tasks")
    assert text.rstrip().endswith("Go on with tasks 4 to 20, in the same form.")
    shown = [s for s in SEEDS if s.fields["instruction"] in text]
    assert len(shown) == 3
    for k in (1, 2, 3):
        assert [text.count(f"{k}. {field}: ") for field in ("Instruction", "Input", "Output")] == [1, 1, 1]
    assert "4. Instruction" not in text
    for s in shown:
        given = s.fields["input"] or "<noinput>"
        assert f"Instruction: {s.fields['instruction']}\n" in text
        assert f"Input: {given}\n" in text
        assert f"Output: {s.fields['output']}\n###" in text


@pytest.mark.parametrize(
    ("values", "lead", "tail"),
    [
        ({"shown": "2", "listed": "10"}, "list of 10 tasks", "Go on with tasks 3 to 10,"),
        ({"shown": "1", "listed": "2"}, "list of 2 tasks", "Go on with task 2,"),
        ({"shown": "4", "listed": "3"}, "list of 5 tasks", "Go on with task 5,"),  # never fewer than one new
        ({"shown": "20", "listed": "20"}, "list of 20 tasks", "Go on with tasks 5 to 20,"),  # there are but four seeds
    ],
)
def test_first_and_total_follow_the_knobs(values: dict[str, str], lead: str, tail: str, tmp_path: Path) -> None:
    text = prompt_of(one(tmp_path, "", values=values))
    assert lead in text
    assert tail in text


def test_no_input_is_shown_as_its_marker_in_both_languages(tmp_path: Path) -> None:
    english = prompt_of(one(tmp_path / "en", "", seeds=[seed("s", "Name a tree.", output="Oak")]))
    assert "1. Input: <noinput>\n" in english
    chinese = prompt_of(one(tmp_path / "zh", "", lang="zh", seeds=[CHINESE[0]]))
    assert "1. 输入: <无输入>\n" in chinese


def test_the_chinese_prompt_is_belles(tmp_path: Path) -> None:
    text = prompt_of(one(tmp_path, "", lang="zh", seeds=CHINESE))
    assert text.startswith("请写出10个各不相同的任务")
    assert text.rstrip().endswith("请接着写第4到第10个任务，格式同上。")
    for name in (
        "brainstorming", "open QA", "closed QA", "rewrite", "extract", "generation", "classification", "chat",
        "summarization",
    ):  # fmt: skip
        assert name in text
    assert "<无输入>" in text
    rules, shown = text.split("\n\n", 2)[1], text.split("\n\n", 2)[2]
    assert "输出要正确、恰当地完成指令" in rules
    assert not any(word in rules for word in ("100", "字以内", "不超过", "简短", "简洁")), "outputs have no limit here"
    assert [shown.count(f"{k}. 指令: ") for k in (1, 2, 3, 4)] == [1, 1, 1, 0]
    assert "Instruction" not in text


def test_the_english_prompt_has_the_methods_rules(tmp_path: Path) -> None:
    text = prompt_of(one(tmp_path, ""))
    for rule in ("verbs", "questions", "in English", "one or two sentences", "placeholders", "less than 100 words"):
        assert rule in text


def test_text_of_a_seed_is_never_read_as_a_template(tmp_path: Path) -> None:
    odd = seed("s", "Explain {{ 1 + 1 }} and {% raw %} to me.", "{# not a comment #}", "### {{ x }}")
    text = prompt_of(one(tmp_path, "", seeds=[odd]))
    for part in ("{{ 1 + 1 }} and {% raw %}", "{# not a comment #}", "### {{ x }}"):
        assert part in text


def test_demonstrations_differ_from_task_to_task_and_come_from_the_seeds_alone(tmp_path: Path) -> None:
    answers = iter(listed(*TASKS[:1]) for _ in range(50))
    done = run(tmp_path, lambda _: next(answers, ""), count=3, concurrency=1)
    texts = [prompt_of(done, i) for i in range(40)]
    assert len(set(texts)) > 10
    assert not any(TASKS[0][0] in text for text in texts), "machine-made tasks never come back"
    firsts = Counter(s.id for text in texts for s in SEEDS if f"1. Instruction: {s.fields['instruction']}" in text)
    assert len(firsts) == len(SEEDS)


def test_seeds_without_an_output_are_not_shown(tmp_path: Path) -> None:
    text = prompt_of(one(tmp_path, "", seeds=[*SEEDS[:2], seed("bare", "Only an instruction here.", output="")]))
    assert "Only an instruction here." not in text
    assert "3 to 20" in text


# The answer.


def test_a_list_as_asked_for() -> None:
    assert triples(items(listed(*TASKS))) == list(TASKS)


def test_parents_are_remembered(tmp_path: Path) -> None:
    done = run(tmp_path, lambda _: listed(*TASKS), count=4, concurrency=1)
    assert [s.meta["id"] for s in done.samples] == ["000000.0", "000000.1", "000000.2", "000000.3"]
    for s in done.samples:
        assert len(s.meta["parents"]) == 3
        assert set(s.meta["parents"]) <= {one_seed.id for one_seed in SEEDS}
    assert [m.content for m in done.samples[1].messages] == [f"{TASKS[1][0]}\n{TASKS[1][1]}", TASKS[1][2]]


def test_a_list_that_starts_again_at_one() -> None:
    assert triples(items(listed(*TASKS, first=1))) == list(TASKS)


def test_an_answer_that_goes_straight_on() -> None:
    assert triples(items(listed(*TASKS).removeprefix("4. Instruction:"))) == list(TASKS)


def test_a_markdown_heading_in_an_output_costs_nothing() -> None:
    """The reference parser splits at it: that item's output is gone, and all that follow."""
    plan = ("Plan a picnic for ten.", "", "Here is the plan.\n### Goals\n- eat well\n\n### Food\n- bread")
    assert triples(items(listed(TASKS[0], plan, TASKS[2]))) == [TASKS[0], plan, TASKS[2]]


@pytest.mark.parametrize("marker", ["<无输入>", "<無輸入>", "无", "（无）", "<noinput>", "N/A"])
@pytest.mark.parametrize("colon", [":", "："])
def test_chinese_lists(marker: str, colon: str) -> None:
    text = (
        f"4. 指令{colon}写一首关于秋天的短诗。\n4. 输入{colon}{marker}\n4. 输出{colon}秋风起，叶落满山。\n###\n"
        f"5. 指令{colon}把句子翻译成英文。\n5. 输入{colon}今天天气很好。\n5. 输出{colon}The weather is nice today."
    )
    assert triples(items(text, lang="zh", seeds=CHINESE)) == [
        ("写一首关于秋天的短诗。", "", "秋风起，叶落满山。"),
        ("把句子翻译成英文。", "今天天气很好。", "The weather is nice today."),
    ]


@pytest.mark.parametrize("marker", ["<noinput>", "<No input>", "No Input", "(none)", "N/A", ""])
def test_no_input_in_all_its_forms(marker: str, tmp_path: Path) -> None:
    done = one(tmp_path, listed(TASKS[0], none=marker))
    assert done.rows() == [TASKS[0]]
    assert "noinput" not in str(done.samples).lower()


def test_a_truncated_tail_loses_only_the_last_item(tmp_path: Path) -> None:
    cut = Completion(listed(*TASKS)[:-12], "length")
    found = items(cut)
    assert triples(found[:3]) == list(TASKS[:3])
    assert found[3].reason == "truncated"
    done = run(tmp_path, lambda _: cut, count=3, concurrency=1)
    assert done.rows() == list(TASKS[:3])
    assert done.falls.rejected == {"truncated": 1}


def test_an_item_cut_before_its_output_is_the_only_loss() -> None:
    text = listed(*TASKS[:3]) + "\n###\n7. Instruction: Name a"
    found = items(text)
    assert triples(found[:3]) == list(TASKS[:3])
    assert [item.reason for item in found[3:]] == ["parse"]


def test_an_item_without_its_output_costs_no_other() -> None:
    first, second, third = (listed(t, first=k) for k, t in enumerate(TASKS[:3], 4))
    found = items("\n###\n".join([first, second.split("\n5. Output")[0], third]))
    assert triples([found[0], found[2]]) == [TASKS[0], TASKS[2]]
    assert found[1].reason == "parse"
    assert TASKS[1][0] in found[1].detail


def test_items_beyond_the_total_are_dropped() -> None:
    many = [(f"{t[0]} {n}", t[1], t[2]) for n in range(8) for t in TASKS]
    assert len(items(listed(*many))) == 17
    assert len(items(listed(*many), values={"listed": "6", "shown": "2"})) == 4
    assert triples(items(listed(*many)))[-1] == many[16]


def test_merged_items_are_split(tmp_path: Path) -> None:
    text = listed(TASKS[0]) + f" 5. Instruction: {TASKS[2][0]}\n5. Input: <noinput>\n5. Output: {TASKS[2][2]}"
    assert triples(items(text)) == [TASKS[0], TASKS[2]]


def test_case_is_kept() -> None:
    nasa = ("Convert 85 F to Celsius in NASA units.", "", "29.4 C, says NASA.")
    assert triples(items(listed(nasa))) == [nasa]


def test_numbers_that_look_like_a_stop_or_a_number_of_an_item_are_kept() -> None:
    years = ("Say when it was founded.", "", "It was founded in 2020. The fee is 120.5 a year, see point 20. Done.")
    assert triples(items(listed(years, TASKS[0]))) == [years, TASKS[0]]


def test_prose_is_one_rejection(tmp_path: Path) -> None:
    for text in ("", "I am not able to write tasks.", "<think>hm"):
        (found,) = items(text)
        assert found.reason == "parse"


def test_reasoning_before_the_list_is_cut_off() -> None:
    assert triples(items("<think>\n4. Instruction: bait\n4. Output: bait\n</think>\n" + listed(TASKS[0]))) == [TASKS[0]]


# What is new, and what is not.


def test_near_duplicates_in_one_reply_are_caught(tmp_path: Path) -> None:
    near = ("Describe a lighthouse in deep winter.", "", "It is quite another answer.")
    done = run(tmp_path, lambda _: listed(TASKS[0], near, TASKS[2]), count=2, concurrency=1)
    assert done.rows() == [TASKS[0], TASKS[2]]
    assert done.falls.rejected == {"novelty": 1}


def test_a_copy_of_a_seed_is_caught(tmp_path: Path) -> None:
    copy = ("Name three rivers which cross a border.", "", "Rhine, Elbe, Oder")
    done = run(tmp_path, lambda _: listed(copy, TASKS[2]), count=1, concurrency=1)
    assert done.rows() == [TASKS[2]]


def test_the_same_instruction_twice_in_one_reply_is_one_sample(tmp_path: Path) -> None:
    again = (TASKS[0][0], "", "It is quite another answer.")
    done = run(tmp_path, lambda _: listed(TASKS[0], again, TASKS[2]), count=2, concurrency=1)
    assert done.rows() == [TASKS[0], TASKS[2]]


def test_characters_count_in_chinese(tmp_path: Path) -> None:
    """One character of twenty differs: F1 is 0.95; and a Chinese sentence is one word to split()."""
    one_, other = "请写一段话介绍春天里公园中盛开的樱花。", "请写一段话介绍春天里公园中盛开的桃花。"
    text = "\n###\n".join(
        f"{k}. 指令: {t}\n{k}. 输入: <无输入>\n{k}. 输出: 花开满园，游人如织，第{k}处最美。"
        for k, t in enumerate((one_, other), 4)
    )
    done = run(tmp_path, lambda _: text, lang="zh", seeds=CHINESE, count=1, concurrency=1)
    assert [row[0] for row in done.rows()] == [one_]
    with output.reading(tmp_path) as db:
        reasons = [reason for _, reason, _ in output.decisions(db, 1)]
    assert reasons == [None, "novelty"]


# BELLE's wrappers.


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ("让GPT写一首关于春天的诗", "写一首关于春天的诗"),
        ("请GPT模型列举五种健康食品", "列举五种健康食品"),
        ("使用GPT模型，总结下面的文章", "总结下面的文章"),
        ("要求GPT解释光合作用的过程", "解释光合作用的过程"),
        ("请ChatGPT帮我写一封道歉信", "写一封道歉信"),
        ("GPT模型，请说出三种颜色", "请说出三种颜色"),
        ("请列举五种健康食品", "请列举五种健康食品"),
        ("用一句话概括这篇短文", "用一句话概括这篇短文"),
        ("给出三条学习建议", "给出三条学习建议"),
    ],
)
def test_wrappers_around_an_instruction_are_taken_off(wrapped: str, plain: str) -> None:
    text = f"4. 指令: {wrapped}\n4. 输入: <无输入>\n4. 输出: 好的。"
    assert triples(items(text, lang="zh", seeds=CHINESE)) == [(plain, "", "好的。")]


@pytest.mark.parametrize(
    "instruction",
    [
        "人工智能在医疗领域有哪些应用？",
        "AI技术会如何改变教育？",
        "语言模型是如何训练出来的？",
        "助手的工作包括哪些内容？",
        "用人工智能技术改善交通有哪些办法？",
        "与人工智能相关的职业有哪些？",
        "给助手写一封感谢信。",
        "GPT与其他模型有什么不同？",
    ],
)
def test_a_task_about_models_is_no_wrapper(instruction: str) -> None:
    text = f"4. 指令: {instruction}\n4. 输入: <无输入>\n4. 输出: 好的。"
    assert triples(items(text, lang="zh", seeds=CHINESE)) == [(instruction, "", "好的。")]


def test_the_verb_stays_when_the_wrapper_goes() -> None:
    text = "4. 指令: 让GPT生成一首关于春天的诗\n4. 输入: <无输入>\n4. 输出: 好的。"
    assert triples(items(text, lang="zh", seeds=CHINESE))[0][0] == "生成一首关于春天的诗"


@pytest.mark.parametrize("instruction", ["让人工智能更安全的方法有哪些？", "使用人工智能技术改善交通有哪些办法？"])
def test_a_model_that_is_an_object_is_no_wrapper(instruction: str) -> None:
    text = f"4. 指令: {instruction}\n4. 输入: <无输入>\n4. 输出: 好的。"
    assert triples(items(text, lang="zh", seeds=CHINESE)) == [(instruction, "", "好的。")]


def test_wrappers_are_a_matter_of_chinese() -> None:
    assert triples(items(listed(("AI safety: explain it briefly.", "", "Care."))))[0][0].startswith("AI safety")


def test_what_still_speaks_of_gpt_is_dropped(tmp_path: Path) -> None:
    text = "4. 指令: 比较GPT与其他模型的优缺点\n4. 输入: <无输入>\n4. 输出: 各有长短。\n###\n"
    text += "5. 指令: 写一首关于秋天的短诗\n5. 输入: <无输入>\n5. 输出: 秋风起，叶落满山。"
    done = run(tmp_path, lambda _: text, lang="zh", seeds=CHINESE, count=1, concurrency=1)
    assert [row[0] for row in done.rows()] == ["写一首关于秋天的短诗"]
    assert done.falls.rejected == {"keyword": 1}


# A small context.


COUNT_TOKENS = Speaker("m", Pool([], concurrency=1), capabilities()).count_tokens


def _fitted(context_tokens: int | None, lang: str = "en", **more: Any) -> Recipe:
    seeds = read_seeds([folder("seeds") / lang])
    return recipe_of("alpaca", lang, seeds, context_tokens=context_tokens, count_tokens=COUNT_TOKENS, **more)


@pytest.mark.parametrize("context_tokens", [None, 32_768, 8_192])
def test_a_large_context_changes_nothing(context_tokens: int | None) -> None:
    recipe = _fitted(context_tokens)
    assert (recipe.shown, recipe.listed, recipe.notes) == (3, 20, [])  # type: ignore[attr-defined]


@pytest.mark.parametrize("context_tokens", [512, 768, 1024])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_small_context_takes_demonstrations_and_items_and_says_so_once(context_tokens: int, lang: str) -> None:
    recipe: Any = _fitted(context_tokens, lang)
    full = 20 if lang == "en" else 10
    assert 1 <= recipe.shown <= 3
    assert recipe.shown < recipe.listed < full
    (note,) = recipe.notes
    assert note.startswith(f"fitted to a context of {context_tokens:,} tokens: ")
    assert f"lists of {recipe.listed} instead of {full}" in note
    assert (f"{recipe.shown} of 3 demonstrations" in note) == (recipe.shown < 3)
    tasks = recipe.tasks(read_seeds([folder("seeds") / lang]), Random(0))
    for _ in range(50):
        shown = next(tasks).vars["demonstrations"]
        messages = recipe.render("tasks", demonstrations=shown, first=len(shown) + 1, total=recipe.listed)
        assert sum(COUNT_TOKENS(m.content) for m in messages) < 0.8 * context_tokens, "there is room for an answer"


def test_the_note_of_a_smaller_context_is_said_by_the_run(tmp_path: Path) -> None:
    done = one(tmp_path, "", context_tokens=400, values={"shown": "2"})
    body = body_of(done)
    assert body["max_tokens"] < 400
    assert "Go on with task" in body["messages"][0]["content"]


def test_only_the_seeds_output_makes_it_usable() -> None:
    with pytest.raises(UsageError, match="none of the seeds has an output"):
        recipe_of("alpaca", "en", [seed("s", "Do it now, please.", output="")])


def test_a_request_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def bodies(folder_: str, run_seed: int) -> list[Request]:
        return one(tmp_path / folder_, listed(TASKS[0]), run_seed=run_seed).backend.requests

    assert [r.body for r in bodies("a", 0)] == [r.body for r in bodies("b", 0)]
    many = {bodies(str(n), n)[0].body for n in range(6)}
    assert len(many) > 1
