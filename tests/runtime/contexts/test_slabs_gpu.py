"""Slabs of pinned memory on a CUDA device: few, used in turn, given back whatever happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from runtime.contexts import reader, saved, slabs
from runtime.contexts.layout import Region
from runtime.contexts.slabs import Slabs, byte_views
from runtime.contexts.transfer import Frozen
from runtime.engine import Engine
from tests.helpers import GOLDEN, golden
from tests.runtime.contexts.reading import read, same_bits
from tests.runtime.contexts.test_slabs import fill, harmed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]

PIECE = 4_096
COUNT = 3


@pytest.fixture
def transfer(monkeypatch):
    """One with few small slabs."""
    from runtime.contexts import transfer_cuda

    monkeypatch.setattr(slabs, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(transfer_cuda, "PIECE_BYTES", PIECE)
    memory = torch.empty(COUNT * PIECE, dtype=torch.uint8, pin_memory=True)
    own = Slabs(memory, transfer_cuda._event)
    monkeypatch.setattr(transfer_cuda, "_slabs", lambda _: own)
    return transfer_cuda.CudaTransfer(torch.device("cuda"))


def free(transfer):
    from runtime.contexts import transfer_cuda

    return transfer_cuda._slabs(transfer.device)._free.qsize()


def rows(heads, length, width, dtype=torch.bfloat16):
    """Keys of a cache that has more room, as a region."""
    cache = torch.zeros(heads, length + 9, width, device="cuda", dtype=dtype)
    return Region("0.k", cache[:, 4 : 4 + length], dtype)


SIZES = [
    (1, 1, 8),
    (3, 5, 8),
    (2, 256, 8),
    (2, 257, 8),
    (5, 100, 16),
    (3, 1_000, 16),
    (8, 333, 128),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_what_is_landed_is_there_and_comes_back(size, dtype, transfer):
    region = rows(*size, dtype)
    wanted = torch.randn(size).to(dtype)
    data = b"".join(bytes(view) for view in byte_views(wanted))
    transfer.begin()
    fill(transfer, region, data, limit=PIECE)
    transfer.finish()
    assert torch.equal(region.tensor.cpu(), wanted)
    assert free(transfer) == COUNT
    done = torch.cuda.Event()
    done.record()
    views = transfer.fetch(Frozen(None, done), [region])
    assert b"".join(bytes(view) for view in views) == data


def test_another_dtype_is_converted(transfer):
    target = torch.zeros(3, 4_000, device="cuda", dtype=torch.bfloat16)
    wanted = torch.randn(3, 4_000)
    transfer.begin()
    region = Region("0.conv", target, torch.float32)
    fill(transfer, region, wanted.numpy().tobytes(), limit=PIECE)
    transfer.finish()
    assert torch.equal(target.cpu(), wanted.bfloat16())


def test_more_threads_than_slabs(transfer):
    regions = [rows(3, 500 + 37 * i, 16, torch.float32) for i in range(12)]
    wanted = [torch.randn(region.shape) for region in regions]
    transfer.begin()
    with ThreadPoolExecutor(12) as pool:
        jobs = [
            pool.submit(fill, transfer, region, numbers.numpy().tobytes(), limit=PIECE)
            for region, numbers in zip(regions, wanted, strict=True)
        ]
        for job in jobs:
            job.result(timeout=60)
    transfer.finish()
    assert all(torch.equal(r.tensor.cpu(), w) for r, w in zip(regions, wanted, strict=True))
    assert free(transfer) == COUNT


@pytest.mark.parametrize("number", [0, 2, -1])
def test_damage_leaves_the_cache_empty_and_the_slabs_free(number, store, transfer, monkeypatch):
    monkeypatch.setattr(saved, "transfer_for", lambda _: transfer)
    engine, ids = Engine.load(GOLDEN / "default", device="cuda"), golden("default")[0]
    first, cache = read(engine, ids, store)
    (context,) = store.contexts()
    match = store.lookup(context.identity, ids).matches[0]
    path = context.path / context.segments[number].file
    sound = path.read_bytes()
    for harm in harmed(context.segments[number], sound, 0.5, last=number == -1):
        path.write_bytes(harm)
        emptied = engine.new_cache(len(ids))
        with pytest.raises(reader.SegmentError, match=path.name):
            reader.restore(match, ids, emptied, transfer, torch.empty(engine.config.vocab_size))
        assert emptied.position == 0
        assert not any(s.ssm.any() or s.conv.any() for s in emptied.mamba_states)
        assert free(transfer) == COUNT
    path.write_bytes(sound)
    again, restored = read(engine, ids, store)
    assert again.reused == len(ids)
    assert torch.equal(again.logits, first.logits)
    assert same_bits(cache, restored)


def test_slabs_are_pinned_once_a_device():
    from runtime.contexts.transfer_cuda import CudaTransfer, _slabs

    one, other = (CudaTransfer(torch.device(name)) for name in ("cuda", "cuda:0"))
    one.begin()
    other.begin()
    assert _slabs(one.device) is _slabs(other.device)
