//! What roles may: the short form against a naive model, what Cedar adds to it, and thirty ways to get at what isn't granted.

use super::*;
use proptest::prelude::*;
use skiff_types::{AccessAction, AccessResource, Grant, QualifiedName, ResourceKind, RoleSpec};

fn role(allow: &[&str], policy: Option<&str>) -> RoleSpec {
    RoleSpec {
        name: "default/thumbs".parse().unwrap(),
        allow: allow.iter().map(|grant| grant.parse().unwrap_or_else(|error| panic!("{error}"))).collect(),
        policy: policy.map(Into::into),
    }
}

fn compiled(allow: &[&str], policy: Option<&str>) -> Policy {
    Policy::compile(&role(allow, policy)).unwrap_or_else(|error| panic!("{error}"))
}

/// `NAME`, `NAME/KEY` or `NAME/PREFIX…`, which is listed.
fn resource(kind: ResourceKind, text: &str) -> AccessResource {
    let name = |name: &str| QualifiedName::new("default".parse().unwrap(), name.parse().unwrap());
    match text.split_once('/') {
        None => AccessResource::new(kind, name(text)),
        Some((thing, path)) => match path.strip_suffix('…') {
            Some(prefix) => AccessResource::listing(kind, name(thing), prefix),
            None => AccessResource::at(kind, name(thing), path),
        },
    }
}

/// By what a role may do something, such as `bucket:read uploads/a`.
#[track_caller]
fn allowed_by<'p>(policy: &'p Policy, question: &str) -> Option<&'p str> {
    let (action, of) = question.split_once(' ').unwrap();
    let action: AccessAction = action.parse().unwrap();
    match policy.decide(action, &resource(action.kind(), of)) {
        Verdict::Allowed { by } => Some(by),
        Verdict::Forbidden { .. } | Verdict::NotAllowed => None,
    }
}

#[track_caller]
fn check(grant: &str, allowed: &[&str], denied: &[&str]) {
    let policy = compiled(&[grant], None);
    for question in allowed {
        assert_eq!(allowed_by(&policy, question), Some(grant), "{question:?} by {grant:?}");
    }
    for question in denied {
        assert_eq!(allowed_by(&policy, question), None, "{question:?} by {grant:?}");
    }
}

#[test]
fn where_nothing_is_allowed_all_is_denied() {
    let policy = compiled(&[], None);
    for action in AccessAction::ALL {
        let verdict = policy.decide(action, &resource(action.kind(), "uploads"));
        assert_eq!(verdict, Verdict::NotAllowed, "{action}");
    }
}

#[test]
fn a_grant_allows_what_it_says() {
    check(
        "bucket:read uploads",
        &[
            "bucket:read uploads",
            "bucket:read uploads/a",
            "bucket:read uploads/…",
            "bucket:read uploads/a/b…",
        ],
        &["bucket:write uploads/a", "bucket:read upload", "bucket:read uploads-2/a", "table:read uploads"],
    );
    check(
        "bucket:read uploads/images/*",
        &["bucket:read uploads/images/", "bucket:read uploads/images/a/b", "bucket:read uploads/images/a…"],
        &[
            "bucket:read uploads",
            "bucket:read uploads/image",
            "bucket:read uploads/imag…",
            "bucket:read uploads/…",
        ],
    );
    check(
        "bucket:read uploads/a",
        &["bucket:read uploads/a"],
        &["bucket:read uploads/a…", "bucket:read uploads/ab", "bucket:read uploads/A", "bucket:read uploads"],
    );
    check(
        "bucket:* up*s/*.png",
        &["bucket:write uploads/a.png", "bucket:delete ups/x/.png"],
        &["bucket:write uploads/a.png ", "bucket:read uploads/a.png…", "bucket:write upload/a.png"],
    );
    check(
        "table:* accounts/eu-*",
        &["table:read accounts/eu-1", "table:write accounts/eu-", "table:read accounts/eu-…"],
        &["table:read accounts/us-1", "table:read accounts", "bucket:read accounts/eu-1"],
    );
    check("* uploads/a*", &["bucket:read uploads/ab", "table:write uploads/a"], &["queue:send uploads"]);
    check(
        "* *",
        &[
            "bucket:manage a",
            "table:write a/b",
            "queue:receive a",
            "bus:put default",
            "secret:read a",
            "table:read a/…",
        ],
        &[],
    );
    check("queue:send orders", &["queue:send orders"], &["queue:receive orders", "queue:send orders-2"]);
    check("queue:* ord*", &["queue:receive orders", "queue:send ord"], &["queue:send other"]);
    check("bus:put default", &["bus:put default"], &["bus:put other"]);
    check("bucket:manage tmp-*", &["bucket:manage tmp-1"], &["bucket:manage tmp", "bucket:write tmp-1/a"]);
}

