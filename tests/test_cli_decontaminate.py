"""`synthgen decontaminate`: what is met and where, what stays as it stood, and that nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command import environment, lines, result, synthgen, write_rows

from synthgen.cleaning.benchmarks import questions
from synthgen.cli.decontaminate import _spread
from synthgen.dedup import words

Result = subprocess.CompletedProcess[str]

CLIPS = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips?"
ZH = "小明在四月份卖给四十八个朋友发夹，五月份卖出的数量是四月份的一半，请问他一共卖出多少个发夹？"
BENCH = [
    {"question": CLIPS, "answer": "72"},
    {"turns": ["Compose a travel blog post about a recent trip to Hawaii.", "Start every sentence with the letter A."]},
    {"instruction": "把下面的应用题翻译成英文", "input": ZH},
]
ROWS = [
    {"instruction": "Name three rivers that cross a border.", "output": "Rhine"},
    {"instruction": "Solve this, step by step:", "input": f"«{CLIPS}» And now?", "output": "72 clips"},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": CLIPS},
                  {"role": "user", "content": "start every sentence with the letter a"}]},
    {"text": f"请认真阅读：{ZH}然后回答。"},
    {"instruction": "Describe how bees make honey."},
]  # fmt: skip


def evidence(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(folder / "contaminated.jsonl")]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    write_rows(tmp_path / "train.jsonl", ROWS)
    write_rows(tmp_path / "bench.jsonl", BENCH)
    return lambda *args: synthgen("decontaminate", *args, cwd=tmp_path)


def test_rows_that_are_met_go_and_leave_evidence(run: Callable[..., Result], tmp_path: Path) -> None:
    found = result(run("train.jsonl", "--against", "bench.jsonl", "-o", "out/clean.jsonl", "--json"))
    before = lines(tmp_path / "train.jsonl")
    assert lines(tmp_path / "out" / "clean.jsonl") == [before[0], before[4]]
    told = evidence(tmp_path / "out")
    assert [(e["row"], e["benchmark"], e["benchmark_row"], e["by"]) for e in told] == [
        ("train.jsonl:2", "bench.jsonl", "1", "run"),
        ("train.jsonl:3", "bench.jsonl", "2", "exact"),
        ("train.jsonl:4", "bench.jsonl", "3", "run"),
    ]
    assert told[0] == {
        "row": "train.jsonl:2", "column": "prompts", "benchmark": "bench.jsonl", "benchmark_row": "1",
        "by": "run", "run": 23, "cover": 1.0, "score": 1.0, "span": CLIPS.removesuffix("?"),
    }  # fmt: skip
    assert told[2]["span"] == ZH.removesuffix("？")
    met = found.pop("benchmarks")
    assert met == {
        "bench.jsonl": {
            "rows": 3, "rows_hit": 3, "share": 1.0, "contaminated": True, "training_rows": 3, "examples": told,
        }
    }  # fmt: skip
    assert found == {
        "event": "result", "out": "out/clean.jsonl", "rows": 5, "kept": 2, "contaminated_rows": 3, "common": [],
        "passes": 2, "short_answers": 0, "without_text": 0, "unreadable": 0,
    }  # fmt: skip


def test_without_out_nothing_is_written_and_strict_exits_1(run: Callable[..., Result], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    done = run("train.jsonl", "--against", "bench.jsonl")
    assert done.returncode == 0
    assert sorted(tmp_path.iterdir()) == before
    said = done.stdout.splitlines()
    assert len(said) <= 25
    assert said[0] == "5 rows, 3 contaminated, 2 clean"
    assert said[2].split() == ["bench.jsonl", "3", "3", "100.0%", "3", "contaminated"]
    assert f"  train.jsonl:2: 23 tokens in a row, 100% of bench.jsonl:1: {CLIPS}".removesuffix("?") in said
    assert said[-1] == "next: synthgen decontaminate train.jsonl --against bench.jsonl -o OUT"
    assert run("train.jsonl", "--against", "bench.jsonl", "--strict").returncode == 1
    write_rows(tmp_path / "clean.jsonl", [ROWS[0], ROWS[4]])
    assert run("clean.jsonl", "--against", "bench.jsonl", "--strict").returncode == 0
    assert run("train.jsonl", "--against", "bench.jsonl", "--strict", "-o", "out.jsonl").returncode == 1
    assert lines(tmp_path / "out.jsonl") == lines(tmp_path / "clean.jsonl")


@pytest.mark.parametrize(
    ("args", "spread"),
    [
        ("f --against a b -o x", "f --against a --against b -o x"),
        ("f g --against a b --strict", "f g --against a --against b --strict"),
        ("--against a f -o x", "--against a f -o x"),
        ("-o x --against a f --against b c", "-o x --against a f --against b --against c"),
        ("f --against=a g", "f --against=a g"),
        ("f --against a --strict g", "f --against a --strict g"),
        ("f --against a -- g", "f --against a -- g"),
    ],
)
def test_against_takes_one_or_several(args: str, spread: str) -> None:
    assert list(_spread(args.split(), "--against", {"--against", "-o", "--out"})) == spread.split()


def test_several_benchmarks_in_both_spellings(run: Callable[..., Result], tmp_path: Path) -> None:
    write_rows(
        tmp_path / "more.jsonl", [{"prompt": "Describe how bees make honey"}, *({"prompt": f"p{n}"} for n in range(60))]
    )
    one = result(run("train.jsonl", "--against", "bench.jsonl", "more.jsonl", "--json"))
    two = result(run("--against", "bench.jsonl", "--against", "more.jsonl", "train.jsonl", "--json"))
    assert one == two
    assert {name: (b["rows_hit"], b["contaminated"]) for name, b in one["benchmarks"].items()} == {
        "bench.jsonl": (3, True),
        "more.jsonl": (1, False),
    }


def test_answers_are_held_against_answers(run: Callable[..., Result], tmp_path: Path) -> None:
    long = " ".join(f"step{n} is done" for n in range(20))
    write_rows(
        tmp_path / "b.jsonl",
        [{"question": "Why is that so, and how?", "answer": long}, {"question": "x", "answer": "18"}],
    )
    rows = [{"prompt": "a", "output": f"So: {long}."}, {"prompt": "b", "output": "18"}, {"prompt": "x", "output": "y"}]
    write_rows(tmp_path / "t.jsonl", rows)
    found = result(run("t.jsonl", "--against", "b.jsonl", "--columns", "prompts,answers", "-o", "c.jsonl", "--json"))
    assert [(e["row"], e["column"], e["benchmark_row"]) for e in evidence(tmp_path)] == [
        ("t.jsonl:1", "answers", "1"),
        ("t.jsonl:3", "prompts", "2"),
    ]
    assert found["short_answers"] == 1
    assert result(run("t.jsonl", "--against", "b.jsonl", "--json"))["contaminated_rows"] == 1
    assert (
        "1 answers of the benchmarks are too short"
        in run("t.jsonl", "--against", "b.jsonl", "--columns", "answers").stderr
    )


def test_what_many_rows_share_is_told_and_no_evidence(run: Callable[..., Result], tmp_path: Path) -> None:
    prefix = "Below is an instruction that describes a task, write a response that completes the request."
    write_rows(tmp_path / "b.jsonl", [{"prompt": f"{prefix} Count the trees."}])
    write_rows(
        tmp_path / "t.jsonl",
        [{"prompt": f"{prefix} Task {n}: {' '.join(f'w{n}{m}' for m in range(30))}"} for n in range(12)],
    )
    done = run("t.jsonl", "--against", "b.jsonl", "--json")
    found = result(done)
    assert found["contaminated_rows"] == 0
    assert found["common"] == [{"text": prefix.removesuffix("."), "rows": 12}]
    assert any("1 stretches stand in many rows" in line for line in done.stdout.splitlines()[:-1])


def test_rows_that_cannot_be_checked_stay_and_are_told(run: Callable[..., Result], tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    source.write_bytes(
        b'{"body": "no prompt"}\r\n'
        b"not json at all\n"
        b'{"question": "start every sentence with the letter A"}\n'
        b'{"question": ""}\n'
        b'{"question": null}\n'
        b'{"question": "\xd6\xd0"}\n'
        b'{"question": 5}'
    )
    done = run("t.jsonl", "--against", "bench.jsonl", "-o", "c.jsonl")
    assert done.returncode == 0, done.stderr
    rows = source.read_bytes().splitlines(keepends=True)
    assert (tmp_path / "c.jsonl").read_bytes() == b"".join(rows[n] for n in range(7) if n != 2)
    assert "3 rows without text to check, kept as they are, the first: t.jsonl:1" in done.stderr
    assert "2 rows that cannot be read, kept as they are, the first: t.jsonl:2: not JSON" in done.stderr


@pytest.mark.parametrize("suffix", [".json", ".csv", ".tsv", ".parquet"])
def test_each_kind_comes_out_as_it_went_in(run: Callable[..., Result], tmp_path: Path, suffix: str) -> None:
    texts = ["How many legs has a spider, and why?", CLIPS, 'Quote "this", please', ZH]
    path, out = tmp_path / f"t{suffix}", tmp_path / f"c{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps([{"question": text, "n": n} for n, text in enumerate(texts)], indent=1))
    elif suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"question": texts, "n": pa.array(range(4), pa.int16())}), path)
    else:
        cut = "," if suffix == ".csv" else "\t"
        rows = ['"' + text.replace('"', '""') + f'"{cut}{n}' for n, text in enumerate(texts)]
        path.write_text("\n".join([f"question{cut}n", *rows]) + "\n", encoding="utf-8")
    found = result(run(path.name, "--against", "bench.jsonl", "-o", out.name, "--json"))
    assert (found["rows"], found["kept"]) == (4, 2)
    if suffix == ".json":
        assert json.loads(out.read_text()) == [{"question": texts[n], "n": n} for n in (0, 2)]
    elif suffix == ".parquet":
        assert pq.read_table(out).equals(pq.read_table(path).take([0, 2]))
    else:
        before = path.read_text(encoding="utf-8").splitlines()
        assert out.read_text(encoding="utf-8").splitlines() == [before[0], before[1], before[3]]
    assert [e["row"] for e in evidence(tmp_path)] == [
        f"t{suffix}:{n}" for n in {".json": (6, 14), ".parquet": (2, 4)}.get(suffix, (3, 5))
    ]


def test_a_folder_of_benchmarks_and_files_of_one_name(run: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "test.jsonl", BENCH)
    (tmp_path / "b" / "other.csv").write_text("Problem,id\nName three rivers that cross a border,7\n")
    found = result(run("train.jsonl", "--against", "b", "c", "--json"))
    assert {name: b["rows_hit"] for name, b in found["benchmarks"].items()} == {
        "other.csv": 1,
        "b/test.jsonl": 3,
        "c/test.jsonl": 3,
    }
    assert found["benchmarks"]["other.csv"]["examples"][0]["benchmark_row"] == "2"


def test_rows_of_a_benchmark_on_one_line_are_told_apart(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(BENCH))
    met = result(run("train.jsonl", "--against", "bench.json", "--json"))["benchmarks"]["bench.json"]
    assert (met["rows"], met["rows_hit"]) == (3, 3)
    assert [one["benchmark_row"] for one in met["examples"]] == ["1", "1#2", "1#3"]


@pytest.mark.parametrize("place", ["made", "made/", "./made"])
def test_a_run_is_a_benchmark_however_it_is_spelled(run: Callable[..., Result], tmp_path: Path, place: str) -> None:
    made = synthgen("generate", "alpaca", "--count", "2", "--out", "made", "--quiet", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    found = result(run("made/alpaca.jsonl", "--against", place, "--json"))
    assert found["benchmarks"] == {"made": found["benchmarks"]["made"]}
    assert found["benchmarks"]["made"]["rows_hit"] == 2


def test_questions_by_the_names_that_benchmarks_give_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"Question": "a b"}, {"problem": "a b", "level": "5"}, {"ctx": "a b"}, {"messages": [{"role": "user", "content": "a b"}]},
        {"instruction": "a", "input": "b"}, {"conversations": '[{"from": "human", "value": "a b"}]'},
        {"instruction": "b", "history": [["a", "x"]]},
    ]  # fmt: skip
    said = [list(one.said["prompts"]) for one in questions([str(write_rows(tmp_path / "b.jsonl", rows))])]
    assert said == [["a b"]] * 4 + [["a\nb"], ["a b"], ["a", "b"]]


def test_a_benchmark_is_not_overwritten_by_evidence(run: Callable[..., Result], tmp_path: Path) -> None:
    result(run("train.jsonl", "--against", "bench.jsonl", "-o", "b.jsonl", "--json"))
    before = evidence(tmp_path)
    done = run("train.jsonl", "--against", "contaminated.jsonl", "-o", "b.jsonl")
    assert done.returncode == 2
    assert "contaminated.jsonl: is read, and the evidence gets this name" in done.stderr
    assert evidence(tmp_path) == before


def test_rows_of_a_benchmark_on_one_line_are_counted_each(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"text": CLIPS}, {"text": ZH}])
    (tmp_path / "bench.json").write_text(json.dumps([{"question": CLIPS}, {"question": ZH}, {"question": "else?"}]))
    done = synthgen("decontaminate", "train.jsonl", "--against", "bench.json", "-o", "b.jsonl", "--json", cwd=tmp_path)
    assert result(done)["benchmarks"]["bench.json"]["rows_hit"] == 2
    assert [row["benchmark_row"] for row in evidence(tmp_path)] == ["1", "1#2"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no benchmark: name its file with --against (none is bundled)"),
        (["--against", "bnch.jsonl"], "bnch.jsonl: no such file; did you mean bench.jsonl?"),
        (["--against", "bench.jsonl", "bench.jsonl"], "bench.jsonl: given twice as a benchmark"),
        (["--against", "bench.jsonl", "train.jsonl"], "train.jsonl: would be held against itself"),
        (["--against", "bad.jsonl"], "bad.jsonl:2: no prompt (columns: a)"),
        (["--against", "cut.jsonl"], "cut.jsonl:1: not JSON"),
        (["--against", "bench.jsonl", "-o", "train.jsonl"], "train.jsonl: is the file that is read"),
        (["--against", "bench.jsonl", "-o", "bench.jsonl"], "bench.jsonl: is a benchmark; give another -o"),
        (
            ["--against", "old/contaminated.jsonl", "-o", "old/c.jsonl"],
            "contaminated.jsonl: is read, and the evidence gets this name",
        ),
        (["--against", "bench.jsonl", "-o", "c.csv"], "c.csv: must end in .jsonl"),
        (["--against", "bench.jsonl", "-o", "contaminated.jsonl"], "the evidence gets this name"),
        (
            ["--against", "bench.jsonl", "--field", "txt"],
            "train.jsonl:1: no row has the column 'txt'; did you mean text?",
        ),
        (["--against", "bench.jsonl", "--columns", "prompt"], "'prompt' is neither prompts nor answers"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_all_as_it_was(
    run: Callable[..., Result], tmp_path: Path, args: list[str], said: str
) -> None:
    write_rows(tmp_path / "bad.jsonl", [BENCH[0], {"a": 1}])
    (tmp_path / "cut.jsonl").write_text('{"question": "wh')
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "contaminated.jsonl").write_text('{"row":"a.jsonl:1","text":"What is asked?"}\n')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    done = run("train.jsonl", *args, *([] if "-o" in args else ["-o", "out.jsonl"]))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_all_as_it_was(
    run: Callable[..., Result], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    rng = Random(0)
    vocabulary = [f"w{n}" for n in range(3000)]
    texts = [" ".join(rng.choices(vocabulary, k=60)) for _ in range(60_000)]
    write_rows(
        tmp_path / "t.jsonl", [{"text": f"{CLIPS} {n}"} for n in range(600)] + [{"text": text} for text in texts]
    )
    write_rows(tmp_path / "b.jsonl", [{"question": CLIPS}])
    (tmp_path / "c.jsonl").write_text("what was there\n")
    command = [sys.executable, "-m", "synthgen", "decontaminate", "t.jsonl", "--against", "b.jsonl", "-o", "c.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        while not any(path.stat().st_size for path in tmp_path.glob(".*.tmp")):  # evidence; seconds of work are left
            assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert "nothing was written" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "b.jsonl",
        "bench.jsonl",
        "c.jsonl",
        "t.jsonl",
        "train.jsonl",
    ]
    assert (tmp_path / "c.jsonl").read_text() == "what was there\n"


def test_gsm8k_train_against_its_test_set(shared_data: Path, tmp_path: Path) -> None:
    names = ["gsm8k_test.jsonl", "mtbench_question.jsonl"]
    against = [shared_data / name for name in names]
    done = synthgen(
        "decontaminate",
        shared_data / "gsm8k_train.jsonl",
        "--against",
        *against,
        "-o",
        "clean.jsonl",
        "--json",
        cwd=tmp_path,
    )
    found = result(done)
    met = found["benchmarks"]
    assert [(met[name]["rows"], met[name]["contaminated"]) for name in names] == [(1319, False), (80, False)]
    # Six rows of the training set retell a question of the test set with other names and numbers.
    assert [e["benchmark_row"] for e in evidence(tmp_path)] == ["633", "582", "603", "449", "825", "603"]
    before = lines(shared_data / "gsm8k_train.jsonl")
    dropped = {int(e["row"].rpartition(":")[2]) for e in evidence(tmp_path)}
    for one in evidence(tmp_path):
        assert one["span"] in json.loads(before[int(one["row"].rpartition(":")[2]) - 1])["question"]
    assert lines(tmp_path / "clean.jsonl") == [line for n, line in enumerate(before, 1) if n not in dropped]


def test_planted_leaks_are_found(shared_data: Path, tmp_path: Path) -> None:
    rng = Random(0)
    train = [json.loads(line)["question"] for line in lines(shared_data / "gsm8k_train.jsonl")]
    rows = [json.loads(line)["question"] for line in lines(shared_data / "gsm8k_test.jsonl")]
    zh = [row["instruction"] for row in json.loads((shared_data / "lf_alpaca_zh_demo.json").read_text("utf-8"))]
    zh = [text for text in dict.fromkeys(zh) if len(words(text)) >= 10]  # shorter ones are compared as wholes
    vocabulary = " ".join(train).split()

    def tenth(text: str) -> str:
        said = text.split()
        said[9::10] = [rng.choice(vocabulary) for _ in said[9::10]]
        return " ".join(said)

    leaks = {
        "verbatim": (1.0, rows, list(rows)),
        "tenth": (0.9, rows, [tenth(text) for text in rows]),
        "inside": (1.0, rows, [f"{rng.choice(train)}\n{text} {rng.choice(train)}" for text in rows]),
        "chinese": (1.0, zh, list(zh)),
        "chinese-inside": (1.0, zh, [f"请回答下面的问题。{text}请详细说明理由，谢谢！" for text in zh]),
    }
    for name, (least, against, texts) in leaks.items():
        write_rows(tmp_path / "b.jsonl", [{"question": text} for text in against])
        write_rows(tmp_path / "t.jsonl", [{"prompt": text} for text in texts])
        result(synthgen("decontaminate", "t.jsonl", "--against", "b.jsonl", "-o", "c.jsonl", "--json", cwd=tmp_path))
        met = {(e["row"].rpartition(":")[2], e["benchmark_row"]) for e in evidence(tmp_path)}
        found = sum((str(n), str(n)) in met for n in range(1, len(texts) + 1)) / len(texts)
        assert found >= least, name
