-- The reads that would walk what has finished or what belongs to others. Each index costs every change of
-- the rows that it holds, so there is none for what other indexes give: queued tasks by id are merged from
-- `task_ready` (by id within a priority) and `task_waiting_id`; a batch's tasks of one status by id are
-- found along `task_batch`, once for all pages together.

-- Read by `results`, `export` and `retry` of an ended status, by id. It replaces the one of failed and
-- cancelled tasks alone.
DROP INDEX task_retryable;
CREATE INDEX task_ended_id ON task (state, id) WHERE state >= 3;

-- Read by `results` and `export` of queued tasks, by id.
CREATE INDEX task_waiting_id ON task (id) WHERE state = 1;

-- Read by the latest ends of a batch in `status`, and by `clear` of a batch.
CREATE INDEX task_batch_ended ON task (batch_id, state, finished_at) WHERE state >= 3;
