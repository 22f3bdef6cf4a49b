"""Read what a model wrote: text in, values out, never an exception on odd text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

_THINK = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)
_OPEN_THINK = re.compile(r"\A\s*<think>(.*)\Z", re.DOTALL)
_FENCE = re.compile(r"```[\w+-]*\n?|```")
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")

_INSTRUCTION, _INPUT, _OUTPUT = "instruction", "input", "output"
_NAMES = {
    _INSTRUCTION: ("instruction", "指令", "任务指令", "任務指令", "指示"),
    _INPUT: ("input", "输入", "輸入"),
    _OUTPUT: ("output", "response", "answer", "输出", "輸出", "回答", "答案"),
}
_FIELD_OF = {name: field for field, names in _NAMES.items() for name in names}
_LABEL = "|".join(sorted(_FIELD_OF, key=len, reverse=True))
# Where a label may begin: at the start of a line, behind heading marks or bold stars.
_LEAD = r"^[ \t]*(?:\#{1,6}[ \t]*)?\**"
_COLON = r"\**[ \t]*[:：]\**[ \t]*"
_LINES = re.IGNORECASE | re.MULTILINE
# "4. Input:", "### 4. 指令：", "**Output:**", "Input 4:".
_FIELD = re.compile(rf"{_LEAD}(?:(\d{{1,3}})[ \t]*[.、)）．][ \t]*)?\**({_LABEL})[ \t]*\d{{0,3}}{_COLON}", _LINES)
_TASK_LINE = re.compile(rf"{_LEAD}(?:task|example|任务|任務|示例|例)[ \t]*\d{{1,3}}\**[ \t]*[:：.]?\**[ \t]*$", _LINES)
_SEPARATOR = re.compile(r"^[ \t]*(?:\#{3,}|-{3,}|={3,})[ \t]*$", re.MULTILINE)
# A task that was swallowed in the middle of an output: only with its number, prose may say "Instruction:".
_SWALLOWED = re.compile(r"(?<=\S)[ \t]+(?=\d{1,3}[.、]\s*(?:Instruction|指令|任务指令)\s*[:：])")
# "9.", "Task 9:", "指令9：" and, after them, a label that says nothing new ("9. Instruction: ..."); never "9:30".
_NUMBERED = re.compile(
    rf"{_LEAD}(?:(?:task|instruction|任务|任務|指令)[ \t]*\d{{1,3}}[ \t]*[.、:：)）．]"
    rf"|\d{{1,3}}[ \t]*[.、)）．:：](?!\d))\**"
    rf"[ \t]*(?:\**(?:{_LABEL}|task|任务|任務){_COLON})?[ \t]*",
    _LINES,
)
_CLASS_LABEL = re.compile(
    rf"^[ \t]*(?:\d{{1,3}}[.、)][ \t]*)?\**"
    rf"(?:class[ \t]*label|label|类别标签|类别|類別|标签|標籤|分类)[ \t]*\d{{0,3}}{_COLON}",
    _LINES,
)
_MOST_BEGINNINGS = 20
_MARKED_EMPTY = re.compile(r"\s*[<＜《\[(（]\s*(?:no\s*-?\s*input|[无無][输輸]入)\s*[>＞》\])）]", re.IGNORECASE)
_NO_INPUT = re.compile(
    r"[\s<(\[（【《「“\"'*_]*"
    r"(?:no[\s_-]*input(?:\s+(?:is\s+)?(?:needed|required|necessary))?|none|n\s*/?\s*a|not\s+applicable|empty"
    r"|[无無没沒](?:有)?(?:[输輸]入)?|[无無不]需要?(?:[输輸]入)?|空)[\s>)\]）】》」”\"'*_.。]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Triple:
    """One task as a model wrote it; `output` is None when the field never came."""

    instruction: str
    input: str
    output: str | None


def split_reasoning(text: str) -> tuple[str, str | None]:
    """The answer without its leading <think> block, and the block's text; an unclosed block is all reasoning."""
    if found := _THINK.match(text):
        return text[found.end() :], found.group(1).strip()
    if found := _OPEN_THINK.match(text):
        return "", found.group(1).strip()
    return text, None


