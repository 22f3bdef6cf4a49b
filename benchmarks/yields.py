"""How much of what a model writes is accepted, by recipe and language.

python benchmarks/yields.py                                   the embedded model
python benchmarks/yields.py --base-url http://localhost:8000/v1 --count 200
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from synthgen import recipes


def measure(recipe: str, lang: str, count: int, more: list[str]) -> dict[str, Any]:
    """The result of one run, with the share of the commonest first word."""
    with tempfile.TemporaryDirectory() as home:
        command = ["generate", recipe, "--lang", lang, "--count", str(count), "--out", f"{home}/run", "--json", *more]
        done = subprocess.run([sys.executable, "-m", "synthgen", *command], capture_output=True, text=True, check=False)
        if not done.stdout:
            raise SystemExit(done.stderr)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        lines = (Path(home) / "run" / "alpaca.jsonl").read_text(encoding="utf-8").splitlines()
    instructions = [json.loads(line)["instruction"] for line in lines]
    first = Counter(i[:2] if lang == "zh" else i.split()[0] for i in instructions)
    result["first"] = first.most_common(1)[0][1] / len(instructions) if instructions else 0.0
    result["words"] = len(first)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", action="append", default=[])
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=50)
    args = parser.parse_args()
    more = [part for url in args.base_url for part in ("--base-url", url)]
    more += ["--model", args.model] if args.model else [] if more else ["--model", "embedded"]
    head = (("rows", 4), ("of", 5), ("kept", 6), ("req/row", 8), ("tok/row", 8), ("s", 6), ("top first word", 15))
    print(f"{'recipe':<14} {'lang':<4} " + " ".join(f"{name:>{width}}" for name, width in head))
    for recipe in recipes.names():
        for lang in ("en", "zh"):
            r = measure(recipe, lang, args.count, more)
            kept = r["accepted"] / r["candidates"] if r["candidates"] else 0.0
            print(
                f"{recipe:<14} {lang:<4} {r['accepted']:>4} {r['candidates']:>5} {kept:>6.0%} "
                f"{r['requests_per_accepted'] or 0:>8.2f} {r['tokens_per_accepted'] or 0:>8.0f} {r['seconds']:>6.1f} "
                f"{r['first']:>9.0%} of {r['words']}   {dict(list(r['rejected'].items())[:4])}"
            )


if __name__ == "__main__":
    main()
