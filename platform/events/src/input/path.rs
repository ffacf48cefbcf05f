//! Paths into an event: `$`, `.key`, `['odd key']`, `[0]`, `[*]`.

use super::{InputError, PATH_BYTES_MAX};
use crate::json::{Kind, Value, shortened};
use std::borrow::Cow;

/// A path that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the member with this key.
    Key(String),
    /// To this element, from 0.
    Index(usize),
    /// To all elements.
    All,
}

impl Path {
    /// Reads a path.
    pub(super) fn parse(text: &str) -> Result<Self, InputError> {
        steps(text)
            .map(|steps| Self { steps })
            .map_err(|problem| InputError::Path { path: shortened(text), problem: problem.into() })
    }

    /// Its steps.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps after the first, if that is to this key.
    pub(super) fn within(&self, key: &str) -> Option<&[Step]> {
        match self.steps.split_first() {
            Some((Step::Key(first), rest)) if first == key => Some(rest),
            _ => None,
        }
    }
}

fn steps(text: &str) -> Result<Vec<Step>, &'static str> {
    if text.len() > PATH_BYTES_MAX {
        return Err("it is too long");
    }
    let mut rest = text.strip_prefix('$').ok_or("it has to begin with \"$\"")?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(bracketed) => bracket(bracketed)?,
            None => name(rest.strip_prefix('.').ok_or("a \".\" or a \"[\" belongs between its parts")?)?,
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

/// A key after a dot, and what follows it.
fn name(text: &str) -> Result<(Step, &str), &'static str> {
    let is_end = |letter: char| matches!(letter, '.' | '[');
    let (key, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
    if key.is_empty() {
        return Err("a key belongs after a \".\"");
    }
    let is_odd =
        |letter: char| letter.is_whitespace() || letter.is_control() || "'\"]*<>$@?(),".contains(letter);
    if key.contains(is_odd) {
        return Err(
            "a key with other characters than letters, digits, \"-\", \"_\", \"/\" and \":\" is written ['so']",
        );
    }
    Ok((Step::Key(key.to_owned()), rest))
}

/// What stands in brackets, after the first of them, and what follows it.
fn bracket(text: &str) -> Result<(Step, &str), &'static str> {
    const UNCLOSED: &str = "a \"]\" is missing";
    if let Some(quote) = text.chars().next().filter(|first| matches!(first, '\'' | '"')) {
        let (key, rest) = quoted(&text[1..], quote)?;
        return Ok((Step::Key(key), rest.strip_prefix(']').ok_or(UNCLOSED)?));
    }
    let (inner, rest) = text.split_once(']').ok_or(UNCLOSED)?;
    if inner == "*" {
        return Ok((Step::All, rest));
    }
    let is_index = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
    let index = if is_index { inner.parse().ok() } else { None };
    index
        .map(|index| (Step::Index(index), rest))
        .ok_or("in brackets stand a number, a key in quotes, or \"*\"")
}

/// A key up to its closing quote, and what follows that. A backslash stands for what follows it.
fn quoted(text: &str, quote: char) -> Result<(String, &str), &'static str> {
    let mut key = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => key.extend(letters.next()),
            letter if letter == quote => return Ok((key, letters.as_str())),
            letter => key.push(letter),
        }
    }
    Err("a closing quote is missing")
}

/// What lies there, as JSON. Of all elements, those where something does, as an array.
pub(super) fn find<'t>(steps: &[Step], value: Value<'t>) -> Option<Cow<'t, str>> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(Cow::Borrowed(value.raw()));
    };
    match step {
        Step::Key(key) => find(rest, value.get(key)?),
        Step::Index(index) => find(rest, value.elements().nth(*index)?),
        Step::All if value.kind() == Kind::Array => {
            let found: Vec<Cow<'t, str>> =
                value.elements().filter_map(|element| find(rest, element)).collect();
            Some(Cow::Owned(format!("[{}]", found.join(","))))
        }
        Step::All => None,
    }
}
