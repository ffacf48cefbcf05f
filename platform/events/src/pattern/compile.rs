//! Reads a pattern: from JSON to alternatives of fields.
//!
//! `$or` is multiplied out, so that matching knows nothing of it, and one alternative's fields are those that one object of an
//! array has to have, wherever they were written. A list with `{"exists": false}` beside other values is two alternatives.

use super::clause::{Accepts, Clause, Field};
use super::value_set::ValueSet;
use super::values::{Limit, Range, ValuePattern, folded};
use super::wildcard::Wildcard;
use super::{Pattern, PatternError};
use crate::decimal::Decimal;
use crate::json::{Kind, Tape, Value, shortened};
use ipnet::IpNet;
use skiff_types::EventRuleSpec;
use std::net::IpAddr;
use std::sync::Arc;

/// What a pattern says instead of a value.
const OPERATORS: &str = "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists, cidr";
/// Keys that are no fields within `$or`, as at EventBridge: who writes them there meant a value.
const RESERVED: [&str; 13] = [
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "anything-but",
    "numeric",
    "exists",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
];

/// Fields that all have to be as they say.
type Alternative = Vec<Arc<Field>>;

/// Reads a pattern.
pub(super) fn compile(json: &str) -> Result<Vec<Clause>, PatternError> {
    if json.len() > EventRuleSpec::PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong { bytes: json.len() });
    }
    let tape = Tape::parse(json).map_err(PatternError::Json)?;
    if tape.root().kind() != Kind::Object {
        let problem = "an event pattern is an object, like {\"source\": [\"shop\"]}".into();
        return Err(PatternError::Whole { problem });
    }
    object(tape.root(), None, false)?.into_iter().map(clause).collect()
}

fn clause(mut fields: Alternative) -> Result<Clause, PatternError> {
    fields.sort_by(|left, right| left.path().cmp(right.path()));
    if let Some(pair) = fields.windows(2).find(|pair| pair[0].path() == pair[1].path()) {
        return Err(at(pair[0].path(), "it is asked for twice: list all its values in one place"));
    }
    Ok(Clause { fields: fields.into() })
}

fn at(path: &str, problem: impl Into<String>) -> PatternError {
    if path.is_empty() {
        return PatternError::Whole { problem: problem.into() };
    }
    PatternError::At { path: shortened(path), problem: problem.into() }
}

/// The path that goes on with a key; the event itself has none.
fn join(path: Option<&str>, key: &str) -> String {
    path.map_or_else(|| key.to_owned(), |path| format!("{path}.{key}"))
}

/// The alternatives that an object asks for; `within_or` if it is one of an `$or`.
fn object(object: Value<'_>, path: Option<&str>, within_or: bool) -> Result<Vec<Alternative>, PatternError> {
    let mut alternatives = vec![Alternative::new()];
    let mut is_empty = true;
    for (key, value) in object.members() {
        is_empty = false;
        let more = if key == "$or" {
            any_of(value, path)?
        } else if within_or && RESERVED.contains(&&*key) {
            let problem =
                format!("{key:?} is not a field that \"$or\" can ask for: put it into a field's list");
            return Err(at(path.unwrap_or_default(), problem));
        } else {
            let path = join(path, &key);
            match value.kind() {
                Kind::Object => self::object(value, Some(&path), within_or)?,
                Kind::Array => field(value, &path)?,
                _ => return Err(at(&path, "its values have to be a list, like [\"a\", \"b\"]")),
            }
        };
        alternatives = both(&alternatives, &more)?;
    }
    if is_empty {
        return Err(at(
            path.unwrap_or_default(),
            "an empty object asks for nothing: name a field, or leave it out",
        ));
    }
    Ok(alternatives)
}

/// The alternatives of `$or`; their fields are those of the object that it is in.
fn any_of(list: Value<'_>, path: Option<&str>) -> Result<Vec<Alternative>, PatternError> {
    let error = |problem: &str| at(&join(path, "$or"), problem);
    if list.elements().count() < 2 {
        return Err(error("it has to be a list of two objects or more"));
    }
    let mut alternatives = Vec::new();
    for element in list.elements() {
        if element.kind() != Kind::Object {
            return Err(error("each of its elements has to be an object with fields"));
        }
        alternatives.extend(object(element, path, true)?);
        check_complexity(&alternatives)?;
    }
    Ok(alternatives)
}

/// Each alternative of the one with each of the other.
fn both(left: &[Alternative], right: &[Alternative]) -> Result<Vec<Alternative>, PatternError> {
    let fields = |alternatives: &[Alternative]| alternatives.iter().map(Vec::len).sum::<usize>();
    let together = fields(left) * right.len() + fields(right) * left.len();
    if left.len() * right.len() > Pattern::ALTERNATIVES_MAX || together > Pattern::FIELDS_MAX {
        return Err(PatternError::TooComplex);
    }
    let pairs = left.iter().flat_map(|one| right.iter().map(move |other| (one, other)));
    Ok(pairs.map(|(one, other)| one.iter().chain(other).cloned().collect()).collect())
}

