"""What lies beside the data files: LLaMA-Factory's registry and the data set card of Hugging Face."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from synthgen.formats import open_format

# The hub's own words for how many rows there are, each up to but not with its number.
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)


OURS = "synthgen"  # the tag by which a card of ours is known
_TAGS = ("synthetic", OURS)


def dataset_info(files: Mapping[str, tuple[str, Sequence[str]]]) -> bytes:
    """`dataset_info.json` for the files, each format's name with its file's name and the columns in it.

    ASCII, because LLaMA-Factory opens it in the encoding of the machine; without files it would misread.
    """
    entries = {name: open_format(name).dataset_info(file, columns) for name, (file, columns) in files.items()}
    told = {name: entry for name, entry in entries.items() if entry is not None}
    return registry(told)


def registry(entries: Mapping[str, Any]) -> bytes:
    """The bytes of `dataset_info.json` with these entries."""
    return (json.dumps(entries, indent=2, ensure_ascii=True) + "\n").encode()


def size_category(rows: int) -> str:
    """The hub's word for a number of rows."""
    return next((word for below, word in _SIZES if rows < below), "n>1T")


def card(
    *,
    title: str,
    folder: Path,
    files: Mapping[str, tuple[str, int]],
    recipe: str,
    languages: Sequence[str],
    license_id: str = "other",
    models: Sequence[tuple[str, str]] = (),
    waterfall: Sequence[tuple[str, int]] = (),
    seeds: Sequence[tuple[str, str]] = (),
    command: str = "",
) -> str:
    """`README.md` for a folder: the front matter that `load_dataset` obeys, and how the data came about.

    `files`: each format's name with its file's name, in the folder, and number of rows, the first is the default one.
    `models`: role and model. `waterfall`: what was left after each step. `seeds`: what was read and its licence.
    """
    # An empty file does not load; but a card without any would let the hub's loader take run.json for data.
    written = [(name, file, rows) for name, (file, rows) in files.items() if rows]
    written = written or [(name, file, rows) for name, (file, rows) in files.items()]
    count = max((rows for _, _, rows in written), default=0)
    configs = [(config, [("train", file)]) for config, file, _ in _configs(written)]
    lines = ["---", *_front(title, folder, configs, languages, license_id, count), "---", "", f"# {_line(title)}", ""]
    lines += [f"{count:,} synthetic samples, made by synthgen with the recipe `{recipe}`.", ""]
    lines += _table("Files", ("load_dataset(..., name)", "file", "rows"), _configs(written))
    if models:
        lines += _table("Models", ("role", "model"), [(role, _name(model)) for role, model in models])
    if waterfall:
        lines += _table("From answers to samples", ("step", "samples"), [(step, f"{n:,}") for step, n in waterfall])
    if seeds:
        lines += _table("Sources and their licences", ("source", "licence"), seeds)
    return "\n".join([*lines, *_end(command, synthetic=True)])


def folder_card(
    *,
    title: str,
    folder: Path,
    splits: Mapping[str, tuple[str, int]],
    format_name: str,
    about: Sequence[str],
    languages: Sequence[str] = (),
    license_id: str = "",
    tags: Sequence[str] = _TAGS,
    models: Sequence[tuple[str, str]] = (),
    lost: Mapping[str, int] | None = None,
    command: str = "",
    by_hash: bool = True,
) -> str:
    """`README.md` for one data set: a file for each split, with its number of rows; `about`: where it comes from."""
    count = sum(rows for _, rows in splits.values())
    configs = [("default", [(split, file) for split, (file, _) in splits.items()])]
    front = _front(title, folder, configs, languages, license_id, count, tags)
    lines = ["---", *front, "---", "", f"# {_line(title)}", ""]
    lines += [f"{count:,} rows in the format `{format_name}`, written by synthgen.", *map(_line, about), ""]
    lines += _table("Splits", ("split", "file", "rows"), [(s, file, f"{n:,}") for s, (file, n) in splits.items()])
    if len(splits) > 1 and by_hash:
        lines += ["Rows are split by a hash of their prompt: no prompt is in two splits.", ""]
    if models:
        lines += _table("Models", ("role", "model"), [(role, _name(model)) for role, model in models])
    if lost:
        counts = [(what, f"{number:,}") for what, number in lost.items()]
        lines += _table("Not carried by the format", ("what", "samples"), counts)
    return "\n".join([*lines, *_end(command, synthetic="synthetic" in tags)])


def _end(command: str, *, synthetic: bool) -> list[str]:
    made = ["## Made with", "", *(f"    {line}" for line in _bare(command).splitlines()), ""] if command else []
    return [*(["What models write may be bound by the terms of the models as well.", ""] if synthetic else []), *made]


def _front(
    title: str,
    folder: Path,
    configs: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    languages: Sequence[str],
    license_id: str,
    count: int,
    tags: Sequence[str] = _TAGS,
) -> list[str]:
    """The front matter, every text quoted: to YAML a bare `no` is false, and a bare `1.0` a number.

    `configs`: each with its splits, and the file of each. They name all data, so that no stray file is loaded.
    """
    lines = [f"license: {_quoted(license_id)}"] if license_id else []
    if languages:
        lines += ["language:", *(f"- {_quoted(language)}" for language in languages)]
    lines += [f"pretty_name: {_quoted(title)}"]
    lines += ["size_categories:", f"- {_quoted(size_category(count))}"]
    lines += ["task_categories:", '- "text-generation"']
    if "synthetic" in tags:
        lines += ["annotations_creators:", '- "machine-generated"', "language_creators:", '- "machine-generated"']
    lines += ["tags:", *(f"- {_quoted(tag)}" for tag in tags)]
    if configs:
        lines += ["configs:"]
    for config, splits in configs:
        lines += [f"- config_name: {_quoted(config)}", "  data_files:"]
        for split, file in splits:
            lines += [f"  - split: {_quoted(split)}", f"    path: {_quoted(file)}"]
        lines += [f"  version: {_quoted(_version([folder / file for _, file in splits]))}"]
    return lines


def _version(files: Sequence[Path]) -> str:
    """What changes with what is in the files: `datasets` keeps what it once read of a card's data under this alone."""
    checksum = 0
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    return f"0.0.{checksum}"


def _configs(written: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, str]]:
    """Without names for the files, the hub would load all that it finds in the folder as one."""
    names = ["default", *(name for name, _, _ in written[1:])]
    return [(name, file, f"{rows:,}") for name, (_, file, rows) in zip(names, written, strict=False)]


def _bare(command: str) -> str:
    """The command without the folders of the machine that it was given on."""
    words = [word.rpartition("=") if word.startswith("-") else ("", "", word) for word in shlex.split(command)]
    return shlex.join([f"{option}{equals}{_name(value)}" for option, equals, value in words])


def _name(value: str) -> str:
    """A path from the root as its last name, with the slash of a folder; any other text as it is."""
    path = PurePath(value)
    return path.name + "/" * value.endswith("/") if path.is_absolute() or value.startswith("~/") else value


def _table(heading: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return [f"## {heading}", "", *(f"| {' | '.join(row)} |" for row in cells), ""]


def _cell(text: str) -> str:
    return _line(text).replace("\\", "\\\\").replace("|", "\\|")


def _line(text: str) -> str:
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def _quoted(text: str) -> str:
    """A string of JSON without control characters is one of YAML."""
    return json.dumps(_line(text), ensure_ascii=False)
