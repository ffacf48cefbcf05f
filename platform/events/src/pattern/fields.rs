//! An event as patterns see it: its values by the path that leads to each, and which of them lie in one element of an array.
//!
//! A **scope** is the event itself, or an object that is an element of an array; what a pattern asks of an array's objects is asked
//! of one scope. Values that are elements themselves lie in the scope of their array.
//!
//! What always holds: it takes memory in proportion to the event, however long its keys are and however often they are on the
//! way to a value: paths are chains of keys, and are found by a hash that grows with them.

use super::PatternError;
use super::values::Leaf;
use crate::decimal::Decimal;
use crate::envelope::{self, REGION};
use crate::json::{JsonError, Kind, Tape, Value};
use skiff_types::BusEvent;

/// The event itself, as a scope.
pub(super) const EVENT: u32 = 0;
/// The path to the event itself.
const ROOT: u32 = 0;

/// An event that can be matched with many patterns.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Keys and texts.
    text: String,
    paths: Vec<PathNode>,
    /// By scope, then by the hash of their paths.
    values: Vec<ValueNode>,
    /// By scope.
    arrays: Vec<ArrayNode>,
}

/// Bytes of [`Parsed::text`].
#[derive(Debug, Clone, Copy)]
struct Part {
    start: u32,
    end: u32,
}

/// The last key of a path.
#[derive(Debug, Clone, Copy)]
struct PathNode {
    parent: u32,
    key: Part,
    /// Of the whole path, in bytes, as it prints with dots.
    length: u32,
    hash: PathHash,
}

#[derive(Debug, Clone)]
struct ValueNode {
    scope: u32,
    path: u32,
    hash: PathHash,
    value: Held,
}

#[derive(Debug, Clone)]
enum Held {
    Null,
    Boolean(bool),
    Number(Decimal),
    Text(Part),
}

/// An array in which objects lie.
#[derive(Debug, Clone)]
pub(super) struct ArrayNode {
    scope: u32,
    path: u32,
    /// The scopes that those objects are.
    pub(super) elements: Vec<u32>,
}

/// A hash of a path as it prints, that grows key by key: FNV-1a. Whoever finds something by it compares the path too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathHash(u64);

impl PathHash {
    /// Of the empty path.
    pub(super) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Of a path with these bytes after it.
    pub(super) fn then(self, bytes: &[u8]) -> Self {
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, fold))
    }
}

impl Parsed {
    /// An event of a bus, as it is in EventBridge's envelope.
    pub fn of(event: &BusEvent) -> Self {
        let mut builder = Builder::new(event.detail.len() + 512);
        let time = envelope::iso_8601(event.time_ms);
        let texts = [
            ("version", "0"),
            ("id", &*event.id),
            ("detail-type", &*event.detail_type),
            ("source", &*event.source),
            ("account", event.namespace.as_str()),
            ("time", time.as_str()),
            ("region", REGION),
        ];
        let optional = event.subject.iter().map(|subject| ("subject", &**subject));
        for (key, text) in texts.into_iter().chain(optional) {
            let path = builder.key(ROOT, key);
            builder.text(EVENT, path, text);
        }
        let resources = builder.key(ROOT, "resources");
        for resource in &event.resources {
            builder.text(EVENT, resources, resource);
        }
        let extensions = builder.key(ROOT, "extensions");
        for (name, value) in envelope::extensions(event) {
            let path = builder.key(extensions, name);
            builder.text(EVENT, path, value);
        }
        // What is no JSON was never taken in.
        if let Ok(tape) = Tape::parse(&event.detail) {
            let path = builder.key(ROOT, "detail");
            builder.value(EVENT, path, tape.root());
        }
        builder.finish()
    }

    /// An event given as JSON, in EventBridge's envelope or any other.
    ///
    /// # Errors
    ///
    /// [`PatternError::Json`] if it is no JSON object.
    pub fn parse(json: &str) -> Result<Self, PatternError> {
        let tape = Tape::parse(json).map_err(PatternError::Json)?;
        if tape.root().kind() != Kind::Object {
            return Err(PatternError::Json(JsonError::whole(
                "an event is an object, like {\"source\": \"shop\"}",
            )));
        }
        let mut builder = Builder::new(json.len());
        builder.object(EVENT, ROOT, tape.root());
        Ok(builder.finish())
    }

    /// All values, whatever their scope: where each lies, and what it is.
    pub(super) fn values(&self) -> impl Iterator<Item = (PathHash, u32, Leaf<'_>)> {
        self.values.iter().map(move |node| (node.hash, node.path, self.leaf(&node.value)))
    }

