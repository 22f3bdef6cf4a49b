"""A mix: shares that are drawn by the seed, duplicates and benchmark rows out, exactly so many rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from command import synthgen

from synthgen.cli.job import _Options
from synthgen.jobs.mixing import Mixing, shares_of
from synthgen.jobs.plan import MixStep, Part, Source
from synthgen.jobs.reading import read_job
from synthgen.report import Summary

WORDS = "river castle bread winter music doctor garden engine letter market forest teacher island winter silver".split()


def row(n: int, instruction: str = "") -> dict[str, Any]:
    said = instruction or f"Write {n} lines on {WORDS[n % 15]} {WORDS[(n * 7) % 15]} and {n * n}"
    return {"instruction": said, "input": "", "output": f"Answer {n}."}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def step(folder: Path, sources: Mapping[str, float | int], **more: Any) -> MixStep:
    parts = []
    for place, amount in sources.items():
        source = Source(Path(place).stem, place)
        parts.append(Part(source, most=amount) if isinstance(amount, int) else Part(source, Fraction(str(amount))))
    return MixStep("mix", 1, folder / "mix", tuple(parts), (), **more)


def mixed(one: MixStep) -> tuple[int, Summary, list[str]]:
    """(exit code, counts, instructions in order)."""
    ending, summary, _ = Mixing(one, lambda _: None).work()
    rows = [json.loads(line) for line in (one.folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    return ending.code, summary, [(r.get("input_split") or [""])[0] for r in rows]


def test_a_share_is_of_the_rows_and_drawn_by_the_seed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [row(n) for n in range(40)])
    one = step(tmp_path, {source: 0.5})
    code, _, half = mixed(one)
    every = [row(n)["instruction"] for n in range(40)]
    assert (code, len(half)) == (0, 20)
    assert half == [text for text in every if text in half]  # in the order of the source
    assert mixed(replace(one, seed=1))[2] != half
    assert mixed(one)[2] == half
    assert mixed(step(tmp_path, {source: 7}))[2] != every[:7]
    assert len(mixed(step(tmp_path, {source: 7}))[2]) == 7
    assert mixed(step(tmp_path, {source: 1.0}))[2] == every


def test_a_source_that_grows_keeps_the_draw_of_its_first_rows(tmp_path: Path) -> None:
    small = write(tmp_path / "a.jsonl", [row(n) for n in range(40)])
    before = set(mixed(step(tmp_path, {small: 0.5}))[2])
    grown = write(tmp_path / "a.jsonl", [row(n) for n in range(44)])
    after = set(mixed(step(tmp_path, {grown: 0.5}))[2])
    assert len(after) == 22
    assert len(before & after) >= 18


def test_sources_come_in_their_order_and_the_first_of_a_pair_stays(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [row(0), row(1), row(1)])
    b = write(tmp_path / "b.jsonl", [row(2), row(0), row(3, row(2)["instruction"] + " !")])
    one = step(tmp_path, {b: 1.0, a: 1.0}, dedup=("exact", "rouge"))
    code, summary, said = mixed(one)
    assert code == 0
    assert said == [row(2)["instruction"], row(0)["instruction"], row(1)["instruction"]]
    assert summary.falls.rejected == {"duplicate": 2, "contradictory": 1}
    rejected = [json.loads(line) for line in (one.folder / "rejected.jsonl").read_text().splitlines()]
    assert [(r["task"], r["reason"]) for r in rejected] == [
        ("b:3", "contradictory"),
        ("a:1", "duplicate"),
        ("a:3", "duplicate"),
    ]
    assert "b:2" in rejected[1]["detail"]
    assert rejected[0]["detail"].startswith("1.000 exact to b:1")


def test_without_dedup_everything_stays(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [row(1), row(1)])
    assert len(mixed(step(tmp_path, {source: 1.0}))[2]) == 2


def test_instances_of_one_task_share_their_instruction(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Sort.\n{n}"}, {"role": "assistant", "content": f"{n}"}],
         "meta": {"id": f"000001.{n}"}, "input_split": ["Sort the words by their length, please.", f"{n}"]}
        for n in range(3)
    ]  # fmt: skip
    source = write(tmp_path / "a.jsonl", rows)
    _, summary, _ = mixed(step(tmp_path, {source: 1.0}, dedup=("exact", "rouge")))
    assert summary.falls.accepted == 3


def test_answers_that_one_task_gave_stay_together(tmp_path: Path) -> None:
    def answers(task: str, *said: str) -> list[dict[str, Any]]:
        return [
            {"messages": [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": text}],
             "meta": {"id": f"{task}.{n}"}}
            for n, text in enumerate(said)
        ]  # fmt: skip

    a = write(tmp_path / "a.jsonl", answers("000001", "Scattering.", "Rayleigh.", "scattering"))
    b = write(tmp_path / "b.jsonl", answers("000009", "Rayleigh.", "Because of the air."))
    one = step(tmp_path, {a: 1.0, b: 1.0}, dedup=("exact", "rouge"))
    _, summary, _ = mixed(one)
    assert summary.falls.rejected == {"duplicate": 2, "contradictory": 1}
    rejected = [json.loads(line) for line in (one.folder / "rejected.jsonl").read_text().splitlines()]
    assert [r["task"] for r in rejected] == ["a:3", "b:1", "b:2"]
    near = step(tmp_path, {a: 1.0, b: 1.0}, dedup=("rouge",))
    assert mixed(near)[1].falls.rejected == {"novelty": 2}


def test_documents_that_share_most_of_their_text(tmp_path: Path) -> None:
    story = " ".join(f"word{n} of a story" for n in range(60))
    source = write(
        tmp_path / "a.jsonl", [{"instruction": text, "output": story} for text in ("Write.", "Tell a tale.")]
    )
    _, summary, _ = mixed(step(tmp_path, {source: 1.0}, dedup=("exact", "rouge", "minhash")))
    assert summary.falls.rejected == {"near duplicate": 1}


def test_texts_without_a_prompt_are_compared_as_texts(tmp_path: Path) -> None:
    texts = [
        "The sea is salty because rivers carry salt.",
        "Bees make honey.",
        "the sea is salty, because rivers carry salt",
    ]
    source = write(tmp_path / "a.jsonl", [{"messages": [], "text": text, "meta": {}} for text in texts])
    _, summary, _ = mixed(step(tmp_path, {source: 1.0}, dedup=("exact",)))
    assert (summary.falls.accepted, summary.falls.rejected) == (2, {"duplicate": 1})


def test_benchmark_rows_stay_out_in_both_languages(tmp_path: Path) -> None:
    bench = write(
        tmp_path / "bench.jsonl",
        [
            {
                "question": "Natalia sold clips to 48 of her friends in April. How many did she sell in May?",
                "answer": "72",
            },
            {"instruction": "请把下面这段关于春天的文字改写成一首五言绝句", "output": "春眠不觉晓"},
        ],
    )
    source = write(
        tmp_path / "a.jsonl",
        [
            row(1, "natalia sold clips to 48 of her friends in april; how many did she sell in may"),
            row(2, "Natalia sold clips to 49 of her friends in June. How many did she sell in May?"),
            row(3, "请把下面这段关于春天的文字改写成一首五言律诗"),
            row(4, "Name a river that crosses a border."),
        ],
    )
    one = step(tmp_path, {source: 1.0}, against=(bench,))
    _, summary, said = mixed(one)
    assert said == ["Name a river that crosses a border."]
    assert summary.falls.rejected == {"contaminated": 3}
    details = [json.loads(line)["detail"] for line in (one.folder / "rejected.jsonl").read_text().splitlines()]
    assert "exact to bench.jsonl:" in details[0]
    assert "rouge-l to bench.jsonl:" in details[1]


def test_exactly_so_many_rows_by_the_shares(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [row(n) for n in range(60)])
    b = write(tmp_path / "b.jsonl", [row(n) for n in range(100, 120)])
    code, summary, said = mixed(step(tmp_path, {a: 0.5, b: 0.5}, count=20))
    first = {row(n)["instruction"] for n in range(60)}
    assert (code, len(said), sum(text in first for text in said)) == (0, 20, 15)
    assert summary.falls.rejected == {"surplus": 20}
    code, summary, said = mixed(step(tmp_path, {a: 0.5, b: 0.5}, count=41))
    assert (code, len(said)) == (7, 40)


@pytest.mark.parametrize(
    ("count", "weights", "most", "expected"),
    [
        (10, [1, 1], [9, 9], [5, 5]),
        (10, [3, 1], [9, 9], [8, 2]),
        (10, [1, 1, 1], [9, 9, 9], [4, 3, 3]),
        (10, [9, 1], [2, 9], [2, 8]),
        (10, [1, 1], [2, 3], [2, 3]),
        (0, [1], [1], [0]),
        (5, [1, 1], [0, 9], [0, 5]),
    ],
)
def test_quotas(count: int, weights: list[int], most: list[int], expected: list[int]) -> None:
    assert shares_of(count, weights, most) == expected


def test_a_mix_is_done_once_and_again_when_its_source_or_its_rules_change(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [row(n) for n in range(5)] + [row(1)])
    one = step(tmp_path, {source: 1.0})
    assert Mixing(one, lambda _: None).work()[2] is False
    assert Mixing(one, lambda _: None).work()[2] is True
    assert Mixing(replace(one, dedup=("exact",)), lambda _: None).work()[2] is False
    before = (one.folder / "samples.jsonl").read_bytes()
    write(tmp_path / "a.jsonl", [row(n) for n in range(6)])
    assert Mixing(replace(one, dedup=("exact",)), lambda _: None).work()[2] is False
    assert (one.folder / "samples.jsonl").read_bytes() != before


def test_a_mix_that_was_killed_while_it_decided_is_made_anew(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [row(n) for n in range(5)])
    one = step(tmp_path, {source: 1.0})
    Mixing(one, lambda _: None).work()
    whole = (one.folder / "samples.jsonl").read_bytes()
    with closing(sqlite3.connect(one.folder / "run.sqlite", isolation_level=None)) as db:
        db.execute("update meta set value = 0 where name = 'mixed'")
        db.execute("delete from sample where place > 2")
    assert Mixing(one, lambda _: None).work()[2] is False
    assert (one.folder / "samples.jsonl").read_bytes() == whole


def test_every_command_reads_a_mix_as_a_run(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [row(0), row(1), row(1)])
    text = "steps: [{id: m, mix: {a.jsonl: 1.0}, dedup: [exact], export: {messages: out/m.jsonl, alpaca: out/a.jsonl}}]"
    (tmp_path / "job.yaml").write_text(text)
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "runs/job; out/m.jsonl, out/a.jsonl" in done.stdout
    assert [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()] == [row(0), row(1)]
    assert "2 of all accepted" in synthgen("status", "runs/job/m", cwd=tmp_path).stdout
    assert "duplicate" in synthgen("show", "runs/job/m", "--rejected", cwd=tmp_path).stdout
    assert "2 rows" in synthgen("export", "runs/job/m", "--to", "sharegpt", "-o", "s.jsonl", cwd=tmp_path).stdout
    about = json.loads((tmp_path / "runs" / "job" / "m" / "run.json").read_text())
    assert about["sources"] == {"a.jsonl": {"rows": 3, "drawn": 3, "share": "1", "most": None, "unread": 0}}


def test_a_benchmark_of_the_hub_keeps_its_rows_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = row(1)["instruction"]
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda name: ["default"])
    monkeypatch.setattr(
        "datasets.load_dataset", lambda name, *_, **__: {"test": [{"question": said}] if name == "some/bench" else []}
    )
    write(tmp_path / "a.jsonl", [row(1), row(2)])
    text = "steps: [{id: m, mix: {a.jsonl: 1}, decontaminate: ['hf:some/bench:test']}]"
    (tmp_path / "job.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    (one,) = read_job(Path("job.yaml"), _Options(), ()).steps
    assert isinstance(one, MixStep)
    assert mixed(one)[2] == [row(2)["instruction"]]


def test_a_benchmark_row_inside_a_longer_turn_is_named_with_what_matched(tmp_path: Path) -> None:
    asked = "Natalia sold clips to 48 of her friends in April. How many did she sell in May?"
    bench = write(tmp_path / "bench.jsonl", [{"turns": ["Write about a trip to Hawaii.", asked]}])
    source = write(tmp_path / "a.jsonl", [row(1), row(2, f"Think first, then solve this: {asked} Show every step.")])
    one = step(tmp_path, {source: 1.0}, against=(bench,))
    assert mixed(one)[2] == [row(1)["instruction"]]
    (rejected,) = [json.loads(line) for line in (one.folder / "rejected.jsonl").read_text().splitlines()]
    assert rejected["task"] == "a:2"
    assert rejected["detail"] == f"17 tokens in a row, 100% of bench.jsonl:1: {asked.removesuffix('?')}"
    write(tmp_path / "bench.jsonl", [{"problem": "Something else"}])  # another benchmark: decided anew
    assert len(mixed(one)[2]) == 2
