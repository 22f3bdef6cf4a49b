"""An API server with an engine of its own that is deaf to SIGTERM; the model's name says how it behaves."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys

from tests.fake_server import FakeServer, serve


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--model", "--host", "--port"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    print(f"INFO loading {given.model}", flush=True)
    if "no-model" in given.model:
        sys.exit(f"OSError: {given.model} is not a local folder and is not a valid model identifier")
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", deaf, given.model], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        start_delay = 1e9 if "never" in given.model else 0.0
        server = FakeServer(
            port=int(given.port), model=given.model, delay=given.delay, start_delay=start_delay, context_tokens=4096
        )
        asyncio.run(serve(server))


if __name__ == "__main__":
    main()
