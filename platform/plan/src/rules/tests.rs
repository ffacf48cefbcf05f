//! Choosing against a naive model that asks all rules in order, and what a request leads to among thousands.

use super::*;
use proptest::prelude::*;
use skiff_types::{HeaderCondition, Pattern, QueryCondition};
use std::cell::Cell;

const NAMES: &[&str] = &["default/a", "default/b", "default/c", "default/d", "shop/a"];
const METHODS: &[&str] = &["GET", "get", "POST"];
const HEADERS: &[&str] = &["x-a", "x-b"];
const SOURCES: &[&str] = &["10.1.2.3", "10.1.2.4", "10.200.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1"];
const NETWORKS: &[&str] = &[
    "source=10.0.0.0/8",
    "source=10.1.2.3,2001:db8::/32",
    "source=10.1.2.2/31",
    "source=0.0.0.0/0",
    "source=::/0",
];

fn name(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

fn priority(number: u32) -> Priority {
    number.try_into().unwrap()
}

fn conditions(texts: &[&str]) -> Vec<Condition> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A request that owns what it is made of.
#[derive(Debug, Clone)]
struct Asked {
    host: String,
    path: String,
    query: Option<String>,
    method: &'static str,
    source: IpAddr,
    headers: Pairs,
}

#[derive(Debug, Clone)]
struct Pairs(Vec<(&'static str, String)>);

impl Headers for Pairs {
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(other, value)| *other == name && found(value.as_bytes()))
    }
}

impl Asked {
    /// A GET of a URL without its scheme.
    fn get(url: &str) -> Self {
        let (rest, query) = match url.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (url, None),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self {
            host: host.into(),
            path: format!("/{path}"),
            query,
            method: "GET",
            source: "192.0.2.7".parse().unwrap(),
            headers: Pairs(vec![]),
        }
    }

    fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.0.push((header, value.into()));
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: self.method,
            source: self.source,
            headers: &self.headers,
        }
    }
}

/// Each rule as its name, its priority and its conditions; the name is what is kept with it.
fn rules(of: &[(&str, u32, &[&str])]) -> Rules<String> {
    let mut rules = Rules::new();
    for (rule, number, texts) in of {
        rules.set(name(rule), priority(*number), &conditions(texts), (*rule).to_owned());
    }
    rules
}

/// Whether one condition alone takes these requests, and not those.
#[track_caller]
fn check(condition: &str, taken: &[Asked], passed: &[Asked]) {
    let rules = rules(&[("default/a", 1, &[condition])]);
    let takes = |asked: &Asked| rules.choose(&asked.request()).is_some();
    taken.iter().for_each(|asked| assert!(takes(asked), "{condition} does not take {asked:?}"));
    passed.iter().for_each(|asked| assert!(!takes(asked), "{condition} takes {asked:?}"));
}

#[test]
fn conditions_mean_what_those_of_elb_do() {
    let get = Asked::get;
    check("host=API.example.com", &[get("api.example.com/x")], &[get("example.com")]);
    check("host=*.example.com", &[get("a.b.example.com")], &[get("example.com"), get("a.example.org")]);
    check("path=/api/*", &[get("a/api/x"), get("a/api/")], &[get("a/API/x"), get("a/api")]);
    check("path=*.png", &[get("a/x/y.png")], &[get("a/y.PNG"), get("a/y.png/")]);
    check("method=GET", &[get("a")], &[Asked { method: "get", ..get("a") }]);
    check("source=192.0.2.0/24", &[get("a")], &[Asked { source: "192.0.3.7".parse().unwrap(), ..get("a") }]);
    check("header:x-a=b*", &[get("a").with("x-a", "c").with("x-a", "BLUE")], &[get("a").with("x-b", "b")]);
    check("header:x-a=*", &[get("a").with("x-a", "")], &[get("a")]);
}

