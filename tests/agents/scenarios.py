"""What agents do with `batch-executor mcp`, through the protocol's Python SDK: 2.x speaks the current revision, 1.x the older ones.

usage: scenarios.py PROGRAM    (a scenario that does not hold ends it with its traceback)
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import asynccontextmanager

import mcp
from mcp import StdioServerParameters

MODERN = hasattr(mcp, "Client")
PROGRAM = os.path.abspath(sys.argv[1])
ROOT = tempfile.TemporaryDirectory(prefix="be-agents-")
WORK = os.path.join(ROOT.name, "work")
ENV = {
    "BATCH_EXECUTOR_HOME": os.path.join(ROOT.name, "home"),
    "XDG_CONFIG_HOME": os.path.join(ROOT.name, "config"),
    "PATH": os.environ["PATH"],
}


class Agent:
    """A client of either age."""

    def __init__(self, session, version):
        self.session = session
        self.version = version

    async def tool(self, tool, progress=None, /, **arguments):
        result = await self.session.call_tool(tool, arguments, progress_callback=progress)
        failed = result.is_error if MODERN else result.isError
        data = result.structured_content if MODERN else result.structuredContent
        return failed, result.content[0].text, data

    async def ok(self, tool, progress=None, /, **arguments):
        failed, text, data = await self.tool(tool, progress, **arguments)
        assert not failed, text
        return data


@asynccontextmanager
async def agent():
    server = StdioServerParameters(command=PROGRAM, args=["mcp"], env=ENV, cwd=WORK)
    if MODERN:
        async with mcp.Client(server) as client:
            yield Agent(client, client.protocol_version)
    else:
        from mcp.client.stdio import stdio_client

        async with stdio_client(server) as (reading, writing), mcp.ClientSession(reading, writing) as session:
            hello = await session.initialize()
            yield Agent(session, hello.protocolVersion)


def shell(code, **fields):
    return {"function": "code_execution", "params": {"runtime": "terminal", "code": code}, "max_retries": 0, **fields}


def bridges():
    """The pids of the servers that this process has started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                parent = stat.read().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(pid))
        except OSError:
            pass
    return found


async def every_tool_does_what_it_says():
    async with agent() as a:
        assert a.version == ("2026-07-28" if MODERN else "2025-11-25"), a.version
        # The SDK holds each answer against the tool's output schema.
        tools = {tool.name for tool in (await a.session.list_tools()).tools}
        one = await a.ok("add", name="one", **shell("echo one"))
        batch = await a.ok("add_batch", tasks=[shell("echo two"), shell("exit 3"), shell("echo three", delay=3600)])
        assert batch["task_ids"] == [one["task_id"] + 1, one["task_id"] + 2, one["task_id"] + 3]
        await a.ok("update", task_ids=[batch["last_task_id"]], priority="critical")
        await a.ok("start", max_concurrent=2, keep=True)
        waited = await a.ok("wait", task_ids=[one["task_id"], *batch["task_ids"][:2]])
        assert (waited["counts"]["completed"], waited["counts"]["failed"]) == (2, 1)
        status = await a.ok("status", detailed=True)
        assert [b["batch_id"] for b in status["batches"]] == [2] and status["counts"]["queued"] == 1
        failed = await a.ok("results", filter_status="failed")
        assert [t["exit_code"] for t in failed["tasks"]] == [3]
        shown = await a.ok("show", task_id=batch["task_ids"][1])
        assert shown["attempts"][0]["outcome"] == "failed"
        assert (await a.ok("logs", task_id=one["task_id"]))["text"] == "one\n"
        retried = await a.ok("retry", filter_status="failed")
        assert retried["requeued"] == 1
        await a.ok("wait", task_ids=[batch["task_ids"][1]])
        for action in ["pause", "resume"]:
            assert (await a.ok(action, task_id=batch["last_task_id"]))["count"] == 1
        cancelled = await a.ok("cancel", task_id=batch["last_task_id"])
        assert cancelled["cancelled_count"] == 1
        exported = await a.ok("export", format="jsonl", attempts=True)
        with open(exported["file"]) as lines:
            assert [len(json.loads(line)["attempts"]) for line in lines] == [1, 1, 2, 0]
        backup = await a.ok("backup", output_file="copy.db")
        assert os.path.getsize(backup["file"]) == backup["bytes"]
        assert (await a.ok("stop", wait=True))["state"] == "stopped"
        assert (await a.ok("clear"))["cleared"] == 4
        names = [f["name"] for f in (await a.ok("functions"))["functions"]]
        assert {"simulate", "command", "code_execution", "custom_function"} <= set(names), names
        whole = await a.ok("batch_executor", tool_name="batch_executor", tool_args={"action": "status"})
        assert whole["counts"]["total"] == 0
        used = "add add_batch update start wait status results show logs retry pause resume cancel export backup stop clear functions batch_executor"
        assert tools == set(used.split()), tools


