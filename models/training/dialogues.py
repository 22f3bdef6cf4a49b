"""Instruction dialogues in the forms of synthgen's own prompts, for training the embedded model.

Takes the dialogue stream that the model is tuned on, finds single tasks in it, keeps those that pass synthgen's
filters and are novel, and re-arranges them into the requests that the recipes send. Demonstrations come from the
project's own seeds and from the stream; what the model shall write comes from the stream alone.

    python models/training/dialogues.py --data DIR --out FILE.u16 --number 6000
"""

from __future__ import annotations

import argparse
import lzma
import re
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
from tokenizers import Tokenizer

from synthgen import filters, parsing
from synthgen.data import folder
from synthgen.dedup import NoveltyByScript, cjk_share
from synthgen.recipe import Setting
from synthgen.recipe import sample as make_sample
from synthgen.recipes.alpaca import Alpaca
from synthgen.recipes.self_instruct import SelfInstruct
from synthgen.seeds import read_seeds

CONTEXT = 1024
TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
PASSAGE = re.compile(r"(?:文章|Passage|Article|Text|Context)[：:]\s*(.+?)\n+(?:问题|Question|Q)[：:]\s*(.+)", re.DOTALL)
SENTENCE = re.compile(r"[^.!?。！？]+[.!?。！？]+[”\"’]?")


def dialogues(path: Path, tokenizer: Tokenizer) -> list[list[tuple[str, str]]]:
    """(role, content) turns of every dialogue of a stream."""
    stream = np.frombuffer(lzma.decompress(path.read_bytes()), dtype=np.uint16) & 0x7FFF
    ends = np.flatnonzero(stream == 0) + 1
    rows = [part.tolist() for part in np.split(stream, ends[:-1])]
    return [TURN.findall(text) for text in tokenizer.decode_batch(rows, skip_special_tokens=False)]


