"""SQLite alone: the daemon's tables and rows, and nothing else."""
import glob, os

from run import ROOT, output

GROUP = 256  # the most tasks of a wave

PRAGMAS = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;\n"
ADD = (
    "each INSERT INTO task (id, batch_id, name, function, priority, state, max_retries, retry_delay_ms, created_at)"
    " VALUES (?1, 1, ?3, 'simulate', 1, 0, 3, 1000, ?2)",
    """each INSERT INTO task_input (task_id, params, context_id) VALUES (?1, '{"duration":0}', 1)""",
)
ATTEMPT = (
    "each INSERT INTO attempt (task_id, number, started_at, finished_at, outcome, result)"
    """ VALUES (?1, 1, ?2, ?2, 0, '{"status":"simulated","duration":0.0}')"""
)
END = (
    "each UPDATE task SET state = 3, claim = NULL, attempts = 1, first_started_at = ?2, started_at = ?2, finished_at = ?2,"
    " run_ms = 0, kept_since = ?2 WHERE id = ?1"
)
# The next group is claimed in the transaction of the ends, as a wave of the daemon does it.
CLAIM = (
    "once SELECT task.id, batch_id, name, function, priority, attempts, retry_count, timeout_ms, params, context_id"
    " FROM task INDEXED BY task_ready CROSS JOIN task_input ON task_input.task_id = task.id"
    " WHERE state = 0 AND claim IS NULL ORDER BY priority DESC, task.id LIMIT ?3",
    f"each UPDATE task SET claim = ?1 WHERE id = ?1 + {GROUP}",
)
FINAL = (
    "each INSERT INTO task (id, batch_id, name, function, priority, state, attempts, max_retries, retry_delay_ms, created_at,"
    " first_started_at, started_at, finished_at, run_ms, kept_since)"
    " VALUES (?1, 1, ?3, 'simulate', 1, 3, 1, 3, 1000, ?2, ?2, ?2, ?2, 0, ?2)",
    ADD[1],
    ATTEMPT,
)

# The columns of an export, as they are stored.
COLUMNS = {
    "task_id": "task.id", "batch_id": "batch_id", "name": "name", "function": "function", "params": "params", "priority": "priority",
    "status": "state", "reason": "reason", "created_at": "created_at", "started_at": "task.started_at",
    "finished_at": "task.finished_at", "execution_time": "run_ms", "wait_time": "first_started_at", "retry_count": "retry_count",
    "max_retries": "max_retries", "timeout": "timeout_ms", "retry_delay": "retry_delay_ms",
    "permanent_exit_codes": "permanent_exit_codes", "interruptions": "interruptions", "result": "result", "error": "error",
    "exit_code": "exit_code", "signal": "signal",
}
IN_JSON = {"params": "json(params)", "result": "json(result)", "permanent_exit_codes": "json(permanent_exit_codes)"}
IN_CSV = (
    "task_id", "name", "function", "status", "priority", "created_at", "started_at", "finished_at", "execution_time", "wait_time",
    "retry_count", "result", "error", "batch_id", "exit_code", "signal", "interruptions",
)


def selected(columns, where):
    return (
        f"SELECT {columns} FROM task JOIN task_input ON task_input.task_id = task.id LEFT JOIN attempt"
        f" ON attempt.task_id = task.id AND attempt.number = task.attempts WHERE {where} ORDER BY task.id"
    )


def as_json(where):
    return selected("json_object(" + ", ".join(f"'{name}', {IN_JSON.get(name, column)}" for name, column in COLUMNS.items()) + ")", where)


def as_csv(where):
    return selected(", ".join(COLUMNS[name] for name in IN_CSV), where)


class Database:
    """A file in a folder of its own with the tables that migrations/ make."""

    def __init__(self, run, own_tables=True):
        self.program = run.floor("groups", *run.sqlite)
        self.folder = run.fresh("sqlite")
        self.setup(PRAGMAS + (schema() if own_tables else ""))
        self.work(0, GROUP, "once SELECT 1")

    def setup(self, sql):
        """What is carried out before the clock runs."""
        with open(f"{self.folder}/setup.sql", "w") as file:
            file.write(sql)

    def work(self, count, group, *statements):
        """Seconds and bytes written of `count` rows."""
        told = output(self.program, f"{self.folder}/db", f"{self.folder}/setup.sql", str(count), str(group), *statements)
        self.setup(PRAGMAS)
        seconds, written = told.split()
        return float(seconds), int(written)


def schema():
    return "BEGIN;\n" + "".join(open(path).read() for path in sorted(glob.glob(os.path.join(ROOT, "migrations/*.sql")))) + "COMMIT;\n"


def added(run, count, group):
    return Database(run).work(count, group, *ADD)


def added_raw(run, count, group):
    """The lines as they are into one table without an index."""
    database = Database(run, own_tables=False)
    database.setup(PRAGMAS + "CREATE TABLE line (text TEXT);")
    return database.work(count, group, "each INSERT INTO line VALUES (?4)")


def carried_out(run, count):
    """Claim and end of no-op tasks that are queued."""
    database = Database(run)
    database.work(count, 4096, *ADD)
    database.setup(PRAGMAS + f"UPDATE task SET claim = id WHERE id <= {GROUP};")
    return database.work(count, GROUP, END, ATTEMPT, *CLAIM)


def ended(run, count):
    """The final rows of no-op tasks that are queued, without a claim."""
    database = Database(run)
    database.work(count, 4096, *ADD)
    return database.work(count, GROUP, END, ATTEMPT)


def inserted_ended(run, count):
    """No-op tasks as they are in the end, inserted once."""
    return Database(run).work(count, GROUP, *FINAL)