fn check_complexity(alternatives: &[Alternative]) -> Result<(), PatternError> {
    let fields: usize = alternatives.iter().map(Vec::len).sum();
    if alternatives.len() > Pattern::ALTERNATIVES_MAX || fields > Pattern::FIELDS_MAX {
        return Err(PatternError::TooComplex);
    }
    Ok(())
}

/// What a list asks of a field: one alternative, or two if the field may be absent or have a value.
fn field(list: Value<'_>, path: &str) -> Result<Vec<Alternative>, PatternError> {
    let mut values = Vec::new();
    let mut may_be_absent = false;
    let mut is_empty = true;
    for element in list.elements() {
        is_empty = false;
        match value(element, path)? {
            Some(value) => values.push(value),
            None => may_be_absent = true,
        }
    }
    if is_empty {
        return Err(at(path, "an empty list takes no value: name one"));
    }
    let mut alternatives = Vec::new();
    if !values.is_empty() {
        alternatives.push(vec![Arc::new(Field::new(path, Accepts::Values(Box::new(ValueSet::new(values)))))]);
    }
    if may_be_absent {
        alternatives.push(vec![Arc::new(Field::new(path, Accepts::Absent))]);
    }
    Ok(alternatives)
}

/// One value of a list; none if it says that the field is absent.
fn value(element: Value<'_>, path: &str) -> Result<Option<ValuePattern>, PatternError> {
    if element.kind() != Kind::Object {
        return match plain(element) {
            Some(value) => Ok(Some(value)),
            None => Err(at(path, "a list within a list takes no value: write its values into one list")),
        };
    }
    let mut members = element.members();
    let (Some((operator, operand)), None) = (members.next(), members.next()) else {
        return Err(at(path, format!("an object in a list of values has one key, of {OPERATORS}")));
    };
    let value = match &*operator {
        "prefix" => affix(operand, path, "prefix", ValuePattern::Prefix, ValuePattern::PrefixIgnoreCase)?,
        "suffix" => affix(operand, path, "suffix", ValuePattern::Suffix, ValuePattern::SuffixIgnoreCase)?,
        "equals-ignore-case" => ValuePattern::IgnoreCase(folded(&text(operand, path, &operator)?).into()),
        "wildcard" => wildcard(&text(operand, path, &operator)?, path)?,
        "anything-but" => ValuePattern::AnythingBut(Box::new(ValueSet::new(anything_but(operand, path)?))),
        "numeric" => numeric(operand, path)?,
        "cidr" => network(&text(operand, path, &operator)?, path)?,
        "exists" => match operand.kind() {
            Kind::True => ValuePattern::Exists,
            Kind::False => return Ok(None),
            _ => return Err(at(path, "\"exists\" is true or false")),
        },
        unknown => {
            let unknown = shortened(unknown);
            return Err(at(path, format!("there is no {unknown:?} to match with; there are {OPERATORS}")));
        }
    };
    Ok(Some(value))
}

/// A value that stands for itself; none of a list or an object.
fn plain(value: Value<'_>) -> Option<ValuePattern> {
    Some(match value.kind() {
        Kind::Null => ValuePattern::Null,
        Kind::True => ValuePattern::Boolean(true),
        Kind::False => ValuePattern::Boolean(false),
        Kind::Number => ValuePattern::Number(Decimal::of(value.raw())),
        Kind::Plain | Kind::Escaped => ValuePattern::Text(value.text().unwrap_or_default().into()),
        Kind::Array | Kind::Object => return None,
    })
}

/// The string that an operator has to have.
fn text(operand: Value<'_>, path: &str, operator: &str) -> Result<String, PatternError> {
    match operand.text() {
        Some(text) => Ok(text.into_owned()),
        None => Err(at(path, format!("{operator:?} has to be a string"))),
    }
}

/// A beginning or an end, perhaps in any case.
fn affix(
    operand: Value<'_>,
    path: &str,
    operator: &str,
    exact: fn(Box<str>) -> ValuePattern,
    ignoring_case: fn(Box<str>) -> ValuePattern,
) -> Result<ValuePattern, PatternError> {
    if operand.kind() != Kind::Object {
        let problem =
            || at(path, format!("{operator:?} has to be a string, or {{\"equals-ignore-case\": a string}}"));
        return operand.text().map(|text| exact(text.into())).ok_or_else(problem);
    }
    let mut members = operand.members();
    match (members.next(), members.next()) {
        (Some((key, value)), None) if key == "equals-ignore-case" => {
            Ok(ignoring_case(folded(&text(value, path, "equals-ignore-case")?).into()))
        }
        _ => Err(at(path, format!("an object in {operator:?} has one key, \"equals-ignore-case\""))),
    }
}

