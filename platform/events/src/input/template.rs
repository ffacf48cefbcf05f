//! Templates: read, checked, and filled in.

use super::path::{self, Path};
use super::{InputError, OUTPUT_BYTES_MAX, Origin, PATHS_MAX, TEMPLATE_BYTES_MAX, raw_text};
use crate::envelope;
use crate::json::{Tape, escape, quote, shortened};
use skiff_types::{BusEvent, Template};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What reserved names begin with.
const RESERVED: &str = "aws.events.";
/// The names that stand for something without a path.
const PREDEFINED: [&str; 5] = [
    "aws.events.rule-arn",
    "aws.events.rule-name",
    "aws.events.event.ingestion-time",
    "aws.events.event",
    "aws.events.event.json",
];
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    /// A name; within a JSON string, if the template is JSON.
    Name {
        name: &'a str,
        is_quoted: bool,
    },
}

/// Refuses a template that can't be rendered for any event.
pub(super) fn check(template: &Template) -> Result<(), InputError> {
    let error = |problem: String| InputError::Template { problem };
    if template.text.len() > TEMPLATE_BYTES_MAX {
        return Err(error(format!(
            "it has {} bytes, and can have {TEMPLATE_BYTES_MAX}",
            template.text.len()
        )));
    }
    if template.paths.len() > PATHS_MAX {
        return Err(error(format!("it has {} paths, and can have {PATHS_MAX}", template.paths.len())));
    }
    for (name, path) in &template.paths {
        if !is_name(name) || name.starts_with(RESERVED) {
            let name = shortened(name);
            return Err(error(format!(
                "{name:?} is no name of a path: one is of letters, digits, \"-\", \"_\" and \".\", and does not begin with {RESERVED:?}"
            )));
        }
        Path::parse(path)?;
    }
    let pieces = pieces(&template.text);
    for piece in &pieces {
        if let Piece::Name { name, .. } = piece
            && !template.paths.contains_key(*name)
            && !PREDEFINED.contains(name)
        {
            let name = shortened(name);
            return Err(error(format!("it puts <{name}> in, and has no path of that name")));
        }
    }
    // What looks like an object is meant as one, and not as text that begins with a brace.
    if template.text.trim_start().starts_with('{') {
        let sample = sample(&pieces);
        let parsed = Tape::parse(&sample).map(drop);
        return parsed
            .map_err(|why| error(format!("it begins like a JSON object, but with its names put in {why}")));
    }
    Ok(())
}

/// Fills a template in.
pub(super) fn render(
    template: &Template,
    event: &BusEvent,
    origin: &Origin<'_>,
) -> Result<String, InputError> {
    let pieces = pieces(&template.text);
    let is_json = Tape::parse(&sample(&pieces)).is_ok();
    let printed = envelope::eventbridge(event);
    let tape = Tape::parse(&printed).ok();
    // A name that stands there often is looked for once.
    let mut found: BTreeMap<&str, Option<Cow<'_, str>>> = BTreeMap::new();
    let mut out = String::with_capacity(template.text.len());
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Name { name, is_quoted } => {
                let value = match found.get(name) {
                    Some(value) => value.clone(),
                    None => {
                        let value = match template.paths.get(name) {
                            Some(path) => find(path, tape.as_ref())?,
                            None => predefined(name, event, origin, &printed),
                        };
                        found.insert(name, value.clone());
                        value
                    }
                };
                match (value, is_json, is_quoted) {
                    (Some(json), true, false) => out.push_str(&json),
                    (None, true, false) => out.push_str("null"),
                    (Some(json), true, true) => escape(&mut out, &raw_text(json)),
                    (Some(json), false, _) => out.push_str(&raw_text(json)),
                    (None, _, _) => {}
                }
            }
        }
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(InputError::TooLarge { bytes: out.len() });
        }
    }
    Ok(out)
}

/// What lies at a path of an event, as JSON.
fn find<'t>(path: &str, tape: Option<&'t Tape<'_>>) -> Result<Option<Cow<'t, str>>, InputError> {
    let path = Path::parse(path)?;
    Ok(tape.and_then(|tape| path::find(path.steps(), tape.root())))
}

/// What a name stands for that needs no path, as JSON.
fn predefined<'a>(
    name: &str,
    event: &BusEvent,
    origin: &Origin<'_>,
    printed: &'a str,
) -> Option<Cow<'a, str>> {
    let text = |text: &str| -> Option<Cow<'a, str>> {
        let mut out = String::new();
        quote(&mut out, text);
        Some(Cow::Owned(out))
    };
    match name {
        "aws.events.rule-arn" => text(&origin.name.to_string()),
        "aws.events.rule-name" => text(origin.name.name.as_str()),
        "aws.events.event.ingestion-time" => text(&envelope::iso_8601(origin.ingested_at_ms)),
        "aws.events.event" => Some(Cow::Owned(envelope::without_detail(event))),
        "aws.events.event.json" => Some(Cow::Borrowed(printed)),
        _ => None,
    }
}

/// Cuts a template at its names.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut is_quoted = false;
    let mut rest = text;
    while let Some((literal, name, after)) = next_name(rest) {
        is_quoted = ends_quoted(literal, is_quoted);
        pieces.extend([Piece::Literal(literal), Piece::Name { name, is_quoted }]);
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

/// The next name, with what stands before and after it.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find('<')?;
        let inner = &text[open + 1..];
        let close = inner.find(|letter: char| !is_of_name(letter)).unwrap_or(inner.len());
        if let Some(after) = inner[close..].strip_prefix('>').filter(|_| is_name(&inner[..close])) {
            return Some((&text[..open], &inner[..close], after));
        }
        from = open + 1;
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(is_of_name)
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

/// Whether what follows a text of JSON stands within a string; `is_quoted` says that of the text's beginning.
fn ends_quoted(text: &str, mut is_quoted: bool) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if is_quoted => {
                bytes.next();
            }
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
    }
    is_quoted
}

/// What a template looks like with something put in for each name, to see whether it is JSON.
fn sample(pieces: &[Piece<'_>]) -> String {
    let mut sample = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => sample.push_str(text),
            Piece::Name { is_quoted: false, .. } => sample.push_str("null"),
            // A letter that no escape begins or goes on with, so that a backslash before a name escapes nothing.
            Piece::Name { is_quoted: true, .. } => sample.push('x'),
        }
    }
    sample
}
