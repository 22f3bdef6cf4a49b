"""Two answers to one prompt: where the answer begins, the sample with the other one, what no trainer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synthgen.formats import Format
from synthgen.formats.turns import content_fault
from synthgen.types import Message, Sample

# A conversation does not show where an answer of several turns begins.
_TURNS = "answer_turns"


def split_answer(sample: Sample) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The prompt and the answer: the last turn, or as many as `meta["answer_turns"]` says."""
    said = sample.meta.get(_TURNS)
    turns = said if type(said) is int and 0 < said < len(sample.messages) else 1
    border = max(len(sample.messages) - turns, 0)
    return sample.messages[:border], sample.messages[border:]


def answered(
    sample: Sample, prompt: Sequence[Message], answer: Sequence[Message], rejected: Sequence[Message] = ()
) -> Sample:
    """The sample with this conversation in it."""
    meta = {key: value for key, value in sample.meta.items() if key != _TURNS}
    turns = {_TURNS: len(answer)} if len(answer) > 1 else {}
    return replace(sample, messages=(*prompt, *answer), rejected=tuple(rejected), meta=meta | turns)


def other(sample: Sample) -> Sample:
    """The sample with the rejected answer in the place of the chosen one."""
    prompt, answer = split_answer(sample)
    return answered(sample, prompt, sample.rejected, answer)


def alone(sample: Sample) -> Sample:
    """The sample with the chosen answer alone."""
    return replace(sample, rejected=())


def common_prompt(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Two whole conversations as prompt, answer and answer: the turns that open both are the prompt.

    Turns and never characters: "good answer" and "great answer" do not answer the prompt "g".
    """
    most = min(len(chosen), len(rejected)) - 1
    equal = next((n for n in range(most) if chosen[n] != rejected[n]), most)
    return chosen[:equal], chosen[equal:], rejected[equal:]


def pair_fault(sample: Sample) -> str | None:
    """Why no trainer can learn from the two answers of the sample, or None where it can."""
    if not sample.rejected:
        return "no rejected answer"
    if fault := content_fault(sample):
        return fault
    prompt, answer = split_answer(sample)
    if answer[0].role != "assistant" or sample.rejected[0].role != "assistant":
        return "answers that do not follow one prompt"
    if not prompt or prompt[-1].role not in ("user", "tool"):
        return "no prompt before the answer"
    if fault := content_fault(other(sample)):
        return f"the rejected one is {fault}"
    if [_content(turn) for turn in answer] == [_content(turn) for turn in sample.rejected]:
        return "chosen and rejected are the same"
    return None


def both_carried(sample: Sample, into: Format) -> str | None:
    """Why a format of single conversations cannot hold the one or the other answer, or None."""
    return into.carries(alone(sample)) or into.carries(alone(other(sample)))


def both_lose(sample: Sample, into: Format) -> tuple[str, ...]:
    """What such a format loses of the conversation with the one answer or with the other."""
    return tuple(dict.fromkeys((*into.loses(alone(sample)), *into.loses(alone(other(sample))))))


def one_turn_fault(sample: Sample) -> str | None:
    """What a row says that has room for one turn as the answer."""
    return "an answer of several turns" if len(split_answer(sample)[1]) > 1 or len(sample.rejected) > 1 else None


def _content(turn: Message) -> tuple[Any, ...]:
    """What a trainer sees of a turn: thoughts and the ids of calls are not written everywhere."""
    return turn.role, turn.content, [(call.name, call.arguments) for call in turn.tool_calls]


def unpaired(sample: Sample) -> tuple[Sample, ...]:
    """The two rows that a pair is to KTO, each with its label; any other sample as it is."""
    if not sample.rejected or sample.label is not None:
        return (sample,)
    return replace(sample, label=True), replace(other(sample), label=False)


def label_fault(sample: Sample) -> str | None:
    """Why KTO cannot learn from the answer of the sample, or None where it can."""
    if not isinstance(sample.label, bool):
        return "no label"
    if sample.rejected and (fault := pair_fault(replace(sample, label=None))):
        return fault
    if fault := content_fault(replace(sample, label=None)):
        return fault
    prompt, answer = split_answer(sample)
    if answer[0].role != "assistant" or not prompt or prompt[-1].role not in ("user", "tool"):
        return "no prompt before the answer"
    return None


def label_loses(sample: Sample, into: Format) -> tuple[str, ...]:
    """What a format of single conversations with a label loses."""
    lost = into.loses(replace(sample, rejected=(), label=None))
    return (*lost, "the other answer of the pair") if sample.rejected else lost
