"""The embedded model's folder: tokenizer, configs, weights, and what is told when they are not what they should be."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.backends.embedded import Embedded
from synthgen.backends.embedded.folder import digest, read_config
from synthgen.backends.embedded.model import Model
from synthgen.backends.embedded.tokenizer import Reader, Tokenizer
from synthgen.backends.embedded.weights import read_tensors
from synthgen.errors import UsageError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "models" / "instruct"

# Characters at the borders of the pre-tokenizer's classes, and what breaks byte handling.
ODD = list(
    "aA'sSſKK'tTreREveVEmMllLLdD  \n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2003\u3000\u200b\u2028_09٣Ⅷ½²①中文的一二〇"
    "😀👍🏽é\u0301ß,.!?()[]{}<|im_end|>\x00\x7f﷽\ufeff\u0600ªºʰ‿ﬀﬅ"
)
TEXTS = [
    "",
    "I'LL say: don't! We'Ve 1234 things; it\u2019s fine.   \n\n  Next\tline \r\n",
    "写一首关于秋天的诗，要有12行。\n  题目：《落叶》——“不超过20字”。",
    "def f(x: int) -> str:\n    return f'{x!r}' * 3  # \u2190 why?\n\n\n",
    "👩\u200d👩\u200d👧 flags 🇨🇳🇩🇪, Ünïcödé, العربية ٣٤٥, हिन्दी, ไทย, 한국어",
    "x" * 3000 + " " * 3000 + "\n" * 50 + "ab" * 2000,
    "<|im_start|>system\nnow<|im_end|><|endoftext|>",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(FOLDER)


def small_folder(to: Path, **config: Any) -> Path:
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        (to / name).write_bytes((FOLDER / name).read_bytes())
    (to / "config.json").write_text(json.dumps(json.loads((to / "config.json").read_text()) | config))
    return to


def test_ids_are_those_of_the_tokenizers_library(tokenizer: Tokenizer) -> None:
    theirs = pytest.importorskip("tokenizers").Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    theirs.encode_special_tokens = True  # text is text
    draws = random.Random(0)
    texts = [*TEXTS, *("".join(draws.choices(ODD, k=draws.randint(1, 30))) for _ in range(5000))]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "synthgen").rglob("*.py"))]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "prompts").rglob("*.jinja"))]
    for text in texts:
        assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False).ids, text[:80]


@pytest.mark.parametrize("text", TEXTS)
def test_encode_and_decode_give_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    reader = Reader(tokenizer)
    assert "".join(map(reader.read, ids)) == text


def test_control_tokens_in_text_stay_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|im_end|>\n<|im_start|>system\n<|endoftext|>")
    assert not set(tokenizer.control.values()) & set(ids)
    assert len(tokenizer.encode("<|im_end|>")) > 1


def test_a_half_character_is_held_back(tokenizer: Tokenizer) -> None:
    first, second, third = (tokenizer.encode(text)[0] for text in ("a", "b", "c"))
    byte = {tokenizer.bytes_of(n): n for n in range(3, 8192) if len(tokenizer.bytes_of(n)) == 1}
    reader = Reader(tokenizer)
    ids = [first, byte[b"\xe4"], byte[b"\xb8"], byte[b"\xad"], second, byte[b"\xe4"], third, byte[b"\xe4"]]
    assert [reader.read(n) for n in ids] == ["a", "", "", "中", "b", "", "\ufffdc", ""]


def test_a_lone_surrogate_is_a_question_mark(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b"


def test_shards_and_other_number_types(tmp_path: Path) -> None:
    folder = small_folder(tmp_path)
    values = np.array([[1.5, -2.0], [0.25, 8.0]], np.float32)
    raw = {"BF16": (values.view(np.uint32) >> 16).astype("<u2"), "F16": values.astype("<f2"), "F32": values}
    names = {}
    for n, (dtype, data) in enumerate(raw.items()):
        entry = {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, data.nbytes]}
        header = json.dumps({"__metadata__": {"format": "pt"}, dtype: entry}).encode()
        (folder / f"shard-{n}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data.tobytes())
        names[dtype] = f"shard-{n}.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    tensors = read_tensors(folder)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == dict.fromkeys(raw, values.tolist())
    first = digest(folder)
    (folder / "shard-1.safetensors").write_bytes(b"\x00" * 8 + b"{}")
    assert digest(folder) != first
    with pytest.raises(UsageError, match="embed_tokens"):
        Model(read_config(folder), tensors, 1)


def test_a_digest_is_16_hex() -> None:
    found = Embedded(FOLDER).digest
    assert found == digest(FOLDER)
    assert len(found) == 16
    int(found, 16)


def test_a_broken_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        Embedded(tmp_path)
    folder = small_folder(tmp_path)
    with pytest.raises(UsageError, match=r"model\.safetensors is missing"):
        asyncio.run(Embedded(folder).probe())
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UsageError, match="safetensors"):
        asyncio.run(Embedded(folder).probe())
    (folder / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes()[:100_000])
    with pytest.raises(UsageError, match="cut short"):
        asyncio.run(Embedded(folder).probe())
    with pytest.raises(UsageError, match="model_type"):
        Embedded(small_folder(tmp_path, model_type="gpt2"))
    (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises(UsageError, match="tokenizer"):
        Tokenizer(folder)
