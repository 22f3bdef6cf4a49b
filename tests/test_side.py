"""Gauge and health of a server over HTTP: read where they are, and nobody's failure where they are not."""

from __future__ import annotations

import asyncio

import pytest
from fake_server import FakeServer

from synthgen.backends.http import Http, refusal
from synthgen.backends.side import read_gauge
from synthgen.errors import BackendError
from synthgen.load import Pool
from synthgen.types import Gauge, Request

# As vLLM 0.32 writes it, two engines, with names that only begin alike.
METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 1e+01
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 7.0
vllm:request_success_total{engine="0",finished_reason="stop"} 99.0
"""


def test_the_gauges_of_all_engines_are_summed() -> None:
    assert read_gauge(METRICS) == Gauge(7, 10)
    assert read_gauge(b"vllm:num_requests_running 1\nvllm:num_requests_waiting 2\n") == Gauge(1, 2)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"python_info 1\n",
        b"vllm:num_requests_running 3\n",
        b"vllm:num_requests_running e\n" * 2,
        b"\xff",
    ],
)
def test_what_is_no_gauge(text: bytes) -> None:
    assert read_gauge(text) is None


def test_over_http() -> None:
    async def main() -> None:
        async with FakeServer(gauge=True) as server:
            http = Http(server.base_url, model="fake", api_key=None)
            assert await http.gauge() == Gauge(0, 0)
            assert await http.healthy() is True
            await server.stop()
            assert await http.healthy() is False
            with pytest.raises(BackendError):
                await http.gauge()
            await http.aclose()

    asyncio.run(main())


def test_a_server_without_either() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            http = Http(server.base_url, model="fake", api_key=None)
            assert await http.gauge() is None
            pool = Pool([http], concurrency=None)
            assert (await pool.complete(Request("fake", "say"))).text
            await pool.aclose()

    asyncio.run(main())


def test_a_server_with_slots_is_filled_by_its_gauge() -> None:
    async def main() -> None:
        async with FakeServer(gauge=True, slots=40, delay=0.3, script="echo") as server:
            pool = Pool([Http(server.base_url, model="fake", api_key=None)], concurrency=None)
            await asyncio.gather(*(pool.complete(Request("fake", f"say {n}")) for n in range(200)))
            assert 40 <= server.most_in_flight <= 80
            await pool.aclose()

    asyncio.run(main())


def test_what_a_dead_engine_and_a_busy_server_say() -> None:
    dead = refusal(500, {}, b'{"error":{"message":"EngineCore encountered an issue. See stack trace","code":500}}')
    assert isinstance(dead, BackendError)
    assert (dead.died, dead.busy) == (True, False)
    for status, busy in ((429, True), (503, True), (500, False), (502, False)):
        error = refusal(status, {}, b"")
        assert isinstance(error, BackendError)
        assert (error.died, error.busy) == (False, busy)
