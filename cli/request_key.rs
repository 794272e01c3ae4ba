//! Keys that make a request safe to send again.

use std::hash::{BuildHasher, RandomState};

/// How the keys of this program's own requests begin.
pub const OWN: &str = "cli:";

/// A key that nobody has used; `kind` is how it begins. The standard library asks the kernel for the random state, with no
/// file, so that an empty root will do.
pub fn random(kind: &str) -> String {
    let state = RandomState::new();
    format!("{kind}{:016x}{:016x}", state.hash_one(0), state.hash_one(1))
}

/// FNV-1a of 128 bits: tells contents apart, the same in every version of this program. Not for secrets.
#[derive(Debug, Clone)]
pub struct Fingerprint(u128);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fingerprint {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_comes_twice() {
        let keys: std::collections::BTreeSet<_> = (0..1000).map(|_| random(OWN)).collect();
        assert_eq!(keys.len(), 1000);
        assert!(keys.iter().all(|key| key.len() == OWN.len() + 32));
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        let of = |text: &str| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.update(text.as_bytes());
            fingerprint.hex()
        };
        // The published vectors of the 128-bit variant.
        assert_eq!(of(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(of("a"), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(of("foobar"), "343e1662793c64bf6f0d3597ba446f18");
    }
}
