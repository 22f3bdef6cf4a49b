"""Steps of a job beyond their undisturbed course: nothing to work on, batches, servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import synthgen
from test_jobs_run import serving


@pytest.mark.parametrize("prompts", [5, 40])  # all of them fail; so many fail that the rest is not asked
def test_what_hangs_on_a_step_that_has_nothing_does_not_begin(prompts: int, tmp_path: Path) -> None:
    rows = [{"prompt": f"Name {n} rivers that cross a border."} for n in range(prompts)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving("--script", "echo", "--fault", "400", "--times", "20") as server:
        (tmp_path / "job.yaml").write_text(
            f"models: {{default: {{base_url: '{server.base_url}'}}}}\n"
            "steps:\n"
            "- {id: a, recipe: respond, input: p.jsonl}\n"
            "- {id: b, mix: {a: 1.0}}\n"
            "- {id: c, recipe: respond, input: a}\n"
        )
        done = synthgen("run", "job.yaml", "--json", cwd=tmp_path)
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    assert [one["exit_code"] for one in steps] == [5, 5, 5]
    assert [one["message"] for one in steps[1:]] == ["not begun, as a ended with 5"] * 2
    assert done.returncode == 5
