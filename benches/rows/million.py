"""A million completed and a million queued: what must not grow with the queue."""
import contextlib, os, statistics, time

import peers, sqlite
from home import Home, tasks_file
from model import FLOOR, OURS, Broken, Line, at_least, at_most, row
from rows.still import ABSOLUTE, forget_peak, mib
from run import PROGRAM, output


@contextlib.contextmanager
def big(run):
    """A home with a million completed and a million queued, and the daemon's memory on the way there."""
    count = run.million
    path = tasks_file(run, count, duration=0)
    with Home(run) as home:
        home.add(path, count)
        memory = {"memory-queued": mib(home.daemon.pid)}
        forget_peak(home.daemon.pid)
        home.run_all(sqlite.GROUP)
        memory["memory-running"] = mib(home.daemon.pid, "VmHWM")
        home.add(path, count)
        yield home, memory


def restarted(home):
    """Ends the daemon and starts it; gives the milliseconds to its first answer."""
    home.stop()
    return home.start() * 1000


@row(
    "memory-million", [Line("memory-queued", "memory of the daemon with a million queued", "MiB", (at_most(32, 24, **ABSOLUTE),)),
                       Line("memory-running", "its peak while a million run through", "MiB", (at_most(40, 24, **ABSOLUTE),))],
    "resident set: VmRSS after the last add, VmHWM", rounds=1, quick=0,
)
def memory(run):
    yield {OURS: lambda: run.once("big", lambda: big(run))[1]}


@row(
    "status", [Line("status", "`status` on the socket with two million tasks", "ms", (at_most(1.2), at_most(1, **ABSOLUTE)))],
    "the same with an empty queue; client and daemon on one core, for which two they are on decides more than what is asked",
    rounds=9, quick=0,
)
def status(run):
    def asked(home):
        with on_one_core(0, home.daemon.pid), home.connect() as daemon:
            return statistics.median(seconds(lambda: daemon.call("status")) for _ in range(300)) * 1000

    home, _ = run.once("big", lambda: big(run))
    with Home(run) as empty:
        yield {FLOOR: lambda: asked(empty), OURS: lambda: asked(home)}


