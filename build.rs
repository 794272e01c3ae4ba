//! Rebuilds when a migration is added (`sqlx::migrate!` does not see a new file by itself), and says how the program is linked.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var(name).is_ok_and(|set| set == value);
    let is_static = var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|on| on.split(',').any(|one| one == "crt-static"));
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") && !is_static {
        // At a fixed address: else the loader writes into 85 pages of each of our processes, a sixth of what `add` takes. Whoever
        // can speak to the daemon may have it run anything already (docs/performance.md, "One `add` from the shell").
        println!("cargo:rustc-link-arg-bins=-no-pie");
        if var("HOST").is_ok_and(|host| is("TARGET", &host)) {
            link_the_unwinder();
        }
    }
}

/// Links the compiler's own archive where it is found: as a shared library it is a tenth of what `add` takes (docs/performance.md).
fn link_the_unwinder() {
    let Ok(found) = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output() else { return };
    let path = String::from_utf8_lossy(&found.stdout);
    if let Some(folder) = Path::new(path.trim()).parent().filter(|folder| folder.is_absolute()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}
