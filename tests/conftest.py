"""Fixtures for the whole test run: real vLLM servers and TRL, files that others made, a server that misbehaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from faulty import Faulty
from faulty import serving as faulty_serving
from trl_reader import Trl, reading, why_no_trl
from vllm_server import START_SECONDS, Server, serving, why_unusable

# A shell that starts a job in the background lets it ignore Ctrl-C, and every process below it: the tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

VLLM_FIXTURES = {"vllm_python", "vllm_url", "vllm_factory"}


@pytest.hookimpl(tryfirst=True)  # before -m selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a server is marked `vllm`, and has time for two to start."""
    for item in items:
        if VLLM_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("vllm")
            item.add_marker(pytest.mark.timeout(600 + 2 * START_SECONDS))
        elif "trl" in getattr(item, "fixturenames", ()):
            item.add_marker("trl")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips from here, not from a fixture: the summary then folds them into one line."""
    if item.get_closest_marker("vllm") and (reason := why_unusable()):
        pytest.skip(reason)
    if item.get_closest_marker("trl") and (reason := why_no_trl()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def vllm_python() -> str:
    return os.environ["SYNTHGEN_VLLM_PYTHON"]


@pytest.fixture(scope="session")
def vllm_url(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The one server that the session shares, without `/v1`: started by the first test that asks. Leave it alive."""
    with serving(vllm_python, tmp_path_factory.mktemp("vllm") / "server.log") as server:
        yield server.url


@pytest.fixture
def vllm_factory(vllm_python: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`vllm_factory(*flags)` starts a server of the test's own, on core 1: to kill, or to run with more flags."""
    with ExitStack() as stack:

        def start(*flags: str) -> Server:
            return stack.enter_context(serving(vllm_python, tmp_path / "vllm.log", *flags, core=1))

        yield start


@pytest.fixture(scope="session")
def trl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trl]:
    """TRL's trainers, in one process for all tests: what they see in a file."""
    folder = tmp_path_factory.mktemp("trl")
    with reading(os.environ["SYNTHGEN_VLLM_PYTHON"], folder / "trl.log") as reader:
        yield reader


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real files that others made, beside the checkout; absent on most machines."""
    folder = Path(os.environ.get("SYNTHGEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no shared data beside the checkout (SYNTHGEN_SHARED_DATA names it)")
    return folder


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Faulty]:
    """A server that misbehaves on demand, one for a module."""
    with faulty_serving() as server:
        yield server


@pytest.fixture
def server(shared_server: Faulty) -> Faulty:
    """The same, as good as new."""
    shared_server.reset()
    return shared_server


@pytest.fixture
def hub_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The `datasets` library, without a network and with its cache in the test's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "hf" / "modules"))
    return datasets