#[test]
fn thirty_spellings_reach_nothing_else() {
    let policy = compiled(
        &["bucket:read uploads/public/*", r"bucket:read uploads/\*", "table:write accounts/eu-*"],
        None,
    );
    let spellings = [
        "private/a",
        "public",
        "Public/a",
        "PUBLIC/a",
        "public\\a",
        "/public/a",
        "//public/a",
        "./public/a",
        "../uploads/public/a",
        "private/../public",
        "%70ublic/a",
        "public%2fa",
        "public%2Fa",
        "public%5ca",
        "public\u{0}/a",
        "public\n/a",
        "\npublic/a",
        " public/a",
        "public /a",
        "publiс/a",
        "ｐublic/a",
        "public\u{2215}a",
        "public\u{200b}/a",
        "\u{feff}public/a",
        "\u{202e}cilbup/a",
        "pub\u{0301}lic/a",
        "**",
        "a*",
        "*/public/a",
        "?ublic/a",
        "[p]ublic/a",
        "public\"/a",
        "\" || true || \"",
        "uploads/public/a",
        "\\*",
        "",
    ];
    for key in spellings {
        let name = || "default/uploads".parse().unwrap();
        let kind = ResourceKind::Bucket;
        for resource in [AccessResource::at(kind, name(), key), AccessResource::listing(kind, name(), key)] {
            let verdict = policy.decide(AccessAction::BucketRead, &resource);
            assert_eq!(verdict, Verdict::NotAllowed, "{key:?} was read");
        }
    }
    for question in [
        "bucket:write uploads/public/a",
        "bucket:delete uploads/public/a",
        "bucket:manage uploads",
        "bucket:read public/a",
        "table:write uploads/public/a",
        "table:read accounts/eu-1",
        "bucket:read accounts/eu-1",
        "table:write accounts/EU-1",
    ] {
        assert_eq!(allowed_by(&policy, question), None, "{question:?}");
    }
    // What is granted stays so, also where the same text looks like a way out.
    for question in [
        "bucket:read uploads/public/../../etc/passwd",
        "bucket:read uploads/*",
        "bucket:read uploads/public/%2e%2e",
    ] {
        assert!(allowed_by(&policy, question).is_some(), "{question:?}");
    }
}

#[test]
fn no_policy_reaches_another_namespace() {
    let policy = compiled(&["* *"], Some("permit (principal, action, resource);"));
    for action in AccessAction::ALL {
        for namespace in ["shop", "default-2", "defaul"] {
            let name = QualifiedName::new(namespace.parse().unwrap(), "uploads".parse().unwrap());
            let verdict = policy.decide(action, &AccessResource::new(action.kind(), name));
            assert_eq!(verdict, Verdict::NotAllowed, "{action} in {namespace}");
        }
    }
}

#[test]
fn what_can_not_be_is_denied() {
    let policy = compiled(&["* *"], None);
    let name = || "default/a".parse().unwrap();
    let of_another_kind = AccessResource::new(ResourceKind::Table, name());
    assert_eq!(policy.decide(AccessAction::BucketRead, &of_another_kind), Verdict::NotAllowed);
    let with_a_path = AccessResource::at(ResourceKind::Queue, name(), "b");
    assert_eq!(policy.decide(AccessAction::QueueSend, &with_a_path), Verdict::NotAllowed);
}

