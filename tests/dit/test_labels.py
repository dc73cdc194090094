"""The label table: rows, the null label, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from unimm.dit.labels import LabelTable


def test_a_label_is_its_row_and_a_dropped_one_the_last():
    table = LabelTable(3, 4)
    vectors = table(torch.tensor([2, 0]), torch.tensor([False, True]))
    assert torch.equal(vectors, table.table.weight[[2, 3]])
    assert torch.equal(table(torch.tensor([1])), table.table.weight[[1]])


def test_gradients_reach_the_rows_that_were_taken():
    table = LabelTable(3, 4)
    table(torch.tensor([2, 0]), torch.tensor([False, True])).sum().backward()
    assert table.table.weight.grad.sum(1).tolist() == [0, 0, 4, 4]


def test_without_a_null_label_nothing_can_be_dropped():
    table = LabelTable(3, 4, guidable=False)
    assert table.table.weight.shape == (3, 4)
    with pytest.raises(ValueError, match="guidance_scale"):
        table(torch.tensor([0]), torch.tensor([True]))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 3]), "labels: expected 0 to 2, got 0 to 3"),
        (torch.tensor([-1]), "got -1 to -1"),
        (torch.tensor([0.0]), "labels: expected integers, got torch.float32"),
        (torch.tensor([[0]]), r"labels: expected \[B\]"),
    ],
)
def test_the_door_refuses(labels, said):
    with pytest.raises(ValueError, match=said):
        LabelTable(3, 4)(labels)


def test_the_look_up_is_one_graph():
    table = LabelTable(3, 4)
    compiled = torch.compile(table, fullgraph=True, backend="eager")
    labels, dropped = torch.tensor([2, 0]), torch.tensor([False, True])
    assert torch.equal(compiled(labels, dropped), table(labels, dropped))
