"""A bounded OpenAI-compatible server that costs next to nothing: raw HTTP/1.1, answers made from the request's bytes.

python benchmarks/engine/fake.py --port 0 --latency 0.2 --slots 256

prints its base URL, then the URL of its control port, which outlives /_die: /_log, /_stats, /_die.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import signal
import socket
import struct
import time
from collections import Counter, deque
from hashlib import blake2b
from math import exp
from random import Random

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SEED = re.compile(rb'"seed": ?\d+,? ?|, ?"seed": ?\d+')
_TEXT = (
    "the river keeps its own time and a careful reader will notice how each answer names one cause before it turns "
    "to what follows from that so write it down in order then check every step against the question once more"
)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST


def response(status: bytes, body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status, head, len(body), body,
    )  # fmt: skip


def fault(status: bytes, message: bytes, head: bytes = b"") -> bytes:
    code = status.split()[0]
    return response(status, b'{"error":{"message":"%b","type":"fake","param":null,"code":%b}}' % (message, code), head)


BROKEN = fault(b"500 Internal Server Error", b"EngineCore encountered an issue")
BUSY = fault(b"429 Too Many Requests", b"too many requests", b"Retry-After: 1\r\n")
REFUSED = fault(b"400 Bad Request", b"this prompt is refused")
LOST = fault(b"404 Not Found", b"no such path")


def halves(finish: bytes) -> list[tuple[bytes, bytes]]:
    """256 answers of 30 to 140 words, each as what comes before its identity and what comes after."""
    rng, vocabulary = Random(0), _TEXT.split()
    made = []
    for _ in range(256):
        words = rng.choices(vocabulary, k=rng.randint(30, 140))
        tail = b' %b."},"finish_reason":"%b"}],"usage":%b}' % (
            " ".join(words).encode(),
            finish,
            b'{"prompt_tokens":60,"completion_tokens":%d,"total_tokens":%d}' % (len(words), len(words) + 60),
        )
        head = b'{"id":"x","object":"chat.completion","created":0,"model":"fake","choices":[{"index":0,'
        head += b'"message":{"role":"assistant","content":"'
        start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        made.append((start % (len(head) + 16 + len(tail)) + head, tail))
    return made


class Job:
    """One request on its way: what will be sent, after how many seconds of service."""

    __slots__ = ("answer", "connection", "good", "identity", "queued", "seconds", "timer")

    def __init__(self, connection: Connection, identity: bytes, answer: bytes, seconds: float, *, good: bool) -> None:
        self.connection, self.identity, self.answer, self.seconds = connection, identity, answer, seconds
        self.good, self.queued = good, False
        self.timer: asyncio.TimerHandle | None = None


class Server:
    """Slots with a first-come queue before them; counts by identity, which is the hash of a body without its seed."""

    def __init__(self, args: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> None:
        self.args, self.loop = args, loop
        self.slots = args.slots or 1 << 30
        rng = Random(1)
        self.latencies = [
            args.latency * args.service_factor * exp(rng.gauss(0, args.sigma) - args.sigma**2 / 2) for _ in range(4096)
        ]
        self.whole, self.short = halves(b"stop"), halves(b"length")
        self.refuse = args.refuse.encode()
        self.queue: deque[Job] = deque()
        self.running = self.waiting = self.most_waiting = self.most_in_flight = 0
        self.requests: Counter[bytes] = Counter()
        self.deliveries: Counter[bytes] = Counter()
        self.statuses: Counter[str] = Counter()
        self.truncated: set[bytes] = set()
        self.first: float | None = None
        self.died: float | None = None
        self.times: list[float] = []
        self.connections: set[Connection] = set()
        self.listening: asyncio.Server | None = None

    def ask(self, connection: Connection, body: bytes) -> Job | None:
        """Take a request in; None when it was answered at once."""
        if self.first is None:
            self.first = time.monotonic()
        bare = _SEED.sub(b"", body) if b'"seed":' in body else body
        digest = blake2b(bare, digest_size=8)
        identity = digest.digest()
        self.requests[identity] += 1
        if self.refuse and self.refuse in body:
            return self.at_once(connection, REFUSED, "400")
        digest.update(b"%d" % self.requests[identity])  # a fault hits an attempt, not a prompt
        draw = int.from_bytes(digest.digest()[:4], "big") / 2**32
        args, number = self.args, int.from_bytes(identity, "big")
        seconds = self.latencies[number & 4095]
        if draw < args.p429:
            return self.at_once(connection, BUSY, "429")
        draw -= args.p429
        if draw < args.p500:
            return self.place(Job(connection, identity, BROKEN, seconds, good=False))
        if draw - args.p500 < args.p_straggler:
            seconds += args.straggler_seconds
        short = (number >> 12) % 10_000 < args.p_truncated * 10_000
        if short:
            self.truncated.add(identity)
        head, tail = (self.short if short else self.whole)[number >> 56]
        answer = b"%b%b%b" % (head, identity.hex().encode(), tail)
        return self.place(Job(connection, identity, answer, seconds, good=True))

    def at_once(self, connection: Connection, answer: bytes, status: str) -> None:
        self.statuses[status] += 1
        connection.transport.write(answer)

    def place(self, job: Job) -> Job:
        if self.running < self.slots:
            self.serve(job)
        else:
            job.queued = True
            self.queue.append(job)
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        self.most_in_flight = max(self.most_in_flight, self.running + self.waiting)
        return job

    def serve(self, job: Job) -> None:
        self.running += 1
        job.queued = False
        job.timer = self.loop.call_later(job.seconds, self.end, job)

    def end(self, job: Job) -> None:
        """The service is over: send, count what was handed to a live connection, give the slot to the next."""
        transport = job.connection.transport
        if not transport.is_closing():
            transport.write(job.answer)
            self.statuses["200" if job.good else "500"] += 1
            if job.good:
                self.deliveries[job.identity] += 1
                self.times.append(time.monotonic())
        self.free()
        job.connection.ready()

    def free(self) -> None:
        self.running -= 1
        while self.queue and self.running < self.slots:
            job = self.queue.popleft()
            if job.queued:  # else its client went away while it waited
                self.waiting -= 1
                self.serve(job)

    def drop(self, job: Job) -> None:
        """The client is gone: its slot is free at once, as on a real server."""
        if job.queued:
            job.queued = False
            self.waiting -= 1
        elif job.timer is not None:
            job.timer.cancel()
            self.free()

    def die(self) -> None:
        """Reset every connection and refuse new ones."""
        self.died = time.monotonic()
        if self.listening is not None:
            self.listening.close()
        for connection in list(self.connections):
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.transport.abort()

    def look(self, path: bytes) -> bytes:
        """GET."""
        if path == b"/v1/models":
            owner = b"vllm" if self.args.gauge else b"fake"
            entry = b'{"id":"fake","object":"model","owned_by":"%b","max_model_len":8192}' % owner
            return response(b"200 OK", b'{"object":"list","data":[%b]}' % entry)
        if path == b"/health":
            return response(b"200 OK", b"")
        if path == b"/metrics" and self.args.gauge:
            line = 'vllm:num_requests_{}{{engine="0",model_name="fake"}} {}.0\n'
            text = line.format("running", self.running) + line.format("waiting", self.waiting)
            return response(b"200 OK", text.encode())
        return LOST

    def stats(self) -> dict[str, object]:
        return {
            "requests": self.requests.total(),
            "delivered": len(self.times),
            "running": self.running,
            "waiting": self.waiting,
        }

    def log(self) -> dict[str, object]:
        return {
            "requests": {i.hex(): n for i, n in self.requests.items()},
            "deliveries": {i.hex(): n for i, n in self.deliveries.items()},
            "truncated": [i.hex() for i in self.truncated],
            "statuses": self.statuses,
            "most_waiting": self.most_waiting,
            "most_in_flight": self.most_in_flight,
            "first": self.first,
            "died": self.died,
            "times": self.times,
            "cpu_seconds": time.process_time(),
        }


class Connection(asyncio.Protocol):
    """One keep-alive connection; a request that comes before its predecessor is answered waits in the buffer."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.job: Job | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.job is not None:
            job, self.job = self.job, None
            self.server.drop(job)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        self.read()

    def ready(self) -> None:
        self.job = None
        if self.buffer:
            self.read()

    def read(self) -> None:
        """Take whole requests from the buffer until one has to wait for its answer."""
        while self.job is None and self.buffer:
            end = self.buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            head = self.buffer[:end]
            length = _LENGTH.search(head)
            after = end + (int(length.group(1)) if length else 0)
            if len(self.buffer) < after:
                return
            body, self.buffer = self.buffer[end:after], self.buffer[after:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            self.transport.write(self.server.look(path))
        elif path == b"/v1/chat/completions":
            self.job = self.server.ask(self, body)
        elif path == b"/tokenize" and self.server.args.gauge:
            self.transport.write(response(b"200 OK", b'{"count":%d,"max_model_len":8192}' % (len(body) // 4)))
        else:
            self.transport.write(LOST)


class Control(Connection):
    """The harness' own door; not among the connections that die."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/_die":
            self.server.die()
        told = self.server.log() if path == b"/_log" else self.server.stats()
        self.transport.write(response(b"200 OK", json.dumps(told).encode()))


async def serve(args: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    server = Server(args, loop)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", args.port, backlog=4096)
    control = await loop.create_server(lambda: Control(server), "127.0.0.1", 0)
    server.listening = listening
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    print(f"http://127.0.0.1:{control.sockets[0].getsockname()[1]}", flush=True)
    gc.disable()  # nothing here makes cycles that matter, and a pause would be felt by every arm
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds of service, the mean")
    parser.add_argument("--sigma", type=float, default=0.0, help="of a log-normal latency; 0: fixed")
    parser.add_argument("--service-factor", type=float, default=1.0, help="this server is so many times slower")
    parser.add_argument("--slots", type=int, default=0, help="requests served at once; 0: no bound")
    parser.add_argument("--gauge", action="store_true", help="be a vLLM server: owned_by, /metrics, /tokenize")
    parser.add_argument("--p500", type=float, default=0.0)
    parser.add_argument("--p429", type=float, default=0.0, help="with Retry-After: 1")
    parser.add_argument("--p-straggler", type=float, default=0.0)
    parser.add_argument("--straggler-seconds", type=float, default=5.0)
    parser.add_argument("--p-truncated", type=float, default=0.0, help="of prompts, at every attempt")
    parser.add_argument("--refuse", default="", metavar="MARKER", help="a prompt with this text is always a 400")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
