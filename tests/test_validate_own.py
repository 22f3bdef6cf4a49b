"""What we write breaks no rule; real files of others break those that were read to be true; no bytes stop validate."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_formats import WEATHER

from synthgen.formats import formats
from synthgen.formats.write import write_samples
from synthgen.types import Message, Sample, ToolCall
from synthgen.validating.checking import Check, Checked, Finding

# Without what only its author can judge: marks of control, placeholders, NUL.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0<{["), max_size=60)
WORDS = TEXT.filter(lambda text: bool(text.strip())).map(lambda text: f"w {text}")
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner, max_size=2))
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@st.composite
def tool_turns(draw: st.DrawFn) -> list[Message]:
    calls = tuple(
        ToolCall(draw(NAMES), draw(st.dictionaries(NAMES, VALUES, max_size=3)), f"c{number}")
        for number in range(draw(st.integers(1, 3)))
    )
    results = [Message("tool", draw(TEXT), tool_call_id=call.id) for call in calls]
    return [Message("assistant", "", tool_calls=calls, reasoning=draw(st.none() | WORDS)), *results]


@st.composite
def conversations(draw: st.DrawFn, *, tools: bool) -> Sample:
    system = draw(st.none() | WORDS)
    messages = [Message("system", system)] if system else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(WORDS)))
        if tools and draw(st.booleans()):
            messages += draw(tool_turns())
        messages.append(Message("assistant", draw(WORDS)))
    split = (draw(WORDS), draw(TEXT)) if len(messages) == 2 and draw(st.booleans()) else None
    return Sample(tuple(messages), tools=(WEATHER,) if tools else (), input_split=split)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Samples of one sort, as a data set has them."""
    sort = draw(st.sampled_from(["plain", "tools", "text", "pairs", "labels", "prompts"]))
    made = []
    for _ in range(draw(st.integers(1, 6))):
        if sort == "text":
            made.append(Sample(text=draw(WORDS), meta={}))
            continue
        one = draw(conversations(tools=sort == "tools"))
        if sort == "pairs":
            said = one.messages[-1].content
            one = Sample(one.messages, rejected=(Message("assistant", f"{said} or not"),))
        elif sort == "labels":
            one = Sample(one.messages, label=draw(st.booleans()))
        elif sort == "prompts":
            one = Sample(one.messages[:-1], reference=draw(WORDS))
        made.append(one)
    return made


def check(path: Path, format_name: str | None = None) -> tuple[Checked, list[Finding]]:
    found: list[Finding] = []
    return Check(path, found.append).run(), found


@given(samples())
@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_we_write_breaks_no_rule(tmp_path_factory: pytest.TempPathFactory, drawn: list[Sample]) -> None:
    folder = tmp_path_factory.mktemp("own")
    for name, member in formats().items():
        written = write_samples(drawn, member, folder / member.file_name)
        if not written.rows:
            continue
        one, found = check(written.path)
        assert [(name, finding.rule.name, finding.what) for finding in found] == []
        assert one.rows == written.rows
        assert one.kind is not None


# What is found in the files of others: read one by one, none of it a false alarm. The two conversations of the Chinese
# tool calls have a result after a sentence in place of a call; each `[]` stands in the file.
REAL: dict[str, tuple[int, str | None, dict[str, int]]] = {
    "belle_zh_seed_tasks.json": (175, "seed-tasks", {}),
    "bfcl_v4_live_multiple.json": (1053, None, {"free-keys": 1, "unknown-format": 1}),
    "fastchat_dummy_conversation.json": (500, "sharegpt", {}),
    "gpteacher_codegen.json": (4535, "alpaca", {"other-output-column": 1}),
    "gpteacher_toolformer_06_alpaca.json": (2396, "alpaca", {}),
    "gsm8k_test.jsonl": (1319, "question-answer", {}),
    "gsm8k_train.jsonl": (7473, "question-answer", {}),
    "huatuo_llama_data.json": (8658, "alpaca", {}),
    "lf_alpaca_en_demo.json": (999, "alpaca", {}),
    "lf_alpaca_zh_demo.json": (1000, "alpaca", {}),
    "lf_dpo_en_demo.json": (300, "preference-sharegpt", {"over-2048": 44}),
    "lf_dpo_zh_demo.json": (300, "preference-sharegpt", {"over-2048": 2}),
    "lf_glaive_toolcall_en_demo.json": (300, "sharegpt", {"empty-tools": 109, "over-2048": 3}),
    "lf_glaive_toolcall_zh_demo.json": (300, "sharegpt", {"empty-tools": 100, "over-2048": 2, "call-order": 2}),
    "lf_kto_en_demo.json": (300, "kto-swift", {"over-2048": 23, "control-token": 2}),
    "mtbench_question.jsonl": (80, "mt-bench", {}),
    "selfinstruct_seed_tasks.jsonl": (175, "seed-tasks", {}),
    "selfinstruct_user_oriented_instructions.jsonl": (252, "seed-tasks", {}),
    "vicuna_question.jsonl": (80, "mt-bench", {}),
}


@pytest.mark.parametrize("name", REAL)
def test_no_false_alarm_on_real_files(shared_data: Path, name: str) -> None:
    one, _ = check(shared_data / name)
    assert (one.rows, one.kind.name if one.kind else None, dict(one.counts)) == REAL[name]


def test_no_file_stops_validate_or_a_conversion_and_no_row_is_lost(tmp_path: Path) -> None:
    """5,000 files of odd rows: what must hold of each stands in fuzz.py, which can make more of them."""
    came = fuzz.run(5000, 0, tmp_path)
    assert came["read"] > 3000
    assert came["told"] > 500
