import json, os, sys, types

given = sys.argv.pop(1)
if given.startswith("@"):
    with open(given[1:], encoding="utf-8") as file:
        given = file.read()
call = json.loads(given)
channel = os.fdopen(int(os.environ.pop("BATCH_EXECUTOR_VALUE_FD")), "w", encoding="utf-8")
os.set_inheritable(channel.fileno(), False)


def unusable(why):
    channel.write("!" + why)
    channel.close()
    sys.exit(why)


# A module that can be found by its name: pickle and dataclasses look for it.
module = sys.modules["custom_function"] = types.ModuleType("custom_function")
try:
    code = compile(call["code"], "<custom_function>", "exec")
except SyntaxError as error:
    unusable(f"`params.code` is not Python: {error}")
exec(code, module.__dict__)
process = getattr(module, "process", None)
if not callable(process):
    unusable("`params.code` defines no function `process`")
try:
    value = process(**call["args"])
except TypeError:
    import inspect

    try:
        inspect.signature(process).bind(**call["args"])
    except TypeError as error:
        unusable(f"`params.args` does not fit `process`: {error}")
    raise
if isinstance(value, types.CoroutineType):
    import asyncio

    value = asyncio.run(value)
try:
    text = json.dumps(value, allow_nan=False)
except (TypeError, ValueError) as error:
    sys.exit(f"the returned value cannot be written as JSON: {error}")
channel.write(text)
channel.close()
