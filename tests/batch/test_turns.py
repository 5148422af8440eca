"""Whose turn it is among runs of one process, and how their calls of the network become one."""

import pytest
import torch

from dream3d.batch.together import Call, Turns, joined, kind
from dream3d.types import Cameras, Embedding, Render


def played(count, make):
    turns = Turns(count)
    turns.play(lambda seat: make(turns, seat))
    return turns


def test_whose_turn_it_is_follows_from_the_list_alone():
    """Runs of other lengths, among them one that never asks."""
    for _ in range(5):
        order, rows = [], []

        def network(x, rows=rows):
            rows.append(x.tolist())
            return 2 * x

        def make(turns, seat, order=order, network=network):
            for i in range((3, 0, 1, 2)[seat]):
                order.append((seat, i))
                assert turns.ask(seat, Call(network, (torch.tensor([10.0 * seat + i]),))).tolist() == [20.0 * seat + 2 * i]
            order.append((seat, "end"))

        played(4, make)
        assert order == [(0, 0), (1, "end"), (2, 0), (3, 0), (0, 1), (2, "end"), (3, 1), (0, 2), (3, "end"), (0, "end")]
        assert rows == [[0, 20, 30], [1, 31], [2]]


def test_rows_of_other_kinds_go_alone():
    rows = []

    def network(x):
        rows.append(tuple(x.shape))
        return x

    def make(turns, seat):
        x = (torch.zeros(2, 3), torch.zeros(1, 4), torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.float64))[seat]
        assert torch.equal(turns.ask(seat, Call(network, (x,))), x)

    played(4, make)
    assert sorted(rows) == [(1, 3), (1, 4), (3, 3)]


def test_what_is_too_much_at_once_is_asked_by_halves_from_then_on():
    sizes = []

    def network(x):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return 2 * x

    def make(turns, seat):
        for i in range(2):
            assert turns.ask(seat, Call(network, (torch.tensor([float(seat + i)]),))).item() == 2 * (seat + i)

    assert played(5, make).most == 2 and sizes == [5, 2, 2, 1, 2, 2, 1]


def test_an_error_is_its_askers():
    def network(x):
        if 1 in x:
            raise ValueError("no such row")
        return x

    heard = []

    def make(turns, seat):
        try:
            heard.append(turns.ask(seat, Call(network, (torch.tensor([float(seat)]),))).item())
        except ValueError as error:
            heard.append(str(error))

    played(3, make)
    assert heard == [0.0, "no such row", 2.0]


def test_calls_that_cannot_be_put_together_are_errors_of_who_asked(monkeypatch):
    """Nobody waits for ever."""
    monkeypatch.setattr("dream3d.batch.together.kind", lambda asked: 1 / 0)
    heard = []

    def make(turns, seat):
        try:
            turns.ask(seat, Call(lambda x: x, (torch.zeros(1),)))
        except ZeroDivisionError:
            heard.append(seat)

    played(3, make)
    assert heard == [0, 1, 2]


def test_what_one_raises_is_raised_once_all_have_ended():
    ended = []

    def make(turns, seat):
        turns.ask(seat, Call(lambda x: x, (torch.zeros(1),)))
        if seat == 0:
            raise KeyError("seat 0")
        ended.append(seat)

    with pytest.raises(KeyError):
        played(3, make)
    assert ended == [1, 2]


def test_seconds_are_counted_once(monkeypatch):
    """Each its own, and of a common call a share."""
    now = [0.0]
    monkeypatch.setattr("dream3d.batch.together.time.monotonic", lambda: now[0])

    def network(x):
        now[0] += 6
        return x

    def make(turns, seat):
        now[0] += 1 + seat
        turns.ask(seat, Call(network, (torch.zeros(1),)))
        now[0] += 10

    assert played(3, make).spent == [13, 14, 15]


def asked(count, seed, **more):
    make = torch.Generator().manual_seed(seed)
    cameras = Cameras(torch.randn(count, 4, 4, generator=make), torch.ones(count, 3, 3), 8, 8, torch.randn(count, generator=make),
                      torch.zeros(count), role=("near",) * count)  # fmt: skip
    render = Render(torch.rand(count, 2, 2, 3, generator=make), torch.ones(count, 2, 2, 1), torch.ones(count, 2, 2, 1),
                    extras={"background": torch.rand(count, 3, generator=make)})  # fmt: skip
    text = Embedding(torch.randn(count, 2, 4, generator=make), torch.ones(count, 2, dtype=torch.bool))
    return torch.randn(count, 3, 2, 2, generator=make), torch.rand(count, generator=make), text, cameras, more.get("render", render)


def test_what_a_network_is_asked_is_joined_row_by_row():
    one, other = asked(2, 0), asked(1, 1)
    assert kind(one) == kind(other) != kind(asked(1, 1, render=None))
    x, t, text, cameras, render = joined([one, other])
    back = torch.tensor([2])
    assert len(x) == len(t) == len(text) == len(cameras) == 3 and cameras.role == ("near",) * 3 and cameras.height == 8
    assert torch.equal(x[2:], other[0]) and torch.equal(text.at(back).mask, other[2].mask)
    assert torch.equal(cameras.at(back).to_world, other[3].to_world) and torch.equal(render.at(back).rgb, other[4].rgb)
    assert torch.equal(render.extras["background"][2:], other[4].extras["background"])
