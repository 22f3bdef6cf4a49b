"""The row of the real server: tokens a second of synthgen against vLLM's own benchmark client on the same server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.engine.kit import ROOT, Bench, environment, last_line, prompts, respond, trouble
from benchmarks.table import Row

PROMPTS, TOKENS, CONCURRENCY = 256, 48, 64
_NAME, _GOAL = "vllm", ">= 0.95x the tokens/s of vllm bench serve"


def vllm(bench: Bench) -> list[Row]:
    """Greedy, the same prompts and the same most tokens, in turn; the first turn warms the prefix cache for both."""
    sys.path.insert(0, str(ROOT / "tests"))
    from vllm_server import MODEL, serving, why_unusable

    why = why_unusable()
    if why is not None:
        return [Row(_NAME, _GOAL, why, None)]
    python, home = os.environ["SYNTHGEN_VLLM_PYTHON"], bench.folder()
    source = prompts(home / "prompts.jsonl", PROMPTS)
    ours: list[float] = []
    theirs: list[float] = []
    tokens = (0, 0)
    with serving(python, home / "server.log") as server:
        for turn in range(4):
            theirs_now, our_now = _bench(python, server.url, source, MODEL), _ours(server.url, source, home / f"{turn}")
            for told in (theirs_now, our_now):
                if isinstance(told, str):
                    return [Row(_NAME, _GOAL, told, passed=False)]
            assert not isinstance(theirs_now, str)
            assert not isinstance(our_now, str)
            tokens = our_now[1], theirs_now[1]
            if turn:
                theirs.append(theirs_now[0])
                ours.append(our_now[0])
    ratio = median(ours) / median(theirs)
    figure = (
        f"{ratio:.2f}x ({median(ours):,.0f} against {median(theirs):,.0f} tokens/s; {tokens[0]:,} and {tokens[1]:,})"
    )
    alike = abs(tokens[0] - tokens[1]) <= 0.05 * tokens[1]  # else it would be another task, not another pace
    return [Row(_NAME, _GOAL, figure, alike and ratio >= 0.95)]


def _ours(url: str, source: Path, home: Path) -> tuple[float, int] | str:
    """(tokens a second, tokens) by the run's own result, files included; or what went wrong."""
    home.mkdir()
    flags = ["--temperature", "0", "--max-tokens", str(TOKENS), "--set", "cut=keep", "--json"]
    ran = respond([f"{url}/v1"], source, home / "run", *flags)
    wrong = trouble(ran, home / "run", PROMPTS)
    if wrong:
        return f"synthgen: {wrong}"
    result = json.loads(next(line for line in ran.said.splitlines() if '"result"' in line))
    return result["completion_tokens"] / result["seconds"], int(result["completion_tokens"])


def _bench(python: str, url: str, source: Path, model: Path) -> tuple[float, int] | str:
    """The same of `vllm bench serve`, by its own clock."""
    result = source.parent / "bench.json"
    command = [
        *(python, "-c", _CLIENT, "--backend", "openai-chat"),
        *("--base-url", url, "--endpoint", "/v1/chat/completions", "--model", "tiny", "--tokenizer", str(model)),
        *("--dataset-name", "custom", "--dataset-path", str(source), "--num-prompts", str(PROMPTS)),
        *("--custom-output-len", str(TOKENS), "--skip-chat-template", "--temperature", "0", "--disable-tqdm"),
        *("--max-concurrency", str(CONCURRENCY), "--save-result", "--result-filename", str(result)),
    ]
    told = subprocess.run(command, env=environment() | _OFFLINE, capture_output=True, text=True, check=False)
    if told.returncode or not result.exists():
        return f"vllm bench serve: exit {told.returncode}: {last_line(told.stderr)}"
    found = json.loads(result.read_text())
    result.unlink()
    if found["completed"] != PROMPTS:
        return f"vllm bench serve: {found['completed']} of {PROMPTS} answered"
    return found["output_throughput"], int(found["total_output_tokens"])


# What `vllm bench serve` runs; the command itself asks for a package named vllm, which the CPU build is not, and reads
# prompts by pandas, which is an extra. What is measured is untouched.
_CLIENT = """
import json
from vllm.benchmarks.datasets import datasets
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

def load_data(self):
    with open(self.dataset_path, encoding="utf-8") as file:
        self.data = [json.loads(line) for line in file]

datasets.CustomDataset.load_data = load_data
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
