"""The forward pass: a Llama in float32 numpy, one KV cache row a slot.

The bits of a row must not depend on the other rows, or one request would give another text in another batch. A BLAS
does not promise that: its kernels treat rows in groups (of 12, 8, 4 .. on x86), each with its own order of sums, so
that a row has other last bits among 32 rows than among 8, and others in place 7 than in place 5. Therefore:
- dense products see groups of `group` rows, idle ones zero, one product of one shape a group, with a number of rows
  for which this machine's BLAS was seen, at load, to treat all places alike;
- attention runs in blocks of `BLOCK` positions, each a product of one shape, added up from the first to the last;
  blocks beyond a row's own length add exact zeros;
- a prompt runs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthgen.errors import UsageError

from .folder import Config
from .weights import Array

Integers = npt.NDArray[np.int64]

BLOCK = 64  # positions: 32 costs more calls, 128 more waste; 10 % between them
_CHUNK = 128  # prompt positions whose scores are held at once
# OpenBLAS treats 16 alike on AVX2 and AVX-512. With 8, one request alone is 15 % faster and 32 are 13 % slower.
_GROUPS = (16, 8, 4)
_NEVER = np.float32(-1e30)  # not -inf: a row of nothing else would be nan


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: Array  # [(heads + 2 kv_heads) head_dim, hidden]: all are [out, in]
    out: Array
    gate_up: Array  # [2 intermediate, hidden]
    down: Array


class Model:
    """Weights and cache. `prefill` fills one slot, `decode` takes slots 0..n-1 one token further."""

    def __init__(self, config: Config, tensors: Mapping[str, Array], slots: int) -> None:
        self.config = c = config
        try:
            self._embedding = tensors["model.embed_tokens.weight"]
            head = tensors.get("lm_head.weight", self._embedding)
            self._head = _folded(head, tensors["model.norm.weight"])
            self._layers = [_layer(c, tensors, n) for n in range(c.layers)]
        except KeyError as missing:
            raise UsageError(f"the model's weights have no {missing}") from missing
        one = self._layers[0]
        self.group = alike_rows([one.qkv, one.out, one.gate_up, one.down, self._head])
        # Positions by frequencies; the two halves of a head turn against each other.
        half = np.arange(0, c.head_dim, 2, dtype=np.float32) / np.float32(c.head_dim)
        angle = np.outer(np.arange(c.context, dtype=np.float32), np.float32(1) / np.float32(c.theta) ** half)
        self._cos, self._sin = np.cos(angle), np.sin(angle)
        blocks = -(-c.context // BLOCK)
        # zeros: the system hands out these pages only when a slot comes to use them.
        self._keys = np.zeros((c.layers, slots, c.kv_heads, blocks, c.head_dim, BLOCK), np.float32)
        self._values = np.zeros((c.layers, slots, c.kv_heads, blocks, BLOCK, c.head_dim), np.float32)

    def prefill(self, slot: int, ids: Sequence[int]) -> Array:
        """Put a prompt into a slot; the logits [vocab] of its next token."""
        c, count = self.config, len(ids)
        x = self._embedding[np.array(ids)]
        for n, layer in enumerate(self._layers):
            heads = (self._normed(x) @ layer.qkv.T).reshape(count, -1, c.head_dim)
            turned = self._turned(heads[:, : c.heads + c.kv_heads], slice(0, count))
            keys = np.ascontiguousarray(turned[:, c.heads :].swapaxes(0, 1))
            values = np.ascontiguousarray(heads[:, c.heads + c.kv_heads :].swapaxes(0, 1))
            self._keep(n, slot, keys, values)
            first = count - 1 if n == c.layers - 1 else 0  # of the last layer only the last position is used
            x = x[first:] + _causal(turned[first:, : c.heads], keys, values) @ layer.out.T
            both = self._normed(x) @ layer.gate_up.T
            x += _gated(both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]) @ layer.down.T
        logits: Array = (self._normed(x) @ self._head.T)[0]
        return logits

    def decode(self, tokens: Integers, lengths: Integers) -> Array:
        """One token for each of slots 0..n-1, at position `lengths`; logits [n, vocab]."""
        c, n = self.config, len(tokens)
        groups = -(-n // self.group)
        x = np.zeros((groups * self.group, c.hidden), np.float32)
        x[:n] = self._embedding[tokens]
        attended = np.zeros((len(x), c.heads * c.head_dim), np.float32)
        blocks = int(lengths.max()) // BLOCK + 1
        beyond = np.where(np.arange(blocks * BLOCK) > lengths[:, None], _NEVER, np.float32(0))
        beyond = beyond.reshape(n, 1, blocks, 1, BLOCK)
        rows, block, place = np.arange(n), lengths // BLOCK, lengths % BLOCK
        for number, layer in enumerate(self._layers):
            keys, values = self._keys[number, :n], self._values[number, :n]
            heads = self._rows(layer.qkv @ self._columns(self._normed(x)), n).reshape(n, -1, c.head_dim)
            turned = self._turned(heads[:, : c.heads + c.kv_heads], lengths)
            keys[rows, :, block, :, place] = turned[:, c.heads :]
            values[rows, :, block, place] = heads[:, c.heads + c.kv_heads :]
            queries = turned[:, : c.heads].reshape(n, c.kv_heads, 1, -1, c.head_dim)
            attended[:n] = _blockwise(queries, keys[:, :, :blocks], values[:, :, :blocks], beyond).reshape(n, -1)
            x += self._rows(layer.out @ self._columns(attended), len(x))
            both = layer.gate_up @ self._columns(self._normed(x))
            half = both.shape[1] // 2
            x += self._rows(layer.down @ _gated(both[:, :half], both[:, half:]), len(x))
        return self._rows(self._head @ self._columns(self._normed(x)), n)

    def move(self, source: int, target: int, length: int) -> None:
        """Give a slot's first `length` positions to another slot; busy slots stay 0..n-1."""
        blocks = -(-length // BLOCK)
        self._keys[:, target, :, :blocks] = self._keys[:, source, :, :blocks]
        self._values[:, target, :, :blocks] = self._values[:, source, :, :blocks]

    def _columns(self, x: Array) -> Array:
        """[rows, width] to [groups, width, group]: how the dense products want it."""
        return x.reshape(-1, self.group, x.shape[-1]).swapaxes(1, 2)

    def _rows(self, x: Array, count: int) -> Array:
        """Back to [count, width], in C order always: a sum along a row adds in the order of the memory."""
        return np.ascontiguousarray(x.swapaxes(1, 2).reshape(-1, x.shape[1])[:count])

    def _keep(self, layer: int, slot: int, keys: Array, values: Array) -> None:
        """A prompt's keys and values, [kv_heads, positions, head_dim], into the blocks of a slot."""
        kv_heads, count, head_dim = keys.shape
        blocks = -(-count // BLOCK)
        padded = np.zeros((2, kv_heads, blocks * BLOCK, head_dim), np.float32)
        padded[0, :, :count], padded[1, :, :count] = keys, values
        cut = padded.reshape(2, kv_heads, blocks, BLOCK, head_dim)
        self._keys[layer, slot, :, :blocks] = cut[0].swapaxes(-1, -2)
        self._values[layer, slot, :, :blocks] = cut[1]

    def _turned(self, heads: Array, positions: slice | Integers) -> Array:
        """Rotary embedding as in Hugging Face's Llama; heads [rows, heads, head_dim]."""
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        half = heads.shape[-1] // 2
        left, right = heads[..., :half], heads[..., half:]
        turned = np.empty(heads.shape, np.float32)
        turned[..., :half] = left * cos - right * sin
        turned[..., half:] = right * cos + left * sin
        return turned

    def _normed(self, x: Array) -> Array:
        """RMSNorm; its weights are in the matrix that follows."""
        mean = np.add.reduce(x * x, axis=-1, keepdims=True) / np.float32(x.shape[-1])
        scale: Array = np.sqrt(mean + np.float32(self.config.epsilon))
        return x / scale


def alike_rows(matrices: Sequence[Array]) -> int:
    """The number of rows among which a row's product has the same bits in every place.

    Equal rows go in, equal rows must come out. Tried on the model's own matrices, as a BLAS changes kernels with the
    shape. One row at a time is always right, and slow.
    """
    return next((group for group in _GROUPS if all(_alike(matrix, group) for matrix in matrices)), 1)


def _alike(matrix: Array, group: int) -> bool:
    row = np.random.Generator(np.random.Philox(0)).standard_normal(matrix.shape[1], np.float32)
    product = matrix @ np.tile(row, (1, group, 1)).swapaxes(1, 2)
    return bool((product == product[..., :1]).all())


def _layer(c: Config, tensors: Mapping[str, Array], number: int) -> _Layer:
    def weight(name: str) -> Array:
        return tensors[f"model.layers.{number}.{name}.weight"]

    query = weight("self_attn.q_proj") * np.float32(c.head_dim**-0.5)  # the scale of the scores
    qkv = np.concatenate([query, weight("self_attn.k_proj"), weight("self_attn.v_proj")])
    gate_up = np.concatenate([weight("mlp.gate_proj"), weight("mlp.up_proj")])
    return _Layer(
        qkv=_folded(qkv, weight("input_layernorm")),
        out=weight("self_attn.o_proj"),
        gate_up=_folded(gate_up, weight("post_attention_layernorm")),
        down=weight("mlp.down_proj"),
    )


def _folded(matrix: Array, norm: Array) -> Array:
    """A matrix with the weights of the norm that stands before it."""
    product: Array = matrix * norm
    return product


def _gated(gate: Array, up: Array) -> Array:
    """SwiGLU."""
    result: Array = gate / (1 + np.exp(-gate)) * up
    return result


def _blockwise(queries: Array, keys: Array, values: Array, beyond: Array) -> Array:
    """Attention of one position a row; [n, kv_heads, group, head_dim].

    Shapes: queries [n, kv_heads, 1, group, head_dim], keys [n, kv_heads, blocks, head_dim, BLOCK],
    values [n, kv_heads, blocks, BLOCK, head_dim].
    """
    scores = np.matmul(queries, keys)
    scores += beyond
    scores -= scores.max(axis=(2, 4), keepdims=True)
    np.exp(scores, out=scores)
    # The blocks must be added in their order, however many follow: cumsum does, and sum does along an axis that is not
    # the innermost (there it adds pairwise); it is 20 times as fast.
    total = scores.sum(axis=-1).cumsum(axis=2)[:, :, -1]
    result: Array = np.matmul(scores, values).sum(axis=2) / total[..., None]
    return result


def _causal(queries: Array, keys: Array, values: Array) -> Array:
    """Attention of a prompt's last positions to all before them; [positions, heads * head_dim].

    Shapes: queries [positions, heads, head_dim], keys and values [kv_heads, all positions, head_dim].
    """
    count, heads, head_dim = queries.shape
    kv_heads, whole, _ = keys.shape
    first = whole - count
    grouped = np.ascontiguousarray(queries.swapaxes(0, 1)).reshape(kv_heads, heads // kv_heads, count, head_dim)
    later = np.triu(np.full((_CHUNK, _CHUNK), _NEVER, np.float32), 1)
    result = np.empty((count, kv_heads, heads // kv_heads, head_dim), np.float32)
    for start in range(0, count, _CHUNK):
        end = min(start + _CHUNK, count)
        seen = first + end
        scores = np.matmul(grouped[:, :, start:end], keys[:, None, :seen].swapaxes(-1, -2))
        scores[..., first + start :] += later[: end - start, : end - start]
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        mixed = np.matmul(scores, values[:, None, :seen]) / scores.sum(axis=-1, keepdims=True)
        result[start:end] = np.moveaxis(mixed, 2, 0)
    return result.reshape(count, -1)