#[test]
fn a_query_is_asked_parameter_by_parameter() {
    let get = Asked::get;
    check("query:v=2", &[get("a?v=2"), get("a?x&V=2&y")], &[get("a?v=22"), get("a?w=2"), get("a?2")]);
    check("query:v=*", &[get("a?v"), get("a?v="), get("a?v=1=2")], &[get("a?"), get("a?vv=1")]);
    check("query:v*=b", &[get("a?v1=b"), get("a?v=B")], &[get("a?b=v")]);
    check("query:*=b", &[get("a?x=b"), get("a?=b")], &[get("a?b")]);
    check("query=b*", &[get("a?x=1&y=beta")], &[get("a?beta"), get("a?")]);
    check("query:v=a=b", &[get("a?v=a=b")], &[get("a?v=a")]);
    check("query:v=%41", &[get("a?v=%41")], &[get("a?v=A")]);
}

#[test]
fn the_first_rule_by_priority_and_then_by_name_takes_a_request() {
    let mut rules = rules(&[
        ("default/last", 9, &["path=*"]),
        ("default/b", 2, &["path=/x"]),
        ("default/a", 2, &["host=h"]),
        ("default/first", 1, &["host=h", "method=POST"]),
    ]);
    let taken = |rules: &Rules<String>| rules.choose(&Asked::get("h/x").request()).cloned();
    assert_eq!(taken(&rules).unwrap(), "default/a");
    let order: Vec<_> = rules.iter().map(|(rule, ..)| rule.to_string()).collect();
    assert_eq!(order, ["default/first", "default/a", "default/b", "default/last"]);

    assert_eq!(rules.remove(&name("default/a")).unwrap(), "default/a");
    assert_eq!((taken(&rules).unwrap().as_str(), rules.len()), ("default/b", 3));
    rules.set(name("default/first"), priority(3), &conditions(&["path=/x"]), "moved".into());
    assert_eq!((taken(&rules).unwrap().as_str(), rules.len()), ("default/b", 3));
    assert_eq!(rules.remove(&name("default/b")).unwrap(), "default/b");
    assert_eq!(taken(&rules).unwrap(), "moved");
    assert_eq!(rules.remove(&name("default/b")), None);
}

#[test]
fn an_explanation_names_the_first_condition_that_does_not_hold() {
    let rules = rules(&[
        ("default/a", 1, &["path=/y", "host=g", "method=POST"]),
        ("default/b", 2, &["host=h", "query:v=1"]),
        ("default/c", 3, &["path=/x"]),
        ("default/d", 4, &["path=*"]),
    ]);
    let explained = |url: &str| {
        let asked = Asked::get(url);
        let steps = explain(&rules, &asked.request()).steps;
        steps.into_iter().map(|step| step.failed.map(ToString::to_string)).collect::<Vec<_>>()
    };
    let texts = |failed: &[&str]| failed.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
    assert_eq!(explained("h/x"), [texts(&["path=/y", "query:v=1"]), vec![None]].concat());
    assert_eq!(explained("h/y?v=1"), [texts(&["host=g"]), vec![None]].concat());
}

/// How many rules a request leads to: those that may be asked.
fn led_to<T>(rules: &Rules<T>, asked: &Asked) -> usize {
    let mut count = 0;
    rules.index.reach(&asked.request(), &mut |list| count += list.len());
    count
}

#[test]
fn a_request_leads_to_few_of_thousands_of_rules() {
    const RULES: u32 = 2_000;
    let asked = Asked::get("t7.example.com/t7/x?tenant=t7&x=1").with("x-a", "t7");
    for kinds in [
        &["host=t{}.example.com"][..],
        &["host=t{}.*"],
        &["path=/t{}/x"],
        &["path=/t{}/*"],
        &["header:x-a=t{}"],
        &["header:x-a=t{}*"],
        &["query:tenant=t{}"],
        &["query=t{}"],
        &["path=/t7/*", "host=t{}.example.com"],
        &["method=GET", "path=/t{}/x"],
        &["host=*.example.com", "method=GET", "query:tenant=t{}"],
        &["path=*", "path=/*/x", "header:x-a=t{}"],
    ] {
        let mut rules = Rules::new();
        for number in 1..=RULES {
            let texts: Vec<_> = kinds.iter().map(|kind| kind.replace("{}", &number.to_string())).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            rules.set(name(&format!("default/r{number}")), priority(number), &conditions(&texts), number);
        }
        assert_eq!(rules.choose(&asked.request()), Some(&7), "{kinds:?}");
        assert!(led_to(&rules, &asked) <= 4, "{kinds:?}: {}", led_to(&rules, &asked));
    }
}

