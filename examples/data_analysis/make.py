"""50 CSV files described and 200 images halved in size."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batch

path = batch.folder()
for i in range(50):
    with open(os.path.join(path, f"data_{i:02}.csv"), "w") as file:
        file.write("value\n" + "".join(f"{(j * 37 + i * 11) % 101}\n" for j in range(500)))
for i in range(200):
    with open(os.path.join(path, f"image_{i:03}.ppm"), "wb") as file:
        file.write(b"P6 64 64 255\n" + bytes((x * 4 + i) % 256 for x in range(64 * 64 * 3)))
describe = """import json
try:
    import pandas
    d = pandas.read_csv('{name}')['value'].describe()
    print(json.dumps({{k: round(float(d[k]), 3) for k in ('mean', 'std', 'min', 'max')}}))
except ImportError:
    import csv, statistics
    v = [float(r['value']) for r in csv.DictReader(open('{name}'))]
    print(json.dumps({{'mean': round(statistics.mean(v), 3), 'std': round(statistics.stdev(v), 3), 'min': min(v), 'max': max(v)}}))
"""
halve = """try:
    from PIL import Image
    Image.open('{name}.ppm').resize((32, 32)).save('{name}_small.ppm')
except ImportError:
    data = open('{name}.ppm', 'rb').read()
    pixels = data[data.index(b'255\\n') + 4:]
    small = b''.join(pixels[(y * 64 + x) * 3:(y * 64 + x) * 3 + 3] for y in range(0, 64, 2) for x in range(0, 64, 2))
    open('{name}_small.ppm', 'wb').write(b'P6 32 32 255\\n' + small)
print('{name}_small.ppm')
"""
tasks = [batch.python(f"describe data_{i:02}.csv", describe.format(name=f"data_{i:02}.csv"), priority="high") for i in range(50)]
tasks += [batch.python(f"halve image_{i:03}.ppm", halve.format(name=f"image_{i:03}")) for i in range(200)]
batch.write(path, "data analysis and images", tasks)
