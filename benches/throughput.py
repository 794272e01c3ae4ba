#!/usr/bin/env python3
"""First figures, each beside its floor in the same run: process tasks, bulk add, memory, idle CPU.

    python3 benches/throughput.py [--rounds 3] [--tasks 4000] [--bulk 100000] [--million] [--idle 30]
"""
import argparse, json, os, shutil, sqlite3, statistics, subprocess, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("BATCH_EXECUTOR_BIN", os.path.join(ROOT, "target/release/batch-executor"))


class Home:
    """A throw-away home; its daemon is ended with it."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="bx-")
        self.env = {**os.environ, "BATCH_EXECUTOR_HOME": f"{self.path}/home", "XDG_CONFIG_HOME": f"{self.path}/config"}
        return self

    def __exit__(self, *_):
        self.cli("daemon", "stop", check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def cli(self, *args, check=True):
        run = subprocess.run([BIN, *args], env=self.env, capture_output=True, text=True)
        assert not check or run.returncode == 0, (args, run.stderr)
        return run.stdout

    def file(self, lines):
        path = f"{self.path}/tasks.jsonl"
        with open(path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        return path

    def pids(self):
        daemon = json.loads(self.cli("status", "--json"))["data"]["pid"]
        return daemon, json.loads(self.cli("call", '{"action":"health"}'))["data"]["keeper_pid"]


def seconds(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def tasks_per_second(count):
    with Home() as home:
        path = home.file({"name": f"t{i}", "function": "command", "params": {"argv": ["/bin/true"]}} for i in range(count))
        home.cli("add-batch", path)
        return count / seconds(lambda: (home.cli("start", "--max-concurrent", "2"), home.cli("wait")))


def xargs_per_second(count):
    lines = "\n".join(["x"] * count)
    run = lambda: subprocess.run(["xargs", "-P2", "-n1", "/bin/true"], input=lines, text=True, check=True)
    return count / seconds(run)


def added_per_second(count):
    with Home() as home:
        path = home.file({"name": f"t{i}", "function": "simulate", "params": {"duration": 0}} for i in range(count))
        home.cli("status")
        return count / seconds(lambda: home.cli("add-batch", path))


def sqlite_per_second(count):
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(f"{folder}/floor.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        rows = [(json.dumps({"name": f"t{i}", "function": "simulate", "params": {"duration": 0}}),) for i in range(count)]

        def insert():
            for i in range(0, count, 1000):
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO t (text) VALUES (?)", rows[i:i + 1000])
                db.execute("COMMIT")
        return count / seconds(insert)


def fdatasync_ms():
    with tempfile.NamedTemporaryFile() as file:
        def once():
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
        return statistics.median(seconds(once) for _ in range(100)) * 1000


def memory(pid):
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status") if line.startswith("Vm"))
    return " / ".join(f"{int(lines[name].split()[0]) / 1024:.1f}" for name in ("VmRSS", "VmHWM"))


def ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("rounds", 3), ("tasks", 4000), ("bulk", 100_000), ("idle", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--million", action="store_true", help="memory with a million queued, too")
    args = parser.parse_args()
    floor = os.path.join(tempfile.mkdtemp(prefix="bx-"), "floor")
    subprocess.run(["cc", "-O2", "-o", floor, os.path.join(ROOT, "benches/floor.c")], check=True)
    measures = {
        "process tasks/s, 2 at once: floor (posix_spawn)": lambda: float(subprocess.check_output([floor, str(args.tasks), "2"])),
        "process tasks/s, 2 at once: batch-executor": lambda: tasks_per_second(args.tasks),
        "process tasks/s, 2 at once: xargs -P2": lambda: xargs_per_second(args.tasks),
        "bulk add/s: floor (SQLite alone)": lambda: sqlite_per_second(args.bulk),
        "bulk add/s: batch-executor": lambda: added_per_second(args.bulk),
    }
    seen = {name: [] for name in measures}
    for _ in range(args.rounds):
        for name, measure in measures.items():
            seen[name].append(measure())
    print(f"fdatasync of this machine: {fdatasync_ms():.2f} ms; {args.rounds} rounds\n")
    print("| what | median | from | to | of the floor |\n| --- | --- | --- | --- | --- |")
    for name, values in seen.items():
        base = next(statistics.median(v) for n, v in seen.items() if n.split(":")[0] == name.split(":")[0])
        middle = statistics.median(values)
        print(f"| {name} | {middle:,.0f} | {min(values):,.0f} | {max(values):,.0f} | {middle / base:.2f} |")
    print("\n| MiB now / at most | daemon | keeper |\n| --- | --- | --- |")
    with Home() as home:
        daemon, keeper = home.pids()
        print(f"| empty | {memory(daemon)} | {memory(keeper)} |")
        before = ticks(daemon), ticks(keeper)
        time.sleep(args.idle)
        idle = ticks(daemon) - before[0], ticks(keeper) - before[1]
        if args.million:
            home.cli("add-batch", home.file({"function": "simulate", "params": {"duration": 0}} for i in range(1_000_000)))
            print(f"| a million queued | {memory(daemon)} | {memory(keeper)} |")
    print(f"\nCPU ticks in {args.idle} s idle: daemon {idle[0]}, keeper {idle[1]}")


main()
