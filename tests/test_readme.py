"""Every command of the README works as written, and its example recipe is one that runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
URL = "http://localhost:8000/v1"


def commands(language: str) -> list[str]:
    """The lines of all fenced blocks of one language."""
    return [
        line for kind, body in BLOCK.findall(README) if kind == language for line in body.splitlines() if line.strip()
    ]


def shell(command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, or those of an unpacked sdist, in a fresh folder."""
    target = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / name)
    return target


def test_the_shell_commands_run_on_a_fresh_checkout(checkout: Path) -> None:
    lines = commands("bash")
    assert "bash check.sh" in lines  # the command that runs this test: see also the next one
    for line in lines:
        if line != "bash check.sh":
            shell(line, checkout, PYTHONPATH="", PYTHONWARNINGS="")
    run = checkout / "runs" / "alpaca-en"
    assert len((run / "alpaca.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    assert len((run / "sharegpt.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    assert (checkout / "messages.jsonl").is_file()


def test_the_gate_runs_the_readmes_test_command() -> None:
    assert "bash check.sh" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture(scope="module")
def fake() -> Iterator[str]:
    """A fake server in a process of its own; its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fake_server", "--port", "0"],
        cwd=ROOT / "tests", env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def _with(url: str, command: str) -> str:
    """The command against the fake server, with fewer rows."""
    command = re.sub(r"--count \d+", "--count 12", command.replace(URL, url))
    words = shlex.split(command)
    return shlex.join([sys.executable, "-m", "synthgen", *words[1:]])


def test_the_commands_for_your_own_server_run(fake: str, tmp_path: Path) -> None:
    (tmp_path / "my_seeds.jsonl").write_text(
        json.dumps({"instruction": "Name three rivers that cross a border.", "output": "Rhine, Danube, Nile"}) + "\n"
        + json.dumps({"instruction": "Suggest a polite way to decline an invitation.", "output": "I have plans."}) + "\n",
        encoding="utf-8",
    )  # fmt: skip
    (tmp_path / "种子.jsonl").write_text(
        json.dumps({"instruction": "请写出三种常见的水果", "output": "苹果、香蕉、葡萄"}, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    shutil.copytree(ROOT / "examples" / "documents", tmp_path / "docs")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Name a river."}\n{"question": "How old is the sun?"}\n')
    (tmp_path / "问题.jsonl").write_text('{"prompt": "什么是大模型？"}\n', encoding="utf-8")
    base = fake if fake.endswith("/v1") else f"{fake}/v1"
    ran = 0
    for line in commands(""):
        if line.startswith("synthgen generate") and "paraphrase" not in line:
            shell(_with(base, line), tmp_path)
            ran += 1
    assert ran >= 3


def test_the_example_recipe_is_written_tested_and_run(fake: str, tmp_path: Path) -> None:
    section = README.split("## Write a recipe of your own")[1].split("\n## ")[0]
    for name, body in re.findall(r"`([\w/.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body, encoding="utf-8")
    assert len((tmp_path / "paraphrase.py").read_text().splitlines()) <= 40
    shell(f"{shlex.quote(sys.executable)} -m pytest -q -p no:cacheprovider test_paraphrase.py", tmp_path)
    (tmp_path / "问题.jsonl").write_text('{"prompt": "什么是大模型？"}\n', encoding="utf-8")
    base = fake if fake.endswith("/v1") else f"{fake}/v1"
    (line,) = [c for c in commands("") if "paraphrase" in c]
    shell(f"{_with(base, line)} --count 12", tmp_path)
    rows = (tmp_path / "runs" / "paraphrase-en" / "alpaca.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 12
