//! A matcher written for nothing but to be understood, and many patterns against it.
//!
//! It works on serde_json's values: it chooses one element of each array in all ways there are, and asks whether one way gives a
//! pattern all that it wants. Its events have no keys with dots, no keys twice, no array within an array.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The ways in which an element can be chosen of each array with objects: for each, the values by path.
fn ways(path: &str, value: &Value) -> Vec<Vec<(String, Value)>> {
    match value {
        Value::Object(members) => {
            let mut ways = vec![Vec::new()];
            for (key, value) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let more = self::ways(&path, value);
                let both = |one: &Vec<(String, Value)>| {
                    more.iter().map(|other| [one.clone(), other.clone()].concat()).collect::<Vec<_>>()
                };
                ways = ways.iter().flat_map(both).collect();
            }
            ways
        }
        Value::Array(elements) => {
            let leaves: Vec<(String, Value)> = elements
                .iter()
                .filter(|element| !element.is_object())
                .map(|leaf| (path.to_owned(), leaf.clone()))
                .collect();
            let objects: Vec<&Value> = elements.iter().filter(|element| element.is_object()).collect();
            if objects.is_empty() {
                return vec![leaves];
            }
            let of = |object: &Value| {
                self::ways(path, object)
                    .into_iter()
                    .map(|way| [leaves.clone(), way].concat())
                    .collect::<Vec<_>>()
            };
            objects.into_iter().flat_map(of).collect()
        }
        leaf => vec![vec![(path.to_owned(), leaf.clone())]],
    }
}

fn wants(pattern: &Value, leaf: &Value) -> bool {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let Some((operator, operand)) = pattern.as_object().and_then(|object| object.iter().next()) else {
        return pattern == leaf
            || (pattern.is_number() && leaf.is_number() && pattern.as_f64() == leaf.as_f64());
    };
    let on_text = |holds: &dyn Fn(&str, &str) -> bool| match (
        text(leaf),
        text(operand),
        operand.get("equals-ignore-case"),
    ) {
        (Some(leaf), Some(operand), _) => holds(&leaf, &operand),
        (Some(leaf), None, Some(operand)) => {
            holds(&leaf.to_lowercase(), &operand.as_str().unwrap().to_lowercase())
        }
        _ => false,
    };
    match operator.as_str() {
        "exists" => true,
        "prefix" => on_text(&|leaf, prefix| leaf.starts_with(prefix)),
        "suffix" => on_text(&|leaf, suffix| leaf.ends_with(suffix)),
        "equals-ignore-case" => on_text(&|leaf, other| leaf.to_lowercase() == other.to_lowercase()),
        "wildcard" => on_text(&|leaf, pattern| like(pattern, leaf)),
        "anything-but" => match operand.as_object().and_then(|object| object.iter().next()) {
            Some((operator, operand)) => {
                !list(operand).iter().any(|one| wants(&json!({ operator: one }), leaf))
            }
            None => !list(operand).iter().any(|one| wants(one, leaf)),
        },
        "numeric" => leaf.as_f64().is_some_and(|leaf| {
            operand.as_array().unwrap().chunks(2).all(|pair| {
                let number = pair[1].as_f64().unwrap();
                match pair[0].as_str().unwrap() {
                    "<" => leaf < number,
                    "<=" => leaf <= number,
                    ">" => leaf > number,
                    ">=" => leaf >= number,
                    _ => leaf == number,
                }
            })
        }),
        other => panic!("{other}"),
    }
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| like(&pattern[1..], &text[at..])),
        Some(letter) => {
            text.strip_prefix(letter).is_some_and(|rest| like(&pattern[letter.len_utf8()..], rest))
        }
    }
}

/// The alternatives of a pattern: what it wants of which path.
fn alternatives(path: &str, pattern: &Value) -> Vec<BTreeMap<String, Value>> {
    let mut all = vec![BTreeMap::new()];
    for (key, value) in pattern.as_object().unwrap() {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let more: Vec<BTreeMap<String, Value>> = match value {
            Value::Array(list) if key == "$or" => {
                list.iter().flat_map(|one| alternatives(path, one)).collect()
            }
            Value::Array(_) => vec![BTreeMap::from([(inner, value.clone())])],
            _ => alternatives(&inner, value),
        };
        let both = |one: &BTreeMap<String, Value>| {
            more.iter()
                .map(|other| one.clone().into_iter().chain(other.clone()).collect())
                .collect::<Vec<BTreeMap<_, _>>>()
        };
        all = all.iter().flat_map(both).collect();
    }
    all
}

/// Whether a pattern takes an event. Patterns here ask for absence only where no array is on the way.
fn naive(pattern: &Value, event: &Value) -> bool {
    let ways = ways("", event);
    alternatives("", pattern).iter().any(|wanted| {
        ways.iter().any(|way| {
            wanted.iter().all(|(path, list)| {
                let mut leaves = way.iter().filter(|(other, _)| other == path).map(|(_, leaf)| leaf);
                let absent = json!({"exists": false});
                let list = list.as_array().unwrap();
                let is_absent = list.contains(&absent) && leaves.clone().next().is_none();
                is_absent || leaves.any(|leaf| list.iter().any(|one| *one != absent && wants(one, leaf)))
            })
        })
    })
}

