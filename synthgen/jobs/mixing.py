"""A mix: shares of several sources, less duplicates and benchmark rows, as a run folder that every command reads."""

from __future__ import annotations

import hashlib
import json
import shlex
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from synthgen import __version__, output
from synthgen.bodies import dump
from synthgen.cleaning.benchmarks import Benchmarks, asked
from synthgen.cleaning.texts import texts_of_sample
from synthgen.dedup import cjk_share
from synthgen.dedup.decontam import Hit
from synthgen.dedup.greedy import EXACT, WINDOW, Greedy, Texts, in_order, opened
from synthgen.errors import SynthgenError, UsageError
from synthgen.filters import parts
from synthgen.finish import About, finish
from synthgen.formats import open_format
from synthgen.formats.write import write_samples
from synthgen.jobs.plan import MixStep, Part
from synthgen.jobs.sources import Reading, reading
from synthgen.report import Summary
from synthgen.run import Ending
from synthgen.store import Decision, Store, explain
from synthgen.types import Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMATS = ("samples",)
UNREADABLE = "unreadable"  # rejected: a row of a source that is no sample
_FLUSH_EVERY = 2000  # rows: what waits for the disk stays in memory
_Named = tuple[int, int, str, Sample]  # the number of a source, the row in it, the name of both, what stands there


class StoppedError(SynthgenError):
    """Ends a mix that works in a thread of its own, at the next row."""

    exit_code = 130


@dataclass(slots=True)
class _Drawn:
    """One source: how many rows it has, which of them are drawn, and in which order they are given up."""

    part: Part
    rows: int
    digest: str
    order: list[int]  # drawn rows, the one to be kept longest first
    taken: frozenset[int] = frozenset()


