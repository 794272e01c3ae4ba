"""How long a task waits for its process."""
import json, os, struct, statistics

from home import Home, tasks_file
from model import FLOOR, OURS, Broken, Line, at_most, row
from run import output


@row(
    "first", [Line("first", "from `add` to the first instruction of the process, executor idle with `keep`", "µs", (at_most(3, 2),))],
    "one fdatasync and posix_spawn of the same program",
)
def first(run):
    count, program = run.pick(200, 60), run.floor("first")
    fifo = os.path.join(run.fresh("first"), "fifo")
    os.mkfifo(fifo)
    task = run.task("first", fifo)

    def ours():
        with Home(run) as home:
            home.call("start", keep=True)
            request = {"action": "add", "name": "t", "function": "command", "params": {"argv": list(task)}}
            took = float(output(program, str(count), fifo, "add", home.address, json.dumps(request)))
            home.call("wait")
            home.check()
            return took

    yield {FLOOR: lambda: float(output(program, str(count), fifo, "spawn", f"{fifo}.sync", *task)), OURS: ours}


def gaps(path, count):
    """Microseconds from the last instant of a task to the first of the next: their median and their mean."""
    with open(path, "rb") as file:
        instants = list(struct.iter_unpack("=qq", file.read()))
    os.truncate(path, 0)
    if len(instants) != count:
        raise Broken(f"{len(instants)} tasks of {count} left their instants")
    found = [(after[0] - before[1]) / 1000 for before, after in zip(instants, instants[1:])]
    return {"gap": statistics.median(found), "gap-mean": statistics.fmean(found)}


@row(
    "gap", [Line("gap", "from the end of a task to the start of the next in the same slot, median", "µs", (at_most(1.3, 1.1),)),
            Line("gap-mean", "the same, mean", "µs")],
    "C loop of posix_spawn and wait4, one at once",
)
def gap(run):
    count = run.pick(2_000, 500)
    path = os.path.join(run.fresh("gap"), "instants")
    open(path, "w").close()
    task = run.task("gap", path)

    def floor():
        run.bare(count, 1, *task)
        return gaps(path, count)

    def ours():
        with Home(run) as home:
            home.add(tasks_file(run, count, "command", argv=list(task)), count)
            home.run_all(1)
            return gaps(path, count)

    yield {FLOOR: floor, OURS: ours}


ROWS = [first, gap]
