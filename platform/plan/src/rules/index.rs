//! What rules are filed under, so that a request leads to the few that may take it.
//!
//! Each rule is filed under the values of one of its conditions: at present, the one with the fewest other rules under
//! the same. A value is filed by the text that it is, begins with, or ends in; networks are texts of bits. A rule of
//! whose conditions each has a value without such a text is in a list for all requests.
//!
//! It deliberately decides nothing: who is reached still has to be asked whole.
//!
//! What always holds: a request leads to every rule whose conditions it meets.

use super::Request;
use super::bucket::{Bucket, Filed};
use super::compiled::{Compiled, parameters};
use super::glob::Glob;
use super::trie::{Extent, Trie};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::iter::once;
use std::net::IpAddr;
use std::sync::Arc;

/// What a text is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Host,
    Path,
    /// A value of the header of this name.
    Header(Arc<str>),
    Method,
    /// A parameter of the query: `KEY=VALUE`.
    Parameter,
    /// The value of any parameter.
    Value,
    /// The family and the bits of an address.
    Source,
}

/// Which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Beginning,
    /// Read from its end.
    Ending,
}

/// A text that rules are filed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    place: Place,
    part: Part,
    text: Vec<u8>,
}

impl Key {
    /// By the longer of a pattern's literal ends; `None` if it has none.
    fn of(place: Place, value: &Glob) -> Option<Self> {
        let (beginning, ending) = (value.beginning(), value.ending_reversed());
        let (part, text) = match (value.is_literal(), beginning.len() < ending.len()) {
            (true, _) => (Part::Whole, beginning),
            (false, true) => (Part::Ending, ending),
            (false, false) => (Part::Beginning, beginning),
        };
        (part == Part::Whole || !text.is_empty()).then_some(Self { place, part, text })
    }

    /// By the key of a parameter and what follows it, as far as they are literal; else by its value.
    fn of_parameter(key: Option<&Glob>, value: &Glob) -> Option<Self> {
        let place = Place::Parameter;
        match key {
            Some(key) if key.is_literal() => {
                let text = [key.beginning(), b"=".to_vec(), value.beginning()].concat();
                let part = if value.is_literal() { Part::Whole } else { Part::Beginning };
                Some(Self { place, part, text })
            }
            Some(key) if !key.beginning().is_empty() => {
                Some(Self { place, part: Part::Beginning, text: key.beginning() })
            }
            Some(_) | None => Self::of(Place::Value, value),
        }
    }

    fn of_network(network: &IpNet) -> Self {
        let length = 1 + usize::from(network.prefix_len());
        let text = bits(network.addr()).take(length).collect();
        Self { place: Place::Source, part: Part::Beginning, text }
    }
}

/// What a rule with this condition can be filed under, each once; `None` if one of the values leaves that open.
fn keys(condition: &Compiled) -> Option<Vec<Key>> {
    let of = |place: Place, values: &[Glob]| {
        values.iter().map(|value| Key::of(place.clone(), value)).collect::<Option<Vec<Key>>>()
    };
    let mut keys = match condition {
        Compiled::Host(values) => of(Place::Host, values)?,
        Compiled::Path(values) => of(Place::Path, values)?,
        Compiled::Header { name, values } => of(Place::Header(name.clone()), values)?,
        Compiled::Method(values) => {
            let whole = |text: &Arc<str>| Key {
                place: Place::Method,
                part: Part::Whole,
                text: text.as_bytes().to_vec(),
            };
            values.iter().map(whole).collect()
        }
        Compiled::Query { key, values } => {
            let keys = values.iter().map(|value| Key::of_parameter(key.as_ref(), value));
            keys.collect::<Option<Vec<Key>>>()?
        }
        Compiled::Source(values) => values.iter().map(Key::of_network).collect(),
    };
    keys.sort_unstable();
    keys.dedup();
    Some(keys)
}

