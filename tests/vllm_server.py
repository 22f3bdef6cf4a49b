"""A real vLLM server for tests: started on a free port, given as a URL, stopped with everything it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MODEL = Path(__file__).parents[1] / "models" / "instruct"
NAME = "tiny"
CONTEXT_TOKENS = 1024
START_SECONDS = 400  # 120-240 s on two shared cores
STOP_SECONDS = 40  # --shutdown-timeout is 20; connections that still wait hold it up longer
FLAGS = [
    *("--served-model-name", NAME, "--host", "127.0.0.1", "--max-model-len", str(CONTEXT_TOKENS), "--enforce-eager"),
    # A seed kills the CPU server when the prompts of one step exceed max-num-batched-tokens: these two avoid it.
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
    *("--shutdown-timeout", "20"),  # requests in flight finish at SIGTERM; with the default 0 they hang
]


@dataclass(frozen=True)
class Server:
    """A running server. `url` ends without a slash and without `/v1`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Die at once, as from a power cut: SIGKILL to the API process and its engine."""
        with suppress(ProcessLookupError):  # the group is gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM to the API process, which ends its engine; SIGKILL for what is left of the group after that."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as refusal:
            refusal.close()  # an open body would be a ResourceWarning, and warnings are errors here
            return False
        except OSError:
            return False

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def serving(
    python: str, log: Path, *flags: str, model: Path = MODEL, core: int = 0, start_seconds: float = START_SECONDS
) -> Iterator[Server]:
    """A server that answers /health with 200. Its engine is pinned to one `core`: two servers need two cores.

    `flags` are added to the command. Raises RuntimeError with the end of the log when the server dies or is not up
    after `start_seconds`.
    """
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *FLAGS, *flags],
            env=environment(core),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until_healthy(server, start_seconds)
        yield server
    finally:
        server.stop()


def wait_until_healthy(server: Server, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not server.healthy():
        if server.process.poll() is not None:
            raise RuntimeError(f"vLLM ended with exit code {server.process.returncode}:\n{server.tail()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"vLLM was not up after {seconds:.0f} s:\n{server.tail()}")
        time.sleep(0.5)


def environment(core: int) -> dict[str, str]:
    """This process' environment for a server: offline, one GiB of KV cache, one core."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # vLLM reads an empty variable as a value and fails on it; a key of the user's would lock the tests out
        if name != "VLLM_API_KEY" and (value or not name.startswith(("VLLM_", "OMP_", "HF_")))
    }
    return kept | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(core),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def why_unusable() -> str | None:
    """Why no server can be started here, in one line; None when one can."""
    if os.environ.get("SYNTHGEN_NO_VLLM") == "1":
        return "no vLLM server: SYNTHGEN_NO_VLLM=1"
    python = os.environ.get("SYNTHGEN_VLLM_PYTHON")
    if not python:
        return "no vLLM server: SYNTHGEN_VLLM_PYTHON is unset (check.sh sets it)"
    try:
        # not `import vllm`: that takes ten seconds, and an installed vLLM that is broken should fail, not skip
        look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
        absent = subprocess.run([python, "-I", "-c", look], check=False).returncode
    except OSError as error:
        return f"no vLLM server: SYNTHGEN_VLLM_PYTHON: {error}"
    return f"no vLLM server: vllm is not installed for SYNTHGEN_VLLM_PYTHON={python}" if absent else None
