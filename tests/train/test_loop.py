"""A run of the toy family from start to end, seen through its folder."""

from __future__ import annotations

from .conftest import Make, told, train


def test_toy_trains(make: Make) -> None:
    run = make()
    assert train(run) == "finished"
    for e in told(run):
        print(e)
    assert [e["kind"] for e in told(run)][0] == "attempt"
