"""Layers of any module become quantized ones, and say what they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quant.experts import QuantExperts
from quant.linear import QuantLinear, quantize_
from quant.ops.dequantize import dequantize
from quant.schemes import SCHEMES
from tests.helpers import assert_close


class Stacks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(3, 16, 64))
        self.down = nn.Parameter(torch.randn(3, 8, 64))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.inner = nn.ModuleList([nn.Linear(64, 8, bias=False), nn.Linear(60, 8)])
        self.experts = Stacks()


@pytest.mark.parametrize("name", SCHEMES)
def test_selected_layers_are_replaced_and_compute_the_same_within_the_scheme(name):
    torch.manual_seed(0)
    net = Net()
    before, stacks = net.first, net.experts.gate_up.data
    done = quantize_(net, SCHEMES[name], {"first", "experts", "inner.1"}.__contains__)
    fits = ["first", "experts"] if name == "nf4" else ["first", "inner.1", "experts"]
    assert done == fits
    assert isinstance(net.first, QuantLinear)
    assert isinstance(net.inner[0], nn.Linear)
    assert isinstance(net.experts, QuantExperts)
    x = torch.randn(3, 64)
    restored = dequantize(net.first.weight, torch.float32)
    assert_close(net.first(x), x @ restored.T + before.bias)
    assert torch.allclose(dequantize(net.experts.gate_up, torch.float32), stacks, atol=0.5)
    held = sum(p.nbytes for p in net.experts.parameters())
    assert held == net.experts.gate_up.nbytes + net.experts.down.nbytes


def test_on_the_meta_device_only_the_structure_changes():
    with torch.device("meta"):
        net = Net()
    quantize_(net, SCHEMES["int8"], {"first"}.__contains__)
    assert isinstance(net.first, QuantLinear)
    assert net.first.codes.is_meta
    assert net.first.weight.shape == (12, 64)
