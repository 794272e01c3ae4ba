"""Many at once: tasks that wait, and tasks that take a core each."""
import os, sys

from home import Home, tasks_file
from model import FLOOR, OURS, Line, at_least, at_most, row

LOOP = "C loop, 20 at once"
CODE = "x = 0\nfor i in range(4_000_000): x += i * i"


def ours(run, count, at_once, function, **params):
    """Seconds from `start` to the last end."""
    with Home(run) as home:
        home.add(tasks_file(run, count, function, **params), count)
        return home.run_all(at_once)


@row(
    "io", [Line("io", "200 tasks of 50 ms wait, 20 at once", "tasks/s", (at_least(0.97, 0.995),))],
    "20 × the rate of one at once in the C loop; beside it, not judged, the C loop with 20 at once",
)
def io(run):
    task, alone = run.task("wait", "50"), 20
    yield {
        FLOOR: lambda: 20 * alone / run.bare(alone, 1, *task),
        OURS: lambda: 200 / ours(run, 200, 20, "command", argv=list(task)),
        LOOP: lambda: 200 / run.bare(200, 20, *task),
    }


@row(
    "sleep-1000", [Line("sleep-1000", "1,000 × `sleep 1` at once", "s", (at_most(1.1),))],
    "the C loop starting the same 1,000",
)
def sleeps(run):
    task = ("/bin/sleep", "1")
    yield {FLOOR: lambda: run.bare(1000, 1000, *task), OURS: lambda: ours(run, 1000, 1000, "command", argv=list(task))}


@row(
    "simulate-10000", [Line("simulate-10000", "10,000 × `simulate` of 1 s at once", "s", (at_most(1.1),))],
    "one second",
)
def simulated(run):
    yield {FLOOR: lambda: 1.0, OURS: lambda: ours(run, 10_000, 10_000, "simulate", duration=1)}


@row(
    "python", [Line("python", "CPU-bound Python, as many at once as cores", "tasks/s", (at_least(0.97, 0.99),))],
    "the same code started by the C loop, as many at once, each in a session of its own as ours (Linux shares a busy machine"
    " out by sessions)",
)
def python(run):
    cores = len(os.sched_getaffinity(0))
    count = run.pick(16, 6) * cores
    task = (os.path.realpath(sys.executable), "-c", CODE)
    yield {
        FLOOR: lambda: count / run.bare(count, cores, *task, sessions=True),
        OURS: lambda: count / ours(run, count, cores, "command", argv=list(task)),
    }


ROWS = [io, sleeps, simulated, python]
