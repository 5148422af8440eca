"""Several runs in one process whose calls of the network they share become one. Each is an ordinary run in a thread of its own, with its
own generator, folder and claim. One of them computes at a time, in the order they were given: nothing has to bear threads, and the same
jobs together are the same bytes. Who calls the frozen network hands the turn on; once all who are left have called, one call answers all.

What learns, and what is differentiated through, stays each run's own; so does a prior that remembers what it was asked for.
"""

import copy
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from dream3d.batch.failures import Policy
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.plan import Job
from dream3d.batch.work import Record, work
from dream3d.host import Host, Loaded, remembers
from dream3d.run import STOPPING


def together(
    library: Library, jobs: Sequence[Job], watch: Watch, policy: Policy = Policy(), host: Host | None = None,
    tell: Callable[[Record], None] = lambda record: None,
) -> list[Record]:  # fmt: skip
    """Jobs as `work` makes each, as many at once as there are; `tell` hears of each as it ends. Signals are for all of them."""
    host, heard = host or Host(), []
    turns, records = Turns(len(jobs)), {}

    def make(seat: int) -> None:
        loaded = Seat(host.loaded, turns, seat)
        own = Host(loaded, stop=lambda: heard[0] if heard else None, clock=lambda: turns.clock(seat),
                   together=lambda: turns.most if loaded.shares else 1)  # fmt: skip
        records[seat] = work(library, jobs[seat], watch, policy, own)
        tell(records[seat])

    with _signals(heard):
        turns.play(make)
    if any("failure" in record for record in records.values()):
        host.loaded.clear()  # whatever it was left in
    return [records[seat] for seat in range(len(jobs))]


