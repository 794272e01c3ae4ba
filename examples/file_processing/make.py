"""100 CSV files, each summed by a task."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batch

path = batch.folder()
for i in range(100):
    with open(os.path.join(path, f"sales_{i:03}.csv"), "w") as file:
        file.write("day,amount\n" + "".join(f"{day},{day * i % 97}\n" for day in range(1, 366)))
code = "import csv, json\nrows = list(csv.DictReader(open('{name}')))\nprint(json.dumps({{'rows': len(rows), 'sum': sum(int(r['amount']) for r in rows)}}))"
tasks = [batch.python(f"sum sales_{i:03}.csv", code.format(name=f"sales_{i:03}.csv")) for i in range(100)]
batch.write(path, "file processing", tasks)
