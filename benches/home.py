"""A throw-away home with its daemon, and the daemon's socket."""
import json, os, shutil, socket, subprocess, time

from model import Broken
from run import LONG, PROGRAM, output


class Socket:
    """One connection: a request a line, an answer a line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONG)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def call(self, action, **fields):
        self.socket.sendall(json.dumps({"action": action, **fields}).encode() + b"\n")
        try:
            line = self.lines.readline()
        except TimeoutError:
            raise Broken(f"no answer to `{action}` within {LONG} s") from None
        answer = json.loads(line) if line else {"message": "the daemon closed the connection"}
        if not answer.get("ok"):
            raise Broken(f"{action}: {answer['message']}")
        return answer["data"]


class Home:
    def __init__(self, run):
        self.path = run.fresh("home")
        self.env = {**os.environ, "BATCH_EXECUTOR_HOME": self.path, "XDG_CONFIG_HOME": f"{self.path}/config"}
        self.address = f"{self.path}/daemon.sock"
        self.daemon = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.path, ignore_errors=True)

    def start(self):
        """Starts the daemon; gives the seconds until it has answered."""
        begun = time.monotonic()
        with open(f"{self.path}/bench.log", "ab") as log:
            self.daemon = subprocess.Popen([PROGRAM, "daemon"], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            try:
                self.call("status")
                return time.monotonic() - begun
            except (FileNotFoundError, ConnectionRefusedError):
                if self.daemon.poll() is not None or time.monotonic() > begun + 60:
                    self.stop()
                    raise Broken(f"the daemon does not come: {open(f'{self.path}/bench.log').read()[-500:]}") from None
                time.sleep(0.0005)

    def stop(self):
        """Ends the daemon, and its keeper with it."""
        if self.daemon is None:
            return
        try:
            if self.daemon.poll() is None:
                self.call("shutdown", grace=0)
                self.daemon.wait(60)
        except (OSError, Broken, subprocess.TimeoutExpired):
            self.daemon.kill()
            self.daemon.wait()
        self.daemon = None

    def connect(self):
        return Socket(self.address)

    def call(self, action, **fields):
        with self.connect() as daemon:
            return daemon.call(action, **fields)

    def cli(self, *arguments):
        return output(PROGRAM, *arguments, env=self.env, cwd=self.path)

    def add(self, path, count):
        """Adds the `count` tasks of a file; gives the seconds that the command took."""
        before = self.call("status")["counts"]["total"]
        begun = time.monotonic()
        self.cli("add-batch", path)
        took = time.monotonic() - begun
        total = self.call("status")["counts"]["total"]
        if total != before + count:
            raise Broken(f"{total - before} tasks were added, not {count}")
        return took

    def run_all(self, at_once):
        """Runs what is queued; gives the seconds from `start` to the last end. Every task must complete."""
        with self.connect() as daemon:
            begun = time.monotonic()
            daemon.call("start", max_concurrent=at_once)
            daemon.call("wait")
            took = time.monotonic() - begun
        self.check()
        return took

    def check(self):
        """All tasks completed, and no attempt was interrupted."""
        status = self.call("status")
        counts = status["counts"]
        if counts["completed"] != counts["total"] or sum(status["causes"].values()) > 0:
            raise Broken(f"not all tasks completed: {counts}, {status['causes']}")

    def keeper(self):
        return self.call("health")["keeper_pid"]


def tasks_file(run, count, function="simulate", **params):
    """A JSON Lines file of `count` tasks, made once. There is no second attempt: what fails is seen in the counts."""
    kind = "-".join(os.path.basename(str(value)) for value in (params.get("argv") or [params]))
    path = os.path.join(run.folder, f"{function}-{''.join(c for c in kind if c.isalnum())}-{count}.jsonl")
    if not os.path.exists(path):
        rest = json.dumps({"function": function, "params": params, "max_retries": 0}, separators=(",", ":"))[1:]
        with open(path, "w") as file:
            file.writelines(f'{{"name":"t{number}",{rest}\n' for number in range(1, count + 1))
    return path
