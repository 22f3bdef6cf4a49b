"""A sentence model in this process: a real one, where the library is, over the model that comes along; else a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import vllm_server
from command import ROOT

from synthgen.backends import ModelSpec
from synthgen.embedding import Embedding, EmbeddingWish
from synthgen.errors import UsageError

HERE = find_spec("sentence_transformers") is not None
TEXTS = ["Give three tips for staying healthy.", "Give three tips to stay healthy.", "Describe an atom."]


def wish(place: str | Path, tmp_path: Path) -> EmbeddingWish:
    return EmbeddingWish(ModelSpec(f"local:{place}", embeds=True), tmp_path / "embeddings.sqlite")


def refusal(place: str | Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as raised, Embedding(wish(place, tmp_path), print) as embedding:
        embedding(TEXTS)
    return str(raised.value)


@pytest.mark.skipif(HERE, reason="sentence-transformers is installed")
def test_the_line_that_says_what_to_install(tmp_path: Path) -> None:
    said = refusal("x", tmp_path)
    assert said == '--embedding-model local:x needs sentence-transformers: pip install "synthgen[semantic]"'


@pytest.mark.skipif(not HERE, reason="sentence-transformers is not installed")
@pytest.mark.filterwarnings("default")  # those of the library are not ours
class TestReal:
    def test_vectors_of_a_model_of_files(self, tmp_path: Path) -> None:
        with Embedding(wish(vllm_server.MODEL, tmp_path), print) as embedding:
            rows = embedding([*TEXTS, TEXTS[0], "", "word " * 2000])
            assert not rows[4:].any()
            assert embedding.embedder.paid.refused == 1
            assert "tokens, of which" in embedding.embedder.paid.first_refused
        units = rows[:4] / np.linalg.norm(rows[:4], axis=1, keepdims=True)
        cosines = units @ units.T
        assert np.array_equal(rows[0], rows[3])
        assert cosines[0, 1] > cosines[0, 2]
        with Embedding(wish(vllm_server.MODEL, tmp_path), print) as embedding:
            assert np.array_equal(embedding(TEXTS), rows[:3])
            assert embedding.embedder.paid.requests == 0

    def test_other_weights_are_another_model(self, tmp_path: Path) -> None:
        shutil.copytree(vllm_server.MODEL, tmp_path / "model")
        for config in ('{"a": 1}', '{"a": 2}'):
            (tmp_path / "model" / "more.json").write_text(config)
            with Embedding(wish(tmp_path / "model", tmp_path), print) as embedding:
                embedding(TEXTS)
                assert embedding.embedder.paid.requests

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        assert refusal("./none", tmp_path) == "--embedding-model local:./none: no such folder"
        (tmp_path / "empty").mkdir()
        assert "cannot be loaded as a sentence model" in refusal(tmp_path / "empty", tmp_path)


def test_dedup_by_a_local_model(vllm_python: str, tmp_path: Path) -> None:
    """By vLLM's Python, which has torch: the command, with a model of files."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    surroundings = {**vllm_server.environment(0), "PYTHONPATH": path, "COLUMNS": "160"}
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sentence_transformers') is None)"
    if subprocess.run([vllm_python, "-c", code], check=False).returncode:
        pytest.skip("no sentence-transformers beside vLLM (check.sh installs it)")
    rows = [*TEXTS, TEXTS[0].upper().replace("GIVE", "Give"), TEXTS[2]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in rows), encoding="utf-8")
    command = [vllm_python, "-m", "synthgen", "dedup", "in.jsonl", "-o", "out.jsonl", "--method", "semantic", "--json"]
    command += ["--embedding-model", f"local:{vllm_server.MODEL}", "--threshold", "0.9999"]
    done = subprocess.run(command, env=surroundings, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["kept"] == 4
    (met,) = map(json.loads, (tmp_path / "duplicates.jsonl").read_text("utf-8").splitlines())
    assert (met["row"], met["nearest"], met["level"]) == ("in.jsonl:5", "in.jsonl:3", "semantic")
