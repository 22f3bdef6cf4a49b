"""Answers to given prompts: one a prompt, flagged where cut, asked once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import synthgen
from faulty import Faulty
from kit import Ended, run, seed

from synthgen.errors import RequestRefused
from synthgen.types import Completion, Message, Request, Sample, Seed


def prompt(name: str, *turns: str, reference: str | None = None) -> Seed:
    fields = {"messages": (Message("user", turns[0]),), "turns": turns[1:], "split": None, "reference": reference}
    return Seed(name, {**seed(name, turns[0]).fields, **fields})


PROMPTS = tuple(prompt(f"p{n}", f"How much is {n} times {n}?") for n in range(12))


def echo(request: Request) -> str:
    return f"You asked: {request.prompt[-1].content}"  # type: ignore[union-attr]


def respond(folder: Path, answer: object = echo, prompts: tuple[Seed, ...] = PROMPTS, **more: object) -> Ended:
    return run(folder, answer, recipe="respond", seeds=prompts, **{"count": None, **more})  # type: ignore[arg-type]


def test_one_sample_a_prompt_in_their_order(tmp_path: Path) -> None:
    done = respond(tmp_path, concurrency=5)
    assert done.ending.code == 0
    assert [s.messages[-1].content for s in done.samples] == [
        f"You asked: How much is {n} times {n}?" for n in range(12)
    ]
    assert [s.meta["parents"] for s in done.samples] == [[f"p{n}"] for n in range(12)]
    assert len(done.backend.requests) == 12


def test_a_part_of_the_prompts_costs_no_more_than_that_part(tmp_path: Path) -> None:
    """With places for all of them from the start: what is answered is accepted, so few are asked beyond the count."""
    done = respond(tmp_path, prompts=tuple(prompt(f"p{n}", f"How much is {n}?") for n in range(200)), count=50,
                   concurrency=200)  # fmt: skip
    assert len(done.samples) == 50
    assert len(done.backend.requests) <= 58


def test_neither_filters_nor_novelty_unless_asked(tmp_path: Path) -> None:
    same = tuple(prompt(f"p{n}", "Say sorry.") for n in range(4))
    assert len(respond(tmp_path / "a", lambda _: "Sorry, as an AI language model I cannot.", same).samples) == 4
    filtered = respond(
        tmp_path / "b", lambda _: "Sorry, as an AI language model I cannot.", same, values={"filtered": "true"}
    )
    assert not filtered.samples
    novel = respond(tmp_path / "c", echo, same, values={"novel": "true"})
    assert len(novel.samples) == 1
    assert novel.falls.rejected == {"duplicate": 3}


def test_a_conversation_is_answered_turn_by_turn(tmp_path: Path) -> None:
    (sample,) = respond(tmp_path, prompts=(prompt("p", "Name a city.", "In which country?"),)).samples
    assert [m.role for m in sample.messages] == ["user", "assistant", "user", "assistant"]
    assert sample.messages[3].content == "You asked: In which country?"


@pytest.mark.parametrize("turns", [("Name a city.",), ("Name a city.", "Another one.")])
def test_k_answers_are_k_requests(turns: tuple[str, ...], tmp_path: Path) -> None:
    numbers = iter(range(100))

    def answer(_: Request) -> str:
        return f"answer {next(numbers)}"

    done = respond(tmp_path, answer, (prompt("p", *turns),), values={"k": "3"})
    assert len({s.messages[-1].content for s in done.samples}) == 3
    again = respond(tmp_path, answer, (prompt("p", *turns),), values={"k": "3"})
    assert [s.messages for s in again.samples] == [s.messages for s in done.samples]
    assert not again.backend.requests


def test_a_system_message_goes_before_prompts_that_have_none(tmp_path: Path) -> None:
    own = Seed("own", {**prompt("own", "x").fields, "messages": (Message("system", "Rhyme."), Message("user", "x"))})
    samples = respond(tmp_path, prompts=(prompt("p", "y"), own), values={"system": "Be brief."}).samples
    assert [s.messages[0].content for s in samples] == ["Be brief.", "Rhyme."]


def test_a_cut_answer_is_rejected_or_kept_and_always_flagged(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        return Completion("The first half", finish_reason="length" if "3 times" in str(request.prompt) else "stop")

    done = respond(tmp_path / "a", answer)
    assert len(done.samples) == 11
    assert done.falls.rejected == {"truncated": 1}
    kept = respond(tmp_path / "b", answer, values={"cut": "keep"})
    assert [s.meta.get("truncated", False) for s in kept.samples] == [n == 3 for n in range(12)]


def test_an_empty_answer_and_a_refused_prompt_cost_one_row(tmp_path: Path) -> None:
    def answer(request: Request) -> str | RequestRefused:
        text = str(request.prompt)
        return RequestRefused("no") if "3 times" in text else "" if "4 times" in text else "fine"

    done = respond(tmp_path, answer)
    assert done.ending.code == 5
    assert (len(done.samples), done.falls.rejected, done.falls.failed) == (10, {"empty": 1}, 1)


def rows(path: Path) -> Iterator[dict[str, object]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def test_a_file_that_has_grown_costs_its_new_rows_alone(server: Faulty, tmp_path: Path) -> None:
    def go(number: int) -> dict[str, object]:
        lines = [json.dumps({"id": f"q{n}", "prompt": f"Explain the number {n}."}) + "\n" for n in range(number)]
        (tmp_path / "p.jsonl").write_text("".join(lines))
        done = synthgen(
            "generate",
            "respond",
            "--input",
            "p.jsonl",
            "--base-url",
            server.base_url,
            "--out",
            "run",
            "--json",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert "made anew" not in done.stderr
        found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return found

    assert go(40)["requests"] == 40
    before = (tmp_path / "run" / "alpaca.jsonl").read_bytes()
    assert go(44)["requests"] == 44
    assert len(server.bodies) == 44
    after = (tmp_path / "run" / "alpaca.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 44


def test_a_run_is_an_input_too(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"id": "a", "instruction": "Translate.", "input": "Haus"}\n{"id": "b", "prompt": "x"}\n'
    )
    for source, out in (("p.jsonl", "one"), ("one", "two")):
        done = synthgen(
            "generate",
            "respond",
            "--input",
            source,
            "--base-url",
            server.base_url,
            "--out",
            out,
            "--format",
            "samples",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    first, second = (list(rows(tmp_path / out / "samples.jsonl")) for out in ("one", "two"))
    assert [r["input_split"] for r in first] == [r["input_split"] for r in second]
    assert second[0]["meta"]["parents"] == [first[0]["meta"]["id"]]  # type: ignore[index]
    assert second[0]["reference"] == first[0]["messages"][-1]["content"]  # type: ignore[index]


def test_the_reference_is_kept(tmp_path: Path) -> None:
    sample: Sample
    (sample,) = respond(tmp_path, prompts=(prompt("p", "x", reference="gold"),)).samples
    assert sample.reference == "gold"


def respond_words(server: Faulty, *more: str) -> tuple[str, ...]:
    return ("generate", "respond", "--input", "p.jsonl", "--base-url", server.base_url, *more)


def test_a_dry_run_over_a_finished_run_says_what_is_left(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    assert synthgen(*respond_words(server), cwd=tmp_path).returncode == 0
    done = synthgen(*respond_words(server, "--dry-run"), cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    (tmp_path / "p.jsonl").write_text('{"prompt": "three"}\n{"prompt": "four"}\n{"prompt": "five"}\n')
    other = synthgen(*respond_words(server, "--dry-run", "--json"), cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout.splitlines()[-1])["estimate"]["requests"] == [3, 3]


def test_rows_added_to_its_input_do_not_move_a_run_to_another_language(server: Faulty, tmp_path: Path) -> None:
    chinese = '{"prompt": "天空为什么是蓝的？"}\n'
    (tmp_path / "p.jsonl").write_text(chinese, encoding="utf-8")
    assert synthgen(*respond_words(server), cwd=tmp_path).returncode == 0
    more = "".join(f'{{"prompt": "Why is the sky blue at noon, and red at dusk? ({n})"}}\n' for n in range(5))
    (tmp_path / "p.jsonl").write_text(chinese + more, encoding="utf-8")
    assert synthgen(*respond_words(server), cwd=tmp_path).returncode == 0
    assert len(server.bodies) == 6
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["respond-zh"]


@pytest.mark.parametrize(("name", "out"), [("README.md", "mine"), ("alpaca.jsonl", "mine"), ("samples.jsonl", ".")])
def test_a_folder_of_others_is_not_written_over(server: Faulty, name: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n')
    (tmp_path / out).mkdir(exist_ok=True)
    (tmp_path / out / name).write_text("precious")
    done = synthgen(*respond_words(server, "--out", out), cwd=tmp_path)
    assert done.returncode == 2
    assert name in done.stderr
    assert (tmp_path / out / name).read_text() == "precious"
    assert not server.bodies


def test_a_server_that_is_not_there_at_the_start_is_left_out(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    done = synthgen(*respond_words(server, "--base-url", "http://127.0.0.1:9/v1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:9/v1 is left out for now" in done.stderr
    assert len(server.bodies) == 2
