"""`serve`: local vLLM servers until Ctrl-C."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.say import as_json, fault, note

if TYPE_CHECKING:
    from synthgen.cli.progress import Watch
    from synthgen.run import Ending
    from synthgen.serve import Fleet


@click.command()
@click.argument("model")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[-- VLLM ARGS]")
@click.option("--replicas", type=click.IntRange(1, 64), default=1, show_default=True, help="Servers of the model.")
@click.option(
    "--start-timeout", type=click.FloatRange(0, min_open=True), help="Seconds to become healthy [default: 1800]."
)
@click.option(
    "--logs", type=click.Path(path_type=Path, file_okay=False), help="Folder of serve-N.log [default: runs/serve]."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="Tracebacks.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def serve(
    model: str,
    args: tuple[str, ...],
    replicas: int,
    start_timeout: float | None,
    logs: Path | None,
    quiet: bool,
    verbose: bool,
    json_: bool,
) -> int:
    """Start local vLLM server(s) of MODEL, wait until they are healthy, print their base URLs; Ctrl-C stops them.

    \b
    Example: synthgen serve Qwen/Qwen2.5-7B-Instruct --replicas 2 -- --max-model-len 4096
    vLLM is that of $SYNTHGEN_VLLM_PYTHON, else of the running Python. Stopping them is exit 0.
    """
    from synthgen import serve as servers
    from synthgen.errors import UsageError

    wanted = servers.Serve(model, replicas, args, start_timeout or servers.START_SECONDS)
    wrong = servers.check_args(wanted)
    if wrong:
        raise UsageError(wrong)
    fleet = servers.Fleet(wanted, servers.logs(logs or Path("runs") / "serve", replicas))
    import asyncio

    return asyncio.run(_serve(fleet, quiet, json_))


async def _serve(fleet: Fleet, quiet: bool, json_: bool) -> int:
    import asyncio

    from synthgen.cli.progress import Watch, signals

    working = asyncio.create_task(_work(fleet, Watch(quiet, json_)))
    stopped: list[Ending] = []

    def stop(ending: Ending) -> None:
        stopped.append(ending)
        working.cancel()

    with signals(stop):
        try:
            return await working
        except asyncio.CancelledError:
            if not stopped:
                raise
    # Whoever starts a server stops it: that is its good end. Before it was up, the user has given up.
    return 0 if fleet.was_up else stopped[0].code


async def _work(fleet: Fleet, watch: Watch) -> int:
    from synthgen.errors import NotAllowed
    from synthgen.serve import fallen

    async with contextlib.AsyncExitStack() as stack:
        async with watch:
            with watch.showing(fleet):
                await stack.enter_async_context(fleet)
        if watch.json:
            as_json({"event": "result", "model": fleet.serve.model, "base_urls": list(fleet.base_urls)})
        else:
            for url in fleet.base_urls:
                click.echo(url)
        if not watch.quiet:
            note(f"{fleet.serve.model} is served, logs in {fleet.logs[0].parent}; Ctrl-C stops it")
        for left in reversed(range(fleet.serve.replicas)):
            server = await fleet.died()
            (note if left else fault)(fallen(fleet.serve, server))
    return NotAllowed.exit_code
