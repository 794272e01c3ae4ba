"""What a row of the table is: its lines, what they are held to, and how it is measured."""
import contextlib
from dataclasses import dataclass
from typing import Callable

FLOOR, OURS = "floor", "batch-executor"
JUDGED_ROUNDS = 9  # the least by which a must is judged


class Broken(Exception):
    """Something did not work: a task failed, a count is wrong, a program hangs."""


class Absent(Exception):
    """A floor or a peer that cannot be had here; the text says why."""


@dataclass(frozen=True)
class Bound:
    """Ours against another side, or ours itself where `than` is none."""
    limit: float
    aim: float | None = None
    at_most: bool = False
    than: str | None = FLOOR

    def holds(self, value):
        return value <= self.limit if self.at_most else value >= self.limit

    def reaches_aim(self, value):
        return self.aim is not None and (value <= self.aim if self.at_most else value >= self.aim)

    def text(self, limit, unit):
        than = {FLOOR: "×", None: unit}.get(self.than, f"× {self.than}")
        return f"{'≤' if self.at_most else '≥'} {limit:,.12g} {than}"


def at_least(limit, aim=None, than=FLOOR):
    return Bound(limit, aim, False, than)


def at_most(limit, aim=None, than=FLOOR):
    return Bound(limit, aim, True, than)


@dataclass(frozen=True)
class Line:
    """A line of the table. `musts` all hold; within a tuple one suffices. Without any it is only shown."""
    key: str
    what: str
    unit: str
    musts: tuple = ()


@dataclass(frozen=True)
class Row:
    """What is measured together. `sides` opens what is measured (a context manager of a dict from a side to a
    function that gives a figure, or a figure for each line) and ends it. `quick`: its rounds in a quick run, 0: none;
    `rounds`: those of a full one.
    """
    name: str
    lines: tuple
    floor: str
    sides: Callable
    rounds: int = JUDGED_ROUNDS
    quick: int = 3


def row(name, lines, floor, rounds=JUDGED_ROUNDS, quick=3):
    """Makes a row of a generator that yields its sides once."""
    return lambda sides: Row(name, tuple(lines), floor, contextlib.contextmanager(sides), rounds, quick)