#[test]
fn cedar_allows_more_and_forbids() {
    let text = "
        permit (principal, action == Skiff::Action::\"table:read\", resource in Skiff::Table::\"accounts\");
        @id(\"no secrets\")
        forbid (principal, action, resource is Skiff::Object) when { resource.key like \"*/secret/*\" };";
    let policy = compiled(&["bucket:read uploads"], Some(text));
    assert_eq!(allowed_by(&policy, "table:read accounts/a"), Some("policy 1 of its Cedar"));
    assert_eq!(allowed_by(&policy, "bucket:read uploads/a"), Some("bucket:read uploads"));
    let secret = resource(ResourceKind::Bucket, "uploads/a/secret/b");
    let verdict = policy.decide(AccessAction::BucketRead, &secret);
    assert_eq!(verdict, Verdict::Forbidden { by: "the policy \"no secrets\"" });
    // Nothing allows it in the first place, and yet it is said who forbids it.
    assert!(matches!(policy.decide(AccessAction::BucketWrite, &secret), Verdict::Forbidden { .. }));
}

#[test]
fn what_forbids_and_can_not_be_judged_forbids() {
    let overflows = "when { 9223372036854775807 + (if resource.name == \"a\" then 1 else 0) > 0 };";
    let text = format!("forbid (principal, action == Skiff::Action::\"queue:send\", resource) {overflows}");
    let policy = compiled(&["queue:* *"], Some(&text));
    let verdict = policy.decide(AccessAction::QueueSend, &resource(ResourceKind::Queue, "a"));
    assert_eq!(verdict, Verdict::Forbidden { by: "policy 1 of its Cedar" });
    assert_eq!(allowed_by(&policy, "queue:receive a"), Some("queue:* *"));
    let text = format!("permit (principal, action == Skiff::Action::\"queue:send\", resource) {overflows}");
    assert_eq!(allowed_by(&compiled(&[], Some(&text)), "queue:send a"), None);
}

#[test]
fn a_verdict_is_remembered_as_it_was() {
    let policy = compiled(&["queue:send a*"], None);
    for _ in 0..3 {
        for number in 0..600 {
            assert!(allowed_by(&policy, &format!("queue:send a{number}")).is_some());
            assert!(allowed_by(&policy, &format!("queue:send b{number}")).is_none());
            assert!(allowed_by(&policy, &format!("queue:receive a{number}")).is_none());
        }
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_its_line() {
    let error = |text: &str| Policy::compile(&role(&[], Some(text))).unwrap_err();
    let good = "permit (principal, action, resource);\n";
    let line = |text: &str| match error(text) {
        PolicyError::Syntax { line, .. } => ("syntax", line),
        PolicyError::Invalid { line, .. } => ("invalid", line),
        other => panic!("{other}"),
    };
    assert_eq!(line(&format!("{good}permt (principal, action, resource);")), ("syntax", 2));
    assert_eq!(
        line(&format!("{good}\npermit (principal, action, resource)\nwhen {{ 1 + }};")),
        ("syntax", 4)
    );
    for wrong in [
        "permit (principal, action == Skiff::Action::\"bucket:get\", resource);",
        "permit (principal, action, resource == Skiff::Bukket::\"a\");",
        "permit (principal, action, resource) when { resource.key == \"a\" };",
        "permit (principal, action, resource is Skiff::Object) when { resource.owner == \"a\" };",
        "permit (principal, action, resource) when { resource.name > 3 };",
    ] {
        assert_eq!(line(&format!("{good}{good}{wrong}")), ("invalid", 3), "{wrong}");
    }
    assert_eq!(error("permit (principal == ?principal, action, resource);"), PolicyError::Template);
    let message =
        error(&format!("{good}permit (principal, action == Skiff::Action::\"bucket:get\", resource);"))
            .to_string();
    assert!(message.starts_with("line 2 of the policy can't be judged by: "), "{message}");
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(
        compiled(&[], Some("// nothing\n")).decide(AccessAction::BusPut, &resource(ResourceKind::Bus, "a")),
        Verdict::NotAllowed
    );
}

#[test]
fn a_policy_that_is_too_deep_is_refused_and_not_read() {
    let deep = |inside: &str| format!("permit (principal, action, resource) when {{ {inside} }};");
    for inside in [
        "(".repeat(10_000),
        "true && ".repeat(3_000),
        "if true then true else ".repeat(2_000),
        "!".repeat(20_000),
    ] {
        let error = Policy::compile(&role(&[], Some(&deep(&inside)))).unwrap_err();
        assert_eq!(error, PolicyError::TooDeep);
    }
    let long = format!("{}true", "true && ".repeat(240));
    let policy = compiled(&[], Some(&deep(&long)));
    assert_eq!(allowed_by(&policy, "bus:put a"), Some("policy 1 of its Cedar"));
    let nested = format!("{}true", "if true then true else ".repeat(480));
    compiled(&[], Some(&deep(&nested)));
}

#[test]
fn the_short_form_is_shown_as_cedar() {
    let shown = to_cedar(&role(&["bucket:read uploads", "table:* acc*/eu-*", "* *"], Some("// more\n")));
    let expected = r#"@grant("bucket:read uploads")
permit (
  principal == Skiff::Role::"thumbs",
  action == Skiff::Action::"bucket:read",
  resource in Skiff::Bucket::"uploads"
);

@grant("table:* acc*/eu-*")
permit (
  principal == Skiff::Role::"thumbs",
  action in [Skiff::Action::"table:read", Skiff::Action::"table:write"],
  resource
)
when { resource.name like "acc*" && ((resource is Skiff::Item && resource.key like "eu-*") || (resource is Skiff::Listing && resource.prefix like "eu-*")) };

@grant("* *")
permit (
  principal == Skiff::Role::"thumbs",
  action,
  resource
);

// more"#;
    assert_eq!(shown, expected);
}

/// Whether a pattern as it is written is of a text, by trying everything.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
        ['\\', char, rest @ ..] | [char, rest @ ..] => text.first() == Some(char) && naive(rest, &text[1..]),
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

/// Whether a grant as it is written allows something.
fn model(grant: &str, action: AccessAction, resource: &AccessResource) -> bool {
    let (wanted, of) = grant.split_once(' ').unwrap();
    let action = action.to_string();
    let is_of_action = wanted == "*"
        || wanted == action
        || wanted.strip_suffix('*').is_some_and(|kind| action.starts_with(kind));
    let (name, path) = of.split_once('/').map_or((of, None), |(name, path)| (name, Some(path)));
    let is_of_path = match (path, &resource.path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(path), Some(asked)) => {
            let stars = path
                .strip_suffix('*')
                .map(|rest| rest.chars().rev().take_while(|char| *char == '\\').count());
            let goes_on = stars.is_some_and(|escapes| escapes % 2 == 0);
            is_like(path, asked) && (goes_on || !resource.listing)
        }
    };
    is_of_action && is_like(name, resource.name.name.as_str()) && is_of_path
}

fn pieces(of: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(of), 0..=most).prop_map(|pieces| pieces.concat())
}

fn grants() -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec![
        "*",
        "bucket:*",
        "table:*",
        "bucket:read",
        "bucket:write",
        "table:read",
        "table:write",
    ]);
    let name = prop::sample::select(vec!["a", "ab", "b", "a*", "*b", "*", "*a*"]);
    let path = pieces(&["a", "b", "*", r"\*", r"\\", "\"", "/", "..", "%2f", "ä", "'", " ", "😀"], 5);
    (action, name, prop::option::of(path)).prop_map(|(action, name, path)| {
        match path.filter(|path| !path.is_empty()) {
            Some(path) => format!("{action} {name}/{path}"),
            None => format!("{action} {name}"),
        }
    })
}

fn questions() -> impl Strategy<Value = (AccessAction, AccessResource)> {
    let actions = vec![
        AccessAction::BucketRead,
        AccessAction::BucketWrite,
        AccessAction::TableRead,
        AccessAction::TableWrite,
    ];
    let name = prop::sample::select(vec!["a", "ab", "b", "c"]);
    let path = pieces(
        &["a", "b", "*", "\\", "\"", "/", "..", "%2f", "ä", "'", " ", "😀", "\n", "\0", "\r", "\u{200b}"],
        5,
    );
    let resource = (prop::sample::select(actions), name, prop::option::of(path), any::<bool>());
    resource.prop_map(|(action, name, path, listing)| {
        let listing = listing && path.is_some();
        let name = QualifiedName::new("default".parse().unwrap(), name.parse().unwrap());
        (action, AccessResource { kind: action.kind(), name, path, listing })
    })
}

proptest! {
    #[test]
    fn the_short_form_is_what_the_model_says(
        grants in prop::collection::vec(grants(), 0..4),
        questions in prop::collection::vec(questions(), 1..20),
    ) {
        let texts: Vec<&str> = grants.iter().map(String::as_str).collect();
        let policy = compiled(&texts, None);
        for (action, resource) in questions {
            let expected = texts.iter().find(|grant| model(grant, action, &resource));
            let verdict = policy.decide(action, &resource);
            let expected = expected.map_or(Verdict::NotAllowed, |by| Verdict::Allowed { by });
            prop_assert_eq!(verdict, expected, "{} {:?} by {:?}", action, resource, grants);
        }
    }

    #[test]
    fn the_grant_that_is_missing_allows_it((action, resource) in questions()) {
        let grant = Grant::of(action, &resource);
        prop_assert_eq!(grant.to_string().parse::<Grant>(), Ok(grant.clone()));
        let spec = RoleSpec { allow: vec![grant], ..role(&[], None) };
        let verdict = Policy::compile(&spec).unwrap().decide(action, &resource) == Verdict::NotAllowed;
        prop_assert!(!verdict, "{} {:?}", action, resource);
    }
}
