"""What it takes to be there: memory, and the CPU of a daemon that has nothing to do."""
import glob, os, time

from home import Home, tasks_file
from model import OURS, Broken, Line, at_most, row

ABSOLUTE = dict(than=None)
SETTLED = 12


def mib(pid, name="VmRSS"):
    """Memory of a process now, or at most (`VmHWM`) since the last `forget_peak`."""
    fields = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return int(fields[name].split()[0]) / 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


@row(
    "memory", [Line("memory-idle", "memory of the daemon, idle", "MiB", (at_most(16, 12, **ABSOLUTE),)),
               Line("memory-keeper", "memory of the keeper with 100 children that have written 16 KiB each, two seconds later", "MiB",
                    (at_most(4, None, **ABSOLUTE),)),
               Line("memory-starting", "the same at most, while it starts them and reads that", "MiB")],
    "resident set: VmRSS, at most VmHWM", rounds=3, quick=1,
)
def memory(run):
    folder = run.fresh("hundred")

    def ours():
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        with Home(run) as home:
            time.sleep(1)
            idle = mib(home.daemon.pid)
            task = ["/bin/sh", "-c", f"head -c 16384 /dev/zero; : > {folder}/$$; exec sleep 600"]
            home.add(tasks_file(run, 100, "command", argv=task), 100)
            home.call("start", max_concurrent=100)
            deadline = time.monotonic() + 60
            while len(os.listdir(folder)) < 100:
                if time.monotonic() > deadline:
                    raise Broken("100 tasks do not start")
                time.sleep(0.05)
            time.sleep(2)
            keeper = home.keeper()
            return {"memory-idle": idle, "memory-keeper": mib(keeper), "memory-starting": mib(keeper, "VmHWM")}

    yield {OURS: ours}


def switches(pid):
    """How often each thread has left the CPU: each time it had been woken before."""
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        found[path] = sum(int(line.split()[1]) for line in open(path) if "ctxt_switches" in line)
    return found


def ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Spent:
    """CPU ticks and wake-ups of processes from here on; a thread that ends was woken for it."""

    def __init__(self, *pids):
        self.pids = pids
        self.ticks = sum(map(ticks, pids))
        self.switches = [switches(pid) for pid in pids]

    def so_far(self):
        woken = 0
        for pid, before in zip(self.pids, self.switches):
            now = switches(pid)
            woken += sum(count - before.get(thread, 0) for thread, count in now.items()) + len(before.keys() - now.keys())
        return sum(map(ticks, self.pids)) - self.ticks, woken


@row(
    "idle", [Line("idle-ticks", "CPU ticks of daemon and keeper in 60 s, idle", "ticks", (at_most(0, 0, **ABSOLUTE),)),
             Line("idle-wakes", "their wake-ups", "context switches", (at_most(1, 0, **ABSOLUTE),)),
             Line("retries-ticks", "CPU ticks with 1,000 tasks waiting for retries an hour away", "ticks", (at_most(0, 0, **ABSOLUTE),)),
             Line("retries-wakes", "their wake-ups", "context switches", (at_most(1, 0, **ABSOLUTE),))],
    "none: of all threads, voluntary and not (/proc/PID/task/*/status); a quick run looks for 10 s", rounds=1, quick=1,
)
def idle(run):
    seconds = run.pick(60, 10)

    def ours():
        with Home(run) as nothing, Home(run) as retries:
            path = os.path.join(run.folder, "failing.jsonl")
            with open(path, "w") as file:
                task = '{"function":"simulate","params":{"duration":0,"fail":true},"retry_delay":3600,"max_retries":3}\n'
                file.write(task * 1000)
            retries.add(path, 1000)
            for home in (nothing, retries):
                home.call("start", keep=True, max_concurrent=5)
            deadline = time.monotonic() + 60
            while any(task["retry_count"] == 0 for task in retries.call("results", limit=1000)["tasks"]):
                if time.monotonic() > deadline:
                    raise Broken("1,000 tasks did not fail and wait")
                time.sleep(0.1)
            pids = [(home.daemon.pid, home.keeper()) for home in (nothing, retries)]
            # Threads that have had nothing to do for 10 s end: that is still of the work before.
            time.sleep(SETTLED)
            watched = [Spent(*pair) for pair in pids]
            time.sleep(seconds)
            found = [of.so_far() for of in watched]
            counts = retries.call("status")["counts"]
            if counts["queued"] != 1000:
                raise Broken(f"1,000 tasks do not wait: {counts}")
        (idle_ticks, idle_wakes), (retry_ticks, retry_wakes) = found
        return {"idle-ticks": idle_ticks, "idle-wakes": idle_wakes, "retries-ticks": retry_ticks, "retries-wakes": retry_wakes}

    yield {OURS: ours}


ROWS = [memory, idle]
