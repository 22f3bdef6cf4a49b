"""Texts become vectors: looked up, asked for in batches through the pool, on disk, and only then handed over."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.backends import ModelSpec, open_backends
from synthgen.backends.embeddings import MOST_TEXTS, encode
from synthgen.budget import Budget, Hold, Price
from synthgen.errors import BackendError, NotAllowed, RequestRefused, SynthgenError, UsageError
from synthgen.speakers import Effort, Speaker, Speakers
from synthgen.types import Completion, Embeddings, Request
from synthgen.vectorstore import VectorStore, key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In the folder where the command runs: another threshold, another file and another OUT ask for nothing again.
STORE = Path(".synthgen") / "embeddings.sqlite"
MOST_TOKENS = 16_384  # a request, by estimate: a text that is longer goes alone
_WINDOW = 1024  # texts that are looked up at once
_PROBE = "embedding"
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class EmbeddingWish:
    """Which model, how hard its servers are worked, and what may be spent."""

    spec: ModelSpec
    store: Path
    effort: Effort = Effort()
    price: Price | None = None
    budget: Budget | None = None


@dataclass(slots=True)
class Paid:
    """What was asked so far; `stored` texts had a vector, `refused` ones have none: why, for the first."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    usd: float | None = None
    stored: int = 0
    refused: int = 0
    first_refused: str = ""


@dataclass(frozen=True, slots=True)
class _Text:
    """One text on its way to a vector."""

    key: bytes
    text: str
    tokens: int


class Embedder:
    """Vectors of one model. The server is not asked, not even for what it serves, before a text lacks a vector."""

    def __init__(self, wish: EmbeddingWish, note: Callable[[str], None]) -> None:
        self.wish = wish
        self.model = ""  # once it is open
        self.dimensions = 0
        self.paid = Paid()
        self._opened: VectorStore | None = None
        self._speakers = Speakers(wish.effort, note)
        self._speaker: Speaker | None = None
        self._most_texts = MOST_TEXTS
        self._lacking: set[bytes] = set()  # refused, of this command
        self._under_way: set[bytes] = set()

    @property
    def _store(self) -> VectorStore:
        """Raises StoreError as VectorStore does."""
        if self._opened is None:
            self._opened = VectorStore(self.wish.store)
        return self._opened

    async def open(self) -> None:
        """Know the model's name and the length of its vectors. Raises NotAllowed where it makes none."""
        if self.model:
            return
        name = self.wish.spec.name
        # The weights of a local model are part of its name; a server is asked where the user does not say the name.
        if name and not name.startswith("local:"):
            with _named():
                open_backends(self.wish.spec)  # that nothing says where it is served is told before anything is written
            model = name.removeprefix("openai:")
        else:
            model = (await self._ask()).model
        if self._store.dimensions(model) is None:
            try:
                await self._embed([_Text(key(encode(model, [_PROBE])), _PROBE, 1)])
            except RequestRefused as error:
                raise NotAllowed(f"{model} makes no embeddings: {error}") from error
        self.model, self.dimensions = model, self._store.dimensions(model) or 0

    async def prepare(self, texts: Iterable[str]) -> None:
        """Have the vectors of all of these on disk; memory holds a window of them and what is under way.

        Raises what the pool raises, once everything else that is under way is on disk.
        """
        await self.open()
        self._under_way.clear()
        tasks: set[asyncio.Task[None]] = set()
        try:
            for batch in self._batches(texts):
                speaker = await self._ask()
                tasks.add(asyncio.create_task(self._embed_whole(batch)))
                while len(tasks) >= speaker.pool.width:
                    tasks = await _first(tasks)
            while tasks:
                tasks = await _first(tasks)
        except SynthgenError:
            await asyncio.gather(*tasks, return_exceptions=True)  # paid for: they shall be stored
            raise
        finally:
            for task in tasks:
                task.cancel()

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A row a text, shape (n, dimensions); zeros for a text that is blank or that the model refuses."""
        import numpy as np

        await self.open()
        paid_before = self.paid.texts
        await self.prepare(texts)
        keys = [self._key(text) for text in texts]
        wanted = [name for name in dict.fromkeys(keys) if name and name not in self._lacking]
        found = self._store.find(wanted)
        self.paid.stored += len(wanted) - (self.paid.texts - paid_before)
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, name in zip(rows, keys, strict=True):
            if name and name not in self._lacking:
                row[:] = np.frombuffer(found[name], "<f4")
        return rows

    def account(self) -> Iterator[str]:
        """What the user should know in the end, one line each: what was refused, what was paid and where it is kept."""
        paid = self.paid
        if paid.refused:
            texts = "text has" if paid.refused == 1 else "texts have"
            yield f"{paid.refused} {texts} no embedding and took no part in semantic, the first: {paid.first_refused}"
        if paid.requests:
            usd = "" if paid.usd is None else f", ${paid.usd:.4g}"
            yield (
                f"{_many(paid.texts, 'text')} embedded ({_many(paid.requests, 'request')}, "
                f"{_many(paid.tokens, 'token')}{usd}); kept in {self.wish.store}: "
                "commands that run here ask for none of them again"
            )

    async def aclose(self) -> None:
        await self._speakers.aclose()

    def close(self) -> None:
        """After `aclose`, when the loop has ended: what was being written is on disk then."""
        if self._opened is not None:
            self._opened.close()

    def _key(self, text: str) -> bytes:
        """Empty for a text that has no vector: models refuse a blank one, or make of it what means nothing."""
        try:
            return key(encode(self.model, [text])) if text.strip() else b""
        except RequestRefused:
            return b""

    def _batches(self, texts: Iterable[str]) -> Iterator[list[_Text]]:
        """What lacks a vector, each text once, in requests of a size that a server takes."""
        batch: list[_Text] = []
        tokens = 0
        for one in self._missing(texts):
            if batch and (len(batch) >= self._most_texts or tokens + one.tokens > MOST_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append(one)
            tokens += one.tokens
        if batch:
            yield batch

    def _missing(self, texts: Iterable[str]) -> Iterator[_Text]:
        rest = iter(texts)
        while window := list(islice(rest, _WINDOW)):
            named = {name: text for text in window if (name := self._key(text))}
            there = self._store.find(list(named))
            for name, text in named.items():
                if name not in there and name not in self._lacking and name not in self._under_way:
                    self._under_way.add(name)
                    yield _Text(name, text, self._speaker.count_tokens(text) if self._speaker else len(text) // 3 + 1)

    async def _ask(self) -> Speaker:
        """The model's servers, asked what they are when something is to be asked of them."""
        if self._speaker is None:
            with _named():
                self._speaker = await self._speakers.open(self.wish.spec)
        return self._speaker

    async def _embed_whole(self, batch: list[_Text]) -> None:
        """Store the vectors of a batch; where the model refuses it, those of its halves, down to the text at fault."""
        try:
            await self._embed(batch)
        except RequestRefused as error:
            if len(batch) > 1:
                half, refused = (len(batch) + 1) // 2, self.paid.refused
                await self._embed_whole(batch[:half])
                await self._embed_whole(batch[half:])
                if self.paid.refused == refused:  # no text was at fault: it was their number
                    self._most_texts = min(self._most_texts, half)
            else:
                self._lacking.add(batch[0].key)
                self.paid.refused += 1
                self.paid.first_refused = self.paid.first_refused or f"{_start(batch[0].text)}: {error}"
        finally:
            self._under_way.difference_update(one.key for one in batch)

    async def _embed(self, batch: list[_Text]) -> None:
        speaker, wish = await self._ask(), self.wish
        texts = tuple(one.text for one in batch)
        request = Request(speaker.model, texts[0], kind="embed", body=encode(speaker.model, texts), texts=texts)
        answer: Completion | None = None

        async def keep(completion: Completion) -> None:
            nonlocal answer
            assert isinstance(completion, Embeddings)
            answer = self._count(completion, batch)
            rows = [(one.key, vector) for one, vector in zip(batch, completion.vectors, strict=True)]
            await self._store.save(speaker.model, rows)

        with _named():
            if wish.budget is None:
                await speaker.pool.complete(request, keep=keep)
                return
            hold = Hold(speaker.model, wish.price, sum(one.tokens for one in batch), len(request.body), 0)
            await wish.budget.admit(hold)
            try:
                await speaker.pool.complete(request, keep=keep)
            finally:
                wish.budget.settle(hold, answer)

    def _count(self, answer: Completion, batch: Sequence[_Text]) -> Completion:
        """The answer with its tokens, estimated where the server does not count them."""
        if answer.prompt_tokens is None:
            answer = Completion("", prompt_tokens=sum(one.tokens for one in batch), completion_tokens=0, estimated=True)
        tokens = answer.prompt_tokens or 0
        self.paid.requests += 1
        self.paid.texts += len(batch)
        self.paid.tokens += tokens
        if self.wish.price is not None:
            self.paid.usd = (self.paid.usd or 0.0) + self.wish.price.usd(tokens, 0)
        return answer