def is_no_input(text: str) -> bool:
    """The many ways to say that a task needs no input: <noinput>, N/A, (none), 无, <無輸入>, nothing at all."""
    return not text.strip() or _NO_INPUT.fullmatch(text) is not None


def json_value(text: str) -> Any | None:
    """The first JSON object or array in a text, through fences, single quotes and trailing commas; None if none."""
    return next(json_values(text), None)


def json_values(text: str) -> Iterator[Any]:
    """Every JSON object or array in a text that stands in no other, read as `json_value` does."""
    text = _FENCE.sub("", split_reasoning(text)[0])
    # A few beginnings are enough, and none is followed further than any answer goes: half a megabyte of open
    # brackets would be read again from each of them.
    read = 0
    for start in islice((m.start() for m in re.finditer(r"[{\[]", text)), _MOST_BEGINNINGS):
        end = _balanced_end(text, start) if start >= read else None
        if end is None:
            continue
        value = _lenient_json(text[start:end])
        if value is not None:
            yield value
            read = end


def _balanced_end(text: str, start: int) -> int | None:
    depth, quote, skip = 0, "", False
    for i in range(start, len(text)):
        char = text[i]
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char == '"' or (char == "'" and text[i - 1] in "{[,: "):
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return i + 1
    return None


def _lenient_json(text: str) -> Any | None:
    plain = _TRAILING_COMMA.sub(r"\1", text)
    for candidate in (text, plain):
        try:
            return json.loads(candidate, strict=False)
        except (ValueError, RecursionError):  # ValueError also for a number of thousands of digits
            continue
    try:
        value = ast.literal_eval(plain)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def numbered(text: str) -> list[str]:
    """Items of a numbered list, white space collapsed: "9. a", "Task 9: b", "9、c"; other lines are dropped.

    Numbers need not go on from those of the prompt. An item ends at a blank line or at the next number.
    """
    text = split_reasoning(text)[0]
    items = []
    for _, body in _spans(list(_NUMBERED.finditer(text)), text):
        block = re.split(r"\n[ \t]*\n", body.strip("\r\n"), maxsplit=1)[0]
        item = re.sub(r"\s+", " ", _SEPARATOR.sub("", block)).strip().strip("*").strip()
        if item:
            items.append(item)
    return items


def triples(text: str) -> list[Triple]:
    """Tasks written as instruction, input and output under labels, numbered or not, in either language.

    A Markdown heading inside an output is kept; a task swallowed by an output is split off; a list that
    starts again at 1 is read; an input that says "none" is empty; JSON objects are read too.
    """
    text = split_reasoning(text)[0]
    text = _SWALLOWED.sub("\n", text)
    fields = _fields(text)
    if not fields:
        return _json_triples(text)
    found: list[Triple] = []
    current: dict[str, str] = {}
    for field, value in fields:
        if field == _INSTRUCTION and current:
            found.append(_triple(current))
            current = {}
        current[field] = value
    if current:
        found.append(_triple(current))
    return found


def _fields(text: str) -> list[tuple[str, str]]:
    """(field, text) in order; a label inside an output counts only if it looks like the labels of its item."""
    marks: list[re.Match[str]] = []
    seen: set[str] = set()
    numbers = False
    for mark in _FIELD.finditer(text):
        field = _FIELD_OF[mark.group(2).casefold()]
        if field == _INSTRUCTION:
            if _OUTPUT not in seen and _INSTRUCTION in seen and not mark.group(1):
                continue  # prose that says "Instruction:" before the task was answered
            seen, numbers = {field}, mark.group(1) is not None
        elif field in seen or _OUTPUT in seen or (numbers and not mark.group(1) and not _follows(text, mark, marks)):
            continue
        else:
            seen.add(field)
        marks.append(mark)
    return _cut(text, marks)


def _follows(text: str, mark: re.Match[str], marks: list[re.Match[str]]) -> bool:
    """An unnumbered label right after a numbered instruction ("4. Instruction: ...", then "Input: ...")."""
    last = marks[-1] if marks else None
    return last is not None and "\n\n" not in text[last.end() : mark.start()].strip("\n")


