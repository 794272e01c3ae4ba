"""50 endpoints of a local server that is slow and fails now and then, so that retries show."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batch

path = batch.folder()
code = "import urllib.request\nport = open('port').read()\nprint(urllib.request.urlopen(f'http://127.0.0.1:{{port}}/users/{number}').read().decode())"
tasks = [batch.python(f"fetch user {n}", code.format(number=n), retry_delay=0.2, timeout=10) for n in range(1, 51)]
serve = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve.py")
run = f"python3 {os.path.normpath(serve)} {{folder}} -- batch-executor run {{batch}} --max-concurrent 10"
batch.write(path, "API calls", tasks, run)
