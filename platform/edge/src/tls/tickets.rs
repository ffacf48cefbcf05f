//! Session tickets: what a client gives back so that its next handshake is a short one (RFC 8446, section 2.2; RFC 5077).
//!
//! All that a session needs is in its ticket, encrypted; nothing of it is kept here, and every worker of a node opens what
//! another made. It deliberately makes no keys: it is told them, and a ticket lives for as long as its key is among them.
//!
//! What always holds: a ticket is opened for the listener alone that it was made for, since what a session proves is that
//! its client has seen that listener's certificate.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;
use skiff_kit::random;
use skiff_ports::tls::{TICKET_KEY_BYTES, TicketKeys};
use skiff_types::Name;
use std::fmt;
use std::sync::Arc;

/// Bytes of a key that are its name.
const NAME_BYTES: usize = 16;
/// Bytes of a ticket before what is encrypted: the key's name, and the nonce.
const HEAD_BYTES: usize = NAME_BYTES + NONCE_LEN;
/// No ticket of ours is longer.
const TICKET_BYTES_MAX: usize = 1 << 10;
/// How long clients are told to keep a ticket, in seconds: two times as long as a key makes them.
const LIFETIME_S: u32 = 12 * 60 * 60;

/// What tickets are made with, and opened.
pub(super) struct Keys {
    current: Key,
    previous: Option<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    secret: LessSafeKey,
}

impl Keys {
    pub(super) fn new(keys: &TicketKeys) -> Self {
        Self { current: Key::new(&keys.current), previous: keys.previous.as_ref().map(Key::new) }
    }

    fn named(&self, name: &[u8; NAME_BYTES]) -> Option<&Key> {
        // Names are no secret: their tickets show them.
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.name == *name)
    }
}

impl Key {
    fn new(bytes: &[u8; TICKET_KEY_BYTES]) -> Self {
        let (name, secret) = bytes.split_first_chunk::<NAME_BYTES>().expect("a key is longer than its name");
        let secret = UnboundKey::new(&AES_256_GCM, secret).expect("the rest has the length of a key");
        Self { name: *name, secret: LessSafeKey::new(secret) }
    }
}

/// The tickets of one listener.
pub(super) struct Tickets {
    listener: Name,
    keys: Arc<Keys>,
}

impl Tickets {
    pub(super) fn new(listener: &Name, keys: Arc<Keys>) -> Self {
        Self { listener: listener.clone(), keys }
    }

    /// What a ticket is for. It is no part of it, and a ticket of something else is not opened.
    fn purpose(&self, key: &Key) -> Aad<Vec<u8>> {
        Aad::from([&key.name[..], self.listener.as_str().as_bytes()].concat())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = &self.keys.current;
        // Other workers have the same key, so it can't be a count. A key makes far fewer than 2^32 in its time.
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut ticket = [&key.name[..], &nonce, plain].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.secret.seal_in_place_separate_tag(nonce, self.purpose(key), &mut ticket[HEAD_BYTES..]);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.named(name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.secret.open_in_place(nonce, self.purpose(key), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("listener", &self.listener).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> [u8; TICKET_KEY_BYTES] {
        std::array::from_fn(|index| first.wrapping_add(index as u8))
    }

    fn tickets(listener: &str, keys: &TicketKeys) -> Tickets {
        Tickets::new(&listener.parse().unwrap(), Arc::new(Keys::new(keys)))
    }

    #[test]
    fn who_has_the_same_keys_opens_tickets() {
        let keys = TicketKeys { current: key(1), previous: None };
        let (one, other) = (tickets("web", &keys), tickets("web", &keys));
        let (first, second) = (one.encrypt(b"a session").unwrap(), one.encrypt(b"a session").unwrap());
        assert!(first != second && !first.windows(9).any(|bytes| bytes == b"a session"));
        for ticket in [&first, &second] {
            assert_eq!(other.decrypt(ticket).as_deref(), Some(&b"a session"[..]));
        }
        assert_eq!(tickets("shop", &keys).decrypt(&first), None);
        let strange = TicketKeys { current: key(9), previous: Some(key(8)) };
        assert_eq!(tickets("web", &strange).decrypt(&first), None);
    }

    #[test]
    fn a_key_opens_tickets_for_as_long_again() {
        let mut keys = TicketKeys { current: key(1), previous: None };
        let ticket = tickets("web", &keys).encrypt(b"").unwrap();
        for opens in [true, true, false] {
            assert_eq!(tickets("web", &keys).decrypt(&ticket).is_some(), opens);
            keys = keys.renewed(key(keys.current[0] + 1));
        }
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        let tickets = tickets("web", &TicketKeys { current: key(1), previous: None });
        let ticket = tickets.encrypt(b"a session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "{index} bytes");
        }
        assert_eq!(tickets.decrypt(&[&ticket[..], &[0]].concat()), None);
        let long = tickets.encrypt(&[0; TICKET_BYTES_MAX]).unwrap();
        assert_eq!(tickets.decrypt(&long), None);
    }

    #[test]
    fn no_key_is_printed() {
        let tickets = tickets("web", &TicketKeys { current: key(1), previous: None });
        assert_eq!(format!("{tickets:?}"), "Tickets { listener: \"web\", .. }");
    }
}
