"""Adding tasks: a file of them, one from the shell, many clients at once."""
import json, os, subprocess, time

import peers, sqlite
from home import Home, tasks_file
from model import FLOOR, OURS, Broken, Line, at_least, at_most, row
from run import PROGRAM, output

PART = 256 * 1024  # what the command line sends at a time, which is a transaction of the daemon
RAW = "SQLite alone, the raw lines into one table"
ADD = {"action": "add", "name": "t", "function": "command", "params": {"argv": ["/bin/true"]}}


@row(
    "add-file", [Line("add-file", "adding a million tasks from a JSON Lines file", "tasks/s", (at_least(0.5, 0.8),))],
    "SQLite alone: the same rows into the same tables with their indexes, in transactions of the daemon's size (256 KiB of"
    " lines); beside it, not judged, the raw lines into one table without an index",
)
def add_file(run):
    count = run.pick(run.million, run.million // 10)
    path = tasks_file(run, count, duration=0)
    group = PART * count // os.path.getsize(path)

    def ours():
        with Home(run) as home:
            return count / home.add(path, count)

    yield {
        FLOOR: lambda: count / sqlite.added(run, count, group)[0],
        OURS: ours,
        RAW: lambda: count / sqlite.added_raw(run, count, group)[0],
    }


@row(
    "add-shell", [Line("add-shell", "one `add` from the shell, daemon warm", "ms",
                       (at_most(2, 1.5), at_most(1, than="task-spooler"), at_most(1, than="nq"), at_most(1, than="pueue")))],
    "a shell starting a C program that sends a line over a Unix socket, to one that makes an fdatasync before it answers",
)
def add_shell(run):
    count = run.pick(200, 50)
    with Home(run) as home:
        folder = run.fresh("ask")
        ask = run.floor("socket")
        server = subprocess.Popen([ask, "serve", f"{folder}/s", f"{folder}/file"])
        deadline = time.monotonic() + 10
        while not os.path.exists(f"{folder}/s"):
            if time.monotonic() > deadline:
                raise Broken("the floor's server does not come")
            time.sleep(0.01)
        try:
            yield {
                FLOOR: lambda: peers.shell_loop(f"{ask} ask {folder}/s", count, None) / count * 1000,
                OURS: lambda: peers.shell_loop(f"{PROGRAM} add -- /bin/true", count, home.env, home.path) / count * 1000,
                **peers.adding(run, count),
            }
        finally:
            server.kill()
            server.wait()


@row(
    "add-clients", [Line("add-clients", "adds by 16 clients at once, one task each", "adds/s", (at_least(0.5, 0.8),))],
    "SQLite alone: the same rows, 16 in a transaction",
)
def add_clients(run):
    count = run.pick(16_000, 4_800)

    def ours():
        with Home(run) as home:
            told = output(run.floor("socket"), "clients", home.address, "16", str(count), json.dumps(ADD))
            total = home.call("status")["counts"]["total"]
            if total != count:
                raise Broken(f"{total} tasks are there, {count} were acknowledged")
            return count / float(told)

    yield {FLOOR: lambda: count / sqlite.added(run, count, 16)[0], OURS: ours}


ROWS = [add_file, add_shell, add_clients]
