"""Data sets by the names of the hub: the real `datasets`, over folders of this machine and without a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command import synthgen

from synthgen.errors import UsageError
from synthgen.rows import Row, read_rows, scan_rows


def refusal(source: str) -> str:
    with pytest.raises(UsageError) as caught:
        list(read_rows(source))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(source)
    return message


def repository(folder: Path, configs: dict[str, dict[str, str]]) -> str:
    """A data set of several configs, each row with the split it is of; `hf:` and its place."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, name in splits.items():
            lines += [f"  - split: {split}", f"    path: {name}"]
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps({"instruction": f"{config} {split}", "n": 1}) + "\n", "utf-8")
    (folder / "report.json").write_text('{"stray": true}', "utf-8")
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), "utf-8")
    return f"hf:{folder}"


def said(source: str) -> list[Any]:
    return [row.fields["instruction"] for row in read_rows(source)]


@pytest.fixture
def two(tmp_path: Path, hub_offline: Any) -> str:
    return repository(
        tmp_path / "two",
        {"default": {"train": "a/train.jsonl", "test": "a/test.jsonl"}, "extra": {"validation": "b.jsonl"}},
    )


def test_a_split_and_a_config_by_their_names(two: str) -> None:
    assert list(read_rows(two)) == [Row({"instruction": "default train", "n": 1}, f"{two}:1")]
    assert said(f"{two}:test") == ["default test"]
    assert said(f"{two}:extra") == ["extra validation"]
    assert said(f"{two}:extra:validation") == ["extra validation"]
    assert said(f"{two}:default:test") == ["default test"]
    assert len(list(scan_rows(Path(two)))) == 1  # as click makes a path of it


def test_what_is_not_there_is_named(two: str) -> None:
    assert "no split is called 'dev'; it has train, test" in refusal(f"{two}:dev")
    assert "no split is called 'train'; it has validation" in refusal(f"{two}:extra:train")
    assert "BuilderConfig 'none' not found" in refusal(f"{two}:none:train")
    for wrong in (":a:b:c", "::", ":a:"):
        assert "must be hf:owner/name" in refusal(f"{two}{wrong}")
    assert "must be hf:owner/name" in refusal("hf:")


def test_several_splits_and_no_train_among_them(tmp_path: Path, hub_offline: Any) -> None:
    source = repository(tmp_path / "x", {"default": {"one": "1.jsonl", "two": "2.jsonl"}})
    assert "which split?; it has one, two" in refusal(source)
    assert said(f"{source}:two") == ["default two"]


def test_offline_is_one_line(hub_offline: Any) -> None:
    assert "cannot be read from the hub" in refusal("hf:owner/none")
    assert "cannot be read from the hub" in refusal("hf:not a name/at all")


def test_without_a_network_it_is_one_line_at_once(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "https://hub.invalid", "HF_HOME": str(tmp_path / "hf")}
    nowhere |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")
    done = synthgen("export", "hf:owner/none", "--to", "alpaca", "-o", "a.jsonl", cwd=tmp_path, **nowhere)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "error: hf:owner/none: cannot be read from the hub (" in done.stderr
    assert list(tmp_path.glob("a.*")) == []


def test_a_row_that_cannot_be_read_is_told_with_its_number(tmp_path: Path, hub_offline: Any) -> None:
    source = repository(tmp_path / "x", {"default": {"train": "a.jsonl"}})
    with (tmp_path / "x" / "a.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UsageError) as caught:
        list(read_rows(source))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(source)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert 'pip install "synthgen[hub]"' in refusal("hf:owner/name")
