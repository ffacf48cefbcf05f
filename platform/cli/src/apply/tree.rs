//! A document's values, each with the line that it stands on, and serde's way into them.
//!
//! The three formats come together here: what follows does not know which one a document was written in. A fault says
//! where it is and by which keys one gets there; an unknown key names the nearest known one. No key is there twice.

use crate::manifest::nearest;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt::{self, Display};

/// How deep values may lie in each other.
pub(super) const DEPTH_MAX: usize = 64;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What all three formats can say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The key's line, from 1.
    pub(super) line: usize,
    pub(super) node: Node,
}

/// What is wrong with a value, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line, from 1; 0 where it is not known yet.
    pub(super) line: usize,
    /// The keys that lead there, like `spec.hosts[2]`.
    path: String,
    message: String,
}

impl Fault {
    /// A fault of what stands on this line.
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, path: String::new(), message: message.into() }
    }

    /// The number on this line would be another once it was read.
    pub(super) fn not_exact(line: usize, number: &str) -> Self {
        Self::new(line, format!("the number {number} {}", skiff_api::NOT_EXACT))
    }

    /// What stands on this line lies in more than [`DEPTH_MAX`] others.
    pub(super) fn too_deep(line: usize) -> Self {
        Self::new(line, "values lie too deep in each other here")
    }

    /// The same, with the line of what it was found in, if nothing nearer is known.
    pub(super) fn at(self, line: usize) -> Self {
        Self { line: if self.line == 0 { line } else { self.line }, ..self }
    }

    /// The same, of what lies below a key.
    pub(super) fn below(self, key: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{key}{joint}{}", self.path), ..self }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(0, message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(0, format!("{} is not {}", shown(found), wanted(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown_field(variant, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(0, unknown(field, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(0, format!("the key \"{field}\" is missing"))
    }
}

/// What to say of a key that is not known here.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let hint = match (nearest(key, known), known) {
        (Some(nearest), _) => format!("did you mean \"{nearest}\"?"),
        (None, []) => "there is none here".to_owned(),
        (None, _) => format!("these are known here: {}", known.join(", ")),
    };
    format!("{key:?} is unknown; {hint}")
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table of keys and values".to_owned(),
        other => other.to_string(),
    }
}

/// What serde expects, in words for people.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let up_to = |most: u64| format!("a whole number from 0 to {most}");
    match text.as_str() {
        "u8" => up_to(u8::MAX.into()),
        "u16" => up_to(u16::MAX.into()),
        "u32" => up_to(u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0 upwards".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "path string" => "a text; put it into quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table of keys and values".to_owned(),
        text if text.starts_with("struct ") => "a table of keys and values".to_owned(),
        text => text.to_owned(),
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let visited = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_borrowed_str(value),
            Value::List(items) => visitor.visit_seq(Items { rest: items.iter().enumerate() }),
            Value::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), present: None }),
        };
        visited.map_err(|fault| fault.at(self.line))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let chosen = match &self.value {
            Value::Text(variant) => Chosen { variant, node: None },
            Value::Table(entries) => match entries.as_slice() {
                [entry] => Chosen { variant: &entry.key, node: Some(&entry.node) },
                _ => {
                    let message = format!("exactly one of these keys is to be here: {}", variants.join(", "));
                    return Err(Fault::new(self.line, message));
                }
            },
            _ => return Err(Fault::new(self.line, format!("one of {} is to be here", variants.join(", ")))),
        };
        visitor.visit_enum(chosen).map_err(|fault| fault.at(self.line))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// The items of a list that are still to be read, and which they are.
struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((at, node)) = self.rest.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|fault| fault.below(&format!("[{at}]")))
    }
}

/// The entries of a table that are still to be read.
struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    /// The one whose key was read last.
    present: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.rest.next() else { return Ok(None) };
        self.present = Some(entry);
        seed.deserialize(text(&entry.key)).map(Some).map_err(|fault| fault.at(entry.line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.present.take().expect("serde reads a key before its value");
        seed.deserialize(&entry.node).map_err(|fault| fault.below(&entry.key))
    }
}

/// A variant of an enum, and what belongs to it.
struct Chosen<'de> {
    variant: &'de str,
    node: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Chosen<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let variant = seed.deserialize(text(self.variant))?;
        Ok((variant, self))
    }
}

impl<'de> Chosen<'de> {
    fn node(&self) -> Result<&'de Node, Fault> {
        self.node.ok_or_else(|| {
            Fault::new(0, format!("{:?} says too little: give it what belongs to it", self.variant))
        })
    }
}

impl<'de> VariantAccess<'de> for Chosen<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.node {
            None => Ok(()),
            Some(node) => Err(Fault::new(node.line, format!("{:?} takes nothing more", self.variant))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.node()?).map_err(|fault| fault.below(self.variant))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(self.node()?, visitor).map_err(|fault| fault.below(self.variant))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(self.node()?, visitor).map_err(|fault| fault.below(self.variant))
    }
}

fn text(text: &str) -> StrDeserializer<'_, Fault> {
    text.into_deserializer()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use skiff_api::{PutListenerRule, PutService};

    fn node(text: &str) -> Node {
        let mut nodes = super::super::format::yaml::read(text).unwrap();
        assert_eq!(nodes.len(), 1);
        nodes.remove(0)
    }

    #[track_caller]
    fn check<T: for<'de> Deserialize<'de>>(text: &str, expected: &str) {
        let fault = T::deserialize(&node(text)).err().expect("it is wrong");
        assert_eq!(format!("{}: {fault}", fault.line), expected);
    }

    #[test]
    fn a_body_is_read_as_the_api_reads_it() {
        let rule = node(
            "listener: web\npriority: 10\nconditions: [\"path=/a\"]\naction:\n  forward:\n    groups:\n    - group: a\n",
        );
        let expected: PutListenerRule = serde_json::from_value(serde_json::json!({
            "listener": "web", "priority": 10, "conditions": ["path=/a"],
            "action": { "forward": { "groups": [{ "group": "a" }] } },
        }))
        .unwrap();
        assert_eq!(PutListenerRule::deserialize(&rule).unwrap(), expected);
    }

    #[test]
    fn a_fault_says_where_it_is_and_what_would_be_right() {
        check::<PutService>(
            "definition: hello\ndesierd: 2\n",
            "2: \"desierd\" is unknown; did you mean \"desired\"?",
        );
        check::<PutService>(
            "definition: hello\n\ndesired: two\n",
            "3: desired: \"two\" is not a whole number from 0 to 4294967295",
        );
        check::<PutService>("desired: 2\n", "1: the key \"definition\" is missing");
        check::<PutService>(
            "definition: hello\nhosts:\n- a.example\n- 7\n",
            "4: hosts[1]: 7 is not a text; put it into quotes",
        );
        check::<PutService>("definition: hello\nhosts: a\n", "2: hosts: \"a\" is not a list");
        check::<PutListenerRule>(
            "priority: 1\nconditions: []\naction:\n  forwrad: {}\n",
            "4: action: \"forwrad\" is unknown; did you mean \"forward\"?",
        );
        check::<PutListenerRule>(
            "priority: 1\nconditions: []\naction:\n  forward:\n    groups:\n    - group: a\n      wieght: 3\n",
            "7: action.forward.groups[0]: \"wieght\" is unknown; did you mean \"weight\"?",
        );
        check::<PutListenerRule>(
            "priority: 1\nconditions: []\naction:\n  forward: {}\n  redirect: {}\n",
            "4: action: exactly one of these keys is to be here: forward, redirect, fixed_response",
        );
    }
}
