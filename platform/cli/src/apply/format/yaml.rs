//! YAML 1.2, with the lines that its values stand on; and writing it.
//!
//! What stands without quotes is `null`, `true` or `false`, a number, or a text, as the core schema has it: `yes` and `on`
//! are texts. Anchors and aliases are refused, since a document that names itself can be made to grow without end; so are
//! tags but `!!str`.

use crate::apply::tree::{DEPTH_MAX, Entry, Fault, Node, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::Value as Json;
use skiff_api::is_exact_float;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

const NO_ALIAS: &str =
    "an alias is not taken here: write out what it stands for, or put a text that begins with * into quotes";

/// Reads all documents of a text of YAML; empty ones are passed over.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader { open: Vec::new(), documents: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            // What begins with * is an alias, of which there is none without an anchor.
            let message = match error.info().ends_with("unknown anchor") {
                true => NO_ALIAS.to_owned(),
                false => format!("this is not YAML: {}", error.info()),
            };
            Fault::new(error.marker().line(), message)
        })?;
        reader.take(event, span)?;
    }
    Ok(reader.documents)
}

struct Reader {
    /// What is not complete yet, the outermost first.
    open: Vec<Open>,
    documents: Vec<Node>,
}

/// A list or a table that is not complete yet.
struct Open {
    line: usize,
    /// The key whose value comes next, and its line.
    key: Option<(String, usize)>,
    /// The keys that it has.
    keys: HashSet<String>,
    value: Value,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => Err(Fault::new(line, NO_ALIAS)),
            Event::SequenceStart(anchor, tag) => {
                check_plain(line, anchor, tag.as_deref())?;
                self.open(line, Value::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                check_plain(line, anchor, tag.as_deref())?;
                self.open(line, Value::Table(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let complete = self.open.pop().expect("the parser ends what it began");
                self.put(Node { line: complete.line, value: complete.value })
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_deref().is_some_and(is_text_tag);
                check_plain(line, anchor, tag.as_deref().filter(|_| !is_text))?;
                if self.is_key_next() {
                    return self.key(text.into_owned(), line);
                }
                let value = match style {
                    ScalarStyle::Plain if !is_text && is_lost(&text) => {
                        return Err(Fault::not_exact(line, &text));
                    }
                    ScalarStyle::Plain if !is_text => plain(text),
                    _ => Value::Text(text.into_owned()),
                };
                self.put(Node { line, value })
            }
        }
    }

    fn open(&mut self, line: usize, value: Value) -> Result<(), Fault> {
        if self.is_key_next() {
            return Err(Fault::new(line, "a key is a text, not a list or a table"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::too_deep(line));
        }
        self.open.push(Open { line, key: None, keys: HashSet::new(), value });
        Ok(())
    }

    fn is_key_next(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.value, Value::Table(_)) && open.key.is_none())
    }

    fn key(&mut self, key: String, line: usize) -> Result<(), Fault> {
        let Some(Open { key: next, keys, .. }) = self.open.last_mut() else {
            unreachable!("a key is awaited in a table alone");
        };
        if !keys.insert(key.clone()) {
            return Err(Fault::new(line, format!("the key {key:?} is there twice")));
        }
        *next = Some((key, line));
        Ok(())
    }

    /// Puts what is complete where it belongs.
    fn put(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            None if node.value == Value::Null => {}
            None => self.documents.push(node),
            Some(Open { value: Value::List(items), .. }) => items.push(node),
            Some(Open { value: Value::Table(entries), key, .. }) => {
                let (key, line) = key.take().expect("a value follows its key");
                entries.push(Entry { key, line, node });
            }
            Some(_) => unreachable!("only lists and tables are opened"),
        }
        Ok(())
    }
}

fn check_plain(line: usize, anchor: usize, tag: Option<&Tag>) -> Result<(), Fault> {
    match (anchor, tag) {
        (0, None) => Ok(()),
        (0, Some(tag)) => Err(Fault::new(line, format!("the tag {tag} is not taken here: leave it out"))),
        (_, _) => Err(Fault::new(
            line,
            "an anchor is not taken here: leave it out, and put a text that begins with & into quotes",
        )),
    }
}

fn is_text_tag(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}

/// What a text without quotes is (YAML 1.2.2, section 10.3.2).
fn plain(text: Cow<'_, str>) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.starts_with(['+', '-']))?;
        i64::from_str_radix(digits, radix).ok()
    };
    if let Some(integer) = text.parse().ok().or_else(|| radix("0x", 16)).or_else(|| radix("0o", 8)) {
        return Value::Integer(integer);
    }
    // Words like `inf` and `nan`, which Rust takes for numbers, are none here.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse() {
        Ok(float) if is_number => Value::Float(float),
        _ => Value::Text(text.into_owned()),
    }
}

/// Whether a text without quotes is a number that would become another.
fn is_lost(text: &str) -> bool {
    matches!(plain(text.into()), Value::Float(_)) && !is_exact_float(text)
}

