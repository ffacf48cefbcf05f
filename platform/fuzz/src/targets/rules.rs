//! The rules of a listener: the one that takes a request is the one that asking all in their order finds, and so it is
//! explained, however rules came and went before.
//!
//! An input is lines of fields between tabs. A line that begins with `?` is a request: method, source, host, path and
//! query, then headers as `NAME:VALUE`. `-X` takes the rule X out. Any other, `XP`, sets the rule X at the priority P, with
//! the conditions that follow; what is no condition is passed over. What is expected is written down here a second time, as
//! it is defined: all rules in their order, patterns without a shortcut.

use skiff_plan::rules::{Headers, Request, Rules, Step, explain};
use skiff_types::{Condition, HeaderCondition, Pattern, Priority, QualifiedName, QueryCondition};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Names that rules have.
const NAMES: u32 = 64;
/// Priorities that they have: fewer, so that several have the same.
const PRIORITIES: u32 = 16;

/// All rules in their order: conditions, and the number that is kept with each.
type Model = BTreeMap<(Priority, QualifiedName), (Vec<Condition>, usize)>;

/// The rules, and what they are to be.
#[derive(Default)]
struct Compared {
    rules: Rules<usize>,
    model: Model,
    changes: usize,
}

/// Carries out the input, line by line.
pub(crate) fn run(input: &[u8]) {
    let mut compared = Compared::default();
    for line in String::from_utf8_lossy(input).split('\n') {
        let mut fields = line.split('\t');
        let mut head = fields.next().unwrap_or_default().chars();
        match (head.next(), head.next()) {
            (None, _) => {}
            (Some('?'), _) => compared.ask(&Asked::of(fields)),
            (Some('-'), rule) => compared.remove(&name(rule.unwrap_or_default())),
            (Some(rule), at) => {
                let conditions = fields.filter_map(|field| field.parse().ok()).collect();
                compared.set(name(rule), priority(at.unwrap_or_default()), conditions);
            }
        }
    }
    compared.finish();
}

fn name(character: char) -> QualifiedName {
    format!("default/r{}", u32::from(character) % NAMES).parse().expect("a name")
}

fn priority(character: char) -> Priority {
    (u32::from(character) % PRIORITIES + 1).try_into().expect("a priority")
}

impl Compared {
    fn set(&mut self, rule: QualifiedName, at: Priority, conditions: Vec<Condition>) {
        self.changes += 1;
        self.forget(&rule);
        self.rules.set(rule.clone(), at, &conditions, self.changes);
        self.model.insert((at, rule), (conditions, self.changes));
    }

    fn remove(&mut self, rule: &QualifiedName) {
        assert_eq!(self.rules.remove(rule), self.forget(rule), "another rule was removed than {rule}");
    }

    /// Takes a rule out of the model: what was kept with it.
    fn forget(&mut self, rule: &QualifiedName) -> Option<usize> {
        let place = self.model.keys().find(|(_, name)| name == rule).cloned()?;
        self.model.remove(&place).map(|(_, kept)| kept)
    }

    /// Which rule takes a request, and why those before it do not.
    fn ask(&self, asked: &Asked<'_>) {
        let (mut steps, mut taker) = (Vec::new(), None);
        for ((priority, rule), (conditions, kept)) in &self.model {
            let failed = conditions.iter().find(|condition| !holds(condition, asked));
            steps.push(Step { rule, priority: *priority, failed });
            if failed.is_none() {
                taker = Some(kept);
                break;
            }
        }
        let request = asked.request();
        assert_eq!(self.rules.choose(&request), taker, "another rule is chosen");
        assert_eq!(explain(&self.rules, &request).steps, steps, "something else is explained");
    }

