//! The program `batch-executor`.

fn main() {}
