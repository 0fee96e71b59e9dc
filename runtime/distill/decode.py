"""Greedy decoding with carried state, batched: what the evaluation runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from runtime.distill.scan import scan_with_state
from runtime.distill.student import Student, attention_post, attention_pre, mamba_post, mamba_pre
from runtime.distill.teacher import HEAD_DIM, grouped_attention, rms_norm


@dataclass(slots=True)
class State:
    """A sequence's (or batch's) state: per layer (conv, ssm) or (keys, values)."""

    layers: list[tuple[Tensor, Tensor]]
    length: int


@torch.no_grad()
def prefill(student: Student, ids: Tensor) -> tuple[Tensor, State]:
    """ids [l] -> the last token's normalized state [1, d], and the state to go on from."""
    config = student.config
    x = functional.embedding(ids, student.embedding)
    layers = []
    for index in range(config.layers):
        ff = student.feed_forward_weights(index)
        if config.is_attention(index):
            weights = student.attention_weights(index)
            q, k, v = attention_pre(x, weights, 1)
            x = attention_post(x, grouped_attention(q, k, v).reshape(x.shape), weights[4], ff)
            layers.append((k, v))
            continue
        pre, (A, D, bias) = student.mamba_weights(index)
        flat = mamba_pre(x, pre, student.past(1, len(ids)))
        gated, ssm = scan_with_state(*_scan_inputs(flat, A, D, bias))
        before = rms_norm(x[-config.conv + 1 :], pre[0]) @ pre[1][: config.inner].to(x.dtype).t()
        conv = functional.pad(before.t(), (config.conv - 1 - len(before), 0))[
            None
        ]  # [1, e, conv-1]
        (out,) = student.layer_weights(index, "mamba.out_proj.weight")
        x = mamba_post(x, gated[0], out, ff)
        layers.append((conv, ssm))
    return student.finish(x[-1:]), State(layers, len(ids))


def _scan_inputs(flat: list[Tensor], A: Tensor, D: Tensor, bias: Tensor) -> list[Tensor]:
    u, dt, B, C, z = (part[None].contiguous() for part in flat)
    return [u, dt, A, B, C, D, z, bias]


def _mamba_step(
    student: Student, index: int, x: Tensor, conv: Tensor, ssm: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x [b, d], conv [b, e, 3], ssm [b, e, n] -> gated output [b, e] and the new states."""
    pre, (A, D, bias) = student.mamba_weights(index)
    norm, in_proj, taps, conv_bias, x_proj, dt_norm, b_norm, c_norm, dt_proj = pre
    dtype, e, r = x.dtype, student.config.inner, student.config.dt_rank
    n = student.config.state
    both = functional.linear(rms_norm(x, norm), in_proj.to(dtype))
    window = torch.cat([conv, both[:, :e, None]], -1)
    u = functional.silu((window * taps.to(dtype)[:, 0]).sum(-1) + conv_bias.to(dtype))
    low = functional.linear(u, x_proj.to(dtype))
    step = functional.linear(rms_norm(low[:, :r], dt_norm), dt_proj.to(dtype)).float() + bias
    step = functional.softplus(step)
    B = rms_norm(low[:, r : r + n], b_norm).float()
    C = rms_norm(low[:, r + n :], c_norm).float()
    entering = (step * u.float())[..., None] * B[:, None]
    ssm = torch.exp(step[..., None] * A) * ssm + entering
    y = (ssm * C[:, None]).sum(-1) + D * u.float()
    return (y * functional.silu(both[:, e:].float())).to(dtype), window[:, :, 1:], ssm


def stack_states(states: list[State], room: int) -> list[tuple[Tensor, Tensor]]:
    """One batch of many states; keys and values padded to the longest plus `room`."""
    longest = max(state.length for state in states) + room
    stacked = []
    for parts in zip(*(state.layers for state in states), strict=True):
        if parts[0][0].dim() == 4:
            padded = [
                tuple(functional.pad(item, (0, 0, 0, longest - item.shape[2])) for item in pair)
                for pair in parts
            ]
            stacked.append(
                (torch.cat([pair[0] for pair in padded]), torch.cat([pair[1] for pair in padded]))
            )
        else:
            stacked.append(
                (torch.cat([pair[0] for pair in parts]), torch.cat([pair[1] for pair in parts]))
            )
    return stacked


@torch.no_grad()
def decode_step(
    student: Student, x: Tensor, layers: list[tuple[Tensor, Tensor]], lengths: Tensor, mask: Tensor
) -> Tensor:
    """One token of each sequence, x [b, d]; `layers` is updated in place."""
    batch = len(x)
    rows = torch.arange(batch, device=x.device)
    for index in range(student.config.layers):
        ff = student.feed_forward_weights(index)
        first, second = layers[index]
        if student.config.is_attention(index):
            weights = student.attention_weights(index)
            q, k, v = attention_pre(x, weights, batch)
            first[rows, :, lengths] = k[:, :, 0]
            second[rows, :, lengths] = v[:, :, 0]
            grouped = q.reshape(batch, first.shape[1], -1, HEAD_DIM)
            mixed = functional.scaled_dot_product_attention(grouped, first, second, attn_mask=mask)
            x = attention_post(x, mixed.reshape(batch, -1), weights[4], ff)
            continue
        y, conv, ssm = _mamba_step(student, index, x, first, second)
        (out,) = student.layer_weights(index, "mamba.out_proj.weight")
        x = mamba_post(x, y.t(), out, ff)
        layers[index] = conv, ssm
    return student.finish(x)


@torch.no_grad()
def generate(
    student: Student, prompts: list[list[int]], max_new: int, stop: int, batch: int = 64
) -> list[list[int]]:
    """Greedy continuations, without the stop token; one that never stops has `max_new` tokens."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    for at in range(0, len(order), batch):
        chosen = order[at : at + batch]
        made = _generate_batch(student, [prompts[index] for index in chosen], max_new, stop)
        for index, answer in zip(chosen, made, strict=True):
            answers[index] = answer
    return answers


def _generate_batch(
    student: Student, prompts: list[list[int]], max_new: int, stop: int
) -> list[list[int]]:
    device = student.embedding.device
    made = [prefill(student, torch.tensor(prompt, device=device)) for prompt in prompts]
    layers = stack_states([state for _, state in made], max_new)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    places = torch.arange(int(lengths.max()) + max_new, device=device)
    last = torch.cat([hidden for hidden, _ in made])
    out = torch.full((len(prompts), max_new), stop, device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(max_new):
        token = (last @ student.embedding.t()).float().argmax(-1)
        token = torch.where(done, stop, token)
        out[:, step] = token
        done |= token == stop
        if step % 16 == 15 and bool(done.all()):
            break
        mask = (places <= lengths[:, None])[:, None, None]
        x = functional.embedding(token, student.embedding)
        last = decode_step(student, x, layers, lengths, mask)
        lengths = lengths + 1
    rows = out.tolist()
    return [row[: row.index(stop)] if stop in row else row for row in rows]


@torch.no_grad()
def prefill_hidden(student: Student, ids: Tensor) -> Tensor:
    """ids [l] -> the normalized states of all tokens [l, d], without compiled pieces."""
    x = functional.embedding(ids, student.embedding)
    for index in range(student.config.layers):
        x = student.layer(index, x, 1)
    return student.finish(x)
