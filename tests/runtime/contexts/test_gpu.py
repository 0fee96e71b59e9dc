"""The same on a CUDA device, where bytes go through pinned memory on a stream of their own."""

from __future__ import annotations

import pytest
import torch

from runtime.engine import Engine
from tests.helpers import GOLDEN, golden
from tests.runtime.contexts.reading import read
from tests.runtime.contexts.test_restore import check_every_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]


@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize("name", ["default", "odd"])
def test_every_checkpoint_on_a_gpu(name, chunk, store):
    engine = Engine.load(GOLDEN / name, device="cuda")
    check_every_checkpoint(engine, golden(name)[0], store, chunk)
    assert store.verify(store.contexts()[0]) == []


@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
def test_every_scheme_on_a_gpu(scheme, chunk, store):
    engine = Engine.load(GOLDEN / "default", device="cuda", scheme=scheme)
    check_every_checkpoint(engine, golden("default")[0], store, chunk)


def test_damage_is_noticed_on_a_gpu(store):
    engine, ids = Engine.load(GOLDEN / "default", device="cuda"), golden("default")[0]
    first, _ = read(engine, ids, store)
    (context,) = store.contexts()
    segment = context.segments[1]
    path = context.path / segment.file
    data = bytearray(path.read_bytes())
    data[segment.state_offset - 100] ^= 1  # of the keys and values, which are needed
    path.write_bytes(data)
    again, _ = read(engine, ids, store)
    assert again.reused == context.segments[0].end
    assert torch.equal(again.logits, first.logits)
