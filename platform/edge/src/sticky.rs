//! Stickiness: cookies that say which target of a group a client came to first, and which group among those of an action.
//!
//! A cookie holds when it ends and the keys of what it names, never a name or an address, and is signed. Nothing of it is
//! kept here, so whoever has the signing key takes a client back to where it was: every worker, and each after a restart of
//! the platform. As with ELBv2 it is given anew with each answer of a target, and lasts from then.
//!
//! It deliberately chooses nothing ([`crate::balance`], [`crate::group`]): where a cookie's target is gone, another has the
//! request, and its cookie takes the place. Requests stay as they are: targets see the cookies, as they see ELBv2's.
//!
//! What always holds: a value that was not signed here is as if it were not there, and so is one that has ended, one of the
//! other kind, and one for another group. How many values of a request are looked at is bounded. Where nothing is sticky,
//! cookies are neither read nor written.

pub use crate::key::key_of;

use crate::edge::Edge;
use crate::group::Aim;
use crate::listener::Listener;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use ring::hmac;
use skiff_kit::{clock, random};
use skiff_ports::cookie::CookieKey;
use skiff_types::{Forward, QualifiedName, Span, WeightedGroup};
use std::fmt;
use subtle::ConstantTimeEq;

/// The cookie that names a target.
const TARGET_COOKIE: &str = "SKIFFALB";
/// The cookie that names a target group among those of an action.
const GROUP_COOKIE: &str = "SKIFFALBTG";

/// What clients speak who are to send cookies back by TLS alone.
const SECURE: &str = "https";

/// What every value begins with.
const VERSION: u8 = 1;
/// Bytes of a value that are signed: version, kind, when it ends, group and target.
const SIGNED_BYTES: usize = 2 + 3 * 8;
/// Bytes of the signature that a value carries: half of it, which nobody guesses either.
const SIGNATURE_BYTES: usize = 16;
/// Bytes of a value: threes alone, so that each bit of its text counts.
const VALUE_BYTES: usize = SIGNED_BYTES + SIGNATURE_BYTES;
/// The same as text: a digit for six bits.
const VALUE_LENGTH: usize = VALUE_BYTES / 3 * 4;
/// Values of one request and kind whose signature is checked: a client has one, but for some while its host has changed.
pub const TRIED_MAX: usize = 4;

/// The digits of a value (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Reads and writes cookies with one key.
pub struct Cookies(hmac::Key);

/// How a cookie is given.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What time it is, in seconds since 1970.
    pub now_s: u64,
    /// How long it lasts from then on; counted in whole seconds, at least one.
    pub lasts: Span,
    /// Whether it is never to come back in clear.
    pub is_secure: bool,
}

/// What a cookie names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Target = 1,
    Group = 2,
}

/// What a cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    kind: Kind,
    /// In seconds since 1970.
    ends_s: u64,
    group: u64,
    /// 0 where a group is all that it names.
    target: u64,
}

/// What an answer is to be brought back to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stays {
    /// How long with its target.
    with_target: Option<Span>,
    /// How long with its group, and that one's key.
    with_group: Option<(Span, u64)>,
}

impl Kind {
    fn cookie(self) -> &'static str {
        match self {
            Self::Target => TARGET_COOKIE,
            Self::Group => GROUP_COOKIE,
        }
    }
}

impl Value {
    fn bytes(&self) -> [u8; SIGNED_BYTES] {
        let mut bytes = [0; SIGNED_BYTES];
        let (head, numbers) = bytes.split_at_mut(2);
        head.copy_from_slice(&[VERSION, self.kind as u8]);
        let (places, _) = numbers.as_chunks_mut::<8>();
        for (place, number) in places.iter_mut().zip([self.ends_s, self.group, self.target]) {
            *place = number.to_be_bytes();
        }
        bytes
    }

    /// What the bytes say, if it is of this kind and version.
    fn of(kind: Kind, bytes: &[u8; SIGNED_BYTES]) -> Option<Self> {
        let (head, numbers) = bytes.split_at(2);
        let (places, _) = numbers.as_chunks::<8>();
        let &[ends_s, group, target] = places else { return None };
        let [ends_s, group, target] = [ends_s, group, target].map(u64::from_be_bytes);
        (head == [VERSION, kind as u8]).then_some(Self { kind, ends_s, group, target })
    }
}

impl Cookies {
    /// Those of this key.
    pub fn new(key: &CookieKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }

    /// Those of a key that nobody else has.
    pub(crate) fn of_nobody() -> Self {
        Self::new(&CookieKey(random::bytes()))
    }

    /// The key of the target of this group that the client is to stay with.
    pub fn target_of(&self, headers: &HeaderMap, group: &str, now_s: u64) -> Option<u64> {
        let group = key_of(group);
        let mut values = self.values(Kind::Target, headers, now_s);
        values.find(|value| value.group == group).map(|value| value.target)
    }

