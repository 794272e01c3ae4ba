//! What must hold of every queue, whatever happened to it.

/// Tallies that are not the rows.
pub const DIFFERENCES: &str = "SELECT 'batch ' || id FROM batch
    WHERE (queued, running, completed, failed, cancelled, run_ms) IS NOT
        (SELECT count(*) FILTER (WHERE state < 2), count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3),
             count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5),
             coalesce(sum(run_ms) FILTER (WHERE state IN (3, 4)), 0) FROM task WHERE batch_id = batch.id)
    UNION ALL SELECT 'state ' || state || ', priority ' || priority FROM tally
    WHERE (tasks, run_ms) IS NOT (SELECT count(*), coalesce(sum(run_ms) FILTER (WHERE task.state >= 3), 0) FROM task
        WHERE task.state = tally.state AND task.priority = tally.priority)";
