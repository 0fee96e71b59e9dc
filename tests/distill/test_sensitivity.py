"""Where four bits cost most, on a toy student."""

from __future__ import annotations

import pytest
import torch

from runtime.distill.initialize import initial_tensors
from runtime.distill.sensitivity import Cost, choose, layers_by_part, measure
from runtime.distill.student import Student, StudentConfig
from runtime.distill.teacher import unpermute_rope
from tests.distill.toys import VOCAB, toy_teacher


@pytest.fixture
def student() -> Student:
    config = StudentConfig(layers=3, ff=128, vocab=VOCAB)
    tensors = initial_tensors(config, unpermute_rope(toy_teacher(3)))
    return Student(config, tensors, torch.float32)


def test_noise_costs_where_it_reaches_the_output_and_is_taken_back(student: Student) -> None:
    with torch.no_grad():
        student.parameters["model.layers.1.feed_forward.down_proj.weight"].zero_()
    ids = torch.arange(40)[None] + 3
    before = student.forward(ids)
    costs = measure(student, ids)
    silent = {cost.name for cost in costs if cost.kl == 0}
    parts = ("gate_proj", "up_proj", "down_proj")
    assert silent == {f"model.layers.1.feed_forward.{part}.weight" for part in parts}
    rates = [cost.kl / cost.extra_bytes for cost in costs]
    assert rates == sorted(rates, reverse=True)
    assert torch.equal(student.forward(ids), before)


def test_what_is_dearest_for_its_bytes_goes_to_int8_while_it_fits() -> None:
    name = "model.layers.{}.feed_forward.{}_proj.weight".format
    costs = [
        Cost(name(11, "down"), 0.5, 40),
        Cost(name(4, "up"), 0.3, 50),
        Cost(name(2, "down"), 0.1, 20),
    ]
    assert layers_by_part(choose(costs, 65)) == {"down_proj": (2, 11)}
    assert layers_by_part(choose(costs, 110)) == {"down_proj": (2, 11), "up_proj": (4,)}
    assert choose(costs, 10) == []