@contextmanager
def _signals(heard: list[int]) -> Iterator[None]:
    """What ends a process is noted; only its main thread can hear it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, frame: heard.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Seat(Loaded):
    """The prior of one of several runs: the one they share, whose network is called together; or its own, where it remembers, whose calls
    hand the turn on all the same: nobody is to look as if it stood still."""

    def __init__(self, shared: Loaded, turns: "Turns", seat: int):
        super().__init__()
        self.shared, self.turns, self.seat, self.shares = shared, turns, seat, False

    def get(self, settings: dict, device: str):
        if remembers(settings["prior"]):
            own = super().get(settings, device)
            network = MethodType(type(own).eps, own)
        else:
            shared, self.shares = self.shared.get(settings, device), True
            own, network = copy.copy(shared), shared.eps  # with a count of evaluations of its own; the tensors are the same

        def eps(x, t, text, cameras=None, render=None):
            if torch.is_grad_enabled():
                return network(x, t, text, cameras, render)
            return self.turns.ask(self.seat, Call(network, (x, t, text, cameras, render)))

        own.eps = eps
        return own


@dataclass
class Call:
    """A network and what it is asked; later its answer, or what went wrong."""

    network: Callable[..., Tensor]
    asked: tuple
    answer: Tensor | None = None
    error: Exception | None = None

    def alone(self) -> None:
        try:
            self.answer = self.network(*self.asked)
        except Exception as error:  # is raised where it was asked
            self.error = error


class Turns:
    """Whose turn it is among `count` threads. A thread computes from its turn to its next call, or to its end."""

    def __init__(self, count: int):
        self.calls: list[Call | None] = [None] * count
        self.over = [False] * count
        self.spent, self.since = [0.0] * count, 0.0  # seconds that each computed; since when whose turn it is does
        self.turn, self.changed = 0, threading.Condition()
        self.most = count  # calls that are made one: fewer once that was too much for the memory

    def play(self, make: Callable[[int], None]) -> None:
        """make(seat) for every seat, in threads. Raises what one of them raised, once all have ended."""
        errors: list[BaseException] = []

        def sit(seat: int) -> None:
            self._await(seat)
            try:
                make(seat)
            except BaseException as error:
                errors.append(error)
            self.over[seat] = True
            self._pass(seat)

        threads = [threading.Thread(target=sit, args=(seat,), name=f"seat {seat}") for seat in range(len(self.over))]
        self.since = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def ask(self, seat: int, call: Call) -> Tensor:
        """The answer to a call, once all others have called or ended. Raises what calling raised."""
        self.calls[seat] = call
        self._pass(seat)
        self._await(seat)
        self.calls[seat] = None
        if call.error is not None:
            raise call.error
        return call.answer

    def clock(self, seat: int) -> float:
        """Seconds that a seat has computed, its share of common calls with it. Only whose turn it is may ask."""
        return self.spent[seat] + time.monotonic() - self.since

    def _await(self, seat: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.turn == seat)

    def _pass(self, seat: int) -> None:
        """The turn goes to the next who can compute. Where nobody can, what was asked is answered first."""
        self.spent[seat] = self.clock(seat)
        self.since = time.monotonic()
        ready = self._ready()
        if not ready and any(self.calls):
            try:
                self._answer()
            except Exception as error:  # of how they were put together: who asked hears of it, and nobody waits for ever
                for call in filter(None, self.calls):
                    call.error = None if call.answer is not None else call.error or error
            ready = [i for i, call in enumerate(self.calls) if call is not None]
        with self.changed:
            self.turn = next((i for i in ready if i > seat), min(ready, default=-1))
            self.since = time.monotonic()
            self.changed.notify_all()

    def _ready(self) -> list[int]:
        return [i for i, over in enumerate(self.over) if not over and self._can(self.calls[i])]

    @staticmethod
    def _can(call: Call | None) -> bool:
        return call is None or call.answer is not None or call.error is not None

    @torch.no_grad()
    def _answer(self) -> None:
        """Calls of the same network with rows of the same kind as one; its seconds are everybody's."""
        groups: dict[Hashable, list[Call]] = {}
        asked = [(i, call) for i, call in enumerate(self.calls) if call is not None]
        for _, call in asked:
            groups.setdefault((call.network, kind(call.asked)), []).append(call)
        for calls in groups.values():
            for start in range(0, len(calls), self.most):
                self._at_once(calls[start : start + self.most])
        for seat, _ in asked:
            self.spent[seat] += (time.monotonic() - self.since) / len(asked)


    def _at_once(self, calls: list[Call]) -> None:
        """Halves, now and later, where that is too much; each alone where one of them is at fault."""
        if len(calls) == 1:
            return calls[0].alone()
        try:
            whole = calls[0].network(*joined([call.asked for call in calls]))
            for call, rows in zip(calls, whole.split([len(call.asked[0]) for call in calls]), strict=True):
                call.answer = rows
        except Exception as error:
            too_much = isinstance(error, torch.OutOfMemoryError | MemoryError)
            self.most = len(calls) // 2 if too_much else self.most
            size = self.most if too_much else 1
            for start in range(0, len(calls), size):
                self._at_once(calls[start : start + size])


def kind(value: Any) -> Hashable:
    """What two values have to agree on so that their rows can lie in one batch."""
    if isinstance(value, Tensor):
        return (value.shape[1:], value.dtype, value.device) if value.ndim else id(value)
    if dataclasses.is_dataclass(value):
        return type(value), *((field.name, kind(getattr(value, field.name))) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return tuple((key, kind(value[key])) for key in sorted(value))
    return tuple if isinstance(value, tuple) and all(isinstance(row, str) for row in value) else _many(value)


def _many(value: Any) -> Hashable:
    if isinstance(value, tuple):
        return tuple(map(kind, value))
    return value if isinstance(value, Hashable) else id(value)


def joined(values: Sequence[Any]) -> Any:
    """Values of one kind as one, row after row."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if dataclasses.is_dataclass(first):
        return dataclasses.replace(first, **{f.name: joined([getattr(v, f.name) for v in values]) for f in dataclasses.fields(first)})
    if isinstance(first, dict):
        return {key: joined([value[key] for value in values]) for key in first}
    if isinstance(first, tuple) and all(isinstance(row, str) for row in first):
        return tuple(row for value in values for row in value)
    return tuple(map(joined, zip(*values, strict=True))) if isinstance(first, tuple) else first
