"""What the figures were taken on."""
import os, platform, shutil, statistics, subprocess, sys, time

from run import PROGRAM, ROOT, output


def fdatasync_ms(run):
    """Medians of 4 KiB and its fdatasync: where the file grows, and over what is there."""
    file = os.open(f"{run.folder}/sync", os.O_RDWR | os.O_CREAT, 0o600)

    def once(grows):
        begun = time.monotonic()
        (os.write if grows else lambda to, block: os.pwrite(to, block, 0))(file, b"x" * 4096)
        os.fdatasync(file)
        return (time.monotonic() - begun) * 1000

    found = [round(statistics.median(once(grows) for _ in range(200)), 3) for grows in (True, False)]
    os.close(file)
    return found


def first_line(*command):
    """What a program says of itself; none where it is not there."""
    if shutil.which(command[0]) is None:
        return None
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter((said.stdout + said.stderr).splitlines()), None)


def described(run, home):
    """All of it, `home` being one whose daemon runs."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    grows, over = fdatasync_ms(run)
    versions = {
        "batch-executor": first_line(PROGRAM, "--version"), "commit": commit(), "SQLite": home.call("health")["sqlite"],
        "sqlite3": first_line("sqlite3", "--version"), "python": sys.version.split()[0], "cc": first_line("cc", "--version"),
        "xargs": first_line("xargs", "--version"), "parallel": first_line("parallel", "--version"),
        "tsp": first_line("tsp", "-V"), "pueue": first_line("pueue", "--version"),
    }
    return {
        "cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "fdatasync_grows_ms": grows, "fdatasync_over_ms": over, "load": round(os.getloadavg()[0], 1),
        "versions": {name: version for name, version in versions.items() if version},
    }


def commit():
    if shutil.which("git") is None or not os.path.exists(os.path.join(ROOT, ".git")):
        return None
    return output("git", "-C", ROOT, "describe", "--always", "--dirty").strip()
