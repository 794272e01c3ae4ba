#!/usr/bin/env python3
"""A client on the bare socket: adds a batch, runs it, waits, and says what failed. Python alone is needed.

    python3 examples/client.py 'echo one' 'exit 3'
"""
import json, os, socket, sys, uuid


def home():
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.environ.get("BATCH_EXECUTOR_HOME") or os.path.join(data, "batch-executor")


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(home(), "daemon.sock"))
        self.answers = self.socket.makefile("rb")

    def call(self, action, **parameters):
        self.socket.sendall(json.dumps({"action": action, **parameters}).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if not answer["ok"]:
            raise SystemExit(f"{action}: {answer['message']}")
        return answer["data"]


client = Client()
tasks = [{"name": line, "function": "code_execution", "params": {"runtime": "terminal", "code": line}, "max_retries": 0} for line in sys.argv[1:]]
batch = client.call("add_batch", tasks=tasks, request_key=str(uuid.uuid4()))["batch_id"]
client.call("start", max_concurrent=4)
counts = client.call("wait", batch_id=batch)["counts"]
print(f"{counts['completed']} completed, {counts['failed']} failed")
for task in client.call("results", batch_id=batch, filter_status="failed")["tasks"]:
    print(f"{task['name']}: {task['error']}")