/// The family of an address and its bits, the first ones first.
fn bits(address: IpAddr) -> impl DoubleEndedIterator<Item = u8> + Clone {
    let (family, bits, length) = match address {
        IpAddr::V4(address) => (4, u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (6, address.to_bits(), 128),
    };
    once(family).chain((0..length).map(move |at: u32| u8::from((bits >> (127 - at)) & 1 == 1)))
}

/// The texts of one place.
#[derive(Debug, Clone, Default)]
struct Texts {
    forward: Trie,
    /// Of those that are read from their end.
    backward: Trie,
}

impl Texts {
    fn tree(&mut self, part: Part) -> (&mut Trie, Extent) {
        match part {
            Part::Whole => (&mut self.forward, Extent::Whole),
            Part::Beginning => (&mut self.forward, Extent::Beginning),
            Part::Ending => (&mut self.backward, Extent::Beginning),
        }
    }

    fn count(&self, key: &Key) -> usize {
        match key.part {
            Part::Whole => self.forward.count(&key.text, Extent::Whole),
            Part::Beginning => self.forward.count(&key.text, Extent::Beginning),
            Part::Ending => self.backward.count(&key.text, Extent::Beginning),
        }
    }

    fn is_empty(&self) -> bool {
        self.forward.is_empty() && self.backward.is_empty()
    }

    fn reach<'a>(
        &'a self,
        text: impl DoubleEndedIterator<Item = u8> + Clone,
        found: &mut dyn FnMut(&'a [Filed]),
    ) {
        self.backward.reach(text.clone().rev(), found);
        self.forward.reach(text, found);
    }
}

/// All rules of a listener by what they are filed under.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Of those places alone that there are rules for.
    places: BTreeMap<Place, Texts>,
    /// Rules for all requests.
    rest: Bucket,
}

impl Index {
    /// Under what a rule with these conditions is best filed; `None` if no text will do. A method alone narrows least,
    /// so it comes last where as many are filed under each; a text that is a part comes after those that are whole.
    pub(super) fn choose<'c>(&self, conditions: impl Iterator<Item = &'c Compiled>) -> Option<Vec<Key>> {
        conditions.filter_map(keys).min_by_key(|keys| {
            let filed: usize = keys.iter().map(|key| self.count(key)).sum();
            let is_method = keys.iter().any(|key| key.place == Place::Method);
            let is_part = keys.iter().any(|key| key.part != Part::Whole);
            (filed, is_method, is_part)
        })
    }

    fn count(&self, key: &Key) -> usize {
        self.places.get(&key.place).map_or(0, |texts| texts.count(key))
    }

    pub(super) fn add(&mut self, keys: Option<&[Key]>, filed: Filed) {
        let Some(keys) = keys else { return self.rest.add(filed) };
        for key in keys {
            let (tree, extent) = self.places.entry(key.place.clone()).or_default().tree(key.part);
            tree.add(&key.text, extent, filed);
        }
    }

    pub(super) fn remove(&mut self, keys: Option<&[Key]>, filed: Filed) {
        let Some(keys) = keys else { return self.rest.remove(filed) };
        for key in keys {
            let Some(texts) = self.places.get_mut(&key.place) else { continue };
            let (tree, extent) = texts.tree(key.part);
            tree.remove(&key.text, extent, filed);
            if texts.is_empty() {
                self.places.remove(&key.place);
            }
        }
    }

    /// Calls `found` with lists of rules, none empty, among which are all that may take a request; with the same list
    /// more than once if parameters or headers are repeated.
    pub(super) fn reach<'a>(&'a self, request: &Request<'_>, found: &mut dyn FnMut(&'a [Filed])) {
        let lower = |byte: u8| byte.to_ascii_lowercase();
        for (place, texts) in &self.places {
            match place {
                Place::Host => texts.reach(request.host.bytes().map(lower), found),
                Place::Path => texts.reach(request.path.bytes(), found),
                Place::Header(name) => {
                    request.headers.any(name, &mut |value| {
                        texts.reach(value.iter().copied().map(lower), found);
                        false
                    });
                }
                Place::Method => texts.reach(request.method.bytes(), found),
                Place::Parameter => parameters(request.query).for_each(|(key, value)| {
                    let text = key.bytes().chain(once(b'=')).chain(value.bytes());
                    texts.reach(text.map(lower), found);
                }),
                Place::Value => parameters(request.query).for_each(|(_, value)| {
                    texts.reach(value.bytes().map(lower), found);
                }),
                Place::Source => texts.reach(bits(request.source), found),
            }
        }
        if !self.rest.is_empty() {
            found(self.rest.in_order());
        }
    }

    /// Whether no rule is filed, and nothing is left of any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.rest.is_empty()
    }
}
