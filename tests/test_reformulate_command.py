"""`synthgen generate reformulate` on a scripted server: planted contradictions, the question of the field, bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, lines, result, synthgen, write_rows
from faulty import Faulty
from test_durability import Fake, serving

from synthgen.formats import read_samples

THREE = "学术论文-科研人员;对话体-老年人;教科书-中学生"
# What a judge says that finds nothing wrong: then the rules alone decide.
CONTENT = [
    {"match": r'"contradicts"', "answer": '{"analysis": "all agree", "contradicts": "no"}'},
    {"match": r'"fits"', "answer": '{"analysis": "it does", "fits": "yes"}'},
    {"match": r'"score"', "answer": '{"analysis": "the same points", "score": 4}'},
]
PLANTED = [json.loads(line) for line in lines(ROOT / "tests" / "data" / "contradictions.jsonl")]


def asked(number: int, row: dict[str, Any]) -> str:
    return f"Tell of it, number {number}." if row["lang"] == "en" else f"请讲一讲第{number}件事。"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fake]:
    rules = [
        {"match": f"<question>\n{re.escape(asked(n, row))}\n", "answer": row["rewrite"].replace("\\", r"\\")}
        for n, row in enumerate(PLANTED)
    ]
    script = tmp_path_factory.mktemp("script") / "rules.json"
    script.write_text(json.dumps(rules + CONTENT), encoding="utf-8")
    with serving("--script", str(script)) as server:
        yield server


def generate(server: Fake | Faulty, *more: str | Path, cwd: Path) -> Any:
    return synthgen("generate", "reformulate", "--base-url", server.base_url, "--json", *more, cwd=cwd)


def rejected(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(run / "rejected.jsonl")]


def test_planted_contradictions_are_found_and_faithful_answers_pass(planted: Fake, tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}-{row['kind']}", "instruction": asked(n, row), "output": row["reference"]}
        for n, row in enumerate(PLANTED)
    ]
    write_rows(tmp_path / "q.jsonl", rows)
    found = result(generate(planted, "--input", "q.jsonl", "--set", "pairs=Ode-Toasters", "--out", "run", cwd=tmp_path))
    assert found["candidates"] == len(PLANTED) == 100
    told: dict[str, str] = {}
    for row in rejected(tmp_path / "run"):
        assert row["reason"] == "contradiction", row
        told[row["sample"]["meta"]["parents"][0]] = row["detail"]
    right = [
        r for r in rows if not r["id"].endswith("None") and told.get(r["id"], "").startswith(r["id"].partition("-")[2])
    ]
    assert len(right) >= 38, f"{len(right)} of 40 with the right kind"
    faithful = [r for r in rows if r["id"].endswith("None") and r["id"] not in told]
    assert len(faithful) >= 57, f"{len(faithful)} of 60 pass"


def test_the_question_of_the_field_from_the_command_to_the_files(server: Faulty, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "q.jsonl",
        [{"instruction": "什么是大模型", "output": "大模型是参数很多的神经网络，用海量文字训练而成，能够写作和对话。"}],
    )
    found = result(
        generate(server, "--input", "q.jsonl", "--set", f"pairs={THREE}", "--set", "keep=1", "--set", "style_check=false",
                 "--set", "contradictions=none", "--set", "copied=1", "--set", "novelty_cjk=1", "--out", "run", cwd=tmp_path)
    )  # fmt: skip
    assert found["lang"] == "zh"
    if found["accepted"] != 3:
        pytest.fail(f"not all three: {rejected(tmp_path / 'run')}")
    alpaca = [json.loads(line) for line in lines(tmp_path / "run" / "alpaca.jsonl")]
    sharegpt = [json.loads(line) for line in lines(tmp_path / "run" / "sharegpt.jsonl")]
    for rows in (alpaca, sharegpt):
        for row, audience, genre in zip(
            rows, ("科研人员", "老年人", "中学生"), ("学术论文", "对话体", "教科书"), strict=True
        ):
            assert f"受众回答：{audience}：" in row["system"]
            assert f"体裁：{genre}：" in row["system"]
    assert {row["instruction"] for row in alpaca} == {"什么是大模型"}
    assert [[turn["from"] for turn in row["conversations"]] for row in sharegpt] == [["human", "gpt"]] * 3
    for name in ("alpaca.jsonl", "sharegpt.jsonl"):
        assert synthgen("validate", tmp_path / "run" / name, cwd=tmp_path).returncode == 0
        assert len(list(read_samples(tmp_path / "run" / name))) == 3


def test_a_run_is_an_input_and_its_answers_are_references(server: Faulty, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", [{"id": f"p{n}", "prompt": f"Why do bees of hive {n} dance?"} for n in range(4)])
    first = synthgen(
        "generate", "respond", "--input", "p.jsonl", "--base-url", server.base_url, "--out", "one", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    found = result(
        generate(
            server,
            "--input",
            "one",
            "--set",
            "pairs=library:2",
            "--format",
            "samples,alpaca",
            "--out",
            "two",
            cwd=tmp_path,
        )
    )
    assert found["candidates"] == 8
    rows = list(read_samples(tmp_path / "two" / "samples.jsonl"))
    answers = {s.messages[-1].content for s in read_samples(tmp_path / "one" / "alpaca.jsonl")}
    assert {s.reference for s in rows} <= answers
    assert rows


# Bad input: one line each, exit 2, nothing written.
DOCUMENTS = ROOT / "examples" / "documents" / "en"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--documents", str(DOCUMENTS), "--set", "pairs=学术论文科研人员"), "'学术论文科研人员' is no pair"),
        (("--documents", str(DOCUMENTS), "--set", "pairs=libary"), "did you mean library?"),
        (("--documents", str(DOCUMENTS), "--set", "pairs=Comic strip-Nurses"), "is not text alone"),
        (("--documents", str(DOCUMENTS), "--set", "pairs=missing.jsonl"), "no such file"),
        (("--documents", str(DOCUMENTS), "--set", "pair=3"), "did you mean pairs?"),
        (("--documents", str(DOCUMENTS), "--set", "strictness=lax"), "one of strict, base, relaxed"),
        (("--documents", str(DOCUMENTS), "--set", "as=sft"), "one of text, instruction"),
        (("--documents", str(DOCUMENTS), "--set", "keep=6"), "out of range"),
        (("--documents", "nowhere"), "no such file"),
        ((), "give --documents PATH or --input FILE|RUN"),
        (("--documents", str(DOCUMENTS), "--input", "q.jsonl"), "not on both at once"),
        (("--seeds", "en"), "--seeds en: reformulate works on documents or prompts"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_asked(
    more: tuple[str, ...], said: str, server: Faulty, tmp_path: Path
) -> None:
    write_rows(tmp_path / "q.jsonl", [{"instruction": "Why?"}])
    done = synthgen("generate", "reformulate", "--base-url", server.base_url, *more, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    faults = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(faults) == 1, done.stderr
    assert said in faults[0]
    assert not (tmp_path / "runs").exists()
    assert not server.bodies


def test_without_a_judge_the_model_judges_itself_and_a_line_says_so(server: Faulty, tmp_path: Path) -> None:
    base = ("generate", "reformulate", "--base-url", server.base_url)
    done = synthgen(*base, "--documents", DOCUMENTS / "glass.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "judges its own answers" in done.stderr
    assert "--judge-model names another judge" in done.stderr


def test_a_judge_of_its_own_is_asked_to_judge(server: Faulty, planted: Fake, tmp_path: Path) -> None:
    before = planted.asked().total()
    done = generate(server, "--documents", DOCUMENTS / "glass.txt", "--judge-base-url", planted.base_url, "--judge-model", "fake",
                    "--out", "run", "--set", "pairs=library:3", cwd=tmp_path)  # fmt: skip
    found = result(done)
    judged = planted.settled().total() - before
    assert judged + len(server.bodies) == found["requests"]
    assert len(server.bodies) == 3
    assert judged == found["accepted"] + found["rejected"].get("novelty", 0)


def test_documents_that_are_none_cost_themselves_alone(server: Faulty, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    good = (DOCUMENTS / "glass.txt").read_text(encoding="utf-8")
    (docs / "a-good.txt").write_text(good, encoding="utf-8")
    (docs / "b-empty.txt").write_text("")
    (docs / "c-binary.txt").write_bytes(bytes(range(256)) * 40)
    (docs / "d-empty.html").write_text("<html><head><style>p {}</style></head><body></body></html>")
    (docs / "e-gbk.txt").write_bytes(
        (ROOT / "examples/documents/zh/compass.txt").read_text(encoding="utf-8").encode("gbk")
    )
    (docs / "f-short.md").write_text("Too short.")
    found = result(
        generate(server, "--documents", docs, "--lang", "en", "--set", "pairs=library:2", "--out", "run", cwd=tmp_path)
    )
    told = {r["task"]: r["reason"] for r in rejected(tmp_path / "run") if r["reason"].startswith("document: ")}
    assert len(told) == 4, told
    assert found["candidates"] == 4 + 4  # two documents with two pairs each, and four that are none
    sources = {
        s["meta"]["source"]["where"].rpartition("/")[2]
        for s in (
            row["sample"] for row in result(synthgen("show", "run", "--json", "-n", "9", cwd=tmp_path))["samples"]
        )
    }
    assert sources <= {"a-good.txt", "e-gbk.txt"}


def test_a_dry_run_shows_the_first_prompt_and_counts_every_kind_of_request(server: Faulty, tmp_path: Path) -> None:
    done = generate(server, "--documents", DOCUMENTS, "--dry-run", cwd=tmp_path)
    said = result(done)
    assert "audience_5" in said["prompt"][-1]["content"]
    tasks = said["estimate"]["tasks"]
    used = said["estimate"]["requests"][1] / 11
    assert 1 <= used <= tasks
    assert said["estimate"]["requests"][1] % 11 == 0  # a request for pairs, five rewrites, five judgements
    assert not server.bodies


def job(server: Faulty, documents: Path, folder: Path) -> Path:
    """A job as examples/pretrain.yaml is one, on a server."""
    path = folder / "job.yaml"
    path.write_text(
        f"""
