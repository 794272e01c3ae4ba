//! Files of tasks.
