PRAGMA auto_vacuum = 2;
PRAGMA application_id = 1113671032;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'queue','2026-11-27 19:41:41',1,X'F1334CD603D25FF1CB66FE9720D341F16F9EC4B11E5327D6F2A7A5057137A5884280495010186FD77AC98D321C3AAAC1',2398388);
INSERT INTO "_sqlx_migrations" VALUES(2,'reads','2026-11-27 19:41:41',1,X'F0A73FB81F5DB7F83B44F5BF50E8BC086253A25E94DEE02BB4053B3AFD4E683BA35D41BF804E70C791937C35B9736BF8',893348);
INSERT INTO "_sqlx_migrations" VALUES(3,'suspects','2026-11-27 19:41:41',1,X'DADC9C5CB058116A1939FF27E3FD5159BBD1D66C397C9EEB1C276A6C6FA826F9B4AE7C9A3E5BBD970D133CA2CA57408C',492504);
INSERT INTO "_sqlx_migrations" VALUES(4,'causes','2026-11-27 19:41:41',1,X'CC41A5002B9865910DE87EF672E929C462B5ED728D0E706EADCFC39D2E248626106433FC3745F3BE71792B6F52743622',1695256);
INSERT INTO "_sqlx_migrations" VALUES(5,'limits','2026-11-27 19:41:41',1,X'35F8BD838BD5E626F7DF023282BD4634A8699D7590B155FE9D97FD7302AFB258BCDFCF2BAC64FBE11E869FE2D0B04952',1406127);
INSERT INTO "_sqlx_migrations" VALUES(6,'retention','2026-11-27 19:41:41',1,X'C59A385D31F20445AD05A8AB506C1387A7685D357AA92F6B873BFEAAF8DCED98D79A682201C6FA586F7E1F14CD3A7CC2',1148984);
INSERT INTO "_sqlx_migrations" VALUES(7,'pause','2026-11-27 19:41:41',1,X'9A1DBDE5330F924F6CDDAA3F27E59E971B9D6F1EF24D7DEC0C0542455B1D8B09CB82AF721D6DC784AB1E1859EB5B2C2B',1620059);
INSERT INTO "_sqlx_migrations" VALUES(8,'events','2026-11-27 19:41:41',1,X'3EBF6A605D3C0FAA5A872C87EC3C26C8AC400C225340DC273F2D027B74D47F3BFD65F90E2E9D0E784D6794346E8765F7',903918);
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
INSERT INTO "attempt" VALUES(1,1,1795808501608,1795808501621,0,NULL,NULL,NULL,NULL,NULL,NULL,'{"duration":0.0,"status":"simulated"}',0,0,0);
INSERT INTO "attempt" VALUES(2,1,1795808501608,1795808501621,0,NULL,NULL,0,NULL,1410,26439680,NULL,1,0,0);
INSERT INTO "attempt" VALUES(3,1,1795808501621,1795808501702,0,NULL,NULL,0,NULL,41049,26886144,'{"twice":42}',1,0,0);
INSERT INTO "attempt" VALUES(4,1,1795808501622,1795808501630,1,NULL,'exit code 3: no',3,NULL,1403,26886144,NULL,1,0,0);
INSERT INTO "attempt" VALUES(5,1,1795808501630,1795808501630,1,NULL,'simulated failure',NULL,NULL,NULL,NULL,NULL,0,0,0);
INSERT INTO "attempt" VALUES(5,2,1795808501643,1795808501643,0,NULL,NULL,NULL,NULL,NULL,NULL,'{"duration":0.0,"status":"simulated"}',0,0,0);
INSERT INTO "attempt" VALUES(6,1,1795808501724,1795808501922,3,6,NULL,NULL,15,3126,26886144,NULL,1,0,0);
INSERT INTO "attempt" VALUES(7,1,1795808501943,1795808501945,1,NULL,'exit code 1',1,NULL,1731,26886144,NULL,1,0,0);
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
, paused INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "batch" VALUES(1,'night',1795808501599,0,0,0,4,1,0,115,0);
INSERT INTO "batch" VALUES(2,NULL,1795808501720,0,0,0,0,0,1,0,0);
INSERT INTO "batch" VALUES(3,NULL,1795808501939,0,1,0,0,0,0,0,0);
INSERT INTO "batch" VALUES(4,NULL,1795808501956,0,0,1,0,0,0,0,0);
INSERT INTO "batch" VALUES(5,NULL,1795808501958,0,0,1,0,0,0,0,0);
INSERT INTO "batch" VALUES(6,NULL,1795808502155,0,1,0,0,0,0,0,0);
INSERT INTO "batch" VALUES(7,NULL,1795808502158,0,3,0,0,0,0,0,0);
CREATE TABLE cause_tally (
    cause    INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL
) STRICT;
INSERT INTO "cause_tally" VALUES(6,1);
CREATE TABLE clock (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    queue_ms    INTEGER NOT NULL,
    boot        TEXT NOT NULL,
    boottime_ms INTEGER NOT NULL,
    wall_ms     INTEGER NOT NULL
, closed INTEGER NOT NULL DEFAULT 1) STRICT;
INSERT INTO "clock" VALUES(1,1,'5f0c7d3e-0000-4000-8000-000000000001',67297145,1795808501558,0);
CREATE TABLE context (
    id          INTEGER PRIMARY KEY,
    hash        BLOB NOT NULL UNIQUE,
    cwd         TEXT NOT NULL,
    environment TEXT NOT NULL
) STRICT;
INSERT INTO "context" VALUES(1,X'6C97B0224694C5D66F38AF40CE2BECCB2322DC1B9C8866669127DBB5FD01146D','/','{}');
CREATE TABLE event (
    first  INTEGER PRIMARY KEY,  -- the number of the first of them
    last   INTEGER NOT NULL,
    at     INTEGER NOT NULL,     -- wall clock
    events TEXT NOT NULL         -- JSON array
) STRICT;
INSERT INTO "event" VALUES(1,1,1795808501560,'[{"daemon_started":{"version":"0.1.0","after":"none"}}]');
INSERT INTO "event" VALUES(2,2,1795808501599,'[{"added":{"batch_id":1,"first":1,"last":5}}]');
INSERT INTO "event" VALUES(3,3,1795808501604,'[{"executor":{"state":"running","reason":null,"max_concurrent":2}}]');
INSERT INTO "event" VALUES(4,5,1795808501618,'[{"s":[1,1]},{"s":[2,1]}]');
INSERT INTO "event" VALUES(6,9,1795808501629,'[{"e":[2,1,3]},{"e":[1,1,3]},{"s":[3,1]},{"s":[4,1]}]');
INSERT INTO "event" VALUES(10,12,1795808501639,'[{"e":[4,1,4]},{"s":[5,1]},{"e":[5,1,0]}]');
INSERT INTO "event" VALUES(13,14,1795808501647,'[{"s":[5,2]},{"e":[5,2,3]}]');
INSERT INTO "event" VALUES(15,17,1795808501702,'[{"e":[3,1,3]},{"batch_ended":{"batch_id":1,"name":"night","counts":{"total":5,"queued":0,"running":0,"completed":4,"failed":1,"cancelled":0}}},"idle"]');
INSERT INTO "event" VALUES(18,18,1795808501720,'[{"added":{"batch_id":2,"first":6,"last":6}}]');
INSERT INTO "event" VALUES(19,19,1795808501904,'[{"s":[6,1]}]');
INSERT INTO "event" VALUES(20,22,1795808501925,'[{"e":[6,1,5]},{"batch_ended":{"batch_id":2,"name":null,"counts":{"total":1,"queued":0,"running":0,"completed":0,"failed":0,"cancelled":1}}},"idle"]');
INSERT INTO "event" VALUES(23,23,1795808501939,'[{"added":{"batch_id":3,"first":7,"last":7}}]');
INSERT INTO "event" VALUES(24,25,1795808501945,'[{"s":[7,1]},{"e":[7,1,1]}]');
INSERT INTO "event" VALUES(26,26,1795808501956,'[{"added":{"batch_id":4,"first":8,"last":8}}]');
INSERT INTO "event" VALUES(27,27,1795808501958,'[{"added":{"batch_id":5,"first":9,"last":9}}]');
INSERT INTO "event" VALUES(28,29,1795808502147,'[{"s":[8,1]},{"s":[9,1]}]');
INSERT INTO "event" VALUES(30,30,1795808502155,'[{"added":{"batch_id":6,"first":10,"last":10}}]');
INSERT INTO "event" VALUES(31,31,1795808502158,'[{"added":{"batch_id":7,"first":11,"last":13}}]');
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
, lowered_to INTEGER, raise_at INTEGER, paused INTEGER) STRICT;
INSERT INTO "executor" VALUES(1,1,NULL,2,1,NULL,NULL,1,14,NULL,NULL,NULL);
CREATE TABLE output (
    task_id INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    frames  BLOB NOT NULL,
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "output" VALUES(2,1,X'01040000006F75740A02040000006572720A');
INSERT INTO "output" VALUES(3,1,X'030D0000007B227477696365223A2034327D');
INSERT INTO "output" VALUES(4,1,X'02030000006E6F0A');
CREATE TABLE request_key (
    key        TEXT PRIMARY KEY,
    hash       BLOB NOT NULL,
    batch_id   INTEGER NOT NULL,
    answer     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO "request_key" VALUES('auto:edcb24eaa0c2776f8026b88436a3bbb8',X'7890F119C82121559140E675700038FE6BC2FF90C56F053BA97575421AE4FC8B',1,'{"batch_id":1,"first":1,"last":5,"position":5,"queued":5,"errors":[]}',43);
INSERT INTO "request_key" VALUES('key',X'AE031608A5D906B2090705216E7295E80C7E4A369D67F74A213D723F9E19BB55',7,'{"batch_id":7,"first":11,"last":13,"position":1,"queued":5,"errors":[{"index":3,"error":"`function` is missing"}]}',601);
CREATE TABLE stale_file (
    path TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE suspect (
    task_id INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE tally (
    state    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    tasks    INTEGER NOT NULL,
    run_ms   INTEGER NOT NULL,
    PRIMARY KEY (state, priority)
) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES(0,0,0,0);
INSERT INTO "tally" VALUES(0,1,2,0);
INSERT INTO "tally" VALUES(0,2,1,0);
INSERT INTO "tally" VALUES(0,3,0,0);
INSERT INTO "tally" VALUES(1,0,0,0);
INSERT INTO "tally" VALUES(1,1,2,0);
INSERT INTO "tally" VALUES(1,2,0,0);
INSERT INTO "tally" VALUES(1,3,0,0);
INSERT INTO "tally" VALUES(2,0,0,0);
INSERT INTO "tally" VALUES(2,1,2,0);
INSERT INTO "tally" VALUES(2,2,0,0);
INSERT INTO "tally" VALUES(2,3,0,0);
INSERT INTO "tally" VALUES(3,0,0,0);
INSERT INTO "tally" VALUES(3,1,4,107);
INSERT INTO "tally" VALUES(3,2,0,0);
INSERT INTO "tally" VALUES(3,3,0,0);
INSERT INTO "tally" VALUES(4,0,0,0);
INSERT INTO "tally" VALUES(4,1,1,8);
INSERT INTO "tally" VALUES(4,2,0,0);
INSERT INTO "tally" VALUES(4,3,0,0);
INSERT INTO "tally" VALUES(5,0,0,0);
INSERT INTO "tally" VALUES(5,1,1,198);
INSERT INTO "tally" VALUES(5,2,0,0);
INSERT INTO "tally" VALUES(5,3,0,0);
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
, forgiven INTEGER NOT NULL DEFAULT 0, kept_since INTEGER, paused INTEGER) STRICT;
INSERT INTO "task" VALUES(1,1,'simulated','simulate',1,3,NULL,NULL,0,1,0,0,3,1000,NULL,NULL,1795808501599,1795808501608,1795808501608,1795808501621,13,NULL,0,72,NULL);
INSERT INTO "task" VALUES(2,1,'said','code_execution',1,3,NULL,NULL,0,1,0,0,0,1000,NULL,NULL,1795808501599,1795808501608,1795808501608,1795808501621,13,NULL,0,72,NULL);
INSERT INTO "task" VALUES(3,1,'valued','custom_function',1,3,NULL,NULL,0,1,0,0,3,1000,NULL,NULL,1795808501599,1795808501621,1795808501621,1795808501702,81,NULL,0,145,NULL);
INSERT INTO "task" VALUES(4,1,'failed','code_execution',1,4,NULL,NULL,0,1,0,0,0,1000,NULL,NULL,1795808501599,1795808501622,1795808501622,1795808501630,8,'no retries allowed',0,NULL,NULL);
INSERT INTO "task" VALUES(5,1,'retried','simulate',1,3,NULL,NULL,0,2,1,0,3,0,NULL,NULL,1795808501599,1795808501630,1795808501643,1795808501643,0,NULL,0,90,NULL);
INSERT INTO "task" VALUES(6,2,'cancelled','code_execution',1,5,NULL,NULL,0,1,0,0,0,1000,NULL,NULL,1795808501720,1795808501724,1795808501724,1795808501922,198,'cancelled by request',0,NULL,NULL);
INSERT INTO "task" VALUES(7,3,'waits for its retry','code_execution',1,1,118479165,NULL,0,1,1,0,2,100000000,NULL,NULL,1795808501939,1795808501943,1795808501943,1795808501945,2,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(8,4,'runs','code_execution',1,2,NULL,9,0,1,0,0,0,1000,NULL,NULL,1795808501956,1795808501958,1795808501958,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(9,5,'runs too','code_execution',1,2,NULL,10,0,1,0,0,0,1000,NULL,NULL,1795808501958,1795808501960,1795808501960,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(10,6,'delayed','simulate',1,1,100000598,NULL,0,0,0,0,3,1000,NULL,NULL,1795808502155,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(11,7,'high','simulate',2,0,NULL,11,0,0,0,0,3,1000,NULL,NULL,1795808502158,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(12,7,'Task 2','simulate',1,0,NULL,12,0,0,0,0,3,1000,NULL,NULL,1795808502158,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(13,7,'Task 3','later',1,0,NULL,13,0,0,0,0,3,1000,NULL,NULL,1795808502158,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE task_input (
    task_id    INTEGER PRIMARY KEY,
    params     TEXT NOT NULL,
    context_id INTEGER NOT NULL
, limits TEXT) STRICT;
INSERT INTO "task_input" VALUES(1,'{"duration":0}',1,NULL);
INSERT INTO "task_input" VALUES(2,'{"code":"echo out; echo err >&2","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(3,'{"args":{"n":21},"code":"def process(n): return {''twice'': 2 * n}"}',1,NULL);
INSERT INTO "task_input" VALUES(4,'{"code":"echo no >&2; exit 3","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(5,'{"duration":0,"fail":1}',1,NULL);
INSERT INTO "task_input" VALUES(6,'{"code":"sleep 60","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(7,'{"code":"exit 1","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(8,'{"code":"echo running; exec sleep 600","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(9,'{"code":"exec sleep 600","runtime":"terminal"}',1,NULL);
INSERT INTO "task_input" VALUES(10,'{"duration":0}',1,NULL);
INSERT INTO "task_input" VALUES(11,'{"duration":0}',1,NULL);
INSERT INTO "task_input" VALUES(12,'{"duration":0}',1,NULL);
INSERT INTO "task_input" VALUES(13,'{}',1,NULL);
CREATE INDEX task_ready ON task (priority DESC, id) WHERE state = 0;
CREATE INDEX task_waiting ON task (ready_at) WHERE state = 1;
CREATE UNIQUE INDEX task_claimed ON task (claim) WHERE claim IS NOT NULL;
CREATE INDEX task_running ON task (id) WHERE state = 2;
CREATE INDEX task_ended ON task (state, finished_at) WHERE state >= 3;
CREATE INDEX task_batch ON task (batch_id, id);
CREATE INDEX request_key_age ON request_key (created_at);
CREATE INDEX task_ended_id ON task (state, id) WHERE state >= 3;
CREATE INDEX task_waiting_id ON task (id) WHERE state = 1;
CREATE INDEX task_batch_ended ON task (batch_id, state, finished_at) WHERE state >= 3;
CREATE INDEX task_kept ON task (kept_since) WHERE state = 3;
CREATE INDEX batch_paused ON batch (id) WHERE paused = 1;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('batch',7);
INSERT INTO "sqlite_sequence" VALUES('task',13);
COMMIT;
