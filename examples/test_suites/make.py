"""Test suites in parallel, each a terminal task."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batch

path = batch.folder()
for name, body in {
    "numbers": "self.assertEqual(sum(range(10)), 45)",
    "text": "self.assertEqual('a,b'.split(','), ['a', 'b'])",
    "time": "self.assertLess(__import__('datetime').date(2020, 1, 1), __import__('datetime').date(2021, 1, 1))",
}.items():
    with open(os.path.join(path, f"test_{name}.py"), "w") as file:
        file.write(f"import unittest\n\nclass Test(unittest.TestCase):\n    def test_it(self):\n        {body}\n")
with open(os.path.join(path, "suite.sh"), "w") as file:
    file.write("set -e\n[ \"$(printf 'b\\na\\n' | sort | head -n 1)\" = a ]\n[ $((6 * 7)) = 42 ]\necho shell suite: 2 passed\n")
commands = [f"python3 -m unittest -v test_{name}" for name in ("numbers", "text", "time")] + ["sh suite.sh"]
tasks = [{"name": command, "function": "code_execution", "max_retries": 0, "timeout": 60,
          "params": {"runtime": "terminal", "code": command}} for command in commands]
batch.write(path, "test suites", tasks)
