"""`validate` on files: every fault with its line, what the trainers do with it, the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import result, synthgen, write_rows

GOOD = {"instruction": "Name a river.", "input": "", "output": "The Rhine."}
BAD = [GOOD, {**GOOD, "output": None}, GOOD, {**GOOD, "instruction": " "}, {**GOOD, "input": "Say {{idx}}."}]


def findings(stdout: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in stdout.splitlines()]
    return [event for event in events if event["event"] == "finding"]


def test_each_fault_has_its_line_its_rule_and_what_the_trainers_do(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", BAD)
    done = synthgen("validate", source, cwd=tmp_path)
    said = done.stdout.splitlines()
    assert done.returncode == 1
    assert said[0].startswith(f"{source}:2: fault no-output: output is null (drops the row: LLaMA-Factory, ms-swift; ")
    assert said[1].startswith(f"{source}:4: fault no-instruction: instruction is empty (")
    assert said[2].startswith(f"{source}:5: warning turn-number: the text has {{{{idx}}}} (trains on garbage: LLaMA")
    rows = [line.split() for line in said[3:]]
    assert ["no-output", "1", "drop", "garbage", "drop"] in rows
    assert ["rows:", "drop", "1", "1"] in rows
    assert f"{source}: 5 rows alpaca, read by LLaMA-Factory, axolotl, ms-swift: 2 faults, 1 warnings" in said


def test_json_tells_every_finding_and_then_the_counts(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", BAD * 60)
    done = synthgen("validate", source, "--json", cwd=tmp_path)
    found = result(done, 1)
    told = findings(done.stdout)
    assert (found["faults"], found["warnings"], len(told)) == (120, 60, 180)
    assert found["rules"]["no-output"] == {"count": 60, "level": "fault"}
    assert found["loaders"]["LLaMA-Factory"] == {"drop": 60, "garbage": 120}
    assert found["files"][0] == {
        "path": str(source), "format": "alpaca", "rows": 300, "faults": 120, "warnings": 60,
        "notes": ["trl-reads-no-alpaca"],
    }  # fmt: skip
    assert told[0]["where"] == f"{source}:2"
    assert told[0]["effects"] == {"LLaMA-Factory": "drop", "axolotl": "garbage", "ms-swift": "drop"}
    plain = synthgen("validate", source, cwd=tmp_path).stdout
    assert plain.count("fault no-output") == 10
    assert "57 more of turn-number: --json tells every one" in plain


def test_nothing_found_and_warnings_alone_exit_0(tmp_path: Path) -> None:
    clean = synthgen("validate", write_rows(tmp_path / "a.jsonl", [GOOD] * 3), cwd=tmp_path)
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "0 faults, 0 warnings" in clean.stdout
    warned = synthgen("validate", write_rows(tmp_path / "b.jsonl", [BAD[4]]), cwd=tmp_path)
    assert warned.returncode == 0
    assert "b.jsonl:1: warning turn-number" in warned.stdout


def test_a_format_is_judged_by_its_own_rules_when_it_is_named(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}])
    assert result(synthgen("validate", source, "--json", cwd=tmp_path))["files"][0]["format"] == "question-answer"
    found = result(synthgen("validate", source, "--format", "alpaca", "--json", cwd=tmp_path), 1)
    assert set(found["rules"]) == {"no-instruction", "no-output", "no-input-column"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["b.jsonl"], "b.jsonl: no such file; did you mean a.jsonl?"),
        (["a.jsonl", "--format", "alpca"], "no format is called 'alpca'; did you mean alpaca?"),
        (["a.txt"], "a.txt: cannot read rows from this kind of file"),
        ([], "FILE"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, args: list[str], said: str) -> None:
    write_rows(tmp_path / "a.jsonl", [GOOD])
    (tmp_path / "a.txt").write_text("text")
    done = synthgen("validate", *args, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
