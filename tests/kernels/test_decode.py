"""Decode steps made of kernels, by the interpreter, and how many kernels a step takes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

triton = pytest.importorskip("triton")

from runtime.config import JambaConfig  # noqa: E402
from runtime.decode import Decoder  # noqa: E402
from runtime.devices import EXACT  # noqa: E402
from runtime.engine import Engine  # noqa: E402
from runtime.quantization import named  # noqa: E402
from runtime.sampling import SamplingParams  # noqa: E402
from runtime.shapes import SHAPES, random_model  # noqa: E402
from tests.conftest import forget_dispatch  # noqa: E402
from tests.helpers import GOLDEN, assert_close, golden  # noqa: E402
from tests.kernels.conftest import NOT_INTERPRETED  # noqa: E402

pytestmark = pytest.mark.skipif(bool(NOT_INTERPRETED), reason=NOT_INTERPRETED)

PARAMS = SamplingParams(max_tokens=3)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("default", "none"), ("odd", "none"), ("dense-tied", "none"), ("options", "none"),
     ("default", "int8"), ("default", "fp8"), ("default", "nf4")],
)  # fmt: skip
def test_steps_write_what_the_ordinary_forward_writes(fresh_dispatch, name, scheme):
    ids = golden(name)[0][:40]
    engine = Engine.load(GOLDEN / name, device="cpu", precision=EXACT, scheme=scheme)
    memory = engine.new_cache(60)
    logits = engine.prefill(ids, memory)
    here = memory.snapshot()
    wanted = [token.id for token in engine.generate(memory, logits, PARAMS, stop_ids=())]
    states = [(state.conv.clone(), state.ssm.clone()) for state in memory.mamba_states]
    rows = [state.k[:, 40:43].clone() for state in memory.attention_states]
    memory.restore(here)
    for state in memory.attention_states:
        state.k[:, 40:], state.v[:, 40:] = torch.nan, torch.nan
    fresh_dispatch.setenv("JAMBA_KERNELS", "triton")
    forget_dispatch()
    engine.decoder = Decoder(engine.model, engine.device, plain=True)
    fresh_dispatch.setattr(engine.model, "forward", None)
    got = [token.id for token in engine.generate(memory, logits, PARAMS, stop_ids=())]
    assert got == wanted
    assert memory.position == 43
    for state, (conv, ssm) in zip(memory.mamba_states, states, strict=True):
        assert_close(state.conv, conv)
        assert_close(state.ssm, ssm)
    for state, k in zip(memory.attention_states, rows, strict=True):
        assert state.length == 43
        assert_close(state.k[:, 40:43], k)


VIEWS = {
    "view", "_unsafe_view", "split", "split_with_sizes", "select", "slice", "expand", "t",
    "unsqueeze", "transpose", "alias", "detach", "_reshape_alias", "empty", "empty_strided",
    "reshape", "permute", "as_strided", "chunk", "new_empty",
}  # fmt: skip
"""Operations of PyTorch that launch nothing."""


class Launches(TorchDispatchMode):
    """Counts what would be launched on a GPU: kernels of Triton, and PyTorch's that compute."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        interpreted = type(_kernel())
        getitem, found = interpreted.__getitem__, self.names

        def launch(kernel, grid):
            found[kernel.__name__] += 1
            run = getitem(kernel, grid)

            def outside(*args, **options):
                with torch.utils._python_dispatch._disable_current_modes():
                    return run(*args, **options)

            return outside

        monkeypatch.setattr(interpreted, "__getitem__", launch)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.names[name] += 1
        return func(*args, **kwargs or {})


def _kernel():
    from runtime.ops.norm.kernel import rms_norm_kernel

    return rms_norm_kernel


def test_a_step_of_a_jamba_mini_is_289_kernels(fresh_dispatch):
    """The layers of a Mini, in miniature; the figure stands in docs and docstrings."""
    narrow = {
        "hidden_size": 16, "intermediate_size": 16, "vocab_size": 32, "num_attention_heads": 4,
        "num_key_value_heads": 1,
    }  # fmt: skip
    config = JambaConfig.from_dict(SHAPES["mini"] | narrow)
    cpu = torch.device("cpu")
    engine = Engine(random_model(config, cpu, EXACT, named("int8", ())), cpu, EXACT)
    memory = engine.new_cache(64)
    fresh_dispatch.setenv("JAMBA_KERNELS", "triton")
    forget_dispatch()
    step = Decoder(engine.model, engine.device, plain=True).step(memory)
    assert step is not None
    with Launches(fresh_dispatch) as launches:
        step._compute()
    assert launches.names.total() == 289, launches.names
