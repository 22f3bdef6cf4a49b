"""Figures that samples tell of themselves, and samples beside their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, result, synthgen
from faulty import Faulty

from synthgen import showing
from synthgen.figures import Figures, lines

NAMES = ("score", "overlap", "genre")


def meta(score: float | None, overlap: float, genre: str, tokens: int = 10, source: int = 4) -> dict[str, Any]:
    return {"score": score, "overlap": overlap, "genre": genre, "tokens": tokens, "source": {"tokens": source}}


def counted(rows: list[tuple[str, bool, dict[str, Any]]]) -> dict[str, Any]:
    figures = Figures(NAMES)
    for row in rows:
        figures.add(*row)
    return figures.as_dict()


def test_a_source_counts_once_however_many_samples_it_gave() -> None:
    found = counted(
        [
            ("a", True, meta(4, 0.7, "ode")),
            ("a", True, meta(5, 0.29, "ode")),
            ("a", False, meta(2, 1.0, "list")),
            ("b", False, {"source": {"tokens": 6}}),  # no pairs: its tokens went in all the same
        ]
    )
    assert found["expansion"] == {"tokens_in": 10, "tokens_out": 20, "ratio": 2.0}
    assert found["score"] == {
        "all": {"2": 1, "4": 1, "5": 1},
        "accepted": {"4": 1, "5": 1},
        "mean": 4.5,
        "low": 4,
        "high": 5,
    }
    assert found["overlap"]["all"] == {"0.2": 1, "0.7": 1, "0.9": 1}
    assert found["overlap"]["accepted"] == {"0.2": 1, "0.7": 1}
    assert found["genre"] == {"distinct": 1, "most": {"ode": 2}}


def test_what_could_not_be_read_is_counted_beside_the_numbers() -> None:
    found = counted(
        [("a", True, meta(3.5, 0.1, "x")), ("a", False, meta(None, 0.1, "y")), ("a", True, meta(4.75, 0.1, "x"))]
    )
    assert found["score"]["all"] == {"3.5": 1, "4.5": 1, "unparsed": 1}
    assert found["score"]["mean"] == 4.125
    assert "score 4.12 (of all 3.5: 1, 4.5: 1, unparsed: 1)" in "\n".join(lines(found, 100, None))


def test_samples_that_tell_nothing_have_no_figures() -> None:
    assert counted([("a", True, {"id": "a.0"})]) == {}
    assert lines({}, 5, None) == []


def test_the_lines_are_three() -> None:
    found = counted([("a", True, meta(4, 0.25, "ode", tokens=30, source=10))])
    assert lines(found, 120, 0.0006) == [
        "expansion 3.00: 30 tokens out of 10; for each kept token 4.0 tokens, $2e-05",
        "score 4.00 (of all 4: 1); overlap 0.25 (0.25 to 0.25)",
        "genre: 1 (ode 1)",
    ]


@pytest.fixture(scope="module")
def made(shared_server: Faulty, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run over the example documents, and what it said at its end."""
    folder = tmp_path_factory.mktemp("made")
    documents = ROOT / "examples" / "documents" / "en"
    done = synthgen(
        "generate", "reformulate", "--documents", documents, "--out", "run", "--base-url", shared_server.base_url,
        "--price", "in=1,out=2", "--json", cwd=folder,
    )  # fmt: skip
    return folder / "run", result(done)


def test_a_report_tells_expansion_scores_overlap_spread_and_cost(made: tuple[Path, dict[str, Any]]) -> None:
    run, said = made
    found = json.loads((run / "report.json").read_text())["figures"]
    assert found == said["figures"]
    assert set(found) == {"score", "coverage", "overlap", "genre", "audience", "expansion", "cost_of_a_kept_token"}
    assert sum(found["score"]["accepted"].values()) == said["accepted"]
    assert sum(found["score"]["all"].values()) == said["accepted"] + said["rejected"].get("judge", 0) + said[
        "rejected"
    ].get("unparsed", 0) + said["rejected"].get("novelty", 0)
    rows = [json.loads(line) for line in (run / "text.jsonl").read_text().splitlines()]
    assert len(rows) == said["accepted"]
    grown = found["expansion"]
    assert grown["ratio"] == pytest.approx(grown["tokens_out"] / grown["tokens_in"], abs=1e-4)
    assert found["cost_of_a_kept_token"]["usd"] == pytest.approx(said["usd"] / grown["tokens_out"], rel=1e-4)
    assert found["genre"]["distinct"] > 5


