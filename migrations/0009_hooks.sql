-- The hooks of the configuration. A row is made when a daemon first meets a hook, and goes when one meets it no more.
CREATE TABLE hook (
    name    TEXT PRIMARY KEY,
    next    INTEGER NOT NULL,            -- the first event that it was not told of yet
    dropped INTEGER NOT NULL DEFAULT 0   -- deliveries that were given up because too many waited
) STRICT, WITHOUT ROWID;

-- What hooks tell: what waits, and the latest that does not.
CREATE TABLE hook_delivery (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hook       TEXT NOT NULL,
    event      TEXT NOT NULL,
    first      TEXT NOT NULL,               -- JSON array: the fields of the first events that it tells of
    count      INTEGER NOT NULL,            -- how many events it tells of
    test       INTEGER NOT NULL DEFAULT 0,  -- 1: asked for by `hooks test`
    state      INTEGER NOT NULL,            -- 0 pending, 1 delivered, 2 failed, 3 dropped
    attempts   INTEGER NOT NULL DEFAULT 0,  -- that have ended
    said       TEXT,                        -- how the latest ended
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    first_due  INTEGER NOT NULL,            -- queue time
    due        INTEGER NOT NULL             -- queue time, of the next attempt
) STRICT;

-- Read by the runner: what is due next of a hook.
CREATE INDEX hook_delivery_pending ON hook_delivery (hook, due, id) WHERE state = 0;
-- Read for the time of the latest of the same event, and for the latest of a hook.
CREATE INDEX hook_delivery_event ON hook_delivery (hook, event, first_due);
CREATE INDEX hook_delivery_hook ON hook_delivery (hook, id);