name: pretrain
seed: 7
models: {{default: {{model: fake, base_url: {server.base_url}}}}}
steps:
  - {{id: rewrites, recipe: reformulate, documents: {documents}, lang: en, set: {{pairs: "library:2"}}}}
  - id: train
    mix: {{{documents}: 1.0, rewrites: 0.5}}
    dedup: [exact]
    export: {{text: train.jsonl}}
""",
        encoding="utf-8",
    )
    return path


def test_a_job_mixes_rewrites_with_their_originals(server: Faulty, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("glass.txt", "tides.md", "lighthouses.txt"):
        (docs / name).write_text((DOCUMENTS / name).read_text(encoding="utf-8"), encoding="utf-8")
    (docs / "broken.txt").write_bytes(bytes(range(256)) * 40)
    done = synthgen("run", job(server, docs, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["text"] for line in lines(tmp_path / "train.jsonl")]
    samples = list(read_samples(tmp_path / "runs/pretrain/train/samples.jsonl"))
    originals = [s for s in samples if "genre" not in s.meta]
    assert len(originals) == 3
    assert {s.meta["source"]["where"].rpartition("/")[2] for s in originals} == {
        "glass.txt",
        "tides.md",
        "lighthouses.txt",
    }
    accepted = json.loads((tmp_path / "runs/pretrain/rewrites/report.json").read_text())["accepted"]
    assert len(rows) == 3 + int(accepted / 2 + 0.5)
    assert [r["reason"] for r in rejected(tmp_path / "runs/pretrain/train") if "broken" in r["task"]] == ["unreadable"]
    before = (tmp_path / "train.jsonl").read_bytes()
    again = synthgen("run", job(server, docs, tmp_path), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "train.jsonl").read_bytes() == before


def test_the_example_job_is_sound(tmp_path: Path) -> None:
    """All that can be wrong with a job is found before its first request."""
    text = (ROOT / "examples" / "pretrain.yaml").read_text(encoding="utf-8").replace("examples/", f"{ROOT}/examples/")
    (tmp_path / "job.yaml").write_text(
        text.replace("name: pretrain", "name: pretrain\nbudget: {tokens: 1}"), encoding="utf-8"
    )
    done = synthgen("run", "job.yaml", cwd=tmp_path, timeout=120)
    assert done.returncode == 6, done.stderr  # it began, and was stopped before it asked anything
    assert "english" in done.stdout + done.stderr
