"""What synthgen is compared with: the same prompts to the same server, answers appended to a JSONL file.

python benchmarks/engine/arms.py floor|openai BASE_URL PROMPTS.jsonl CONCURRENCY OUT.jsonl
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import IO

import orjson


async def floor(url: str, prompts: list[dict[str, str]], concurrency: int, out: IO[bytes]) -> None:
    """The least that can be done with aiohttp: no retry, no check, no durability."""
    import aiohttp

    allowed = asyncio.Semaphore(concurrency)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one(row: dict[str, str]) -> None:
            body = {"model": "fake", "messages": [{"role": "user", "content": row["prompt"]}], "max_tokens": 512}
            async with (
                allowed,
                session.post(f"{url}/chat/completions", data=orjson.dumps(body)) as response,
            ):
                answer = orjson.loads(await response.read())["choices"][0]["message"]["content"]
            out.write(orjson.dumps({**row, "answer": answer}) + b"\n")

        await asyncio.gather(*map(one, prompts))


async def openai(url: str, prompts: list[dict[str, str]], concurrency: int, out: IO[bytes]) -> None:
    """What most scripts do: AsyncOpenAI as it comes, behind a semaphore."""
    from openai import AsyncOpenAI

    allowed = asyncio.Semaphore(concurrency)
    async with AsyncOpenAI(base_url=url, api_key="none") as client:

        async def one(row: dict[str, str]) -> None:
            async with allowed:
                completion = await client.chat.completions.create(
                    model="fake", messages=[{"role": "user", "content": row["prompt"]}], max_tokens=512
                )
            out.write(orjson.dumps({**row, "answer": completion.choices[0].message.content}) + b"\n")

        await asyncio.gather(*map(one, prompts))


def main() -> None:
    arm, url, source, concurrency, target = sys.argv[1:]
    prompts = [orjson.loads(line) for line in Path(source).read_bytes().splitlines()]
    with Path(target).open("wb") as out:
        asyncio.run({"floor": floor, "openai": openai}[arm](url, prompts, int(concurrency), out))


if __name__ == "__main__":
    main()
