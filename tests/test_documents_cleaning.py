"""What extraction leaves behind is taken away, and what a text says stays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.documents.cleaning import cleaned, is_policy, whole_lines

# A copied article as it is found on the web: rules of a style sheet, font stacks, tags and declarations in the text.
RESIDUE = """<style>.rich_media{font-family:"mp-quote",-apple-system-font,BlinkMacSystemFont,"Helvetica Neue",sans-serif;}</style>
大语言模型的构建流程
font-family: -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", sans-serif;
<p style="margin: 0px; padding: 0px; letter-spacing: 0.544px;">第一步是预训练，需要海量的文本。</p>
.markdown-body pre { background-color: #f6f8fa; border-radius: 6px; line-height: 1.45; }
<span style="font-size: 15px; color: rgb(62, 62, 62);">第二步是有监督微调，</span>需要少量高质量的数据集。&nbsp;
-webkit-font-smoothing: antialiased; text-size-adjust: 100%;
"Helvetica Neue", Helvetica, "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei UI", Arial, sans-serif
第三步是奖励建模：对输入的两个结果之间的优劣进行判断。<!-- 注释 -->
* { margin: 0; padding: 0 }
第四步是强化学习，用奖励模型给出的分数更新参数。
<script type="text/javascript">var font = "Microsoft YaHei";</script>
@media (max-width: 600px) { .nav { display: none; } }
版权所有，未经许可不得转载 | 隐私政策
"""
MEANT = """大语言模型的构建流程
第一步是预训练，需要海量的文本。
第二步是有监督微调，需要少量高质量的数据集。
第三步是奖励建模：对输入的两个结果之间的优劣进行判断。
第四步是强化学习，用奖励模型给出的分数更新参数。"""
FONTS = (
    "font",
    "apple-system",
    "BlinkMac",
    "Segoe",
    "Roboto",
    "PingFang",
    "YaHei",
    "Helvetica",
    "Hiragino",
    "Arial",
    "serif",
)


def test_every_string_of_a_font_stack_is_gone_and_the_text_is_whole() -> None:
    assert cleaned(RESIDUE) == MEANT
    assert [word for word in FONTS if word.lower() in cleaned(RESIDUE).lower()] == []


@pytest.mark.parametrize(
    "text",
    [
        "Set the property font-family to a list of names, the last of them generic.",
        "A serif is a small stroke at the end of a letter; sans-serif faces have none.",
        "Arial, Helvetica and Verdana were made for screens.",
        "字体分为两类：衬线体 serif 和无衬线体 sans-serif。",
        "Remember: 3 < 5 and 7 > 2, so a<b.",
        "The width: 30 cm; the height: 12 cm.",
        "He said: content; she said: nothing.",
        "Let f(x) = {1, 2, 3} be a set, and {a: b} a mapping.",
        "Mail me at <name@example.org> or see <https://example.org>.",
        "1. 阅读网站的服务条款和隐私政策。",
        "- Read the privacy policy before you agree.",
        "```css\nbody { font-family: Arial, sans-serif; }\n```",
        "~~~html\n<p style=\"color: red\">Hi</p>\n~~~",
        "诗的第一行\n诗的第二行\n\n诗的第三行",
        "| a | b |\n| --- | --- |\n| 1 | 2 |",
    ],
)  # fmt: skip
def test_what_speaks_of_styles_and_is_none_stays(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("We use cookies to make this site better.", True),
        ("By going on you accept our Terms of Use.", True),
        ("JavaScript is disabled in your browser.", True),
        ("京ICP备12345678号", True),
        ("版权所有 某某公司", True),
        ("Bake the cookies for ten minutes.", False),
        ("JavaScript has a garbage collector.", False),
        ("The policy of the bank changed in spring.", False),
        ("这本书讲的是隐私和个人数据的历史。", False),
        ("A study of forty sites found that a privacy policy has " + "many words and says little, " * 12, False),
    ],
)
def test_lines_that_stand_on_every_page_go(line: str, gone: bool) -> None:
    assert is_policy(line) is gone
    assert cleaned(f"Before.\n{line}\nAfter.") == ("Before.\nAfter." if gone else f"Before.\n{line.rstrip()}\nAfter.")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("a \t\n\n\n\n\nb\u3000", "a\n\nb"),
        ("\n\n  a\n\n", "  a"),
        ("a\0b\x07c\u200bd\ufeffe", "abcde"),
        ("half \ud800 pair", "half  pair"),
        ("page\x0cpage", "page\npage"),
    ],
)
def test_lines_and_characters_are_made_even(text: str, meant: str) -> None:
    assert cleaned(text) == meant


def test_c4_keeps_the_lines_that_are_sentences() -> None:
    text = "Heading\n\nA sentence of six words here.\nToo short.\n- an item\n\n\n一个够长的句子。\n太短了。\n标题也没有标点"
    assert whole_lines(text) == "A sentence of six words here.\n\n一个够长的句子。"
    assert cleaned(text).count("\n") == 8


def test_real_answers_lose_nothing_but_tags_of_html(shared_data: Path) -> None:
    for name in ("lf_alpaca_en_demo.json", "lf_alpaca_zh_demo.json"):
        for row in json.loads((shared_data / name).read_text(encoding="utf-8")):
            before, after = row["output"], cleaned(row["output"])
            if "".join(before.split()) != "".join(after.split()):
                assert re.search(r"</?(?:html|body|p|hr|table|tr|td|div|meta|h1|ul|li|a|img|link)\b", before), before


# What the patterns look for, in any order: nothing may take long, and a second pass finds nothing.
_SHARDS = st.sampled_from(
    ["<style>", "</style>", "<!--", "-->", "<p ", "style=\"", "\"", ">", "{", "}", "color: red", ";", "font-family:", "Arial",
     ", ", "sans-serif", "```", "~~~", "\n", "\n\n", " ", "word", "字", ".a", "&nbsp;", "cookies", "@media", "<script", "---"]
)  # fmt: skip


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(_SHARDS, max_size=40).map("".join))
def test_cleaning_is_total(text: str) -> None:
    once = cleaned(text)
    assert not once.startswith("\n")
    assert not once.endswith("\n")
    assert "\n\n\n" not in once


@pytest.mark.parametrize(
    "shard",
    [
        "<style>",
        "<!--",
        "<script",
        "{color:red;",
        "```x\n",
        '<p a="',
        "Arial, ",
        "font-family:a ",
        "color:",
        "---\n",
        "~~~\n",
        "@media {",
        "&nbsp",
        "\t",
    ],
)
@pytest.mark.timeout(60)  # seconds where a pass is linear, hours where it is not
def test_what_is_never_closed_costs_no_more_than_its_length(shard: str) -> None:
    assert len(cleaned(shard * 100_000)) <= len(shard) * 100_000


def test_no_order_of_shards_takes_long() -> None:
    rng = Random(3)
    shards = [
        "<style>",
        "<!--",
        "{",
        "}",
        "color: red",
        ";",
        "font-family:",
        "Arial",
        ", ",
        "sans-serif",
        "\n",
        " ",
        "word",
    ]
    assert len(cleaned("".join(rng.choices(shards, k=50_000)))) < 400_000