    /// The values at a path within a scope.
    pub(super) fn at(&self, scope: u32, path: &str, hash: PathHash) -> impl Iterator<Item = Leaf<'_>> {
        let start = self.values.partition_point(|node| (node.scope, node.hash) < (scope, hash));
        self.values[start..]
            .iter()
            .take_while(move |node| (node.scope, node.hash) == (scope, hash))
            .filter(move |node| self.is_path(node.path, path))
            .map(move |node| self.leaf(&node.value))
    }

    /// The arrays of a scope in which objects lie.
    pub(super) fn arrays(&self, scope: u32) -> &[ArrayNode] {
        let start = self.arrays.partition_point(|array| array.scope < scope);
        let count = self.arrays[start..].partition_point(|array| array.scope == scope);
        &self.arrays[start..start + count]
    }

    /// Whether an array's objects lie on the way to a path; `before` are the beginnings of the path that end before a dot, each
    /// with its hash.
    pub(super) fn is_on_the_way(&self, array: &ArrayNode, path: &str, before: &[(usize, PathHash)]) -> bool {
        let node = &self.paths[array.path as usize];
        let length = node.length as usize;
        before
            .iter()
            .any(|&(end, hash)| end == length && hash == node.hash && self.is_path(array.path, &path[..end]))
    }

    /// Whether a chain of keys prints so.
    pub(super) fn is_path(&self, path: u32, text: &str) -> bool {
        let mut node = &self.paths[path as usize];
        let mut rest = text;
        loop {
            let Some(before) = rest.strip_suffix(self.part(node.key)) else { return false };
            if node.parent == ROOT {
                return before.is_empty();
            }
            let Some(before) = before.strip_suffix('.') else { return false };
            rest = before;
            node = &self.paths[node.parent as usize];
        }
    }

    fn part(&self, part: Part) -> &str {
        &self.text[part.start as usize..part.end as usize]
    }

    fn leaf<'a>(&'a self, held: &'a Held) -> Leaf<'a> {
        match held {
            Held::Null => Leaf::Null,
            Held::Boolean(value) => Leaf::Boolean(*value),
            Held::Number(number) => Leaf::Number(number),
            Held::Text(part) => Leaf::Text(self.part(*part)),
        }
    }
}

/// Takes an event in.
struct Builder {
    parsed: Parsed,
    scopes: u32,
}

impl Builder {
    fn new(text_bytes: usize) -> Self {
        let root =
            PathNode { parent: ROOT, key: Part { start: 0, end: 0 }, length: 0, hash: PathHash::EMPTY };
        let text = String::with_capacity(text_bytes);
        Self { parsed: Parsed { text, paths: vec![root], values: Vec::new(), arrays: Vec::new() }, scopes: 1 }
    }

    fn finish(mut self) -> Parsed {
        self.parsed.values.sort_by_key(|node| (node.scope, node.hash));
        self.parsed.arrays.sort_by_key(|array| array.scope);
        self.parsed
    }

    fn part(&mut self, text: &str) -> Part {
        let start = index(self.parsed.text.len());
        self.parsed.text.push_str(text);
        Part { start, end: index(self.parsed.text.len()) }
    }

    /// The path that goes on from another with a key.
    fn key(&mut self, parent: u32, key: &str) -> u32 {
        let PathNode { mut hash, mut length, .. } = self.parsed.paths[parent as usize];
        if parent != ROOT {
            hash = hash.then(b".");
            length += 1;
        }
        let node = PathNode {
            parent,
            key: self.part(key),
            length: length + index(key.len()),
            hash: hash.then(key.as_bytes()),
        };
        self.parsed.paths.push(node);
        index(self.parsed.paths.len() - 1)
    }

    fn text(&mut self, scope: u32, path: u32, text: &str) {
        let value = Held::Text(self.part(text));
        self.hold(scope, path, value);
    }

    fn hold(&mut self, scope: u32, path: u32, value: Held) {
        let hash = self.parsed.paths[path as usize].hash;
        self.parsed.values.push(ValueNode { scope, path, hash, value });
    }

    fn value(&mut self, scope: u32, path: u32, value: Value<'_>) {
        match value.kind() {
            Kind::Null => self.hold(scope, path, Held::Null),
            Kind::True => self.hold(scope, path, Held::Boolean(true)),
            Kind::False => self.hold(scope, path, Held::Boolean(false)),
            Kind::Number => self.hold(scope, path, Held::Number(Decimal::of(value.raw()))),
            Kind::Plain | Kind::Escaped => self.text(scope, path, &value.text().unwrap_or_default()),
            Kind::Object => self.object(scope, path, value),
            Kind::Array => {
                let mut elements = Vec::new();
                self.array(scope, path, value, &mut elements);
                if !elements.is_empty() {
                    self.parsed.arrays.push(ArrayNode { scope, path, elements });
                }
            }
        }
    }

    fn object(&mut self, scope: u32, path: u32, object: Value<'_>) {
        for (key, value) in object.members() {
            let path = self.key(path, &key);
            self.value(scope, path, value);
        }
    }

    /// Takes an array's elements in, and says which scopes its objects are.
    fn array(&mut self, scope: u32, path: u32, array: Value<'_>, elements: &mut Vec<u32>) {
        for element in array.elements() {
            match element.kind() {
                Kind::Array => self.array(scope, path, element, elements),
                Kind::Object => {
                    let scope = self.scopes;
                    self.scopes += 1;
                    elements.push(scope);
                    self.object(scope, path, element);
                }
                _ => self.value(scope, path, element),
            }
        }
    }
}

/// What is read has less than 4 GiB.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
