"""What first comes after 10 MB: `datasets` loads our files all the same, each row as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_formats import PARALLEL, PLAIN, TOOLS, WEATHER, said

from synthgen.formats import open_format
from synthgen.formats.shapes import FIRST_BYTES, Shapes
from synthgen.formats.write import write_all, write_samples
from synthgen.formats.written import Written
from synthgen.types import Message, Sample

LONG = "word " * 8_000
ROWS = FIRST_BYTES // len(LONG) + 2
ASKED = Sample(said(LONG, "a"))
PAIR = Sample(said(LONG, "a"), rejected=(Message("assistant", "b"),))
OTHER_TOOL = {
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
}

# format -> what there is for 10 MB, and what comes then
LATE: dict[str, tuple[Sample, list[Sample]]] = {
    "alpaca": (ASKED, [Sample(said("q", "a", "r", "b", system="s"))]),
    "sharegpt": (ASKED, [TOOLS, Sample(said("q", "a", system="s"), meta={"columns": {"id": "x"}})]),
    "messages": (ASKED, [TOOLS, Sample((Message("user", "q"), Message("assistant", "a", weight=0)))]),
    "prompt-completion": (ASKED, [TOOLS, PLAIN]),
    "preference": (PAIR, [Sample(TOOLS.messages, rejected=(Message("assistant", "no"),), tools=TOOLS.tools)]),
    "preference-openai": (PAIR, [Sample(TOOLS.messages, rejected=(Message("assistant", "no"),), tools=TOOLS.tools)]),
    "preference-sharegpt": (PAIR, [Sample(TOOLS.messages, rejected=(Message("assistant", "no"),), tools=TOOLS.tools)]),
    "preference-swift": (PAIR, [Sample(TOOLS.messages, rejected=(Message("assistant", "no"),), tools=TOOLS.tools)]),
    "kto": (Sample(ASKED.messages, label=True), [Sample(TOOLS.messages, tools=TOOLS.tools, label=False)]),
    "rl": (Sample(ASKED.messages[:1]), [Sample(TOOLS.messages[:-1], reference="1", tools=TOOLS.tools)]),
    "samples": (Sample(ASKED.messages, meta={"a": 1}), [Sample(said("q", "a"), meta={"b": {"c": [1.5]}}, label=True)]),
}  # fmt: skip


def load(datasets: Any, path: Path) -> Any:
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def check(datasets: Any, written: Written) -> list[Any]:
    """The rows of the file, which `datasets` has loaded as they are."""
    rows = [json.loads(line) for line in written.path.read_bytes().splitlines()]
    assert written.path.stat().st_size > FIRST_BYTES
    assert load(datasets, written.path).to_list() == rows
    assert len(rows) == written.rows
    return rows


@pytest.mark.parametrize("name", LATE)
def test_a_row_that_is_the_first_of_its_sort_is_moved_to_the_front(tmp_path: Path, hub_offline: Any, name: str) -> None:
    filler, late = LATE[name]
    samples = [filler] * ROWS + late * 2 + [filler]
    member = open_format(name)
    written = write_samples(samples, member, tmp_path / "a.jsonl")
    rows = check(hub_offline, written)
    assert set(written.moved) <= set(range(ROWS + 1, ROWS + 1 + len(late)))
    assert written.moved
    moved = [samples[number - 1] for number in written.moved]
    kept = [sample for number, sample in enumerate(samples, start=1) if number not in written.moved]
    assert rows == [json.loads(json.dumps(member.row(sample, written.columns))) for sample in (*moved, *kept)]
    again = write_samples(iter_twice(samples), member, tmp_path / "b.jsonl")
    assert again.path.read_bytes() == written.path.read_bytes()  # the same samples, the same bytes


def iter_twice(samples: list[Sample]) -> Any:
    def start() -> Iterator[Sample]:
        yield from samples

    return start


def test_each_key_of_turns_is_shown_in_time(tmp_path: Path, hub_offline: Any) -> None:
    """Of keys that come late, `datasets` before 4.7 stops at each, not only at the first."""
    late = [Message("assistant", "a", weight=0), Message("assistant", "a", name="ann")]
    samples = [ASKED] * ROWS + [Sample((Message("user", "q"), answer)) for answer in late] * 2
    written = write_samples(samples, open_format("messages"), tmp_path / "a.jsonl")
    rows = check(hub_offline, written)
    assert written.moved == (ROWS + 1, ROWS + 2)
    assert [set(row["messages"][1]) - {"role", "content"} for row in rows[:3]] == [{"weight"}, {"name"}, set()]


def test_without_it_datasets_stops(tmp_path: Path, hub_offline: Any) -> None:
    filler, late = LATE["messages"]
    member = open_format("messages")
    columns = member.columns(late)
    lines = [json.dumps(member.row(sample, columns)) for sample in [filler] * ROWS + late]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    with pytest.raises(hub_offline.exceptions.DatasetGenerationError):
        load(hub_offline, tmp_path / "a.jsonl")


def test_a_tool_that_lacks_what_all_others_have_gets_no_nulls(tmp_path: Path, hub_offline: Any) -> None:
    """`datasets` pads such an object where it comes late, and the schema of the tool is another one then."""
    two = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
    tools = [{"name": "add", "parameters": two}, {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}]  # fmt: skip
    samples = [Sample(said(LONG, "a"), tools=(tools[0],))] * ROWS + [Sample(said("q", "a"), tools=(tools[1],))]
    written = write_samples(samples, open_format("messages"), tmp_path / "a.jsonl")
    assert written.moved == (ROWS + 1,)
    assert check(hub_offline, written)[0]["tools"][0]["function"]["parameters"] == tools[1]["parameters"]


def test_of_many_sorts_that_come_late_few_rows_move(tmp_path: Path, hub_offline: Any) -> None:
    def tool(number: int) -> dict[str, Any]:
        return {"name": "f", "parameters": {"type": "object", "properties": {f"p{number}": {"type": "string"}}}}

    samples = [Sample(said(LONG, "a"), tools=(tool(0),))] * ROWS
    samples += [Sample(said("q", "a"), tools=(tool(number),)) for number in range(1, 300)]
    written = write_samples(samples, open_format("messages"), tmp_path / "a.jsonl")
    assert written.moved == (ROWS + 1,)
    check(hub_offline, written)


def test_what_is_pushed_back_by_large_rows_at_the_front_is_moved_too(tmp_path: Path, hub_offline: Any) -> None:
    early = 7_900_000 // len(LONG)
    large = Sample((Message("user", "x" * 3_000_000), Message("assistant", "a", weight=1)))
    named = Sample((*said("q")[:1], *TOOLS.messages[1:]), tools=(WEATHER,))
    other = Sample(said("q", "a"), tools=(OTHER_TOOL,))
    samples = [ASKED] * early + [named] + [ASKED] * ROWS + [large, other]
    written = write_samples(samples, open_format("messages"), tmp_path / "a.jsonl")
    assert written.moved == (
        len(samples) - 1,
        len(samples),
        early + 1,
    )  # the last, as a turn of it has a key of its own
    check(hub_offline, written)


def test_columns_and_rows_that_come_late_are_one_file_among_several(tmp_path: Path, hub_offline: Any) -> None:
    samples = [ASKED] * ROWS + [TOOLS, PARALLEL, Sample(said("q", "a", "r", "b", system="s"))]
    names = ("alpaca", "sharegpt", "messages", "samples")
    files = write_all(samples, [(open_format(name), tmp_path / f"{name}.jsonl") for name in names])
    for written in files:
        check(hub_offline, written)
        alone = write_samples(samples, open_format(written.path.stem), tmp_path / "alone.jsonl")
        assert alone.path.read_bytes() == written.path.read_bytes()
    assert files[0].notes == [f"row {ROWS + 1} moved to the front, so that `datasets` sees its keys and types"]


def test_an_array_is_read_whole_and_stays_in_order(tmp_path: Path) -> None:
    late = Sample(said("2024-01-31", "a"), meta={"columns": {"id": 7}})
    written = write_samples([ASKED] * ROWS + [late], open_format("fastchat"), tmp_path / "a.json")
    assert (written.moved, json.loads(written.path.read_bytes())[-1]["id"]) == ((), "7")


DATE = "2024-01-31"


@pytest.mark.parametrize(
    ("name", "sample", "place"),
    [
        ("alpaca", Sample(said("When?", DATE)), "output"),
        ("alpaca", Sample(said(DATE, DATE, "When?", "a")), "history[][]"),
        ("prompt-completion", Sample(said("When?", DATE)), "completion[].content"),
        ("prompt-completion-text", Sample(said("When?", DATE)), "completion"),
        ("text", Sample(text=DATE), "text"),
        ("rl", Sample(said("When?"), reference=DATE), "ground_truth"),
    ],
)
def test_a_column_of_dates_is_told(tmp_path: Path, hub_offline: Any, name: str, sample: Sample, place: str) -> None:
    written = write_samples([sample] * 3, open_format(name), tmp_path / "a.jsonl")
    assert written.dates == (place,)
    assert "is a date" in written.notes[0]
    assert "datetime" in repr(load(hub_offline, written.path)[0])
    one_text = Sample(said("When?", "soon", "q", "a") if name == "alpaca" else said("When?", "soon"), text="soon")
    one_text = Sample(one_text.messages[: len(sample.messages)] or (), text=one_text.text if sample.text else None, reference="soon" if name == "rl" else None)  # fmt: skip
    several = write_samples([sample, one_text, sample], open_format(name), tmp_path / "b.jsonl")
    assert (several.dates, several.notes) == ((), [])
    assert "datetime" not in repr(load(hub_offline, several.path)[0])


def test_the_first_text_after_10_mb_of_dates_is_moved(tmp_path: Path, hub_offline: Any) -> None:
    dates, text = [Sample(said(LONG, DATE))] * ROWS, Sample(said("When?", "soon"))
    written = write_samples([*dates, text, text], open_format("alpaca"), tmp_path / "a.jsonl")
    assert (written.moved, written.dates) == ((ROWS + 1,), ())
    check(hub_offline, written)
    # In the second 10 MB there is no text left: they are made texts again, of another form.
    written = write_samples([*dates, text], open_format("alpaca"), tmp_path / "b.jsonl")
    assert (written.moved, written.dates) == ((ROWS + 1,), ("output",))
    assert load(hub_offline, written.path)[-1]["output"] == f"{DATE} 00:00:00"


def test_a_part_ends_where_that_of_datasets_does(tmp_path: Path, hub_offline: Any) -> None:
    """It reads 10 MB and the rest of the line, and a whole line more where a line has just ended."""
    line = len('{"instruction": "", "input": "", "output": "soon"}\n')
    for size in (FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1):
        first = Sample(said("x" * (size - line), "soon"))  # the first row ends at this byte
        samples = [first, Sample(said("When?", "late")), Sample(said("When?", DATE))]
        written = write_samples(samples, open_format("alpaca"), tmp_path / f"{size}.jsonl")
        dates = load(hub_offline, written.path)[-1]["output"] != DATE
        assert (written.dates == ("output",)) == dates
        only = write_samples([first, samples[2]], open_format("alpaca"), tmp_path / f"{size}-2.jsonl")
        assert (
            (only.dates == ("output",)) == (load(hub_offline, only.path)[-1]["output"] != DATE) == (size > FIRST_BYTES)
        )


def test_shapes_of_rows() -> None:
    shapes = Shapes()
    seen: list[tuple[dict[str, Any], bool]] = [
        ({"a": None, "b": []}, True),
        ({"a": None, "b": []}, False),
        ({"a": "x", "b": []}, True),
        ({"a": "x", "b": [1]}, True),
        ({"a": None, "b": [2.5]}, True),
        ({"a": "y", "b": [1, 2, 2.5]}, False),
        ({"a": "y", "b": ["x"]}, True),
        ({"a": "y", "b": [{"k": 1}]}, False),  # what is there may be anything by now
        ({"a": (1, 2), "b": []}, True),
    ]
    for row, new in seen:
        assert shapes.meet(row) == new, row
    deep: Any = 1
    for _ in range(100):
        deep = {"k": deep}
    assert Shapes().meet(deep)