fn wildcard(text: &str, path: &str) -> Result<ValuePattern, PatternError> {
    Wildcard::parse(text).map(ValuePattern::Wildcard).map_err(|problem| at(path, problem))
}

/// What is not to be: a string or a number, a list of either, or an operator with a string or a list of them.
fn anything_but(operand: Value<'_>, path: &str) -> Result<Vec<ValuePattern>, PatternError> {
    if operand.kind() == Kind::Object {
        let mut members = operand.members();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            let problem =
                "an object in \"anything-but\" has one key, of prefix, suffix, equals-ignore-case, wildcard";
            return Err(at(path, problem));
        };
        return each(operand, path)?.into_iter().map(|value| not_so(&operator, value, path)).collect();
    }
    let operands = each(operand, path)?;
    let values: Vec<ValuePattern> = operands.iter().copied().filter_map(plain).collect();
    let numbers = values.iter().filter(|value| matches!(value, ValuePattern::Number(_))).count();
    let texts = values.iter().filter(|value| matches!(value, ValuePattern::Text(_))).count();
    if numbers.max(texts) != operands.len() {
        return Err(at(path, "\"anything-but\" has to be strings or numbers, all of one kind"));
    }
    Ok(values)
}

/// One of what an operator within `anything-but` excludes.
fn not_so(operator: &str, value: Value<'_>, path: &str) -> Result<ValuePattern, PatternError> {
    let text = text(value, path, operator)?;
    match operator {
        "prefix" | "suffix" if text.is_empty() => {
            Err(at(path, format!("an empty {operator:?} is that of every string, so that nothing is left")))
        }
        "prefix" => Ok(ValuePattern::Prefix(text.into())),
        "suffix" => Ok(ValuePattern::Suffix(text.into())),
        "equals-ignore-case" => Ok(ValuePattern::IgnoreCase(folded(&text).into())),
        "wildcard" => wildcard(&text, path),
        unknown => {
            let unknown = shortened(unknown);
            let known = "prefix, suffix, equals-ignore-case, wildcard";
            Err(at(path, format!("there is no {unknown:?} in \"anything-but\"; there are {known}")))
        }
    }
}

/// The elements of a list, or the one value that is none.
fn each<'t>(operand: Value<'t>, path: &str) -> Result<Vec<Value<'t>>, PatternError> {
    if operand.kind() != Kind::Array {
        return Ok(vec![operand]);
    }
    let elements: Vec<Value<'t>> = operand.elements().collect();
    if elements.is_empty() {
        return Err(at(path, "an empty list in \"anything-but\" excludes nothing: name a value"));
    }
    Ok(elements)
}

/// A comparison, or two that make a range.
fn numeric(operand: Value<'_>, path: &str) -> Result<ValuePattern, PatternError> {
    let usage = "\"numeric\" is a comparison like [\">=\", 5], or a range like [\">\", 0, \"<=\", 5]";
    let parts: Vec<Value<'_>> = operand.elements().collect();
    let comparison = |operator: Value<'_>, number: Value<'_>| {
        let number = (number.kind() == Kind::Number).then(|| Decimal::of(number.raw()))?;
        Some((operator.text()?.into_owned(), number))
    };
    let mut range = Range { least: None, most: None };
    let mut limit = |(operator, number): (String, Decimal)| {
        let is_within = operator.ends_with('=');
        let is_before = range.most.is_none();
        let end = match &*operator {
            ">" | ">=" if is_before => &mut range.least,
            "<" | "<=" => &mut range.most,
            _ => return None,
        };
        end.is_none().then(|| *end = Some(Limit { number, is_within }))
    };
    let limits = match *parts {
        [operator, number] => match comparison(operator, number) {
            Some((operator, number)) if operator == "=" => return Ok(ValuePattern::Number(number)),
            one => one.and_then(&mut limit),
        },
        [lower, least, upper, most] => comparison(lower, least)
            .and_then(&mut limit)
            .and_then(|()| comparison(upper, most))
            .and_then(&mut limit),
        _ => None,
    };
    match limits {
        None => Err(at(path, usage)),
        Some(()) if range.is_empty() => {
            Err(at(path, "no number lies in that range: its beginning is not before its end"))
        }
        Some(()) => Ok(ValuePattern::Range(range)),
    }
}

fn network(text: &str, path: &str) -> Result<ValuePattern, PatternError> {
    let network =
        text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
    let problem = |_| {
        at(
            path,
            format!(
                "{:?} is not a block of addresses, like \"10.0.0.0/24\" or \"2001:db8::/32\"",
                shortened(text)
            ),
        )
    };
    network.map(|network| ValuePattern::Network(network.trunc())).map_err(problem)
}
