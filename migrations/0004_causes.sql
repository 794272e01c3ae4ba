-- How many attempts ended by each cause (codes of `Cause` in src/task.rs); changed with the attempts' rows, kept
-- when those are cleared.
CREATE TABLE cause_tally (
    cause    INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL
) STRICT;

INSERT INTO cause_tally (cause, attempts)
SELECT cause, count(*) FROM attempt WHERE cause IS NOT NULL GROUP BY cause;

-- Kills from outside that cost the task no retry; see src/queue/outside.rs.
ALTER TABLE task ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;

-- The cap while tasks are being killed from outside, and when (queue time) it is raised again.
ALTER TABLE executor ADD COLUMN lowered_to INTEGER;
ALTER TABLE executor ADD COLUMN raise_at INTEGER;
