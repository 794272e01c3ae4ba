"""What others do with the same tasks. Who is not here is named, with the reason."""
import fcntl, json, os, shutil, subprocess, sys, time
from datetime import datetime

from model import Absent, Broken
from run import BENCHES, TARGET, output

FOLDER = os.path.join(TARGET, "bench-peers")
APT = ("parallel", "task-spooler", "nq", "sqlite3", "libsqlite3-dev")
NOT_MEASURED = {"HyperQueue": "its program is in no package registry"}
APALIS = "apalis (SQLite, WAL, synchronous=FULL)"


def install(folder):
    """What the registries have: by apt as root, huey into a virtual environment; pueue and peers/apalis are built, which
    takes some minutes."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        output("apt-get", "install", "-y", "-qq", "--no-install-recommends", *APT)
    output(sys.executable, "-m", "venv", f"{folder}/venv")
    output(f"{folder}/venv/bin/pip", "install", "--quiet", "huey")
    build = ("nice", "-n15", "cargo", "install", "--locked", "--root", folder, "--target-dir", f"{folder}/build")
    for crate in (("pueue",), ("--path", os.path.join(BENCHES, "peers/apalis"))) if shutil.which("cargo") else ():
        output(*build, *crate, timeout=1800)
    shutil.rmtree(f"{folder}/build", ignore_errors=True)


def find(folder):
    """Peers' programs may be in their own folder, too."""
    os.environ["PATH"] += os.pathsep + os.path.join(folder, "bin")


def needed(program, how="--install-peers"):
    if shutil.which(program) is None:
        raise Absent(f"not installed ({how})")


def absent(why):
    def measure():
        raise Absent(why)
    return measure


