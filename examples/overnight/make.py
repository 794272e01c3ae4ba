"""Prints N small tasks (default 10,000) as JSON Lines: python3 make.py 10000 > tasks.jsonl"""
import json, sys

for i in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000):
    print(json.dumps({"name": f"night {i}", "function": "command", "params": {"argv": ["sh", "-c", f"sleep 0.01; echo {i}"]}}))