/// Writes JSON as YAML: tables and lists in lines of their own, texts in quotes wherever they could be read as something
/// else.
pub(crate) fn write(value: &Json) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// A value that begins in the present line, indented so far; ends with a newline.
fn block(text: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str(&word(key));
                text.push(':');
                below(text, value, indent + 2);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                block(text, item, indent + 2);
            }
        }
        Json::String(value) => {
            text.push_str(&word(value));
            text.push('\n');
        }
        // What JSON writes in one line, YAML reads as the same.
        value => writeln!(text, "{value}").expect("a String takes everything"),
    }
}

/// The value of a key whose line ends with it, or that goes on in the lines below.
fn below(text: &mut String, value: &Json, indent: usize) {
    let is_block = match value {
        Json::Object(entries) => !entries.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => false,
    };
    match is_block {
        true => {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
        }
        false => text.push(' '),
    }
    block(text, value, indent);
}

/// A text without quotes, where it is certain to be read as itself.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=*".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    match begins && text.bytes().all(is_plain) && matches!(plain(text.into()), Value::Text(_)) {
        true => text.to_owned(),
        // A text of JSON in quotes is one of YAML.
        false => Json::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::format::json;
    use serde_json::json;

    fn node(line: usize, value: Value) -> Node {
        Node { line, value }
    }

    fn entry(key: &str, line: usize, node: Node) -> Entry {
        Entry { key: key.to_owned(), line, node }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn values_are_read_with_their_lines() {
        let read = read(
            "---\nkind: rule\nspec:\n  a: [1, 'x']\n  # a note\n  b:\n  - yes\n  - \"2\"\n---\n---\n- 1.5\n",
        );
        let spec = Value::Table(vec![
            entry("a", 4, node(4, Value::List(vec![node(4, Value::Integer(1)), node(4, text("x"))]))),
            entry("b", 6, node(7, Value::List(vec![node(7, text("yes")), node(8, text("2"))]))),
        ]);
        let first =
            Value::Table(vec![entry("kind", 2, node(2, text("rule"))), entry("spec", 3, node(4, spec))]);
        let second = Value::List(vec![node(11, Value::Float(1.5))]);
        assert_eq!(read.unwrap(), [node(2, first), node(11, second)]);
    }

    #[test]
    fn what_stands_without_quotes_has_its_own_kind() {
        for (written, expected) in [
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("-7", Value::Integer(-7)),
            ("0x1F", Value::Integer(31)),
            ("1e3", Value::Float(1000.0)),
            ("256MiB", text("256MiB")),
            ("inf", text("inf")),
            ("nan", text("nan")),
            ("0x-1", text("0x-1")),
            ("10.64.0.7", text("10.64.0.7")),
            ("hello:3", text("hello:3")),
            ("-", text("-")),
        ] {
            assert_eq!(plain(written.into()), expected, "{written}");
        }
    }

    #[test]
    fn what_is_not_taken_is_told_with_its_line() {
        for (written, line, message) in [
            ("a: 1\nb: ]\n", 2, "this is not YAML: "),
            ("a: &x 1\n", 1, "an anchor is not taken here"),
            ("a: 1\na: 2\n", 2, "the key \"a\" is there twice"),
            ("a: 1\nb: !secret x\n", 2, "the tag !secret is not taken here"),
            ("? [1]\n: 2\n", 1, "a key is a text"),
            ("a: 0.5\nb: 1e400\n", 2, "the number 1e400 has more digits"),
            ("a: 12345678901234567890.123\n", 1, "the number 12345678901234567890.123 has more digits"),
            (&format!("{}{}", "[".repeat(100), "]".repeat(100)), 1, "values lie too deep"),
            ("a: 1\nb: *.example.org\n", 2, "an alias is not taken here"),
        ] {
            let fault = read(written).unwrap_err();
            assert!(fault.to_string().starts_with(message), "{written}: {fault}");
            assert_eq!(fault.line, line, "{written}: {fault}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let value = json!([
            {
                "kind": "rule", "name": "a-b", "empty": [], "none": null, "number": 7, "yes": true,
                "spec": { "conditions": ["host=*.example.org", "path=/a b", "*", "", "true", "8080", "a: b", "# x", "ü\n"] },
                "deep": [[1, 2], [{ "a": {} }]], "8080": "x",
            },
            { "kind": "listener" },
        ]);
        let written = write(&value);
        // Without lines: those are others.
        fn stripped(node: &Node) -> Json {
            match &node.value {
                Value::Null => Json::Null,
                Value::Bool(value) => json!(value),
                Value::Integer(value) => json!(value),
                Value::Float(value) => json!(value),
                Value::Text(value) => json!(value),
                Value::List(items) => items.iter().map(stripped).collect(),
                Value::Table(entries) => {
                    entries.iter().map(|entry| (entry.key.clone(), stripped(&entry.node))).collect()
                }
            }
        }
        assert_eq!(stripped(&read(&written).unwrap()[0]), value, "{written}");
        assert_eq!(stripped(&json::read(&value.to_string()).unwrap()[0]), value);
        let rule = json!([{ "kind": "rule", "spec": { "conditions": ["path=/a", "a b"], "priority": 10 } }]);
        let expected =
            "- kind: rule\n  spec:\n    conditions:\n      - path=/a\n      - \"a b\"\n    priority: 10\n";
        assert_eq!(write(&rule), expected);
    }
}