class Embedding:
    """The same for work that is not asynchronous: `Semantic` is given one. `with` closes it."""

    def __init__(self, wish: EmbeddingWish, note: Callable[[str], None]) -> None:
        self.embedder = Embedder(wish, note)
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_exception_handler(_told_elsewhere)

    def __enter__(self) -> Embedding:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._runner.run(self._end())
        finally:
            self._runner.close()
            self.embedder.close()

    async def _end(self) -> None:
        """What SIGTERM or an error of ours left under way ends before its servers are closed."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.embedder.aclose()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Embedder.vectors`."""
        return self._runner.run(self.embedder.vectors(texts))

    def open(self) -> None:
        """As `Embedder.open`."""
        self._runner.run(self.embedder.open())


def _told_elsewhere(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A signal in the step of a task leaves the loop and is that task's result too, which nobody asks for."""
    if not isinstance(context.get("exception"), SystemExit | KeyboardInterrupt):
        loop.default_exception_handler(context)


async def _first(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Those that are left when at least one has ended. Raises what one of them raised."""
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left


@contextmanager
def _named() -> Iterator[None]:
    """Errors name this model's own options; one that no attempt got past says what is left to do."""
    try:
        yield
    except (NotAllowed, UsageError) as error:
        raise type(error)(re.sub(r"--(?=(?:base-url|model)\b)", "--embedding-", str(error))) from error
    except BackendError as error:
        if error.fate != "retry":
            raise
        raise BackendError(f"no embeddings ({error}); what came is kept, and the same command goes on") from error


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