    /// Whether there are the rules that there are to be, and nothing once they are gone.
    fn finish(mut self) {
        let listed = self.rules.iter().map(|(rule, at, conditions, kept)| (at, rule, conditions, *kept));
        let expected = self.model.iter();
        let expected = expected.map(|((at, rule), (conditions, kept))| (*at, rule, &**conditions, *kept));
        assert!(listed.eq(expected), "there are other rules");
        assert_eq!(self.rules.len(), self.model.len());
        while let Some((_, rule)) = self.model.keys().next().cloned() {
            self.remove(&rule);
        }
        assert!(self.rules.is_empty(), "a rule is left");
    }
}

/// A request.
struct Asked<'a> {
    method: &'a str,
    source: IpAddr,
    host: String,
    path: &'a str,
    query: Option<&'a str>,
    headers: Sent<'a>,
}

/// Its headers, named in lower case.
struct Sent<'a>(Vec<(String, &'a str)>);

impl Headers for Sent<'_> {
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(other, value)| other == name && found(value.as_bytes()))
    }
}

impl<'a> Asked<'a> {
    fn of(mut fields: impl Iterator<Item = &'a str>) -> Self {
        let mut next = || fields.next().unwrap_or_default();
        let (method, source, host, target) = (next(), next(), next(), next());
        let source = source.parse::<IpAddr>().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let header = |field: &'a str| {
            let (name, value) = field.split_once(':')?;
            Some((name.to_ascii_lowercase(), value))
        };
        let headers = Sent(fields.filter_map(header).collect());
        Self { method, source, host: host.to_ascii_lowercase(), path, query, headers }
    }

    fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            path: self.path,
            query: self.query,
            method: self.method,
            source: self.source,
            headers: &self.headers,
        }
    }

    /// The parameters of the query, key and value.
    fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let parameters = self.query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty());
        parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
    }
}

/// Whether a condition holds.
fn holds(condition: &Condition, asked: &Asked<'_>) -> bool {
    match condition {
        Condition::Host(values) => is_any_folded(values, &asked.host),
        Condition::Path(values) => values.iter().any(|value| is_like(value.as_str(), asked.path)),
        Condition::Header(HeaderCondition { name, values }) => {
            let mut named = asked.headers.0.iter().filter(|(other, _)| **other == **name);
            named.any(|(_, value)| is_any_folded(values, value))
        }
        Condition::Method(values) => values.iter().any(|value| **value == *asked.method),
        Condition::Query(QueryCondition { key, values }) => asked.parameters().any(|(name, value)| {
            let is_named = key.as_ref().is_none_or(|key| is_any_folded(std::slice::from_ref(key), name));
            is_named && is_any_folded(values, value)
        }),
        Condition::Source(values) => {
            values.iter().any(|network| is_within(network.addr(), network.prefix_len(), asked.source))
        }
    }
}

fn is_any_folded(values: &[Pattern], text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    values.iter().any(|value| is_like(&value.as_str().to_ascii_lowercase(), &text))
}

/// Whether a whole text is like a pattern: for each part of the pattern, how much of the text those up to it can be.
fn is_like(pattern: &str, text: &str) -> bool {
    let (text, mut pattern) = (text.as_bytes(), pattern.bytes());
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    while let Some(byte) = pattern.next() {
        if byte == b'*' {
            for at in 0..text.len() {
                reached[at + 1] |= reached[at];
            }
            continue;
        }
        let wanted = match byte {
            b'?' => None,
            b'\\' => Some(pattern.next().expect("a pattern does not end in an escape")),
            byte => Some(byte),
        };
        for at in (0..text.len()).rev() {
            reached[at + 1] = reached[at] && wanted.is_none_or(|wanted| wanted == text[at]);
        }
        reached[0] = false;
    }
    reached[text.len()]
}

/// Whether an address begins with as many bits of a network's.
fn is_within(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let differing = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => u128::from(network.to_bits() ^ address.to_bits()) << 96,
        (IpAddr::V6(network), IpAddr::V6(address)) => network.to_bits() ^ address.to_bits(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing.leading_zeros() >= u32::from(length)
}
