-- What has happened, from the oldest that is kept on; see src/queue/events.rs. A row for each commit that has something to
-- tell, written in it.
CREATE TABLE event (
    first  INTEGER PRIMARY KEY,  -- the number of the first of them
    last   INTEGER NOT NULL,
    at     INTEGER NOT NULL,     -- wall clock
    events TEXT NOT NULL         -- JSON array
) STRICT;

-- 1: the daemon that wrote last has closed the queue; 0: it was killed, if it does not run.
ALTER TABLE clock ADD COLUMN closed INTEGER NOT NULL DEFAULT 1;
