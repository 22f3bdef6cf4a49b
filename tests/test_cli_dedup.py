"""`synthgen dedup`: what is dropped and why, what stays as it stood, and that nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command import environment, lines, result, synthgen, write_rows
from edits import edited

Result = subprocess.CompletedProcess[str]


def evidence(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(folder / "duplicates.jsonl")]


ROWS = [
    {"instruction": "Name three rivers that cross a border.", "input": "", "output": "Rhine, Danube, Nile"},
    {"instruction": "Turn the sentence into a question.", "input": "Bees make honey.", "output": "Do bees make honey?"},
    {"instruction": "name three rivers that cross a border", "input": "", "output": "Rhine, Danube, Nile."},
    {"instruction": "Name three rivers that cross a border.", "input": "", "output": "Oder, Elbe, Mekong"},
    {"instruction": "Turn the sentence into a question.", "input": "It rains.", "output": "Does it rain?"},
    {"instruction": "Name three large rivers that cross a border.", "input": "", "output": "Rhine, Danube, Nile"},
    {"instruction": "请用简单的语言解释为什么天空看起来是蓝色的。", "input": "", "output": "瑞利散射。"},
    {"instruction": "请用简单的语言解释为什么天空看起来是蓝的", "input": "", "output": "因为散射。"},
]


def test_a_bad_answer_stays_beside_the_good_one(tmp_path: Path) -> None:
    """Two rows of KTO about one prompt are no copies of each other, unless they say the same."""
    asked, good = {"prompt": "Name three rivers that cross a border."}, {"completion": "Rhine, Danube", "label": True}
    bad = {"completion": "Thames", "label": False}
    rows = [asked | good, asked | bad, asked | bad, {"prompt": "How do bees make honey?"} | good, asked | good]
    source, out = write_rows(tmp_path / "k.jsonl", rows), tmp_path / "out.jsonl"
    found = result(synthgen("dedup", source, "-o", out, "--json", cwd=tmp_path))
    before = lines(source)
    assert lines(out) == [before[n] for n in (0, 1, 3)]
    assert found["dropped"] == {"exact": 2}


def test_levels_and_their_evidence(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "out" / "b.jsonl"  # the folder is made
    found = result(synthgen("dedup", source, "-o", out, "--json", cwd=tmp_path))
    before = lines(source)
    assert lines(out) == [before[n] for n in (0, 1, 4, 6)]
    assert found == {
        "event": "result", "out": str(out), "method": ["exact", "rouge"], "rows": 8, "kept": 4,
        "dropped": {"exact": 2, "rouge": 2}, "reported": {}, "contradictory": 1,
        "without_text": 0, "unreadable": 0, "without_score": 0,
    }  # fmt: skip
    told = evidence(out.parent)
    assert [(e["row"], e["nearest"], e["level"]) for e in told] == [
        (f"{source}:3", f"{source}:1", "exact"),
        (f"{source}:4", f"{source}:1", "exact"),
        (f"{source}:6", f"{source}:1", "rouge"),
        (f"{source}:8", f"{source}:7", "rouge"),
    ]
    assert [e["contradictory"] for e in told[:2]] == [False, True]
    assert told[2]["score"] == pytest.approx(2 * 7 / 15)
    assert told[2]["text"] == ROWS[5]["instruction"]
    assert told[2]["nearest_text"] == ROWS[0]["instruction"]


def test_the_order_of_methods_does_not_matter_and_one_may_do(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    assert result(synthgen("dedup", source, "--json", "--method", "rouge,exact", cwd=tmp_path))["dropped"] == {
        "exact": 2,
        "rouge": 2,
    }
    assert result(synthgen("dedup", source, "--json", "--method", "exact", cwd=tmp_path))["dropped"] == {"exact": 2}
    assert result(synthgen("dedup", source, "--json", "--method", "rouge", cwd=tmp_path))["dropped"] == {"rouge": 4}
    assert not (tmp_path / "duplicates.jsonl").exists()  # without -o: the report alone


def test_minhash_finds_what_differs_in_its_prompt(tmp_path: Path) -> None:
    story = " ".join(f"word{n} of a story" for n in range(60))
    rows = [{"prompt": text, "output": story} for text in ("Write a story.", "Tell a tale that nobody knows yet.")]
    source = write_rows(tmp_path / "a.jsonl", rows)
    methods = ("--method", "minhash,rouge,exact", "--json")
    found = result(synthgen("dedup", source, "-o", "b.jsonl", *methods, cwd=tmp_path))
    assert (found["method"], found["dropped"]) == (["exact", "rouge", "minhash"], {"minhash": 1})
    (one,) = evidence(tmp_path)
    assert one["text"].startswith("Tell a tale that nobody knows yet.\nword0")
    assert one["nearest_text"].startswith("Write a story.\nword0")
    assert result(synthgen("dedup", source, *methods, "--threshold", "0.99", cwd=tmp_path))["dropped"] == {}


def test_rows_on_one_line_of_an_array_are_told_apart(tmp_path: Path) -> None:
    tale, other = (" ".join(f"{word}{n} of a story" for n in range(60)) for word in ("word", "tale"))
    rows = [{"text": text} for text in (tale, other, f"{tale} again", "Name three rivers that cross a border.")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = result(synthgen("dedup", "a.json", "-o", "b.json", "--method", "minhash", "--json", cwd=tmp_path))
    assert found["dropped"] == {"minhash": 1}
    (one,) = evidence(tmp_path)
    assert (one["row"], one["nearest"], one["nearest_text"][:5]) == ("a.json:1#3", "a.json:1", "word0")
    assert json.loads((tmp_path / "b.json").read_text()) == [rows[0], rows[1], rows[3]]


def test_all_drops_nothing_but_a_row_that_is_there_already(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "b.jsonl"
    found = result(synthgen("dedup", source, "-o", out, "--keep", "all", "--json", cwd=tmp_path))
    assert (found["dropped"], found["reported"], found["contradictory"]) == ({"exact": 1}, {"exact": 1, "rouge": 2}, 1)
    assert lines(out) == [line for n, line in enumerate(lines(source)) if n != 2]
    assert [(e["row"][-1], e["dropped"]) for e in evidence(tmp_path)] == [
        ("3", True), ("4", False), ("6", False), ("8", False),
    ]  # fmt: skip


def test_best_keeps_the_highest_score_in_file_order(tmp_path: Path) -> None:
    scores: list[Any] = [3, 1, "nothing", 5, 1, 4, 0.5, "0.75"]
    rows = [{**row, "score": score} for row, score in zip(ROWS, scores, strict=True)]
    del rows[1]["score"]
    source = write_rows(tmp_path / "a.jsonl", rows)
    out = tmp_path / "b.jsonl"
    done = synthgen("dedup", source, "-o", out, "--keep", "best:score", "--json", cwd=tmp_path)
    assert result(done)["without_score"] == 2
    assert f"2 rows without a score, which count as the lowest, the first: {source}:2" in done.stdout
    assert lines(out) == [line for n, line in enumerate(lines(source)) if n in (1, 3, 4, 7)]
    assert [(e["row"][-1], e["nearest"][-1]) for e in evidence(tmp_path)] == [
        ("1", "4"), ("3", "4"), ("6", "4"), ("7", "8"),
    ]  # fmt: skip


def test_a_score_is_no_part_of_the_answer(tmp_path: Path) -> None:
    rows = [{"question": "Why is the sky blue?", "note": "x", "score": n} for n in (1, 3, 2)]
    source = write_rows(tmp_path / "a.jsonl", rows)
    found = result(synthgen("dedup", source, "-o", "b.jsonl", "--keep", "best:score", "--json", cwd=tmp_path))
    assert (found["dropped"], found["contradictory"]) == ({"exact": 2}, 0)
    assert lines(tmp_path / "b.jsonl") == [lines(source)[1]]


def test_all_other_rows_are_kept_counted_and_told(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(
        b'{"title": "A tale of two cities"}\n'
        b'{"body": "no title"}\r\n'
        b"not json at all\n"
        b'{"title": ""}\n'
        b'{"title": "a tale of two cities!"}\n'
        b'{"title": null}\n'
        b'["a", "list"]\n'
        b'{"title": "\xd6\xd0\xce\xc4"}\n'
        b'{"title": ""}'
    )
    done = synthgen("dedup", source, "-o", "b.jsonl", "--field", "title", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = source.read_bytes().splitlines(keepends=True)
    assert (tmp_path / "b.jsonl").read_bytes() == b"".join(rows[n] for n in range(9) if n != 4)
    assert f"4 rows without text in 'title', kept as they are, the first: {source}:2" in done.stderr
    assert f"3 rows that cannot be read, kept as they are, the first: {source}:3: not JSON" in done.stderr


ODD = [
    "a", "a", "b", "", "   ", "word " * 200_000, "word " * 199_999, "写一首ABC诗", "写一首abc诗", "😀😀", "🎉🎉", "😀😀",
    "e\u0301te\u0301", "été", "ｆｕｌｌ ｗｉｄｔｈ", "full width", "כן", "कि की",
]  # fmt: skip


def test_odd_texts(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": text} for text in ODD])
    found = result(synthgen("dedup", source, "-o", "b.jsonl", "--json", cwd=tmp_path))
    assert [int(e["row"].rpartition(":")[2]) for e in evidence(tmp_path)] == [2, 7, 9, 12, 14, 16]
    assert (found["without_text"], found["dropped"]) == (2, {"exact": 5, "rouge": 1})


@pytest.mark.parametrize("suffix", [".json", ".csv", ".tsv", ".parquet"])
def test_each_kind_comes_out_as_it_went_in(tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    if suffix == ".json":
        texts = [f"\t{json.dumps(row, ensure_ascii=False, indent=3)}" for row in ROWS]
        source.write_text("[\n" + " ,\n".join(texts) + "\n]", encoding="utf-8")
        wanted = ("[\n" + " ,\n".join(texts[n] for n in (0, 1, 4, 6)) + "\n]").encode()
    elif suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(ROWS), source)
        wanted = b""
    else:
        mark = "," if suffix == ".csv" else "\t"
        texts = [mark.join(f'"{row[name]}"' for name in ("instruction", "input", "output")) for row in ROWS]
        head = mark.join(("instruction", "input", "output"))
        source.write_text("\r\n".join([head, *texts]) + "\r\n", encoding="utf-8-sig", newline="")
        wanted = ("\ufeff" + "\r\n".join([head, *(texts[n] for n in (0, 1, 4, 6))]) + "\r\n").encode()
    assert result(synthgen("dedup", source, "-o", out, "--json", cwd=tmp_path))["kept"] == 4
    if suffix == ".parquet":
        assert parquet.read_table(out).to_pylist() == [ROWS[n] for n in (0, 1, 4, 6)]
    else:
        assert out.read_bytes() == wanted


def test_several_files_and_a_folder(tmp_path: Path) -> None:
    tmp_path = tmp_path / "in"
    tmp_path.mkdir()
    a, b = write_rows(tmp_path / "a.jsonl", ROWS[:3]), write_rows(tmp_path / "b.jsonl", ROWS[3:])
    out = tmp_path.parent / "out" / "c.jsonl"
    result(synthgen("dedup", a, b, "-o", out, "--json", cwd=tmp_path))
    whole = (*lines(a), *lines(b))
    assert lines(out) == [whole[n] for n in (0, 1, 4, 6)]
    assert [e["row"] for e in evidence(out.parent)] == [f"{a}:3", f"{b}:1", f"{b}:3", f"{b}:5"]
    folder = result(synthgen("dedup", ".", "-o", "../c.jsonl", "--json", cwd=tmp_path))
    assert (folder["rows"], folder["kept"]) == (8, 4)
    assert lines(tmp_path.parent / "c.jsonl") == lines(out)
    b_first = result(synthgen("dedup", b, a, "--json", cwd=tmp_path))
    assert b_first["dropped"] == {"exact": 2, "rouge": 2}


def test_a_run_folder_comes_out_as_samples(tmp_path: Path) -> None:
    made = synthgen("generate", "alpaca", "--count", "3", "--out", "run", "--quiet", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    found = result(synthgen("dedup", "run", "-o", "clean.jsonl", "--json", cwd=tmp_path))
    rows = [json.loads(line) for line in lines(tmp_path / "clean.jsonl")]
    assert found["rows"] == found["kept"] == 3
    assert all({"messages", "meta"} <= row.keys() for row in rows)
    shown = synthgen("show", "clean.jsonl", "--json", cwd=tmp_path)
    assert len(json.loads(shown.stdout)["samples"]) == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--threshold", "0"], "--threshold 0: it must be above 0 and at most 1"),
        (["--threshold", "1.5"], "--threshold 1.5: it must be above 0 and at most 1"),
        (["--threshold", "-0.1"], "above 0 and at most 1"),
        (["--threshold", "1e999999999"], "above 0 and at most 1"),
        (["--threshold", "1.00000000000000000000001"], "above 0 and at most 1"),
        (["--threshold", "abc"], "--threshold abc: a number such as 0.7 is expected"),
        (["--threshold", "nan"], "--threshold nan: a number such as 0.7 is expected"),
        (["--threshold", "1/0"], "--threshold 1/0: a number such as 0.7 is expected"),
        (["--threshold", "0." + "3" * 5000], "a number such as 0.7 is expected"),
        (["--threshold", "0.8", "--method", "exact"], "exact has none"),
        (["--method", "rogue"], "no method is called 'rogue'; did you mean rouge?"),
        (["--method", ""], "--method: name at least one"),
        (["--keep", "bst:score"], "--keep bst:score: did you mean best:COLUMN?"),
        (["--keep", "best:"], "--keep best:"),
        (["--keep", "best:scores"], "no row has a number in 'scores'"),
        (["--field", "instructoin"], "a.jsonl:1: no row has the column 'instructoin'; did you mean instruction?"),
        (["-o", "a.jsonl"], "a.jsonl: is the file that is read"),
        (["-o", "b.csv"], "b.csv: must end in .jsonl or .ndjson or .json"),
        (["-o", "duplicates.jsonl"], "the evidence gets this name"),
        (["-o", f"{'x' * 300}.jsonl"], "the name is too long for a file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_all_as_it_was(tmp_path: Path, args: list[str], said: str) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    before = source.read_bytes()
    done = synthgen("dedup", "a.jsonl", *(args if "-o" in args else ["-o", "out.jsonl", *args]), cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.jsonl", b"", "empty.jsonl: no rows in it"),
        ("none.txt", b"text", "cannot read rows from this kind of file"),
        ("gb.csv", "q,a\n中,文\n".encode("gb18030"), "gb.csv:2: not UTF-8"),
        ("gb.jsonl", '{"text": "中文"}\n'.encode("gb18030"), "gb.jsonl:1: not UTF-8"),
        ("cut.json", b'[{"text": "a"}, {"te', "cut.json:1: not JSON"),
        ("other.jsonl", b'{"a": 1, "b": 2}\n', "other.jsonl:1: none of the columns instruction, question"),
    ],
)
def test_a_file_at_fault_is_told_and_nothing_is_written(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    out = f"out{Path(name).suffix}"
    done = synthgen("dedup", name, "-o", out, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_evidence_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    for other in ('{"mine": 1}\n', '{"row":1}\n', '{"row":', "[1]\n"):
        (tmp_path / "duplicates.jsonl").write_text(other)
        done = synthgen("dedup", source, "-o", "b.jsonl", cwd=tmp_path)
        assert done.returncode == 2
        assert "duplicates.jsonl: is there and no evidence of dedup" in done.stderr
        assert not (tmp_path / "b.jsonl").exists()
    (tmp_path / "duplicates.jsonl").unlink()
    for _ in range(2):  # its own it replaces
        result(synthgen("dedup", source, "-o", "b.jsonl", "--json", cwd=tmp_path))
    done = synthgen("dedup", "duplicates.jsonl", "-o", "c.jsonl", cwd=tmp_path)  # not where it is read
    assert (done.returncode, len(evidence(tmp_path))) == (2, 4)
    assert "duplicates.jsonl: is read, and the evidence gets this name" in done.stderr


def test_rows_of_an_array_on_one_line_are_told_apart(tmp_path: Path) -> None:
    words = "how long does a train take to cross the bridge when it is late and it rains".split()
    texts = [" ".join([f"w{n}{i}" for i in range(20)] + words) for n in range(40)]
    rows = [{"text": text} for text in texts + [f"{text} today" for text in texts]]
    for name, indent in (("one.json", None), ("many.json", 1)):
        (tmp_path / name).write_text(json.dumps(rows, indent=indent))
        found = result(synthgen("dedup", name, "-o", f"out/{name}", "--method", "minhash", "--json", cwd=tmp_path))
        assert found["dropped"] == {"minhash": 40}
        if name == "one.json":
            met = {(row["row"], row["nearest"]) for row in evidence(tmp_path / "out")}
    assert met == {(f"one.json:1#{n + 41}", f"one.json:1#{n + 1}" if n else "one.json:1") for n in range(40)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_stdout_on_a_full_disk_is_one_line_and_the_files_are_there(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    command = [sys.executable, "-m", "synthgen", "dedup", str(source), "-o", "b.jsonl"]
    for more in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*command, *more],
                cwd=tmp_path,
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
        assert "is full" in done.stderr
        assert len(lines(tmp_path / "b.jsonl")) == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_all_as_it_was(tmp_path: Path, number: signal.Signals, code: int) -> None:
    rng = Random(0)
    words = [f"w{n}" for n in range(3000)]
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(60_000)]
    write_rows(tmp_path / "a.jsonl", [{"text": text} for text in [texts[0]] * 600 + texts])
    (tmp_path / "b.jsonl").write_text('{"text": "what was there"}\n')
    command = [sys.executable, "-m", "synthgen", "dedup", "a.jsonl", "-o", "b.jsonl"]
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
    assert (tmp_path / "b.jsonl").read_text() == '{"text": "what was there"}\n'


def test_the_table_fits_and_names_what_comes_next(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    done = synthgen("dedup", source, "-o", "b.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    said = done.stdout
    assert len(said.splitlines()) <= 25
    assert [line.split() for line in said.splitlines()[:5]] == [
        ["rows", "8"], ["-", "exact", "-2"], ["the", "same", "prompt", "with", "another", "answer", "1"],
        ["-", "rouge", "-2"], ["kept", "4"],
    ]  # fmt: skip
    assert f"{source}:6 is 0.933 rouge to {source}:1: Name three large rivers" in said
    assert said.splitlines()[-1] == "next: synthgen show duplicates.jsonl"
    shown = synthgen("show", "duplicates.jsonl", "--reason", "rouge", cwd=tmp_path).stdout
    assert f"0.933 rouge  {source}:6  to  {source}:1" in shown
    assert "nearest text Name three rivers that cross a border." in shown
    assert "exact" not in shown
    assert len(json.loads(synthgen("show", "duplicates.jsonl", "--json", cwd=tmp_path).stdout)["pairs"]) == 4


def test_tasks_with_other_inputs_are_not_one(tmp_path: Path) -> None:
    """One letter in the instruction does not make two pieces of code the same task, nor do instances of seed tasks."""
    code = ["def add(a, b): return a - b", "SELECT * FORM users WHERE name LIKE 'a%'"]
    rows = [
        {"instruction": f"Fix the bug{'s' * n} in this code", "input": c, "output": "-"} for n, c in enumerate(code)
    ]
    ask = "Answer the following question."
    rows += [
        {"instruction": ask, "instances": [{"input": c, "output": "a"}]} for c in ("Why is it cold?", "Who is he?")
    ]
    write_rows(tmp_path / "a.jsonl", rows)
    assert result(synthgen("dedup", "a.jsonl", "-o", "b.jsonl", "--json", cwd=tmp_path))["kept"] == 4
    alone = synthgen("dedup", "a.jsonl", "-o", "b.jsonl", "--field", "instruction", "--json", cwd=tmp_path)
    assert result(alone)["dropped"]["rouge"] == 1


def test_a_level_that_takes_much_is_told(tmp_path: Path) -> None:
    shared = "You have a calculator, a calendar and a search engine; answer by calling one of them:"
    write_rows(tmp_path / "a.jsonl", [{"prompt": f"{shared} number {n}", "completion": str(n)} for n in range(120)])
    done = synthgen("dedup", "a.jsonl", "-o", "b.jsonl", cwd=tmp_path)
    assert "rouge dropped 99% of the rows: if they share a template more than a task" in done.stderr
    assert "--method exact,minhash" in done.stderr


def test_edited_copies_of_real_rows_are_found_and_hardly_anything_else(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "gsm8k_train.jsonl"
    rows = [json.loads(line) for line in source.read_bytes().splitlines()]
    copy = write_rows(
        tmp_path / "copy.jsonl", [{**row, "question": edited(row["question"], n)[0]} for n, row in enumerate(rows)]
    )
    result(synthgen("dedup", source, copy, "-o", "out.jsonl", "--threshold", "0.9", "--json", cwd=tmp_path))
    met = [json.loads(line) for line in (tmp_path / "duplicates.jsonl").read_bytes().splitlines()]
    of_copy = sum(one["row"].startswith(f"{copy}:") for one in met)
    assert of_copy >= 0.99 * len(rows)
    assert len(met) - of_copy <= 0.001 * len(rows)
