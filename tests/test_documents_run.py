"""A recipe over documents from the command line to its files: chunks, rejections, resuming, other recipes' options."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, lines, synthgen, write_rows
from kit import Ended
from kit import run as run_recipe
from test_durability import ENV, rows, serving

from synthgen.documents import Documents
from synthgen.documents.rules import defaults
from synthgen.run import BARREN_TASKS
from synthgen.types import Request

EXAMPLES = ROOT / "examples" / "documents"
TOY = '''
"""One rewrite of each chunk, and a look at it: two requests a task."""

from synthgen.document_recipe import DocumentRecipe
from synthgen.recipe import Ask, Outcome
from synthgen.types import Message, Rejection, Sample, Task


class Toy(DocumentRecipe):
    name = "toy"
    summary = "one rewrite of each chunk"
    filtered = False
    novel = False

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        unread = self.unread(task)
        if unread is not None:
            return [unread]
        reply = await ask((Message("user", "Rewrite:\\n" + task.vars["text"]),), sampling=self.sampling)
        if reply.text.startswith("no"):
            return [Rejection("judge", reply.text)]
        return [Sample(text=reply.text, meta=self.provenance(task))]
'''
FILES = ("text.jsonl", "rejected.jsonl", "failures.jsonl", "samples.jsonl")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.py"
    path.write_text(TOY, encoding="utf-8")
    return path


def good_text(n: int) -> str:
    """A text that passes the rules, like no other."""
    return f"Document {n} is about towers.\n\n" + (EXAMPLES / "en/lighthouses.txt").read_text(encoding="utf-8")


def folder_of(place: Path, good: int, **bad: bytes) -> Path:
    """Documents that pass the rules, and others."""
    place.mkdir(parents=True, exist_ok=True)
    for n in range(good):
        (place / f"{n:04}.txt").write_text(good_text(n), encoding="utf-8")
    for name, data in bad.items():
        (place / name.replace("_", ".")).write_bytes(data)
    return place


def generate(toy: Path, *args: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = synthgen("generate", toy, *args, "--quiet", cwd=cwd)
    assert done.returncode == code, done.stderr
    return done


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path)]


def test_all_documents_are_the_default_and_each_is_a_row(toy: Path, tmp_path: Path) -> None:
    documents = folder_of(tmp_path / "in", 5, x_txt=b"\0binary", y_txt=b"Too short.", z_md=b"")
    with serving("--script", "echo") as server:
        args = ("--documents", documents, "--documents", EXAMPLES, "--base-url", server.base_url, "--out", "out")
        done = generate(toy, *args, "--format", "text,samples", cwd=tmp_path)
    assert "21 of 24 documents are used; not used: 1 binary, 1 size, 1 empty (first: " in done.stderr
    rejected = load(tmp_path / "out" / "rejected.jsonl")
    assert [row["reason"] for row in rejected] == ["document: binary", "document: size", "document: empty"]
    assert rejected[1]["detail"] == f"{documents}/y.txt: 2, at least 50 is asked for"
    assert all(row["sample"] is None for row in rejected)
    samples = load(tmp_path / "out" / "samples.jsonl")
    assert len(samples) == 21
    tofu = next(s["meta"]["source"] for s in samples if s["meta"]["source"]["where"].endswith("tofu.md"))
    assert (tofu["title"], tofu["licence"], tofu["chunk"], tofu["of"]) == ("在家做豆腐", "CC0-1.0", 1, 1)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["candidates"] == report["accepted"] + sum(report["rejected"].values()) == 24


def test_a_chunk_is_its_span_of_the_cleaned_text() -> None:
    from importlib.util import module_from_spec, spec_from_loader

    module = module_from_spec(spec_from_loader("toy", None))  # type: ignore[arg-type]
    exec(TOY, module.__dict__)
    documents = Documents([EXAMPLES])
    whole = {seed.id: seed.fields["text"] for seed in documents}
    from synthgen.recipe import Setting

    made = module.Toy(Setting(context_tokens=900, count_tokens=lambda text: len(text) // 3 + 1))
    made.fit(documents)
    assert made.notes == ["fitted to a context of 900 tokens: chunks of 300 at most"]
    tasks = list(made.tasks(documents, None))
    assert len(tasks) > len(whole)
    assert len({task.id for task in tasks}) == len(tasks)
    for task in tasks:
        start, end = task.vars["span"]
        assert task.vars["text"] == whole[task.vars["document"]][start:end]
        assert len(task.vars["text"]) // 3 < 300
        assert task.id == f"{task.vars['document']}/{task.vars['chunk']}"
    for name, text in whole.items():
        mine = [task.vars for task in tasks if task.vars["document"] == name]
        assert [v["chunk"] for v in mine] == list(range(1, mine[0]["of"] + 1))
        assert "".join("".join(v["text"].split()) for v in mine) == "".join(text.split())


@pytest.mark.parametrize("concurrency", [1, 16])
def test_killed_and_resumed_the_files_are_the_same(concurrency: int, toy: Path, tmp_path: Path) -> None:
    documents = folder_of(tmp_path / "in", 60, x_txt=b"\0binary", y_txt=b"Too short.")
    with serving("--script", "echo") as quick:
        base = ("--documents", documents, "--format", "text,samples", "--concurrency", str(concurrency))
        generate(toy, *base, "--base-url", quick.base_url, "--out", "whole", cwd=tmp_path)
    reference = {name: (tmp_path / "whole" / name).read_bytes() for name in FILES if name != "samples.jsonl"}
    assert reference["text.jsonl"].count(b"\n") == 60
    with serving("--script", "echo", "--delay", "0.05") as server:
        args = [str(a) for a in ("generate", toy, *base, "--base-url", server.base_url, "--out", "killed", "--quiet")]
        command = [*ENV_PYTHON, *args]
        with subprocess.Popen(
            command, cwd=tmp_path, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as one:
            until = time.monotonic() + 60
            while one.poll() is None and server.asked().total() < 20 and time.monotonic() < until:
                time.sleep(0.01)
            assert one.poll() is None, "it came to its end before it was killed"
            one.kill()
        stored = rows(tmp_path / "killed", "select count(*) from completion")
        assert stored < 60
        generate(toy, *args[2:-1], cwd=tmp_path)
        assert server.asked().total() <= 60 + concurrency
    assert {name: (tmp_path / "killed" / name).read_bytes() for name in reference} == reference


ENV_PYTHON = [sys.executable, "-m", "synthgen"]


def test_more_documents_cost_only_the_new_ones(toy: Path, tmp_path: Path) -> None:
    documents = folder_of(tmp_path / "in", 8)
    with serving("--script", "echo") as server:
        args = ("--documents", documents, "--base-url", server.base_url, "--out", "out")
        generate(toy, *args, cwd=tmp_path)
        first = (tmp_path / "out" / "text.jsonl").read_bytes()
        assert server.asked().total() == 8
        folder_of(documents, 10)
        done = generate(toy, *args, cwd=tmp_path)
        assert server.asked().total() == 10
        assert "other documents" not in done.stderr
        assert (tmp_path / "out" / "text.jsonl").read_bytes().startswith(first)
        # One in the middle, and the folder elsewhere: made anew from stored answers, and one request.
        (documents / "0003a.txt").write_text((EXAMPLES / "en/glass.txt").read_text(encoding="utf-8"), encoding="utf-8")
        moved = documents.rename(tmp_path / "elsewhere")
        done = generate(toy, "--documents", moved, *args[2:], cwd=tmp_path)
        assert "other documents than before" in done.stderr
        assert server.asked().total() == 11
        assert len(lines(tmp_path / "out" / "text.jsonl")) == 11
        # A threshold is a knob: what it lets in is asked for, and nothing else.
        (moved / "short.txt").write_text(
            "This one is short. But the words are good. They want to be of use. None comes twice. And that is all.",
            encoding="utf-8",
        )
        generate(toy, "--documents", moved, *args[2:], "--set", "size=10", cwd=tmp_path)
        assert server.asked().total() == 12


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("alpaca", "--documents", "in"), "--documents in: alpaca works on seeds; give them as --seeds"),
        (("toy.py", "--input", "in"), "--input in: toy works on documents; give them as --documents"),
        (("toy.py", "--seeds", "in"), "--seeds in: toy works on documents; give them as --documents"),
        (("toy.py",), "toy works on documents: give --documents PATH"),
        (("respond", "--documents", "in"), "--documents in: respond works on prompts; give them as --input"),
        (("toy.py", "--documents", "inn"), "inn: no such file; did you mean in?"),
        (("toy.py", "--documents", "in", "--set", "siz=3"), "--set siz: toy has no such knob; did you mean size?"),
        (("toy.py", "--documents", "in", "--set", "short_lines=2"), "--set short_lines=2: out of range (0 to 1)"),
        (("toy.py", "--documents", "bad"), "no document is left: bad/x.txt: binary: is no text but a binary file"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(args: tuple[str, ...], said: str, toy: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 1)
    folder_of(tmp_path / "bad", 0, x_txt=b"\0")
    done = synthgen("generate", *args, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_the_first_prompt_that_is_asked(toy: Path, tmp_path: Path) -> None:
    documents = folder_of(tmp_path / "in", 3)
    (documents / "0000.txt").write_bytes(b"\0")
    done = generate(toy, "--documents", documents, "--dry-run", "--model", "embedded", cwd=tmp_path)
    assert "Rewrite:\nDocument 1 is about towers." in done.stdout


def test_the_estimate_counts_what_is_asked_and_not_what_is_not_used(toy: Path, tmp_path: Path) -> None:
    documents = folder_of(tmp_path / "in", 6)
    for n in range(20):
        (documents / f"000{n:02}a.txt").write_bytes(b"\0")
    with serving("--script", "echo") as server:
        args = ("--documents", documents, "--base-url", server.base_url, "--out", "out")
        done = generate(toy, *args, "--dry-run", "--json", cwd=tmp_path)
        found = json.loads(done.stdout.splitlines()[-1])["estimate"]
        assert (found["tasks"], found["requests"]) == (6, [6, 6])
        generate(toy, *args, "--set", "sentence_lines=true", cwd=tmp_path)
        assert server.asked().total() == 6


def test_a_job_step_takes_documents(toy: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4, x_txt=b"\0")
    with serving("--script", "echo") as server:
        (tmp_path / "job.yaml").write_text(
            f"name: j\nmodels: {{default: {{model: fake, base_url: {server.base_url}}}}}\n"
            f"steps:\n  - {{id: texts, recipe: {toy}, documents: in}}\n",
            encoding="utf-8",
        )
        done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "runs/j/texts/text.jsonl")) == 4
    assert len(lines(tmp_path / "runs/j/texts/rejected.jsonl")) == 1


# -- documents that are not used are no sign that a recipe yields nothing ------------------------------------------------


def over(folder: Path, documents: Path, answer: str, **more: Any) -> Ended:
    def reply(request: Request) -> str:
        return answer

    toy = folder / "toy.py"
    folder.mkdir(parents=True, exist_ok=True)
    toy.write_text(TOY, encoding="utf-8")
    seeds = list(Documents([documents], defaults()))
    return run_recipe(folder / "run", reply, recipe=str(toy), seeds=seeds, count=None, **more)


def _rows(path: Path, kinds: str) -> Path:
    """A document a letter: `g` is good, `b` is not used."""
    rows = [good_text(n) if kind == "g" else "Short." for n, kind in enumerate(kinds)]
    return write_rows(path, [{"text": text} for text in rows])


def test_bad_documents_in_a_row_do_not_end_a_run(tmp_path: Path) -> None:
    done = over(tmp_path, _rows(tmp_path / "d.jsonl", "g" + "b" * 3 * BARREN_TASKS + "g"), "a rewrite")
    assert (done.ending.code, done.ending.line) == (0, "")
    assert len(done.samples) == 2
    assert done.falls.rejected["document: size"] + done.falls.rejected["document: duplicate"] == 3 * BARREN_TASKS


def test_a_recipe_that_yields_nothing_ends_all_the_same_also_after_an_interruption(tmp_path: Path) -> None:
    documents = _rows(tmp_path / "d.jsonl", "bg" * 2 * BARREN_TASKS)
    first = over(tmp_path / "a", documents, "no")
    assert first.ending.code == 7
    assert first.falls.rejected["judge"] == BARREN_TASKS
    # The same command goes on for two hundred more that were asked, however many were not.
    second = over(tmp_path / "a", documents, "no")
    assert second.ending.code == 7
    assert second.falls.rejected["judge"] == 2 * BARREN_TASKS
    assert second.samples == []
