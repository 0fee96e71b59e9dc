"""Each operation against its plain definition, at lengths that cross every tile and chunk."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from quant.ops.quantize_rows import quantize_rows
from quant.schemes import CPU_SCHEMES, SCHEMES
from runtime.ops import linear as linear_op
from runtime.ops.attention import attention, narrow
from runtime.ops.attention import cpu as attention_cpu
from runtime.ops.attention import reference as attention_reference
from runtime.ops.causal_conv import causal_conv
from runtime.ops.linear import FEW_ROWS, linear, wide_dtype
from runtime.ops.moe import BLOCK_ROWS, moe, onednn, route, swiglu
from runtime.ops.moe.device import by_groups, by_rows, grouped
from runtime.ops.norm import rms_norm
from runtime.ops.selective_scan import cpu, reference
from tests.helpers import assert_close

LENGTHS = [1, 2, 63, 500]


def scan_inputs(
    l: int, e: int = 24, n: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32
):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g).to(dtype)

    A = -torch.exp(torch.randn(n, e, generator=g))
    state, D = torch.randn(n, e, generator=g), torch.randn(e, generator=g)
    dt_bias = torch.randn(e, generator=g)
    return {
        "u": draw(l, e), "dt": draw(l, e), "A": A, "B": draw(l, n), "C": draw(l, n), "D": D,
        "z": draw(l, e), "dt_bias": dt_bias, "state": state,
    }  # fmt: skip


def definition(u, dt, A, B, C, D, z, dt_bias, state):
    """The recurrence in fp64, element by element."""
    u, dt, A, B, C, D, z, dt_bias, h = (t.double() for t in (u, dt, A, B, C, D, z, dt_bias, state))
    rows = []
    for t in range(len(u)):
        delta = torch.log1p(torch.exp(dt[t] + dt_bias))
        h = torch.exp(delta * A) * h + torch.outer(B[t], delta * u[t])
        rows.append((torch.einsum("n,ne->e", C[t], h) + D * u[t]) * z[t] / (1 + torch.exp(-z[t])))
    return torch.stack(rows), h


@pytest.mark.parametrize("scan", [reference.selective_scan, cpu.selective_scan])
@pytest.mark.parametrize("l", LENGTHS)
def test_scan_is_its_definition(scan, l):
    inputs = scan_inputs(l)
    wanted, state = definition(**inputs)
    assert_close(scan(**inputs), wanted)
    assert_close(inputs["state"], state)


def test_scan_crosses_its_tiles(monkeypatch):
    monkeypatch.setattr(cpu, "TILE_ELEMENTS", 24 * 16 * 7)
    inputs = scan_inputs(100)
    wanted, state = definition(**inputs)
    assert_close(cpu.selective_scan(**inputs), wanted)
    assert_close(inputs["state"], state)


@pytest.mark.parametrize("scan", [reference.selective_scan, cpu.selective_scan])
def test_scan_in_pieces_is_the_scan_of_the_whole(scan):
    whole = scan_inputs(130)
    pieces = {name: tensor.clone() for name, tensor in whole.items()}
    wanted = scan(**whole)
    rows, start = [], 0
    for size in (1, 64, 3, 62):
        span = slice(start, start + size)
        part = {n: pieces[n][span] for n in ("u", "dt", "B", "C", "z")}
        rest = {n: pieces[n] for n in ("A", "D", "dt_bias", "state")}
        rows.append(scan(**part, **rest))
        start += size
    assert_close(torch.cat(rows), wanted)
    assert_close(pieces["state"], whole["state"])


def test_scan_rounds_once_and_keeps_its_state_in_fp32():
    inputs = scan_inputs(80, dtype=torch.bfloat16)
    exact = {name: tensor.float() for name, tensor in inputs.items()}
    wanted, state = definition(**exact)
    for scan in (reference.selective_scan, cpu.selective_scan):
        trial = inputs | {"state": inputs["state"].clone()}
        y = scan(**trial)
        assert y.dtype == torch.bfloat16
        assert trial["state"].dtype == torch.float32
        assert_close(trial["state"], state)  # to fp32's tolerance: nothing was rounded on the way
        # One rounding to bf16 is at most half a unit in the last of 8 bits.
        assert ((y.double() - wanted).abs() <= wanted.abs() * 2**-8 + 1e-4).all()


@pytest.mark.parametrize("w", [2, 4])
@pytest.mark.parametrize("sizes", [[1], [40], [1, 1, 5, 2, 31]])
def test_conv_is_torch_conv_and_carries_its_tail(w, sizes):
    g = torch.Generator().manual_seed(1)
    l, e = sum(sizes), 12
    x, weight, bias = (torch.randn(*s, generator=g) for s in ((l, e), (w, e), (e,)))
    padded = functional.pad(x.T[None], (w - 1, 0))
    wanted = functional.silu(functional.conv1d(padded, weight.T[:, None], bias, groups=e))[0].T
    tail = torch.zeros(w - 1, e)
    got = torch.cat([causal_conv(part, tail, weight, bias) for part in x.split(sizes)])
    assert_close(got, wanted)
    assert torch.equal(tail, functional.pad(x, (0, 0, w - 1, 0))[l:])


def attended(l: int, t: int):
    """Queries, keys, values and what the definition makes of them."""
    g = torch.Generator().manual_seed(2)
    h, k, p = 6, 2, 8
    q, keys, values = (torch.randn(*s, generator=g) for s in ((l, h, p), (k, t, p), (k, t, p)))
    wanted = torch.empty(l, h, p)
    for i in range(l):
        seen = t - l + i + 1
        for head in range(h):
            group = head // (h // k)
            scores = keys[group, :seen] @ q[i, head] / p**0.5
            wanted[i, head] = torch.softmax(scores, 0) @ values[group, :seen]
    return q, keys, values, wanted.reshape(l, h * p)


@pytest.mark.parametrize(("l", "t"), [(1, 1), (1, 77), (5, 5), (63, 63), (40, 130), (2, 500)])
@pytest.mark.parametrize("limit", [1 << 24, 300, None])
def test_attention_sees_all_before_and_nothing_after(monkeypatch, l, t, limit):
    if limit is not None:
        monkeypatch.setattr(attention_reference, "MASK_ELEMENTS", limit)
    attention = (attention_cpu if limit is None else attention_reference).attention
    q, keys, values, wanted = attended(l, t)
    assert_close(attention(q, keys, values), wanted)


@pytest.mark.parametrize(("l", "t"), [(1, 1), (5, 5), (63, 63), (40, 130), (150, 150), (16, 500)])
@pytest.mark.parametrize("scores", [1 << 21, 6000])
@pytest.mark.parametrize("products", [torch.bfloat16, torch.float16, torch.float32])
def test_attention_by_narrow_products_is_attention(monkeypatch, l, t, scores, products):
    monkeypatch.setattr(narrow, "SCORES", max(scores, 3 * t))
    q, keys, values, wanted = attended(l, t)
    assert_close(narrow.attention(q, keys, values, products), wanted, products)


def test_narrow_products_have_few_shapes_that_are_not_much_larger():
    widths = [narrow._width(seen) for seen in range(1, 8193)]
    assert len(set(widths)) == 20
    assert all(0 <= width - seen < max(128, seen / 4) for seen, width in enumerate(widths, 1))


def test_narrow_products_are_for_many_queries_and_a_bounded_number_of_keys(monkeypatch):
    asked = []
    monkeypatch.setattr(narrow, "attention", lambda q, k, v, dtype: asked.append(dtype))
    few, many = (torch.zeros(l, 6, 8) for l in (narrow.LEAST_QUERIES - 1, narrow.LEAST_QUERIES))
    for q, t in ((few, 100), (many, narrow.SCORES // (3 * narrow.LEAST_QUERIES) + 1)):
        keys = torch.zeros(2, t, 8)
        assert attention(q, keys, keys, torch.bfloat16) is not None
    keys = torch.zeros(2, 100, 8)
    assert attention(many, keys, keys) is not None
    assert attention(many, keys, keys, torch.float32) is not None
    assert asked == []
    attention(many, keys, keys, torch.bfloat16)
    assert asked == [torch.bfloat16]


def test_router_weights_are_softmax_over_all_experts_not_made_to_sum_to_one():
    g = torch.Generator().manual_seed(3)
    x, router = torch.randn(30, 8, generator=g), torch.randn(5, 8, generator=g)
    weights, experts = route(x, router, 3)
    probabilities = torch.softmax(x @ router.T, -1)
    assert_close(weights, probabilities.sort(descending=True).values[:, :3])
    assert torch.equal(experts, probabilities.argsort(descending=True)[:, :3])
    assert (weights.sum(-1) < 0.95).sum() > 5


def test_moe_is_the_weighted_sum_of_its_experts():
    g = torch.Generator().manual_seed(4)
    l, x, d, f, top_k = 33, 5, 8, 12, 2
    tokens, router = torch.randn(l, d, generator=g), torch.randn(x, d, generator=g)
    gate_up, down = torch.randn(x, 2 * f, d, generator=g), torch.randn(x, d, f, generator=g)
    weights, experts = route(tokens, router, top_k)
    wanted = torch.zeros(l, d)
    for i in range(l):
        for weight, expert in zip(weights[i], experts[i], strict=True):
            gate, up = gate_up[expert, :f] @ tokens[i], gate_up[expert, f:] @ tokens[i]
            wanted[i] += weight * (down[expert] @ (gate * torch.sigmoid(gate) * up))
    assert_close(moe(tokens, router, gate_up, down, top_k), wanted)


@pytest.mark.parametrize(
    ("way", "scheme"),
    [(by_rows, scheme) for scheme in ("none", "int8", "nf4")]
    + [(by_groups, scheme) for scheme in ("none", "int8", "fp8", "nf4")],
)  # fmt: skip
def test_the_gpu_ways_of_a_mixture_are_the_mixture(way, scheme):
    """Expert 1 is picked by none of the rows: a group may be empty."""
    g = torch.Generator().manual_seed(8)
    l, x, d, f, top_k = 33, 5, 64, 64, 2
    tokens, router = torch.randn(l, d, generator=g), torch.randn(x, d, generator=g)
    tokens[:, 0], router[1] = 1, 0
    router[1, 0] = -100
    gate_up, down = (torch.randn(*s, generator=g) / 8 for s in ((x, 2 * f, d), (x, d, f)))
    if scheme != "none":
        gate_up, down = (SCHEMES[scheme].quantize(weight) for weight in (gate_up, down))
    weights, experts = route(tokens, router, top_k)
    assert set(experts.flatten().tolist()) == {0, 2, 3, 4}
    got = way(tokens, weights, experts, gate_up, down)
    assert_close(got, moe(tokens, router, gate_up, down, top_k))


@pytest.mark.parametrize("scheme", ["none", *SCHEMES, *CPU_SCHEMES])
def test_a_feed_forward_of_more_rows_than_a_block_is_that_of_each_part(scheme):
    g = torch.Generator().manual_seed(10)
    l, d, f = 300, 64, 128
    x = torch.randn(l, d, generator=g)
    gate_up, down = (torch.randn(*s, generator=g) / 8 for s in ((2 * f, d), (d, f)))
    if scheme != "none":
        gate_up, down = ((SCHEMES | CPU_SCHEMES)[scheme].quantize(w) for w in (gate_up, down))
    rows = quantize_rows(x) if scheme == "fp8" else x  # as the norm before gives them
    parts = [swiglu(rows[at : at + 50], gate_up, down) for at in range(0, l, 50)]
    assert_close(swiglu(rows, gate_up, down), torch.cat(parts))


def test_picks_are_sorted_by_expert_and_then_by_token():
    experts = torch.randint(0, 5, (300, 2), generator=torch.Generator().manual_seed(9))
    experts[experts == 3] = 4  # picked by none
    tokens, places, ends = grouped(experts, 5)
    pairs = sorted((e, token) for token, both in enumerate(experts.tolist()) for e in both)
    assert tokens.tolist() == [token for _, token in pairs]
    assert ends.tolist() == [sum(e <= expert for e, _ in pairs) for expert in range(5)]
    owner = torch.searchsorted(ends, places, right=True)
    assert torch.equal(owner, experts)
    assert torch.equal(tokens[places], torch.arange(300)[:, None].expand(-1, 2))


def test_rms_norm_rounds_before_the_weight_as_the_family_does():
    g = torch.Generator().manual_seed(5)
    x, weight = torch.randn(9, 16, generator=g).bfloat16(), torch.randn(16, generator=g).bfloat16()
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.equal(rms_norm(x, weight, 1e-6), exact.to(torch.bfloat16) * weight)
    assert_close(rms_norm(x.float(), weight.float(), 1e-6), exact * weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1, 40])
@pytest.mark.parametrize("wide", [torch.float32, torch.bfloat16])
def test_linear_with_narrow_weights_is_the_product_with_those_weights(
    dtype, rows, wide, monkeypatch
):
    monkeypatch.setattr(linear_op, "wide_dtype", lambda: wide)  # on a machine of either kind
    g = torch.Generator().manual_seed(6)
    x, weight, bias = (torch.randn(*s, generator=g) for s in ((rows, 576), (50, 576), (50,)))
    narrow = weight.to(dtype)
    wanted = x.double() @ narrow.double().T + bias.double()
    got = linear(x, narrow, bias)
    assert got.dtype == torch.float32
    assert_close(got, wanted, dtype if rows <= FEW_ROWS else wide)
    assert_close(
        linear(x, narrow, bias, exact=True), wanted, dtype if rows <= FEW_ROWS else x.dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_swiglu_by_blocks_of_rows_is_swiglu(dtype):
    g = torch.Generator().manual_seed(7)
    l = 2 * BLOCK_ROWS + 3
    x, gate_up, down = (torch.randn(*s, generator=g) for s in ((l, 64), (96, 64), (64, 48)))
    gate, up = (x.double() @ gate_up.to(dtype).double().T).chunk(2, -1)
    wanted = (functional.silu(gate) * up) @ down.to(dtype).double().T
    got = swiglu(x, gate_up.to(dtype), down.to(dtype))
    assert_close(got, wanted, torch.bfloat16 if dtype == torch.float16 else dtype)


@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("target", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_converted_to_the_bits_of_pytorchs_own_conversion(source, target, monkeypatch):
    monkeypatch.setattr(linear_op, "CONVERTED_AT_ONCE", 1000)
    g = torch.Generator().manual_seed(8)
    weight = torch.randn(60, 50, generator=g).mul_(100).exp_().clamp_(1e-7, 6e4).to(source)
    for each in (weight, weight.T, weight[:, :3]):
        assert torch.equal(linear_op.converted(each, target), each.to(target))


@pytest.mark.skipif(wide_dtype() != torch.bfloat16, reason="this CPU has no 16-bit units")
@pytest.mark.parametrize("l", [FEW_ROWS + 1, onednn.BLOCK_ROWS + 3])
def test_the_gate_inside_of_products_is_nearer_than_the_gate_between_them(l, monkeypatch):
    g = torch.Generator().manual_seed(9)
    x, gate_up, down = (torch.randn(*s, generator=g) for s in ((l, 64), (96, 64), (64, 48)))
    gate_up, down = gate_up.half(), down.half()
    gate, up = (x.double() @ gate_up.double().T).chunk(2, -1)
    wanted = (functional.silu(gate) * up) @ down.double().T
    assert onednn.takes(x, gate_up, down)
    inside = swiglu(x, gate_up, down)
    monkeypatch.setattr(onednn, "_product", lambda: None)
    between = swiglu(x, gate_up, down)
    assert inside.dtype == between.dtype == torch.float32
    errors = [(got - wanted).square().mean() for got in (inside, between)]
    assert 0 < errors[0] < errors[1]


def test_the_gate_inside_of_products_is_for_many_rows_of_wider_activations():
    x, gate_up, down = torch.zeros(8, 64), torch.zeros(96, 64), torch.zeros(64, 48)
    assert not onednn.takes(x, gate_up, down)
    assert not onednn.takes(x.bfloat16(), gate_up.bfloat16(), down.bfloat16())
    assert not onednn.takes(x[:FEW_ROWS], gate_up.half(), down.half())
    assert not onednn.takes(x, SCHEMES["int8"].quantize(gate_up), down.half())