def tasks_of(turns: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The (instruction, input, output) tasks that a dialogue holds."""
    turns = [t for t in turns if t[0] != "system"]
    if len(turns) != 2:
        return []
    user, answer = turns[0][1].strip(), turns[1][1].strip()
    listed = parsing.triples(f"{user}\n\n{answer}")
    if len(listed) > 1:
        return [(t.instruction, t.input, t.output) for t in listed if t.output]
    if re.search(r"\btasks?\b.*:|Genre|体裁|Class label|例子", user[:200]):
        return []
    if (found := PASSAGE.search(user)) is not None:
        return [(found.group(2).strip(), around(found.group(1), answer), answer)]
    body = re.sub(r"\bInput: ", "", user, count=1)
    head, _, rest = body.partition("\n\n")
    if not rest:
        head, _, rest = body.partition("\n")
    if rest and len(head) < 200:
        return [(head.strip(), rest.strip(), answer)]
    return [(user, "", answer)]


def around(passage: str, answer: str) -> str:
    """The sentences of a passage that hold the answer: an input must be short."""
    sentences = SENTENCE.findall(passage) or [passage]
    for i, sentence in enumerate(sentences):
        if answer[:40] in sentence:
            return "".join(sentences[max(0, i - 1) : i + 1]).strip()
    return "".join(sentences[:2]).strip()


def fit_words(task: tuple[str, str, str]) -> bool:
    """Short enough to stand in a list of several."""
    zh = cjk_share(task[0]) >= 0.3
    sizes = [len(t) if zh else len(t.split()) for t in task]
    return sizes[0] <= (60 if zh else 45) and sizes[1] <= (160 if zh else 70) and sizes[2] <= (160 if zh else 70)


def collect(data: Path, tokenizer: Tokenizer, rng: Random) -> dict[str, list[tuple[str, str, str]]]:
    """Tasks by language: filtered, and no two of them closer than the recipes' own thresholds."""
    found: dict[tuple[str, str], tuple[str, str, str]] = {}
    for turns in dialogues(data / "sft_train.u16.xz", tokenizer):
        for task in tasks_of(turns):
            found.setdefault((task[0], task[1]), task)
    pool = list(found.values())
    rng.shuffle(pool)
    # Rare openings first: common templates ("Solve ...") would otherwise crowd out all the rest.
    kept: dict[str, list[tuple[str, str, str]]] = {"en": [], "zh": []}
    novelty = NoveltyByScript(Fraction(13, 20), Fraction(7, 10))
    for task in pool:
        if not fit_words(task) or filters.reason(make_sample(*task)) is not None:
            continue
        if novelty.nearest(task[0]) is None:
            novelty.add("", task[0])
            kept["zh" if cjk_share(task[0]) >= 0.3 else "en"].append(task)
    return kept


class Writer:
    """Dialogues as tokens; bit 15 marks those that carry loss."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.start, self.end = (tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>"))
        self.rows: list[np.ndarray] = []

    def add(self, messages: object, answer: str) -> bool:
        encode = self.tokenizer.encode
        ids: list[int] = []
        for message in messages:  # type: ignore[attr-defined]
            ids += [self.start, *encode(f"{message.role}\n{message.content}").ids, self.end, *encode("\n").ids]
        ids += [self.start, *encode("assistant\n").ids]
        reply = [*encode(answer).ids, self.end]
        if len(ids) + len(reply) + 2 > CONTEXT:
            return False
        tail = [*encode("\n").ids, 0]
        self.rows.append(np.array([*ids, *(i | 0x8000 for i in reply), *tail], dtype=np.uint16))
        return True


def labelled(number: int, tasks: list[tuple[str, str, str]], lang: str) -> str:
    """A list of tasks in the form that the alpaca prompt shows."""
    names = ("指令", "输入", "输出", "<无输入>") if lang == "zh" else ("Instruction", "Input", "Output", "<noinput>")
    lines = []
    for k, (instruction, given, output) in enumerate(tasks, number):
        lines += [
            f"{k}. {names[0]}: {instruction}",
            f"{k}. {names[1]}: {given or names[3]}",
            f"{k}. {names[2]}: {output}",
        ]
        lines += ["###"]
    return "\n".join(lines[:-1])


def alpaca_rows(
    writer: Writer, lang: str, tasks: list[tuple[str, str, str]], setting: Setting, rng: Random, n: int
) -> None:
    seeds = read_seeds([folder("seeds") / lang])
    recipe = Alpaca(setting)
    recipe.fit(seeds)
    shown_tasks = recipe.tasks(seeds, rng)
    for _ in range(n):
        shown = next(shown_tasks).vars["demonstrations"]
        for i in range(len(shown)):
            if rng.random() < 0.3:
                other = rng.choice(tasks)
                shown[i] = {"instruction": other[0], "input": other[1], "output": other[2]}
        first = len(shown) + 1
        new = max(1, recipe.listed - len(shown))
        picked = rng.sample(tasks, new)
        while not writer.add(
            recipe.render("tasks", demonstrations=shown, first=first, total=recipe.listed),
            labelled(first, picked, lang),
        ):
            picked = picked[:-1]
            if not picked:
                break


def self_instruct_rows(
    writer: Writer, lang: str, tasks: list[tuple[str, str, str]], setting: Setting, rng: Random, n: int
) -> None:
    seeds = read_seeds([folder("seeds") / lang])
    recipe = SelfInstruct(setting)
    recipe.fit(seeds)
    human = [s.fields["instruction"] for s in seeds]
    known = recipe._demonstrations
    colon = "：" if lang == "zh" else ": "
    words = ("输入", "输出", "类别") if lang == "zh" else ("Input", "Output", "Class label")
    yes_no = ("是", "否") if lang == "zh" else ("Yes", "No")
    classes = [s.fields for s in seeds if s.fields["is_classification"]]
    for _ in range(n):
        machine = [t[0] for t in rng.sample(tasks, 2)]
        shown = rng.sample(human, 6 if rng.random() < 0.7 else 8) + machine
        shown = shown[:8]
        rng.shuffle(shown)
        new = [t[0] for t in rng.sample(tasks, recipe.new)]
        answer = "\n".join(f"{k}. {i}" for k, i in enumerate(new, 9))
        prompt = recipe.render("instructions", demonstrations=shown, first=9, last=8 + recipe.new, classification=False)
        writer.add(prompt, answer)
        for instruction, given, output in rng.sample(tasks, 2):
            answer = (f"{words[0]}{colon}{given}\n" if given else "") + f"{words[1]}{colon}{output}"
            shown_pairs = rng.sample(known["input_first"], min(rng.randint(1, 6), len(known["input_first"])))
            writer.add(
                recipe.render("input_first", demonstrations=shown_pairs, instruction=instruction, most=1), answer
            )
        positive = rng.random() < 0.4
        instruction = rng.choice(classes)["instruction"] if positive else rng.choice(tasks)[0]
        shown_yes = rng.sample(known["classification"], min(rng.randint(4, 31), len(known["classification"])))
        writer.add(
            recipe.render("classification", demonstrations=shown_yes, instruction=instruction), yes_no[not positive]
        )
        if rng.random() < 0.3:
            task = rng.choice(classes)
            pairs = [f"{words[2]}{colon}{i['output']}\n{words[0]}{colon}{i['input']}" for i in task["instances"]]
            others = [d for d in known["output_first"] if d["instruction"] != task["instruction"]]
            shown_labels = rng.sample(others, min(rng.randint(1, 4), len(others)))
            prompt = recipe.render("output_first", demonstrations=shown_labels, instruction=task["instruction"])
            writer.add(prompt, "\n".join(pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--number", type=int, default=6000, help="dialogues for each recipe and language")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.data / "tokenizer" / "tokenizer.json"))
    rng = Random(0)
    tasks = collect(args.data, tokenizer, rng)
    writer = Writer(tokenizer)
    for lang, number in (("en", args.number), ("zh", args.number)):
        print(lang, len(tasks[lang]), "tasks; e.g.", *tasks[lang][:5], sep="\n  ")
        setting = Setting(lang=lang, context_tokens=CONTEXT, count_tokens=lambda t: len(tokenizer.encode(t).ids))
        alpaca_rows(writer, lang, tasks[lang], setting, rng, number)
        self_instruct_rows(writer, lang, tasks[lang], setting, rng, number // 2)
    np.concatenate(writer.rows).tofile(args.out)
    print(len(writer.rows), "dialogues,", sum(map(len, writer.rows)), "tokens")


if __name__ == "__main__":
    main()
