//! Against serde_json: the same texts are JSON, and strings say the same.

use super::*;
use proptest::prelude::*;

fn is_json(text: &str) -> bool {
    Tape::parse(text).is_ok()
}

#[test]
fn json_is_what_rfc_8259_says() {
    for good in [
        "0",
        "-0.5e+3",
        "null",
        "true",
        "false",
        " [ ] ",
        "{}",
        "[1,2,[3]]",
        "{\"a\":{\"b\":[1,\"x\"]},\"a\":2}",
        "\"\\ud83d\\ude00\"",
        "\"\\u00e4 ä\"",
        "\t\r\n\"\"\n",
        "1e400",
        "[\"\\\\\",\"\\/\"]",
    ] {
        assert!(is_json(good), "{good} was refused");
    }
    for bad in [
        "",
        " ",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "nulll",
        "True",
        "[1,]",
        "[1 2]",
        "[",
        "]",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0061\"",
        "\"\\udc00\"",
        "\"\n\"",
        "1 1",
        "NaN",
        "'a'",
        "\u{feff}1",
    ] {
        assert!(!is_json(bad), "{bad} was taken");
    }
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(is_json(&nested(DEPTH_MAX)));
    assert!(!is_json(&nested(DEPTH_MAX + 1)));
    assert!(!is_json(&"[".repeat(TEXT_BYTES_MAX)));
    let padded = |bytes| format!("{}1", " ".repeat(bytes - 1));
    assert!(is_json(&padded(TEXT_BYTES_MAX)));
    assert!(!is_json(&padded(TEXT_BYTES_MAX + 1)));
}

#[test]
fn values_are_found_where_they_lie() {
    let text = r#" {"a" : [1, {"b\n": "x\ty"}, []], "c": 3.0e2 , "a2": null, "c": "last"} "#;
    let tape = Tape::parse(text).unwrap();
    let root = tape.root();
    let a = root.get("a").unwrap();
    assert_eq!(a.raw(), r#"[1, {"b\n": "x\ty"}, []]"#);
    let raw: Vec<&str> = a.elements().map(Value::raw).collect();
    assert_eq!(raw, ["1", r#"{"b\n": "x\ty"}"#, "[]"]);
    assert_eq!(a.elements().nth(1).unwrap().get("b\n").unwrap().text().unwrap(), "x\ty");
    assert_eq!(root.get("c").unwrap().text().unwrap(), "last");
    assert_eq!(root.members().count(), 4);
    assert_eq!(root.elements().count(), 0);
    assert_eq!(root.get("a2").unwrap().kind(), Kind::Null);
    assert!(root.get("nothing").is_none());
}

#[test]
fn an_outline_keeps_what_is_near() {
    let text = r#"[{"a":[1,2,3]},[4,[5]],6]"#;
    let tape = Tape::outline(text, 1, 4).unwrap();
    let raw: Vec<&str> = tape.root().elements().map(Value::raw).collect();
    assert_eq!(raw, [r#"{"a":[1,2,3]}"#, "[4,[5]]", "6"]);
    assert_eq!(tape.root().elements().next().unwrap().members().count(), 0);
    assert!(Tape::outline(text, 1, 3).is_err());
    assert!(Tape::outline("[[}]", 1, 4).is_err());
}

/// A JSON value, as serde_json has it.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        (-1_000_i64..1_000).prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-c.]{0,2}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_text_is_json_if_serde_json_says_so(text in r#"[\[\]{}",:0-9+. \\-]{0,12}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(is_json(&text), theirs, "{}", text);
    }

    #[test]
    fn strings_say_what_they_said(text in any::<String>()) {
        let mut quoted = String::new();
        quote(&mut quoted, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text.clone());
        prop_assert_eq!(unquoted(&quoted).unwrap().into_owned(), text.clone());
        let theirs = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(unquoted(&theirs).unwrap().into_owned(), text);
    }

    #[test]
    fn what_serde_json_prints_is_read_as_it_is(value in any_json()) {
        let text = value.to_string();
        let tape = Tape::parse(&text).unwrap();
        prop_assert_eq!(tape.root().raw(), text.as_str());
        for (key, member) in value.as_object().into_iter().flatten() {
            prop_assert_eq!(tape.root().get(key).unwrap().raw(), member.to_string());
        }
    }
}
