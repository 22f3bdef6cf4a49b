"""The rules of rows whose answers have columns: Alpaca, pairs of answers, labels, completions, text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synthgen.validating.turns import Found, kind_of_value, messages, sharegpt

_NOTHING: tuple[Found, ...] = ()
_PROMPTS = frozenset({"prompt", "instruction", "question", "conversations", "messages"})


def alpaca(row: Mapping[str, Any], roles: set[str]) -> Iterable[Found]:
    """`roles` collects which of the optional columns hold something."""
    if len(row) == 3:  # most rows of most files, and all of them are to be looked at
        instruction, given, output = row.get("instruction"), row.get("input"), row.get("output")
        if type(instruction) is type(given) is type(output) is str and instruction and output:
            if given:
                roles.add("input")
            if not instruction.isspace() and not output.isspace():
                return _NOTHING
    return _alpaca(row, roles)


def _alpaca(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    yield from _asked(row, roles)
    column = "output" if "output" in row or "response" not in row else "response"
    output = row.get(column)
    if type(output) is not str:
        yield "no-output", f"{column} is {_absent(row, column)}"
    elif not output.strip():
        yield "empty-output", f"{column} is empty"


def _absent(row: Mapping[str, Any], column: str) -> str:
    return kind_of_value(row[column]) if column in row else "missing"


def _asked(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """Instruction, input, system and history, which rows of one answer, of two and with a label share."""
    instruction, given = row.get("instruction"), row.get("input")
    silent = instruction is None or (type(instruction) is str and not instruction.strip())
    if silent and type(given) is str and given.strip():
        yield "input-alone", f"instruction is {'empty' if instruction is not None else _absent(row, 'instruction')}"
    elif instruction is None:
        yield "no-instruction", f"instruction is {_absent(row, 'instruction')}"
    elif type(instruction) is not str:
        yield "instruction-type", f"instruction is {kind_of_value(instruction)}"
    elif not instruction.strip():
        yield "no-instruction", "instruction is empty"
    for column in ("input", "system"):
        value = row.get(column)
        if value is not None and type(value) is not str:
            yield f"{column}-type", f"{column} is {kind_of_value(value)}"
        elif value:
            roles.add(column)
    history = row.get("history")
    if history:
        roles.add("history")
    if history is not None and not _are_pairs(history):
        yield "history-shape", "history is no list of pairs of texts"


def _are_pairs(history: Any) -> bool:
    return type(history) is list and all(
        type(pair) is list and len(pair) == 2 and type(pair[0]) is type(pair[1]) is str for pair in history
    )


def says(answer: Any) -> bool:
    """Whether there is an answer, in whichever shape: text, a turn, turns."""
    if type(answer) is list:
        answer = answer[-1] if answer else None
    if type(answer) is dict:
        said = answer.get("value") if "from" in answer else answer.get("content")
        return bool(answer.get("tool_calls")) or bool(said and (type(said) is not str or said.strip()))
    return type(answer) is str and bool(answer.strip())


def preference(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """chosen and rejected: of TRL, and of LLaMA-Factory in both its forms."""
    yield from _prompt_of_pair(row, roles)
    chosen, rejected = row.get("chosen"), row.get("rejected")
    silent = [name for name in ("chosen", "rejected") if not says(row.get(name))]
    for name in silent:
        yield "no-answer", f"{name} {'says nothing' if row.get(name) is not None else 'is ' + _absent(row, name)}"
    if silent:
        return
    if type(chosen) is not type(rejected):
        yield "answer-shape", f"chosen is {kind_of_value(chosen)}, rejected {kind_of_value(rejected)}"
    elif chosen == rejected:
        yield "same-answer", "chosen and rejected are the same"
    elif "conversations" in row and type(chosen) is not dict:
        yield "answer-shape", f"beside conversations an answer is {{from, value}}, not {kind_of_value(chosen)}"
    elif type(chosen) is str and not _PROMPTS & row.keys():
        yield "no-prompt", "chosen and rejected are texts without a prompt"
    elif "prompt" in row and type(row["prompt"]) is not type(chosen) and type(chosen) is not dict:
        yield "prompt-type", f"prompt is {kind_of_value(row['prompt'])}, the answers are {kind_of_value(chosen)}"


def _prompt_of_pair(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    if "conversations" in row:
        yield from sharegpt(row, roles, asked=True)
    elif "instruction" in row:
        yield from _asked(row, roles)
    elif "prompt" in row:
        yield from _prompt(row, roles)


def _prompt(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    prompt = row.get("prompt")
    if type(prompt) is list:
        yield from messages(row, roles, column="prompt")
    elif type(prompt) is not str:
        yield "prompt-type", f"prompt is {_absent(row, 'prompt')}"
    elif not prompt.strip():
        yield "empty-prompt", "prompt is empty"


def swift_pair(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """messages with the chosen answer last, and the other one in a column."""
    yield from messages(row, roles)
    name = "rejected_messages" if row.get("rejected_messages") is not None else "rejected_response"
    turns, rejected = row.get("messages"), row.get(name)
    if not says(rejected):
        yield "no-answer", f"{name} {'says nothing' if rejected is not None else 'is ' + _absent(row, name)}"
    elif turns == rejected or (type(turns) is list and turns and _content(turns[-1]) == rejected):
        yield "same-answer", f"{name} is the answer itself"


def _content(turn: Any) -> Any:
    return turn.get("content") if type(turn) is dict else None


def openai_pair(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """OpenAI's form: input.messages, and one turn of the assistant in each output."""
    given = row.get("input")
    if type(given) is dict:
        yield from (one for one in messages(given, roles) if one[0] not in ("last-turn", "roles-in-a-row"))
    else:
        yield "no-turns", f"input is {_absent(row, 'input')}, no object with messages"
    names = ("preferred_output", "non_preferred_output")
    for name in names:
        answer = row.get(name)
        if type(answer) is not list or len(answer) != 1 or not says(answer):
            yield "no-answer", f"{name} is not one turn that says something"
    if row.get(names[0]) is not None and row.get(names[0]) == row.get(names[1]):
        yield "same-answer", "both outputs are the same"


