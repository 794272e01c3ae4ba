-- The queue. Times are integer milliseconds: wall clock (UTC) for what is shown, queue time (see
-- `clock`) for what is due. States and causes are the codes of src/task.rs and src/queue/state.rs.

-- An `add_batch` call, with the tally of its tasks.
CREATE TABLE batch (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT,
    created_at INTEGER NOT NULL,
    expecting  INTEGER NOT NULL DEFAULT 0,  -- 1: further parts will follow
    queued     INTEGER NOT NULL DEFAULT 0,
    running    INTEGER NOT NULL DEFAULT 0,
    completed  INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    cancelled  INTEGER NOT NULL DEFAULT 0,
    run_ms     INTEGER NOT NULL DEFAULT 0   -- of its completed and failed tasks
) STRICT;

-- Hot: what changes with every change of state.
CREATE TABLE task (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id             INTEGER NOT NULL,
    name                 TEXT NOT NULL,
    function             TEXT NOT NULL,
    priority             INTEGER NOT NULL,
    state                INTEGER NOT NULL,            -- 0 ready, 1 waiting, 2 running, 3 completed, 4 failed, 5 cancelled
    ready_at             INTEGER,                     -- queue time; while waiting
    claim                INTEGER,                     -- while an attempt is with the backend
    cancel_requested     INTEGER NOT NULL DEFAULT 0,  -- any end of the open attempt gives cancelled
    attempts             INTEGER NOT NULL DEFAULT 0,  -- attempts begun
    retry_count          INTEGER NOT NULL DEFAULT 0,
    interruptions        INTEGER NOT NULL DEFAULT 0,
    max_retries          INTEGER NOT NULL,
    retry_delay_ms       INTEGER NOT NULL,
    timeout_ms           INTEGER,
    permanent_exit_codes TEXT,                        -- JSON array
    created_at           INTEGER NOT NULL,
    first_started_at     INTEGER,
    started_at           INTEGER,
    finished_at          INTEGER,
    run_ms               INTEGER,
    reason               TEXT
) STRICT;

-- Read by the claim, which skips the few that are claimed ahead.
CREATE INDEX task_ready ON task (priority DESC, id) WHERE state = 0;
-- Read by the timer of delays and retries.
CREATE INDEX task_waiting ON task (ready_at) WHERE state = 1;
-- Read by starts, ends and recovery.
CREATE UNIQUE INDEX task_claimed ON task (claim) WHERE claim IS NOT NULL;
-- Read by `results` and `status` of what runs.
CREATE INDEX task_running ON task (id) WHERE state = 2;
-- Read by `clear` and by the latest ends in `status`.
CREATE INDEX task_ended ON task (state, finished_at) WHERE state >= 3;
-- Read by `retry` and by `results` of what failed.
CREATE INDEX task_retryable ON task (state, id) WHERE state IN (4, 5);
-- Read by everything that selects a batch.
CREATE INDEX task_batch ON task (batch_id, id);

-- Cold: what an attempt is started from.
CREATE TABLE task_input (
    task_id    INTEGER PRIMARY KEY,
    params     TEXT NOT NULL,
    context_id INTEGER NOT NULL
) STRICT;

-- A client's working directory and environment, stored once by hash.
CREATE TABLE context (
    id          INTEGER PRIMARY KEY,
    hash        BLOB NOT NULL UNIQUE,
    cwd         TEXT NOT NULL,
    environment TEXT NOT NULL
) STRICT;

-- One row for each attempt that has ended. A task's result, error, exit code and signal are those of its latest.
CREATE TABLE attempt (
    task_id     INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    outcome     INTEGER NOT NULL,
    cause       INTEGER,
    error       TEXT,
    exit_code   INTEGER,
    signal      INTEGER,
    cpu_us      INTEGER,
    max_rss     INTEGER,
    result      TEXT,                        -- JSON; null: the plain process result, made from exit code and output
    process     INTEGER NOT NULL DEFAULT 0,  -- 1: has a plain process result
    spilled     INTEGER NOT NULL DEFAULT 0,  -- 1: the output is a file under HOME/output/
    dropped     INTEGER NOT NULL DEFAULT 0,  -- bytes of output that were not kept
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;

-- The framed output of an attempt, when it was small and not empty.
CREATE TABLE output (
    task_id INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    frames  BLOB NOT NULL,
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;

-- How many tasks are in each state at each priority, and their run time. Changed with them, never counted.
CREATE TABLE tally (
    state    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    tasks    INTEGER NOT NULL,
    run_ms   INTEGER NOT NULL,
    PRIMARY KEY (state, priority)
) STRICT, WITHOUT ROWID;

INSERT INTO tally (state, priority, tasks, run_ms)
SELECT state.value, priority.value, 0, 0
FROM json_each('[0,1,2,3,4,5]') AS state, json_each('[0,1,2,3]') AS priority;

-- The executor: one row.
CREATE TABLE executor (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    state          INTEGER NOT NULL,
    reason         TEXT,
    max_concurrent INTEGER NOT NULL,
    keep           INTEGER NOT NULL,
    deadline       INTEGER,           -- queue time
    max_failures   INTEGER,
    failures       INTEGER NOT NULL,  -- tasks failed since it was started
    next_claim     INTEGER NOT NULL
) STRICT;

INSERT INTO executor VALUES (1, 0, NULL, 5, 0, NULL, NULL, 0, 1);

-- Queue time: advances with CLOCK_BOOTTIME within a boot, and by the wall clock across boots.
CREATE TABLE clock (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    queue_ms    INTEGER NOT NULL,
    boot        TEXT NOT NULL,
    boottime_ms INTEGER NOT NULL,
    wall_ms     INTEGER NOT NULL
) STRICT;

-- What was answered to a request with a key.
CREATE TABLE request_key (
    key        TEXT PRIMARY KEY,
    hash       BLOB NOT NULL,
    batch_id   INTEGER NOT NULL,
    answer     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX request_key_age ON request_key (created_at);

-- Output files whose task is gone; unlinked after the commit that says so.
CREATE TABLE stale_file (
    path TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
