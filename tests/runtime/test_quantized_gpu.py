"""Quantized models on a GPU: what is loaded, how far from the CPU, and the plan's truth."""

from __future__ import annotations

import gc

import pytest
import torch

from quant.schemes import SCHEMES
from runtime.convert import convert
from runtime.engine import Engine
from runtime.ops.moe import moe
from runtime.quantization import named
from runtime.shapes import shape
from tests.helpers import GOLDEN, assert_close, divergence, golden, never_waiting

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
def test_a_quantized_checkpoint_is_copied_to_the_gpu_as_it_is(tmp_path, scheme):
    convert(GOLDEN / "dense-tied", tmp_path / "to", named(scheme), shard_bytes=40_000)
    there = dict(Engine.load(tmp_path / "to", device="cuda").model.named_parameters())
    for name, own in Engine.load(tmp_path / "to", device="cpu").model.named_parameters():
        got = there[name].cpu()
        if name.endswith(("codes", "scale")):
            assert torch.equal(got.view(torch.uint8), own.view(torch.uint8)), name
        else:
            assert_close(got.float(), own.float(), torch.bfloat16)


@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize("chunk", [64, 37])
def test_logits_on_the_gpu(scheme, chunk):
    ids, wanted = golden("default")
    engine = Engine.load(GOLDEN / "default", device="cuda", scheme=scheme)
    assert divergence(wanted, engine.score(ids, chunk_tokens=chunk).cpu()).mean() < 0.3


def test_fp8_experts_of_many_rows_are_never_brought_to_the_host():
    g = torch.Generator().manual_seed(1)
    x, router = (torch.randn(n, 256, generator=g).cuda().bfloat16() for n in (100, 8))
    gate_up, down = (
        SCHEMES["fp8"].quantize(torch.randn(*shape, generator=g).cuda().bfloat16() / 16)
        for shape in ((8, 2 * 384, 256), (8, 256, 384))
    )
    wanted = moe(x, router, gate_up, down, 2)  # compiles, which may wait
    with never_waiting():
        got = moe(x, router, gate_up, down, 2)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("scheme", ["none", "int8", "fp8", "nf4"])
def test_the_plan_is_within_5_percent_of_the_peak(scheme):
    gc.collect()  # what earlier tests of this process left in cycles would count as the model's
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    engine = Engine.random(shape("3b"), device="cuda", scheme=scheme, context=20_000)
    ids = torch.randint(0, engine.config.vocab_size, (20_000,)).tolist()
    engine.prefill(ids, engine.new_cache(20_000))
    assert engine.setup is not None
    plan = engine.setup.plan
    peak = torch.cuda.max_memory_allocated() - before
    assert plan.total - plan.headroom == pytest.approx(peak, rel=0.05)
