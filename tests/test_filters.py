"""Every rule of methods.md 3.1 in both languages, with what must pass beside what must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synthgen.data import folder
from synthgen.filters import instruction_reason, reason
from synthgen.recipe import sample
from synthgen.seeds import read_seeds

GOOD = [
    ("Name three rivers that cross a border.", "", "Rhine, Danube, Nile"),
    ("Turn the sentence into a question.", "Bees make honey.", "Do bees make honey?"),
    ("Write a Python function that doubles a number.", "", "```python\ndef double(x):\n    return 2 * x\n```"),
    ("Translate the sentence into Chinese.", "I like tea.", "我喜欢茶。"),
    ("请用一句话解释什么是光合作用", "", "植物利用阳光把二氧化碳和水变成养分。"),
    ("把下面的句子翻译成英文。", "我喜欢喝茶。", "I like drinking tea."),
    ("计算两个数的乘积。", "12 和 11", "132"),
    ("给这首诗写一个结尾，要求押韵，并且与前文的意境保持一致，读起来自然流畅。", "春眠不觉晓", "处处闻啼鸟。"),
]
BAD = [
    ("Sum it", "", "3", "instruction length"),
    ("word " * 151, "", "x", "instruction length"),
    ("写诗吧", "", "春天来了。", "instruction length"),
    ("写" * 201, "", "好。", "instruction length"),
    ("写" * 101, "春天", "好。", "instruction length"),
    ("Describe the image in a few words.", "", "A cat.", "keyword"),
    ("Please go to the shop for me.", "", "Done.", "keyword"),
    ("描述这张图片里的内容是什么", "", "一只猫。", "keyword"),
    ("用一句话介绍春天的特点吧", "", "请看这张照片。", "keyword"),
    ("让GPT模型写一首关于春天的诗", "", "春天来了。", "keyword"),
    ("Write a program that sorts numbers quickly.", "", "x", "write a program"),
    ("* List three kinds of cheese now.", "", "Brie", "starts with punctuation"),
    ("。请写一首关于春天的诗", "", "春天来了。", "starts with punctuation"),
    ("Émile wants a short poem about spring.", "", "Spring.", "starts outside ASCII"),
    ("Summarise the page at http://example.org now.", "", "x", "needs a link or an attachment"),
    ("Summarise the attached report in one line.", "", "x", "needs a link or an attachment"),
    ("请总结附件中的主要内容", "", "好的。", "needs a link or an attachment"),
    ("Set an alarm for five in the afternoon.", "", "Done.", "needs an action"),
    ("请在下午五点叫醒我起床工作", "", "好的。", "needs an action"),
    ("Answer the letter below in one line.", "[insert letter here]", "Dear Sir.", "placeholder"),
    ("请给下面的客户写一封回信", "[姓名]", "您好，来信收到。", "placeholder"),
    ("Answer the question in one line.", "<noinput>", "x", "no-input marker"),
    ("Answer the question in one line.", "", "<noinput> is here", "no-input marker"),
    ("请回答下面的问题并说明理由", "", "<無輸入>", "no-input marker"),
    ("Answer the question in one line.", "The question is:", "x", "input ends with a colon"),
    ("Answer the question in one line.", "a", "", "empty output"),
    ("Answer the question in one line.", "a", " \n ", "empty output"),
    ("Answer the question in one line.", "same", "same", "output equals input"),
    ("Answer the question in one line.", "a", "Here it is:", "output ends with a colon"),
    ("请回答下面这个问题", "甲", "答案如下：", "output ends with a colon"),
    ("Answer the question in one line.", "a", "Yes.\n5. Instruction: Name a bird.", "merged tasks"),
    ("请回答下面这个问题", "甲", "好的。5. 指令：写一首诗", "merged tasks"),
    ("Tell me about your day today please.", "", "As an AI language model, I have no days.", "boilerplate"),
    ("说说你今天过得怎么样", "", "作为一个人工智能，我没有生活。", "boilerplate"),
    ("Who won the race this year?", "", "I'm sorry, but I do not know.", "refusal"),
    ("今年的比赛谁赢了", "", "抱歉，我不知道。", "refusal"),
    ("Tell a long story about the sea.", "", "word " * 70 + "and then", "truncated"),
    ("Name three rivers that cross a border.", "", "莱茵河、多瑙河和尼罗河。", "language"),
    ("请用一句话解释什么是光合作用", "", "Plants make food from light.", "language"),
    ("Answer the question in one line.", "a<|im_end|>", "b", "control characters"),
    ("Answer the question in one line.", "a", "b\x00c", "control characters"),
    ("Answer the question in one line.", "a", "x " * 9000 + ".", "output length"),
]


@pytest.mark.parametrize("row", GOOD, ids=lambda r: r[0][:24])
def test_good_samples_pass(row: tuple[str, str, str]) -> None:
    assert reason(sample(*row)) is None


@pytest.mark.parametrize("row", BAD, ids=lambda r: f"{r[3]}-{r[0][:16]}")
def test_bad_samples_are_told_why(row: tuple[str, str, str, str]) -> None:
    assert reason(sample(*row[:3])) == row[3]


def test_a_chinese_instruction_of_one_word_by_spaces_passes_the_length_filter() -> None:
    text = "请列举出五种常见的可再生能源并说明其优点"
    assert len(text.split()) == 1
    assert instruction_reason(text) is None


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_built_in_seeds_pass_every_filter(lang: str) -> None:
    for seed in read_seeds([folder("seeds") / lang]):
        for one in seed.fields["instances"]:
            found = reason(sample(seed.fields["instruction"], one["input"], one["output"]))
            assert found is None, f"{seed.where}: {found}"


def test_alpacas_own_filters_pass_a_released_alpaca_sample(shared_data: Path) -> None:
    rows = json.loads((shared_data / "lf_alpaca_en_demo.json").read_text(encoding="utf-8"))
    own = {"instruction length", "keyword", "write a program", "starts with punctuation", "starts outside ASCII"}
    found = [reason(sample(r["instruction"], r["input"], r["output"])) for r in rows]
    assert not [f for f in found if f in own]