/// Whether a rule with these conditions is led to by some requests alone: those that may meet them, as far as its text says.
#[track_caller]
fn check_led_to(texts: &[&str], led: &Asked, not_led: &Asked) {
    let rules = rules(&[("default/a", 1, texts)]);
    assert_eq!([led, not_led].map(|asked| led_to(&rules, asked)), [1, 0], "{texts:?}");
}

#[test]
fn a_rule_is_filed_under_what_narrows_most() {
    let get = Asked::get;
    check_led_to(&["method=GET", "path=/x"], &get("h/x"), &get("h/y"));
    check_led_to(&["path=/x", "method=GET"], &get("h/x"), &get("h/y"));
    check_led_to(&["host=*.example.com", "path=/x"], &get("a.example.com/x"), &get("a.example.com/y"));
    check_led_to(&["host=a.example.com", "path=/x/*"], &get("a.example.com/y"), &get("b.example.com/x/"));
}

#[test]
fn a_parameter_is_filed_under_the_beginning_of_its_key_and_else_under_its_value() {
    let get = Asked::get;
    check_led_to(&["query:ten*=*"], &get("h/?tenant=1"), &get("h/?x=1"));
    check_led_to(&["query:*ant=t7"], &get("h/?tenant=t7"), &get("h/?tenant=t8"));
}

#[test]
fn an_address_leads_to_the_networks_it_is_in() {
    let mut rules = Rules::new();
    for number in 1..=2_000_u32 {
        let network = format!("source=10.0.{}.{}", number / 256, number % 256);
        rules.set(name(&format!("default/r{number}")), priority(number), &conditions(&[&network]), number);
    }
    rules.set(name("default/all"), priority(9_000), &conditions(&["source=10.0.0.0/8"]), 0);
    let from = |source: &str| Asked { source: source.parse().unwrap(), ..Asked::get("a") };
    assert_eq!(rules.choose(&from("10.0.1.1").request()), Some(&257));
    assert_eq!(rules.choose(&from("10.1.1.1").request()), Some(&0));
    assert_eq!(rules.choose(&from("::a00:101").request()), None);
    assert_eq!(led_to(&rules, &from("10.0.1.1")), 2);
}

#[test]
fn a_query_of_thousands_of_parameters_finds_the_first_of_its_rules() {
    let mut rules = Rules::new();
    for number in 1..=1_000_u32 {
        let path = if number.is_multiple_of(100) { "path=/x" } else { "path=/never" };
        let texts = [path, &format!("query:p{number}=x")];
        rules.set(name(&format!("default/r{number}")), priority(number), &conditions(&texts), number);
    }
    let parameters: Vec<_> = (1..=1_000).rev().map(|number| format!("p{number}=x&p{number}=x")).collect();
    let asked = Asked::get(&format!("h/x?{}", parameters.join("&")));
    assert_eq!(rules.choose(&asked.request()), Some(&100));
    assert!(led_to(&rules, &asked) > 1_000);
}

/// Headers each of which has one value, an empty one. Counts how often it was asked for any.
struct Counting(Cell<usize>);

impl Headers for Counting {
    fn any(&self, _: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.set(self.0.get() + 1);
        found(b"")
    }
}

/// How many rules are asked that ask for a header, of those that take any value of the parameters `p1` to `p100` each.
#[track_caller]
fn check_asked(header: &str, chosen: Option<&u32>, count: usize) {
    let mut rules = Rules::new();
    for number in 1..=100_u32 {
        let texts = [header, &format!("query:p{number}=x,y")];
        rules.set(name(&format!("default/r{number}")), priority(number), &conditions(&texts), number);
    }
    let parameters: Vec<_> = (1..=100).rev().map(|number| format!("p{number}=x&p{number}=y")).collect();
    let (asked, headers) = (Asked::get(&format!("h/x?{}", parameters.join("&"))), Counting(Cell::new(0)));
    assert_eq!(rules.choose(&Request { headers: &headers, ..asked.request() }), chosen);
    assert_eq!(headers.0.get(), count);
}

#[test]
fn rules_in_many_lists_are_asked_in_order_and_once() {
    check_asked("header:x-a=*", Some(&1), 1);
    check_asked("header:x-a=*b*", None, 100);
}

