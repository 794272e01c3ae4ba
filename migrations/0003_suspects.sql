-- Tasks that were claimed when the machine went down; see src/queue/suspects.rs. Few, and forgotten when they start.
CREATE TABLE suspect (
    task_id INTEGER PRIMARY KEY
) STRICT;
