//! Records: what is written is read, and nothing else is.

use super::*;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,12}".prop_map(|text| Arc::from(text.as_str()))
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9]{0,5}".prop_map(|text| text.parse().unwrap())
}

fn event() -> impl Strategy<Value = BusEvent> {
    let resources = proptest::collection::vec(text(), 0..3);
    let extensions = proptest::collection::btree_map(text(), text(), 0..3);
    let who = (name(), name(), text(), text(), text(), any::<u64>());
    let what = (resources, proptest::option::of(text()), extensions, text(), proptest::option::of(text()));
    (who, what).prop_map(|(who, what)| {
        let (namespace, bus, id, source, detail_type, time_ms) = who;
        let (resources, subject, extensions, detail, order_key) = what;
        let namespace = namespace.as_str().parse().unwrap();
        BusEvent {
            namespace,
            bus,
            id,
            source,
            detail_type,
            time_ms,
            resources,
            subject,
            extensions,
            detail,
            order_key,
        }
    })
}

fn target() -> impl Strategy<Value = EventTarget> {
    let texts = || proptest::collection::btree_map("[a-z]{1,4}", "\\PC{0,8}", 0..3);
    let arguments = proptest::option::of(proptest::collection::vec("\\PC{0,8}", 0..3));
    let to = prop_oneof![
        (name(), proptest::option::of(any::<u32>()), arguments, texts()).prop_map(
            |(family, revision, arguments, environment)| {
                Destination::Task(TaskTarget { family, revision, arguments, environment })
            }
        ),
        (name(), text()).prop_map(|(service, path)| Destination::Service { service, path }),
        (name(), proptest::option::of(text())).prop_map(|(queue, group)| Destination::Queue { queue, group }),
        name().prop_map(|bus| Destination::Bus { bus }),
        Just(Destination::Webhook { url: "https://example.com/hook?key=1".parse().unwrap() }),
    ];
    let input = prop_oneof![
        Just(Input::Event),
        text().prop_map(Input::Path),
        text().prop_map(Input::Constant),
        (texts(), text()).prop_map(|(paths, text)| Input::Template(Template { paths, text })),
    ];
    let rest = (any::<u64>(), any::<u32>(), proptest::option::of(name()), any::<u32>(), any::<u64>());
    (name(), to, input, rest).prop_map(|(id, to, input, rest)| {
        let (age_ms, retries_max, dead_letter, concurrency, timeout_ms) = rest;
        let retry = RetryPolicy { age_max: Span::from_ms(age_ms), retries_max };
        let timeout = Span::from_ms(timeout_ms);
        EventTarget { id, to, input, retry, dead_letter, concurrency, timeout }
    })
}

proptest! {
    #[test]
    fn events_and_targets_are_read_as_they_were_written(event in event(), target in target()) {
        let packed = pack_event(&event);
        prop_assert_eq!(order_key(&packed).unwrap(), event.order_key.clone());
        prop_assert_eq!(unpack_event(&packed).unwrap(), event);
        let packed = pack_target(&target);
        prop_assert_eq!(&unpack_target(&packed).unwrap(), &target);
        // As it was packed when targets had no timeout.
        let timeout_bytes = postcard::to_stdvec(&target.timeout.ms()).unwrap().len();
        let before = unpack_target(&packed[..packed.len() - timeout_bytes]).unwrap();
        prop_assert_eq!(before, EventTarget { timeout: EventTarget::TIMEOUT, ..target });
    }

    #[test]
    fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = unpack_event(&bytes);
        let _ = unpack_target(&bytes);
        let versioned: Vec<u8> = std::iter::once(VERSION).chain(bytes).collect();
        let _ = decode(&versioned);
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let error = AttemptError::Refused("no such queue".to_owned());
    let planned = Planned {
        index: 3,
        is_schedule: true,
        origin: "default/nightly",
        target: Raw(b"packed target"),
        tries: 2,
        failure: Some(Failure::of(&error)),
    };
    let taken = Taken {
        number: 7,
        taken_at_ms: 1_800_000_000_000,
        key: SeenKey::of(&["1"]),
        stem: "abc",
        event: Raw(b"packed event"),
        deliveries: vec![planned],
    };
    let record = encode(&Entry::Taken(taken));
    let Entry::Taken(read) = decode(&record).unwrap() else { panic!("it is another record") };
    assert_eq!((read.number, read.taken_at_ms, read.stem), (7, 1_800_000_000_000, "abc"));
    assert_eq!((read.key, read.event.0), (SeenKey::of(&["1"]), &b"packed event"[..]));
    let [planned] = &read.deliveries[..] else { panic!("there is one delivery") };
    assert_eq!((planned.index, planned.is_schedule, planned.origin), (3, true, "default/nightly"));
    assert_eq!((planned.target.0, planned.tries), (&b"packed target"[..], 2));
    assert_eq!(planned.failure.unwrap().to_error(), error);
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    let error = AttemptError::Failed("ä".repeat(WHY_BYTES_MAX));
    let AttemptError::Failed(why) = Failure::of(&error).to_error() else { panic!("it is another kind") };
    assert_eq!(why, "ä".repeat(WHY_BYTES_MAX / 2));
}

#[test]
fn what_a_newer_version_wrote_is_refused() {
    let mut record = encode(&Entry::Over(Over { number: 1, index: 0 })).to_vec();
    record[0] = VERSION + 1;
    assert!(matches!(decode(&record), Err(RecordError::Version(version)) if version == VERSION + 1));
    assert!(matches!(decode(&[]), Err(RecordError::Empty)));
}
