-- Set while a task is paused: while it is queued, the queue time from which on it may run when it is resumed (0: at once),
-- and then `ready_at` is null, so that neither the claim nor the timer sees it; while it runs, 0 where it is suspended and
-- -1 where it goes on to its end and is paused after. Of an ended task it says nothing.
ALTER TABLE task ADD COLUMN paused INTEGER;

-- 1: what is added to the batch is paused too.
ALTER TABLE batch ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
-- Read by `resume` of the executor, which says which batches are paused.
CREATE INDEX batch_paused ON batch (id) WHERE paused = 1;

-- Set while the executor is paused: what became of what ran then (codes of `Hold` in src/task.rs).
ALTER TABLE executor ADD COLUMN paused INTEGER;