class Embeds(Protocol):
    """What the level `semantic` calls; `stop` ends a call that is under way."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def stop(self) -> None: ...


@dataclass(slots=True)
class Mixing:
    """One mix step at work; `stop` may be called from another thread. `embeds` where its dedup compares meanings."""

    step: MixStep
    note: Callable[[str], None]
    embeds: Embeds | None = None
    stopped: bool = False
    looked_at: int = 0
    rows: int | None = None
    _readings: dict[str, Reading] = field(default_factory=dict)  # of the sources that are no runs

    def stop(self) -> None:
        self.stopped = True
        if self.embeds is not None:
            self.embeds.stop()

    def line(self) -> str:
        """How far it is, for a progress line."""
        return f"{self.step.id} (mix) · {self.looked_at}/{'?' if self.rows is None else self.rows} rows"

    def work(self) -> tuple[Ending, Summary, bool]:
        """The folder and the exports; True where the samples were there already. Raises StoppedError."""
        began = time.monotonic()
        step = self.step
        benchmarks = Benchmarks(step.against)
        places = [part.source.place for part in step.parts]
        self._readings = {place: reading(place) for place in places if not output.is_run(Path(place))}
        drawn = [_draw(part, step, self._read) for part in step.parts]
        self.rows = sum(len(one.order) for one in drawn)
        for line in (line for one in self._readings.values() for line in one.lines()):
            self.note(line)
        store = Store(step.folder)
        for left in step.folder.glob(".*.tmp"):  # what a killed process was writing; the lock is ours now
            left.unlink(missing_ok=True)
        try:
            if store.meta("recipe") not in (None, "mix"):
                there = store.meta("recipe")
                raise UsageError(f"{step.folder}: holds a run of {there}, not a mix; give the step another id")
            identity = self._identity(drawn, benchmarks)
            done = store.meta("identity") == identity and store.meta("mixed") == 1
            if not done:
                store.start(identity=identity, mixed=0, recipe="mix", began=time.time(), stored_before=0)
                store.forget_decisions(0)
                self._decide(drawn, benchmarks, store)
                store.flush()
                store.start(mixed=1)
            with output.reading(step.folder) as db:
                lang = _lang(output.accepted(db, step.count))
            output.write_json(step.folder / "run.json", self._about(drawn, lang))
            names = [one.part.source.name for one in drawn]
            about = About("mix", lang, step.count, _FORMATS, {}, names, shlex.join(step.command))
            summary = finish(step.folder, about, self.note, served=0, seconds=time.monotonic() - began)
        except sqlite3.Error as error:
            raise explain(error, step.folder) from error
        finally:
            store.close()
        return self._ending(summary), summary, done

    def _read(self, part: Part) -> Iterator[Sample]:
        rows = self._readings.get(part.source.place)
        for sample in output.samples_of(Path(part.source.place))() if rows is None else rows:
            if self.stopped:
                raise StoppedError("interrupted; the same command continues")
            yield sample

    def _identity(self, drawn: Sequence[_Drawn], benchmarks: Benchmarks) -> str:
        """All that shapes the mix."""
        step = self.step
        sources = [[d.part.source.name, str(d.part.share), d.part.most, d.digest] for d in drawn]
        shape = [sources, step.seed, step.count, step.dedup, benchmarks.digest, step.id, step.embedded_by]
        return json.dumps([__version__, *shape])

    def _decide(self, drawn: Sequence[_Drawn], benchmarks: Benchmarks, store: Store) -> None:
        """A verdict for each drawn row, in the order of the sources and of their rows."""
        if self.step.against:
            benchmarks.count(asked(sample) for _, _, sample in self._drawn_samples(drawn))
        check = _Check(self.step, benchmarks, self.embeds)
        verdicts = {(source, row): why for source, row, why in check.verdicts(self._named(drawn))}
        if self.step.count is not None:
            kept = [[row for row in one.taken if (n, row) not in verdicts] for n, one in enumerate(drawn)]
            for source, row in _surplus(drawn, kept, self.step.count):
                verdicts[source, row] = (output.SURPLUS, "")
        unread = [fault for one in self._readings.values() for fault in one.first]
        for place, fault in enumerate(unread):  # first: a count that is reached ends the dataset
            store.decide(fault.where, [Decision(UNREADABLE, dump(None, fault.message))], [], place + 1)
        for place, (source, row, sample) in enumerate(self._drawn_samples(drawn), start=len(unread)):
            reason, detail = verdicts.get((source, row), (None, ""))
            name = f"{drawn[source].part.source.name}:{row + 1}"
            store.decide(name, [Decision(reason, dump(sample, detail))], [], place + 1)
            if place % _FLUSH_EVERY == 0:
                store.flush()

    def _drawn_samples(self, drawn: Sequence[_Drawn]) -> Iterator[tuple[int, int, Sample]]:
        for number, one in enumerate(drawn):
            for row, sample in enumerate(self._read(one.part)):
                if row in one.taken:
                    yield number, row, sample

    def _named(self, drawn: Sequence[_Drawn]) -> Iterator[_Named]:
        for source, row, sample in self._drawn_samples(drawn):
            yield source, row, f"{drawn[source].part.source.name}:{row + 1}", sample
            self.looked_at += 1

    def _about(self, drawn: Sequence[_Drawn], lang: str) -> dict[str, Any]:
        step = self.step
        return {
            "recipe": "mix",
            "lang": lang,
            "count": step.count,
            "formats": list(_FORMATS),
            "sources": {
                d.part.source.name: {
                    "rows": d.rows,
                    "drawn": len(d.order),
                    "share": str(d.part.share),
                    "most": d.part.most,
                    "unread": one.unread if (one := self._readings.get(d.part.source.place)) else 0,
                }
                for d in drawn
            },
            "dedup": list(step.dedup),
            "embedding": step.embedded_by,
            "decontaminate": list(step.against),
            "export": {name: str(path) for name, path in step.export.items()},
            "seed": step.seed,
            "version": __version__,
            "command": shlex.join(step.command),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _ending(self, summary: Summary) -> Ending:
        """Writes the exports; a mix that is short of its count is as whole as it can be."""
        for name, path in self.step.export.items():
            written = write_samples(output.samples_of(self.step.folder), open_format(name), path)
            for what, counts in (("are left out", written.left_out), ("lose", written.lost)):
                for reason, number in counts.items():
                    self.note(f"{path}: {number} samples {what}: {reason}")
            for line in written.notes:
                self.note(f"{path}: {line}")
        accepted, count = summary.falls.accepted, self.step.count
        if not accepted or (count is not None and accepted < count):
            goal = "" if count is None else f" of {count}"
            common = ", ".join(f"{n} {reason}" for reason, n in summary.falls.rejected.most_common(3))
            why = f" ({common})" if common else ""
            return Ending(7, f"the sources are used up, {accepted}{goal} rows{why}; give more sources or larger shares")
        return Ending()


def _draw(part: Part, step: MixStep, read: Callable[[Part], Iterator[Sample]]) -> _Drawn:
    """The rows of a source that take part. A row's rank hangs on its place alone: rows added at the end move none."""
    rng = Random(f"{step.seed}:{step.id}:{part.source.name}")
    ranks: list[tuple[float, int]] = []
    digest = hashlib.blake2b(digest_size=16)
    for row, sample in enumerate(read(part)):
        ranks.append((rng.random(), row))
        digest.update(dump(sample) + b"\n")
    ranks.sort()
    most = int(part.share * len(ranks) + Fraction(1, 2))
    most = most if part.most is None else min(part.most, len(ranks))
    order = [row for _, row in ranks[:most]]
    return _Drawn(part, len(ranks), digest.hexdigest(), order, frozenset(order))


