//! The cookies by which clients stay with a target: whatever comes as `Cookie`, what is taken was signed, has not ended and
//! is for the group that was asked for; what is given is understood, and with one bit of it changed it is nobody's.
//!
//! The first eight bytes of an input are the key of a target, the next two a bit of its cookie; the rest are lines of
//! `Cookie`. What is taken of them is written down here a second time: nobody can make up a signature, so it is among the
//! few values that were signed here.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use skiff_edge::sticky::{Cookies, TRIED_MAX, Terms, key_of};
use skiff_ports::cookie::CookieKey;
use skiff_types::{Span, WeightedGroup};
use std::collections::HashMap;

const NOW_S: u64 = 1_000_000;
/// The groups that cookies are signed for, and which of them has no weight.
const GROUPS: [&str; 3] = ["default/blue", "default/green", "default/none"];
const WEIGHTLESS: &str = "default/none";
/// Targets that cookies are signed for.
const TARGETS: u64 = 4;
/// The digits of a value, and how many it has.
const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUE_LENGTH: usize = 56;
/// Lines of one input; the load balancer takes no more headers.
const LINES_MAX: usize = 100;

thread_local! {
    static SIGNED: Signed = Signed::new();
}

/// All values that are signed here.
struct Signed {
    cookies: Cookies,
    groups: Vec<WeightedGroup>,
    /// What each names that has not ended.
    of_targets: HashMap<String, (&'static str, u64)>,
    of_groups: HashMap<String, &'static str>,
}

impl Signed {
    fn new() -> Self {
        let cookies = Cookies::new(&CookieKey([7; 32]));
        let (mut of_targets, mut of_groups) = (HashMap::new(), HashMap::new());
        for group in GROUPS {
            for target in 0..TARGETS {
                of_targets.insert(value(&cookies.set_target(group, target, &terms())), (group, target));
            }
            of_groups.insert(value(&cookies.set_group(key_of(group), &terms())), group);
        }
        let weighted = |group: &&str| format!("{group}={}", u8::from(*group != WEIGHTLESS));
        let groups = GROUPS.iter().map(|group| weighted(group).parse().expect("a group")).collect();
        Self { cookies, groups, of_targets, of_groups }
    }

    /// Whether what is taken of the lines is what is to be.
    fn check(&self, lines: &[&[u8]]) {
        let headers = headers(lines);
        for group in GROUPS {
            let taken = self.cookies.target_of(&headers, group, NOW_S);
            let mut named =
                values(lines, b"SKIFFALB").into_iter().filter_map(|value| self.of_targets.get(value));
            let expected = named.find(|(of, _)| *of == group).map(|(_, target)| *target);
            assert_eq!(taken, expected, "another target of {group} is taken");
        }
        let taken = self.cookies.group_of(&headers, &self.groups, NOW_S).map(ToString::to_string);
        let mut named =
            values(lines, b"SKIFFALBTG").into_iter().filter_map(|value| self.of_groups.get(value));
        let expected = named.find(|group| **group != WEIGHTLESS).map(ToString::to_string);
        assert_eq!(taken, expected, "another group is taken");
    }

    /// Whether a cookie of this target is understood beside the lines, and is not once a bit of it is another.
    fn give(&self, target: u64, bit: usize, lines: &[&[u8]]) {
        let given = format!("SKIFFALB={}", value(&self.cookies.set_target(GROUPS[0], target, &terms())));
        let beside: Vec<&[u8]> = [given.as_bytes()].into_iter().chain(lines.iter().copied()).collect();
        let taken = self.cookies.target_of(&headers(&beside), GROUPS[0], NOW_S);
        assert_eq!(taken, Some(target), "what was given is not understood");
        let mut changed = given.into_bytes();
        let bit = bit % (changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        let taken = self.cookies.target_of(&headers(&[&changed]), GROUPS[0], NOW_S);
        assert_eq!(taken, None, "what was changed is taken");
    }
}

/// Asks with the input's cookies.
pub(crate) fn run(input: &[u8]) {
    let (target, rest) = input.split_first_chunk().unwrap_or((&[0; 8], input));
    let (bit, rest) = rest.split_first_chunk().unwrap_or((&[0; 2], rest));
    let lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').take(LINES_MAX).collect();
    SIGNED.with(|signed| {
        signed.check(&lines);
        signed.give(u64::from_be_bytes(*target), u16::from_be_bytes(*bit).into(), &lines);
    });
}

fn terms() -> Terms {
    Terms { now_s: NOW_S, lasts: Span::from_ms(60_000), is_secure: false }
}

/// The value in what sets a cookie.
fn value(given: &HeaderValue) -> String {
    let text = given.to_str().expect("it is text");
    let (pair, _) = text.split_once(';').expect("something follows");
    pair.split_once('=').expect("a name and a value").1.to_owned()
}

/// Those of the lines that can be a header.
fn headers(lines: &[&[u8]]) -> HeaderMap {
    let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (COOKIE, value)).collect()
}

/// The values of a cookie that are looked at.
fn values<'a>(lines: &[&'a [u8]], name: &[u8]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| HeaderValue::from_bytes(line).is_ok()) {
        for crumb in line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let mut parts = crumb.splitn(2, |byte| *byte == b'=');
            let (Some(other), Some(value)) = (parts.next(), parts.next()) else { continue };
            let is_value = value.len() == VALUE_LENGTH && value.iter().all(|digit| DIGITS.contains(digit));
            if other == name && is_value && found.len() < TRIED_MAX {
                found.push(str::from_utf8(value).expect("digits are text"));
            }
        }
    }
    found
}
