"""Prompts out of anything: columns, conversations, runs; ids that stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import synthgen

from synthgen.dedup import Fingerprints
from synthgen.errors import UsageError
from synthgen.inputs import Inputs
from synthgen.types import Message


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


USER = (Message("user", "How old is the sun?"),)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How old is the sun?"},
        {"question": "How old is the sun?", "answer": "4.6 billion years"},
        {"instruction": "How old is the sun?", "input": "", "output": "4.6 billion years"},
        {"text": "How old is the sun?"},
        {"turns": ["How old is the sun?"]},
        {"messages": [{"role": "user", "content": "How old is the sun?"}]},
        {"prompt": [{"role": "user", "content": "How old is the sun?"}]},
        {
            "prompt": [{"role": "user", "content": "How old is the sun?"}],
            "completion": [{"role": "assistant", "content": "4.6"}],
        },
        {"text": "<|im_start|>user\nHow old is the sun?<|im_end|>\n<|im_start|>assistant\n4.6<|im_end|>\n"},
        {"conversations": [{"from": "human", "value": "How old is the sun?"}, {"from": "gpt", "value": "4.6"}]},
    ],
    ids="+".join,
)
def test_one_prompt_in_many_shapes(row: dict[str, Any], tmp_path: Path) -> None:
    (seed,) = Inputs([written(tmp_path / "p.jsonl", row)])
    assert seed.fields["messages"] == USER
    assert seed.where.endswith("p.jsonl:1")


ASKED, SUN = {"role": "user", "content": "How old is the sun?"}, {"role": "assistant", "content": "4.6"}
YOUNG = {"role": "assistant", "content": "6"}


@pytest.mark.parametrize(
    ("row", "reference"),
    [
        ({"prompt": "How old is the sun?", "chosen": "4.6", "rejected": "6"}, "4.6"),
        ({"prompt": [ASKED], "chosen": [SUN], "rejected": [YOUNG]}, "4.6"),
        ({"chosen": [ASKED, SUN], "rejected": [ASKED, YOUNG]}, "4.6"),
        ({"chosen": [ASKED, SUN, ASKED, SUN], "rejected": [ASKED, YOUNG, ASKED, SUN]}, "4.6"),
        ({"conversations": [{"from": "human", "value": "How old is the sun?"}], "chosen": {"from": "gpt", "value": "4.6"}, "rejected": {"from": "gpt", "value": "6"}}, "4.6"),
        ({"instruction": "How old is the sun?", "chosen": "4.6", "rejected": "6"}, "4.6"),
        ({"input": {"messages": [ASKED]}, "preferred_output": [SUN], "non_preferred_output": [YOUNG]}, "4.6"),
        ({"messages": [ASKED, SUN], "rejected_response": "6"}, "4.6"),
        ({"prompt": [ASKED], "completion": [SUN], "label": True}, "4.6"),
        ({"prompt": "How old is the sun?", "completion": "6", "label": False}, None),
        ({"messages": [ASKED, YOUNG], "label": False}, None),
        ({"instruction": "How old is the sun?", "input": "", "output": "6", "kto_tag": False}, None),
        ({"prompt": "How old is the sun?", "chosen": "4.6"}, None),
        ({"prompt": "How old is the sun?", "label": True}, None),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_the_prompt_of_a_pair_is_a_prompt_and_a_bad_answer_no_reference(
    row: dict[str, Any], reference: str | None, tmp_path: Path
) -> None:
    (seed,) = Inputs([written(tmp_path / "p.jsonl", row)])
    assert seed.fields["messages"] == USER
    assert seed.fields["reference"] == reference
    assert {"chosen", "rejected"}.isdisjoint(seed.fields.get("columns", {}))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "4.6"}]},
        {"prompt": [{"role": "user", "content": "q"}], "completion": "4.6"},
        {"prompt": "q", "completion": "4.6"},
        {"prompt": [{"role": "user", "content": "q"}], "ground_truth": "4.6", "verifier": "math"},
        {"prompt": "q", "ground_truth": "4.6"},
        {"text": "<|im_start|>user<|im_sep|>q<|im_end|><|im_start|>assistant<|im_sep|>4.6<|im_end|>"},
    ],
)
def test_what_a_format_calls_the_answer_is_the_reference(row: dict[str, Any], tmp_path: Path) -> None:
    (seed,) = Inputs([written(tmp_path / "p.jsonl", row)])
    assert (seed.fields["messages"], seed.fields["reference"]) == ((Message("user", "q"),), "4.6")


def test_what_belongs_to_a_prompt_is_kept(tmp_path: Path) -> None:
    rows = (
        {"id": 7, "instruction": "Translate.", "input": "Haus", "output": "house", "system": "Be brief."},
        {"turns": ["First.", "Second."]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]},
        {"prompt": "天空为什么是蓝的？", "input": "another column"},
    )  # fmt: skip
    first, second, third, fourth = Inputs([written(tmp_path / "p.jsonl", *rows)])
    assert first.id == "7"
    assert first.fields["messages"] == (Message("system", "Be brief."), Message("user", "Translate.\nHaus"))
    assert first.fields["split"] == ("Translate.", "Haus")
    assert first.fields["reference"] == "house"
    assert second.fields["turns"] == ("Second.",)
    assert [m.content for m in third.fields["messages"]] == ["a", "b", "c"]
    assert third.fields["reference"] == "d"
    assert fourth.fields["messages"][0].content == "天空为什么是蓝的？"


def test_earlier_turns_and_texts_of_lists_are_read(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        'id,messages,topic\n1,"[{""role"": ""user"", ""content"": ""Hello""}]",greetings\n', encoding="utf-8"
    )
    (told,) = Inputs([table])
    assert told.fields["messages"] == (Message("user", "Hello"),)
    assert told.fields["columns"] == {"topic": "greetings"}
    row = {"instruction": "c", "history": [["a", "b"]], "system_prompt": "Be nice."}
    (first,) = Inputs([written(tmp_path / "p.jsonl", row)])
    assert [(m.role, m.content) for m in first.fields["messages"]] == [
        ("system", "Be nice."), ("user", "a"), ("assistant", "b"), ("user", "c")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": "hello"}, "messages must be a list of turns"),
        ({"instruction": "x", "history": [["a"]]}, "history must be a list of pairs [user text, assistant text]"),
        ({"title": "x"}, "no prompt (columns: title); name one of them prompt"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "x", "id": [1]}, "id must be text or a whole number"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no user turn"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "unknown role 'judge'"),
        ({"instruction": "x", "input": 3}, "input must be text, found int"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x", "chosen": "a", "rejected": None}, "rejected must be text, found null"),
    ],
)
def test_a_row_that_is_no_prompt_is_named(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", {"prompt": "fine"}, row)
    with pytest.raises(UsageError) as caught:
        list(Inputs([path]))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert said in str(caught.value)


def test_ids_stay_when_rows_move_and_differ_where_prompts_do_not(tmp_path: Path) -> None:
    a, b = {"prompt": "a"}, {"prompt": "b"}
    before = [s.id for s in Inputs([written(tmp_path / "p.jsonl", a, b, a)])]
    after = [s.id for s in Inputs([written(tmp_path / "q.jsonl", b, a, a)])]
    assert len(set(before)) == 3
    assert sorted(before) == sorted(after)


def test_equal_prompts_cost_no_more_than_different_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    add = Fingerprints.add
    monkeypatch.setattr(Fingerprints, "add", lambda self, text: tried.append(text) or add(self, text))
    prompts = Inputs([written(tmp_path / "a.jsonl", {"prompt": "x", "id": "a~3"}, *[{"prompt": "x", "id": "a"}] * 100)])
    ids = [seed.id for seed in prompts]
    assert ids == ["a~3", "a", "a~2", *(f"a~{n}" for n in range(4, 102))]
    assert len(tried) <= 2 * len(ids)


def test_a_scan_knows_a_file_that_has_grown(tmp_path: Path) -> None:
    rows = [{"prompt": f"prompt {n}"} for n in range(30)]
    before = Inputs([written(tmp_path / "p.jsonl", *rows[:20])]).scan()
    after = Inputs([written(tmp_path / "p.jsonl", *rows)]).scan(first=before.rows)
    assert after.rows == 30
    assert after.digest != before.digest
    assert after.digest_of_first == before.digest
    changed = Inputs([written(tmp_path / "p.jsonl", *rows[1:])]).scan(first=before.rows)
    assert changed.digest_of_first != before.digest


def test_fingerprints_are_a_set() -> None:
    found = Fingerprints()
    texts = [f"text {n % 5000}" for n in range(20_000)]
    assert [found.add(t) for t in texts] == [True] * 5000 + [False] * 15_000
    assert len(found) == 5000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("respond",), "respond works on prompts: give --input FILE|RUN"),
        (("respond", "--seeds", "en"), "give them as --input"),
        (("alpaca", "--input", "p.jsonl"), "alpaca works on seeds; give them as --seeds"),
        (("respond", "--input", "nothing.jsonl"), "no such file"),
        (("respond", "--input", "empty.jsonl"), "no rows in it"),
    ],
)
def test_seeds_and_prompts_are_not_mixed_up(given: tuple[str, ...], said: str, tmp_path: Path) -> None:
    written(tmp_path / "p.jsonl", {"prompt": "x"})
    (tmp_path / "empty.jsonl").write_text("")
    done = synthgen("generate", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
