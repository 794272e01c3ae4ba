"""What a run of the benchmark has: the program, a folder on the disk of the checkout, the floors made from C, children
that are ended in time."""
import contextlib, glob, os, re, select, shutil, signal, subprocess, tempfile
from functools import cached_property

from model import Absent, Broken

BENCHES = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCHES)
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
BUILT = os.path.abspath(os.environ.get("BATCH_EXECUTOR_BIN", os.path.join(TARGET, "release/batch-executor")))
# Written as an installation writes it. The linker writes through a mapping, and what it wrote stays in the page cache in
# single pages, of which each start maps thousands: 0.15 ms of the 1.9 that `--version` takes.
PROGRAM = os.path.join(TARGET, "bench-program/batch-executor")
LONG = 900  # seconds after which whatever does not end is broken


def install():
    """Writes the program where the rows run it; one that still runs from there is not changed."""
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    with open(BUILT, "rb") as built, open(f"{PROGRAM}.new", "wb") as new:
        new.write(built.read())
        os.fchmod(new.fileno(), 0o755)
    os.replace(f"{PROGRAM}.new", PROGRAM)


def ends(child, seconds):
    """Whether a child ends in time, known as soon as it does: `Popen.wait` with a timeout looks every 50 ms only, which was
    a whole millisecond of each of 50 commands."""
    descriptor = os.pidfd_open(child.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def output(*command, timeout=None, input="", **options):
    """What a program prints; broken when it fails or does not end. Its output goes to files and it has a session of its
    own: what it leaves running holds nothing up here."""
    with tempfile.TemporaryFile("w+", dir=TARGET) as given, tempfile.TemporaryFile("w+", dir=TARGET) as said, \
            tempfile.TemporaryFile("w+", dir=TARGET) as complaints:
        given.write(input)
        given.seek(0)
        child = subprocess.Popen(command, stdin=given, stdout=said, stderr=complaints, start_new_session=True, **options)
        if not ends(child, timeout or LONG):
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise Broken(f"{' '.join(command)[:200]} did not end within {timeout or LONG} s")
        code = child.wait()
        said.seek(0)
        complaints.seek(0)
        if code != 0:
            raise Broken(f"{' '.join(command)[:200]} ended with {code}: {complaints.read().strip()[-500:]}")
        return said.read()


class Run:
    """`million` says how many tasks stand for a million."""

    def __init__(self, quick, million, peers_dir):
        self.quick, self.million, self.peers_dir = quick, million, peers_dir
        self.shared = {}  # what several rows use, by name

    def __enter__(self):
        install()
        self.folder = tempfile.mkdtemp(prefix="bench.", dir=TARGET)
        self.at_end = contextlib.ExitStack()
        self.at_end.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *_):
        self.at_end.close()

    def pick(self, full, quick):
        return quick if self.quick else full

    def fresh(self, prefix):
        return tempfile.mkdtemp(prefix=f"{prefix}.", dir=self.folder)

    def once(self, name, make):
        """What `make` makes, an open context: once for all rows, ended with the run."""
        if name not in self.shared:
            self.shared[name] = self.at_end.enter_context(make())
        return self.shared[name]

    def floor(self, name, *libraries):
        """The path of floors/NAME.c, compiled once."""
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            if shutil.which("cc") is None:
                raise Absent("no C compiler")
            output("cc", "-O2", "-o", path, os.path.join(BENCHES, f"floors/{name}.c"), *libraries)
        return path

    @cached_property
    def sqlite(self):
        """How to link with SQLite: the very library that is built into the program, else the system's."""
        built = glob.glob(os.path.join(os.path.dirname(BUILT), "build/libsqlite3-sys-*/out/libsqlite3.a"))
        header = self.sqlite_header()
        if built and header:
            return (max(built, key=os.path.getmtime), f"-I{header}", "-lpthread", "-ldl", "-lm")
        if os.path.exists("/usr/include/sqlite3.h"):
            return ("-lsqlite3",)
        raise Absent("neither the program's own SQLite (build it here first) nor libsqlite3-dev")

    @staticmethod
    def sqlite_header():
        """The folder of the header that belongs to the crate; none where cargo does not keep its source."""
        lock = open(os.path.join(ROOT, "Cargo.lock")).read()
        version = re.search(r'name = "libsqlite3-sys"\nversion = "(.+)"', lock).group(1)
        home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        return next(iter(glob.glob(f"{home}/registry/src/*/libsqlite3-sys-{version}/sqlite3")), None)

    def bare(self, count, at_once, *task, files=False, sessions=False):
        """Seconds that a loop of posix_spawn and wait4 takes for `count` tasks."""
        options = ("-o", self.fresh("floor")) if files else ("-s",) if sessions else ()
        seconds = float(output(self.floor("spawn"), str(count), str(at_once), *options, "--", *task))
        if files:
            shutil.rmtree(options[1])
        return seconds

    def task(self, *arguments):
        """The command line of a task of floors/task.c."""
        return (self.floor("task"), *arguments)
