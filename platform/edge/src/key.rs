//! A number for a name: the same in every worker, and in every process to come, so that what a client brings back means
//! what it meant when it was given. FNV-1a of 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
//!
//! It deliberately keeps nobody from making two names of one number: who names targets and groups are the operator's.

use std::fmt::{self, Write as _};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The number of a name, as it prints.
pub fn key_of(name: impl fmt::Display) -> u64 {
    let mut hash = Fnv(OFFSET);
    // Never fails: nothing is written anywhere.
    let _ = write!(hash, "{name}");
    hash.0
}

struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors are its authors'.
    #[test]
    fn a_name_has_the_same_number_for_ever() {
        for (name, number) in [("", OFFSET), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(key_of(name), number, "{name:?}");
        }
        let name: skiff_types::QualifiedName = "default/web".parse().unwrap();
        assert_eq!(key_of(&name), key_of("default/web"));
    }
}
