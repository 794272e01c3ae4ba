"""The rows of the table, in its order."""
from rows import adding, latency, million, noop, process, still, together

ROWS = [*process.ROWS, *noop.ROWS, *adding.ROWS, *latency.ROWS, *together.ROWS, *still.ROWS, *million.ROWS]
