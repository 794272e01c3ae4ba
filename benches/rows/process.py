"""Processes: how many tiny tasks a second."""
import peers
from home import Home, tasks_file
from model import FLOOR, OURS, Line, at_least, row

TRUE = ("/bin/true",)


def ours(run, count, at_once, argv):
    path = tasks_file(run, count, "command", argv=list(argv))
    with Home(run) as home:
        home.add(path, count)
        return count / home.run_all(at_once)


def processes(name, at_once, prints, must, aim, with_peers):
    what = f"process tasks, {at_once} at once, {'1 KiB of output each' if prints else '/bin/true'}"
    xargs = f"xargs -P{at_once}"
    musts = [at_least(must, aim)] + ([at_least(1, than=xargs)] if with_peers else [])
    files = ", a file opened for each" if prints else ""

    @row(name, [Line(name, what, "tasks/s", tuple(musts))], f"C loop of posix_spawn and wait4, {at_once} at once{files}")
    def sides(run):
        count = run.pick(20_000, 2_000)
        argv = run.task("print") if prints else TRUE
        yield {
            FLOOR: lambda: count / run.bare(count, at_once, *argv, files=prints),
            OURS: lambda: ours(run, count, at_once, argv),
            **(peers.running(run, at_once) if with_peers else {}),
        }

    return sides


ROWS = [
    processes("process-2", 2, False, 0.65, 0.85, True),
    processes("process-16", 16, False, 0.6, 0.8, False),
    processes("output-2", 2, True, 0.6, 0.8, False),
    processes("output-16", 16, True, 0.6, 0.8, False),
]