class Gate:
    """Jobs that hold a queue's slots until they are let go: they wait for a lock."""

    def __init__(self, run):
        needed("flock", "util-linux")
        path = os.path.join(run.fresh("gate"), "lock")
        self.file = open(path, "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.job = ["flock", "-s", "-w", "600", path, "true"]

    def open(self):
        self.file.close()


def running(run, at_once):
    """Tasks a second, /bin/true, of those that are here."""
    count = run.pick(2_000, 400)

    def xargs():
        many, begun = run.pick(20_000, 2_000), time.monotonic()
        output("xargs", f"-P{at_once}", "-n1", "/bin/true", input="x\n" * many)
        return many / (time.monotonic() - begun)

    def parallel():
        needed("parallel")
        begun = time.monotonic()
        output("parallel", "--will-cite", f"-j{at_once}", "/bin/true", input="\n" * count)
        return count / (time.monotonic() - begun)

    def others():
        return {
            "task-spooler": lambda: spooled(run, min(count, 800), at_once),  # with a thousand in its queue it lets the next wait
            "nq (a queue for each slot, adding included)": lambda: queued_by_nq(run, count // 8, at_once),
            "huey (SQLite, without fsync)": lambda: huey(run, count, at_once),
            "pueue": lambda: pueue(run, count // 40, at_once),
            APALIS: lambda: apalis(run, count, at_once, "/bin/true"),
        }

    return {f"xargs -P{at_once}": xargs, "GNU parallel": parallel, **others(), **{name: absent(why) for name, why in NOT_MEASURED.items()}}


class Spooler:
    """A task-spooler of its own."""

    def __init__(self, run, slots):
        needed("tsp")
        folder = run.fresh("tsp")
        self.env = {**os.environ, "TS_SOCKET": f"{folder}/s", "TMPDIR": folder, "TS_MAXFINISHED": "100000"}
        self.call("-S", str(slots))

    def call(self, *arguments):
        return output("tsp", *arguments, env=self.env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("-K")


def spooled(run, count, at_once):
    """From when its slots are let go until the last has ended."""
    gate = Gate(run)
    with Spooler(run, at_once) as spooler:
        for _ in range(at_once):
            spooler.call("-n", *gate.job)
        shell_loop("tsp /bin/true", count, spooler.env)
        begun = time.monotonic()
        gate.open()
        spooler.call("-w")
        took = time.monotonic() - begun
        lines = spooler.call("-l").splitlines()
        done = sum(" finished " in line for line in lines)
        if done < count:
            raise Broken(f"{done} of {count} jobs are done")
        return count / took


def shell_loop(command, count, env, folder=None):
    """Seconds that a shell takes to run a command so many times, what it says thrown away."""
    begun = time.monotonic()
    output("sh", "-c", f"i=0; while [ $i -lt {count} ]; do {command} >/dev/null || exit 1; i=$((i+1)); done", env=env, cwd=folder)
    return time.monotonic() - begun


def queued_by_nq(run, count, at_once):
    needed("nq")
    queues = [{**os.environ, "NQDIR": run.fresh("nq")} for _ in range(at_once)]
    begun = time.monotonic()
    for env in queues:
        shell_loop("nq /bin/true", count // at_once, env)
    for env in queues:
        output("nq", "-w", env=env)
    return count // at_once * at_once / (time.monotonic() - begun)


def huey(run, count, at_once):
    python = f"{run.peers_dir}/venv/bin/python"
    if not os.path.exists(python):
        raise Absent("not installed (--install-peers)")
    return count / float(output(python, os.path.join(BENCHES, "peers/huey_run.py"), f"{run.fresh('huey')}/db", str(count), str(at_once)))


def apalis(run, count, at_once, *program):
    needed("apalis-peer")
    return float(output("apalis-peer", f"{run.fresh('apalis')}/db", str(count), str(at_once), *program))


def doing_nothing(run):
    """Tasks a second that do nothing, 16 at once."""
    return {APALIS: lambda: apalis(run, 2_000, 16)}


class Pueue:
    """A pueue daemon of its own; nothing runs until `start`."""

    def __init__(self, run, at_once):
        for program in ("pueue", "pueued"):
            needed(program)
        folder = run.fresh("pueue")
        with open(f"{folder}/pueue.yml", "w") as file:
            file.write(f"shared:\n  pueue_directory: {folder}\n  runtime_directory: {folder}\n  use_unix_socket: true\ndaemon: {{}}\nclient: {{}}\nprofiles: {{}}\n")
        self.env = {**os.environ, "PUEUE_CONFIG_PATH": f"{folder}/pueue.yml"}
        self.daemon = subprocess.Popen(["pueued"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.retry("status")
        self.call("parallel", str(at_once))
        self.call("pause")

    def call(self, *arguments):
        return output("pueue", *arguments, env=self.env, timeout=120)

    def retry(self, *arguments):
        for _ in range(50):
            try:
                return self.call(*arguments)
            except Broken:
                time.sleep(0.1)
        raise Broken("pueued does not answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.terminate()
        self.daemon.wait(30)


def pueue(run, count, at_once):
    with Pueue(run, at_once) as queue:
        shell_loop("pueue add -- /bin/true", count, queue.env)
        begun = time.time()
        queue.call("start")
        queue.call("wait", "--all", "--quiet")
        # `wait` looks every two seconds: the last end is what pueue says itself.
        ends = [task["status"].get("Done", {}) for task in json.loads(queue.call("status", "--json"))["tasks"].values()]
        done = [datetime.fromisoformat(end["end"]).timestamp() for end in ends if end.get("result") == "Success"]
        if len(done) != count:
            raise Broken(f"{len(done)} of {count} tasks are done")
        return count / (max(done) - begun)


def adding(run, count):
    """Milliseconds that one `add` from a shell takes; nothing runs meanwhile."""
    def spooler():
        gate = Gate(run)
        with Spooler(run, 1) as queue:
            queue.call("-n", *gate.job)
            took = shell_loop("tsp /bin/true", count, queue.env)
            gate.open()
            queue.call("-w")
        return took / count * 1000

    def nq():
        needed("nq")
        gate, env = Gate(run), {**os.environ, "NQDIR": run.fresh("nq")}
        output("nq", *gate.job, env=env)
        took = shell_loop("nq /bin/true", count, env)
        gate.open()
        output("nq", "-w", env=env)
        return took / count * 1000

    def pueued():
        with Pueue(run, 1) as queue:
            return shell_loop("pueue add -- /bin/true", count, queue.env) / count * 1000

    return {"task-spooler": spooler, "nq": nq, "pueue": pueued, **{name: absent(why) for name, why in NOT_MEASURED.items()},
            "apalis": absent("a library without a command to add with")}