@contextlib.contextmanager
def on_one_core(*pids):
    """All threads of some processes on one core (0: the thread that asks), and where they may be again."""
    threads = [int(thread) for pid in pids for thread in (os.listdir(f"/proc/{pid}/task") if pid else (0,))]
    cores = os.sched_getaffinity(0)
    for thread in threads:
        os.sched_setaffinity(thread, {min(cores)})
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def seconds(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


@row(
    "start", [Line("start", "daemon start to first answer, two million tasks", "ms", (at_most(1.2),))],
    "the same with an empty queue", rounds=9, quick=0,
)
def start(run):
    home, _ = run.once("big", lambda: big(run))
    with Home(run) as empty:
        yield {FLOOR: lambda: restarted(empty), OURS: lambda: restarted(home)}


def overtaking(home, count, at_once, **task):
    """Tasks a second while `count` go before all others, from `start` to their last end. The others run beside the last of them,
    so what ended is counted, not what was added."""
    tasks = [{"name": f"t{number}", "priority": "critical", "max_retries": 0, **task} for number in range(count)]
    with home.connect() as daemon:
        before = daemon.call("status")["counts"]["completed"]
        batch = daemon.call("add_batch", tasks=tasks)["batch_id"]
        begun = time.monotonic()
        daemon.call("start", max_concurrent=at_once)
        counts = daemon.call("wait", batch_id=batch)["counts"]
        took = time.monotonic() - begun
        ended = daemon.call("status")["counts"]["completed"] - before
        daemon.call("stop", wait=True)
    if counts["completed"] != count:
        raise Broken(f"not all of {count} completed: {counts}")
    return ended / took


@row(
    "rate", [Line("rate-noop", "no-op tasks with a million queued and a million completed", "tasks/s", (at_least(0.9, 0.97),)),
             Line("rate-process", "process tasks, 2 at once, with the same", "tasks/s", (at_least(0.9, 0.97),))],
    "the same with 20,000 queued and none completed; the median of three times 10,000 that go before the others (processes: a"
    " thousand)", rounds=9, quick=0,
)
def rate(run):
    few = 20_000

    def both(home):
        noop = [overtaking(home, 10_000, sqlite.GROUP, function="simulate", params={"duration": 0}) for _ in range(3)]
        process = [overtaking(home, 1000, 2, function="command", params={"argv": ["/bin/true"]}) for _ in range(3)]
        return {"rate-noop": statistics.median(noop), "rate-process": statistics.median(process)}

    def small():
        # A queue that ran empty would do less: nothing more to claim, and no other task to run.
        with Home(run) as home:
            home.add(tasks_file(run, few, duration=0), few)
            return both(home)

    home, _ = run.once("big", lambda: big(run))
    yield {FLOOR: small, OURS: lambda: both(home)}


def exported(home, format):
    """Tasks a second of those that have completed."""
    path = f"{home.path}.export"
    took = seconds(lambda: home.cli("export", "--format", format, "--filter-status", "completed", "--overwrite", "-o", path))
    with open(path, "rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - (format == "csv")
    count = home.call("status")["counts"]["completed"]
    if lines != count:
        raise Broken(f"{lines} of {count} tasks were exported")
    return count / took


def dumped(home, mode, sql):
    """The same of SQLite's shell."""
    path = f"{home.path}.dump"
    count = home.call("status")["counts"]["completed"]
    return count / seconds(lambda: output("sqlite3", "-readonly", f"{home.path}/queue.db", f".mode {mode}", f".output {path}", sql))


@row(
    "export", [Line("export-jsonl", "export of a million to JSON Lines", "tasks/s", (at_least(0.5, 0.8),)),
               Line("export-csv", "export of a million to CSV", "tasks/s", (at_least(0.5, 0.8),)),
               Line("export-memory", "the daemon's peak meanwhile", "MiB", (at_most(1.2),))],
    "the sqlite3 shell dumping the same columns as they are stored, with json_object and as CSV; for the memory an export of a"
    " tenth, which fills SQLite's cache as well", quick=0,
)
def export(run):
    tenth = max(run.million // 10, 1000)
    home, _ = run.once("big", lambda: big(run))
    restarted(home)

    def peak(of):
        forget_peak(of.daemon.pid)
        rates = {f"export-{format}": exported(of, format) for format in ("jsonl", "csv")}
        return {**rates, "export-memory": mib(of.daemon.pid, "VmHWM")}

    with Home(run) as small:
        small.add(tasks_file(run, tenth, duration=0), tenth)
        small.run_all(sqlite.GROUP)
        restarted(small)

        def floor():
            peers.needed("sqlite3")
            return {
                "export-jsonl": dumped(home, "list", sqlite.as_json("state = 3")),
                "export-csv": dumped(home, "csv", sqlite.as_csv("state = 3")),
                "export-memory": peak(small)["export-memory"],
            }

        yield {FLOOR: floor, OURS: lambda: peak(home)}


@row(
    "results", [Line("results", "`results` of the last 20 of a million, from the shell", "calls/s", (at_least(0.5, 0.8),))],
    "the sqlite3 shell showing the same columns of the same rows, started for each", quick=0,
)
def results(run):
    home, _ = run.once("big", lambda: big(run))
    ids = ",".join(str(number) for number in range(run.million - 19, run.million + 1))
    count = 100

    def floor():
        peers.needed("sqlite3")
        sql = sqlite.as_csv(f"task.id IN ({ids})")
        return count / peers.shell_loop(f"sqlite3 -readonly {home.path}/queue.db '{sql}'", count, None)

    yield {FLOOR: floor, OURS: lambda: count / peers.shell_loop(f"{PROGRAM} results --task-ids {ids}", count, home.env)}


ROWS = [memory, status, start, rate, export, results]
