"""A cache can be left and come back to, and refuses what is not exact."""

from __future__ import annotations

import pytest
import torch

from runtime.cache import HybridCache
from runtime.errors import JambaError
from tests.helpers import assert_close, golden, golden_engine


@pytest.fixture(scope="module")
def model():
    return golden_engine("default")


@pytest.fixture(scope="module")
def ids():
    return golden("default")[0]


def test_restoring_a_snapshot_continues_as_if_nothing_came_between(model, ids):
    memory = model.new_cache(150)
    model.prefill(ids[:70], memory)
    snapshot = memory.snapshot()
    model.prefill(list(reversed(ids))[:60], memory)
    memory.restore(snapshot)
    assert memory.position == 70
    assert_close(model.prefill(ids[70:], memory), golden("default")[1][-1])


def test_a_snapshot_past_the_point_of_return_is_refused(model, ids):
    memory = model.new_cache(150)
    model.prefill(ids[:30], memory)
    early = memory.snapshot()
    model.prefill(ids[30:60], memory)
    late = memory.snapshot()
    memory.restore(early)
    model.prefill(ids[60:90], memory)  # other tokens stand at 30..60 now
    with pytest.raises(JambaError, match="60"):
        memory.restore(late)
    with pytest.raises(JambaError):
        model.new_cache(150).restore(early)


def test_truncate_goes_only_where_a_snapshot_is(model, ids):
    memory = model.new_cache(150)
    model.prefill(ids[:30], memory)
    memory.snapshot()
    model.prefill(ids[30:50], memory)
    with pytest.raises(JambaError, match=r"token 40.*snapshots: 30"):
        memory.truncate(40)
    assert memory.position == 50
    memory.truncate(30)
    assert_close(model.prefill(ids[30:], memory), golden("default")[1][-1])
    memory.truncate(0)
    assert_close(model.prefill(ids, memory), golden("default")[1][-1])


def test_sizes_are_those_of_the_tensors(model):
    config = model.config
    memory = HybridCache.create(config, 100, device=torch.device("cpu"), dtype=torch.bfloat16)
    kv_per_token = 2 * config.num_kv_heads * config.head_dim * 2 * config.count("attention")
    state = config.mamba_inner_size * (config.mamba_d_state * 4 + (config.mamba_d_conv - 1) * 2)
    assert memory.nbytes == 100 * kv_per_token + config.count("mamba") * state
    assert memory.ssm_nbytes == config.count("mamba") * state
    assert memory.snapshot().nbytes == memory.ssm_nbytes
    assert all(s.ssm.dtype == torch.float32 for s in memory.mamba_states)
