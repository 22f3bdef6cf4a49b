"""A fake OpenAI-compatible server for faults and speed: answers are a function of the request's bytes, nothing else.

`async with FakeServer() as server: ... server.base_url`, or `python -m tests.fake_server --port 0`, which prints its
base URL as the first line. What it was asked is at GET /_log. It knows the forms that the built-in prompts ask for.

`script` may be a JSON file of rules, tried in order before those forms: `[{"match": REGEX, "answer": TEXT}, ...]`. A
prompt that a regex is found in (dot matches newlines) is answered with the text, whose \\g<1> are the regex's groups; a
list of texts is chosen from by the request's bytes; "finish" gives another finish_reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections import Counter, deque
from functools import cache
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

HTML = b"<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>It works</h1></body></html>"
FAULTS = (
    *("html", "hang", "disconnect", "cut", "half", "large"),
    *("empty", "blank", "null", "no-usage", "no-choices", "seed", "max-tokens", "quota"),
)  # fmt: skip


class FakeServer:
    """`fault` is one of FAULTS or a status; it hits the first `times` requests (0: all), or a `share` of them."""

    def __init__(
        self,
        *,
        port: int = 0,
        model: str = "fake",
        script: str = "alpaca",
        delay: float = 0.0,
        context_tokens: int | None = 8192,
        owned_by: str = "vllm",
        api_key: str | None = None,
        fault: str = "",
        times: int = 0,
        share: float = 1.0,
        retry_after: str | None = None,
        start_delay: float = 0.0,
        listed: bool = True,
        prefix: str = "/v1",
        slots: int = 0,
        gauge: bool = False,
    ) -> None:
        assert not fault or fault.isdigit() or fault in FAULTS, fault
        self.model, self.script, self.delay = model, script, delay
        self.context_tokens, self.owned_by, self.api_key = context_tokens, owned_by, api_key
        self.fault, self.times, self.share, self.retry_after = fault, times, share, retry_after
        self.listed, self.prefix = listed, prefix
        self.count = self.in_flight = self.most_in_flight = 0
        self.by_hash: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.bodies: deque[dict[str, Any]] = deque(maxlen=1000)
        self.headers: dict[str, str] = {}
        self.url = ""
        self._port = port
        self._slots = asyncio.Semaphore(slots) if slots else contextlib.nullcontext()  # 0: all are worked on at once
        self.slots, self.gauge = slots or 1 << 30, gauge
        self._ready_at = time.monotonic() + start_delay
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return self.url + self.prefix

    async def __aenter__(self) -> FakeServer:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/_log", self._log)
        app.router.add_get("/health", self._health)
        if self.gauge:
            app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/tokenize", self._tokenize)
        if self.listed:
            app.router.add_get(f"{self.prefix}/models", self._models)
        app.router.add_post(f"{self.prefix}/chat/completions", self._answer)
        app.router.add_post(f"{self.prefix}/completions", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End it; `async with` again starts it on the same port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _log(self, request: web.Request) -> web.Response:
        return _json(
            {
                "count": self.count,
                "by_hash": dict(self.by_hash),
                "by_status": {str(k): v for k, v in self.by_status.items()},
                "most_in_flight": self.most_in_flight,
            }
        )

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if time.monotonic() < self._ready_at else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        running = min(self.slots, self.in_flight)
        line = 'vllm:num_requests_{}{{engine="0",model_name="fake"}} {}.0\n'
        return web.Response(text=line.format("running", running) + line.format("waiting", self.in_flight - running))

    async def _models(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        if self.fault == "html" and not self.times:
            return web.Response(body=HTML, content_type="text/html")
        entry = {"id": self.model, "object": "model", "owned_by": self.owned_by, "max_model_len": self.context_tokens}
        return _json({"object": "list", "data": [entry]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        text = orjson.loads(await request.read())["prompt"]
        return _json({"count": tokens(text), "max_model_len": self.context_tokens})

    def _refused(self, request: web.Request) -> web.Response | None:
        if time.monotonic() < self._ready_at:
            return _error(503, "the model is being loaded")
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _json({"error": "Unauthorized"}, 401)
        return None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if refused := self._refused(request):
            return refused
        digest = hashlib.blake2b(raw, digest_size=16)
        self.count += 1
        self.by_hash[digest.hexdigest()] += 1
        number = self.count
        self.headers = dict(request.headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay:
                async with self._slots:
                    await asyncio.sleep(self.delay)
            response = await self._respond(request, raw, int.from_bytes(digest.digest(), "big"), number)
        finally:
            self.in_flight -= 1
        self.by_status[response.status] += 1
        return response

    async def _respond(self, request: web.Request, raw: bytes, chance: int, number: int) -> web.StreamResponse:
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return _error(400, "JSON decode error")
        self.bodies.append(body)
        fault = self.fault if self._hit(number) else ""
        if fault and (response := await self._faulty(request, fault, body, chance)) is not None:
            return response
        if refusal := self._check(body):
            return refusal
        payload = completion(body, chance, self.script)
        if fault in ("empty", "blank", "null"):
            _set_text(payload, {"empty": "", "blank": " \n\n ", "null": None}[fault])
        elif fault == "no-usage":
            del payload["usage"]
        elif fault == "no-choices":
            payload["choices"] = []
        elif fault == "large":
            _set_text(payload, "x" * (1 << 20))
        whole = orjson.dumps(payload)
        if fault == "half":
            whole = whole[: len(whole) // 2]
        return web.Response(body=whole, content_type="application/json")

    def _hit(self, number: int) -> bool:
        if not self.fault or (self.times and number > self.times):
            return False
        # Every k-th request, spread evenly: with share 0.25 the 4th, the 8th, ...
        return int(number * self.share) > int((number - 1) * self.share)

    async def _faulty(
        self, request: web.Request, fault: str, body: dict[str, Any], chance: int
    ) -> web.StreamResponse | None:
        headers = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
        if fault.isdigit():
            return _error(int(fault), "fault on purpose", headers=headers)
        if fault == "html":
            return web.Response(body=HTML, content_type="text/html")
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "disconnect" and request.transport is not None:
            request.transport.close()
        if fault == "cut" and request.transport is not None:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
            request.transport.close()
            return response
        if fault == "quota":
            return _error(429, "You exceeded your current quota", code="insufficient_quota")
        if fault == "seed" and "seed" in body:
            return _error(400, "Unrecognized request argument supplied: seed", param="seed")
        if fault == "max-tokens" and "max_tokens" in body:
            name = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return _error(400, f"Unsupported parameter: {name}", param="max_tokens", code="unsupported_parameter")
        return None

    def _check(self, body: dict[str, Any]) -> web.Response | None:
        if body.get("model") != self.model:
            message = f"The model `{body.get('model')}` does not exist. Valid aliases: {self.model}."
            return _error(404, message, param="model")
        if len(body.get("stop") or ()) > 4:
            return _error(400, "List should have at most 4 items after validation", param="body.stop")
        context, used = self.context_tokens, tokens(_prompt(body))
        if context is None:
            return None
        if used >= context:
            message = (
                f"This model's maximum context length is {context} tokens. However, your prompt contains at least "
            )
            return _error(400, f"{message}{used} input tokens, which exceeds this limit.", param="input_tokens")
        if (body.get("max_tokens") or 0) > context - used:
            message = (
                f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}. This model's maximum "
            )
            message += f"context length is {context} tokens and your request has {used} input tokens"
            return _error(400, message, param="max_tokens")
        return None


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _error(
    status: int, message: str, *, param: str | None = None, code: str | int | None = None, headers: Any = None
) -> web.Response:
    """vLLM's first shape of an error."""
    error = {"message": message, "type": "FakeError", "param": param, "code": code if code is not None else status}
    body = orjson.dumps({"error": error})
    return web.Response(body=body, status=status, content_type="application/json", headers=headers or None)


