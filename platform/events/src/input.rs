//! What a target is sent: the event, a part of it, a constant, or a template with parts of it put in, by the rules of
//! EventBridge's input transformer.
//!
//! Paths are those of EventBridge: `$`, `$.detail.object.key`, `$.resources[0]`, `$.detail['odd key']`, and `[*]` for all of an
//! array's elements, as an array. They go into EventBridge's envelope.
//!
//! A **template** is JSON if it is that once its `<name>`s are put in, else text. In JSON, a name that stands for itself
//! becomes the JSON that lies at its path (`null` if nothing does), and a name within a string becomes part of that string,
//! escaped (nothing if nothing lies there; JSON of what is no string). In text, strings are put in as they are, and all else
//! as JSON. `<` that begins no name is itself.
//!
//! Reserved names are EventBridge's, with their `aws.events.` only, so that no name of a user's means two things:
//! `<aws.events.rule-arn>` and `<aws.events.rule-name>` (the rule's or schedule's name, with and without its namespace),
//! `<aws.events.event.ingestion-time>`, `<aws.events.event>` (without its detail) and `<aws.events.event.json>`.
//!
//! Deliberately not here: where it is sent. What always holds: what is rendered has at most [`OUTPUT_BYTES_MAX`].
//!
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html>

mod path;
mod template;

#[cfg(test)]
mod tests;

use crate::envelope;
use crate::json::{self, Tape};
use bytes::Bytes;
use path::Path;
use skiff_types::{BusEvent, Input, QualifiedName};
use std::borrow::Cow;

/// The longest input that a target is sent, in bytes.
pub const OUTPUT_BYTES_MAX: usize = BusEvent::BYTES_MAX;
/// The longest constant, in bytes, as at AWS.
pub const CONSTANT_BYTES_MAX: usize = 8_192;
/// The longest template, in bytes, as at AWS.
pub const TEMPLATE_BYTES_MAX: usize = 8_192;
/// Paths of one template, as at AWS.
pub const PATHS_MAX: usize = 100;
/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1_024;

/// What a template can say beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The rule or the schedule.
    pub name: &'a QualifiedName,
    /// When the event was put, in milliseconds since 1970.
    pub ingested_at_ms: u64,
}

/// Makes what a target is sent.
///
/// # Errors
///
/// [`InputError::TooLarge`], and what [`check`] finds wrong.
pub fn render(input: &Input, event: &BusEvent, origin: &Origin<'_>) -> Result<Bytes, InputError> {
    let rendered = match input {
        Input::Event => envelope::eventbridge(event),
        Input::Path(path) => found(&Path::parse(path)?, event).map_or_else(|| "null".into(), Cow::into_owned),
        Input::Constant(constant) => constant.to_string(),
        Input::Template(template) => template::render(template, event, origin)?,
    };
    if rendered.len() > OUTPUT_BYTES_MAX {
        return Err(InputError::TooLarge { bytes: rendered.len() });
    }
    Ok(rendered.into())
}

/// Refuses an input that can't be rendered for any event.
///
/// # Errors
///
/// A sentence of what is wrong with it, and what would be right.
pub fn check(input: &Input) -> Result<(), InputError> {
    match input {
        Input::Event => Ok(()),
        Input::Path(path) => Path::parse(path).map(drop),
        Input::Constant(constant) if constant.len() > CONSTANT_BYTES_MAX => Err(InputError::Constant {
            problem: format!("it has {} bytes, and can have {CONSTANT_BYTES_MAX}", constant.len()),
        }),
        Input::Constant(constant) => {
            let parsed = Tape::parse(constant).map(drop);
            parsed.map_err(|error| InputError::Constant { problem: error.to_string() })
        }
        Input::Template(template) => template::check(template),
    }
}

/// Replaces a text that is a path into the event (it begins with `$.` or `$[`, or is `$`) by what lies there: a string as it is,
/// all else as JSON, nothing as the empty text. Any other text is itself.
///
/// # Errors
///
/// Of a text that looks like a path and is none.
pub fn substitute(text: &str, event: &BusEvent) -> Result<String, InputError> {
    if !is_path(text) {
        return Ok(text.to_owned());
    }
    Ok(found(&Path::parse(text)?, event).map(raw_text).unwrap_or_default())
}

/// Refuses a text that [`substitute`] would take for a path, and that is none.
///
/// # Errors
///
/// Says where it is none.
pub fn check_substitution(text: &str) -> Result<(), InputError> {
    if is_path(text) { Path::parse(text).map(drop) } else { Ok(()) }
}

fn is_path(text: &str) -> bool {
    text == "$" || text.starts_with("$.") || text.starts_with("$[")
}

/// What lies at a path of an event, as JSON.
fn found<'a>(path: &Path, event: &'a BusEvent) -> Option<Cow<'a, str>> {
    // By far the most paths go into the detail, which is JSON already.
    if let Some(steps) = path.within("detail") {
        if steps.is_empty() {
            return Some(Cow::Borrowed(&event.detail));
        }
        let tape = Tape::parse(&event.detail).ok()?;
        return path::find(steps, tape.root()).map(|found| Cow::Owned(found.into_owned()));
    }
    let printed = envelope::eventbridge(event);
    let tape = Tape::parse(&printed).ok()?;
    path::find(path.steps(), tape.root()).map(|found| Cow::Owned(found.into_owned()))
}

/// JSON as it stands in text: strings are what they say, all else is itself.
fn raw_text(found: Cow<'_, str>) -> String {
    match json::unquoted(&found) {
        Some(text) => text.into_owned(),
        None => found.into_owned(),
    }
}

/// Why an input can't be made; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A path that is none.
    #[error(
        "{path:?} is not a path into an event: {problem}; one is like \"$.detail.object.key\", \"$.resources[0]\" or \"$.detail['odd key']\""
    )]
    Path {
        /// As it was given, shortened if it is long.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A constant that is none.
    #[error("a constant input has to be JSON: {problem}")]
    Constant {
        /// What is wrong with it.
        problem: String,
    },
    /// A template that is none.
    #[error("the template can't be used: {problem}")]
    Template {
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// More than a target is sent.
    #[error(
        "the input that the event leads to has {bytes} bytes or more; a target is sent {} at most",
        OUTPUT_BYTES_MAX
    )]
    TooLarge {
        /// How long it got.
        bytes: usize,
    },
}
