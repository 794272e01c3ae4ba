"""The rows of the table, in its order."""
from rows import process, noop

ROWS = [*process.ROWS, *noop.ROWS]