def _surplus(drawn: Sequence[_Drawn], kept: Sequence[Sequence[int]], count: int) -> Iterator[tuple[int, int]]:
    """What is beyond `count` rows: each source keeps its part of them, and what one lacks the others fill."""
    quotas = shares_of(count, [len(one.order) for one in drawn], [len(rows) for rows in kept])
    for number, one in enumerate(drawn):
        there = set(kept[number])
        for row in [row for row in one.order if row in there][quotas[number] :]:
            yield number, row


def shares_of(count: int, weights: Sequence[int], most: Sequence[int]) -> list[int]:
    """`count` in the proportion of the weights by largest remainders, none above its `most`; others fill in."""
    found = [0] * len(weights)
    left = min(count, sum(most))
    while left:
        open_ = [n for n, limit in enumerate(most) if found[n] < limit]
        total = sum(weights[n] for n in open_)
        exact = {n: Fraction(left * weights[n], total) for n in open_}
        by_remainder = sorted(open_, key=lambda n: (int(exact[n]) - exact[n], n))
        ones = left - sum(int(part) for part in exact.values())
        for place, n in enumerate(by_remainder):
            more = min(int(exact[n]) + (place < ones), most[n] - found[n])
            found[n] += more
            left -= more
    return found


# What a level calls its rejections: `novelty` as in a run.
_REASONS = {EXACT: "duplicate", "rouge": "novelty", "minhash": "near duplicate", "semantic": "same meaning"}


class _Check:
    """Why a row is not taken: it is in a benchmark, or too much like a row that was."""

    def __init__(self, step: MixStep, benchmarks: Benchmarks, embeds: Embeds | None) -> None:
        self._benchmarks = benchmarks
        methods = in_order(step.dedup)
        self._greedy = Greedy(opened(methods, embed=embeds), exact=EXACT in methods)

    def verdicts(self, rows: Iterable[_Named]) -> Iterator[tuple[int, int, tuple[str, str]]]:
        """(source, row, (reason, detail)) of those that are not taken."""
        waiting: deque[tuple[int, int]] = deque()
        found: list[tuple[int, int, tuple[str, str]]] = []

        def candidates() -> Iterator[tuple[str, Texts]]:
            for (source, row, name, sample), met in self._against_benchmarks(rows):
                if met is not None:
                    found.append((source, row, ("contaminated", met.evidence)))
                    continue
                waiting.append((source, row))
                yield name, _texts(sample, source)

        for verdict in self._greedy.decide(candidates()):
            source, row = waiting.popleft()
            if verdict.near is not None:
                reason = "contradictory" if verdict.contradictory else _REASONS[verdict.level]
                found.append((source, row, (reason, verdict.near.evidence)))
            yield from found
            found.clear()
        yield from found

    def _against_benchmarks(self, rows: Iterable[_Named]) -> Iterator[tuple[_Named, Hit | None]]:
        rows = iter(rows)
        while window := list(islice(rows, WINDOW)):
            yield from zip(window, self._benchmarks.met([sample for *_, sample in window]), strict=True)


def _texts(sample: Sample, source: int) -> Texts:
    """With the task: the samples of one stand side by side, answers that were asked for several times among them."""
    texts = texts_of_sample(sample)
    task = str(sample.meta.get("id", "")).rpartition(".")[0]
    return replace(texts, task=f"{source} {task} {texts.prompt}") if task else texts


def _lang(samples: Iterable[Sample]) -> str:
    """The language of most of the first samples, for the card."""
    chinese = [cjk_share(parts(sample)[0]) >= 0.3 for sample in islice(samples, 200)]
    return "zh" if 2 * sum(chinese) > len(chinese) else "en"
