"""The GPU's way of attention: its merge on the CPU, the flash kernel itself on a GPU."""

from __future__ import annotations

import logging

import pytest
import torch

from runtime.ops.attention import cpu, cuda, reference
from tests.helpers import assert_close

SHAPES = [(1, 1), (1, 77), (5, 5), (63, 63), (40, 130), (2, 500), (63, 500), (64, 500)]


def inputs(l: int, t: int, p: int = 8) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(l)
    return [torch.randn(*shape, generator=g) for shape in ((l, 6, p), (2, t, p), (2, t, p))]


def flash_on_a_cpu(q, k, v, *, causal):
    """What the flash kernel is asked for, by the CPU's: that one takes no shared heads."""
    shared = q.shape[0] // k.shape[0]
    return cpu._flash(q, *(x.repeat_interleave(shared, 0) for x in (k, v)), causal=causal)


@pytest.mark.parametrize(("l", "t"), SHAPES)
@pytest.mark.parametrize("cudnn", [True, False])
def test_past_and_chunk_are_merged(monkeypatch, l, t, cudnn):
    planned = []

    def cudnn_on_a_cpu(q, k, v, *, causal):
        planned.append((q.shape[1], k.shape[1]))
        return flash_on_a_cpu(q, k, v, causal=causal)

    monkeypatch.setattr(cuda, "_flash", flash_on_a_cpu)
    monkeypatch.setattr(cuda, "_cudnn", cudnn_on_a_cpu)
    monkeypatch.setattr(cuda, "_fits", lambda *_: True)
    monkeypatch.setattr(cuda, "_has_cudnn", lambda *_: cudnn)
    monkeypatch.setattr(cuda, "LEAST", 8)
    monkeypatch.setattr(cuda, "MOST", 64)
    q, k, v = inputs(l, t)
    assert_close(cuda.attention(q, k, v), reference.attention(q, k, v))
    assert bool(planned) == (cudnn and l >= 8)
    assert {n for pair in planned for n in pair} <= {8, 16, 32, 64}


def test_the_flash_kernel_takes_our_layout_and_returns_what_is_merged():
    """Shapes only: PyTorch has no CPU form of it."""
    q = torch.empty(40, 96, 128, dtype=torch.bfloat16, device="meta")[:, :32].transpose(0, 1)
    k = torch.empty(8, 1000, 128, dtype=torch.bfloat16, device="meta")[:, :130]
    out, lse = cuda._flash(q, k, k, causal=False)
    assert (out.shape, out.dtype) == ((32, 40, 128), torch.bfloat16)
    assert (lse.shape, lse.dtype) == ((32, 40), torch.float32)


def test_what_the_flash_kernel_does_not_take_goes_the_slow_way_and_says_so_once(caplog):
    cuda._fits.cache_clear()
    q, k, v = inputs(5, 9)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(cuda.attention(q, k, v), reference.attention(q, k, v))
    assert [record.getMessage() for record in caplog.records] == [
        "attention runs without its flash kernel, slowly: "
        "it has none for torch.float32; bf16 activations have one"
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("l", "t"), [*SHAPES, (2048, 2048), (3000, 9000), (4096, 7168)])
@pytest.mark.parametrize("p", [64, 128])
def test_on_a_gpu(l, t, p):
    q, k, v = (x.bfloat16() for x in inputs(l, t, p))
    got = cuda.attention(q.cuda(), k.cuda(), v.cuda()).cpu()
    wanted = reference.attention(q.float(), k.float(), v.float())
    assert_close(got.float(), wanted, torch.bfloat16)