    /// The group among these that the client is to stay with; never one without weight.
    pub fn group_of<'a>(
        &self,
        headers: &HeaderMap,
        groups: &'a [WeightedGroup],
        now_s: u64,
    ) -> Option<&'a QualifiedName> {
        let named = |key: u64| {
            let mut weighted = groups.iter().filter(|group| group.weight > 0).map(|group| &group.group);
            weighted.find(|name| key_of(name) == key)
        };
        self.values(Kind::Group, headers, now_s).find_map(|value| named(value.group))
    }

    /// The cookie of a target, by its key, in a group.
    pub fn set_target(&self, group: &str, target: u64, terms: &Terms) -> HeaderValue {
        self.set(Kind::Target, key_of(group), target, terms)
    }

    /// The cookie of a group, by its key, among those of an action.
    pub fn set_group(&self, group: u64, terms: &Terms) -> HeaderValue {
        self.set(Kind::Group, group, 0, terms)
    }

    /// What the cookies of a request say that were signed here and have not ended.
    fn values(&self, kind: Kind, headers: &HeaderMap, now_s: u64) -> impl Iterator<Item = Value> {
        let written = named(headers, kind.cookie()).filter_map(decode).take(TRIED_MAX);
        let signed = written.filter_map(move |bytes| self.verify(kind, &bytes));
        signed.filter(move |value| now_s < value.ends_s)
    }

    fn verify(&self, kind: Kind, bytes: &[u8; VALUE_BYTES]) -> Option<Value> {
        let (signed, signature) = bytes.split_first_chunk::<SIGNED_BYTES>()?;
        let is_ours: bool = self.sign(signed)[..].ct_eq(signature).into();
        if is_ours { Value::of(kind, signed) } else { None }
    }

    fn sign(&self, signed: &[u8; SIGNED_BYTES]) -> [u8; SIGNATURE_BYTES] {
        let signature = hmac::sign(&self.0, signed);
        let whole: &[u8] = signature.as_ref();
        *whole.first_chunk().expect("a signature is longer")
    }

    /// The value of a header `Set-Cookie`. How long it lasts is said by `Max-Age` alone: that needs no clock of the
    /// client's that goes right.
    fn set(&self, kind: Kind, group: u64, target: u64, terms: &Terms) -> HeaderValue {
        let lasts_s = terms.lasts.ms().div_ceil(1_000).max(1);
        let value = Value { kind, ends_s: terms.now_s.saturating_add(lasts_s), group, target };
        let (mut bytes, signed) = ([0; VALUE_BYTES], value.bytes());
        bytes[..SIGNED_BYTES].copy_from_slice(&signed);
        bytes[SIGNED_BYTES..].copy_from_slice(&self.sign(&signed));
        let (name, text) = (kind.cookie(), encode(&bytes));
        let secure = if terms.is_secure { "; Secure" } else { "" };
        let cookie = format!("{name}={text}; Max-Age={lasts_s}; Path=/; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(cookie).expect("letters, digits and marks make a header")
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

impl Stays {
    /// What holds for the answers of targets that were found so.
    pub(crate) fn of(aim: &Aim) -> Self {
        Self { with_target: aim.stickiness, with_group: aim.among }
    }

    /// Gives an answer of this target of this group its cookies, beside those that the target gives.
    pub(crate) fn tell(
        self,
        edge: &Edge,
        listener: &Listener,
        headers: &mut HeaderMap,
        (group, target): (&str, u64),
    ) {
        let Self { with_target, with_group } = self;
        if with_target.is_none() && with_group.is_none() {
            return;
        }
        let (cookies, now_s) = (edge.cookies(), now_s());
        let is_secure = listener.forwarded().proto == SECURE;
        let terms = |lasts| Terms { now_s, lasts, is_secure };
        if let Some((lasts, group)) = with_group {
            headers.append(SET_COOKIE, cookies.set_group(group, &terms(lasts)));
        }
        if let Some(lasts) = with_target {
            headers.append(SET_COOKIE, cookies.set_target(group, target, &terms(lasts)));
        }
    }
}

impl Edge {
    /// Signs cookies with this key from now on, and takes those alone that were signed with it. Before it is told one, an
    /// edge has one of its own.
    pub fn set_cookie_key(&self, key: &CookieKey) {
        *self.cookies_mut() = Cookies::new(key);
    }

    /// The key of the target that the client is to stay with in the group of this name, where that keeps its clients.
    pub(crate) fn stuck_to(
        &self,
        headers: Option<&HeaderMap>,
        stickiness: Option<Span>,
        group: &str,
    ) -> Option<u64> {
        stickiness?;
        self.cookies().target_of(headers?, group, now_s())
    }

    /// The group that the client is to stay with, where an action has its groups keep their clients.
    pub(crate) fn stays_among<'a>(
        &self,
        headers: Option<&HeaderMap>,
        forward: &'a Forward,
    ) -> Option<&'a QualifiedName> {
        forward.stickiness?;
        self.cookies().group_of(headers?, &forward.groups, now_s())
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    clock::unix_ms() / 1_000
}

/// The values of the cookies of this name. HTTP/2 may split cookies over several headers (RFC 9113, section 8.2.3).
fn named<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let crumbs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    crumbs.filter_map(move |crumb| crumb.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn encode(bytes: &[u8; VALUE_BYTES]) -> String {
    let (threes, _) = bytes.as_chunks::<3>();
    let digits = threes.iter().flat_map(|&[first, second, third]| {
        let bits = u32::from_be_bytes([0, first, second, third]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift) as usize & 63]))
    });
    digits.collect()
}

fn decode(text: &[u8]) -> Option<[u8; VALUE_BYTES]> {
    let text: &[u8; VALUE_LENGTH] = text.try_into().ok()?;
    let mut bytes = [0; VALUE_BYTES];
    let (fours, (threes, _)) = (text.as_chunks::<4>().0, bytes.as_chunks_mut::<3>());
    for (four, three) in fours.iter().zip(threes) {
        let mut bits = 0;
        for &digit in four {
            bits = bits << 6 | u32::from(worth(digit)?);
        }
        let [_, rest @ ..] = u32::to_be_bytes(bits);
        *three = rest;
    }
    Some(bytes)
}

/// What a digit stands for.
fn worth(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
