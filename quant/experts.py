"""The experts of a layer, stacked and quantized: most of a mixture's weights."""

from __future__ import annotations

from torch import nn

from quant.tensor import QuantWeight, SchemeName


class QuantExperts(nn.Module):
    """gate_up [x, 2f, d] and down [x, d, f], one scheme for both."""

    def __init__(self, gate_up: QuantWeight, down: QuantWeight) -> None:
        super().__init__()
        self.scheme: SchemeName = gate_up.scheme
        self.gate_up_codes = nn.Parameter(gate_up.codes, requires_grad=False)
        self.gate_up_scale = nn.Parameter(gate_up.scale, requires_grad=False)
        self.down_codes = nn.Parameter(down.codes, requires_grad=False)
        self.down_scale = nn.Parameter(down.scale, requires_grad=False)

    @property
    def gate_up(self) -> QuantWeight:
        """The gates' and the ups' weights of all experts, gate first."""
        return QuantWeight(self.scheme, self.gate_up_codes, self.gate_up_scale)

    @property
    def down(self) -> QuantWeight:
        """The downs' weights of all experts."""
        return QuantWeight(self.scheme, self.down_codes, self.down_scale)
