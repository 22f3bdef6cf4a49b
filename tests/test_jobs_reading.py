"""A job file that is wrong is told whole, with lines, before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import synthgen

from synthgen.cli.job import _Options
from synthgen.errors import UsageError
from synthgen.jobs.plan import MixStep, RecipeStep
from synthgen.jobs.reading import read_job

ONE = "steps: [{id: a, recipe: alpaca}]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "job" / "a").mkdir(parents=True)
    for name in ("own.jsonl", "one.jsonl", "runs/job/a/own.jsonl"):
        (tmp_path / name).write_text('{"instruction": "Name a river.", "input": "", "output": "Rhine"}\n')
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    late = '{"instruction": "Name a river.", "input": "", "output": "Rhine"}\n{"instruction": 3, "output": ""}\n'
    (tmp_path / "late.jsonl").write_text(late)
    (tmp_path / "bad.jsonl").write_text(late.splitlines()[1])
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Name a river."}\n')
    return tmp_path


def job(text: str) -> Path:
    path = Path("job.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def faults(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_job(job(text), _Options(), ())
    return str(caught.value)


STEPS = [
    ("steps: []", "1: steps must be a list with at least one step"),
    ("name: x", "steps must be a list"),
    ("steps: [alpaca]", "a step is a mapping with an id, this is text"),
    ("nam: x\n" + ONE, "1: a job has no key 'nam'; did you mean name?"),
    ("name: a/b\n" + ONE, "1: name 'a/b' is no name for a folder"),
    ("name: no\n" + ONE, '1: name must be text, this is true or false; quote it: name: "False"'),
    ("name:\n" + ONE, "1: name must be text, this is nothing"),
    ("name: [x]\n" + ONE, "1: name must be text, this is a list"),
    ("seed: -1\n" + ONE, "1: seed must be at least 0, this is -1"),
    ("budget: {usd: five}\n" + ONE, "1: budget: usd must be a number, this is text ('five')"),
    ("budget: {minutes: 1:30}\n" + ONE, "1: budget: minutes must be a number, this is text ('1:30')"),
    ("budget: {minutes: 1h}\n" + ONE, "('1h')"),
    ("budget: {minutes: 0}\n" + ONE, "budget: minutes must be more than 0"),
    ("budget: {tokens: .nan}\n" + ONE, "budget: tokens must be a number"),
    ("budget: {hours: 1}\n" + ONE, "budget has no key 'hours'; keys: usd, tokens, minutes"),
    ("budget: {usd: 5}\n" + ONE, "1: budget: usd needs the price of a model"),
    ("models: {default: {model: m, price: {in: 1}}}\n" + ONE, "price: both in and out are expected"),
    ("budget: 5\n" + ONE, "budget must be a mapping of usd, tokens, minutes, this is a number"),
    ("models: {jugde: {model: m, base_url: http://x}}\n" + ONE, "no role is called 'jugde'; did you mean judge?"),
    ("models: {judge: {model: m}}\n" + ONE, "models: the role default is missing"),
    ("models: {default: {}}\n" + ONE, "default says no model"),
    ("models: {default: {serve: m, base_url: http://x}}\n" + ONE, "default has serve and base_url"),
    ("models: {default: {model: m, replicas: 2}}\n" + ONE, "default has replicas without serve"),
    ("models: {default: {serve: m, replicas: 0}}\n" + ONE, "replicas must be at least 1"),
    ("models: {default: {serve: m, args: [--model, x]}}\n" + ONE, "--model does not go into vLLM's arguments"),
    ("models: {default: {model: m, price: {in: -1}}}\n" + ONE, "price: in must be at least 0"),
    ("steps: [{recipe: alpaca}]", "a step without id"),
    ("steps: [{id: a}]", "step 'a' says neither: give it a recipe or a mix"),
    ("steps: [{id: a, recpe: alpaca}]", "did you mean recipe?"),
    ("steps: [{id: a, recipe: alpaca, mix: {x: 1}}]", "step 'a' has recipe and mix"),
    ("steps: [{id: a, finetune: sft, data: b}]", "finetune is no step of this version yet"),
    ("steps: [{id: .hidden, recipe: alpaca}]", "id '.hidden' is no name for a folder"),
    ("steps: [{id: a, recipe: alpaca}, {id: A, recipe: alpaca}]", "the id 'A' is taken by the step in line 1"),
    ("steps: [{id: a, recipe: alpacca}]", "unknown recipe 'alpacca'; did you mean alpaca?"),
    ("steps: [{id: a, recipe: alpaca, cuont: 5}]", "the recipe step 'a' has no key 'cuont'; did you mean count?"),
    ("steps: [{id: a, recipe: alpaca, out: x}]", "has no key 'out'"),
    ("steps: [{id: a, recipe: alpaca, count: 0}]", "count: 0 is not in the range x>=1"),
    ("steps: [{id: a, recipe: alpaca, count: lots}]", "count: 'lots' is not a whole number"),
    ("steps: [{id: a, recipe: alpaca, count: }]", "count: a single value is expected, this is nothing"),
    ("steps: [{id: a, recipe: alpaca, lang: fr}]", "lang: 'fr' is not one of 'en', 'zh', 'auto'"),
    ("steps: [{id: a, recipe: alpaca, set: {shwn: 2}}]", "alpaca has no such knob; did you mean shown?"),
    ("steps: [{id: a, recipe: alpaca, set: {listed: 999}}]", "out of range (2 to 60)"),
    ("steps: [{id: a, recipe: alpaca, format: alpca}]", "no format is called 'alpca'; did you mean alpaca?"),
    ("steps: [{id: a, recipe: alpaca, seeds: gone.jsonl}]", "seeds: gone.jsonl: no such file"),
    ("steps: [{id: a, recipe: alpaca, seeds: own.jsonl, prompts: [gone]}]", "prompts: gone: no such folder"),
    ("steps: [{id: a, recipe: alpaca, input: own.jsonl}]", "alpaca works on seeds, not on input"),
    ("steps: [{id: a, recipe: respond}]", "respond works on prompts: give --input"),
    ("steps: [{id: a, recipe: respond, input: gone.jsonl}]", "'gone.jsonl' is neither a step of this job nor a run"),
    ("steps: [{id: tasks, recipe: alpaca}, {id: b, recipe: respond, input: taks}]", "did you mean tasks?"),
    ("steps: [{id: a, recipe: respond, input: a}]", "circle: a reads a"),
    (
        "steps: [{id: a, recipe: respond, input: b}, {id: b, recipe: respond, input: a}]",
        "circle: a reads b reads a; take one of these inputs away",
    ),
    (
        "steps:\n- {id: a, recipe: respond, input: b}\n- {id: b, recipe: alpaca}",
        "2: step 'a' reads the later step 'b'; move b (line 3) before it",
    ),
    ("steps: [{id: a, recipe: alpaca, novel_against: gone}]", "'gone' is neither a step of this job nor a run"),
    ("steps: [{id: a, mix: own.jsonl}]", "mix maps sources to shares"),
    ("steps: [{id: a, mix: {own.jsonl: 0}}]", "0 is neither a share above 0 and at most 1"),
    ("steps: [{id: a, mix: {own.jsonl: 1.5}}]", "1.5 is neither a share"),
    ("steps: [{id: a, mix: {own.jsonl: all}}]", "mix: own.jsonl must be a number"),
    ("steps: [{id: a, mix: {gone.jsonl: 1}}]", "'gone.jsonl' is neither a step of this job nor a run nor a file"),
    ("steps: [{id: a, mix: {prompts.jsonl: 1}}]", "prompts.jsonl: row 1 has no answer; a mix takes samples, not prompts"),
    ("steps: [{id: a, mix: {bad.jsonl: 1}}]", "mix: bad.jsonl:1: no alpaca row: instruction must be text, found int"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, decontaminate: late.jsonl}]", "decontaminate: late.jsonl:2: instruction must be text"),
    ("models: {default: {model: m}}\n" + ONE, "2: step 'a': default: --model m: where is it served?"),
    ("models: {default: {model: m, base_url: x.y}}\n" + ONE, "2: step 'a': default: --base-url x.y: a URL such"),
    ("models: {default: {model: m, base_url: http://x}}\nsteps: [{id: a, recipe: alpaca, api_key_env: K}]", "2: api_key_env: the key belongs to a model"),
    ("steps: [{id: a, recipe: alpaca, model: 'openai:m'}]", "1: step 'a': default: --model openai:NAME: OPENAI_API_KEY is not set"),
    ("models: {default: {model: m, base_url: http://x}}\nsteps: [{id: a, recipe: alpaca, batch: vllm-file}]", "2: step 'a': default: --batch vllm-file asks no server"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, count: 0}]", "count must be at least 1"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, dedup: [rogue]}]", "no method is called 'rogue'; did you mean rouge?"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, decontaminate: [gone.jsonl]}]", "decontaminate: gone.jsonl: no such file"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, decontaminate: [./own.jsonl]}]", "own.jsonl would be held against itself"),
    ("steps: [{id: a, mix: {one.jsonl: 1}, decontaminate: [own.jsonl, ./own.jsonl]}]", "decontaminate: own.jsonl: given twice as a benchmark"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, export: {alpacca: x}}]", "no format is called 'alpacca'"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, export: {alpaca: .}}]", "is a folder"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, export: {alpaca: own.jsonl}}]", "step 'a' reads own.jsonl, which it makes itself"),
    ("steps: [{id: a, mix: {one.jsonl: 1}, export: {alpaca: own.jsonl}}, {id: b, mix: {own.jsonl: 1}}]", "step 'b' reads own.jsonl, which the step 'a' makes; write a"),
    ("steps: [{id: a, mix: {one.jsonl: 1}, export: {alpaca: x.jsonl}}, {id: b, mix: {one.jsonl: 1}, export: {sharegpt: ./x.jsonl}}]", "export: x.jsonl is made by a too"),
    ("steps: [{id: a, mix: {own.jsonl: 1}, export: {alpaca: x.jsonl.gz}}]", "export: x.jsonl.gz: LLaMA-Factory and ms-swift read no .gz files; call it x.jsonl"),
    ("steps: [{id: a, recipe: alpaca}, {id: b, recipe: respond, input: runs/job/a/own.jsonl}]", "step 'b' reads runs/job/a/own.jsonl, which the step 'a' makes"),
    ("steps: [{id: a, recipe: alpaca, seeds: '${NOT_SET_HERE}/x'}]", "${NOT_SET_HERE}: the environment has no such"),
    ("steps: [{id: a, id: b, recipe: alpaca}]", "'id' is there twice"),
    ("name: !!python/object/apply:os.system ['true']\n" + ONE, "the tag !!python/object/apply:os.system is not allowed"),
    ("name: !mine x\n" + ONE, "the tag !mine is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), STEPS, ids=[words[:40] for _, words in STEPS])
def test_one_line_for_a_fault(text: str, words: str) -> None:
    said = faults(text)
    assert words in said
    assert ("quote it" in said) == ("quote it" in words)
    assert all(line.startswith("job.yaml:") for line in said.splitlines())


UNREADABLE = [
    (b"", "job.yaml: is empty"),
    (b"# nothing\n", "job.yaml: is empty"),
    (b"- a\n- b\n", "job.yaml:1: a job file is a mapping (name: ..., steps: ...), this is a list"),
    (b"just words\n", "this is a single value"),
    (b"!!python/object:os.system {}\n", "job.yaml:1: the tag !!python/object:os.system is not allowed"),
    (b"name: [a\nsteps: 3\n", "job.yaml:2: not YAML"),
    (b"a: \x01\n", "job.yaml: not YAML"),
    (b"name: caf\xe9\n", "job.yaml:1: not UTF-8 (byte 0xE9)"),
    (b"a: &x [*x]\n", "job.yaml:1: an alias holds itself"),
    (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 110)), "aliases make more than 20,000 values"),
    (b"a: " + b"[" * 5000, "nested too deep"),
    (b"a: b\n---\na: c\n", "not YAML"),
    (b"x: " + b"y" * 1_100_000, "1.1 MB are no job file"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), UNREADABLE, ids=[words[-40:] for _, words in UNREADABLE])
def test_a_file_that_cannot_be_read(data: bytes, words: str) -> None:
    Path("job.yaml").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_job(Path("job.yaml"), _Options(), ())
    assert words in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    job(ONE)
    with pytest.raises(UsageError, match=r"jobs\.yaml: no such file; did you mean job\.yaml\?"):
        read_job(Path("jobs.yaml"), _Options(), ())


def test_all_faults_in_one_message(tmp_path: Path) -> None:
    job("nam: x\nseed: y\nsteps:\n- {id: a, recipe: alpaca, set: {shwn: 1, listed: 999}, format: [alpca, sharegpt]}\n")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 2
    head, *lines = done.stderr.splitlines()
    assert head == "error: job.yaml: 5 faults, nothing was asked:"
    assert [line.split(": ", 1)[0] for line in lines] == ["job.yaml:1", "job.yaml:2", *["job.yaml:4"] * 3]
    assert not (tmp_path / "runs" / "job" / "job.json").exists()


EVERYTHING = """\
nam: demo
budget: {minutes: 1h}
models: {default: {model: fake, base_url: 'http://127.0.0.1:9/v1', price: !!python/object/apply:os.abort []}}
steps:
- {id: a, recipe: respond, input: b}
- {id: b, recipe: respond, input: a}
- {id: c, recipe: respond, input: d}
- {id: d, recipe: alpaca, seeds: gone.jsonl, timeout: 5 min, cuont: 3}
- {id: e, mix: {f: 1.0, a: 0.5}, decontaminate: [gone.jsonl]}
- {id: f, mix: {e: 1.0}}
"""


def test_every_kind_of_fault_in_one_message_and_nobody_asked(tmp_path: Path) -> None:
    path = job(EVERYTHING)
    before = sorted(tmp_path.iterdir())
    done = synthgen("run", path, cwd=tmp_path)
    assert (done.returncode, done.stdout, sorted(tmp_path.iterdir())) == (2, "", before)
    expected = [
        (1, "no key 'nam'; did you mean name?"),
        (2, "minutes must be a number, this is text ('1h')"),
        (3, "the tag !!python/object/apply:os.abort is not allowed"),
        (5, "circle: a reads b reads a"),
        (7, "step 'c' reads the later step 'd'; move d (line 8) before it"),
        (8, "no key 'cuont'; did you mean count?"),
        (8, "seeds: gone.jsonl: no such file"),
        (8, "timeout: '5 min' is not a number"),
        (9, "decontaminate: gone.jsonl: no such file"),
        (9, "circle: e reads f reads e"),
    ]
    said = done.stderr.splitlines()
    assert [pair for pair in expected if not any(f"job.yaml:{pair[0]}: " in x and pair[1] in x for x in said)] == []
    assert "nothing was asked" in said[0]


def test_a_folder_of_another_recipe(tmp_path: Path) -> None:
    made = synthgen("generate", "alpaca", "--count", "1", "--out", "runs/job/a", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    said = faults("steps: [{id: a, recipe: self-instruct}]")
    assert "runs/job/a: holds a run of alpaca (en), not of self-instruct (en)" in said
    done = synthgen("run", job("steps: [{id: a, mix: {own.jsonl: 1}}]"), cwd=tmp_path)
    assert (done.returncode, "holds a run of alpaca, not a mix" in done.stderr) == (2, True), done.stderr


def test_a_judge_with_a_server_of_its_own_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    models = "models: {{default: {{model: m, base_url: http://x}}, judge: {judge}}}\n"
    steps = "steps: [{id: a, recipe: alpaca, batch: openai}]"
    for judge, batch in (("{model: j, base_url: http://y}", None), ("{serve: j}", None), ("{model: j}", "openai")):
        (step,) = read_job(job(models.format(judge=judge) + steps), _Options(), ()).steps
        assert isinstance(step, RecipeStep)
        assert (step.batches("default"), step.batches("judge")) == ("openai", batch)


def test_what_a_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "http://one:1/v1")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "b.jsonl").write_text(json.dumps({"question": "How many?"}) + "\n")
    found = read_job(
        job(
            "name: demo\nseed: 7\nbudget: {usd: 5, tokens: 2e6}\n"
            "models:\n  default: {model: m, base_url: ['${WHERE}', http://two:2/v1], api_key_env: KEY, price: {in: 0.15, out: 1}}\n"
            "  judge: {serve: big, replicas: 2, args: [--max-model-len, 4096]}\n"
            "steps:\n"
            "- &one {id: tasks, recipe: alpaca, count: 500, temperature: 0.5, set: {listed: 9, shown: 2}, format: [alpaca]}\n"
            "- {<<: *one, id: 更多, seed: 3, model: other, base_url: http://x/v1, stop: ['$${a}', b]}\n"
            "- {id: answers, recipe: respond, input: [tasks, own.jsonl]}\n"
            "- {id: train, mix: {tasks: 0.25, answers: 1, own.jsonl: 30}, count: 10, dedup: [exact, rouge],"
            " decontaminate: bench, export: {alpaca: out/t.jsonl}}\n"
        ),
        _Options(),
        ("synthgen", "run", "job.yaml"),
    )
    tasks, more, answers, train = found.steps
    assert isinstance(tasks, RecipeStep)
    assert isinstance(more, RecipeStep)
    assert isinstance(answers, RecipeStep)
    assert isinstance(train, MixStep)
    assert (found.name, found.folder, dict(found.budget)) == ("demo", Path("runs/demo"), {"usd": 5, "tokens": 2e6})
    assert (tasks.wish.count, tasks.wish.seed, tasks.wish.sampling.temperature) == (500, 7, 0.5)
    assert (dict(tasks.wish.values), tasks.wish.formats) == ({"listed": "9", "shown": "2"}, ("alpaca",))
    assert tasks.folder == tasks.wish.out == Path("runs/demo/tasks")
    assert tasks.models["default"].spec.base_urls == ("http://one:1/v1", "http://two:2/v1")
    assert tasks.models["default"].spec.api_key_env == "KEY"
    judge = tasks.models["judge"].serve
    assert judge is not None
    assert (judge.model, judge.replicas, judge.args) == ("big", 2, ("--max-model-len", "4096"))
    assert (more.id, more.wish.seed, more.wish.sampling.stop) == ("更多", 3, ("${a}", "b"))
    assert (more.models["default"].spec.name, more.models["judge"].serve) == ("other", judge)
    assert (answers.reads, answers.wish.input) == (("tasks",), ("runs/demo/tasks", "own.jsonl"))
    assert [(p.source.name, float(p.share), p.most) for p in train.parts] == [
        ("tasks", 0.25, None),
        ("answers", 1.0, None),
        ("own.jsonl", 1.0, 30),
    ]
    assert (train.reads, train.count, train.seed) == (("tasks", "answers"), 10, 7)
    assert (train.dedup, train.against) == (("exact", "rouge"), ("bench",))