def _prompt(body: dict[str, Any]) -> str:
    if "messages" in body:
        return "\n".join(str(m.get("content")) for m in body["messages"])
    return str(body.get("prompt", ""))


def _set_text(payload: dict[str, Any], text: str | None) -> None:
    choice = payload["choices"][0]
    if "message" in choice:
        choice["message"]["content"] = text
    else:
        choice["text"] = text


def tokens(text: str) -> int:
    """One for a Chinese character, one for four others: about what tokenizers make of them."""
    wide = sum(1 for c in text if "\u3000" <= c <= "\uffef") if not text.isascii() else 0
    return wide + (len(text) - wide + 3) // 4


def completion(body: dict[str, Any], chance: int, script: str) -> dict[str, Any]:
    """A whole answer: text by the prompt's form, cut at stop strings and at max_tokens."""
    prompt = _prompt(body)
    text, finish = scripted(prompt, chance, script) or (write(prompt, Random(chance), script), "stop")
    found = [at for at in (text.find(stop) for stop in body.get("stop") or ()) if at >= 0]
    if found:
        text = text[: min(found)]
    made, most = tokens(text), body.get("max_tokens") or body.get("max_completion_tokens")
    if most is not None and made > most:
        text, made, finish = text[: int(len(text) * most / made)], most, "length"
    used = tokens(prompt)
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if "messages" in body:
        choice["message"] = {"role": "assistant", "content": text, "tool_calls": [], "reasoning": None}
    else:
        choice["text"] = text
    usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
    return {"id": f"cmpl-{chance:x}", "model": body["model"], "choices": [choice], "usage": usage}


