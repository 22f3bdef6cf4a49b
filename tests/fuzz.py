"""Files of odd rows, and what must hold of each: python tests/fuzz.py --files 100000 [--seed 1] [--first 0]."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from test_formats import ALL, LONG, WEATHER

from synthgen.errors import UsageError
from synthgen.formats import Format, SampleReader, formats, open_format, read_samples
from synthgen.formats.write import write_all
from synthgen.rows import Fault, scan_rows
from synthgen.validating.answers import anything
from synthgen.validating.checking import Check, Checked, Finding
from synthgen.validating.repairing import Repair, Repairing

Row = dict[str, Any]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
# As others write them; ours are added below.
OTHERS: list[Row] = [
    {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
                       {"from": "observation", "value": "1"}, {"from": "gpt", "value": "a"}], "tools": json.dumps([WEATHER]), "system": "s"},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                  {"role": "tool", "tool_call_id": "c", "content": "1"}, {"role": "assistant", "content": "a", "weight": 1}], "tools": [WEATHER]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}], "name": "n"},
                  {"role": "assistant", "content": "a", "reasoning_content": "t"}], "id": 1, "score": 0.5},
    {"prompt": "p", "completion": "c", "label": True},
    {**TURNS, "rejected_response": "b"},
    {"input": {"messages": [{"role": "user", "content": "q"}]}, "preferred_output": [{"role": "assistant", "content": "a"}],
     "non_preferred_output": [{"role": "assistant", "content": "b"}]},
    {"instruction": "i", "input": "", "chosen": "a", "rejected": "b", "history": [["q", "a"]], "system": ""},
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    {"question": "q", "answer": "a"},
    {"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"},
    {"id": "x", "instruction": "i", "instances": [{"input": "", "output": "a"}, {"input": "b", "output": "c"}]},
]  # fmt: skip


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    return json.loads("[" * levels + "]" * levels)


ODD: list[Any] = [
    *(None, True, 0, -1.5, "", " ", "x", [], [[]], [None], [1], {}, {"a": {}}, [{}], "[", "[]", "{}", '{"name": 1}', "<think>"),
    *([{"role": "user"}], [{"from": "gpt"}], {"from": "gpt", "value": None}, [["q"]], {"role": "user"}, "\0", "\ud800"),
    *("{{idx}}<|x|>", "2024-01-31", 10**30, 10**5000, 1e999, float("nan"), deep(200), deep(900), {"role": "user", "content": deep(100)}),
]  # fmt: skip


def own_rows() -> list[Row]:
    """A row of every format for every sample that it holds."""
    made: list[Row] = []
    for member in formats().values():
        for sample in (*ALL, LONG):
            apart = getattr(member, "apart", lambda one: (one,))(sample)
            made += [member.row(one, member.columns([one])) for one in apart if member.carries(one) is None]
    return made


def mutated(value: Any, rng: Random) -> Any:
    """The value with something odd in some place of it."""
    if rng.random() < 0.2:
        return rng.choice(ODD)
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        if rng.random() < 0.1:
            return {rng.choice(["from", "role", "x", ""]) if name == key else name: v for name, v in value.items()}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list | tuple) and value:
        place = rng.randrange(len(value))
        return [*value[:place], mutated(value[place], rng), *value[place + rng.randrange(2) :]]
    return rng.choice(ODD)


def mangled(data: bytes, rng: Random) -> bytes:
    """The bytes with a few of them cut, doubled or replaced."""
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(data) + 1)
        new = rng.choice(
            [b"", b"\xff", b"\n", b"\r", b"{", b"]", b",", b'"', b"\\", b"\\ud800", b"NaN", b"\xef\xbb\xbf", b"\0"]
        )
        data = data[:at] + new + data[at + rng.randrange(4) :]
    return data


class Odd(NamedTuple):
    """A file: its bytes, the end of its name, and whether each line of it is a row by itself."""

    number: int
    data: bytes
    suffix: str
    lines: bool


def odd_files(count: int, seed: int, first: int = 0) -> Iterator[Odd]:
    """The same for the same seed, each by itself, so that one that does harm can be made again."""
    known = [*OTHERS, *own_rows()]
    for number in range(first, first + count):
        rng = Random(f"{seed} {number}")
        row = rng.choice(known)
        rows = [row, *(mutated(row, rng) if rng.random() < 0.8 else rng.choice(known) for _ in range(rng.randrange(4)))]
        rng.shuffle(rows)
        container = rng.random()
        if container < 0.05:
            yield Odd(number, mangled(_table(rows).encode("utf-8", "surrogatepass"), rng), ".csv", False)
            continue
        texts = [_text(one, ascii_=rng.random() < 0.1) for one in rows]
        array = container < 0.25
        text = f"[{','.join(texts)}]" if array else "\n".join(texts) + "\n"
        suffix = rng.choice([".jsonl", ".json"])
        yield Odd(number, mangled(text.encode("utf-8", "surrogatepass"), rng), suffix, not array and suffix == ".jsonl")


def _text(row: Any, *, ascii_: bool) -> str:
    """Numbers of 5,000 digits too, which Python does not spell unless it is asked."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(row, ensure_ascii=ascii_)
    finally:
        sys.set_int_max_str_digits(limit)


