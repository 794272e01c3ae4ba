//! `exp`, `log` and `pow` for the whole program, in place of the C library's: it needs no others, and to load `libm.so` for them
//! is a twentieth of what `add` takes (docs/performance.md).
//!
//! Invariant: each has the name, the arguments and the meaning that C gives it (C17, 7.12), so that whoever calls one, be it
//! Rust or C, gets what it asked for. Nothing else may be here.
#![expect(unsafe_code, reason = "a name that the linker knows may stand for another's")]

#[unsafe(no_mangle)]
extern "C" fn exp(x: f64) -> f64 {
    libm::exp(x)
}

#[unsafe(no_mangle)]
extern "C" fn log(x: f64) -> f64 {
    libm::log(x)
}

#[unsafe(no_mangle)]
extern "C" fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}
