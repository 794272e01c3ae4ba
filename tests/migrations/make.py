#!/usr/bin/env python3
"""Makes a queue with a task in every state by a program, kills it with its keeper while tasks run, and prints the queue as SQL.

    tests/migrations/make.py PROGRAM > tests/migrations/schema_N.sql

PROGRAM is the last one whose newest migration is N; tests/queue_migrations.rs opens what is in this folder.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

SIMULATED = {"function": "simulate", "params": {"duration": 0}}
# In place of this machine's own, so that whoever opens the queue sees a reboot.
BOOT = "5f0c7d3e-0000-4000-8000-000000000001"


def shell(name, code, **more):
    return {"name": name, "function": "code_execution", "params": {"runtime": "terminal", "code": code}, "max_retries": 0} | more


class Daemon:
    def __init__(self, program, home):
        environment = {"PATH": os.environ["PATH"], "HOME": home, "BATCH_EXECUTOR_HOME": f"{home}/home"}
        self.process = subprocess.Popen([program, "daemon"], env=environment, cwd="/", stderr=subprocess.DEVNULL)
        self.path = f"{home}/home"
        self.until({"action": "status"}, lambda _: True)

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self.path}/daemon.sock")
            connection.sendall(json.dumps(request | {"cwd": "/"}).encode() + b"\n")
            answer = json.loads(connection.makefile().readline())
        assert answer["ok"], answer
        return answer["data"]

    def until(self, request, holds):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                data = self.ask(request)
                if holds(data):
                    return
            except (OSError, json.JSONDecodeError):
                pass
            time.sleep(0.01)
        sys.exit(f"never: {request}")

    def until_task(self, task_id, status):
        self.until({"action": "show", "task_id": task_id}, lambda task: task["status"] == status)


def fill(daemon):
    """Tasks 1 to 13; 8 and 9 run and take both places."""
    daemon.ask({"action": "add_batch", "name": "night", "tasks": [
        SIMULATED | {"name": "simulated"},
        shell("said", "echo out; echo err >&2"),
        {"name": "valued", "function": "custom_function",
         "params": {"code": "def process(n): return {'twice': 2 * n}", "args": {"n": 21}}},
        shell("failed", "echo no >&2; exit 3"),
        {"name": "retried", "function": "simulate", "params": {"duration": 0, "fail": 1}, "retry_delay": 0},
    ]})
    daemon.ask({"action": "start", "max_concurrent": 2, "keep": True})
    for task_id in (1, 2, 3, 5):
        daemon.until_task(task_id, "completed")
    daemon.until_task(4, "failed")
    daemon.ask({"action": "add"} | shell("cancelled", "sleep 60"))
    daemon.until_task(6, "running")
    daemon.ask({"action": "cancel", "task_id": 6})
    daemon.until_task(6, "cancelled")
    daemon.ask({"action": "add"} | shell("waits for its retry", "exit 1", max_retries=2, retry_delay=100000))
    daemon.until({"action": "show", "task_id": 7}, lambda task: task["retry_count"] == 1)
    daemon.ask({"action": "add"} | shell("runs", "echo running; exec sleep 600"))
    daemon.ask({"action": "add"} | shell("runs too", "exec sleep 600"))
    daemon.until_task(8, "running")
    daemon.until_task(9, "running")
    daemon.ask({"action": "add", "name": "delayed", "delay": 100000} | SIMULATED)
    daemon.ask({"action": "add_batch", "request_key": "key", "tasks": [
        SIMULATED | {"name": "high", "priority": "high"}, SIMULATED, {"function": "later"}, {"bad": 1}]})


def keeper_of(daemon):
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(daemon.process.pid)], stdout=subprocess.PIPE, check=True)
    return int(children.stdout)


def main():
    with tempfile.TemporaryDirectory(prefix="bx-") as home:
        daemon = Daemon(os.path.abspath(sys.argv[1]), home)
        keeper = keeper_of(daemon)
        try:
            fill(daemon)
        finally:
            os.kill(daemon.process.pid, signal.SIGKILL)
            os.kill(keeper, signal.SIGKILL)
            daemon.process.wait()
        queue = sqlite3.connect(f"{home}/home/queue.db")
        queue.execute("UPDATE clock SET boot = ?", (BOOT,))
        print("PRAGMA auto_vacuum = 2;\nPRAGMA application_id = 1113671032;")
        print("\n".join(queue.iterdump()))


main()
