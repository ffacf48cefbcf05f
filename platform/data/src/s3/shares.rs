//! How much of the endpoint one client may take: connections of an address, requests under way of an access key. So that one that
//! takes all it can get leaves something to the others.
//!
//! A request counts for a key once its signature was found right, so nobody takes the places of another's; until then it counts as its
//! connection alone. Clients of IPv6 count by the first 64 bits of their address, since each has as many of the others as it likes.

use super::caller::Call;
use super::counters::Operation;
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Result, s3_error};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of an IPv6 address that is its network's.
const NETWORK_V6: u128 = !0 << 64;

/// How many places clients have taken. Clients that have none are not known. Cheap to clone.
#[derive(Debug)]
pub(super) struct Shares<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// A place of a client, unless it has `most` already.
    pub(super) fn take(&self, client: K, most: usize) -> Option<Share<K>> {
        let mut taken = lock(&self.0);
        let count = taken.get(&client).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(client.clone(), count + 1);
        Some(Share { of: self.0.clone(), client })
    }
}

/// A client's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Hash + Eq> {
    of: Arc<Mutex<HashMap<K, usize>>>,
    client: K,
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.of);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

fn lock<K>(taken: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As what an address counts.
pub(super) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_V6).into(),
        address => address,
    }
}

/// Lets a request in whose signature is right, if its key has a place left; notes what it asks for.
pub(super) struct Admission {
    pub(super) keys: Shares<String>,
    pub(super) requests_per_key_max: usize,
}

#[async_trait::async_trait]
impl S3Access for Admission {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let unsigned =
            || s3_error!(AccessDenied, "there is no anonymous access: sign the request with an access key");
        let key = context.credentials().ok_or_else(unsigned)?.access_key.clone();
        let operation = Operation::named(context.s3_op().name());
        let lost = || s3_error!(InternalError, "the request was lost on its way");
        let call = context.extensions_mut().get::<Call>().cloned().ok_or_else(lost)?;
        call.asks_for(operation);
        let most = self.requests_per_key_max;
        let share = self.keys.take(key, most).ok_or_else(|| {
            s3_error!(
                SlowDown,
                "{most} requests are under way with this access key, as many as one may have: slow down"
            )
        })?;
        call.hold(share);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_places_and_gives_them_back() {
        let shares = Shares::default();
        let (one, other) = (shares.take("a", 2).unwrap(), shares.take("a", 2).unwrap());
        assert!(shares.take("a", 2).is_none() && shares.take("b", 2).is_some());
        drop(one);
        assert!(shares.take("a", 2).is_some());
        drop(other);
        assert!(lock(&shares.0).is_empty(), "who has no place is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let client = |text: &str| client(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