def _cut(text: str, marks: list[re.Match[str]]) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    if marks and _FIELD_OF[marks[0].group(2).casefold()] != _INSTRUCTION:
        # The prompt ended in "4. Instruction:" and the model went straight on.
        lead = _clean(text[: marks[0].start()])
        fields.append((_INSTRUCTION, re.sub(r"^\d{1,3}[.、)]\s*", "", lead)))
    return fields + [(_FIELD_OF[mark.group(2).casefold()], _clean(body)) for mark, body in _spans(marks, text)]


def _spans(marks: list[re.Match[str]], text: str) -> list[tuple[re.Match[str], str]]:
    """Each mark with the text that follows it up to the next."""
    ends = [m.start() for m in marks[1:]] + [len(text)]
    return [(mark, text[mark.end() : end]) for mark, end in zip(marks, ends, strict=False)]


def _clean(value: str) -> str:
    """Without the separators and "Task 5" lines that stand between two tasks."""
    value = _SEPARATOR.sub("", _TASK_LINE.sub("", value)).strip()
    # BELLE's texts leave the next number hanging at the end of a field: "...\n5."
    return re.sub(r"\n[ \t]*\d{1,3}[.、][ \t]*$", "", value).strip()


def _triple(fields: dict[str, str]) -> Triple:
    given = fields.get(_INPUT, "")
    return Triple(
        instruction=re.sub(r"\s+", " ", fields.get(_INSTRUCTION, "")).strip(),
        input="" if is_no_input(given) or _MARKED_EMPTY.match(given) else given,
        output=fields.get(_OUTPUT),
    )


def _json_triples(text: str) -> list[Triple]:
    rows: list[Any] = []
    value = json_value(text)
    if isinstance(value, list):
        rows = value
    elif isinstance(value, dict):  # one object, or one a line
        rows = [value]
        lines = [_lenient_json(line.strip()) for line in text.splitlines() if line.strip().startswith("{")]
        if len(lines) > 1:
            rows = lines
    found = []
    for row in rows:
        if isinstance(row, dict):
            named = {_FIELD_OF[str(k).casefold()]: str(v) for k, v in row.items() if str(k).casefold() in _FIELD_OF}
            if _INSTRUCTION in named:
                found.append(_triple(named))
    return found


def instances(text: str) -> list[tuple[str, str]]:
    """(input, output) pairs of one task, "Input:" before "Output:"; a text without labels is one bare output."""
    text = split_reasoning(text)[0].strip()
    pairs: list[tuple[str, str]] = []
    given = ""
    for mark, value in _labelled(text):
        if mark == _INPUT:
            given = "" if is_no_input(value) else value
        elif mark == _OUTPUT:
            pairs.append((given, value))
            given = ""
    if not pairs and text and not _FIELD.search(text):
        return [("", text)]
    return pairs


def _labelled(text: str) -> list[tuple[str, str]]:
    marks = list(_FIELD.finditer(text))
    return [(_FIELD_OF[mark.group(2).casefold()], _clean(body)) for mark, body in _spans(marks, text)]


def labelled_instances(text: str) -> list[tuple[str, str]]:
    """(input, class label) pairs of a classification task written label first."""
    text = split_reasoning(text)[0].strip()
    pairs = []
    for _, body in _spans(list(_CLASS_LABEL.finditer(text)), text):
        label, _, rest = body.partition("\n")
        inputs = [value for field, value in _labelled(rest) if field == _INPUT]
        given = inputs[0] if inputs else _clean(rest)
        pairs.append(("" if is_no_input(given) else given, label.strip().strip("*").strip()))
    return pairs


def yes(text: str) -> bool | None:
    """Yes or no as a model says it, in either language; None when it says neither."""
    word = re.match(r"[\s\"'*“(]*(yes\b|no\b|是的|不是|是|否|对|不)", split_reasoning(text)[0], re.IGNORECASE)
    if word is None:
        return None
    return word.group(1).casefold() in ("yes", "是", "是的", "对")
