"""Tasks that do nothing: what the queue itself costs, in time and in bytes on the disk."""
import peers, sqlite
from home import Home, tasks_file
from model import FLOOR, OURS, Broken, Line, at_least, at_most, row

AT_ONCE = sqlite.GROUP


@row(
    "noop", [Line("noop", "no-op tasks (`simulate`, 0 s) through claim, start and end", "tasks/s",
                  ((at_least(30_000, 100_000, than=None), at_least(0.3, 0.6)),))],
    "SQLite alone: the ends of 256 tasks and the claims of the next 256 in one transaction",
)
def noop(run):
    count = run.pick(100_000, 20_000)

    def ours():
        with Home(run) as home:
            home.add(tasks_file(run, count, duration=0), count)
            return count / home.run_all(AT_ONCE)

    yield {FLOOR: lambda: count / sqlite.carried_out(run, count)[0], OURS: ours, **peers.doing_nothing(run)}


def written(*pids):
    """Bytes that processes have given to the disk so far."""
    def one(pid):
        return int(dict(line.split(": ") for line in open(f"/proc/{pid}/io"))["write_bytes"])
    return sum(one(pid) for pid in pids)


@row(
    "bytes",
    [Line("bytes-run", "bytes to the disk per no-op task, from queued to completed", "bytes", (at_most(3, 1.5),)),
     Line("bytes-all", "the same, adding it included", "bytes", (at_most(3, 1.5),))],
    "SQLite alone: the final rows in groups of 256, updated from queued, or inserted once",
)
def disk(run):
    count = run.pick(100_000, 20_000)

    def floor():
        return {"bytes-run": sqlite.ended(run, count)[1] / count, "bytes-all": sqlite.inserted_ended(run, count)[1] / count}

    def ours():
        with Home(run) as home:
            pids = home.daemon.pid, home.keeper()
            begun = written(*pids)
            home.add(tasks_file(run, count, duration=0), count)
            queued = written(*pids)
            home.run_all(AT_ONCE)
            done = written(*pids)
        if done == queued:
            raise Broken("/proc/PID/io tells no bytes")
        return {"bytes-run": (done - queued) / count, "bytes-all": (done - begun) / count}

    yield {FLOOR: floor, OURS: ours}


ROWS = [noop, disk]
