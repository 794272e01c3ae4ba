import json, os, sys

given = sys.argv.pop(1)
if given.startswith("@"):
    with open(given[1:], encoding="utf-8") as file:
        given = file.read()
call = json.loads(given)
channel = os.fdopen(int(os.environ.pop("BATCH_EXECUTOR_VALUE_FD")), "w", encoding="utf-8")
os.set_inheritable(channel.fileno(), False)
space = {"__name__": "custom_function"}
exec(compile(call["code"], "<custom_function>", "exec"), space)
if not callable(space.get("process")):
    sys.exit("the code defines no function `process`")
value = space["process"](**call["args"])
try:
    text = json.dumps(value, allow_nan=False)
except (TypeError, ValueError) as error:
    sys.exit(f"the returned value cannot be written as JSON: {error}")
channel.write(text)
channel.close()
