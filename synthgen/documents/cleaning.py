"""A text without what is no part of it: style sheets and tags that were left, control characters, cookie notices."""

from __future__ import annotations

import re
from collections.abc import Iterator

from synthgen.dedup.tokens import is_cjk, words

# Full stops and their kind, with the quotes and brackets that close after them.
SENTENCE_ENDS = (".", "!", "?", '"', "'", "”", "’", "。", "！", "？", "…", "」", "』", "）")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\u200b\u2060\ufeff\ufffe\uffff]|[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\u00a0\u3000]+$", re.MULTILINE)
_GAPS = re.compile(r"\n{3,}")
_FENCE = re.compile(r"[ \t]{0,3}(```|~~~)")

_PROPERTIES = (
    "align-items|animation|background|background-[a-z]+|border|border-[a-z-]+|bottom|box-[a-z]+|color|content|cursor|display|flex|float|"
    "font|font-[a-z-]+|height|justify-content|left|letter-spacing|line-height|list-style|list-style-type|margin|"
    "margin-[a-z]+|max-width|max-height|min-width|min-height|opacity|outline|overflow|overflow-wrap|padding|padding-[a-z]+|"
    "position|right|text-[a-z-]+|top|transform|transition|vertical-align|visibility|white-space|widows|orphans|width|"
    "word-break|word-spacing|word-wrap|z-index|-(?:webkit|moz|ms|o)-[a-z-]+"
)
_DECLARATION = rf"(?:{_PROPERTIES})[ \t]*:[ \t]*[^;{{}}\n]{{1,300}}"
_TAG = re.compile(
    r"</?(?:p|div|span|section|article|font|br|hr|img|a|b|i|u|em|strong|ul|ol|li|table|tbody|thead|tr|td|th|h[1-6]"
    r"|blockquote|center|iframe|meta|link|input|button|figure|figcaption)"
    r"(?:\s+[\w:-]+(?:\s*=\s*(?:\"[^\"<>]{0,2000}\"|'[^'<>]{0,2000}'|[^\s\"'<>]{1,500}))?)*\s*/?>"
    r"|&(?:nbsp|ensp|emsp|zwnj|zwj);",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"<(?:style|script|noscript|svg)\b[^<>]{0,2000}>|<!--", re.IGNORECASE)
# A rule of a style sheet: a selector of one line, and nothing but declarations between the braces.
_CSS_RULE = re.compile(
    rf"(?:^[ \t]*(?:@media[^{{}}\n]{{0,200}}\{{\s*)?[.#*@:a-zA-Z][^{{}}\n;]{{0,200}})?"
    rf"\{{\s*{_DECLARATION}(?:;\s*{_DECLARATION}){{0,100}};?\s*\}}[ \t]*\}}?",
    re.MULTILINE,
)
# Declarations outside of one: two of them in a row, or one that ends with its semicolon, or a whole line of its own.
_DECLARATIONS = re.compile(
    rf"(?<![\w-])(?:{_DECLARATION};[ \t]*)+(?:{_DECLARATION}(?=$))?|^[ \t]*(?:font-family|-(?:webkit|moz|ms)-[a-z-]+)"
    r"[ \t]*:[^\n。！？{}]{1,300}$",
    re.MULTILINE,
)
# "width: 30 cm; height: 12 cm;" may be prose; these are not.
_CSS_ONLY = re.compile(
    r"(?:font|text|letter|word|line|list|box|border|margin|padding|background|white|align|justify|z|webkit|moz|ms)-[a-z-]+"
    r"[ \t]*:|\d(?:px|r?em|v[hw]|pt)\b|rgba?\(|#[0-9a-fA-F]{3,8}\b|!important|:[ \t]*(?:none|auto|inherit|block)\b"
)
_LIKE_CSS = re.compile(r"[a-z]:[^;\n。]{1,300};|font-family|-(?:webkit|moz|ms)-")
_FONT = (
    r"(?:\"[^\"\n,]{1,40}\"|'[^'\n,]{1,40}'|&quot;[^\n,]{1,40}?&quot;|-apple-system(?:-font)?|BlinkMacSystemFont|system-ui|"
    r"Segoe UI|Roboto|Helvetica(?: Neue)?|Arial|PingFang ?[A-Z]{2}|Hiragino Sans GB|Microsoft YaHei(?: UI)?|SimSun|"
    r"SimHei|Times New Roman|Courier New|Consolas|Menlo|Monaco|Georgia|Verdana|Tahoma|Ubuntu|Noto Sans(?: [A-Z]+)?|"
    r"微软雅黑|宋体|黑体|苹方|sans-serif|serif|monospace)"
)
_GENERIC = r"(?:-apple-system(?:-font)?|BlinkMacSystemFont|system-ui|sans-serif|serif|monospace)"
# A list of fonts, known by the generic one that it begins or ends with.
_FONT_STACK = re.compile(rf"(?<![\w-]){_FONT}(?:[ \t]*,[ \t]*{_FONT})+[ \t]*(?:!important)?;?")
_GENERIC_FONT = re.compile(_GENERIC)

