"""`doctor` says what would really be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from command import synthgen
from test_jobs_run import FAKE_VLLM, serving


def test_servers_and_the_python_for_vllm(tmp_path: Path) -> None:
    with serving() as server:
        done = synthgen("doctor", "--json", "--base-url", server.base_url, cwd=tmp_path, **FAKE_VLLM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["error"], one["models"]) for one in found["servers"]] == [(None, ["fake"])]
    assert found["vllm_python"] == {"path": sys.executable, "error": None}
    gone = synthgen("doctor", "--base-url", server.base_url, cwd=tmp_path, SYNTHGEN_VLLM_PYTHON="/nowhere/python")
    assert gone.returncode == 4
    assert "connection refused" in gone.stdout
    assert "vLLM (serve, --batch vllm-file): SYNTHGEN_VLLM_PYTHON=/nowhere/python: cannot be run" in gone.stdout