async def what_is_wrong_is_said():
    async with agent() as a:
        for name, arguments, said in [
            ("add", {"name": "n"}, "`function` is missing"),
            ("add_batch", {"tasks": []}, "`tasks` is "),
            ("start", {"max_concurrent": 0}, "`max_concurrent` is 0, but must be a whole number from 1 to 10000"),
            ("status", {"batch_id": 99}, "no batch 99"),
            ("show", {"task_id": 99}, "no task 99"),
            ("logs", {"task_id": 99}, "no task 99"),
            ("update", {"task_ids": [99]}, "`update` needs at least one of"),
            ("cancel", {}, "`cancel` needs"),
            ("retry", {}, "`retry` needs"),
            ("pause", {"running": "kill"}, "`running` is \"kill\", but must be one of"),
            ("resume", {"task_id": 99}, "no task 99"),
            ("wait", {"timeout": -1}, "`timeout` is -1"),
            ("wait", {"batch_id": 99}, "no batch 99"),
            ("results", {"filter_status": "done"}, "`filter_status` is \"done\", but must be one of"),
            ("export", {"format": "xml"}, "`format` is \"xml\", but must be one of"),
            ("backup", {}, "`output_file` is missing"),
            ("clear", {"filter_status": "queued"}, "`filter_status` is \"queued\""),
            ("batch_executor", {"action": "x"}, "unknown action `x`"),
        ]:
            failed, text, _ = await a.tool(name, **arguments)
            assert failed and text.startswith(said), (name, arguments, text)
        assert (await a.ok("status"))["counts"]["total"] == 0


async def a_call_is_given_up_and_others_go_on():
    async with agent() as a:
        long = await a.ok("add", name="long", function="simulate", params={"duration": 600})
        await a.ok("start")
        told = []

        async def progress(done, total, message):
            told.append((done, total, message))

        try:
            await asyncio.wait_for(a.ok("wait", progress, timeout=300), 6)
            raise AssertionError("it waits")
        except asyncio.TimeoutError:
            pass
        assert told[0][1] == 1 and told[0][2] == "0 of 1 tasks have ended", told
        assert (await a.ok("status"))["counts"]["running"] == 1
    # SDK 1.x does not say that it gave up, and fails itself if the answer comes while it closes: so in a session of its own.
    async with agent() as a:
        await a.ok("cancel", task_id=long["task_id"])


async def the_bridge_dies_in_the_middle():
    try:
        async with agent() as a:
            batch = await a.ok("add_batch", tasks=[shell("sleep 1; echo done")] * 3, request_key="bridge")
            await a.ok("start", max_concurrent=3)
            waiting = asyncio.create_task(a.ok("wait", batch_id=batch["batch_id"]))
            await asyncio.sleep(0.2)
            [bridge] = bridges()
            os.kill(bridge, signal.SIGKILL)
            try:
                await asyncio.wait_for(waiting, 5)
            except Exception:
                pass
    except Exception:
        pass  # How a client takes the death of its server is its own affair.
    async with agent() as a:
        again = await a.ok("add_batch", tasks=[shell("sleep 1; echo done")] * 3, request_key="bridge")
        assert again["batch_id"] == batch["batch_id"] and again["repeated"]
        assert (await a.ok("wait", batch_id=batch["batch_id"]))["counts"]["completed"] == 3


async def the_daemon_dies_in_the_middle():
    async with agent() as a:
        batch = await a.ok("add_batch", tasks=[shell("sleep 1; echo done")] * 3)
        await a.ok("start", max_concurrent=3)
        waiting = asyncio.create_task(a.ok("wait", batch_id=batch["batch_id"]))
        await asyncio.sleep(0.2)
        for _ in range(3):
            os.kill((await a.ok("status"))["pid"], signal.SIGKILL)
        assert (await waiting)["counts"]["completed"] == 3
        assert (await a.ok("add", name="after", function="simulate"))["task_id"] == batch["last_task_id"] + 1


async def two_agents_at_once():
    async with agent() as one, agent() as two:

        async def work(a, name):
            ids = []
            for part in range(10):
                added = await a.ok("add_batch", name=name, tasks=[shell(f"echo {name} {part} {i}") for i in range(5)])
                await a.ok("start", max_concurrent=4)
                ids += added["task_ids"]
            await a.ok("wait", task_ids=ids)
            wrote = {(await a.ok("logs", task_id=task))["text"] for task in ids}
            assert wrote == {f"{name} {part} {i}\n" for part in range(10) for i in range(5)}

        await asyncio.gather(work(one, "one"), work(two, "two"))


