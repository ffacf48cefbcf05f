//! What it costs to find who wants an event: `cargo xtask bench inside`.

use criterion::{Criterion, criterion_group, criterion_main};
use skiff_events::envelope;
use skiff_events::input::{self, Origin};
use skiff_events::pattern::{Matcher, Parsed, Pattern};
use skiff_types::{BusEvent, Input, Template};
use std::collections::BTreeMap;
use std::hint::black_box;

/// What rules differ by; `{}` is a rule's number.
const KINDS: &[(&str, &str)] = &[
    ("source", r#"{"source": ["shop.{}"]}"#),
    ("a field", r#"{"source": ["shop"], "detail": {"tenant": ["t{}"]}}"#),
    (
        "one of several values",
        r#"{"detail-type": ["Order Placed"], "detail": {"tenant": ["t{}", "u{}", "v{}"]}}"#,
    ),
    ("a number", r#"{"source": ["shop"], "detail": {"order": [{}]}}"#),
    ("a prefix", r#"{"source": ["shop"], "detail": {"object": {"key": [{"prefix": "images/{}/"}]}}}"#),
    ("a suffix", r#"{"source": ["shop"], "detail": {"object": {"key": [{"suffix": "-{}.png"}]}}}"#),
    (
        "a wildcard",
        r#"{"source": ["shop"], "detail": {"object": {"key": [{"wildcard": "images/{}/*.png"}]}}}"#,
    ),
    ("a value in any case", r#"{"source": ["shop"], "detail": {"tenant": [{"equals-ignore-case": "T{}"}]}}"#),
    (
        "alternatives",
        r#"{"source": ["shop"], "$or": [{"detail": {"tenant": ["t{}"]}}, {"detail": {"order": [{}], "total": [{"numeric": [">", 100]}]}}]}"#,
    ),
];

/// An event that the last of so many rules takes, whatever they differ by but their source.
fn event(number: u32) -> BusEvent {
    let detail = format!(
        r#"{{"tenant": "t{number}", "order": {number}, "total": 99.50, "object": {{"key": "images/{number}/cat-{number}.png", "size": 2048}},
            "lines": [{{"sku": "a-1", "count": 2}}, {{"sku": "b-7", "count": 1}}], "customer": {{"name": "Ada", "vip": true, "address": null}}}}"#
    );
    BusEvent {
        namespace: "default".parse().expect("a name"),
        bus: "default".parse().expect("a name"),
        id: "01J0000000000000000000".into(),
        source: "shop".into(),
        detail_type: "Order Placed".into(),
        time_ms: 1_782_907_200_000,
        resources: vec!["order/7".into()],
        subject: None,
        extensions: BTreeMap::new(),
        detail: detail.into(),
        order_key: None,
    }
}

fn matcher_of(pattern: &str, count: u32) -> Matcher<u32> {
    let mut matcher = Matcher::new();
    for number in 1..=count {
        let pattern = pattern.replace("{}", &number.to_string());
        matcher.insert(number, &Pattern::parse(&pattern).expect("a pattern"));
    }
    matcher
}

fn matching(criterion: &mut Criterion) {
    for (what, pattern) in KINDS {
        for count in [10, 10_000] {
            let matcher = matcher_of(pattern, count);
            let source = if *what == "source" { format!("shop.{count}") } else { "shop".to_owned() };
            let event = BusEvent { source: source.into(), ..event(count) };
            assert_eq!(matcher.matching(&Parsed::of(&event)), Ok(vec![count]), "{what}");
            criterion.bench_function(
                &format!("events/find the one of {count} rules that wants an event by {what}"),
                |bencher| {
                    bencher.iter(|| black_box(&matcher).matching(&Parsed::of(black_box(&event))));
                },
            );
        }
    }
}

fn reading(criterion: &mut Criterion) {
    let event = event(7);
    criterion.bench_function("events/parse an event to be matched", |bencher| {
        bencher.iter(|| Parsed::of(black_box(&event)));
    });
    criterion.bench_function("events/print an event in EventBridge's envelope", |bencher| {
        bencher.iter(|| envelope::eventbridge(black_box(&event)));
    });
    criterion.bench_function("events/check an event", |bencher| {
        bencher.iter(|| envelope::check(black_box(&event)));
    });
    let name = "default/rule".parse().expect("a name");
    let origin = Origin { name: &name, ingested_at_ms: 0 };
    let paths = [("key", "$.detail.object.key"), ("tenant", "$.detail.tenant")];
    let paths = paths.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
    let text = r#"{"key": <key>, "tenant": "tenant <tenant>"}"#.into();
    let inputs = [
        ("a path", Input::Path("$.detail.object".into())),
        ("a template", Input::Template(Template { paths, text })),
    ];
    for (what, input) in inputs {
        criterion.bench_function(&format!("events/make the input of a target by {what}"), |bencher| {
            bencher.iter(|| input::render(black_box(&input), &event, &origin));
        });
    }
}

/// One of many rules is set anew.
fn changing(criterion: &mut Criterion) {
    const COUNT: u32 = 10_000;
    let (_, pattern) = KINDS[1];
    let mut matcher = matcher_of(pattern, COUNT);
    let pattern = Pattern::parse(&pattern.replace("{}", "5")).expect("a pattern");
    criterion.bench_function(&format!("events/change one of {COUNT} rules"), |bencher| {
        bencher.iter(|| matcher.insert(5, black_box(&pattern)));
    });
}

criterion_group!(benches, matching, reading, changing);
criterion_main!(benches);