def _table(rows: list[Any]) -> str:
    """The rows as csv, what is no text as JSON text."""
    objects = [row for row in rows if isinstance(row, dict) and row] or [{"text": "a"}]
    out = io.StringIO()
    table = csv.DictWriter(out, list(objects[0]), extrasaction="ignore")
    table.writeheader()
    for row in objects:
        table.writerow(
            {key: value if isinstance(value, str) else _text(value, ascii_=False) for key, value in row.items()}
        )
    return out.getvalue()


def rows_in(data: bytes) -> int:
    """The lines that say anything."""
    return sum(1 for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())


def validated(odd: Odd, folder: Path, rng: Random) -> None:
    """Each line is a row that is judged or a line that is told; so it is with the repaired copy."""
    path = folder / f"a{odd.suffix}"
    path.write_bytes(odd.data)
    one, found = _checked(path)
    repairs: list[Repair] = []
    out = folder / rng.choice(["out.jsonl", "out.json"])
    counts = Repairing(one, out, repairs.append).run()
    again, later = _checked(out)
    left = [f.rule.name for f in later if f.rule.level == "fault" and f.rule.name != "no-rows"]
    judged = one.kind is not None and one.kind.check is not anything  # rows of no known format have few rules
    assert left == [] or not judged, left
    doubled = sum(int(r.what.split()[0]) - 1 for r in repairs if r.what.endswith("rows were on the line"))
    assert counts.rows + counts.left_out == one.rows + doubled
    assert again.rows == counts.rows
    if odd.lines and not one.counts["not-utf8"]:
        told = any(f.rule.level == "fault" for f in found)
        assert one.rows == rows_in(odd.data) or told


def _checked(path: Path) -> tuple[Checked, list[Finding]]:
    found: list[Finding] = []
    return Check(path, found.append).run(), found


def converted(odd: Odd, folder: Path, rng: Random) -> str:
    """Each row is read or told; each sample is written or counted; what is written is read, and breaks no rule."""
    path = folder / f"a{odd.suffix}"
    path.write_bytes(odd.data)
    reading = SampleReader(path)
    targets = rng.sample([member for member in formats().values() if member.name != "samples"], 3)
    ours = open_format("samples")
    try:
        every, *written = write_all(reading.__iter__, [(one, folder / one.file_name) for one in (ours, *targets)])
    except UsageError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert len(told.splitlines()) == 1
        return "told"
    samples = every.rows + sum(every.left_out.values())
    items = list(scan_rows(path))
    faults = [str(item) for item in items if isinstance(item, Fault)]
    cut = any(isinstance(item, Fault) and item.ends for item in items)  # lines that look like an array, up to there
    assert len(items) - reading.unread <= samples
    assert reading.unread >= len(faults)
    assert len(list(reading.lines())) > 0 or not reading.unread
    if odd.lines and not cut and not any(" not UTF-8 " in fault or "this is UTF-" in fault for fault in faults):
        assert len(items) == rows_in(odd.data)
    for into, one in zip(targets, written, strict=True):
        rows = one.rows + sum(one.left_out.values())
        assert rows == samples or (hasattr(into, "apart") and samples <= rows <= 2 * samples), (
            into.name,
            rows,
            samples,
        )
        if one.rows:
            _read_again(into, one.path, one.rows)
    return "read"


def _read_again(into: Format, path: Path, rows: int) -> None:
    assert len(list(read_samples(path, into.name))) == rows, into.name
    checked, found = _checked(path)
    faults = [f"{f.rule.name}: {f.what}" for f in found if f.rule.level == "fault"]
    assert not faults, (into.name, faults)
    assert checked.rows == rows


def run(count: int, seed: int, folder: Path, first: int = 0) -> Counter[str]:
    """How many files were read and how many told; AssertionError names the file that shows a fault of ours."""
    came = Counter[str]()
    for odd in odd_files(count, seed, first):
        for check in (validated, converted):
            try:
                came[str(check(odd, folder, Random(odd.number)))] += 1
            except BaseException as error:
                error.add_note(f"--seed {seed} --first {odd.number}: {check.__name__} {odd.suffix} {odd.data[:500]!r}")
                raise
    return came


def main() -> int:
    """All of them, with the seconds of CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        came = run(given.files, given.seed, Path(folder), given.first)
    print(f"{given.files} files: {came['read']} read, {came['told']} told; {time.process_time():.0f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