def labelled_completion(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """KTO rows of TRL, which takes 1 and 0 too; the prompt may stand in the completion."""
    if type(row.get("label")) not in (int, float) or row["label"] not in (0, 1):
        yield from _label(row)
    yield from completion(row, roles)


def completion(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """prompt and completion, both text or both turns; of KTO rows the prompt may stand in the completion."""
    answer, prompt = row.get("completion"), row.get("prompt")
    labelled = not row.keys().isdisjoint(("label", "kto_tag"))
    if "prompt" in row or type(answer) is not list or not labelled:
        yield from _prompt(row, roles)
    if not says(answer):
        yield (
            "no-completion",
            f"completion {'says nothing' if answer is not None else 'is ' + _absent(row, 'completion')}",
        )
    elif type(prompt) in (str, list) and type(answer) is not type(prompt):
        yield "prompt-type", f"prompt is {kind_of_value(prompt)}, completion {kind_of_value(answer)}"
    elif type(answer) is list:
        yield from messages(row, roles, column="completion")


def _label(row: Mapping[str, Any]) -> Iterator[Found]:
    """The first label that is there counts: in a file of both columns, one of them is null."""
    columns = [column for column in ("kto_tag", "label") if column in row]
    column = next((column for column in columns if row[column] is not None), columns[0] if columns else "label")
    label = row.get(column)
    if type(label) in (int, float) and label not in (0, 1):
        yield "label-value", f"{column} is {label}"
    elif type(label) is not bool:
        what = repr(label)[:40] if type(label) is str else label if type(label) in (int, float) else None
        yield "label-type", f"{column} is {what if what is not None else _absent(row, column)}"


def labelled_messages(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    yield from _label(row)
    yield from messages(row, roles)


def labelled_sharegpt(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    yield from _label(row)
    yield from sharegpt(row, roles)


def labelled_alpaca(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    yield from _label(row)
    yield from _alpaca(row, roles)


def prompt_only(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """Prompts of reinforcement learning."""
    yield from _prompt(row, roles)


def text(row: Mapping[str, Any], roles: set[str]) -> Iterator[Found]:
    """Text to go on training with, plain or in a chat's markup."""
    said = row.get("text")
    if type(said) is not str or not said.strip():
        yield "empty-text", f"text is {_absent(row, 'text') if said != '' else 'empty'}"


def anything(row: Mapping[str, Any], roles: set[str]) -> Iterable[Found]:
    """Rows of no known format: only what concerns every file."""
    return _NOTHING
