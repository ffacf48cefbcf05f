//! What a task runs, and the name that its native code is kept under.

use crate::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// A component as it was pushed, or its snapshot: the component as its initialisation left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The component that was pushed.
    pub component: Digest,
    /// Where it is a snapshot: the environment that the initialisation runs in, which it may remember.
    pub snapshot: Option<BTreeMap<String, String>>,
}

impl Program {
    /// The component as it was pushed.
    pub const fn as_pushed(component: Digest) -> Self {
        Self { component, snapshot: None }
    }

    /// The component as its initialisation in this environment leaves it.
    pub const fn snapshot(component: Digest, environment: BTreeMap<String, String>) -> Self {
        Self { component, snapshot: Some(environment) }
    }

    /// Names its native code: the component's own digest, or for a snapshot a SHA-256 over all that it is made of. So
    /// revisions that differ in their bounds alone share one snapshot, and another environment makes another.
    pub fn key(&self) -> Digest {
        let Some(environment) = &self.snapshot else { return self.component };
        let mut hash = Sha256::new_with_prefix(b"skiff snapshot\0");
        hash.update(self.component.as_bytes());
        for text in environment.iter().flat_map(|(name, value)| [name, value]) {
            // The length before the text: no two environments give the same bytes.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Digest::from_bytes(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_makes_another_program_makes_another_key() {
        let [one, two] = [1, 2].map(|byte| Digest::from_bytes([byte; 32]));
        let environment = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let programs = [
            Program::as_pushed(one),
            Program::as_pushed(two),
            Program::snapshot(one, environment(&[])),
            Program::snapshot(two, environment(&[])),
            Program::snapshot(one, environment(&[("A", "bc")])),
            Program::snapshot(one, environment(&[("Ab", "c")])),
            Program::snapshot(one, environment(&[("A", "b"), ("c", "")])),
        ];
        assert_eq!(programs[0].key(), one);
        assert_eq!(programs[4].key(), programs[4].clone().key());
        for (number, program) in programs.iter().enumerate() {
            assert!(programs[..number].iter().all(|other| other.key() != program.key()), "{program:?}");
        }
    }
}
