"""Serves a local site or API on 127.0.0.1 while a command runs: python3 serve.py FOLDER -- COMMAND…

The port is written to FOLDER/port, where the tasks read it. /users/N answers JSON, slowly, and every fifth
one fails at its first hit; everything else is a file of FOLDER/site. Exits with the command's code.
"""
import functools, http.server, json, os, subprocess, sys, threading, time

folder, dashes, *command = sys.argv[1:]
assert dashes == "--", __doc__
hits = {}


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if not self.path.startswith("/users/"):
            return super().do_GET()
        number = int(self.path.rsplit("/", 1)[1])
        hits[number] = hits.get(number, 0) + 1
        time.sleep(0.05 + number % 10 / 100)
        failed = number % 5 == 0 and hits[number] == 1
        body = json.dumps({"error": "try again"} if failed else {"id": number, "name": f"User {number}"}).encode()
        self.send_response(500 if failed else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


site = os.path.join(folder, "site")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
threading.Thread(target=server.serve_forever, daemon=True).start()
with open(os.path.join(folder, "port"), "w") as file:
    file.write(str(server.server_port))
sys.exit(subprocess.run(command).returncode)
