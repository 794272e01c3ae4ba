#!/usr/bin/env python3
"""Warm Python tasks against their floor and against cold ones, 2 at once, interleaved.

Floor: this interpreter in a bare loop that forks, runs the code and reaps. Then warm functions of ten lines of Python. `benches/warm.py PROGRAM [PYTHON]`: the release
program, and an interpreter (of a venv with pandas, say); what cannot be imported is left out.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

AT_ONCE = 2
ROUNDS = 5
# name, module to import before, code, tasks warm, tasks cold
CASES = [("trivial", None, "print(1)", 2000, 200), ("pandas", "pandas", "import pandas; print(1)", 800, 12)]
FLOOR = """
import os, sys, time
module, code, count, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if module:
    __import__(module)
import gc
gc.freeze()
os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
say = os.dup(2)
begun, running = time.monotonic(), 0
for _ in range(count):
    if running == at_once:
        os.wait()
        running -= 1
    if os.fork() == 0:
        exec(code)
        os._exit(0)
    running += 1
while running:
    os.wait()
    running -= 1
os.write(say, str(count / (time.monotonic() - begun)).encode())
"""


WORKER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"result": len(line)}), flush=True)
"""
FUNCTION_TASKS = 20_000


def runtime(module):
    """The configuration of Python; `module` False: cold."""
    return f"[runtimes.python]\nwarm = {'false' if module is False else 'true'}\nimports = {json.dumps([module] if module else [])}\n"


class Daemon:
    """The program on a home of its own."""

    def __init__(self, program, folder, python, settings):
        self.program, self.folder = program, folder
        config = os.path.join(folder, "config.toml")
        with open(config, "w") as file:
            file.write(settings)
        path = os.path.dirname(python) + ":" + os.environ["PATH"]
        self.environment = dict(os.environ, BATCH_EXECUTOR_HOME=os.path.join(folder, "home"), PATH=path)
        self.environment["BATCH_EXECUTOR_CONFIG"] = config
        self.process = subprocess.Popen([program, "daemon"], env=self.environment, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(os.path.join(folder, "home", "daemon.sock"))
                break
            except OSError:
                time.sleep(0.01)
        self.answers = self.socket.makefile()

    def call(self, **request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        assert answer["ok"], answer
        return answer["data"]

    def rate(self, code, count):
        return self.rate_of({"function": "code_execution", "params": {"runtime": "python", "code": code}}, count)

    def rate_of(self, task, count, at_once=AT_ONCE):
        task = {"name": "t", "max_retries": 0, **task}
        self.call(action="add_batch", tasks=[task] * count, cwd=self.folder)
        begun = time.monotonic()
        self.call(action="start", max_concurrent=at_once)
        data = self.call(action="wait")
        taken = time.monotonic() - begun
        assert data["counts"]["failed"] == 0, data
        return count / taken

    def stop(self):
        subprocess.run([self.program, "daemon", "stop"], env=self.environment, stdout=subprocess.DEVNULL)
        self.process.wait()


def main():
    program = os.path.abspath(sys.argv[1])
    python = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else sys.executable
    print(f"{'code':8} {'floor/s':>8} {'warm/s':>8} {'cold/s':>8} {'warm/floor':>11} {'warm/cold':>10}")
    for name, module, code, warm_count, cold_count in CASES:
        if module and subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode:
            print(f"{name:8} (cannot be imported by {python})")
            continue
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            warm, cold = Daemon(program, one, python, runtime(module)), Daemon(program, other, python, runtime(False))
            rates = []
            warm.rate(code + "\nimport time; time.sleep(0.3)", 20)
            for _ in range(ROUNDS):
                words = [python, "-c", FLOOR, module or "", code, str(warm_count), str(AT_ONCE)]
                floor = float(subprocess.run(words, stderr=subprocess.PIPE, text=True, check=True).stderr)
                rates.append((floor, warm.rate(code, warm_count), cold.rate(code, cold_count)))
            floor, hot, slow = (statistics.median(column) for column in zip(*rates))
            of_floor = statistics.median(hot / floor for floor, hot, _ in rates)
            of_cold = statistics.median(hot / slow for _, hot, slow in rates)
            print(f"{name:8} {floor:8.0f} {hot:8.0f} {slow:8.1f} {of_floor:11.2f} {of_cold:10.1f}", flush=True)
            warm.stop()
            cold.stop()
    functions(program, python)


def functions(program, python):
    """Tasks a second of a warm function, by how many run at once (each has a worker of its own)."""
    with tempfile.TemporaryDirectory() as folder:
        worker = os.path.join(folder, "worker.py")
        with open(worker, "w") as file:
            file.write(WORKER)
        settings = f"[functions.length]\ncommand = {json.dumps([python, worker])}\nwarm = true\n"
        daemon = Daemon(program, folder, python, settings)
        for at_once in (1, AT_ONCE, 16):
            rates = [daemon.rate_of({"function": "length"}, FUNCTION_TASKS, at_once) for _ in range(ROUNDS)]
            print(f"function {statistics.median(rates):17.0f}   {at_once} at once", flush=True)
        daemon.stop()


if __name__ == "__main__":
    main()
