"""What a server has: the model of its list that is meant, and how its tokenizer cuts two languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from synthgen.dedup import cjk_count
from synthgen.errors import NotAllowed, UsageError

ENGLISH = (
    "The harbour was quiet when the last ferry came in. A woman in a green coat stood by the railing and counted the "
    "bags that her brother had carried up from the deck: four, as in every year. Below them, 12 crates of apples were "
    "being lifted onto a lorry. \"Will it rain?\" she asked. He looked at the clouds, shrugged, and said that the "
    "forecast had promised sun until Thursday, though nobody on the island believed it."
)  # fmt: skip
CHINESE = (
    "最后一班渡轮靠岸的时候，港口已经安静下来。一个穿绿色外套的女人站在栏杆旁边，数着哥哥从船上搬下来的行李：一共四件，和往年一样。"
    "码头下面，工人们正把十二箱苹果装上卡车。她问道：“会下雨吗？”哥哥抬头看了看云，耸耸肩说，天气预报说到星期四都是晴天，"
    "不过岛上没有人相信。他们沿着石板路慢慢往家走，路边的小店还亮着灯，老板娘笑着向他们打招呼，问他们要不要尝一尝刚出锅的鱼丸。"
)


def choose(url: str, model: str | None, names: Sequence[str]) -> str:
    """The model to ask for, of those that the server at `url` lists. Raises NotAllowed or UsageError."""
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    if model is not None:
        # Ollama lists "name:latest" for what it serves as "name".
        if not names or model in names or f"{model}:latest" in names:
            return model
        near = get_close_matches(model, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise NotAllowed(f"{url} does not serve {model}{hint} (it serves {listed})")
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(f"{url} serves several models: choose one with --model ({listed})")
    raise UsageError(f"{url} does not say what it serves; give the model's name with --model")


def tokens_per_char(count: Callable[[str], int]) -> tuple[float, float]:
    """(letters of other scripts, Chinese characters), by what a tokenizer counts in a text of each."""
    latin = count(ENGLISH) / len(ENGLISH)
    hanzi = cjk_count(CHINESE)
    return latin, max(0.1, (count(CHINESE) - latin * (len(CHINESE) - hanzi)) / hanzi)
