"""The package as others get it: wheel and sdist, in an empty environment, from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from command import ROOT

MOST_PACKAGES = 21
WHEEL_LIMIT_BYTES = 28 * 2**20


def _run(*command: str | Path, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    return out


def test_the_wheel_holds_code_and_data_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size <= WHEEL_LIMIT_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in (
        "synthgen/cli/__init__.py",
        "synthgen/py.typed",
        "synthgen/prompts/alpaca/tasks.zh.jinja",
        "synthgen/seeds/zh/tasks.jsonl",
        "synthgen/models/instruct/config.json",
        "synthgen/models/NOTICE",
    ):
        assert name in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "synthgen/models/base"))]


def test_the_sdist_builds_alone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(n.endswith("/prompts/alpaca/tasks.en.jinja") for n in names)
    assert any(n.endswith("/seeds/en/tasks.jsonl") for n in names)


def test_an_empty_environment_generates_from_another_folder(built: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    before = len(json.loads(_run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path)))
    _run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    after = json.loads(_run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    assert len(after) - before - 1 <= MOST_PACKAGES, [p["name"] for p in after]  # without synthgen itself
    assert "No broken requirements" in _run(python, "-m", "pip", "check", cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = _run(home / "bin" / "synthgen", "generate", "self-instruct", "--count", "3", "--quiet", cwd=elsewhere)
    assert "accepted" in out
    rows = (elsewhere / "runs" / "self-instruct-en" / "alpaca.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
