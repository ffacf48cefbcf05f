//! EventBridge's examples of its input transformer, and what is at the edges of paths and templates.

use super::*;
use proptest::prelude::*;
use skiff_types::Template;
use std::collections::BTreeMap;

/// The event of EventBridge's examples.
fn event() -> BusEvent {
    BusEvent {
        namespace: "default".parse().unwrap(),
        bus: "default".parse().unwrap(),
        id: "7bf73129-1428-4cd3-a780-95db273d1602".into(),
        source: "aws.ec2".into(),
        detail_type: "EC2 Instance State-change Notification".into(),
        time_ms: 1_447_277_394_000,
        resources: vec!["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111".into()],
        subject: None,
        extensions: BTreeMap::new(),
        detail: r#"{"instance-id": "i-0123456789", "state": "RUNNING", "say": "\"hi\"\n<b>", "n": 1.50, "odd key": {"it's": [1, {"x": null}, [2]]},
            "list": [{"id": 1}, {"name": "b"}, {"id": "c"}]}"#
            .into(),
        order_key: None,
    }
}

fn rendered(input: &Input) -> Result<String, InputError> {
    let name = "default/my-rule".parse().unwrap();
    let origin = Origin { name: &name, ingested_at_ms: 1_447_277_395_000 };
    render(input, &event(), &origin).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn template(text: &str) -> Template {
    let paths = [
        ("instance", "$.detail.instance-id"),
        ("state", "$.detail.state"),
        ("say", "$.detail.say"),
        ("n", "$.detail.n"),
        ("odd", "$.detail['odd key']"),
        ("nothing", "$.detail.nothing.at.all"),
        ("all", "$"),
    ];
    Template { paths: paths.map(|(name, path)| (name.to_owned(), path.to_owned())).into(), text: text.into() }
}

#[test]
fn paths_lead_into_the_event() {
    for (path, found) in [
        ("$.detail.state", "\"RUNNING\""),
        ("$.detail.n", "1.50"),
        ("$['detail'][\"odd key\"]['it\\'s'][1]", r#"{"x": null}"#),
        ("$.detail['odd key'][\"it's\"][2][0]", "2"),
        ("$.detail.list[*].id", r#"[1,"c"]"#),
        ("$.detail.list[*]", r#"[{"id": 1},{"name": "b"},{"id": "c"}]"#),
        ("$.detail.nothing", "null"),
        ("$.detail.list[3]", "null"),
        ("$.detail.state[0]", "null"),
        ("$.detail.state[*]", "null"),
        ("$.resources[0]", "\"arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111\""),
        ("$.detail-type", "\"EC2 Instance State-change Notification\""),
        ("$.account", "\"default\""),
    ] {
        let input = Input::Path(path.into());
        assert_eq!(check(&input), Ok(()), "{path}");
        assert_eq!(rendered(&input).unwrap(), found, "{path}");
    }
    assert_eq!(rendered(&Input::Path("$.detail".into())).unwrap(), *event().detail);
    assert_eq!(rendered(&Input::Path("$".into())).unwrap(), envelope::eventbridge(&event()));
    assert_eq!(rendered(&Input::Event).unwrap(), envelope::eventbridge(&event()));
}

#[test]
fn what_is_no_path_is_refused() {
    for path in [
        "",
        "detail",
        "$detail",
        "$.",
        "$..a",
        "$.a.",
        "$.a b",
        "$.a'b",
        "$.*",
        "$[",
        "$[]",
        "$[a]",
        "$[-1]",
        "$[1",
        "$['a'",
        "$['a",
        "$['a]",
        "$[99999999999999999999]",
        "$.a[?(@.b)]",
        "$.a[0:1]",
        "$.a[0,1]",
        "$[0]a",
        "$.\n",
    ] {
        let error = check(&Input::Path(path.into())).expect_err(path).to_string();
        assert!(error.contains("is not a path into an event"), "{error}");
        assert!(!is_path(path) || substitute(path, &event()).is_err());
    }
    assert!(check(&Input::Path(format!("$.{}", "a".repeat(2_000)).into())).is_err());
}

#[test]
fn templates_of_json_are_json() {
    for (text, made) in [
        (r#""instance <instance> is in <state>""#, r#""instance i-0123456789 is in RUNNING""#),
        (
            r#"{"instance" : <instance>, "state": <state>}"#,
            r#"{"instance" : "i-0123456789", "state": "RUNNING"}"#,
        ),
        (
            r#"{"instance": "<instance>", "text": "it is \"<state>\"", "n": [<n>, "<n>"]}"#,
            r#"{"instance": "i-0123456789", "text": "it is \"RUNNING\"", "n": [1.50, "1.50"]}"#,
        ),
        (r#"{"say": <say>, "said": "<say>!"}"#, r#"{"say": "\"hi\"\n<b>", "said": "\"hi\"\n<b>!"}"#),
        (
            r#"{"odd": <odd>, "text": "<odd>"}"#,
            r#"{"odd": {"it's": [1, {"x": null}, [2]]}, "text": "{\"it's\": [1, {\"x\": null}, [2]]}"}"#,
        ),
        (r#"{"a": <nothing>, "b": "-<nothing>-"}"#, r#"{"a": null, "b": "--"}"#),
        ("<instance>", "\"i-0123456789\""),
        ("[<n>,<n>]", "[1.50,1.50]"),
        (
            r#"{"rule": <aws.events.rule-name>, "arn": "<aws.events.rule-arn>", "at": <aws.events.event.ingestion-time>}"#,
            r#"{"rule": "my-rule", "arn": "default/my-rule", "at": "2015-11-11T21:29:55Z"}"#,
        ),
        (r#"{"a < b": "<", "<state>": 1}"#, r#"{"a < b": "<", "RUNNING": 1}"#),
    ] {
        let input = Input::Template(template(text));
        assert_eq!(check(&input), Ok(()), "{text}");
        let rendered = rendered(&input).unwrap();
        assert_eq!(rendered, made, "{text}");
        assert!(Tape::parse(&rendered).is_ok());
    }
    let whole = rendered(&Input::Template(template(
        r#"{"e": <aws.events.event.json>, "head": <aws.events.event>, "all": <all>}"#,
    )))
    .unwrap();
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["e"]["detail"]["state"], "RUNNING");
    assert_eq!(whole["e"], whole["all"]);
    assert_eq!((&whole["head"]["source"], whole["head"].get("detail")), (&"aws.ec2".into(), None));
}

#[test]
fn templates_of_text_are_text() {
    for (text, made) in [
        ("<instance> is in <state>.", "i-0123456789 is in RUNNING."),
        (
            "say=<say>, n=<n>, \"<nothing>\" <odd>",
            "say=\"hi\"\n<b>, n=1.50, \"\" {\"it's\": [1, {\"x\": null}, [2]]}",
        ),
        ("[<state>] 1 < 2 > <0", "[RUNNING] 1 < 2 > <0"),
        ("", ""),
    ] {
        let input = Input::Template(template(text));
        assert_eq!(check(&input), Ok(()), "{text}");
        assert_eq!(rendered(&input).unwrap(), made, "{text}");
    }
}

#[test]
fn templates_that_can_not_be_used_say_why() {
    let named = |name: &str, path: &str| Template {
        paths: [(name.to_owned(), path.to_owned())].into(),
        text: "<a>".into(),
    };
    for (template, says) in [
        (template("<instence> is up"), "it puts <instence> in, and has no path of that name"),
        (template("<aws.events.rule>"), "it puts <aws.events.rule> in"),
        (template(r#"{"a": <state>"#), "it begins like a JSON object"),
        (template(r#"{"a": <state> <state>}"#), "it begins like a JSON object"),
        (named("aws.events.event", "$"), "does not begin with \"aws.events.\""),
        (named("a b", "$"), "is no name of a path"),
        (named("a", "a"), "\"a\" is not a path into an event"),
        (template(&"x".repeat(TEMPLATE_BYTES_MAX + 1)), "it has 8193 bytes"),
    ] {
        let error = check(&Input::Template(template)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let many = (0..=PATHS_MAX).map(|at| (format!("p{at}"), "$".to_owned())).collect();
    assert!(check(&Input::Template(Template { paths: many, text: "".into() })).is_err());
}

#[test]
fn what_is_made_is_bounded() {
    let text = "<all>".repeat(TEMPLATE_BYTES_MAX / 5);
    let error = rendered(&Input::Template(template(&text))).unwrap_err();
    assert!(matches!(error, InputError::TooLarge { .. }), "{error}");
}

#[test]
fn constants_are_json() {
    let constant = |text: &str| Input::Constant(text.into());
    assert_eq!(rendered(&constant(r#"{"a": 1}"#)).unwrap(), r#"{"a": 1}"#);
    assert_eq!(check(&constant("5")), Ok(()));
    assert!(check(&constant("five")).unwrap_err().to_string().contains("has to be JSON"));
    assert!(check(&constant(&format!("\"{}\"", "x".repeat(CONSTANT_BYTES_MAX)))).is_err());
}

#[test]
fn texts_that_are_paths_are_replaced() {
    for (text, made) in [
        ("$.detail.say", "\"hi\"\n<b>"),
        ("$.detail.n", "1.50"),
        ("$.detail['odd key']", r#"{"it's": [1, {"x": null}, [2]]}"#),
        ("$.detail.nothing", ""),
        ("$['source']", "aws.ec2"),
        ("$HOME", "$HOME"),
        ("costs $.5", "costs $.5"),
        ("--key=$.detail.n", "--key=$.detail.n"),
        ("", ""),
    ] {
        assert_eq!(check_substitution(text), Ok(()), "{text}");
        assert_eq!(substitute(text, &event()).unwrap(), made, "{text}");
    }
    assert!(check_substitution("$.a b").is_err() && substitute("$[", &event()).is_err());
}

#[test]
fn a_backslash_before_a_name_opens_no_way_out_of_a_string() {
    for text in [r#"{"a": "\\<say>n"}"#, r#"{"a": "\\\\<say>n"}"#] {
        assert!(check(&Input::Template(template(text))).is_ok(), "{text}");
    }
    for text in [r#"{"a": "\<say>n"}"#, r#"{"a": "\u00<say>41"}"#, r#"{"a": "\<say>"}"#] {
        assert!(check(&Input::Template(template(text))).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_string_put_into_json_is_the_same_string(text in any::<String>(), around in "[a-z ]{0,4}") {
        let mut quoted = String::new();
        json::quote(&mut quoted, &text);
        let event = BusEvent { detail: format!(r#"{{"x": {quoted}}}"#).into(), ..event() };
        let template = Template {
            paths: [("x".to_owned(), "$.detail.x".to_owned())].into(),
            text: format!(r#"{{"a": <x>, "b": "{around}<x>{around}"}}"#).into(),
        };
        let name = "default/r".parse().unwrap();
        let made = render(&Input::Template(template), &event, &Origin { name: &name, ingested_at_ms: 0 }).unwrap();
        let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
        prop_assert_eq!(made["a"].as_str().unwrap(), &text);
        prop_assert_eq!(made["b"].as_str().unwrap(), format!("{around}{text}{around}"));
        prop_assert_eq!(substitute("$.detail.x", &event).unwrap(), text);
    }

    #[test]
    fn whatever_is_taken_can_be_rendered(text in r#"[<>{}":, \\a$.\[\]'n]{0,24}"#) {
        let template = Template { paths: [("a".to_owned(), "$.detail".to_owned())].into(), text: text.as_str().into() };
        for input in [Input::Template(template), Input::Path(text.as_str().into()), Input::Constant(text.as_str().into())] {
            if check(&input).is_ok() {
                prop_assert!(rendered(&input).is_ok());
            }
        }
        prop_assert_eq!(check_substitution(&text).is_ok(), substitute(&text, &event()).is_ok());
    }
}
