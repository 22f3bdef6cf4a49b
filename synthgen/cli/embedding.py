"""Options of a command that compares meanings: which model makes the embeddings, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from synthgen.embedding import Embedding, EmbeddingWish

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--embedding-model", metavar="NAME", help="semantic: NAME on a server, openai:NAME, local:PATH|NAME."),
    click.option("--embedding-base-url", "embedding_base_urls", multiple=True, help="Where; several are one pool."),
    click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True, help="The variable with the key."),
    click.option("--price", metavar="in=0.02,out=0", help="US dollars for a million tokens of the embeddings."),
    click.option("--budget", metavar="usd=5,tokens=2e6,minutes=30", help="What they may cost (exit 6)."),
)


def embedding_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def embedding(given: dict[str, Any], tell: Callable[[str], None], *, wanted: bool) -> Iterator[Embedding | None]:
    """Open while the block runs, if it is `wanted` and a model is named; however it ends, what was paid is said."""
    if not wanted:
        for name in ("embedding_model", "embedding_base_urls", "price", "budget"):
            if given[name]:
                option = f"--{name.removesuffix('s').replace('_', '-')}"
                raise click.UsageError(f"{option} is for the method semantic; add that to --method, or leave it out")
        yield None
    elif not given["embedding_model"] and not given["embedding_base_urls"]:
        yield None  # the level says that it is not run
    else:
        from synthgen.embedding import Embedding

        with Embedding(_wish(given), tell) as found:
            try:
                yield found
            finally:
                for line in found.embedder.account():
                    tell(line)


def _wish(given: dict[str, Any]) -> EmbeddingWish:
    from synthgen.backends import ModelSpec
    from synthgen.budget import Budget, Price
    from synthgen.embedding import STORE, EmbeddingWish

    price = None if given["price"] is None else Price.parse(given["price"])
    budget = None if given["budget"] is None else Budget.parse(given["budget"])
    if budget is not None:
        budget.check_prices({} if price is None else {"embedding": price})
    spec = ModelSpec(given["embedding_model"], given["embedding_base_urls"], given["api_key_env"], embeds=True)
    return EmbeddingWish(spec, STORE, price=price, budget=budget)


def about(embedding: Embedding, threshold: Fraction | None) -> dict[str, Any]:
    """What a result says of it."""
    from synthgen.dedup.semantic import THRESHOLD

    embedder = embedding.embedder
    paid = embedder.paid
    return {
        "model": embedder.model,
        "dimensions": embedder.dimensions,
        "threshold": THRESHOLD if threshold is None else float(threshold),
        "embedded": paid.texts,
        "requests": paid.requests,
        "tokens": paid.tokens,
        "usd": paid.usd,
        "stored_before": paid.stored,
        "refused": paid.refused,
        "store": str(embedder.wish.store),
    }


def foretell(embedding: Embedding, rows: int, tell: Callable[[str], None]) -> None:
    """One line, before anything is paid, where comparing so many rows takes minutes or more."""
    from synthgen.dedup.semantic import LARGE, forecast

    if rows < LARGE:
        return
    embedding.open()
    seconds, size = forecast(rows, embedding.embedder.dimensions)
    if seconds >= 60:
        tell(
            f"semantic compares each of {rows:,} rows with all that are kept: up to {_long(seconds)} and "
            f"{size / 2**30:.1f} GiB here, less where other methods before it drop rows"
        )


def _long(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
