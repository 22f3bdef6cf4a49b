"""What TRL trains on of our files, row by row: a real ChatML tokenizer, the chat template, the loss mask."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from drawn import dialogues, several
from pairs import labelled, pairs
from test_formats import ASKED, LONG, PARALLEL, PLAIN, SPLIT, TOOLS
from test_formats_preference import AFTER_A_TOOL, CALL_OR_TALK, LONGER, PAIR
from trl_reader import Trl

from synthgen.formats import open_format, read_samples
from synthgen.formats.pairs import split_answer
from synthgen.formats.write import write_samples
from synthgen.types import Message, Sample

# TRL's own, of a model that calls tools and does not think: it leaves what is said as it is.
QWEN = "qwen3_instruct_2507_training"
_CALL = re.compile(r"\n?<tool_call>\n(\{.*\})\n</tool_call>")
_TOOLS = re.compile(r"<tools>\n(.*?)\n</tools>", re.DOTALL)


@cache
def drawn() -> list[Sample]:
    return several(dialogues(), 150)


def written(samples: Sequence[Sample], name: str, folder: Path) -> Path:
    done = write_samples(samples, open_format(name), folder / f"{name}.jsonl")
    assert (done.rows, done.left_out) == (len(samples), {})
    return done.path


def chatml(messages: Sequence[Message]) -> str:
    return "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in messages)


def spoken(samples: Sequence[Sample]) -> list[list[str]]:
    """What is to be trained of each: what the assistant says, with the mark that ends it."""
    return [[f"{turn.content}<|im_end|>" for turn in one.messages if turn.role == "assistant"] for one in samples]


def less_a_break(run: str, said: str) -> str:
    """The run without the line break before a text that begins with one: two breaks are one token."""
    return run[1:] if said[:1].isspace() and run.startswith(f"\n{said[0]}") and not run.startswith(said) else run


def begins(row: dict[str, Any], answer: str) -> str:
    """What is trained before the answer: a token may hold the end of the prompt and its first letters."""
    (run,) = row["trained"]
    assert row["text"].endswith(run)
    assert run.endswith(answer)
    return str(run.removesuffix(answer))


def test_messages_train_what_the_assistant_says_and_nothing_else(trl: Trl, tmp_path: Path) -> None:
    samples = [PLAIN, SPLIT, LONG, *drawn()]
    found = trl.read(written(samples, "messages", tmp_path), "sft", assistant_only_loss=True)
    assert found["conversational"] == [True] * len(samples)
    assert [row["text"] for row in found["rows"]] == [chatml(sample.messages) for sample in samples]
    for row, said in zip(found["rows"], spoken(samples), strict=True):
        assert [less_a_break(*pair) for pair in zip(row["trained"], said, strict=True)] == said


def test_messages_without_a_mask_train_all(trl: Trl, tmp_path: Path) -> None:
    found = trl.read(written([LONG], "messages", tmp_path), "sft")
    assert found["rows"] == [{"text": chatml(LONG.messages), "trained": [chatml(LONG.messages)]}]


def test_a_completion_is_trained_and_its_prompt_is_not(trl: Trl, tmp_path: Path) -> None:
    samples = [PLAIN, SPLIT, LONG, *drawn()]
    found = trl.read(written(samples, "prompt-completion", tmp_path), "sft")
    assert found["conversational"] == [True] * len(samples)
    assert [row["text"] for row in found["rows"]] == [chatml(sample.messages) for sample in samples]
    for row, sample in zip(found["rows"], samples, strict=True):
        answer = sample.messages[-1].content
        before = begins(row, f"{answer}<|im_end|>\n")
        assert before in ("", "\n") if answer[0].isspace() else before == ""


def test_texts_are_trained_as_they_are(trl: Trl, tmp_path: Path) -> None:
    samples = [PLAIN, *(sample for sample in drawn() if len(sample.messages) == 2)]
    found = trl.read(written(samples, "prompt-completion-text", tmp_path), "sft")
    assert found["conversational"] == [False] * len(samples)
    for row, (user, answer) in zip(found["rows"], [sample.messages for sample in samples], strict=True):
        assert row["text"] == f"{user.content}{answer.content}<|im_end|>"
        assert len(begins(row, f"{answer.content}<|im_end|>")) <= 8


@pytest.mark.parametrize("name", ["chatml", "text"])
def test_running_text_is_trained_whole(trl: Trl, tmp_path: Path, name: str) -> None:
    samples = drawn() if name == "chatml" else [Sample(text=chatml(sample.messages)) for sample in drawn()]
    found = trl.read(written(samples, name, tmp_path), "sft")
    texts = [row["text"] for row in found["loaded"]]
    ended = [text if text.endswith("<|im_end|>") else f"{text}<|im_end|>" for text in texts]
    assert [row["text"] for row in found["rows"]] == ended
    assert [row["trained"] for row in found["rows"]] == [[text] for text in ended]


def split_calls(run: str) -> tuple[str, list[Any]]:
    """What is said, and the calls, of a run that is trained."""
    assert run.endswith("<|im_end|>\n")
    calls = [json.loads(call) for call in _CALL.findall(run)]
    return _CALL.sub("", run.removesuffix("<|im_end|>\n")), calls


def calls_of(turn: Message) -> list[Any]:
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in turn.tool_calls]


def test_tool_calls_are_trained_as_objects_and_results_are_not(trl: Trl, tmp_path: Path) -> None:
    samples = [PLAIN, TOOLS, PARALLEL, *several(dialogues(tools=True), 100)]
    found = trl.read(written(samples, "messages", tmp_path), "sft", template=QWEN, assistant_only_loss=True)
    for row, sample in zip(found["rows"], samples, strict=True):
        turns = [turn for turn in sample.messages if turn.role == "assistant"]
        runs = [less_a_break(run, turn.content) for run, turn in zip(row["trained"], turns, strict=True)]
        assert [split_calls(run) for run in runs] == [(turn.content, calls_of(turn)) for turn in turns]
        results = [
            f"<tool_response>\n{turn.content}\n</tool_response>" for turn in sample.messages if turn.role == "tool"
        ]
        assert row["text"].count("<tool_response>") == len(results)
        assert all(result in row["text"] for result in results)
        tools = _TOOLS.search(row["text"])
        assert [json.loads(line) for line in tools[1].split("\n")] == wrapped(sample) if tools else not sample.tools


def wrapped(sample: Sample) -> list[Any]:
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in sample.tools]


def test_some_templates_spell_the_text_of_arguments_once_more(trl: Trl, tmp_path: Path) -> None:
    """Why `validate` says of messages with calls which templates take them: OpenAI wants text, Qwen2.5 an object."""
    found = trl.read(
        written([TOOLS], "messages", tmp_path), "sft", template="qwen2_5_training", assistant_only_loss=True
    )
    ((_, (call,)), _) = map(split_calls, found["rows"][0]["trained"])
    assert isinstance(call["arguments"], str)
    assert json.loads(call["arguments"]) == TOOLS.messages[1].tool_calls[0].arguments


def test_pairs_are_a_prompt_and_two_answers(trl: Trl, tmp_path: Path) -> None:
    samples = [PAIR, *several(pairs(), 100)]
    path = written(samples, "preference", tmp_path)
    found = trl.read(path, "dpo")
    for row, sample in zip(found["rows"], samples, strict=True):
        prompt, answer = split_answer(sample)
        assert row["prompt"] + row["chosen"] == chatml((*prompt, *answer))
        assert row["prompt"] + row["rejected"] == chatml((*prompt, *sample.rejected))
        assert row["prompt"].startswith(chatml(prompt))


def test_pairs_with_tools_keep_prompt_answers_and_tools(trl: Trl, tmp_path: Path) -> None:
    samples = [PAIR, AFTER_A_TOOL, CALL_OR_TALK, LONGER]
    path = written(samples, "preference", tmp_path)
    found = trl.read(path)
    assert found["conversational"] == [True] * 4
    assert found["extracted"] == found["loaded"]
    answers = [(*split_answer(sample), sample.rejected) for sample in samples]
    for row, three in zip(found["loaded"], answers, strict=True):
        assert [len(row[key]) for key in ("prompt", "chosen", "rejected")] == list(map(len, three))
    assert [row["label"] for row in found["unpaired"]] == [True] * 4 + [False] * 4
    for row, (prompt, answer, other) in zip(trl.read(path, "dpo", template=QWEN)["rows"], answers, strict=True):
        assert [call for _, call in re.findall(r"(<tool_call>\n)(.*)(?=\n</tool_call>)", row["chosen"])] == [
            json.dumps(call, ensure_ascii=False) for turn in answer for call in calls_of(turn)
        ]
        assert row["rejected"] == f"{other[-1].content}<|im_end|>\n"
        assert ("<tools>" in row["prompt"]) is (prompt[0].content == "天气?")


def test_labels_stay_with_their_answers(trl: Trl, tmp_path: Path) -> None:
    samples = several(labelled(), 100)
    found = trl.read(written(samples, "kto", tmp_path), "kto")
    assert [row["label"] for row in found["rows"]] == [sample.label for sample in samples]
    assert [row["prompt"] + row["completion"] for row in found["rows"]] == [chatml(s.messages) for s in samples]


def test_prompts_alone_are_conversations(trl: Trl, tmp_path: Path) -> None:
    found = trl.read(written([ASKED, PLAIN, LONG, TOOLS], "rl", tmp_path))
    assert found["conversational"] == [True] * 4


@pytest.mark.parametrize(
    ("name", "trainer"),
    [
        *((f"lf_alpaca_{lang}_demo.json", "sft") for lang in ("en", "zh")),
        ("gpteacher_toolformer_06_alpaca.json", "sft"),
        ("fastchat_dummy_conversation.json", "sft"),
        *((f"lf_glaive_toolcall_{lang}_demo.json", "sft") for lang in ("en", "zh")),
        *((f"lf_dpo_{lang}_demo.json", "dpo") for lang in ("en", "zh")),
        ("lf_kto_en_demo.json", "kto"),
    ],
)
def test_real_files_lose_no_row(trl: Trl, shared_data: Path, tmp_path: Path, name: str, trainer: str) -> None:
    into = open_format({"sft": "messages", "dpo": "preference", "kto": "kto"}[trainer])
    samples = [sample for sample in read_samples(shared_data / name) if into.carries(sample) is None]
    options = {"assistant_only_loss": True} if trainer == "sft" else {}
    found = trl.read(written(samples, into.name, tmp_path), trainer, template=QWEN, **options)
    assert len(found["rows"]) == len(samples) > 0
    for row, sample in zip(found["rows"], samples, strict=True):
        if trainer == "sft":
            said = [split_calls(run) for run in row["trained"]]
            assert said == [(turn.content, calls_of(turn)) for turn in sample.messages if turn.role == "assistant"]
        elif trainer == "dpo":
            answers = [sample.messages[-1], sample.rejected[0]]
            assert [row["chosen"], row["rejected"]] == [f"{turn.content}<|im_end|>\n" for turn in answers]
        else:
            assert (row["completion"], row["label"]) == (f"{sample.messages[-1].content}<|im_end|>\n", sample.label)