async def a_request_is_sent_twice():
    async with agent() as a:
        tasks = [shell("echo once")] * 2
        first = await a.ok("add_batch", tasks=tasks, request_key="twice")
        second = await a.ok("add_batch", tasks=tasks, request_key="twice")
        assert second["batch_id"] == first["batch_id"] and second["repeated"]
        _, text, third = await a.tool("add_batch", tasks=tasks)
        assert "warning" not in text and third["batch_id"] > first["batch_id"]
        _, text, fourth = await a.tool("add_batch", tasks=tasks)
        assert f"batch {third['batch_id']} with the same 2 tasks was added" in text, text
        await a.ok("cancel", batch_id=fourth["batch_id"])


async def five_thousand_tasks():
    async with agent() as a:
        tasks = [{"name": f"t{i}", "function": "command", "params": {"argv": ["true"]}} for i in range(5000)]
        batch = await a.ok("add_batch", tasks=tasks, request_key="thousands")
        assert batch["added"] == 5000 and "task_ids" not in batch
        await a.ok("start", max_concurrent=8)
        while True:
            waited = await a.ok("wait", batch_id=batch["batch_id"], timeout=10)
            if waited["counts"]["queued"] + waited["counts"]["running"] == 0:
                break
        assert waited["counts"]["completed"] == 5000
        seen, cursor = [], None
        while True:
            page = {"batch_id": batch["batch_id"], "limit": 1000, "cursor": cursor}
            _, text, data = await a.tool("results", **page)
            assert len(text) + len(json.dumps(data)) < 50_000
            seen += [t["task_id"] for t in data["tasks"]]
            cursor = data["next_cursor"]
            if cursor is None:
                break
        assert seen == list(range(batch["first_task_id"], batch["last_task_id"] + 1))


async def megabytes_of_output():
    async with agent() as a:
        task = shell("i=0; while [ $i -lt 50000 ]; do echo line $i of a long output, and more of it to come; i=$((i+1)); done; echo THE END")
        added = await a.ok("add_batch", tasks=[task])
        await a.ok("start")
        await a.ok("wait", batch_id=added["batch_id"], timeout=120)
        _, text, data = await a.tool("results", batch_id=added["batch_id"])
        assert data["tasks"][0]["result"]["stdout"].endswith("THE END\n") and len(json.dumps(data)) < 33_000
        task_id, offset, whole = added["first_task_id"], 0, []
        while True:
            page = await a.ok("logs", task_id=task_id, offset=offset, max_bytes=1_000_000, limit=400_000)
            whole.append(page["text"])
            offset = page["next_offset"]
            if offset == page["size"]:
                break
        whole = "".join(whole)
        assert len(whole) == page["size"] > 2_500_000 and whole.count("\n") == 50_001
        found = await a.ok("logs", task_id=task_id, search="line 49999 of")
        assert found["text"].startswith("line 49999 of") and len(found["matches"]) == 1


async def what_can_be_read_and_picked():
    async with agent() as a:
        listed = (await a.session.list_resources()).resources
        assert str(listed[0].uri).startswith("batch://"), listed[0]
        read = (await a.session.read_resource(listed[0].uri)).contents[0]
        assert read.text.startswith("# Batch "), read
        prompt = await a.session.get_prompt("run_as_batch", {"commands": "make all"})
        assert "make all" in prompt.messages[0].content.text


async def main():
    os.mkdir(WORK)
    for scenario in [
        every_tool_does_what_it_says,
        what_is_wrong_is_said,
        a_call_is_given_up_and_others_go_on,
        the_bridge_dies_in_the_middle,
        the_daemon_dies_in_the_middle,
        two_agents_at_once,
        a_request_is_sent_twice,
        five_thousand_tasks,
        megabytes_of_output,
        what_can_be_read_and_picked,
    ]:
        begun = time.monotonic()
        await scenario()
        print(f"{scenario.__name__.replace('_', ' ')}: {time.monotonic() - begun:.1f} s", flush=True)


try:
    asyncio.run(main())
except BaseExceptionGroup as group:
    # The SDK's own groups around what went wrong.
    causes = [group]
    while any(isinstance(cause, BaseExceptionGroup) for cause in causes):
        causes = [leaf for cause in causes for leaf in getattr(cause, "exceptions", [cause])]
    for cause in causes:
        traceback.print_exception(cause)
    sys.exit(1)
finally:
    subprocess.run([PROGRAM, "daemon", "stop"], env=ENV, check=False)
    ROOT.cleanup()
