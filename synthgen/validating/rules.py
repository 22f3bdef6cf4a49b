"""The rules by name: what a row or a file must not have, and what each trainer does with one that has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Loader = Literal["LLaMA-Factory", "TRL", "axolotl", "ms-swift", "OpenAI"]
LOADERS: tuple[Loader, ...] = get_args(Loader)
# drop: the row is left out, mostly with a line in a log. abort: nothing is trained, or the file is refused.
# garbage: the row is trained on as something else than it says. cut: its end is lost.
Effect = Literal["drop", "abort", "garbage", "cut"]
WORDS: Mapping[Effect, str] = {
    "drop": "drops the row", "abort": "stops", "garbage": "trains on garbage", "cut": "cuts it",
}  # fmt: skip
# A fault hurts in at least one trainer that reads the format. A warning hurts by version, template or length, or is
# what somebody may have meant. A note is true of the format, whoever writes it.
Level = Literal["fault", "warning", "note"]

_NAMES = "messages; conversations; instruction, output; prompt, completion; question, answer; chosen, rejected; or text"
_EFFECTS: Mapping[str, Effect | None] = {"d": "drop", "a": "abort", "g": "garbage", "c": "cut", "-": None}


@dataclass(frozen=True, slots=True)
class Rule:
    """`effects` are those of trainers that read the format; `hint` is what to do about it."""

    name: str
    level: Level
    effects: Mapping[Loader, Effect]
    hint: str


# A letter for each of LOADERS. Sources: LLaMA-Factory 0.9.5, TRL 1.16, axolotl 0.21, ms-swift 4.6, datasets 4.0 and
# 5.2, run where that was possible; OpenAI's fine-tuning schema and its cookbook's checks.
_TABLE: tuple[tuple[str, Level, str, str], ...] = (
    # what every file may have
    ("not-json", "fault", "aaaaa", "fix or delete the line"),
    ("not-an-object", "fault", "aaaaa", "a row must be an object {...}"),
    ("not-utf8", "fault", "aaaaa", "convert it: iconv -f GB18030 -t UTF-8 old > new (or -f UTF-16)"),
    ("unreadable", "fault", "aaaaa", "the file is not whole, or its columns are not told apart"),
    ("half-pair", "fault", "aaaaa", "delete the half surrogate pair"),
    ("duplicate-key", "fault", "aaaa-", "datasets refuses an object with a key twice; leave one"),
    ("no-rows", "fault", "aaaaa", "give a file with at least one row"),
    ("nan", "fault", "----a", "JSON has no NaN; write null"),
    ("nul", "warning", "-----", "no server accepts a NUL character; delete it"),
    ("long-line", "warning", "-----", "not checked; end each row with a newline"),
    ("bom", "warning", "-----", "readers of plain JSON stop at a byte order mark; save without it"),
    ("compressed", "warning", "a--a-", "unpack it: these two know arrow, csv, json, jsonl, parquet and txt"),
    ("mixed-shapes", "fault", "dadda", "loaders decide by the first row, or by one entry a file; split the file"),
    ("unknown-format", "fault", "-----", f"name them {_NAMES}"),
    ("csv-separator", "fault", "aaaa-", "datasets splits at commas alone; --fix writes JSON lines"),
    ("csv-numbers", "warning", "-----", "datasets makes it a column of numbers, no text; --fix writes JSON lines"),
    ("csv-null", "warning", "dadd-", "datasets takes the word for null; --fix writes JSON lines"),
    ("late-key", "warning", "aaaa-", "datasets takes its columns from the first 10 MB; write the key in every row"),
    ("late-type", "warning", "aaaa-", "datasets takes its types from the first 10 MB; move a row that has it up"),
    ("mixed-types", "warning", "aggg-", "datasets before 4.7 stops, later ones turn numbers in text into numbers"),
    ("free-keys", "warning", "gggg-", "datasets before 4.7 pads each object with the keys of all; write JSON text"),
    ("date-column", "warning", "daad-", "datasets makes it timestamps, which are no text; reword one, or load csv"),
    ("control-token", "warning", "ggggg", "tokenised as a control token; delete it if it is not meant"),
    ("turn-number", "warning", "g----", "{{idx}} is replaced by the number of the turn; reword it"),
    ("media-placeholder", "warning", "a--a-", "multimodal templates count <image>, <video>, <audio>; reword it"),
    ("over-1024", "warning", "-c---", "TRL cuts at max_length 1024, unless set"),
    ("over-2048", "warning", "cc---", "TRL cuts at max_length 1024, LLaMA-Factory at cutoff_len 2048, unless set"),
    # alpaca
    ("no-instruction", "fault", "g-gg-", "write the instruction, or delete the row"),
    ("input-alone", "warning", "--g--", "axolotl asks it under an empty heading; move it to instruction"),
    ("instruction-type", "fault", "a-gd-", "instruction must be text"),
    ("no-output", "fault", "d-gd-", "output must be text; write it or delete the row"),
    ("empty-output", "fault", "g-gg-", "the end mark alone is trained; write the output or delete the row"),
    ("input-type", "fault", "a-gg-", 'input must be text, "" where there is none'),
    ("system-type", "fault", "a-gd-", 'system must be text, "" where there is none'),
    ("history-shape", "fault", "a--d-", "history must be a list of [user text, assistant text]"),
    ("no-input-column", "fault", "a----", 'LLaMA-Factory reads it unless told otherwise; write "input": ""'),
    ("other-output-column", "fault", "a-a--", "LLaMA-Factory and axolotl read output; rename the column"),
    # turns, of whichever format
    ("no-turns", "fault", "daada", "a conversation needs turns"),
    ("turn-shape", "fault", "dgg-a", "a turn is an object {from, value} or {role, content}"),
    ("turn-type", "fault", "agada", "what a turn says must be text"),
    ("empty-turn", "fault", "gggga", "write what is said, or delete the row"),
    ("speaker", "fault", "d-gd-", "speakers are human, gpt, function_call, observation, system"),
    ("role", "fault", "dggda", "roles are system, user, assistant, tool"),
    ("swift-role", "warning", "dgg-a", "a role of ms-swift alone; for others, export to messages"),
    ("from-value", "fault", "daa-a", "TRL knows neither human nor gpt: write role and content, or conversations"),
    ("developer-role", "warning", "d--da", "few templates know it; write system"),
    ("turn-order", "fault", "d--d-", "human and gpt take turns, human first and gpt last; system stands first"),
    ("roles-in-a-row", "warning", "d----", "LLaMA-Factory wants user and assistant to take turns"),
    ("last-turn", "fault", "dggga", "the last turn must be the assistant's, it is what is trained"),
    ("two-systems", "fault", "g----", "a system turn wins over the system column; leave one of them"),
    ("call-order", "fault", "ggggg", "an observation stands after a function_call, and nowhere else"),
    ("last-call", "warning", "-----", "the call is trained, and nothing answers it; leave it if that is meant"),
    ("call-json", "fault", "a-gd-", 'a function_call is JSON {"name", "arguments"}'),
    ("arguments-text", "fault", "g----", "LLaMA-Factory writes text as JSON once more; write the object"),
    ("arguments-object", "fault", "g---a", "OpenAI wants JSON text, and datasets before 4.7 pads objects"),
    ("thought-spacing", "fault", "a--d-", r"before a call it must be <think>\n...\n</think>\n\n"),
    ("call-shape", "fault", "a---a", 'a call is {"id", "type": "function", "function": {"name", "arguments"}}'),
    ("result-id", "fault", "----a", "a tool turn follows its call and names it by tool_call_id, one for each"),
    ("weight", "fault", "----a", "weight is 0 or 1"),
    ("extra-column", "warning", "----a", "OpenAI refuses other columns than messages, tools, parallel_tool_calls"),
    # tools
    ("tools-json", "fault", "aaada", "tools must be a list of tools, or the JSON text of one"),
    ("tools-list", "fault", "a----", "LLaMA-Factory wants the JSON text of the list"),
    ("blank-tools", "fault", "-aad-", "no tools is null; they read the text as JSON"),
    ("empty-tools", "warning", "g----", 'no tools is null: "[]" leaves an empty system block'),
    ("tool-parameters", "warning", "a----", "the template `default` wants parameters.properties, and enums of text"),
    ("tool-shape", "warning", "----a", 'OpenAI wants {"type": "function", "function": {"name", "parameters"}}'),
    ("tool-name", "warning", "----a", "OpenAI wants names of 1 to 64 letters, digits, _ and -"),
    # two answers, or one with a label
    ("no-answer", "fault", "daada", "chosen and rejected must both say something"),
    ("answer-shape", "fault", "daada", "both answers in one shape"),
    ("same-answer", "fault", "ggggg", "chosen and rejected must differ"),
    ("no-prompt", "fault", "-ga--", "TRL takes the common first characters for the prompt; write prompt"),
    ("label-type", "fault", "daag-", "the label must be true or false; --fix takes 1, 0, -1, TRUE, yes and no"),
    ("label-value", "fault", "dggg-", "the label must be true or false; TRL takes every number but 0 for true"),
    ("empty-prompt", "fault", "dgggg", "write the prompt, or delete the row"),
    ("no-completion", "fault", "daggg", "write the completion, or delete the row"),
    ("prompt-type", "fault", "daada", "the prompt and what answers it are both text, or both turns"),
    ("empty-text", "fault", "gggg-", "the end mark alone is trained; delete the row"),
    # a folder: the registry of LLaMA-Factory, the card
    ("registry-json", "fault", "a----", "dataset_info.json must be one JSON object of entries"),
    ("registry-file", "fault", "a----", "the file of an entry must be there"),
    ("registry-formatting", "fault", "a----", "formatting is alpaca, sharegpt or openai, and fits the file"),
    ("registry-columns", "fault", "a----", "a column that is listed must be in the file"),
    ("registry-unread", "fault", "g----", "with `columns`, what is not listed is not read; list it"),
    ("registry-tags", "fault", "d----", "with `tags`, what is not listed is unknown, and its rows are dropped"),
    ("registry-openai", "warning", "g----", "formatting openai alters system texts and calls; export to sharegpt"),
    ("registry-ascii", "warning", "a----", "it is opened in the machine's own encoding; write it in ASCII"),
    ("card-yaml", "fault", "aaaa-", "the front matter of README.md must be YAML"),
    ("card-files", "fault", "aaaa-", "the files that the card's `configs` name must be there"),
    ("stray-file", "warning", "aaaa-", "without `configs` in README.md it is loaded as rows; name the data files"),
    # what is true of a format
    ("trl-reads-no-alpaca", "note", "-----", "TRL and OpenAI read messages: synthgen export FILE --to messages"),
    ("axolotl-ignores-system", "note", "-----", "type alpaca ignores system: take alpaca_w_system.load_instruct"),
    ("axolotl-ignores-history", "note", "-----", "axolotl's alpaca types ignore history: export to sharegpt"),
    ("trl-renders-nothing", "note", "-----", "TRL trains on nothing of human and gpt: export to messages"),
    ("axolotl-needs-roles", "note", "-----", "axolotl needs a roles map, trains calls as text: export to messages"),
    ("swift-one-call", "note", "-----", "ms-swift drops rows with a thought or several calls in a turn"),
    ("text-arguments", "note", "-----", "templates of Qwen2.5 and Llama 3.1 write it as JSON once more under TRL"),
    ("axolotl-pairs-call", "note", "-----", "axolotl stops at pairs whose turns call tools"),
    ("axolotl-kto-texts", "note", "-----", "axolotl's chatml.prompt_pairs wants texts: it trains turns as Python code"),
    ("openai-formatting", "note", "-----", "LLaMA-Factory's formatting openai alters it: export to sharegpt"),
    ("few-rows", "note", "-----", "OpenAI asks for at least 10 rows"),
    ("over-512-mb", "note", "-----", "OpenAI takes files up to 512 MB"),
    ("swift-ignores-pairs", "note", "-----", "ms-swift wants messages and rejected_response, not chosen and rejected"),
    ("implicit-prompt", "note", "-----", "without prompt it is the turns that both answers share; write it"),
)  # fmt: skip


def _rule(name: str, level: Level, letters: str, hint: str) -> Rule:
    found = {loader: effect for loader, letter in zip(LOADERS, letters, strict=True) if (effect := _EFFECTS[letter])}
    return Rule(name, level, found, hint)


RULES: Mapping[str, Rule] = {row[0]: _rule(*row) for row in _TABLE}


def told(effects: Mapping[Loader, Effect]) -> str:
    """What the trainers do, those of one effect together."""
    by_effect: dict[Effect, list[str]] = {}
    for loader, effect in effects.items():
        by_effect.setdefault(effect, []).append(loader)
    return "; ".join(f"{WORDS[effect]}: {', '.join(loaders)}" for effect, loaders in by_effect.items())
