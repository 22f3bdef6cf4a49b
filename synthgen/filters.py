"""What is wrong with a sample, or None: the format, length and honesty rules of the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from synthgen.dedup import cjk_count, cjk_share
from synthgen.parsing import is_no_input
from synthgen.types import Sample

Filter = Callable[[str, str, str], str | None]  # (instruction, input, output) -> reason

# Self-Instruct's twelve words and Alpaca's six: a text model can neither read nor make these.
_WORDS_EN = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot",
    "go to", "video", "audio", "music", "flowchart", "diagram",
)  # fmt: skip
_KEYWORDS_EN = re.compile(r"\b(?:" + "|".join(_WORDS_EN) + r")\b", re.IGNORECASE)
# BELLE's eighteen, as substrings of the whole item.
_KEYWORDS_ZH = re.compile(
    "图像|图片|照片|文件|图表|图层|曲线图|折线图|直线图|柱形图|饼状图|链接|http|OpenAI|chatgpt|gpt-3|gpt-3.5|gpt-4",
    re.IGNORECASE,
)
_ATTACHMENT = re.compile(
    r"https?://|\bwww\.|\b(?:attached|attachment|screenshot|photo(?:graph)?s?)\b|附件|上传|上傳|音频|音頻|视频|視頻|截图|截圖|鏈接|圖片",
    re.IGNORECASE,
)
_ALARM = re.compile(
    r"\b(?:wake me up|set (?:an? |the )?(?:alarm|reminder|timer)|remind me (?:to|at|in))\b"
    r"|(?:叫醒我|设置?(?:一个)?(?:闹钟|提醒)|定(?:一个)?闹钟|提醒我)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"^\W*(?:x{3,}|\[[^\]\d,]{1,40}\]|<[^>\d,]{1,40}>|\{[^}\d:,]{1,40}\}|\.{3,}|…+)\W*$"
    r"|\[(?:insert|your|name|date|company|姓名|名字|公司|日期|地址|在此)[^\]]*\]|(?<![A-Za-z])X{3,}(?![A-Za-z])",
    re.IGNORECASE,
)
_LEAK = re.compile(
    r"<\s*no\s*-?input\s*>|<\s*[无無][输輸]入\s*>|\A\W*(?:n\s*/\s*a|no[\s_-]*input|[无無][输輸]入)\W*\Z", re.IGNORECASE
)
_MERGED = re.compile(
    r"\d{1,3}[ \t]*[.、][ \t]*\**(?:Instruction|指令|Task|任务|任務)\**[ \t]*[:：]"
    r"|^[ \t]*\**(?:Instruction|指令)\**[ \t]*\d*[ \t]*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_SELF = re.compile(
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b|\bI am an? (?:AI|language model)\b"
    r"|\b(?:ChatGPT|GPT-?[34](?:\.5)?|OpenAI)\b"
    r"|\b(?:I am|I'm|my name is) (?:Claude|Gemini|Bard|Qwen|Llama|Mistral|DeepSeek|Copilot|Grok)\b"
    r"|\b(?:made|developed|trained|created) by (?:Anthropic|Google|Meta|Alibaba|Mistral|DeepSeek)\b"
    r"|我(?:叫|是|的名字[叫是])(?:文心一言|通义千问|豆包|智谱|讯飞星火|Kimi|ChatGLM|Claude|Qwen|DeepSeek|Gemini)"
    r"|作为一(?:个|名|款)?(?:人工智能|AI|语言模型|大模型)|我是(?:一个|一款|由)?[^。]{0,12}(?:语言模型|人工智能|开发的|训练的)",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"\A\s*(?:please note that|note:|the above is|as required|以上(?:是|为)|请注意[,，：:])", re.IGNORECASE
)
_SORRY_EN = re.compile(
    r"\b(?:sorry|I apologi[sz]e)\b|\A\W*(?:I cannot|I can't|I can’t|I'm unable|I am unable)\b", re.IGNORECASE
)
_SORRY_ZH = re.compile("抱歉|对不起|對不起|无法|無法")
_CONTROL = re.compile(
    r"<[|｜][\w▁ ]{1,40}[|｜]>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|\A<s>|</s>\Z"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]|\ufffd"
)
_FREE_LANGUAGE = re.compile(
    r"翻译|翻譯|译成|译为|英文|英语|英語|英译|代码|代碼|程序|函数|函數|编程|编写|SQL|Python|Java|正则|命令|公式|方程|计算|(?<![要请需追寻])求|JSON|HTML"
    r"|缩写|拼音|算式|算法|循环|推导|表达式|translat|\bcode\b|function|program|regex|pinyin|Chinese|Japanese",
    re.IGNORECASE,
)
_TERMINAL = re.compile(r"[.!?。！？…”\"'’)）\]】}>`;；|》*」]\s*\Z")
_LIST_LINE = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,3}[.、)）]|[A-Za-z一二三四五六七八九十]{1,3}[.、)）]|\|)", re.MULTILINE)
# 4,096 tokens, at about four characters a token of English and one of Chinese.
LONGEST_OUTPUT_CHARS = {"en": 16_384, "zh": 4_096}


def _is_zh(text: str) -> bool:
    return cjk_share(text) >= 0.3


def _length(instruction: str, given: str, output: str) -> str | None:
    if _is_zh(instruction):
        chars = sum(1 for c in instruction if not c.isspace())
        longest = 200 if not given else 149 if re.search("示例|例子", instruction) else 99
        return None if 4 <= chars <= longest else "instruction length"
    return None if 4 <= len(instruction.split()) <= 150 else "instruction length"


def _start(instruction: str, given: str, output: str) -> str | None:
    first = instruction[:1]
    if not first.isalnum():
        return "starts with punctuation"
    if not _is_zh(instruction):
        if not first.isascii():
            return "starts outside ASCII"
        if instruction.startswith("Write a program"):
            return "write a program"
    return None


def _keyword(instruction: str, given: str, output: str) -> str | None:
    if _is_zh(instruction):
        found = _KEYWORDS_ZH.search(f"{instruction}\n{given}\n{output}")
        if found or "GPT" in instruction.upper() or "GPT" in given.upper():
            return "keyword"
        return None
    return "keyword" if _KEYWORDS_EN.search(instruction) else None


def _not_text(instruction: str, given: str, output: str) -> str | None:
    if _ATTACHMENT.search(f"{instruction}\n{given}"):
        return "needs a link or an attachment"
    if _ALARM.search(instruction):
        return "needs an action"
    return None


def _input(instruction: str, given: str, output: str) -> str | None:
    if _LEAK.search(instruction) or _LEAK.search(output) or (given and (_LEAK.search(given) or is_no_input(given))):
        return "no-input marker"
    if given and _PLACEHOLDER.search(given):
        return "placeholder"
    if given.rstrip().endswith((":", "：")):
        return "input ends with a colon"
    return None


def _output(instruction: str, given: str, output: str) -> str | None:
    text = output.strip()
    if not text:
        return "empty output"
    if len(text) > LONGEST_OUTPUT_CHARS["zh" if _is_zh(text) else "en"]:
        return "output length"
    if len(given) > LONGEST_OUTPUT_CHARS["en"]:
        return "input length"
    if text == given.strip() or text == instruction.strip():
        return "output equals input"
    if text.endswith((":", "：")):
        return "output ends with a colon"
    if _MERGED.search(output) or _MERGED.search(given):
        return "merged tasks"
    return None


def _honest(instruction: str, given: str, output: str) -> str | None:
    if _SELF.search(output) or _OPENER.search(output):
        return "boilerplate"
    return "refusal" if refused(f"{instruction}{given}", output) else None


def foreign(asked: str, output: str) -> bool:
    """Whether an answer is in another language than its question, which did not ask for that."""
    return _language(asked, "", output) is not None


def refused(asked: str, output: str) -> bool:
    """Whether a short answer is an apology that nobody asked for."""
    if _is_zh(output):
        return len(output) < 120 and bool(_SORRY_ZH.search(output)) and not _SORRY_ZH.search(asked)
    return len(output.split()) < 80 and bool(_SORRY_EN.search(output)) and not _SORRY_EN.search(asked)


def _whole(instruction: str, given: str, output: str) -> str | None:
    """A long answer in prose that does not end like a sentence was cut off."""
    long = len(output) > 100 if _is_zh(output) else len(output.split()) > 60
    if not long or _TERMINAL.search(output) or "```" in output:
        return None
    return None if len(_LIST_LINE.findall(output)) > 1 else "truncated"


def _language(instruction: str, given: str, output: str) -> str | None:
    if _FREE_LANGUAGE.search(instruction):
        return None
    if _is_zh(instruction):
        return "language" if min(_zh_letters(instruction), _zh_letters(output)) < 0.5 else None
    return "language" if _zh_letters(output) >= 0.5 and any(c.isalpha() for c in output) else None


def _zh_letters(text: str) -> float:
    """Share of Chinese characters among the letters; 1.0 for one of numbers and signs."""
    letters = sum(1 for c in text if c.isalpha())
    return cjk_count(text) / letters if letters else 1.0


def _control(instruction: str, given: str, output: str) -> str | None:
    return "control characters" if _CONTROL.search(f"{instruction}\n{given}\n{output}") else None


# Cheapest and plainest first: the first reason is the one that is reported.
INSTRUCTION: tuple[Filter, ...] = (_length, _start, _keyword, _not_text, _control)
SAMPLE: tuple[Filter, ...] = (*INSTRUCTION, _input, _output, _honest, _whole, _language)


def instruction_reason(instruction: str, lang: str | None = None) -> str | None:
    """Why an instruction alone is unfit, before anything is paid for its answer; `lang` is what was asked for."""
    return _foreign(instruction, lang) or _first(INSTRUCTION, instruction, "", "")


def reason(sample: Sample, lang: str | None = None) -> str | None:
    """Why a sample is unfit, or None; `lang` is what was asked for, None for either."""
    instruction, given, output = parts(sample)
    return _foreign(instruction, lang) or _first(SAMPLE, instruction, given, output)


def _foreign(instruction: str, lang: str | None) -> str | None:
    """An English task among Chinese ones, or the other way round; quoted words of the other language may be."""
    if lang not in ("en", "zh") or not any(c.isalpha() for c in instruction):
        return None
    return "language" if (_zh_letters(instruction) >= 0.5) != (lang == "zh") else None


def parts(sample: Sample) -> tuple[str, str, str]:
    """(instruction, input, output) of a sample; without a stored split the first user turn is the instruction."""
    turns = [m.content for m in sample.messages if m.role == "assistant"]
    output = turns[-1] if turns else sample.text or ""
    if sample.input_split is not None:
        return (*sample.input_split, output)
    users = [m.content for m in sample.messages if m.role == "user"]
    return (users[0] if users else "", "", output)


def _first(rules: Sequence[Filter], instruction: str, given: str, output: str) -> str | None:
    for rule in rules:
        if found := rule(instruction, given, output):
            return found
    return None
