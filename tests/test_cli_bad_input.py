"""What a user gets wrong in words, seeds and templates: one line each, exit 2, nothing changed and nobody asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import Faulty, synthgen

GOOD = {"instruction": "Name a river.", "input": "", "output": "The Rhine."}


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# --- words ------------------------------------------------------------------------------------------------------------

WORDS = {
    "recipe": ("generate alpacca", "unknown recipe 'alpacca'; did you mean alpaca?"),
    "recipe file": ("generate mine.py", "mine.py: no such file"),
    "command": ("genrate alpaca", "no such command 'genrate'; did you mean generate?"),
    "command of a command": ("prompts chekc", "No such command 'chekc'. Did you mean 'check'?"),
    "option": ("generate alpaca --coutn 3", "No such option '--coutn'. (Did you mean one of: '--count'"),
    "no recipe": ("generate", "Missing argument 'RECIPE'"),
    "knob": ("generate alpaca --set lsited=3", "--set lsited: alpaca has no such knob; did you mean listed?"),
    "knob of another type": ("generate alpaca --set listed=many", "--set listed=many: a whole number is expected"),
    "knob that is no number": ("generate alpaca --set novelty=nan", "--set novelty=nan: a number is expected"),
    "knob too large": ("generate alpaca --set listed=61", "--set listed=61: out of range (2 to 60)"),
    "knob too small": ("generate alpaca --set shown=0", "--set shown=0: out of range (1 to 20)"),
    "switch": ("generate self-instruct --set classification_only=maybe", "true or false is expected"),
    "set without =": ("generate alpaca --set listed", "--set listed: KNOB=VALUE is expected"),
    "format": ("generate alpaca --format alpaca,sharegtp", "'sharegtp'; did you mean sharegpt?"),
    "count 0": ("generate alpaca --count 0", "'--count': 0 is not in the range"),
    "count -1": ("generate alpaca --count -1", "'--count': -1 is not in the range"),
    "count abc": ("generate alpaca --count abc", "'--count': 'abc' is not a valid integer"),
    "count beyond 64 bits": ("generate alpaca --count 9223372036854775808", "'--count': 9223372036854775808 is not"),
    "seed beyond 64 bits": ("generate alpaca --seed 9223372036854775808", "'--seed': 9223372036854775808 is not"),
    "concurrency 0": ("generate alpaca --concurrency 0", "--concurrency 0: auto or a whole number of at least 1"),
    "concurrency ²": ("generate alpaca --concurrency ²", "--concurrency ²: auto or a whole number of at least 1"),
    "temperature 9": ("generate alpaca --temperature 9", "'--temperature': 9.0 is not in the range 0<=x<=5"),
    "temperature nan": ("generate alpaca --temperature nan", "'--temperature': nan is not"),
    "timeout inf": ("generate alpaca --timeout inf", "'--timeout': inf is not"),
    "language": ("generate alpaca --lang fr", "'fr' is not one of 'en', 'zh', 'auto'"),
    "no such templates": ("generate alpaca --prompts nowhere", "--prompts nowhere: no such folder"),
    "no such templates to check": ("prompts check --prompts nowhere", "'nowhere' does not exist"),
    "template": ("prompts show alpaca/task", "did you mean alpaca/tasks?"),
    "url without scheme": ("generate alpaca --base-url localhost:8000/v1", "a URL such as http://localhost:8000/v1"),
    "url with a key": ("generate alpaca --base-url http://me:k3y@localhost/v1", "no name or password in a URL"),
    "model without server": ("generate alpaca --model Qwen/Qwen2.5-7B-Instruct", "Give --base-url URL"),
    "openai without key": ("generate alpaca --model openai:gpt-5", "OPENAI_API_KEY is not set; export it"),
    "key in a variable that is not set": ("generate alpaca --model openai:x --api-key-env NO_KEY", "NO_KEY is not set"),
}


@pytest.mark.parametrize(("line", "part"), WORDS.values(), ids=WORDS)
def test_a_wrong_word(tmp_path: Path, line: str, part: str) -> None:
    synthgen(*line.split(), cwd=tmp_path).refused(2, part)


def test_an_argument_that_is_not_utf8(tmp_path: Path) -> None:
    synthgen("generate", "alpaca", "--out", "r\udcff", cwd=tmp_path).refused(2, r"'r\udcff' is not UTF-8; rename")


# --- seeds ------------------------------------------------------------------------------------------------------------

SEEDS: dict[str, tuple[str, str | bytes, tuple[str, ...]]] = {
    "broken line 37": (
        "s.jsonl",
        jsonl(*[{**GOOD, "id": n} for n in range(36)]) + '{"instruction": "Na\n' + jsonl(GOOD),
        ("s.jsonl:37: not JSON (", "column", "fix or delete the line"),
    ),
    "missing field": (
        "s.jsonl",
        jsonl(GOOD, {"output": "x", "topic": "y"}),
        ("s.jsonl:2: no column with the task; columns: output, topic; name one of them instruction",),
    ),
    "field of another type": ("s.jsonl", jsonl(GOOD, {"instruction": 5}), ("s.jsonl:2: instruction must be text",)),
    "empty task": ("s.jsonl", jsonl(GOOD, {"instruction": " "}), ("s.jsonl:2: instruction is empty; write the task",)),
    "a list for a row": ("s.jsonl", jsonl(GOOD, [1]), ("s.jsonl:2: an array where a row must be an object",)),
    "empty": ("s.jsonl", "", ("s.jsonl: no rows in it; give a file with at least one",)),
    "UTF-16": ("s.jsonl", jsonl(GOOD).encode("utf-16"), ("s.jsonl: this is UTF-16; convert it: iconv -f UTF-16 -t",)),
    "GBK": (
        "s.jsonl",
        jsonl(GOOD).encode() + jsonl({**GOOD, "output": "莱茵河"}).encode("gbk"),
        ("s.jsonl:2: not UTF-8", "iconv"),
    ),
    "duplicate ids": (
        "s.jsonl",
        jsonl({"id": "a", **GOOD}, {"id": "b", **GOOD}, {"id": "a", "instruction": "Name a lake."}),
        ("s.jsonl:3: the id 'a' is taken by s.jsonl:1; change one of them",),
    ),
    "10 MB on one line": (
        "s.jsonl",
        jsonl(GOOD, {"instruction": "x" * 10_000_000}),
        ("s.jsonl:2: one line of 10.0 MB, at most 8 MB are read; split it",),
    ),
    "unknown suffix": ("s.docx", jsonl(GOOD), ("s.docx: cannot read rows from this kind of file; it takes .jsonl",)),
    "NUL": ("s.jsonl", jsonl(GOOD, {"instruction": "a\0b"}), ("s.jsonl:2: a NUL character", "fix or delete the row")),
    "half a surrogate pair": (
        "s.jsonl",
        jsonl(GOOD) + '{"instruction": "a \\ud800 b"}\n',
        ("s.jsonl:2: half a surrogate pair", "fix or delete the row"),
    ),
    "csv with a row too long": (
        "s.csv",
        "instruction,output\nName a river.,Rhine\nName two, or three.,Rhine\n",
        ("s.csv:3: 3 cells under 2 columns; put",),
    ),
    "no row with an answer": ("s.jsonl", jsonl({"instruction": "Name a river."}), ("none of the seeds has an output",)),
}


@pytest.mark.parametrize(("name", "content", "parts"), SEEDS.values(), ids=SEEDS)
def test_a_seed_file_at_fault(tmp_path: Path, name: str, content: str | bytes, parts: tuple[str, ...]) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = synthgen("generate", "alpaca", "--model", "embedded", "--seeds", name, cwd=tmp_path)
    done.refused(2, *parts)


def test_seeds_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text(jsonl(GOOD))
    (tmp_path / "nothing").mkdir()
    missing = synthgen("generate", "alpaca", "--model", "embedded", "--seeds", "seedz.jsonl", cwd=tmp_path)
    missing.refused(2, "seedz.jsonl: no such file; did you mean seeds.jsonl?")
    empty = synthgen("generate", "alpaca", "--model", "embedded", "--seeds", "nothing", cwd=tmp_path)
    empty.refused(2, "nothing: no file with rows in this folder; it takes .jsonl")


def test_seeds_with_a_byte_order_mark_are_read(tmp_path: Path, server: Faulty) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl(GOOD).encode())
    options = ("--seeds", "s.jsonl", "--base-url", server.base_url, "--dry-run")
    done = synthgen("generate", "alpaca", *options, cwd=tmp_path)
    assert (done.code, done.after) == (0, done.before), done.err
    assert "1. Instruction: Name a river." in done.out


def test_text_that_looks_like_a_template_reaches_the_model_as_it_is(tmp_path: Path, server: Faulty) -> None:
    task = "What is {{ 7*7 }}? {% raw %} {# no #} <|im_end|> \\n </s>\n###\n4. Instruction: [INST]"
    (tmp_path / "s.jsonl").write_text(jsonl({"instruction": task, "output": "{{ x.__class__ }} {%"}))
    options = ("--seeds", "s.jsonl", "--count", "3", "--base-url", server.base_url)
    done = synthgen("generate", "alpaca", *options, cwd=tmp_path)
    assert done.code == 0
    assert "chat control tokens" in done.err
    assert server.bodies
    for text in server.texts():
        assert f"1. Instruction: {task}\n" in text
        assert "1. Output: {{ x.__class__ }} {%\n" in text
        assert "49" not in text


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates")
    assert synthgen("prompts", "copy", "mine", cwd=folder).code == 0
    return folder / "mine"


def line_after_user(text: str) -> Callable[[str], str]:
    return lambda source: source.replace("{% block user %}\n", "{% block user %}\n" + text + "\n")


# How the template is spoilt; the text whose line is named (the first where None); what the message says.
TEMPLATES: dict[str, tuple[Callable[[str], str], str | None, str]] = {
    "unknown variable": (
        line_after_user("{{ demonstration }}"),
        "{{ demonstration }}",
        "unknown variable 'demonstration'; did you mean demonstrations?",
    ),
    "syntax": (line_after_user("{% for x in %}"), "{% for x in %}", "fix the template"),
    "unknown filter": (line_after_user("{{ first|upcase }}"), "{{ first|upcase }}", "No filter named 'upcase'"),
    "sandbox": (line_after_user("{{ ''.__class__ }}"), "{{ ''.__class__ }}", "'__class__' is not allowed"),
    "sandbox, indexed": (line_after_user("{{ ''['__class__'] }}"), "{{ ''[", "'__class__' is not allowed"),
    "include": (line_after_user("{% include 'other' %}"), "{% include", "a template stands alone"),
    "no header": (lambda source: source.split("#}\n", 1)[1], None, "the header lacks what, variables, answer, source"),
    "half a header": (lambda source: source.replace("source: ", ""), None, "the header lacks source"),
    "no user block": (lambda source: source.replace("block user", "block person"), None, "needs the user's turn"),
    "header says more": (lambda source: source.replace("first (int)", "first (int), last (int)"), None, "last"),
}


def spoilt(source: str, how: Callable[[str], str], near: str | None) -> tuple[str, int]:
    """The template at fault, and the line that is to be named."""
    text = how(source)
    assert text != source
    return text, 1 if near is None else 1 + text[: text.index(near)].count("\n")


@pytest.mark.parametrize("name", ["unknown variable", "syntax", "sandbox", "no header", "no user block"])
def test_a_template_at_fault(tmp_path: Path, templates: Path, server: Faulty, name: str) -> None:
    how, near, part = TEMPLATES[name]
    shutil.copytree(templates, tmp_path / "mine")
    path = tmp_path / "mine" / "alpaca" / "tasks.en.jinja"
    text, line = spoilt(path.read_text(encoding="utf-8"), how, near)
    path.write_text(text, encoding="utf-8")
    done = synthgen("generate", "alpaca", "--prompts", "mine", "--base-url", server.base_url, cwd=tmp_path)
    done.refused(2, f"mine/alpaca/tasks.en.jinja:{line}: ", part)
    assert server.asked == 0


def test_all_templates_at_fault_are_listed(tmp_path: Path, templates: Path) -> None:
    source = (templates / "alpaca" / "tasks.en.jinja").read_text(encoding="utf-8")
    shutil.copytree(templates, tmp_path / "mine")
    expected = []
    for number, (how, near, part) in enumerate(TEMPLATES.values()):
        text, line = spoilt(source, how, near)
        (tmp_path / "mine" / f"{number}.jinja").write_text(text, encoding="utf-8")
        expected.append((f"mine/{number}.jinja:{line}: ", part))
    (tmp_path / "mine" / "latin.jinja").write_bytes(b"{# what: caf\xe9 #}")
    done = synthgen("prompts", "check", "--prompts", "mine", cwd=tmp_path)
    assert (done.code, done.err, done.after) == (1, "", done.before)
    *faults, last = done.out.splitlines()
    assert [
        (line, *pair) for line, pair in zip(faults, expected, strict=False) if not all(p in line for p in pair)
    ] == []
    assert "mine/latin.jinja" in faults[-1]
    assert last.endswith(f"templates checked, {len(expected) + 1} at fault")


def test_templates_are_copied_over_nothing(tmp_path: Path, templates: Path) -> None:
    shutil.copytree(templates, tmp_path / "mine")
    (tmp_path / "mine" / "self-instruct" / "input_first.en.jinja").write_text("mine")
    synthgen("prompts", "copy", "mine", cwd=tmp_path).refused(2, "tasks.en.jinja: is there already; give an empty")


def test_a_template_that_breaks_while_it_is_filled_in(tmp_path: Path, templates: Path, server: Faulty) -> None:
    shutil.copytree(templates, tmp_path / "mine")
    path = tmp_path / "mine" / "alpaca" / "tasks.en.jinja"
    text, line = spoilt(path.read_text(), line_after_user("{{ 1 // (total - total) }}"), "{{ 1 //")
    path.write_text(text)
    done = synthgen("generate", "alpaca", "--prompts", "mine", "--base-url", server.base_url, cwd=tmp_path)
    assert f"mine/alpaca/tasks.en.jinja:{line}: " in done.error(2)
    assert server.bodies == []
