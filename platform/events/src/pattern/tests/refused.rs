//! What is no pattern, and that the refusal says where and why.

use super::*;

#[track_caller]
fn refused(pattern: &str, says: &str) {
    let error = Pattern::parse(pattern).expect_err(pattern).to_string();
    assert!(error.contains(says), "{pattern} was refused with: {error}");
}

#[test]
fn a_refusal_says_where_and_why() {
    for (pattern, says) in [
        ("", "can't be read as JSON"),
        ("[]", "an event pattern is an object"),
        ("\"a\"", "an event pattern is an object"),
        ("{}", "an empty object asks for nothing"),
        (r#"{"a": {}}"#, "a: an empty object"),
        (r#"{"a": "b"}"#, "a: its values have to be a list"),
        (r#"{"a": {"b": 5}}"#, "a.b: its values have to be a list"),
        (r#"{"a": []}"#, "a: an empty list"),
        (r#"{"a": [["b"]]}"#, "a: a list within a list"),
        (r#"{"a": [{}]}"#, "a: an object in a list of values has one key"),
        (r#"{"a": [{"prefix": "b", "suffix": "c"}]}"#, "has one key"),
        (r#"{"a": [{"regex": "b"}]}"#, "there is no \"regex\" to match with"),
        (r#"{"a": [{"prefix": 5}]}"#, "\"prefix\" has to be a string"),
        (r#"{"a": [{"suffix": {"wildcard": "x"}}]}"#, "one key, \"equals-ignore-case\""),
        (r#"{"a": [{"prefix": {"equals-ignore-case": 5}}]}"#, "\"equals-ignore-case\" has to be a string"),
        (r#"{"a": [{"equals-ignore-case": null}]}"#, "has to be a string"),
        (r#"{"a": [{"wildcard": "b**c"}]}"#, "\"**\" is not allowed"),
        (r#"{"a": [{"wildcard": "b\\c"}]}"#, "a backslash escapes"),
        (r#"{"a": [{"wildcard": "b\\"}]}"#, "a backslash escapes"),
        (r#"{"a": [{"exists": "yes"}]}"#, "\"exists\" is true or false"),
        (r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#, "is not a block of addresses"),
        (r#"{"a": [{"cidr": "host/8"}]}"#, "is not a block of addresses"),
        (r#"{"a": [{"numeric": []}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": 5}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": [">"]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": ["!=", 5]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": [">", "5"]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": ["<", 5, ">", 1]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": [">", 1, "=", 5]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": [">", 1, ">", 5]}]}"#, "\"numeric\" is a comparison"),
        (r#"{"a": [{"numeric": [">", 5, "<", 1]}]}"#, "no number lies in that range"),
        (r#"{"a": [{"numeric": [">=", 5, "<", 5.0]}]}"#, "no number lies in that range"),
        (r#"{"a": [{"anything-but": []}]}"#, "excludes nothing"),
        (r#"{"a": [{"anything-but": ["b", 5]}]}"#, "all of one kind"),
        (r#"{"a": [{"anything-but": null}]}"#, "all of one kind"),
        (r#"{"a": [{"anything-but": [true]}]}"#, "all of one kind"),
        (r#"{"a": [{"anything-but": [["b"]]}]}"#, "all of one kind"),
        (
            r#"{"a": [{"anything-but": {"numeric": ["=", 1]}}]}"#,
            "there is no \"numeric\" in \"anything-but\"",
        ),
        (r#"{"a": [{"anything-but": {"cidr": "10.0.0.0/8"}}]}"#, "there is no \"cidr\" in \"anything-but\""),
        (r#"{"a": [{"anything-but": {"prefix": ""}}]}"#, "an empty \"prefix\""),
        (r#"{"a": [{"anything-but": {"prefix": []}}]}"#, "excludes nothing"),
        (r#"{"a": [{"anything-but": {"prefix": "a", "suffix": "b"}}]}"#, "has one key"),
        (r#"{"a": [{"anything-but": {"wildcard": "**"}}]}"#, "\"**\" is not allowed"),
        (r#"{"$or": [{"a": [1]}]}"#, "$or: it has to be a list of two objects or more"),
        (r#"{"b": {"$or": {"a": [1]}}}"#, "b.$or: it has to be a list of two objects"),
        (r#"{"$or": [{"a": [1]}, 5]}"#, "$or: each of its elements has to be an object"),
        (r#"{"$or": [{"a": [1]}, {}]}"#, "an empty object"),
        (
            r#"{"a": {"$or": [{"prefix": ["x"]}, {"b": [1]}]}}"#,
            "\"prefix\" is not a field that \"$or\" can ask for",
        ),
        (r#"{"a": [1], "a": [2]}"#, "a: it is asked for twice"),
        (r#"{"a": {"b": [1]}, "a.b": [2]}"#, "a.b: it is asked for twice"),
        (r#"{"a": [1], "$or": [{"a": [2]}, {"b": [3]}]}"#, "a: it is asked for twice"),
    ] {
        refused(pattern, says);
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let long = format!(r#"{{"a": ["{}"]}}"#, "x".repeat(EventRuleSpec::PATTERN_BYTES_MAX));
    refused(&long, "make several rules of it");
    let deep = format!("{}[1]{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    refused(&deep, "within each other");
    // 2 to the 10th are more than a thousand, 2 to the 9th are not.
    let or = |count: usize| {
        let parts: Vec<String> =
            (0..count).map(|at| format!(r#""f{at}": {{"$or": [{{"x": [1]}}, {{"y": [1]}}]}}"#)).collect();
        format!("{{{}}}", parts.join(","))
    };
    assert!(Pattern::parse(&or(9)).is_ok());
    refused(&or(10), "\"$or\" leads to more than 1000 alternatives");
    let fields: Vec<String> = (0..400).map(|at| format!(r#""f{at}": [1]"#)).collect();
    let wide = format!(r#"{{{}, "w": {{{}}}}}"#, fields.join(","), &or(8)[1..or(8).len() - 1]);
    refused(&wide, "more than 50000 fields");
}

#[test]
fn others_text_in_a_refusal_is_short() {
    let error = Pattern::parse(&format!(r#"{{"{}": []}}"#, "k".repeat(5_000))).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
}
