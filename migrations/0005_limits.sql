-- What a task may take of the machine, as a JSON object; null: no limits. Beside what an attempt is started from, so
-- that a change of state does not write it.
ALTER TABLE task_input ADD COLUMN limits TEXT;
