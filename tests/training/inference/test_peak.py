"""unimm.training.inference.peak: what is made counts while it is held, and nothing else does."""

from __future__ import annotations

import torch

from unimm.training.inference.peak import Peak


def test_the_most_that_is_held_at_once_counts():
    with Peak() as peak:
        a = torch.zeros(100)
        b = a + 1
        del a
        c = b[:50] * 2
    assert peak.most == 800, "a and b; then b and half of it"
    assert peak.now == 400 + 200
    del b, c
    assert peak.now == 0


def test_views_what_is_written_in_place_and_what_was_there_do_not_count():
    before = torch.zeros(100, dtype=torch.bfloat16)
    with Peak() as peak:
        before.add_(1)
        seen = before.view(10, 10).mT[:3]
        assert peak.most == 0
        made = seen.contiguous()
        again = made.reshape(-1)[2:]
    assert peak.most == 60
    assert len(again) == 28


def test_what_was_counted_before_is_let_go_of_after_it_ends():
    with Peak() as peak:
        kept = [torch.ones(8) for _ in range(3)]
    kept.clear()
    torch.ones(1000)
    assert (peak.now, peak.most) == (0, 96)
