-- Since when a completed task is kept, in queue time: a wall clock that is set removes nothing. Null unless completed.
ALTER TABLE task ADD COLUMN kept_since INTEGER;

UPDATE task SET kept_since = coalesce((SELECT queue_ms - max(0, wall_ms - task.finished_at) FROM clock), 0)
WHERE state = 3;

-- Read by retention, from the oldest on.
CREATE INDEX task_kept ON task (kept_since) WHERE state = 3;

-- From here on `created_at` is queue time too: a wall clock that is set must not make a request's key forgotten, or the
-- request would be carried out twice.
UPDATE request_key SET created_at = coalesce((SELECT queue_ms - max(0, wall_ms - request_key.created_at) FROM clock), 0);
