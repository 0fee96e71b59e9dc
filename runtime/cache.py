"""What the model remembers of the tokens it has read: one state a layer, and the position.

An attention layer keeps keys and values of every token.  A Mamba layer keeps two small tensors
whose size does not grow; they are valid only at the exact token count at which they were left,
so going back needs a snapshot taken there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from runtime.config import JambaConfig
from runtime.errors import JambaError


@dataclass(slots=True)
class AttentionState:
    """Keys and values, each [k, max_tokens, p]; rows [:, :length] are filled."""

    k: Tensor
    v: Tensor
    length: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self.k.nbytes + self.v.nbytes

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds k, v [l, k, p] and returns all keys and values so far, [k, t, p]."""
        end = self.length + k.shape[0]
        self.k[:, self.length : end] = k.transpose(0, 1)
        self.v[:, self.length : end] = v.transpose(0, 1)
        self.length = end
        return self.k[:, :end], self.v[:, :end]


@dataclass(slots=True)
class MambaState:
    """conv [w-1, e]: the last inputs of the convolution; ssm [n, e] fp32: the recurrent state."""

    conv: Tensor
    ssm: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self.conv.nbytes + self.ssm.nbytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A point to come back to: Mamba states are copied, keys and values stay in the cache."""

    position: int
    mamba: tuple[tuple[Tensor, Tensor], ...]

    @property
    def nbytes(self) -> int:
        """Bytes held by the copies."""
        return sum(conv.nbytes + ssm.nbytes for conv, ssm in self.mamba)


@dataclass(slots=True, eq=False, weakref_slot=True)
class HybridCache:
    """One state a layer of one sequence, and how many tokens they cover; equal only to itself."""

    states: list[AttentionState | MambaState]
    max_tokens: int
    position: int = 0
    _snapshots: list[Snapshot] = field(default_factory=list)

    @classmethod
    def create(
        cls, config: JambaConfig, max_tokens: int, *, device: torch.device, dtype: torch.dtype
    ) -> HybridCache:
        """Allocates empty states for up to `max_tokens` tokens; `dtype` is the activations'."""
        states: list[AttentionState | MambaState] = []
        e, kv_shape = config.mamba_inner_size, (config.num_kv_heads, max_tokens, config.head_dim)
        for kind in config.layer_kinds:
            if kind.mixer == "attention":
                k, v = (torch.zeros(kv_shape, device=device, dtype=dtype) for _ in "kv")
                states.append(AttentionState(k, v))
            else:
                conv = torch.zeros(config.mamba_d_conv - 1, e, device=device, dtype=dtype)
                ssm = torch.zeros(config.mamba_d_state, e, device=device, dtype=torch.float32)
                states.append(MambaState(conv, ssm))
        return cls(states, max_tokens)

    @property
    def mamba_states(self) -> list[MambaState]:
        """The states of the Mamba layers, in layer order."""
        return [state for state in self.states if isinstance(state, MambaState)]

    @property
    def attention_states(self) -> list[AttentionState]:
        """The states of the attention layers, in layer order."""
        return [state for state in self.states if isinstance(state, AttentionState)]

    @property
    def nbytes(self) -> int:
        """Bytes allocated by all states."""
        return sum(state.nbytes for state in self.states)

    @property
    def ssm_nbytes(self) -> int:
        """Bytes of the states that are carried from chunk to chunk whatever the length."""
        return sum(state.nbytes for state in self.mamba_states)

    @property
    def kv_nbytes_used(self) -> int:
        """Bytes of keys and values that are filled."""
        return sum(s.nbytes * s.length // self.max_tokens for s in self.attention_states)

    def advance(self, tokens: int) -> None:
        """Counts tokens that every layer has now seen."""
        self.position += tokens

    def reset(self) -> None:
        """Forgets everything."""
        for state in self.mamba_states:
            state.conv.zero_()
            state.ssm.zero_()
        self._go_to(0)

    def snapshot(self) -> Snapshot:
        """Copies what can't be recomputed, so that `restore` can come back to this position."""
        copies = tuple((state.conv.clone(), state.ssm.clone()) for state in self.mamba_states)
        snapshot = Snapshot(self.position, copies)
        self._snapshots.append(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of this cache; later snapshots become invalid."""
        if not any(snapshot is known for known in self._snapshots):
            raise JambaError(
                f"snapshot at token {snapshot.position:,} is not of this cache, or lies past a "
                "point that the cache went back to",
                hint="prefill again from an earlier snapshot or from the start",
            )
        for state, (conv, ssm) in zip(self.mamba_states, snapshot.mamba, strict=True):
            state.conv.copy_(conv)
            state.ssm.copy_(ssm)
        self._go_to(snapshot.position)

    def forget(self, snapshot: Snapshot) -> None:
        """Gives up a snapshot: nothing comes back to it any more, and its memory is free."""
        self._snapshots = [known for known in self._snapshots if known is not snapshot]

    def truncate(self, tokens: int) -> None:
        """Forgets all after `tokens` tokens; raises JambaError unless a snapshot is there."""
        if tokens == self.position:
            return
        if tokens == 0:
            self.reset()
            return
        for snapshot in self._snapshots:
            if snapshot.position == tokens:
                self.restore(snapshot)
                return
        places = ", ".join(f"{s.position:,}" for s in self._snapshots) or "none"
        raise JambaError(
            f"can't go back to token {tokens:,}: a Mamba state is valid only at its exact token "
            f"count (snapshots: {places})",
            hint="take a snapshot where you want to come back to",
        )

    def filled(self, position: int) -> None:
        """Says that every state was filled from outside, with `position` tokens."""
        self._snapshots = []
        self._go_to(position)

    def _go_to(self, position: int) -> None:
        for state in self.attention_states:
            state.length = position
        self.position = position
        self._snapshots = [s for s in self._snapshots if s.position <= position]
