//! Which program this is.

/// The version, as every answer, the keeper and `--version` tell it.
pub const VERSION: &str =
    if cfg!(feature = "next") { concat!(env!("CARGO_PKG_VERSION"), "-next") } else { env!("CARGO_PKG_VERSION") };