# Lines that stand on every page of a site and speak of it, not of the matter (C4's policy lines, and their Chinese).
_POLICY = re.compile(
    r"terms of (?:use|service)|privacy policy|cookie policy|(?:uses?|use of|accept(?: all)?) cookies"
    r"|javascript (?:is|to be|must be|seems) |(?:enable|requires?|turn on) javascript"
    r"|隐私(?:政策|权政策|声明)|隱私(?:政策|權政策|聲明)|使用条款|使用條款|服务条款|服務條款|用户协议|版权所有|版權所有|[京沪粤浙苏]ICP[备证]"
    r"|未经(?:授权|许可|允许)[，,]?(?:不得|禁止|严禁)转载|请(?:启用|开启|打开)\s*javascript",
    re.IGNORECASE,
)
_POLICY_WORDS = (
    "terms of", "policy", "cookies", "javascript", "隐私", "隱私", "条款", "條款", "协议", "版权", "版權", "icp", "转载"
)  # fmt: skip
_ITEM = re.compile(r"\s*(?:[-*•]|\d{1,3}[.、)）])")  # of advice or of a list: it speaks of the matter
_LONGEST_POLICY_CHARS = 300  # what is longer speaks of the matter, too


def cleaned(text: str) -> str:
    """The text that chunks and spans are of. Code between fences stays as it is, but for characters nobody can send."""
    text = _CONTROL.sub(
        "", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n").replace("\u2028", "\n")
    )
    text = "".join(part if code else _outside_code(part) for part, code in _by_fences(text))
    return _GAPS.sub("\n\n", _BLANKS.sub("", text)).strip("\n")


def _by_fences(text: str) -> Iterator[tuple[str, bool]]:
    """The text in its order, what stands between fences apart; one that is never closed is none."""
    if "```" not in text and "~~~" not in text:
        yield text, False
        return
    prose: list[str] = []
    code: list[str] = []
    mark = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if not mark and found:
            mark, code = found.group(1), [line]
        elif mark:
            code.append(line)
            if line.strip() == mark:
                yield "".join(prose), False
                yield "".join(code), True
                prose, code, mark = [], [], ""
        else:
            prose.append(line)
    yield "".join([*prose, *code]), False


def _outside_code(text: str) -> str:
    text = without_residue(text)
    lowered = text.lower()
    if not any(word in lowered for word in _POLICY_WORDS):  # thirty times as fast as the pattern
        return text
    return "\n".join(line for line in text.split("\n") if not is_policy(line))


def is_policy(line: str) -> bool:
    """Whether a line is one of those that stand on every page: cookies, terms of use, registration numbers."""
    return len(line) <= _LONGEST_POLICY_CHARS and not _ITEM.match(line) and _POLICY.search(line) is not None


def whole_lines(text: str) -> str:
    """`cleaned`, and only the lines that are sentences, as C4 has it: three words (five characters), a mark at the end.

    Headings, lists and verses go with the menus; FineWeb asks for a share of such lines instead, as a rule does here.
    """
    kept = [line for line in cleaned(text).split("\n") if not line.strip() or _is_sentence(line)]
    return _GAPS.sub("\n\n", "\n".join(kept)).strip("\n")


def _is_sentence(line: str) -> bool:
    found = words(line)
    return line.rstrip().endswith(SENTENCE_ENDS) and len(found) >= (5 if is_cjk(found) else 3)


def without_residue(text: str) -> str:
    """Without style sheets, scripts, tags and lists of fonts; lines that held nothing else are gone."""
    if "<" in text or "&" in text:
        text = _sub(_TAG, _without_elements(text))
    if "{" in text:
        text = _sub(_CSS_RULE, text)
    if _LIKE_CSS.search(text):
        text = _sub(_DECLARATIONS, text, only=_CSS_ONLY)
    if any(word in text for word in ("serif", "monospace", "system-ui", "apple-system")):
        text = _sub(_FONT_STACK, text, only=_GENERIC_FONT)
    return text


def _without_elements(text: str) -> str:
    """Without style sheets, scripts and comments of HTML, whole."""
    kept: list[str] = []
    open_ended: set[str] = set()
    at, lower = 0, text.lower()
    while found := _WHOLE.search(text, at):
        name = found.group().lstrip("<").split(maxsplit=1)[0].rstrip(">").lower()
        mark = "-->" if name.startswith("!--") else f"</{name}"
        end = -1 if mark in open_ended else lower.find(mark, found.end())
        end = lower.find(">", end) if end >= 0 else -1
        if end < 0:  # never closed: it is no element, and the next of its kind is none either
            open_ended.add(mark)
        kept.append(text[at : found.start() if end >= 0 else found.end()])
        at = end + 1 if end >= 0 else found.end()
    return "".join([*kept, text[at:]])


def _sub(pattern: re.Pattern[str], text: str, only: re.Pattern[str] | None = None) -> str:
    """Each match away, with its line where nothing else is on it."""
    kept, at = [], 0
    for found in pattern.finditer(text):
        if only is not None and not only.search(found.group()):
            continue
        between = text[at : found.start()]
        line = between.rpartition("\n")[2]
        begins = "\n" in between or at == 0 or text[at - 1] == "\n"
        kept.append(between)
        at = found.end()
        if begins and not line.strip() and text.startswith("\n", at):
            at += 1
    return "".join([*kept, text[at:]])
