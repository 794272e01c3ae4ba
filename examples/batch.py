"""What the examples share: the folder to work in, and writing the batch with the command to type."""
import json, os, sys


def folder():
    """The folder given on the command line, else ./work; made, absolute."""
    path = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "work")
    os.makedirs(path, exist_ok=True)
    return path


def write(path, name, tasks, run="batch-executor run {batch}"):
    """Writes the batch and says what to type."""
    batch = os.path.join(path, "batch.json")
    with open(batch, "w") as file:
        json.dump({"name": name, "defaults": {"cwd": path}, "tasks": tasks}, file, indent=1)
    print(run.format(batch=batch, folder=path))


def python(name, code, **fields):
    """A task that runs Python code."""
    return {"name": name, "function": "code_execution", "params": {"runtime": "python", "code": code}, **fields}
