"""`doctor`: what is installed, which servers answer, what would be used."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from synthgen.cli.say import as_json

_CORE = ("aiohttp", "click", "jinja2", "numpy", "orjson", "rapidfuzz", "rich")
_EXTRAS = {
    "openai": ("openai",),
    "hub": ("datasets",),
    "semantic": ("sentence-transformers",),
    "vllm": ("vllm",),
    "finetune": ("torch", "transformers", "datasets"),
}


@click.command()
@click.option("--base-url", "base_urls", multiple=True, help="A server to try; repeatable (default: OPENAI_BASE_URL).")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def doctor(base_urls: tuple[str, ...], json_: bool) -> int:
    """Say what is installed, which servers answer and what would be used; exit 4 if a server does not.

    Example: synthgen doctor --base-url http://localhost:8000/v1
    """
    urls = base_urls or tuple(u for u in (os.environ.get("OPENAI_BASE_URL"),) if u)
    import asyncio

    servers = [asyncio.run(_try(url)) for url in urls]
    found = {
        "python": sys.version.split()[0],
        "core": {name: _version(name) for name in _CORE},
        "extras": {extra: {name: _version(name) for name in names} for extra, names in _EXTRAS.items()},
        "servers": servers,
        "vllm_python": _vllm_python(),
        "default_model": "the server above" if os.environ.get("OPENAI_BASE_URL") else "embedded",
        "embedded_model": _embedded(),
    }
    if json_:
        as_json(found)
    else:
        _print(found)
    return 4 if any(s["error"] for s in servers) else 0


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for distribution in (name, f"{name}-cpu"):  # vLLM's build for machines without a GPU
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _vllm_python() -> dict[str, str | None]:
    from synthgen.errors import UsageError
    from synthgen.serve import find_software

    try:
        return {"path": find_software().python, "error": None}
    except UsageError as error:
        return {"path": None, "error": str(error)}


def _embedded() -> str:
    from synthgen.data import folder

    path = folder("models") / "instruct"
    return str(path) if (path / "config.json").is_file() else f"missing ({path})"


async def _try(url: str) -> dict[str, Any]:
    from synthgen.backends.http import Http
    from synthgen.errors import SynthgenError, UsageError

    server = Http(url, model=None, api_key=os.environ.get("OPENAI_API_KEY"), timeout_seconds=20)
    try:
        seen = await server.probe()
    except UsageError as error:  # several models: it answers, and wants a choice
        return {"url": url, "error": None, "models": [str(error)], "context_tokens": None, "software": "unknown"}
    except SynthgenError as error:
        return {"url": url, "error": str(error)}
    finally:
        await server.aclose()
    about = {"models": list(seen.models), "context_tokens": seen.context_tokens, "software": seen.software}
    return {"url": url, "error": None, **about}


def _print(found: dict[str, Any]) -> None:
    click.echo(f"Python {found['python']}")
    for name, version in found["core"].items():
        click.echo(f"  {name:<14} {version or 'MISSING'}")
    for extra, names in found["extras"].items():
        have = ", ".join(f"{n} {v}" for n, v in names.items() if v)
        lack = [n for n, v in names.items() if not v]
        hint = f'not installed: {", ".join(lack)} (pip install "synthgen[{extra}]")' if lack else ""
        click.echo(f"  [{extra}] {have} {hint}".replace("  not", " not"))
    for server in found["servers"]:
        good = f"{', '.join(server['models'])} (context {server['context_tokens']})" if not server["error"] else ""
        click.echo(f"server {server['url']}: {server['error'] or good}")
    vllm = found["vllm_python"]
    click.echo(f"Python for vLLM (serve, --batch vllm-file): {vllm['path'] or vllm['error']}")
    click.echo(f"model when none is given: {found['default_model']}")
    click.echo(f"embedded model: {found['embedded_model']}")
