"""`vllm:PATH` on the real CPU build: the server's answers without a server, and no process left however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vllm_server
from command import ROOT
from test_embedded_recipes import check_dataset
from vllm_process_facts import ASKED

from synthgen.backends import ModelSpec, open_backends
from synthgen.backends.http import Http
from synthgen.backends.vllm_model import read_model
from synthgen.errors import SynthgenError, UsageError
from synthgen.types import Completion, Request

# What avoids the death of the CPU build by a seed, as for the servers of the tests.
OPTIONS = "max_model_len=1024&enforce_eager=true&enable_chunked_prefill=false&max_num_batched_tokens=8192"
MODEL = f"{vllm_server.MODEL}?{OPTIONS}&served_model_name=tiny"


def surroundings(core: int = 1) -> dict[str, str]:
    """The environment of a server; warnings of other packages are not ours."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    base = {k: v for k, v in vllm_server.environment(core).items() if not k.startswith("OPENAI_")}
    return {**base, "PYTHONPATH": path, "COLUMNS": "160"}


@pytest.fixture(scope="session")
def vllm_synthgen(vllm_python: str) -> str:
    """vLLM's Python, which can import synthgen too."""
    code = "import orjson, rapidfuzz, synthgen.session"
    done = subprocess.run([vllm_python, "-c", code], env=surroundings(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"install synthgen's dependencies for SYNTHGEN_VLLM_PYTHON (check.sh does): {done.stderr}"
    )
    return vllm_python


@pytest.fixture(scope="module")
def facts(vllm_synthgen: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = ROOT / "tests" / "vllm_process_facts.py"
    done = subprocess.run(
        [vllm_synthgen, str(script), MODEL], env=surroundings(), cwd=tmp_path_factory.mktemp("facts"),
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)  # and nothing else on stdout
    return found


def test_the_engine_answers_as_the_server_does(facts: dict[str, Any], vllm_url: str) -> None:
    async def one(http: Http, request: Request) -> Completion | SynthgenError:
        try:
            return await http.complete(request)
        except SynthgenError as error:
            return error

    async def main() -> dict[str, Completion | SynthgenError]:
        http = Http(f"{vllm_url}/v1", model="tiny", api_key=None)
        try:
            return {name: await one(http, request) for name, request in ASKED.items()}
        finally:
            await http.aclose()

    for name, there in asyncio.run(main()).items():
        here = facts["alone"][name]
        if name == "tools":
            assert here["error"] == "RequestRefused"
            assert "tool" in here["said"]
        elif isinstance(there, Completion):
            counts = ("text", "finish_reason", "prompt_tokens", "completion_tokens")
            assert {key: here.get(key) for key in counts} == {key: getattr(there, key) for key in counts}, name
        else:
            assert here["error"] == type(there).__name__, name


def test_what_the_engine_says_of_itself(facts: dict[str, Any]) -> None:
    probe = facts["probe"]
    assert (probe["models"], probe["context_tokens"], probe["software"]) == (["tiny"], 1024, "vllm")
    assert (probe["seed"], probe["measured_tokens"]) == (True, True)
    assert 0.1 < probe["tokens_per_char"][0] < 0.6
    assert facts["most"] >= 8
    assert [line for line in facts["notes"] if "vLLM is starting in this process" in line] == facts["notes"]


def test_together_as_alone_and_in_the_form_of_a_schema(facts: dict[str, Any]) -> None:
    assert facts["together"] == facts["alone"]
    assert facts["alone"]["chat"] != facts["alone"]["another seed"]
    whole = [a for name, a in facts["alone"].items() if name.startswith("schema") and a["finish_reason"] == "stop"]
    assert whole
    assert {tuple(json.loads(answer["text"])) for answer in whole} == {("reason", "answer")}


def test_a_prompt_too_long_is_refused_with_its_tokens(facts: dict[str, Any]) -> None:
    assert "the context 1,024: no room for an answer" in facts["alone"]["too long"]["said"]


def test_an_engine_that_dies_ends_the_run(facts: dict[str, Any]) -> None:
    assert [answer["error"] for answer in facts["dead"]] == ["NotAllowed", "NotAllowed"]
    assert "has died" in facts["dead"][0]["said"]
    assert facts["left"] == []


def children(pid: int) -> set[int]:
    """All processes below one."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                below.setdefault(int(parent), []).append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    found, todo = set(), [pid]
    while todo:
        more = below.get(todo.pop(), [])
        found.update(more)
        todo += more
    return found


def until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
    return done()


def alive(pids: set[int]) -> list[str]:
    """What still runs of these; a zombie does not."""
    found = []
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[0] != "Z":
            found.append(stat[:60])
    return found


def start(python: str, out: Path, count: int) -> subprocess.Popen[str]:
    args = [python, "-m", "synthgen", "generate", "alpaca", "--count", str(count), "--quiet", "--out", str(out)]
    return subprocess.Popen(
        [*args, "--model", f"vllm:{MODEL}", "--set", "listed=4"], env=surroundings(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=out.parent,
    )  # fmt: skip


def test_killed_it_leaves_no_process_and_goes_on(vllm_synthgen: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with start(vllm_synthgen, out, 5000) as process:
        assert until((out / "run.sqlite").exists, 400), process.communicate()
        below = children(process.pid)
        assert alive(below)
        process.kill()
    assert until(lambda: not alive(below), 30), alive(below)
    with start(vllm_synthgen, out, 20) as process:
        assert until((out / "alpaca.jsonl").exists, 500), process.communicate()
        below = children(process.pid)
        said, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "accepted" in said
    assert [line for line in err.splitlines() if not line.startswith("note: ")] == []
    check_dataset(out, "en", 20)
    assert until(lambda: not alive(below), 30), alive(below)


def test_interrupted_while_it_starts_it_leaves_no_process(vllm_synthgen: str, tmp_path: Path) -> None:
    with start(vllm_synthgen, tmp_path / "run", 20) as process:
        assert until(lambda: len(children(process.pid)) >= 2, 200), process.communicate()  # the engine's is there
        below = children(process.pid)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert until(lambda: not alive(below), 30), alive(below)


# From here on without vLLM.


def test_a_path_with_options() -> None:
    model = read_model(MODEL)
    assert (model.path, model.name, model.context_tokens()) == (str(vllm_server.MODEL), "tiny", 1024)
    assert model.typed["enforce_eager"] is True
    assert model.flags()[:5] == [
        "--max-model-len",
        "1024",
        "--enforce-eager",
        "--no-enable-chunked-prefill",
        *model.flags()[4:5],
    ]
    plain = read_model(str(vllm_server.MODEL))
    assert (plain.name, plain.context_tokens()) == (str(vllm_server.MODEL), 1024)
    hub = read_model("owner/name?gpu-memory-utilization=0.8")
    assert (hub.path, hub.typed, hub.context_tokens()) == ("owner/name", {"gpu_memory_utilization": 0.8}, None)


@pytest.mark.parametrize(
    ("name", "urls", "says"),
    [
        ("vllm:/nowhere/at/all", (), "no model in that folder"),
        ("vllm:owner/name?max_model_len", (), "NAME=VALUE&NAME=VALUE"),
        ("vllm:owner/name?max_model_len=", (), "NAME=VALUE&NAME=VALUE"),
        ("vllm:owner/name", ("http://h/v1",), "--base-url http://h/v1 does not go with it"),
    ],
)
def test_what_is_no_model(name: str, urls: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_backends(ModelSpec(name, urls))


def test_without_vllm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.backends.vllm_process.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"vllm is not installed for this Python; pip install .*`vllm serve owner/name`"
    ):
        open_backends(ModelSpec("vllm:owner/name"))


def test_an_option_that_vllm_does_not_have(vllm_synthgen: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [vllm_synthgen, "-m", "synthgen", "generate", "alpaca", "--model", f"vllm:{vllm_server.MODEL}?max_model_length=9"],
        env=surroundings(), cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "vLLM has no engine argument max_model_length; did you mean max_model_len?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
