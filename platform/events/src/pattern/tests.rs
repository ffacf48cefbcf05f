//! What patterns take: every example of EventBridge's documentation, what event-ruler is tested for, what is refused, and a matcher
//! of many against one pattern at a time.

mod documented;
mod naive;
mod refused;

use super::*;

/// Whether a pattern takes an event, alone and among others.
fn takes(pattern: &str, event: &str) -> bool {
    let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let alone = pattern.matches(event).unwrap();
    let mut matcher = Matcher::new();
    matcher.insert(7, &pattern);
    let event = Parsed::parse(event).unwrap();
    assert_eq!(matcher.matching(&event).unwrap(), if alone { vec![7] } else { vec![] });
    alone
}

/// Checks what a pattern takes and what it leaves.
#[track_caller]
fn check(pattern: &str, taken: &[&str], left: &[&str]) {
    for event in taken {
        assert!(takes(pattern, event), "{pattern} leaves {event}");
    }
    for event in left {
        assert!(!takes(pattern, event), "{pattern} takes {event}");
    }
}

#[test]
fn siblings_are_asked_of_one_element_of_an_array() {
    let people =
        r#"{"employees": [{"first": "Anna", "last": "Smith"}, {"first": "Peter", "last": "Jones"}]}"#;
    check(r#"{"employees": {"first": ["Anna"], "last": ["Smith"]}}"#, &[people], &[]);
    check(r#"{"employees": {"first": ["Anna"], "last": ["Jones"]}}"#, &[], &[people]);
    check(r#"{"employees": {"first": ["Anna"]}}"#, &[people], &[]);
    let deep = r#"{"a": [[{"x": 1, "b": [{"y": 1}, {"y": 2, "z": 2}]}], {"x": 2, "b": [{"y": 3, "z": 2}]}]}"#;
    check(r#"{"a": {"x": [1], "b": {"y": [2], "z": [2]}}}"#, &[deep], &[]);
    check(r#"{"a": {"x": [1], "b": {"y": [1], "z": [2]}}}"#, &[], &[deep]);
    check(r#"{"a": {"x": [2], "b": {"y": [2], "z": [2]}}}"#, &[], &[deep]);
}

#[test]
fn siblings_are_asked_of_one_element_though_or_lies_between_them() {
    let event = r#"{"a": [{"x": 1, "y": 1}, {"x": 2, "y": 2, "z": 3}]}"#;
    check(r#"{"a": {"x": [1]}, "$or": [{"a": {"y": [2]}}, {"a": {"z": [3]}}]}"#, &[], &[event]);
    check(r#"{"a": {"x": [2]}, "$or": [{"a": {"y": [7]}}, {"a": {"z": [3]}}]}"#, &[event], &[]);
    check(r#"{"a": {"x": [1], "$or": [{"y": [2]}, {"y": [1]}]}}"#, &[event], &[]);
}

#[test]
fn arrays_that_have_nothing_to_do_with_each_other_bind_nothing() {
    let event = r#"{"a": [{"x": 1}, {"x": 2}], "b": [{"y": 1}, {"y": 2}], "c": [3, 4]}"#;
    check(r#"{"a": {"x": [1]}, "b": {"y": [2]}, "c": [4, 5]}"#, &[event], &[]);
}

#[test]
fn what_is_to_be_absent_is_so_in_the_element_that_has_the_rest() {
    let pattern = r#"{"a": {"x": [1], "y": [{"exists": false}]}}"#;
    let there = r#"{"a": [{"x": 1, "y": 2}, {"x": 2}]}"#;
    check(pattern, &[r#"{"a": [{"x": 1}, {"x": 2, "y": 3}]}"#, r#"{"a": {"x": 1}}"#], &[there]);
    // Asked alone, it is asked of all of them.
    let alone = r#"{"a": {"y": [{"exists": false}]}}"#;
    check(alone, &[r#"{"a": [{"x": 1}, {}]}"#, r#"{"a": []}"#, "{}"], &[r#"{"a": [{"x": 1}, {"y": 3}]}"#]);
}

#[test]
fn exists_asks_of_leaves() {
    let present = r#"{"d": {"c": [{"exists": true}]}}"#;
    let leaves =
        [r#"{"d": {"c": null}}"#, r#"{"d": {"c": ""}}"#, r#"{"d": {"c": [1]}}"#, r#"{"d": [{"c": 0}]}"#];
    let none =
        [r#"{"d": {"c": {"e": 1}}}"#, r#"{"d": {"c": []}}"#, r#"{"d": {"c": {}}}"#, r#"{"d": 1}"#, "{}"];
    check(present, &leaves, &none);
    check(r#"{"d": {"c": [{"exists": false}]}}"#, &none, &leaves);
    check(r#"{"d": {"c": [{"exists": false}, null]}}"#, &[none[0], leaves[0]], &[leaves[1], leaves[2]]);
    check(r#"{"d": {"c": [{"exists": false}, {"exists": true}]}}"#, &["{}", leaves[0]], &[]);
}

#[test]
fn numbers_are_compared_as_numbers() {
    for pattern in [
        "[300]",
        "[3e2]",
        "[300.0]",
        r#"[{"numeric": ["=", 3.0e2]}]"#,
        r#"[{"numeric": [">", 299.9999999999999999999, "<=", 300]}]"#,
    ] {
        let pattern = format!(r#"{{"n": {pattern}}}"#);
        let same = [r#"{"n": 300}"#, r#"{"n": 300.000}"#, r#"{"n": 3E+2}"#, r#"{"n": [1, 30000e-2]}"#];
        check(&pattern, &same, &[r#"{"n": "300"}"#, r#"{"n": 300.00000000000000000001}"#, r#"{"n": null}"#]);
    }
    check(r#"{"n": [9007199254740993]}"#, &[r#"{"n": 9007199254740993.0}"#], &[r#"{"n": 9007199254740992}"#]);
    check(
        r#"{"n": [{"numeric": ["<", 1e-400]}]}"#,
        &[r#"{"n": 0}"#, r#"{"n": -1e400}"#],
        &[r#"{"n": 1e-400}"#],
    );
    check(
        r#"{"n": [{"numeric": [">=", -5, "<", -1]}]}"#,
        &[r#"{"n": -5}"#, r#"{"n": -1.5}"#],
        &[r#"{"n": -1}"#, r#"{"n": -6}"#, r#"{"n": "-5"}"#],
    );
    check(r#"{"n": [{"numeric": [">=", 5, "<=", 5]}]}"#, &[r#"{"n": 5.0}"#], &[r#"{"n": 5.1}"#]);
}

#[test]
fn strings_are_no_words() {
    check(
        r#"{"s": [null, true]}"#,
        &[r#"{"s": null}"#, r#"{"s": true}"#],
        &[r#"{"s": "null"}"#, r#"{"s": "true"}"#, r#"{"s": false}"#, r#"{"s": 0}"#],
    );
    check(r#"{"s": ["a\u0062\n"]}"#, &[r#"{"s": "\u0061b\u000a"}"#], &[r#"{"s": "ab"}"#]);
}

#[test]
fn keys_with_dots_are_paths() {
    let both = [r#"{"a.b": 1}"#, r#"{"a": {"b": 1}}"#, r#"{"a": [{"b": 2}, {"b": 1}]}"#];
    check(r#"{"a.b": [1]}"#, &both, &[r#"{"a": {"c": 1}}"#, r#"{"ab": 1}"#]);
    check(r#"{"a": {"b": [1]}}"#, &both, &[r#"{"b": 1}"#]);
    check(r#"{"": {"b": [1]}}"#, &[r#"{"": {"b": 1}}"#, r#"{".b": 1}"#], &[r#"{"b": 1}"#]);
}

#[test]
fn case_is_ignored_letter_by_letter() {
    let pattern = r#"{"s": [{"equals-ignore-case": "ΣTRAßE"}]}"#;
    check(
        pattern,
        &[r#"{"s": "ςtraße"}"#, r#"{"s": "σTRAßE"}"#],
        &[r#"{"s": "strasse"}"#, r#"{"s": "σtrasse"}"#],
    );
    check(
        r#"{"s": [{"suffix": {"equals-ignore-case": ".PnG"}}]}"#,
        &[r#"{"s": "a.png"}"#, r#"{"s": ".PNG"}"#],
        &[r#"{"s": "png"}"#],
    );
    check(r#"{"s": [{"prefix": {"equals-ignore-case": "ÄB"}}]}"#, &[r#"{"s": "äbc"}"#], &[r#"{"s": "ä"}"#]);
}

#[test]
fn wildcards_take_what_lies_between() {
    let of =
        |pattern: &str| format!(r#"{{"s": [{{"wildcard": {}}}]}}"#, serde_json::to_string(pattern).unwrap());
    let event = |text: &str| format!(r#"{{"s": {}}}"#, serde_json::to_string(text).unwrap());
    for (pattern, taken, left) in [
        ("*", vec!["", "a", "*"], vec![]),
        ("a*", vec!["a", "abc"], vec!["", "ba"]),
        ("*a", vec!["a", "cba"], vec!["", "ab"]),
        ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
        ("a*b*c", vec!["abc", "a-b-b-c", "abbcc"], vec!["acb", "ab", "abcd"]),
        ("a*ba*a", vec!["aababaa", "abaa"], vec!["aba", "abab"]),
        ("plain", vec!["plain"], vec!["plai", "plainer"]),
        (r"a\*b\\*", vec![r"a*b\", r"a*b\c"], vec![r"axb\", "a*b"]),
        ("", vec![""], vec!["a"]),
        ("ä*ü", vec!["äü", "äöü"], vec!["ä", "a*ü"]),
    ] {
        for text in taken {
            assert!(takes(&of(pattern), &event(text)), "{pattern:?} leaves {text:?}");
        }
        for text in left {
            assert!(!takes(&of(pattern), &event(text)), "{pattern:?} takes {text:?}");
        }
    }
    assert!(!takes(&of("*"), r#"{"s": 5}"#));
}

#[test]
fn what_is_no_object_is_taken_by_none() {
    let pattern = Pattern::parse(r#"{"a": [{"exists": false}]}"#).unwrap();
    for event in ["", "[]", "1", "{", r#"{"a": }"#, &format!("{}{}", r#"{"a":"#.repeat(200), "}".repeat(200))]
    {
        assert!(!pattern.matches(event).unwrap(), "{event}");
    }
}

#[test]
fn a_long_key_on_the_way_to_many_values_takes_no_room_for_each() {
    let members: Vec<String> = (0..10_000).map(|number| format!("\"{number}\":{number}")).collect();
    let event = format!("{{\"{}\": {{{}}}}}", "k".repeat(100_000), members.join(","));
    let parsed = Parsed::parse(&event).unwrap();
    assert_eq!(parsed.values().count(), 10_000);
}

#[test]
fn patterns_come_and_go() {
    let mut matcher = Matcher::new();
    let of = |source: &str| Pattern::parse(&format!(r#"{{"source": ["{source}"]}}"#)).unwrap();
    let event = |source: &str| Parsed::parse(&format!(r#"{{"source": "{source}"}}"#)).unwrap();
    for key in ["c", "a", "b"] {
        matcher.insert(key, &of("x"));
    }
    assert_eq!(matcher.matching(&event("x")).unwrap(), ["a", "b", "c"]);
    matcher.insert("b", &of("y"));
    matcher.remove(&"a");
    matcher.remove(&"nobody");
    assert_eq!(matcher.len(), 2);
    assert_eq!(matcher.matching(&event("x")).unwrap(), ["c"]);
    assert_eq!(matcher.matching(&event("y")).unwrap(), ["b"]);
    matcher.remove(&"b");
    matcher.remove(&"c");
    assert!(matcher.is_empty() && matcher.matching(&event("x")).unwrap().is_empty());
}

#[test]
fn many_values_that_lead_to_many_patterns_are_asked_once() {
    let mut matcher = Matcher::new();
    for key in 0..2_000 {
        // Each hangs at the same value, and wants another one beside it that nobody has.
        matcher.insert(
            key,
            &Pattern::parse(r#"{"a": [{"prefix": "x"}], "b": [{"anything-but": "y"}]}"#).unwrap(),
        );
    }
    let values: Vec<String> = (0..20_000).map(|number| format!("\"x{number}\"")).collect();
    let event = format!(r#"{{"a": [{}], "b": ["y"]}}"#, values.join(","));
    assert!(matcher.matching(&Parsed::parse(&event).unwrap()).unwrap().is_empty());
}

#[test]
fn thousands_of_values_and_of_elements_are_not_multiplied() {
    let wanted: Vec<String> = (0..1_500).map(|number| format!("\"a{number}\"")).collect();
    let pattern = Pattern::parse(&format!(r#"{{"a": {{"x": [{}]}}}}"#, wanted.join(","))).unwrap();
    let mut matcher = Matcher::new();
    matcher.insert(7, &pattern);
    let elements: Vec<String> = (0..5_000).map(|number| format!(r#"{{"x": "b{number}"}}"#)).collect();
    let event = |last: &str| {
        Parsed::parse(&format!(r#"{{"a": [{}, {{"x": "{last}"}}]}}"#, elements.join(","))).unwrap()
    };
    assert_eq!(matcher.matching_within(&event("b"), &Work::new(100_000)), Ok(vec![]));
    assert_eq!(matcher.matching_within(&event("a1499"), &Work::new(100_000)), Ok(vec![7]));
}

#[test]
fn what_would_cost_too_much_is_refused_and_not_matched_wrong() {
    let mut matcher = Matcher::new();
    let pattern = Pattern::parse(r#"{"a": {"x": [{"exists": true}], "y": [{"wildcard": "*b*"}]}}"#).unwrap();
    for key in 0..100 {
        matcher.insert(key, &pattern);
    }
    let elements = vec![r#"{"x": 1, "y": "a"}"#; 1_000];
    let event = |last: &str| {
        let all = format!(r#"{{"a": [{}, {{"x": 1, "y": "{last}"}}]}}"#, elements.join(","));
        Parsed::parse(&all).unwrap()
    };
    let most = Work::new(100_000);
    assert_eq!(matcher.matching_within(&event("b"), &most), Err(TooMuchWork { steps: 100_000 }));
    assert_eq!(matcher.matching(&event("b")).unwrap().len(), 100);
    assert!(matcher.matching(&event("c")).unwrap().is_empty());
}
