"""What reading documents costs in CPU and memory: python -m benchmarks.documents [--full] [--only ROW]... [--json]."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.table import Row, main
from synthgen.documents import RULES, chunks, reason
from synthgen.documents.cleaning import cleaned
from synthgen.documents.encoding import text_of
from synthgen.documents.features import Features
from synthgen.types import Capabilities

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SYNTHGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
ANSWERS = {"English": ("lf_alpaca_en_demo.json", "output"), "Chinese": ("lf_alpaca_zh_demo.json", "output")}
EXAMPLES = {"English": "en", "Chinese": "zh"}
DOCUMENT_CHARS = {"English": 4_000, "Chinese": 1_500}
READ = """
import sys
from synthgen.documents import Documents
from synthgen.documents.rules import defaults
found = Documents(sys.argv[1:], defaults()).scan()
print(found.rows, found.used)
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Documents by language, joined from real answers until they are as long as a page, and a folder to write to."""

    texts: dict[str, list[str]]
    folder: Path
    many: int


@contextmanager
def bench(full: bool) -> Iterator[Bench]:
    if not SHARED.is_dir():
        print(f"no real answers at {SHARED}: the examples take their place", file=sys.stderr)
    with TemporaryDirectory() as place:
        yield Bench({lang: _documents(lang) for lang in ANSWERS}, Path(place), 100_000 if full else 10_000)


def _documents(lang: str) -> list[str]:
    name, column = ANSWERS[lang]
    if SHARED.is_dir():
        parts = [row[column] for row in json.loads((SHARED / name).read_text(encoding="utf-8"))]
    else:
        folder = ROOT / "examples" / "documents" / EXAMPLES[lang]
        parts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
    found, text = [], ""
    for part in parts:
        text = f"{text}\n\n{part}" if text else part
        if len(text) >= DOCUMENT_CHARS[lang]:
            found.append(text)
            text = ""
    return found


def _pace(work: Callable[[str], object], texts: list[str]) -> float:
    """MB of UTF-8 a second of CPU: the best of three passes, as other work on the machine only slows them."""
    size, best = sum(len(text.encode()) for text in texts) / 1e6, 0.0
    for _ in range(3):
        began = time.process_time()
        for text in texts:
            work(text)
        best = max(best, size / (time.process_time() - began))
    return best


def _estimate(text: str) -> int:
    from synthgen.speakers import Speaker

    return Speaker("estimate", None, Capabilities()).count_tokens(text)  # type: ignore[arg-type]


PACES: dict[str, tuple[Callable[[str], object], float]] = {
    "cleaning": (cleaned, 10),
    "rules": (reason, 2),
    "chunks": (lambda text: chunks(text, 300, _estimate), 5),
}


def pace(given: Bench) -> Iterator[Row]:
    for name, (work, least) in PACES.items():
        for lang, texts in given.texts.items():
            found = _pace(work, texts)
            yield Row(f"{name}, {lang}", f"at least {least:g} MB/s of CPU", f"{found:.1f} MB/s", found >= least)


def _all_measures(text: str) -> list[float]:
    """All of them: the rules stop at the first that fails."""
    found = Features(text)
    return [found.value(rule.measure) for rule in RULES]


def repetition(given: Bench) -> Iterator[Row]:
    """What only repeats is the worst case: it must not cost more for its length than a text that does not."""
    for name, text in (("one word", "word " * 20_000), ("two words", "ab cd " * 20_000)):
        short, long = _pace(_all_measures, [text[: len(text) // 10]] * 10), _pace(_all_measures, [text])
        figure = f"{short:.1f} MB/s at a tenth of the length, {long:.1f} MB/s at {len(text) / 1e3:.0f} kB"
        yield Row(
            f"repeating {name}", "at least a third of the pace at ten times the length", figure, long * 3 >= short
        )


def html(given: Bench) -> Iterator[Row]:
    from synthgen.documents.html import main_text

    menu = "".join(f'<li><a href="/{n}">Page {n}</a></li>' for n in range(30))
    pages = [
        f"<html><body><nav><ul>{menu}</ul></nav><article>"
        + "".join(f"<p>{line}</p>" for line in text.split("\n") if line.strip())
        + "</article><footer>About us</footer></body></html>"
        for text in given.texts["English"][:100]
    ]
    began = time.process_time()
    kept = sum(len(main_text(text_of(page.encode())[0])) for page in pages)
    each = (time.process_time() - began) / len(pages) * 1e3
    share = kept / sum(map(len, given.texts["English"][:100]))
    yield Row(
        "html", "at most 30 ms of CPU a page", f"{each:.1f} ms a page of 4 kB, {share:.0%} of the text kept", each <= 30
    )


def _read(folder: Path) -> tuple[int, float, float]:
    """(documents, CPU seconds, MB at most) of reading a folder in a process of its own, start included."""
    command = [sys.executable, "-c", READ, str(folder)]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        said = done.stdout.read()
        _, status, used = os.wait4(done.pid, 0)
        done.returncode = os.waitstatus_to_exitcode(status)
    if done.returncode:
        raise SystemExit(f"reading {folder}: exit {done.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return int(said.split()[0]), used.ru_utime + used.ru_stime, used.ru_maxrss * kilobyte / 1e6


def folder(given: Bench) -> Iterator[Row]:
    """A folder of files: memory must not grow with their number."""
    memory = {}
    for count in (given.many // 10, given.many):
        place = given.folder / str(count)
        place.mkdir()
        for n, text in enumerate(islice(cycle(given.texts["English"] + given.texts["Chinese"]), count)):
            (place / f"{n:06}.txt").write_text(f"Document {n}.\n\n{text}", encoding="utf-8")
        rows, seconds, memory[count] = _read(place)
        assert rows == count
        figure = f"{seconds / rows * 1e3:.2f} ms of CPU a document, {memory[count]:.0f} MB at most"
        if count < given.many:
            yield Row(f"{count:,} files", "at most 3 ms of CPU a document", figure, seconds / rows <= 3e-3)
    grown = memory[given.many] - memory[given.many // 10]
    most = given.many / 1000
    yield Row(
        f"{given.many:,} files",
        f"at most {most:g} MB more than a tenth of them",
        f"{figure}, {grown:+.1f} MB",
        grown <= most,
    )


def large(given: Bench) -> Iterator[Row]:
    path = given.folder / "large.txt"
    with path.open("w", encoding="utf-8") as file:
        for n, text in enumerate(cycle(given.texts["English"])):
            file.write(f"Part {n}.\n\n{text}\n\n")
            if file.tell() > 50_000_000:
                break
    rows, seconds, memory = _read(path)
    figure = f"{rows} parts, {path.stat().st_size / 1e6 / seconds:.1f} MB/s of CPU, {memory:.0f} MB at most"
    yield Row("one file of 50 MB", "at most 120 MB", figure, memory <= 120)


ROWS = {"pace": pace, "repetition": repetition, "html": html, "folder": folder, "large": large}

if __name__ == "__main__":
    sys.exit(main(__doc__, ROWS, bench, full="100,000 files instead of 10,000"))
