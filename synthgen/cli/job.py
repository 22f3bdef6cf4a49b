"""`run`: a job file of several steps."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli import generate
from synthgen.cli.say import as_json, fault, note, outlasting

if TYPE_CHECKING:
    from synthgen.jobs.plan import Job
    from synthgen.jobs.running import Stepped
    from synthgen.session import Wish

_OF_THE_COMMAND = {"out", "budget", "dry-run", "quiet", "verbose", "json", "yes"}  # not a step's


class _Options:
    """The options of `generate`, for the steps of a job."""

    def __init__(self) -> None:
        flags = [p.opts[0].removeprefix("--") for p in generate.generate.params if isinstance(p, click.Option)]
        self.keys = tuple(flag.replace("-", "_") for flag in flags if flag not in _OF_THE_COMMAND)

    def wish(self, recipe: str, args: Sequence[str]) -> Wish:
        given = generate.generate.make_context("run", [*args, "--", recipe]).params
        return generate.wish(given.pop("recipe"), given)


@click.command()
@click.argument("job", metavar="JOB.yaml", type=click.Path(path_type=Path))
@click.option("--only", metavar="STEP", help="This step alone; what it reads must be there.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="Tracebacks.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line on stdout.")
def run(job: Path, only: str | None, quiet: bool, verbose: bool, json_: bool) -> int:
    """Work off a file of several steps: recipes, mixes, exports. The same command continues.

    \b
    Example: synthgen run job.yaml
      name: demo
      models: {default: {model: Qwen/Qwen2.5-7B-Instruct, base_url: http://localhost:8000/v1}}
      steps:
        - {id: tasks, recipe: self-instruct, count: 500}
        - {id: more, recipe: respond, input: tasks, set: {k: 2}}
        - id: train
          mix: {tasks: 1.0, more: 0.5, "own.jsonl": 200}
          dedup: [exact]
          decontaminate: [bench/gsm8k_test.jsonl]
          export: {alpaca: out/train.jsonl}
    A step takes the options of `generate` with `_` for `-`. In place of model and base_url, {serve: MODEL,
    replicas: 2, args: [...]} starts vLLM. A share is of a source's rows; a whole number from 2 is so many of them.
    """
    import asyncio

    from synthgen.jobs.reading import read_job

    planned = read_job(job, _Options(), ("synthgen", *sys.argv[1:]))
    return asyncio.run(_run(planned, only, quiet, json_))


async def _run(job: Job, only: str | None, quiet: bool, json_: bool) -> int:
    from synthgen import spending
    from synthgen.cli.progress import Watch, settle_memory, signals
    from synthgen.jobs.running import Running, exit_code

    watch = Watch(quiet, json_)
    running = Running(job, watch, only)
    if any(model.spec.name == "embedded" for step in running.steps for model in getattr(step, "models", {}).values()):
        note("uses the embedded model (for trying out, not for training data)")
    settle_memory()
    with signals(running.stop):
        async with watch:
            steps = await running.run()
    code = exit_code(steps)
    if code in spending.CLEAN:
        running.settle()
    with outlasting():
        if json_:
            as_json({"event": "result", "exit_code": code, "job": job.name, "steps": list(map(_event, steps))})
        else:
            _close(job, steps, code)
    for one in steps:
        if one.ending.line:
            fault(f"{one.step.id}: {one.ending.line}")
    return code


def _event(one: Stepped) -> dict[str, object]:
    ending, counts = one.ending, one.summary.as_dict() if one.summary else {}
    about = {"step": one.step.id, "exit_code": ending.code, "message": ending.line, "unchanged": one.unchanged}
    return {**about, "run": str(one.step.folder), **counts}


def _close(job: Job, steps: Sequence[Stepped], code: int) -> None:
    from synthgen import report

    rows = [(one.step.id, _verdict(one), one.summary) for one in steps]
    exports = [str(path) for one in steps for path in getattr(one.step, "export", {}).values() if not one.ending.code]
    last = steps[-1].step.folder
    again = shlex.join(("synthgen", *sys.argv[1:]))
    command = again if code else f"synthgen show {shlex.quote(str(last))}"
    report.print_job(rows, f"{job.folder}" + (f"; {', '.join(exports)}" if exports else ""), command)


def _verdict(one: Stepped) -> str:
    if one.unchanged:
        return "unchanged"
    if one.ending.code:
        return f"exit {one.ending.code}" if one.summary else "not begun"
    return "done"
