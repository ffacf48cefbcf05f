//! What is printed, and what is read again; what is refused.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn sample() -> BusEvent {
    BusEvent {
        namespace: "shop".parse().unwrap(),
        bus: "orders".parse().unwrap(),
        id: "7".into(),
        source: "https://shop.example/tills/3".into(),
        detail_type: "Order Placed".into(),
        time_ms: 1_782_907_200_250,
        resources: vec!["arn:order:\"7\"".into(), "b,c".into()],
        subject: Some("order 7 für Ä".into()),
        extensions: BTreeMap::from([
            (Arc::from("traceparent"), Arc::from("00-ab-cd-01")),
            (Arc::from("dataschema"), Arc::from("https://shop.example/order%20")),
        ]),
        detail: r#"{"order": 7, "total": 12.50}"#.into(),
        order_key: Some("7".into()),
    }
}

/// Calls `with` with a put on the bus of [`sample`], at another time.
fn with_put<T>(with: impl FnOnce(Put<'_>) -> T) -> T {
    let namespace: Namespace = "shop".parse().unwrap();
    let bus: Name = "orders".parse().unwrap();
    let next = std::cell::Cell::new(0);
    let new_id = || -> Arc<str> {
        next.set(next.get() + 1);
        format!("new-{}", next.get()).into()
    };
    with(Put { namespace: &namespace, bus: &bus, now_ms: 1_000, new_id: &new_id })
}

fn structured(json: &str) -> Result<BusEvent, EnvelopeError> {
    with_put(|put| parse_structured(json.as_bytes(), put))
}

fn entries(json: &str) -> Result<Vec<BusEvent>, EnvelopeError> {
    with_put(|put| parse_entries(json.as_bytes(), put))
}

fn from_binary(headers: &[(&str, &str)], body: &str) -> Result<BusEvent, EnvelopeError> {
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    with_put(|put| parse_binary(headers, body.as_bytes(), put))
}

#[test]
fn an_event_prints_as_eventbridge_has_it() {
    assert_eq!(
        eventbridge(&sample()),
        r#"{"version":"0","id":"7","detail-type":"Order Placed","source":"https://shop.example/tills/3","account":"shop","#.to_owned()
            + r#""time":"2026-07-01T12:00:00.25Z","region":"local","subject":"order 7 für Ä","resources":["arn:order:\"7\"","b,c"],"#
            + r#""extensions":{"dataschema":"https://shop.example/order%20","traceparent":"00-ab-cd-01","partitionkey":"7"},"#
            + r#""detail":{"order": 7, "total": 12.50}}"#
    );
    let plain = BusEvent {
        resources: vec![],
        subject: None,
        extensions: BTreeMap::new(),
        order_key: None,
        time_ms: 0,
        ..sample()
    };
    assert_eq!(
        eventbridge(&plain),
        r#"{"version":"0","id":"7","detail-type":"Order Placed","source":"https://shop.example/tills/3","account":"shop","#.to_owned()
            + r#""time":"1970-01-01T00:00:00Z","region":"local","resources":[],"detail":{"order": 7, "total": 12.50}}"#
    );
}

#[test]
fn an_event_prints_as_a_cloudevent() {
    assert_eq!(
        cloudevent(&sample()),
        r#"{"specversion":"1.0","id":"7","source":"https://shop.example/tills/3","type":"Order Placed","time":"2026-07-01T12:00:00.25Z","#.to_owned()
            + r#""subject":"order 7 für Ä","resources":"[\"arn:order:\\\"7\\\"\",\"b,c\"]","dataschema":"https://shop.example/order%20","#
            + r#""traceparent":"00-ab-cd-01","partitionkey":"7","datacontenttype":"application/json","data":{"order": 7, "total": 12.50}}"#
    );
    let (headers, body) = binary(&sample());
    let header =
        |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    assert_eq!(header("ce-specversion"), Some("1.0"));
    assert_eq!(header("ce-type"), Some("Order%20Placed"));
    assert_eq!(header("ce-subject"), Some("order%207%20f%C3%BCr%20%C3%84"));
    assert_eq!(header("ce-dataschema"), Some("https://shop.example/order%2520"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(&body[..], sample().detail.as_bytes());
}

/// The examples of the specification's JSON format, as far as their data is JSON.
#[test]
fn cloudevents_as_others_write_them() {
    let event = structured(
        r#"{
            "specversion" : "1.0", "type" : "com.github.pull_request.opened", "source" : "https://github.com/cloudevents/spec/pull",
            "subject" : "123", "id" : "A234-1234-1234", "time" : "2018-04-05T17:31:00Z", "comexampleextension1" : "value",
            "comexampleothervalue" : 5, "unsetextension": null, "datacontenttype" : "application/vnd.x+json; charset=UTF-8",
            "data" : { "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }
        }"#,
    )
    .unwrap();
    assert_eq!(&*event.detail, r#"{ "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }"#);
    assert_eq!(&*event.extensions["comexampleothervalue"], "5");
    assert!(!event.extensions.contains_key("unsetextension"));
    assert_eq!(event.time_ms, 1_522_949_460_000);
    let least = structured(r#"{"specversion": "1.0", "type": "t", "source": "s", "id": "i"}"#).unwrap();
    assert_eq!((&*least.detail, least.time_ms, least.subject), ("null", 1_000, None));
}

#[test]
fn a_request_says_in_which_mode_it_is() {
    let post = |headers: &[(&str, &str)], body: &str| {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        with_put(|put| parse_http(headers, body.as_bytes(), put))
    };
    let one = cloudevent(&sample());
    let batch = format!("[{one}, {one}]");
    assert_eq!(
        post(&[("Content-Type", "application/cloudevents+json; charset=UTF-8")], &one).unwrap(),
        [sample()]
    );
    assert_eq!(post(&[("content-type", BATCH)], &batch).unwrap(), [sample(), sample()]);
    assert!(post(&[("content-type", BATCH)], "[]").unwrap().is_empty());
    let binary = [
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "i"),
        ("ce-source", "\"s%20\\\"\""),
        ("ce-type", "t%"),
        ("accept", "*/*"),
    ];
    let events = post(&binary, " 5 ").unwrap();
    assert_eq!((&*events[0].source, &*events[0].detail_type, &*events[0].detail), ("s \"", "t%", "5"));
    let error = post(&[("content-type", "application/json")], &one).unwrap_err().to_string();
    assert!(error.contains(STRUCTURED) && error.contains("ce-specversion"), "{error}");
    let error = post(&[("content-type", BATCH)], &format!("[{one}, {{}}]")).unwrap_err().to_string();
    assert!(error.starts_with("event 2 of those that are put: specversion"), "{error}");
    let error = post(&[("content-type", BATCH)], &format!("[{}1]", "1,".repeat(100))).unwrap_err();
    assert_eq!(error, EnvelopeError::Batch { events: 101 });
}

#[test]
fn entries_as_awss_clients_write_them() {
    let events = entries(
        r#"{"Entries": [
            {"Source": "shop", "DetailType": "Order Placed", "Detail": "{ \"order\": 7 }", "Time": 1522949460.5, "Resources": ["a"]},
            {"Source": "shop", "DetailType": "x", "Detail": "{}", "Time": "2018-04-05T17:31:00Z", "EventBusName": "other", "TraceHeader": "Root=1", "Resources": null}
        ]}"#,
    )
    .unwrap();
    let [first, second] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*first.id, &*first.detail, first.time_ms), ("new-1", "{ \"order\": 7 }", 1_522_949_460_500));
    assert_eq!((first.bus.as_str(), first.resources.len()), ("orders", 1));
    assert_eq!((&*second.id, second.bus.as_str(), second.time_ms), ("new-2", "other", 1_522_949_460_000));
    assert_eq!(&*second.extensions["traceheader"], "Root=1");
    assert_eq!(entries(r#"[{"Source": "s", "DetailType": "t", "Detail": "{}"}]"#).unwrap()[0].time_ms, 1_000);
}

#[test]
fn entries_that_can_not_be_put_say_why() {
    let entry = |more: &str| format!(r#"[{{"Source": "s", "DetailType": "t"{more}}}]"#);
    for (json, says) in [
        ("5".to_owned(), "Entries: it has to be a list"),
        ("{}".to_owned(), "Entries: it has to be a list"),
        ("[]".to_owned(), "0 events are put at once"),
        ("[5]".to_owned(), "an event is an object"),
        (entry(""), "Detail: every entry has one"),
        (entry(r#", "Detail": {}"#), "Detail: it has to be a string"),
        (entry(r#", "Detail": "[]""#), "Detail: it has to be an object"),
        (entry(r#", "Detail": "{""#), "Detail: it can't be read as JSON"),
        (entry(r#", "Detail": "{}", "Source": """#), "Source: every entry has one"),
        (entry(r#", "Detail": "{}", "Time": "yesterday""#), "Time: it has to be a time"),
        (entry(r#", "Detail": "{}", "Time": -5"#), "Time: it has to be seconds since 1970"),
        (entry(r#", "Detail": "{}", "Resources": "a""#), "Resources: it has to be a list of strings"),
        (
            entry(r#", "Detail": "{}", "EventBusName": "arn:aws:events""#),
            "EventBusName: \"arn:aws:events\" is not the name of a bus",
        ),
        (entry(r#", "Detail": "{}", "Detial": "{}""#), "Detial: an entry has Source"),
        (format!("[{}{{}}]", "{},".repeat(100)), "101 events are put at once"),
    ] {
        let error = entries(&json).expect_err(&json).to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
}

#[test]
fn cloudevents_that_are_none_say_why() {
    let event =
        |more: &str| format!(r#"{{"specversion": "1.0", "type": "t", "source": "s", "id": "i"{more}}}"#);
    for (json, says) in [
        ("[]".to_owned(), "an event is an object"),
        ("{".to_owned(), "can't be read as JSON"),
        (
            r#"{"type": "t", "source": "s", "id": "i"}"#.to_owned(),
            "specversion: every CloudEvent has this attribute",
        ),
        (
            r#"{"specversion": "0.3", "type": "t", "source": "s", "id": "i"}"#.to_owned(),
            "only \"1.0\" is spoken here",
        ),
        (
            r#"{"specversion": "1.0", "type": "t", "source": "s"}"#.to_owned(),
            "id: every CloudEvent has this attribute",
        ),
        (event(r#", "id": """#), "id: it is empty"),
        (event(r#", "time": "2018""#), "time: it has to be a time"),
        (event(r#", "time": "1969-12-31T23:59:59Z""#), "time: it has to be a time"),
        (
            event(r#", "datacontenttype": "text/plain", "data": "x""#),
            "datacontenttype: it is \"text/plain\", and an event's data has to be JSON",
        ),
        (event(r#", "datacontenttype": "application/json; charset=latin1""#), "has to be JSON in UTF-8"),
        (event(r#", "data_base64": "eA==""#), "data_base64: an event's data has to be JSON"),
        (event(r#", "Extension": "x""#), "Extension: an attribute's name is of 1 to 64 of a-z and 0-9"),
        (event(r#", "extension": {"x": 1}"#), "extension: an attribute is a string"),
        (
            event(&format!(r#", "extension": "{}""#, "x".repeat(3_000))),
            "extension: it has 3000 bytes, and can have 2048",
        ),
        (
            event(&format!(r#", "data": "{}""#, "x".repeat(BusEvent::BYTES_MAX))),
            "an event can have 262144 bytes",
        ),
        (event(&format!(r#", "data": {}1{}"#, "[".repeat(200), "]".repeat(200))), "within each other"),
    ] {
        let error = structured(&json).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    let named = [("ce-specversion", "1.0"), ("ce-id", "i"), ("ce-source", "s"), ("ce-type", "t")];
    for (header, body, says) in [
        (("content-type", "image/png"), "{}", "content-type: it is \"image/png\""),
        (("ce-data", "x"), "{}", "the data is the body"),
        (("ce-a_b", "x"), "{}", "an attribute's name"),
        (("accept", "x"), "{]", "data: it can't be read as JSON"),
    ] {
        let headers = [&named[..], &[header]].concat();
        let error = from_binary(&headers, body).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn an_event_is_as_large_as_it_prints() {
    let around = eventbridge(&BusEvent { detail: "".into(), ..sample() }).len();
    let of = |bytes: usize| BusEvent {
        detail: format!("\"{}\"", "x".repeat(bytes - around - 2)).into(),
        ..sample()
    };
    assert_eq!(check(&of(BusEvent::BYTES_MAX)), Ok(()));
    assert_eq!(
        check(&of(BusEvent::BYTES_MAX + 1)),
        Err(EnvelopeError::TooLarge { bytes: BusEvent::BYTES_MAX + 1 })
    );
}

fn any_event() -> impl Strategy<Value = BusEvent> {
    let text = || "\\PC{1,12}|[ -~]{1,12}|[\"%\\\\\u{1}é\n]{1,4}".prop_map(Arc::<str>::from);
    let extensions =
        proptest::collection::btree_map("x[a-z0-9]{0,8}".prop_map(Arc::<str>::from), text(), 0..4);
    let detail = prop_oneof![
        Just("null"),
        Just("{}"),
        Just(r#"{"a": [1, 2.50, "x\u0041"], "b": {"c": null}}"#),
        Just("\"x\"")
    ];
    let resources = proptest::collection::vec(text(), 0..3);
    let optional = || proptest::option::of(text());
    (text(), text(), text(), 0_u64..4_000_000_000_000, resources, optional(), extensions, detail, optional())
        .prop_map(|(id, source, detail_type, time_ms, resources, subject, extensions, detail, order_key)| {
            BusEvent {
                id,
                source,
                detail_type,
                time_ms,
                resources,
                subject,
                extensions,
                detail: detail.into(),
                order_key,
                ..sample()
            }
        })
}

proptest! {
    #[test]
    fn every_form_says_all_of_an_event(event in any_event()) {
        prop_assert_eq!(check(&event), Ok(()));
        let read = with_put(|put| parse_eventbridge(eventbridge(&event).as_bytes(), put)).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(&structured(&cloudevent(&event)).unwrap(), &event);
        let (headers, body) = binary(&event);
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        for (_, value) in &headers {
            prop_assert!(value.iter().all(|byte| (0x20..0x7f).contains(byte)));
        }
        prop_assert_eq!(&with_put(|put| parse_binary(headers, &body, put)).unwrap(), &event);
    }

    #[test]
    fn what_patterns_see_is_the_envelope(event in any_event(), key in "id|source|time|subject|resources|account|region|version|detail-type|partitionkey") {
        let printed = eventbridge(&event);
        let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let (outer, value) = match &*key {
            "partitionkey" => (Some("extensions"), json.get("extensions").and_then(|extensions| extensions.get("partitionkey"))),
            key => (None, json.get(key)),
        };
        let wanted = match value {
            None => serde_json::json!([{"exists": false}]),
            Some(serde_json::Value::Array(list)) if list.is_empty() => serde_json::json!([{"exists": false}]),
            Some(serde_json::Value::Array(list)) => serde_json::json!([list[0]]),
            Some(value) => serde_json::json!([value]),
        };
        let pattern = match outer {
            Some(outer) => serde_json::json!({ outer: { key: wanted } }),
            None => serde_json::json!({ key: wanted }),
        };
        let pattern = crate::pattern::Pattern::parse(&pattern.to_string()).unwrap();
        prop_assert!(pattern.takes(&crate::pattern::Parsed::of(&event)).unwrap());
        prop_assert_eq!(pattern.matches(&printed), Ok(true));
    }
}