#[test]
fn what_is_slow_to_ask_is_not_asked_where_something_quicker_does_not_hold() {
    for quick in ["host=*q*", "path=*q*"] {
        // In whatever order they are given; neither has a text to be filed under.
        for texts in [["header:x-a=*b*", quick], [quick, "header:x-a=*b*"]] {
            let rules = rules(&[("default/a", 1, &texts)]);
            let (asked, headers) = (Asked::get("h/x"), Counting(Cell::new(0)));
            assert!(rules.choose(&Request { headers: &headers, ..asked.request() }).is_none());
            assert_eq!(headers.0.get(), 0, "{texts:?}");
        }
    }
}

#[test]
fn a_rule_without_conditions_takes_all_and_a_condition_without_values_takes_none() {
    let mut rules = Rules::default();
    rules.set(name("default/none"), priority(1), &[Condition::Host(vec![])], 1);
    assert_eq!(rules.choose(&Asked::get("a").request()), None);
    rules.set(name("default/all"), priority(2), &[], 2);
    assert_eq!(rules.choose(&Asked::get("a").request()), Some(&2));
}

/// What a pattern means, by its definition.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|taken| is_like(rest, &text[taken..])),
        [b'?', rest @ ..] => !text.is_empty() && is_like(rest, &text[1..]),
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
            text.first() == Some(byte) && is_like(rest, &text[1..])
        }
    }
}

fn is_any(values: &[Pattern], text: &str) -> bool {
    values.iter().any(|value| is_like(value.as_str().as_bytes(), text.as_bytes()))
}

fn is_any_without_case(values: &[Pattern], text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let lower = |value: &Pattern| value.as_str().to_ascii_lowercase();
    values.iter().any(|value| is_like(lower(value).as_bytes(), text.as_bytes()))
}

/// Whether a condition holds, by its definition.
fn holds(condition: &Condition, asked: &Asked) -> bool {
    match condition {
        Condition::Host(values) => is_any_without_case(values, &asked.host),
        Condition::Path(values) => is_any(values, &asked.path),
        Condition::Header(HeaderCondition { name, values }) => {
            let mut named = asked.headers.0.iter().filter(|(header, _)| **header == **name);
            named.any(|(_, value)| is_any_without_case(values, value))
        }
        Condition::Method(values) => values.iter().any(|value| **value == *asked.method),
        Condition::Query(QueryCondition { key, values }) => {
            let query = asked.query.clone().unwrap_or_default();
            query.split('&').filter(|parameter| !parameter.is_empty()).any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let is_named = key.iter().all(|key| is_any_without_case(std::slice::from_ref(key), name));
                is_named && is_any_without_case(values, value)
            })
        }
        Condition::Source(values) => values.iter().any(|network| network.contains(&asked.source)),
    }
}

fn text(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 0..6).prop_map(|pieces| pieces.concat())
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let pieces: &[&str] = &["a", "b", "A", "/", "*", "*", "?", r"\*", r"\a", "=", "&"];
    let pieces = prop::collection::vec(prop::sample::select(pieces), 1..5);
    pieces.prop_map(|pieces| pieces.concat().parse().unwrap())
}

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    prop::collection::vec(pattern(), 1..3)
}

