"""The kernels that a decode step alone uses, beside their references."""

from __future__ import annotations

import numpy
import pytest
import torch

pytest.importorskip("triton")

from runtime.ops.attention_step import kernel as attention_kernel
from runtime.ops.attention_step import reference as attention_reference
from runtime.ops.mamba_step import kernel as mamba_kernel
from runtime.ops.mamba_step import reference as mamba_reference
from runtime.ops.pick import kernel as pick_kernel
from runtime.ops.pick import reference as pick_reference
from runtime.ops.route import kernel as route_kernel
from runtime.ops.route import reference as route_reference
from tests.helpers import assert_close


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def copies(tensors, device):
    return [tensor.clone().to(device) for tensor in tensors]


@pytest.mark.parametrize(("e", "n", "r"), [(64, 16, 4), (40, 6, 24)])
def test_a_mamba_step_is_its_parts_one_after_another(e, n, r, device, dtype):
    """Three steps, so that the state that one leaves is the next one's."""
    norms = [draw(width, seed=3).to(dtype) for width in (r, n, n)]
    dt_proj, A = draw(e, r, seed=4).to(dtype), -draw(n, e).exp()
    D, bias, state = draw(e), draw(e, seed=1), draw(n, e, seed=2)
    own = copies([*norms, dt_proj, A, D, bias, state], device)
    for step in range(3):
        u, z = draw(1, 2 * e, seed=5 + step).to(dtype).chunk(2, -1)
        projected = draw(1, r + 2 * n, seed=8 + step).to(dtype)
        wanted = mamba_reference.mamba_step(
            u, z, projected, tuple(norms), 1e-6, dt_proj, A, D, bias, state
        )
        inputs = [x.to(device) for x in (u, z, projected)]
        got = mamba_kernel.mamba_step(*inputs, tuple(own[:3]), 1e-6, *own[3:])
        assert got.dtype == dtype
        assert_close(got.cpu().float(), wanted.float(), dtype)
        assert_close(own[-1].cpu(), state, dtype)


@pytest.mark.parametrize("position", [0, 1, 62, 63, 64, 65, 127, 500, 998, 999])
@pytest.mark.parametrize(("h", "count", "p"), [(8, 2, 16), (5, 1, 24), (3, 3, 8)])
def test_attention_of_a_step(h, count, p, position, device, dtype):
    heads = draw(h + 2 * count, p).to(dtype)
    k, v = (draw(count, 1000, p, seed=s).to(dtype) for s in (1, 2))
    for cache in (k, v):
        cache[:, position:] = torch.nan  # what lies past the position is nobody's
    own_k, own_v = copies([k, v], device)
    place = torch.tensor([position])
    wanted = attention_reference.attention_step(heads.float(), k.float(), v.float(), place)
    got = attention_kernel.attention_step(heads.to(device), own_k, own_v, place.to(device))
    assert got.dtype == dtype
    assert_close(got.cpu().float(), wanted, dtype)
    _, new_k, new_v = heads.split([h, count, count])
    for own, before, new in ((own_k, k, new_k), (own_v, v, new_v)):
        before[:, position] = new
        assert torch.equal(own.cpu().nan_to_num(7.0), before.nan_to_num(7.0))


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_attention_of_a_step_in_any_number_of_parts(parts, device, monkeypatch):
    monkeypatch.setattr(attention_kernel, "_parts", lambda *_: parts)
    heads, k, v = draw(12, 16), draw(2, 2600, 16, seed=1), draw(2, 2600, 16, seed=2)
    heads[:8] *= 8  # a softmax with a few large shares
    for position in (0, 1000, 2599):
        place = torch.tensor([position])
        inputs = [x.to(device) for x in (heads, k, v, place)]
        got = attention_kernel.attention_step(*inputs)
        assert_close(got.cpu(), attention_reference.attention_step(heads, k, v, place))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("position", [5, 131_072, 262_143])
