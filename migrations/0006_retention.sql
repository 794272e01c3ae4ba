-- Since when a completed task is kept, in queue time: a wall clock that is set removes nothing. Null unless completed.
ALTER TABLE task ADD COLUMN kept_since INTEGER;

UPDATE task SET kept_since = coalesce((SELECT queue_ms - max(0, wall_ms - task.finished_at) FROM clock), 0)
WHERE state = 3;

-- Read by retention, from the oldest on.
CREATE INDEX task_kept ON task (kept_since) WHERE state = 3;