fn condition() -> impl Strategy<Value = Condition> {
    let header = (prop::sample::select(HEADERS), patterns());
    prop_oneof![
        patterns().prop_map(Condition::Host),
        patterns().prop_map(Condition::Path),
        header.prop_map(|(name, values)| Condition::Header(HeaderCondition { name: name.into(), values })),
        prop::sample::subsequence(METHODS, 1..3)
            .prop_map(|methods| Condition::Method(methods.into_iter().map(Into::into).collect())),
        (prop::option::of(pattern()), patterns())
            .prop_map(|(key, values)| Condition::Query(QueryCondition { key, values })),
        prop::sample::select(NETWORKS).prop_map(|text| text.parse::<Condition>().unwrap()),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    const TEXT: &[&str] = &["a", "b", "A", "/", "*", "="];
    let header = (prop::sample::select(HEADERS), text(TEXT));
    (
        text(&["a", "b", "/", "*"]),
        text(TEXT),
        prop::option::of(text(&["a", "b", "A", "=", "&", "*"])),
        prop::sample::select(METHODS),
        prop::sample::select(SOURCES),
        prop::collection::vec(header, 0..3),
    )
        .prop_map(|(host, path, query, method, source, headers)| Asked {
            host,
            path,
            query,
            method,
            source: source.parse().unwrap(),
            headers: Pairs(headers),
        })
}

/// A rule that is set, or taken out.
type Change = (&'static str, u32, Vec<Condition>, bool);

fn change() -> impl Strategy<Value = Change> {
    let conditions = prop::collection::vec(condition(), 1..4);
    (prop::sample::select(NAMES), 1..5_u32, conditions, prop::bool::weighted(0.8))
}

/// All rules in order, with the number of the change that set each.
type Model = BTreeMap<(Priority, QualifiedName), (Vec<Condition>, usize)>;

fn changed(changes: Vec<Change>) -> (Rules<usize>, Model) {
    let (mut rules, mut model) = (Rules::new(), Model::new());
    for (number, (rule, at, conditions, is_set)) in changes.into_iter().enumerate() {
        let rule = name(rule);
        model.retain(|(_, other), _| *other != rule);
        if is_set {
            rules.set(rule.clone(), priority(at), &conditions, number);
            model.insert((priority(at), rule), (conditions, number));
        } else {
            rules.remove(&rule);
        }
    }
    (rules, model)
}

proptest! {
    #[test]
    fn patterns_match_as_they_are_defined(
        pattern in pattern(),
        text in text(&["a", "b", "A", "/", "*", "="]),
    ) {
        let (exact, lower) = (pattern.as_str(), pattern.as_str().to_ascii_lowercase());
        let glob = glob::Glob::new(&pattern, glob::Case::Counts);
        prop_assert_eq!(glob.matches(text.as_bytes()), is_like(exact.as_bytes(), text.as_bytes()));
        let glob = glob::Glob::new(&pattern, glob::Case::Ignored);
        let folded = text.to_ascii_lowercase();
        prop_assert_eq!(glob.matches(text.as_bytes()), is_like(lower.as_bytes(), folded.as_bytes()));
    }

    #[test]
    fn the_rule_is_chosen_that_asking_all_in_order_finds(
        changes in prop::collection::vec(change(), 0..16),
        asked in prop::collection::vec(asked(), 1..8),
    ) {
        let (rules, model) = changed(changes);
        let listed: Vec<_> = rules.iter().map(|(rule, at, _, value)| (at, rule.clone(), *value)).collect();
        let expected = model.iter().map(|((at, rule), (_, value))| (*at, rule.clone(), *value));
        prop_assert_eq!(listed, expected.collect::<Vec<_>>());
        prop_assert_eq!((rules.len(), rules.is_empty()), (model.len(), model.is_empty()));
        for asked in &asked {
            let takes = |conditions: &[Condition]| conditions.iter().all(|one| holds(one, asked));
            let first = model.values().find(|(conditions, _)| takes(conditions)).map(|(_, value)| value);
            prop_assert_eq!(rules.choose(&asked.request()), first, "{:?}", asked);

            let steps = explain(&rules, &asked.request()).steps;
            for (step, ((at, rule), (conditions, _))) in std::iter::zip(&steps, &model) {
                let failed = conditions.iter().find(|condition| !holds(condition, asked));
                prop_assert_eq!((step.rule, step.priority, step.failed), (rule, *at, failed));
            }
            let is_taken = steps.last().is_some_and(|step| step.failed.is_none());
            prop_assert_eq!(is_taken, first.is_some());
            prop_assert!(is_taken || steps.len() == model.len());
        }
    }

    #[test]
    fn rules_that_are_gone_leave_nothing_behind(changes in prop::collection::vec(change(), 0..16)) {
        let (mut rules, _) = changed(changes);
        for rule in NAMES {
            rules.remove(&name(rule));
        }
        prop_assert!(rules.is_empty() && rules.index.is_empty() && rules.order.is_empty());
        prop_assert!(rules.slots.iter().all(Option::is_none) && rules.free.len() == rules.slots.len());
    }
}
