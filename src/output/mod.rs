//! What an attempt wrote: the framed log, and the result made from it. Pure but for reading log files.
