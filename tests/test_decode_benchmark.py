"""What the benchmarks of a decode step reckon, which needs no GPU."""

from __future__ import annotations

from tests.benchmarks.decode_step import Span, added
from tests.benchmarks.tune_gemv import CHOICES, search


def test_a_kernel_adds_what_it_ends_later_than_the_one_before():
    """The second begins while the first runs, and the list is in no order."""
    spans = [Span("norm", 5, 14), Span("gemv", 1, 10), Span("gemv", 13, 20)]
    assert added(spans) == {
        ("", "gemv", "norm"): [9],
        ("gemv", "norm", "gemv"): [4],
        ("norm", "gemv", ""): [6],
    }
    assert added([]) == {}


def test_the_search_keeps_what_is_faster_by_more_than_the_noise():
    wanted = {1500: (4, 4), 0: (8, 8)}

    def measure(settings):
        off = sum(settings[least] != wanted[least] for least in settings)
        return 5 + off + 0.001 * CHOICES.index(settings[0])

    best, lowest, lines = search({1500: (4, 2), 0: (8, 4)}, measure)
    assert best == wanted
    assert lowest == measure(wanted)
    assert len(lines) == 2


def test_noise_changes_nothing():
    start = {0: (4, 1)}
    best, lowest, _ = search(start, lambda settings: 5 - 0.001 * CHOICES.index(settings[0]) / 9)
    assert (best, lowest) == (start, 5)
