//! The key that the load balancer signs its cookies with, by which clients stay with a target: the same for all workers and
//! after a restart of the platform, or clients would lose their place.
//!
//! What a cookie says is the load balancer's own. What always holds: the key shows nowhere that it is printed for debugging.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Size of the key, in bytes.
pub const COOKIE_KEY_BYTES: usize = 32;

/// The key. Who has it can make a client come to any target of the groups that it may come to, and nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieKey(pub [u8; COOKIE_KEY_BYTES]);

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_as_it_was_sent_and_is_not_printed() {
        let key = CookieKey(std::array::from_fn(|index| index as u8));
        let sent = serde_json::to_vec(&key).unwrap();
        assert!(serde_json::from_slice::<CookieKey>(&sent).unwrap() == key);
        assert_eq!(format!("{key:?}"), "CookieKey { .. }");
    }
}
