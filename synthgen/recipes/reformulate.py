"""Texts for other readers: a document rewritten for many genres and audiences, or one question answered for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from synthgen import filters
from synthgen.document_recipe import DocumentRecipe
from synthgen.errors import ParseError
from synthgen.judging import CONSISTENCY, CONTRADICTION, QUALITY, STYLE, Judge, Verdict, scores
from synthgen.recipe import Ask, Outcome, Rehearse, Setting, gather, knob
from synthgen.reformulating import Pair, library, read_pairs, unfit, wanted
from synthgen.reformulating.siblings import best_apart, text_of, without_copies
from synthgen.reformulating.texts import coverage, is_chinese, overlap, tidy
from synthgen.types import Completion, Message, Rejection, Sample, SamplingParams, Seed, Task
from synthgen.verifiers.contradiction import contradiction

_OF_A_DOCUMENT, _OF_A_QUESTION = 5, 3  # pairs, where no number is given
_PAIR_TOKENS, _ANALYSIS_TOKENS = 90, 300  # what an answer needs for one pair, and a judge for its reasons
_LONGEST_ANALYSIS_TOKENS = 1024  # where the context is no matter
_SMALL_CONTEXT_TOKENS = 4096
_LONGEST_QUOTE = 4000  # characters of an unreadable answer that are shown again
_REPAIR_TOKENS = 120  # what asks for it
_NO_LIMIT_TOKENS = 1 << 17
_DRAWN = "drawn"
_MATERIAL = re.compile(r"<(text|question|reference)>\n(.*?)\n</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Source:
    """What one task rewrites: a document, or the reference answer to a question, "" where there is none."""

    text: str
    meta: Mapping[str, Any]
    question: str = ""
    said: tuple[Message, ...] = ()  # the conversation up to the question
    split: tuple[str, str] | None = None

    @property
    def topic(self) -> str:
        """What pairs are thought of for."""
        return self.question or self.text


class Reformulate(DocumentRecipe):
    """Pairs of genre and audience in one request, one rewrite a pair, a judge that forgives all but estrangement."""

    name = "reformulate"
    summary = "documents (--documents) rewritten for many readers, or one question (--input) answered for each of them"
    source = "MGA, Reformulation for Pretraining Data Augmentation (Hao et al., arXiv 2502.04235)"
    templates = ("pairs", "repair", "strict", "base", "relaxed", "answer", "style", "task")
    rubrics = ("consistency", "quality", "contradiction", "style")
    takes = ("documents", "prompts")
    figures = ("score", "coverage", "overlap", "genre", "audience")
    filtered = False  # the text filters are for instructions
    novel = False  # rewrites are compared with their siblings

    pairs = knob(
        "",
        'N or generated[:N], library[:N], a file, or "genre-audience;genre-audience" (default: 5; of a question 3)',
    )
    strictness = knob("base", "how near to a document a rewrite stays", choices=("strict", "base", "relaxed"))
    as_ = knob(
        "text",
        "what a rewritten document becomes: text, or an answer to an instruction",
        choices=("text", "instruction"),
    )
    style_in = knob(
        "system", "where an answer's genre and audience are told", choices=("system", "instruction", "none")
    )
    keep = knob(3.0, "the judge's score, 1 to 5, that a rewrite needs", low=1, high=5)
    raters = knob(1, "judges of each rewrite; the score is their mean", low=1, high=9)
    contradictions = knob(
        "both", "who looks for contradictions to a reference", choices=("both", "rules", "judge", "none")
    )
    style_check = knob(True, "ask the judge whether an answer reads as its genre for its audience")
    coverage = knob(0.2, "share of a document's 20 keywords that a rewrite needs", low=0, high=1)
    copied = knob(0.95, "ROUGE-L to the source from which on a rewrite is a copy", low=0.05, high=1)
    novelty = knob(0.7, "ROUGE-L to a sibling from which on a rewrite is none of its own", low=0.05, high=1.0)
    novelty_cjk = knob(0.7, "the same where most of the text is Chinese, on characters", low=0.05, high=1.0)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._library = library(self.lang, setting.prompts)
        self._wanted = wanted(self.pairs, self._library)
        self.pairs = self._wanted.said
        self._judge = Judge(self.prompts, raters=self.raters, max_tokens=self._analysis_tokens())

    def own_sampling(self) -> SamplingParams:
        # The paper's temperatures are unpublished.
        return SamplingParams(temperature=0.8, top_p=0.95, max_tokens=4096)

    def formats_for(self, what: str) -> tuple[str, ...]:
        return ("text",) if what == "documents" and self.as_ == "text" else ("alpaca", "sharegpt")

    def longest_chunk(self) -> int:
        """What leaves room for five pairs, for a rewrite of the same length, and for both of them before a judge."""
        if self.context_tokens is None:
            return self.chunk_tokens
        rewriting = self._frame(self.strictness, genre="", audience="") + 2 * _PAIR_TOKENS
        most = min(self.context_tokens - rewriting, self.context_tokens - self._judging()) // 2
        if self._wanted.source == "generated":
            count = self._count(_OF_A_DOCUMENT)
            most = min(most, self.context_tokens - self._frame("pairs", count=count) - count * _PAIR_TOKENS)
        return max(64, min(self.chunk_tokens, most))

    def _analysis_tokens(self) -> int:
        small = self.context_tokens is not None and self.context_tokens < _SMALL_CONTEXT_TOKENS
        return _ANALYSIS_TOKENS if small else _LONGEST_ANALYSIS_TOKENS

    def _judging(self) -> int:
        """Tokens of a judgement without its texts: twice an answer, since one may have to be repaired."""
        return self._frame("judge/consistency", source="", rewrite="") + 2 * self._analysis_tokens() + _REPAIR_TOKENS

    def _frame(self, part: str, **values: Any) -> int:
        """Tokens of a prompt without its texts."""
        texts = {"text": ""} if "text" in self.prompts[part].variables else {}
        return sum(self.count_tokens(m.content) + 8 for m in self.render(part, **texts, **values))

    def _count(self, default: int) -> int:
        return len(self._wanted.pairs) or self._wanted.count or default

    def most_per_task(self) -> int:
        return self._count(_OF_A_DOCUMENT)

    def rehearsed(self, seeds: Iterable[Seed]) -> Rehearse:
        return self._rehearse

    def _rehearse(self, prompt: Sequence[Message], role: str) -> str:
        """An answer that leads to the next request, as long as such answers are."""
        asked = prompt[-1].content
        if role == "judge":
            return '{"analysis": "' + "so " * _ANALYSIS_TOKENS + '", "score": 5, "contradicts": "no", "fits": "yes"}'
        if '"audience_1"' in asked:
            drawn = self._library.draw(asked.count('"audience_'), Random(0))
            sides = [f'"audience_{n}": "{p.audience}", "genre_{n}": "{p.genre}"' for n, p in enumerate(drawn, 1)]
            return "{" + ", ".join(sides) + "}"
        material = _MATERIAL.findall(asked)
        text = material[-1][1] if material else asked
        genre = asked.partition("<genre>\n")[2][:40]  # the words of the text, and no copy of it or of a sibling
        return f"{genre}\n{text[len(text) // 2 :]}\n{text[len(text) // 5 : len(text) // 2]}"

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        base = rng.getrandbits(64)
        for seed in seeds:
            asked = "messages" in seed.fields
            for task in [Task(seed.id, seed.fields)] if asked else super().tasks([seed], rng):
                if self._wanted.source != "library":
                    yield task
                    continue
                # By the task's name: what stands before a document in a folder does not change its readers.
                count = self._count(_OF_A_QUESTION if asked else _OF_A_DOCUMENT)
                drawn = self._library.draw(count, Random(f"{base}:{task.id}"))
                yield Task(task.id, {**task.vars, _DRAWN: drawn})

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        if unread := self.unread(task):
            return [unread]
        source = self._question(task) if "messages" in task.vars else self._document(task)
        try:
            pairs, unused = await self._pairs(task, source, ask)
        except ParseError as error:
            return [Rejection("pairs", f"{error}: {error.text[:200]!r}", Sample(meta=source.meta))]
        items = await gather(self._rewritten(source, pair, ask) for pair in pairs)
        # Nobody is asked before all are written: equal requests of equal rewrites would be told apart by chance.
        items = without_copies(items)
        items = await gather(self._judged(source, item, ask) for item in items)
        return [*unused, *best_apart(items, latin=self.novelty, cjk=self.novelty_cjk)]

    def _document(self, task: Task) -> _Source:
        text = task.vars["text"]
        about = self.provenance(task)["source"]
        return _Source(text, {"parents": [about["document"]], "source": self._told(about, text)})

    def _question(self, task: Task) -> _Source:
        given: Mapping[str, Any] = task.vars
        said: tuple[Message, ...] = given["messages"]
        reference, question = given["reference"] or "", said[-1].content
        about = self._told({"question": question}, reference or question)
        more = {"row": given["columns"]} if "columns" in given else {}
        if given["turns"]:  # the first question alone is answered: what follows it speaks of one answer
            more |= {"later_turns": list(given["turns"])}
        return _Source(reference, {"parents": [task.id], "source": about, **more}, question, said, given["split"])

    def _told(self, about: Mapping[str, Any], text: str) -> dict[str, Any]:
        return {**about, "text": text, "tokens": self.count_tokens(text)}

    async def _pairs(self, task: Task, source: _Source, ask: Ask) -> tuple[list[Pair], list[Outcome]]:
        """The pairs of a task, and those that cannot be used. Raises ParseError after one request to repair them."""
        if self._wanted.source == "given":
            return list(self._wanted.pairs), []
        if self._wanted.source == "library":
            return task.vars[_DRAWN], []
        count = self._count(_OF_A_QUESTION if source.question else _OF_A_DOCUMENT)
        prompt = self.render("pairs", text=source.topic, count=count)
        reply = await ask(prompt, sampling=self.sampling)
        found, fault = _read(reply, count)
        if fault is not None:
            repair = self.render("repair", fault=str(fault), count=count)
            said = Message("assistant", self._quoted(reply.text.strip(), prompt, count))
            again, fault = _read(await ask((*prompt, said, *repair), sampling=self.sampling), count)
            found = min((p for p in (found, again) if p), key=lambda pairs: len(_faults(pairs)), default=[])
        if not found:
            assert fault is not None  # else there were pairs
            raise fault
        reasons = unfit(found)
        used = [pair for pair, reason in zip(found, reasons, strict=True) if reason is None]
        unused = [
            Rejection(*reason, Sample(meta={**source.meta, **_about(pair)}))
            for pair, reason in zip(found, reasons, strict=True)
            if reason is not None
        ]
        return used, list(unused)

    def _quoted(self, text: str, prompt: Sequence[Message], count: int) -> str:
        """The beginning of an answer that is shown again, so long that another answer has room behind it."""
        most = _LONGEST_QUOTE
        if self.context_tokens is not None:
            asked = sum(self.count_tokens(m.content) + 8 for m in prompt) + _REPAIR_TOKENS
            left = self.context_tokens - asked - count * _PAIR_TOKENS
            most = min(most, max(0, left) * len(text) // max(1, self.count_tokens(text)))
        return text[:most].strip() or "..."  # servers want no empty turn

    async def _rewritten(self, source: _Source, pair: Pair, ask: Ask) -> list[Outcome]:
        """One rewrite as a sample, or why it is none before a judge sees it."""
        reply = await ask(self._prompt(source, pair), sampling=self._limited(source))
        text = tidy(reply.text)
        measured: dict[str, float] = {"tokens": self.count_tokens(text)}
        if source.text and text:
            measured |= {
                "coverage": round(coverage(source.text, text), 4),
                "overlap": round(overlap(source.text, text), 4),
            }
        sample = self._sample(source, pair, text, {**source.meta, **_about(pair), **measured})
        fault = self._fault(source, reply, text, measured)
        return [sample if fault is None else Rejection(*fault, sample)]

    def _prompt(self, source: _Source, pair: Pair) -> tuple[Message, ...]:
        style = {"genre": str(pair.genre), "audience": str(pair.audience)}
        if not source.question:
            return self.render(self.strictness, text=source.text, **style)
        earlier = [{"role": m.role, "content": m.content} for m in source.said[:-1]]
        return self.render("answer", question=source.question, reference=source.text, earlier=earlier, **style)

    def _limited(self, source: _Source) -> SamplingParams:
        """No rewrite is waited for that is longer than three times its source, or does not fit before a judge."""
        most = self.sampling.max_tokens or _NO_LIMIT_TOKENS
        size = self.count_tokens(source.text)
        if source.text:
            most = min(most, 3 * size + 512)
        if self.context_tokens is not None:
            most = min(most, max(64, self.context_tokens - self._judging() - size))
        return replace(self.sampling, max_tokens=most)

    def _fault(
        self, source: _Source, reply: Completion, text: str, measured: Mapping[str, Any]
    ) -> tuple[str, str] | None:
        """(reason, detail) by rules alone, the cheapest first."""
        if not text:
            return "empty", "the answer has no text"
        if reply.finish_reason == "length":
            return "truncated", "the answer was cut at its longest (see --max-tokens)"
        if filters.refused(source.topic, text):
            return "refusal", text[:200]
        if _foreign(source, text):
            return "language", f"{'Chinese' if is_chinese(text) else 'not Chinese'}, unlike its source: {text[:200]!r}"
        if not source.text:
            return None
        if measured["overlap"] >= self.copied:
            return "copy", f"ROUGE-L {measured['overlap']:.3f} to the source"
        if not source.question:
            low = measured["coverage"] < self.coverage
            return ("keyword coverage", f"{measured['coverage']:.2f} of the source's keywords") if low else None
        if self.contradictions in ("both", "rules") and (found := contradiction(source.text, text)):
            return "contradiction", "; ".join(map(str, found))
        return None

    def _sample(self, source: _Source, pair: Pair, text: str, meta: Mapping[str, Any]) -> Sample:
        style = {"genre": str(pair.genre), "audience": str(pair.audience)}
        answer = Message("assistant", text)
        if source.question:
            said, split = self._styled(source, style)
            return Sample((*said, answer), reference=source.text or None, input_split=split, meta=meta)
        meta = {**meta, "strictness": self.strictness}
        if self.as_ == "text":
            return Sample(text=text, meta=meta)
        (instruction,) = self.render("task", **style)
        asked = Message("user", f"{instruction.content}\n{source.text}")
        return Sample((asked, answer), input_split=(instruction.content, source.text), meta=meta)

    def _styled(self, source: _Source, style: Mapping[str, str]) -> tuple[tuple[Message, ...], tuple[str, str] | None]:
        """The conversation that says for whom its answer is: without that it would have several answers at random."""
        said, split = source.said, source.split
        told = {m.role: m.content for m in self.render("style", **style)}
        if self.style_in == "system":
            own = said[0].content if said[0].role == "system" else ""
            system = Message("system", f"{own}\n\n{told['system']}".strip())
            return (system, *said[1 if own else 0 :]), split
        if self.style_in == "instruction":
            instruction, given = split or (source.question, "")
            instruction = f"{instruction}\n{told['user']}"
            asked = f"{instruction}\n{given}" if given else instruction
            return (*said[:-1], Message("user", asked)), (instruction, given) if split else None
        return said, split

    async def _judged(self, source: _Source, item: Outcome, ask: Ask) -> list[Outcome]:
        """A sample with what the judge says of it, or why it is not used; what is none already goes on as it is."""
        if not isinstance(item, Sample):
            return [item]
        text, verdicts = text_of(item), list[Verdict]()
        if source.text:
            whole = f"{source.question}\n\n{source.text}" if source.question else source.text
            verdicts.append(await self._judge.rate(ask, CONSISTENCY, source=whole, rewrite=text))
        else:
            verdicts.append(await self._judge.rate(ask, QUALITY, prompt=source.question, answer=text, reference=""))
        told = _with(item, verdicts)
        if rejected := verdicts[0].rejection("judge", told, at_least=self.keep):
            return [rejected]
        if source.question and source.text and self.contradictions in ("both", "judge"):
            verdicts.append(await self._judge.rate(ask, CONTRADICTION, reference=source.text, rewrite=text))
            told = _with(item, verdicts)
            if rejected := verdicts[-1].rejection("contradiction", told, word="no"):
                return [rejected]
        if source.question and self.style_check:
            genre, audience = (_line(item.meta, side) for side in ("genre", "audience"))
            verdicts.append(await self._judge.rate(ask, STYLE, genre=genre, audience=audience, text=text))
            told = _with(item, verdicts)
            if rejected := verdicts[-1].rejection("style", told, word="yes"):
                return [rejected]
        return [told]


def _foreign(source: _Source, text: str) -> bool:
    """Whether a rewrite changed its language. A question may ask for that; then its reference says so too."""
    other = is_chinese(source.text) != is_chinese(text)
    if not source.question:
        return other
    return filters.foreign(source.question, text) and (other or not source.text)


def _read(reply: Completion, count: int) -> tuple[list[Pair], ParseError | None]:
    """The pairs of an answer, and what is wrong with it or with one of them."""
    try:
        pairs = read_pairs(reply.text, count)
    except ParseError as error:
        return [], error
    faults = _faults(pairs)
    return pairs, ParseError(faults[0], text=reply.text) if faults else None


def _faults(pairs: Sequence[Pair]) -> list[str]:
    return [reason[1] for reason in unfit(pairs) if reason is not None]


def _about(pair: Pair) -> dict[str, str]:
    """A pair as meta tells it."""
    found = {"genre": pair.genre.title, "genre_description": pair.genre.description}
    found |= {"audience": pair.audience.title, "audience_description": pair.audience.description}
    return {name: value for name, value in found.items() if value}


def _line(meta: Mapping[str, Any], side: str) -> str:
    description = meta.get(f"{side}_description")
    return f"{meta[side]}: {description}" if description else str(meta[side])


def _with(sample: Sample, verdicts: Sequence[Verdict]) -> Sample:
    return replace(sample, meta={**sample.meta, "score": verdicts[0].score, **scores(verdicts)})
