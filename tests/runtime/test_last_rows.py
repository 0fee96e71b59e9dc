"""What the last layer leaves out: the rows of its output that nobody reads, and nothing else."""

from __future__ import annotations

import random

import pytest
import torch

from runtime.cache import AttentionState, HybridCache
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.ops.moe import swiglu
from tests.helpers import GOLDEN, assert_close, divergence, golden
from tests.tiny_model import write_model

# Their last layers are all there are: Mamba or attention, then a mixture or a dense feed-forward.
LAST = {
    "default": ("mamba", "moe"), "tiny": ("mamba", "mlp"),
    "odd": ("attention", "mlp"), "options": ("attention", "moe"),
}  # fmt: skip


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    tiny = write_model(tmp_path_factory.mktemp("models") / "tiny")

    def loaded(name: str, scheme: str = "none") -> Engine:
        path = tiny if name == "tiny" else GOLDEN / name
        return Engine.load(path, device="cpu", precision=EXACT, scheme=scheme)

    return loaded


def ragged(total: int, seed: int) -> list[int]:
    draw, sizes = random.Random(seed), []
    while sum(sizes) < total:
        sizes.append(min(draw.choice([1, 2, 3, 5, 16, 31, 63]), total - sum(sizes)))
    return sizes


def read(engine: Engine, sizes: list[int], ids: list[int], logits: str):
    """The last chunk's logits and every tensor of the states."""
    memory: HybridCache = engine.new_cache(len(ids))
    with torch.inference_mode():
        for part in torch.tensor(ids).split(sizes):
            out = engine.model(part, memory, logits=logits)
    held = []
    for state in memory.states:
        whole = isinstance(state, AttentionState)
        held += [state.k, state.v] if whole else [state.conv, state.ssm]
    assert memory.position == len(ids)
    return out, held


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("scheme", ["none", "int8", "fp8", "nf4"])
@pytest.mark.parametrize("name", LAST)
def test_states_are_the_same_bits_and_the_last_logits_those_of_all(load, name, scheme, seed):
    engine, (ids, _) = load(name, scheme), golden("default")
    assert engine.config.layer_kinds[-1] == LAST[name]
    sizes = ragged(len(ids), seed)
    everything, states = read(engine, sizes, ids, "all")
    for logits in ("last", "none"):
        out, moved = read(engine, sizes, ids, logits)
        assert all(torch.equal(a, b) for a, b in zip(moved, states, strict=True))
        if logits == "none":
            assert out.shape == (0,)
        elif scheme == "fp8":  # one row's products leave its activations alone
            assert divergence(everything[-1:], out[None]) < 0.02
        else:
            assert_close(out, everything[-1])


@pytest.mark.parametrize("name", LAST)
def test_one_token_is_read_as_ever(load, name):
    engine, (ids, _) = load(name), golden("default")
    sizes = [149, 1]
    last, everything = (read(engine, sizes, ids, logits)[0] for logits in ("last", "all"))
    assert torch.equal(last, everything[0])


def test_chunks_before_the_last_end_without_the_last_feed_forward(load, monkeypatch):
    engine, (ids, _) = load("dense-tied"), golden("dense-tied")
    rows = []

    def counted(x, *weights):
        rows.append(x.shape[0])
        return swiglu(x, *weights)

    monkeypatch.setattr("runtime.model.swiglu", counted)
    engine.prefill(ids, engine.new_cache(150), chunk_tokens=60, stops=(100,))
    layers = engine.config.num_layers - 1
    assert rows == [60] * layers + [40] * layers + [50] * layers + [1]
