"""Rows that cannot be read: each is told with its line and counted, the others are converted, and the exit code says so."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from command import synthgen

from synthgen.cli import run

GOOD = {"instruction": "q", "input": "", "output": "a"}


def write(path: Path, *lines: Any) -> str:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return path.name


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_export_goes_on_after_rows_at_fault(tmp_path: Path) -> None:
    bad = ["{broken", {**GOOD, "output": 3}, {"instruction": "q"}, "[1]", {"title": "x"}]
    name = write(tmp_path / "a.jsonl", GOOD, *bad, GOOD)
    done = synthgen("export", name, "--to", "messages", "-o", "m.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert len(rows(tmp_path / "m.jsonl")) == 2
    unread = json.loads(done.stdout)["unread"]
    assert unread["count"] == len(unread["first"]) == len(bad)
    assert [line.partition(" ")[0] for line in unread["first"]] == [f"a.jsonl:{n}:" for n in range(2, 7)]
    assert unread["first"][2] == "a.jsonl:4: no alpaca row: output must be text, found missing; fix or delete the row"
    told = done.stderr.splitlines()
    assert [line.removeprefix("note: ") for line in told] == unread["first"]


def test_export_is_strict_about_them(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", GOOD, "{broken")
    done = synthgen("export", name, "--to", "messages", "-o", "m.jsonl", "--strict", cwd=tmp_path)
    assert done.returncode == 1
    assert not (tmp_path / "m.jsonl").exists()
    note, error = done.stderr.splitlines()
    assert note.startswith("note: a.jsonl:2: not JSON")
    assert error == (
        "error: a.jsonl: 1 row cannot be read; nothing was written, leave --strict out to write the rest"
    )  # fmt: skip


def test_a_folder_is_written_without_them_too(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", GOOD, "{broken", {**GOOD, "instruction": "q2"})
    done = synthgen("export", name, "--to", "alpaca", "-o", "out/", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["rows"], found["unread"]["count"], len(rows(tmp_path / "out" / "train.jsonl"))) == (2, 1, 2)
    strict = synthgen("export", name, "--to", "alpaca", "-o", "new/", "--strict", cwd=tmp_path)
    assert (strict.returncode, (tmp_path / "new").exists()) == (1, False)


def test_what_the_target_cannot_carry_is_no_fault_of_the_input(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", {"question": "q", "answer": 4}, {"question": "q", "answer": "a"})
    done = synthgen("export", name, "--to", "alpaca", "-o", "m.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["unread"] == {"count": 0, "first": []}
    assert (found["rows"], found["left_out"]) == (1, {"no answer (the last turn is not the assistant's)": 1})


def test_only_the_first_of_many_are_told(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", GOOD, *["{"] * 25)
    done = synthgen("export", name, "--to", "alpaca", "-o", "m.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 1
    unread = json.loads(done.stdout)["unread"]
    assert (unread["count"], len(unread["first"])) == (25, 20)
    assert done.stderr.splitlines()[-1] == "note: a.jsonl: 5 rows more cannot be read"


def test_a_file_without_a_row_to_read_is_a_mistake(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", {"title": "x"}, {"title": "y"})
    for command in (["export", name, "--to", "alpaca", "-o", "m.jsonl"], ["show", name]):
        done = synthgen(*command, cwd=tmp_path)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: a.jsonl:1: a row of no known format (columns: title); understood are messages, ")
        assert line.endswith("(no row of the input can be read)")
    assert not (tmp_path / "m.jsonl").exists()


def test_rows_of_another_format_are_read_as_that_and_counted(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    name = write(tmp_path / "a.jsonl", GOOD, chat, {"question": "q", "answer": "a"}, chat)
    done = synthgen("export", name, "--to", "alpaca", "-o", "m.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert rows(tmp_path / "m.jsonl") == [GOOD] * 4
    assert json.loads(done.stdout)["others"] == {"messages": 2, "question-answer": 1}
    assert "a.jsonl: 2 rows of another format than the first row's, read as messages" in done.stderr


def test_a_broken_array_ends_where_it_breaks(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([GOOD, GOOD])[:-1] + ", {oops")
    done = synthgen("export", "a.json", "--to", "alpaca", "-o", "m.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert len(rows(tmp_path / "m.jsonl")) == 2
    (line,) = json.loads(done.stdout)["unread"]["first"]
    assert "nothing after this can be read" in line


def test_show_says_what_it_steps_over(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jsonl", GOOD, "{broken", GOOD)
    done = synthgen("show", name, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["samples"]) == 2
    assert "a.jsonl:2: not JSON" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("generate", "alpaca", "--seeds", "a.jsonl"), "a.jsonl:2: not JSON"),
        (("generate", "respond", "--input", "a.jsonl"), "a.jsonl:2: not JSON"),
        (("generate", "respond", "--input", "b.jsonl"), "b.jsonl:2: no prompt (columns: title)"),
        (
            ("generate", "respond", "--input", "c.jsonl"),
            "c.jsonl:2: turns: no mt-bench row: turns must be a list of texts",
        ),
    ],
)
def test_what_a_run_begins_with_is_refused(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    write(tmp_path / "a.jsonl", GOOD, "{broken")
    write(tmp_path / "b.jsonl", GOOD, {"title": "x"})
    write(tmp_path / "c.jsonl", GOOD, {"turns": [{"a": 1}]})
    done = synthgen(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mix_says_what_it_could_not_read_and_counts_it(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "{broken", {**GOOD, "output": 3}, *({**GOOD, "instruction": f"q{n}"} for n in range(4)))
    (tmp_path / "job.yaml").write_text("steps: [{id: m, mix: {a.jsonl: 1.0}, export: {alpaca: out.jsonl}}]\n")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a.jsonl:1: not JSON" in done.stderr
    assert "a.jsonl:2: no alpaca row: output must be text, found int" in done.stderr
    run = tmp_path / "runs" / "job" / "m"
    assert len(rows(tmp_path / "out.jsonl")) == 4
    assert [(row["task"], row["reason"], row["sample"]) for row in rows(run / "rejected.jsonl")] == [
        (f"a.jsonl:{n}", "unreadable", None) for n in (1, 2)
    ]
    assert json.loads((run / "run.json").read_text())["sources"]["a.jsonl"]["unread"] == 2
    assert json.loads((run / "report.json").read_text())["rejected"] == {"unreadable": 2}
    again = synthgen("run", "job.yaml", cwd=tmp_path)
    assert again.returncode == 0
    assert len(rows(run / "rejected.jsonl")) == 2


def test_a_folder_that_may_not_be_looked_into_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)  # as for all but root, in a folder without the right to enter it
    assert run(["export", f"{tmp_path}/a.jsonl", "--to", "alpaca", "-o", f"{tmp_path}/b.jsonl"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/")
    assert "permission denied" in line
