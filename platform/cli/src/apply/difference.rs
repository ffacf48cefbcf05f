//! What differs between what is and what is to be, field by field, and how that is shown.
//!
//! Both are tables of JSON, written by the same types; so what is compared is what the API says, whatever its fields are.
//! What is absent, `null`, or an empty list or table is the same. What a task's environment has for values is not shown.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// A table of fields.
pub(super) type Fields = Map<String, Json>;

/// The field whose values are nobody's business but the task's.
const HIDDEN: &str = "environment.";

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Field {
    /// Its name, like `action.forward.groups`.
    field: String,
    /// What it is now; `null` where there is nothing.
    from: Json,
    /// What it is to be.
    to: Json,
}

/// What becomes of a resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Create,
    Update(Vec<Field>),
    Nothing,
}

impl Change {
    /// From what is, if it is there, to what is to be. Where all is replaced, what is left out goes; else it stays.
    pub(super) fn between(present: Option<&Fields>, wanted: &Fields, replaces: bool) -> Self {
        let Some(present) = present else { return Self::Create };
        let mut keys: BTreeSet<&String> = wanted.keys().collect();
        if replaces {
            keys.extend(present.keys());
        }
        let mut fields = Vec::new();
        for key in keys {
            compare(key, present.get(key), wanted.get(key), &mut fields);
        }
        if fields.is_empty() { Self::Nothing } else { Self::Update(fields) }
    }

    /// As programs are told.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(_) => "change",
            Self::Nothing => "unchanged",
        }
    }

    /// Which fields change.
    pub(super) fn fields(&self) -> &[Field] {
        match self {
            Self::Update(fields) => fields,
            Self::Create | Self::Nothing => &[],
        }
    }

    /// As people are told: a line for the resource, and one or several for each of its fields that change.
    pub(super) fn shown(&self, name: &str) -> String {
        let sign = match self {
            Self::Create => '+',
            Self::Update(_) => '~',
            Self::Nothing => '=',
        };
        let mut lines = vec![format!("{sign} {} {name}", self.word())];
        self.fields().iter().for_each(|field| field.lines(&mut lines));
        lines.join("\n")
    }
}

impl Field {
    fn lines(&self, lines: &mut Vec<String>) {
        let Self { field, from, to } = self;
        match (items(from), items(to)) {
            // Of lists, only what comes and goes; if that is nothing, their order changes.
            (Some(before), Some(after))
                if before.iter().any(|item| !after.contains(item)) || before.len() != after.len() =>
            {
                lines.push(format!("    {field}:"));
                let gone = before.iter().filter(|item| !after.contains(item));
                lines.extend(gone.map(|item| format!("      - {}", short(item))));
                let new = after.iter().filter(|item| !before.contains(item));
                lines.extend(new.map(|item| format!("      + {}", short(item))));
            }
            _ => lines.push(format!("    {field}: {} → {}", short(from), short(to))),
        }
    }
}

/// A list, as which nothing counts too.
fn items(value: &Json) -> Option<&[Json]> {
    match value {
        Json::Array(items) => Some(items),
        Json::Null => Some(&[]),
        _ => None,
    }
}

/// A value in a line: a text as it is, anything else as JSON.
fn short(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn compare(name: &str, from: Option<&Json>, to: Option<&Json>, fields: &mut Vec<Field>) {
    let something =
        |value: Option<&Json>| value.filter(|value| !is_nothing(value)).cloned().unwrap_or(Json::Null);
    let (from, to) = (something(from), something(to));
    if from == to {
        return;
    }
    let empty = Fields::new();
    let (before, after) = match (&from, &to) {
        (Json::Object(before), Json::Object(after)) => (before, after),
        (Json::Null, Json::Object(after)) => (&empty, after),
        (Json::Object(before), Json::Null) => (before, &empty),
        _ => {
            let hidden = |value: Json| if value.is_null() { value } else { "(hidden)".into() };
            let (from, to) = match name.starts_with(HIDDEN) {
                true => (hidden(from), hidden(to)),
                false => (from, to),
            };
            fields.push(Field { field: name.to_owned(), from, to });
            return;
        }
    };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        compare(&format!("{name}.{key}"), before.get(key), after.get(key), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Json) -> Fields {
        match value {
            Json::Object(fields) => fields,
            other => panic!("{other} is no table"),
        }
    }

    #[track_caller]
    fn check(present: Json, wanted: Json, replaces: bool, expected: &str) {
        let change = Change::between(Some(&fields(present)), &fields(wanted), replaces);
        assert_eq!(change.shown("rule default/a"), expected);
    }

    #[test]
    fn what_is_not_there_is_created() {
        let change = Change::between(None, &fields(json!({ "a": 1 })), true);
        assert_eq!(
            (change.shown("rule default/a"), change.word()),
            ("+ create rule default/a".to_owned(), "create")
        );
    }

    #[test]
    fn what_is_left_out_stays_unless_all_is_replaced() {
        let present = json!({ "port": 80, "limit": { "concurrent": 2 } });
        check(present.clone(), json!({ "port": 80 }), false, "= unchanged rule default/a");
        check(
            present.clone(),
            json!({ "port": 80, "limit": null }),
            false,
            "~ change rule default/a\n    limit.concurrent: 2 → -",
        );
        check(present, json!({ "port": 80 }), true, "~ change rule default/a\n    limit.concurrent: 2 → -");
    }

    #[test]
    fn nothing_is_the_same_however_it_is_said() {
        let present = json!({ "a": [], "b": null, "c": { "d": 1 } });
        check(
            present,
            json!({ "b": {}, "c": { "d": 1, "e": null }, "f": [] }),
            true,
            "= unchanged rule default/a",
        );
    }

    #[test]
    fn fields_are_named_by_their_path_and_lists_by_what_differs() {
        check(
            json!({ "priority": 1, "action": { "forward": { "groups": [{ "group": "a" }, { "group": "b" }] } }, "hosts": ["x", "y"] }),
            json!({ "priority": 2, "action": { "forward": { "groups": [{ "group": "b" }, { "group": "c" }] } }, "hosts": ["y", "x"] }),
            false,
            "~ change rule default/a\n    action.forward.groups:\n      - {\"group\":\"a\"}\n      + {\"group\":\"c\"}\n    \
             hosts: [\"x\",\"y\"] → [\"y\",\"x\"]\n    priority: 1 → 2",
        );
        check(
            json!({ "action": { "forward": { "groups": ["a"] } } }),
            json!({ "action": { "redirect": { "to": "https://b" } } }),
            true,
            "~ change rule default/a\n    action.forward.groups:\n      - a\n    action.redirect.to: - → https://b",
        );
    }

    #[test]
    fn values_of_the_environment_are_not_shown() {
        check(
            json!({ "environment": { "A": "one", "B": "two" } }),
            json!({ "environment": { "A": "three", "C": "four" } }),
            false,
            "~ change rule default/a\n    environment.A: (hidden) → (hidden)\n    environment.B: (hidden) → -\n    \
             environment.C: - → (hidden)",
        );
    }
}
