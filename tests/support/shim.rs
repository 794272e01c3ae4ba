//! The disk between a daemon and its queue (`tests/shim/fault.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the shim into `folder`.
pub fn compile(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/fault.c");
    let library = folder.join("fault.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).args(["-ldl", "-lpthread"]);
    assert!(compiler.status().expect("cc").success(), "the shim does not compile");
    library
}