def test_attention_of_a_step_in_a_cache_of_more_than_2_to_the_31_bytes(position):
    """Also two heads whose elements alone pass 2 ** 31: 8 heads of 2 ** 21 tokens of 128."""
    for max_tokens, places in ((262_144, [position]), (2_100_000, [position, 2_099_999])):
        k, v = (torch.randn(8, max_tokens, 128, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        heads = torch.randn(48, 128, device="cuda", dtype=torch.bfloat16)
        for place in places:
            at = torch.tensor([place], device="cuda")
            got = attention_kernel.attention_step(heads, k, v, at)
            wanted = attention_reference.attention_step(heads, k, v, at)
            assert_close(got.float(), wanted.float(), torch.bfloat16)


@pytest.mark.parametrize("l", [1, 4, 63])
@pytest.mark.parametrize(("x", "top_k"), [(16, 2), (5, 3), (9, 2), (8, 8)])
def test_a_router_s_choice(l, x, top_k, device, dtype):
    logits = draw(l, x, seed=x).to(dtype)
    weights, experts = route_kernel.likeliest_experts(logits.to(device), top_k)
    wanted, wanted_experts = route_reference.likeliest_experts(logits.float(), top_k)
    assert (weights.dtype, experts.dtype) == (dtype, torch.int64)
    assert_close(weights.cpu().float(), wanted, dtype)
    if dtype == torch.float32:  # in 16 bits there are equal ones, of which either may come first
        assert torch.equal(experts.cpu(), wanted_experts)
    assert all(len(set(row)) == top_k for row in experts.tolist())
    picked = torch.softmax(logits.float(), -1).gather(1, experts.cpu())
    assert_close(picked, wanted)


def test_a_router_that_is_not_a_number_still_picks_real_experts(device):
    logits = torch.full((1, 5), torch.nan, device=device)
    with numpy.errstate(invalid="ignore"):  # which the interpreter computes with
        weights, experts = route_kernel.likeliest_experts(logits, 2)
    assert weights.isnan().all()
    assert sorted(experts[0].tolist()) == [0, 1]


@pytest.mark.parametrize(("x", "d", "top_k"), [(16, 64, 2), (5, 40, 3), (9, 24_000, 2)])
def test_a_router_and_its_choice_in_one_kernel(x, d, top_k, device, dtype):
    """The last is too large for one."""
    stream, add, weight = (draw(*shape, seed=d).to(dtype) for shape in ((1, d), (1, d), (d,)))
    add, router = add.flip(-1), draw(x, d, seed=x).to(dtype) / d**0.5
    own = stream.clone().to(device)
    inputs = [each.to(device) for each in (add, weight)]
    got = route_kernel.route_sum(own, *inputs, 1e-6, router.to(device), top_k)
    wanted = route_reference.route_sum(stream, add, weight, 1e-6, router, top_k)
    assert_close(own.cpu().float(), stream.float(), dtype)
    for mine, other in zip(got[:2], wanted[:2], strict=True):
        assert mine.dtype == dtype
        assert_close(mine.cpu().float(), other.float(), dtype)
    picked = torch.softmax((wanted[0].float() @ router.float().T), -1).gather(1, got[2].cpu())
    assert_close(picked, wanted[1].float(), dtype)


def pick(scores: torch.Tensor, way) -> list[torch.Tensor]:
    v, device = scores.shape[1], scores.device
    logits = torch.empty(v, device=device)
    picked = torch.empty(2, dtype=torch.float64, device=device)
    inputs = torch.tensor([3, 40], device=device)
    way.pick(scores, logits, picked, inputs)
    return [tensor.cpu() for tensor in (logits, picked, inputs)]


@pytest.mark.parametrize("v", [1, 260, 1024, 5000])
def test_the_likeliest_token_is_picked_and_fed_back(v, device, dtype):
    scores = draw(1, v, seed=v).to(dtype)
    scores[0, v // 3 :: 7] = scores.max()  # of equal ones the first
    got = pick(scores.to(device), pick_kernel)
    for own, wanted in zip(got, pick(scores, pick_reference), strict=True):
        assert torch.equal(own, wanted)
    assert got[2].tolist() == [int(scores[0].float().argmax()), 41]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_logit_that_is_not_finite_is_found(bad, device):
    scores = draw(1, 3000)
    scores[0, 2500] = bad
    if bad == -torch.inf:
        scores[:] = bad
    for way in (pick_kernel, pick_reference):
        assert not pick(scores.to(device), way)[1][1].isfinite()
