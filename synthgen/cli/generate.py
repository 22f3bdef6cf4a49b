"""`generate`: make a dataset."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synthgen.cli.say import as_json, fault, note, note_event, outlasting

if TYPE_CHECKING:
    from synthgen.budget import Budget
    from synthgen.session import Result, Session, Wish

F = TypeVar("F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


class _Number(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _writable(self, super().convert(value, param, ctx), param, ctx)


class _Whole(click.IntRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _writable(self, super().convert(value, param, ctx), param, ctx)


def _writable(kind: click.ParamType[Any], number: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    """The number, if run.json can hold it: NaN passes every range, and 64 bits are the most."""
    if not abs(number) < 2**63:
        kind.fail(f"{number} is not a number that can be used.", param, ctx)
    return number


_OPTIONS = (
    click.option("--out", type=_PATH, help="The run folder (default: runs/<recipe>-<lang>); it continues there."),
    click.option("--count", type=_Whole(1), help="Accepted samples (default: 100, or all there is to do)."),
    click.option(
        "--seeds",
        multiple=True,
        help="jsonl, json, csv (or .gz), parquet, a folder, hf:owner/name; repeatable.",
    ),
    click.option(
        "--documents",
        multiple=True,
        metavar="PATH",
        help="txt, md, html, rows with `text`, a folder, hf:owner/name; repeatable.",
    ),
    click.option(
        "--input",
        "input_",
        multiple=True,
        metavar="FILE|RUN",
        help="Prompts or samples to work on, in any form; repeatable.",
    ),
    click.option(
        "--lang",
        type=click.Choice(["en", "zh", "auto"]),
        default="auto",
        show_default=True,
        help="The language of the samples; auto: that of the seeds.",
    ),
    click.option("--model", help="NAME on a server, openai:NAME, vllm:PATH or embedded (default: embedded)."),
    click.option("--base-url", "base_urls", multiple=True, help="Several servers of one model are one pool."),
    click.option("--judge-model", help="The model of the role judge, for recipes that judge."),
    click.option("--judge-base-url", "judge_base_urls", multiple=True),
    click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True, help="The variable with the key."),
    click.option("--set", "knobs", multiple=True, metavar="KNOB=VALUE", help="A knob (synthgen recipes NAME)."),
    click.option("--temperature", type=_Number(0, 5)),
    click.option("--top-p", type=_Number(0, 1, min_open=True)),
    click.option("--top-k", type=_Whole(1)),
    click.option("--max-tokens", type=_Whole(1)),
    click.option("--presence-penalty", type=_Number(-2, 2)),
    click.option("--frequency-penalty", type=_Number(-2, 2)),
    click.option("--stop", multiple=True, help="Text that ends an answer; repeatable."),
    click.option("--seed", type=_Whole(0), default=0, show_default=True, help="Everything random comes from it."),
    click.option("--format", "formats", help="Comma-separated, e.g. alpaca,sharegpt (default: the recipe's own)."),
    click.option("--prompts", multiple=True, type=_PATH, help="A folder searched before the built-in templates."),
    click.option("--concurrency", default="auto", show_default=True, metavar="auto|N", help="Requests at once."),
    click.option("--timeout", type=_Number(0, min_open=True), default=600.0, help="Seconds a request."),
    click.option("--retries", type=_Whole(0), default=5, show_default=True),
    click.option("--rate", type=_Number(0, min_open=True), help="At most so many requests a second."),
    click.option("--price", metavar="in=0.15,out=0.6", help="US dollars for a million tokens: the run is priced."),
    click.option(
        "--budget",
        metavar="usd=5,tokens=2e6,minutes=30",
        help="Stop there (exit 6). It is this command's, interruptions included; typed again after exit 6, it goes on "
        "with as much again.",
    ),
    click.option("--batch", type=click.Choice(["openai", "vllm-file"]), help="Ask in files, hours later, cheaper."),
    click.option("--novel-against", multiple=True, type=_PATH, metavar="RUN|FILE", help="Be new against these too."),
    click.option("--dry-run", is_flag=True, help="Show the first prompts and an estimate; ask nothing."),
    click.option("--quiet", is_flag=True, help="No progress."),
    click.option("--verbose", is_flag=True, help="Tracebacks."),
    click.option("--json", "json_", is_flag=True, help="One JSON object a line on stdout."),
    click.option("--yes", is_flag=True, hidden=True),
)


def _options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("recipe")
@_options
def generate(recipe: str, **given: Any) -> int:
    """Make a dataset with RECIPE (see `synthgen recipes`, or give a .py file of your own).

    Example: synthgen generate self-instruct --count 500 --model Qwen/Qwen2.5-7B-Instruct --base-url http://localhost:8000/v1
    """
    import asyncio

    wanted = wish(recipe, given)
    return asyncio.run(_generate(wanted, _budget(given["budget"], wanted), given))


def _budget(text: str | None, wish: Wish) -> Budget | None:
    from synthgen.budget import Budget

    if text is None:
        return None
    budget = Budget.parse(text)
    budget.check_prices(wish.prices)
    return budget


def wish(recipe: str, given: dict[str, Any]) -> Wish:
    """What a command line asks for, or a step of a job. Raises click.UsageError."""
    from synthgen.backends import ModelSpec
    from synthgen.budget import Price
    from synthgen.session import Wish
    from synthgen.speakers import Effort
    from synthgen.types import SamplingParams

    name = given["model"]
    local = name == "embedded" or (name or "").startswith("vllm:") or given["batch"] == "vllm-file"
    environment = () if local else tuple(filter(None, [os.environ.get("OPENAI_BASE_URL")]))
    urls = given["base_urls"] or environment
    if name is None and not urls and not given["batch"]:
        name = "embedded"
    env, timeout = given["api_key_env"], given["timeout"]
    models = {"default": ModelSpec(name, urls, env, timeout, given["batch"])}
    if given["judge_model"] or given["judge_base_urls"]:
        own = given["judge_base_urls"]  # a server of its own answers while one waits
        models["judge"] = ModelSpec(given["judge_model"], own or urls, env, timeout, None if own else given["batch"])
    price = None if given["price"] is None else Price.parse(given["price"])
    sampling = SamplingParams(
        temperature=given["temperature"],
        top_p=given["top_p"],
        top_k=given["top_k"],
        max_tokens=given["max_tokens"],
        presence_penalty=given["presence_penalty"],
        frequency_penalty=given["frequency_penalty"],
        stop=given["stop"],
    )
    return Wish(
        recipe=recipe,
        out=given["out"],
        count=given["count"],
        seeds=given["seeds"],
        input=given["input_"],
        documents=given["documents"],
        lang=given["lang"],
        models=models,
        values=_knobs(given["knobs"]),
        sampling=sampling,
        seed=given["seed"],
        formats=tuple(f.strip() for f in (given["formats"] or "").split(",") if f.strip()),
        prompts=given["prompts"],
        effort=Effort(_concurrency(given["concurrency"]), given["retries"], timeout, given["rate"]),
        novel_against=given["novel_against"],
        prices={} if price is None else dict.fromkeys(models, price),
        command=("synthgen", *sys.argv[1:]),
    )


def _knobs(pairs: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"--set {pair}: KNOB=VALUE is expected")
        values[name.strip()] = value.strip()
    return values


def _concurrency(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.UsageError(f"--concurrency {text}: auto or a whole number of at least 1 is expected")
    return int(text)


async def _generate(wish: Wish, budget: Budget | None, given: dict[str, Any]) -> int:
    from synthgen import spending
    from synthgen.cli.progress import Watch, settle_memory
    from synthgen.session import Session

    tell = note_event if given["json_"] else note
    session = Session(wish, tell, budget=budget)
    if wish.models["default"].name == "embedded" and given["model"] is None:
        tell("no --model and no --base-url: using the embedded model (for trying out, not for training data)")
    async with session:
        if given["dry_run"]:
            return await _dry_run(session, given["json_"])
        label = f"{session.kind.name} ({session.lang})"
        watch = Watch(quiet=given["quiet"], json=given["json_"], label=label)
        settle_memory()
        result = await session.generate(watch)
    if budget is not None and result.ending.code in spending.CLEAN:
        spending.settle_up([result.folder])
    with outlasting():
        _close(result, given)
    return result.ending.code


def _close(result: Result, given: dict[str, Any]) -> None:
    from synthgen import report

    ending, again = result.ending, shlex.join(("synthgen", *sys.argv[1:]))
    command = f"synthgen show {shlex.quote(str(result.folder))}" if not ending.code else again
    if given["json_"]:
        event = {"event": "result", "exit_code": ending.code, "message": ending.line, "run": str(result.folder)}
        as_json({**event, **result.summary.as_dict()})
    else:
        report.print_closing(result.summary, str(result.folder), command)
    if ending.line:
        fault(ending.line)


async def _dry_run(session: Session, json_: bool) -> int:
    from synthgen import report

    prompts, found = await session.foresee()
    speaker = session.speakers["default"]
    if json_:
        first = [{"role": m.role, "content": m.content} for m in prompts[0].messages] if prompts else []
        counts = "measured" if speaker.capabilities.measured_tokens else "estimated from characters"
        estimated = found.as_dict() if found else None
        as_json(
            {"event": "result", "model": speaker.model, "prompt": first, "tokens_are": counts, "estimate": estimated}
        )
        return 0
    for message in prompts[0].messages if prompts else ():
        click.echo(f"{click.style(message.role, fg='cyan')}\n{message.content}\n")
    click.echo(f"{'model':<20} {speaker.model}")
    if found is None:
        click.echo(f"nothing is left to do in {session.out}")
        return 0
    for name, value in report.estimate_lines(found.as_dict()):
        click.echo(f"{name:<20} {value}")
    return 0