fn from_members(members: BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn text() -> impl Strategy<Value = String> {
    "[abAB]{0,3}"
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => text().prop_map(Value::from),
        2 => (0_i64..6).prop_map(Value::from),
        1 => (0_i64..6).prop_map(|number| Value::from(number as f64)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn wanted_value() -> impl Strategy<Value = Value> {
    let some = || proptest::collection::vec(text(), 1..3);
    let not_empty = || proptest::collection::vec("[abAB]{1,2}", 1..3);
    let wildcard = || "(\\*?[ab]){0,2}\\*?";
    let range = (0_i64..6, 1_i64..4, any::<bool>(), any::<bool>()).prop_map(|(from, length, least, most)| {
        json!({"numeric": [if least { ">=" } else { ">" }, from, if most { "<=" } else { "<" }, from + length]})
    });
    prop_oneof![
        6 => leaf(),
        1 => text().prop_map(|text| json!({"prefix": text})),
        1 => text().prop_map(|text| json!({"suffix": text})),
        1 => text().prop_map(|text| json!({"prefix": {"equals-ignore-case": text}})),
        1 => text().prop_map(|text| json!({"suffix": {"equals-ignore-case": text}})),
        1 => text().prop_map(|text| json!({"equals-ignore-case": text})),
        1 => wildcard().prop_map(|text| json!({"wildcard": text})),
        1 => some().prop_map(|texts| json!({"anything-but": texts})),
        1 => (0_i64..6).prop_map(|number| json!({"anything-but": number})),
        1 => not_empty().prop_map(|texts| json!({"anything-but": {"prefix": texts}})),
        1 => not_empty().prop_map(|texts| json!({"anything-but": {"suffix": texts}})),
        1 => some().prop_map(|texts| json!({"anything-but": {"equals-ignore-case": texts}})),
        1 => wildcard().prop_map(|text| json!({"anything-but": {"wildcard": text}})),
        1 => (0_i64..6).prop_map(|number| json!({"numeric": ["=", number]})),
        1 => range,
        1 => Just(json!({"exists": true})),
    ]
}

fn wanted() -> impl Strategy<Value = Value> {
    proptest::collection::vec(wanted_value(), 1..3).prop_map(Value::from)
}

/// A pattern over the keys `a` to `c` (two levels of them, with `$or`), and `x`, the only one that may have to be absent.
fn pattern() -> impl Strategy<Value = Value> {
    let object = |inner: BoxedStrategy<Value>| {
        proptest::collection::btree_map("[a-c]", inner, 1..3).prop_map(from_members)
    };
    let low = object(wanted().boxed());
    let or = |low: BoxedStrategy<Value>| {
        (proptest::collection::vec(low, 2..4), "[de]", wanted())
            .prop_map(|(list, key, value)| json!({ "$or": list, key: value }))
    };
    let low = low.boxed();
    let high =
        object(prop_oneof![2 => wanted().boxed(), 2 => low.clone(), 1 => or(low.clone()).boxed()].boxed());
    let absent = prop_oneof![
        Just(json!([{"exists": false}])),
        wanted_value().prop_map(|value| json!([{"exists": false}, value])),
    ];
    let with_absent = (high.clone(), absent).prop_map(|(mut pattern, absent)| {
        pattern["x"] = absent;
        pattern
    });
    prop_oneof![4 => high, 1 => with_absent, 1 => or(low)]
}

fn event() -> impl Strategy<Value = Value> {
    let object = |inner: BoxedStrategy<Value>| {
        proptest::collection::btree_map("[a-e]", inner, 0..4).prop_map(from_members)
    };
    let leaves =
        prop_oneof![3 => leaf(), 1 => proptest::collection::vec(leaf(), 0..3).prop_map(Value::from)].boxed();
    let low = object(leaves.clone()).boxed();
    let element = prop_oneof![3 => low.clone(), 1 => leaf()];
    let array = proptest::collection::vec(element, 0..4).prop_map(Value::from);
    let high = object(prop_oneof![2 => leaves.clone(), 2 => low, 2 => array].boxed());
    (high, proptest::option::of(leaves)).prop_map(|(mut event, x)| {
        if let Some(x) = x {
            event["x"] = x;
        }
        event
    })
}

proptest! {
    #[test]
    fn a_matcher_finds_what_patterns_take(
        patterns in proptest::collection::vec(pattern(), 1..12),
        gone in proptest::collection::vec(any::<bool>(), 12),
        events in proptest::collection::vec(event(), 1..4),
    ) {
        let mut matcher = Matcher::new();
        for (key, pattern) in patterns.iter().enumerate() {
            matcher.insert(key, &Pattern::parse(&pattern.to_string()).unwrap());
        }
        for (key, _) in gone.iter().enumerate().filter(|(_, gone)| **gone) {
            matcher.remove(&key);
        }
        for event in &events {
            let parsed = Parsed::parse(&event.to_string()).unwrap();
            let all = patterns.iter().enumerate().filter(|(key, _)| !gone[*key]);
            let expected: Vec<usize> = all.filter(|(_, pattern)| naive(pattern, event)).map(|(key, _)| key).collect();
            prop_assert_eq!(matcher.matching(&parsed).unwrap(), expected, "{}", event);
        }
    }

    #[test]
    fn whatever_is_read_as_a_pattern_can_be_matched(text in r#"[\[\]{}":,a0*$or]{0,24}"#, event in event()) {
        if let Ok(pattern) = Pattern::parse(&text) {
            pattern.matches(&event.to_string()).unwrap();
        }
    }
}