def test_the_report_command_counts_again(made: tuple[Path, dict[str, Any]]) -> None:
    run, said = made
    again = synthgen("report", run, "--json", cwd=run)
    assert result(again)["figures"] == said["figures"]
    words = synthgen("report", run, cwd=run).stdout
    assert "expansion " in words
    assert "; for each kept token " in words
    assert "genre: " in words
    status = result(synthgen("status", run, "--json", cwd=run))
    assert status["figures"] is None  # no pass over all samples for a look


def test_a_closing_table_keeps_to_twenty_five_lines(shared_server: Faulty, tmp_path: Path) -> None:
    documents = ROOT / "examples" / "documents" / "en"
    done = synthgen("generate", "reformulate", "--documents", documents, "--base-url", shared_server.base_url, "--quiet", cwd=tmp_path)  # fmt: skip
    assert len(done.stdout.splitlines()) <= 25
    assert "expansion " in done.stdout


def test_show_puts_rewrites_beside_their_source(made: tuple[Path, dict[str, Any]]) -> None:
    run, _ = made
    shown = synthgen("show", run, "-n", "2", cwd=run).stdout
    rows = result(synthgen("show", run, "-n", "2", "--json", cwd=run))["samples"]
    first, second = (row["sample"] for row in rows)
    top = shown.splitlines()[0]
    source = first["meta"]["source"]
    assert source["document"] in top
    assert f"{first['meta']['genre']} · {first['meta']['audience']} · {first['meta']['score']:g}" in top
    assert shown.count(source["document"]) == 1  # once for both
    assert second["meta"]["audience"] in " ".join(shown.split())
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 160


def test_a_rejected_rewrite_is_shown_with_its_reason(made: tuple[Path, dict[str, Any]]) -> None:
    run, said = made
    assert "judge" in said["rejected"]
    shown = synthgen("show", run, "-n", "1", "--rejected", "--reason", "judge", cwd=run).stdout
    assert "judge: consistency: 2: " in shown


def test_what_a_model_wrote_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "messages": [],
        "text": "a\x1b[2Jb [bold]c",
        "meta": {"source": {"text": "s\x1b[31m"}, "genre": "g\x07", "audience": "a"},
    }
    showing.print_samples([{"sample": row}])
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x07" not in out
    assert "[bold]c" in out


def test_other_samples_are_shown_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    showing.print_samples(
        [
            {"sample": {"messages": [{"role": "user", "content": "Add.\n1 2"}, {"role": "assistant", "content": "3"}], "input_split": ["Add.", "1 2"], "meta": {}}},
            {"sample": {"messages": [], "input_split": ["Alone.", "x"], "meta": {}}, "reason": "novelty", "task": "t", "detail": "near"},
            {"sample": None, "reason": "parse", "task": "t", "detail": "no"},
            {"sample": {"messages": [], "text": "Once.", "meta": {}}},
        ]
    )  # fmt: skip
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "instruction Add.", "input       1 2", "output      3", "",
        "novelty  task t  near", "instruction Alone.", "",
        "parse  task t  no", "",
        "text        Once.", "",
    ]  # fmt: skip


# The table of the paper: what a labeller and a small model made of 15,355 rewrites, scores 5 to 1.
PUBLISHED = {
    "labeller": ((4120, 7143, 3034, 661, 214), 93.11),
    "small model": ((3788, 7124, 3224, 736, 285), 92.06),
}


@pytest.mark.parametrize("judged", PUBLISHED)
def test_what_was_not_parsed_is_in_the_denominator_as_in_the_paper(judged: str) -> None:
    """93.11 % is 14,297 of 15,355: the 183 that nobody could read are not left out."""
    numbers, published = PUBLISHED[judged]
    rows = [score for score, n in zip((5, 4, 3, 2, 1), numbers, strict=True) for _ in range(n)]
    rows += [None] * (15_355 - len(rows))  # type: ignore[list-item]
    found = counted([(str(n), score is not None and score >= 3, meta(score, 0.5, "x")) for n, score in enumerate(rows)])
    assert sum(found["score"]["all"].values()) == 15_355
    assert round(100 * sum(found["score"]["accepted"].values()) / sum(found["score"]["all"].values()), 2) == published
    assert found["score"]["all"]["unparsed"] == 15_355 - sum(numbers)