def scripted(prompt: str, chance: int, script: str) -> tuple[str, str] | None:
    """(text, finish reason) by the rules of a script file; None where none of them fits."""
    for rule in _rules(script) if script.endswith(".json") else ():
        found = re.search(rule["match"], prompt, re.DOTALL)
        if found:
            answers = rule["answer"] if isinstance(rule["answer"], list) else [rule["answer"]]
            answer = answers[chance % len(answers)]
            return found.expand(answer), rule.get("finish", "stop")
    return None


@cache
def _rules(path: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return rules


_TEXT = re.compile(r"<(text|question|reference)>\n(.*?)\n</\1>", re.DOTALL)
_SENTENCE = re.compile(r"[^.。!?！？]+[.。!?！？]*\s*")


def reformulate(prompt: str, rng: Random, words: Words) -> str | None:
    """Pairs, rewrites and verdicts as those prompts ask for them, now and then at fault; None to any other prompt."""
    if '"audience_1"' in prompt or "audience_1" in prompt.rpartition("</text>")[2]:
        return _pairs(prompt, rng, words)
    if "<genre>" in prompt:
        source = [text for _, text in _TEXT.findall(prompt)][-1]
        said = [one for one in _SENTENCE.findall(source) if rng.random() > 0.15]
        rng.shuffle(said)
        said = said[: 1 + int(len(said) * rng.uniform(0.5, 1))]
        chance = rng.random()
        if chance < 0.04:
            return words.answer()
        if chance < 0.06:
            return source
        text = "".join(f"{one.rstrip()}{words.gap}{words.sentence()}{words.gap}" for one in said).strip()
        return f"{words.pick('lead')}\n\n{text}" if chance < 0.2 else text
    if '{"analysis"' in prompt:
        score = rng.choice((2, 3, 3, 4, 4, 4, 4, 5, 5, 5))
        if rng.random() < 0.04:
            return words.sentence()
        return orjson.dumps(
            {
                "analysis": words.sentence(),
                "score": score,
                "contradicts": "yes" if rng.random() < 0.05 else "no",
                "fits": "no" if rng.random() < 0.08 else "yes",
            }
        ).decode()
    return None


def _pairs(prompt: str, rng: Random, words: Words) -> str:
    count = max(int(n) for n in re.findall(r"audience_(\d+)", prompt))
    chance = rng.random()
    if chance < 0.03:
        return words.sentence()
    if chance < 0.06:
        count -= 1
    found: dict[str, str] = {}
    for n in range(1, count + 1):
        visual = words.pick("visual") if chance > 0.98 and n == 1 else ""
        found[f"audience_{n}"] = (
            words.fill("{who}{of}{thing}") + words.colon + words.sentence() + words.gap + words.sentence()
        )
        found[f"genre_{n}"] = (visual or words.fill("{tone}{of}{form}")) + words.colon + words.sentence()
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    return f"```json\n{text}\n```" if chance < 0.5 else text


# What the prompts in prompts/*/*.jinja ask for, told by their first line and their last.
_RANGE = re.compile(r"(?:tasks?|list with) (\d+)(?: to (\d+))?|第(\d+)(?:到第(\d+))?个(?:新)?任务")
_SLOT = re.compile(r"\{(\w+)\}")


def write(prompt: str, rng: Random, script: str = "alpaca") -> str:
    """The text that a prompt asks for; one that has none of the known forms is answered as `script` has it."""
    zh = len(re.findall("[\u4e00-\u9fff]", prompt)) * 4 > len(prompt)
    words = Words(_ZH if zh else _EN, rng)
    lines = prompt.strip().splitlines() or [""]
    first, last = lines[0], lines[-1]
    if re.search("Answer Yes or No|请回答“是”或“否”", first):
        task = next((line for line in reversed(lines) if re.match("Task:|任务：", line)), "")
        if rng.random() < 0.02:
            return words.fill("{maybe}")
        return words.fill("{yes}" if re.search("Classify|Decide|判断|分类", task) else "{no}")
    if re.search("each possible class label|可能的类别", first):
        return "\n".join(f"{words.label} {name}\n{words.input} {words.sentence()}" for name in words.labels())
    if re.search("of the last task, as input and output|请为最后一个任务写", first):
        given = "" if rng.random() < 0.4 else f"{words.input} {words.sentence()}\n"
        return f"{given}{words.output} {words.answer()}"
    if (told := reformulate(prompt, rng, words)) is not None:
        return told
    asked = _RANGE.search(last)
    if not asked and script == "echo":
        return words.sentence()
    low, high = (1, 5) if not asked else (int(asked[1] or asked[3]), int(asked[2] or asked[4] or asked[1] or asked[3]))
    if rng.random() < 0.02:
        return words.sentence()  # not the form that was asked for
    if re.search("the list with|新任务", last) or (not asked and script == "self-instruct"):
        return "\n".join(f"{k}. {words.task()[0]}" for k in range(low, high + 1))
    return "\n###\n".join(words.triple(k) for k in range(low, high + 1))


class Words:
    """Sentences from lists: most tasks are new, some repeat, some are unfit, as with a small model."""

    def __init__(self, table: str, rng: Random) -> None:
        self.lists = _LISTS[table]
        self.rng = rng
        self.instruction, self.input, self.output, self.none, self.label = self.lists["names"]
        self.gap, self.colon = (" ", ": ") if self.lists is _LISTS[_EN] else ("", "：")

    def fill(self, frame: str) -> str:
        """The frame with each {slot} drawn from the list of that name; what is drawn may have slots of its own."""
        while "{" in frame:
            frame = _SLOT.sub(lambda slot: self.pick(slot[1]), frame)
        return frame

    def pick(self, name: str) -> str:
        words = self.lists[name]
        return words[int(self.rng.random() * len(words))]

    def labels(self) -> list[str]:
        return self.pick("labels").split("/")

    def sentence(self) -> str:
        return self.fill("{sentence}")

    def answer(self) -> str:
        return self.fill("{sentence}{gap}{sentence}" if self.rng.random() > 0.03 else "{refusal}")

    def task(self) -> tuple[str, bool]:
        """An instruction, and whether it needs an input: 8 % repeat, 4 % are unfit."""
        chance = self.rng.random()
        if chance < 0.12:
            return self.fill("{repeated}" if chance < 0.08 else "{unfit}"), False
        return (self.fill("{about}"), True) if chance < 0.4 else (self.fill("{task}"), False)

    def triple(self, k: int) -> str:
        instruction, has_input = self.task()
        lines = [f"{k}. {self.instruction} {instruction}"]
        lines.append(f"{k}. {self.input} {self.sentence() if has_input else self.none}")
        if self.rng.random() > 0.03:  # else the output is missing
            lines.append(f"{k}. {self.output} {self.answer()}")
        return "\n".join(lines)


_EN = """
names: Instruction:|Input:|Output:|<noinput>|Class label:
yes: Yes
no: No
maybe: Perhaps
gap: \u0020
refusal: Sorry, I cannot help with that.
lead: Here is the rewritten text:|Sure! Here is the article for these readers:
visual: Comic strip|Picture book|Short video
of: \u0020
labels: Positive/Negative|True/False|Formal/Casual|Urgent/Not urgent
repeated: Give three tips for staying healthy during a long winter.|Translate the proverb into plain modern language.
unfit: Draw a picture of a lighthouse at night.|Go to the nearest shop and buy some bread.|Sing.
kind: old|quiet|wooden|northern|hidden|early|careful|broken|silver|modern|rural|coastal|gentle|winter|public|private
kind: narrow|ancient|hungry|patient|foreign|clever|electric|shared|distant|golden|weekly|urban|frozen|honest
place: harbour|bakery|library|railway|orchard|theatre|market|hospital|school|bridge|garden|kitchen|museum|forest|village
place: factory|airport|river|island|castle|office|workshop|farm|stadium|bank|hotel|laboratory|desert|lighthouse|mill
thing: a {kind} {place}
who: nurses|teachers|farmers|students|engineers|parents|tourists|sailors|bakers|lawyers|gardeners|runners|painters
who: children|drivers|musicians|retirees|beginners|volunteers|shopkeepers
form: letter|poem|speech|review|recipe|story|dialogue|summary|advert|notice|memo|essay|riddle|report|toast
tone: cheerful|formal|gloomy|ironic|simple|dramatic|polite|short|vivid|sober|playful|strict|warm|dry
act: save water|sleep better|learn a language|plan a journey|repair a roof|grow tomatoes|win an argument|cook for ten
act: train a dog|sell bicycles|count birds|store apples|read faster|cross a glacier|paint a fence|host a debate
act: keep bees|bake bread|avoid traffic|raise money
aim: price|comfort|safety|weight|history|colour|speed|noise|taste|fairness|warmth|cost|size|beauty|strength|age
number: two|three|four|five|six|seven
sentence: The {who} of {thing} {act} because {aim} counts more than {aim}.
ask: Write|Compose|Prepare|Invent|Draft|Produce|Outline|Sketch|Craft|Imagine
change: Rewrite|Rephrase|Adapt|Recast|Polish|Simplify|Shorten|Expand
end: Mention {aim}.|Keep {thing} in mind.|Stay {tone}.|Think of {who} too.|End with {thing}.|Leave {aim} out.
task: {ask} a {tone} {form} about {thing} for {who} who {act}. {end}
task: What should {who} from {thing} know before they {act}? {end}|Name {number} {tone} ways to {act} near {thing}.
task: Compare {thing} with {thing} by {aim} and {aim}. {end}|Why do {who} {act} so rarely in {thing}? {end}
task: Explain to {who} how {aim} helps {who} {act}. {end}|Could {who} {act} if {thing} lost its {aim}? {end}
about: {change} this {form} on {thing}, so that {tone} {who} {act}. {end}
about: Decide whether the {form} praises {thing} or {aim}. {end}
about: Classify the {form} about {thing} by {aim}: {tone} or {tone}. {end}
about: List every {tone} fact on {aim} that {thing} sent to {who}. {end}
"""
_ZH = """
names: 指令:|输入:|输出:|<无输入>|类别：
yes: 是
no: 否
maybe: 也许吧
gap:
refusal: 抱歉，这件事我无法完成。
lead: 以下是改写后的文本：|好的，这是为这些读者写的版本。
visual: 漫画|绘本|短视频
of: 的
labels: 正面/负面|正确/错误|正式/随意|紧急/不紧急
repeated: 说出三种保持身体健康的好办法。|请解释一下什么是光合作用。|太阳系里哪颗行星最大？
unfit: 请画一张灯塔的图片。|打开这个链接并总结内容。|唱。
kind: 安静的|古老的|热闹的|偏远的|新建的|狭窄的|有名的|破旧的|温暖的|现代的|神秘的|沿海的|繁忙的|朴素的|寒冷的
place: 渔港|面包房|图书馆|火车站|果园|剧院|菜市场|医院|小学|石桥|花园|厨房|博物馆|森林|村庄|工厂|机场|海岛|城堡|茶馆
thing: {kind}{place}
who: 护士|教师|农民|大学生|工程师|家长|游客|水手|厨师|律师|园丁|跑步者|画家|孩子们|司机|退休老人|新手|志愿者
form: 书信|诗歌|演讲稿|书评|菜谱|故事|对话|摘要|广告|通知|备忘录|散文|谜语|报告|祝酒词
verb: 写一篇|编一段|构思一份|准备一份|起草一份|设计一则|创作一段|整理一份
tone: 欢快|正式|忧伤|讽刺|朴实|夸张|礼貌|简短|生动|严肃|俏皮|温和
act: 节约用水|改善睡眠|学习外语|规划旅行|修理屋顶|种植番茄|赢得辩论|招待十位客人|训练小狗|推销自行车|观察候鸟
act: 储存苹果|提高阅读速度|粉刷围墙|养蜂|烤制面包|避开拥堵|募集善款
aim: 价格|舒适|安全|重量|历史|颜色|速度|噪声|味道|公平|温度|成本|大小|美感|强度|年代
sentence: {thing}的{who}正在{act}，因为对他们来说{aim}比{aim}更重要。
task: 请为想要{act}的{who}{verb}关于{thing}的{form}。|来自{thing}的{who}在{act}之前应该了解什么？
task: 列出几种在{thing}附近{act}的{tone}办法。|从{aim}和{aim}两方面比较{thing}与{thing}。
task: 为什么{who}很少在{thing}{act}？|如果{thing}失去了{aim}，{who}还能怎样{act}？
about: 用{tone}的语气改写这篇{form}，让{thing}里的{who}也喜欢。|判断下面的{form}是在称赞{thing}还是它的{aim}。
about: 按{aim}给这篇写{thing}的{form}分类：{tone}或者不是。|找出{thing}寄给{who}的{form}里所有谈到{aim}的地方。
"""


def _lists(table: str) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for line in table.strip().splitlines():
        name, _, words = line.partition(":")
        lists.setdefault(name, []).extend(words.removeprefix(" ").split("|"))
    return lists


_LISTS = {table: _lists(table) for table in (_EN, _ZH)}


async def serve(server: FakeServer) -> None:
    async with server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--script", default="alpaca", help="alpaca, self-instruct, echo, or a JSON file of rules")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds an answer")
    parser.add_argument("--context-tokens", type=int, default=8192)
    parser.add_argument("--owned-by", default="vllm")
    parser.add_argument("--api-key")
    parser.add_argument("--fault", default="", help=f"a status, or one of {', '.join(FAULTS)}")
    parser.add_argument("--times", type=int, default=0, help="only the first N requests")
    parser.add_argument("--share", type=float, default=1.0, help="only this share of the requests")
    parser.add_argument("--retry-after")
    parser.add_argument("--slots", type=int, default=0, help="requests worked on at once, for --delay; 0: all")
    parser.add_argument("--gauge", action="store_true", help="tell at /metrics how many run and wait")
    parser.add_argument("--start-delay", type=float, default=0.0, help="seconds of 503 after the start")
    try:
        asyncio.run(serve(FakeServer(**vars(parser.parse_args()))))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
