//! Random operations on buckets, and on a map that stands for them.

use super::*;
use proptest::prelude::*;
use skiff_ports::buckets::{LIST_MAX, ObjectList, ObjectPage};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Step {
    Put { key: String, size: usize, seed: u8, expect: Expecting },
    Copy { from: String, to: String },
    Delete { key: String, expect: Expecting },
    Get { key: String, range: Option<(u64, Option<u64>)> },
    List { prefix: String, delimiter: Option<String>, after: Option<String>, max: u32 },
    Reopen,
}

/// What a write expects, in words of the model.
#[derive(Debug, Clone, Copy)]
enum Expecting {
    Any,
    Absent,
    /// What is there, if there is something.
    Right,
    Wrong,
}

fn key() -> impl Strategy<Value = String> {
    "[ab/ü]{1,4}"
}

fn expecting() -> impl Strategy<Value = Expecting> {
    prop_oneof![
        4 => Just(Expecting::Any),
        1 => Just(Expecting::Absent),
        1 => Just(Expecting::Right),
        1 => Just(Expecting::Wrong),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0_usize..20, 16_380_usize..16_390, 32_760_usize..32_780, 60_000_usize..60_010];
    let range = prop::option::of((0_u64..70_000, prop::option::of(0_u64..70_000)));
    let text = || prop_oneof![Just(String::new()), "[ab/ü]{1,3}"];
    prop_oneof![
        8 => (key(), size, any::<u8>(), expecting())
            .prop_map(|(key, size, seed, expect)| Step::Put { key, size, seed, expect }),
        2 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
        3 => (key(), expecting()).prop_map(|(key, expect)| Step::Delete { key, expect }),
        3 => (key(), range).prop_map(|(key, range)| Step::Get { key, range }),
        4 => (text(), prop::option::of(text()), prop::option::of(key()), 0_u32..5)
            .prop_map(|(prefix, delimiter, after, max)| Step::List { prefix, delimiter, after, max }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    objects: BTreeMap<String, Vec<u8>>,
    /// Keys that were written or deleted, and with which size.
    events: Vec<(String, Option<u64>)>,
}

impl Model {
    fn etag(&self, key: &str) -> Option<String> {
        self.objects.get(key).map(|content| hex::encode(md5(content)))
    }

    fn expect(&self, key: &str, expecting: Expecting) -> ObjectExpect {
        match expecting {
            Expecting::Any => ObjectExpect::Any,
            Expecting::Absent => ObjectExpect::Absent,
            Expecting::Right => ObjectExpect::ETag(self.etag(key).unwrap_or_default()),
            Expecting::Wrong => ObjectExpect::ETag("another".to_owned()),
        }
    }

    fn allows(&self, key: &str, expecting: Expecting) -> bool {
        let is_there = self.objects.contains_key(key);
        match expecting {
            Expecting::Any => true,
            Expecting::Absent => !is_there,
            Expecting::Right => is_there,
            Expecting::Wrong => false,
        }
    }

    fn put(&mut self, key: String, content: Vec<u8>) {
        self.events.push((key.clone(), Some(content.len() as u64)));
        self.objects.insert(key, content);
    }

    /// All keys and common prefixes of a listing, without pages.
    fn list(&self, prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> BTreeSet<(String, bool)> {
        let told = self.objects.keys().filter_map(|key| {
            let rest = key.strip_prefix(prefix)?;
            let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
            let common = delimiter.and_then(|delimiter| Some((rest.find(delimiter)?, delimiter.len())));
            Some(match common {
                Some((at, bytes)) => (key[..prefix.len() + at + bytes].to_owned(), true),
                None => (key.clone(), false),
            })
        });
        told.filter(|(text, _)| after.is_none_or(|after| text.as_str() > after)).collect()
    }
}

fn told(page: &ObjectPage) -> BTreeSet<(String, bool)> {
    let objects = page.objects.iter().map(|info| (info.key.clone(), false));
    objects.chain(page.common_prefixes.iter().map(|prefix| (prefix.clone(), true))).collect()
}

/// Lists page by page, and all at once.
async fn check_list(buckets: &Buckets, model: &Model, list: ObjectList) {
    let expected = model.list(&list.prefix, list.delimiter.as_deref(), list.after.as_deref());
    let whole = buckets.list(bucket(1), ObjectList { max: LIST_MAX, ..list.clone() }).await.unwrap();
    assert_eq!((told(&whole), &whole.next), (expected.clone(), &None), "{list:?}");
    if list.max == 0 {
        assert_eq!(buckets.list(bucket(1), list).await.unwrap(), ObjectPage::default());
        return;
    }
    let mut seen = BTreeSet::new();
    let mut next = list.clone();
    loop {
        let page = buckets.list(bucket(1), next.clone()).await.unwrap();
        let some = told(&page);
        assert!(some.len() <= list.max as usize && some.is_disjoint(&seen), "{next:?}: {page:?}");
        seen.extend(some);
        match page.next {
            Some(after) => next.after = Some(after),
            None => break,
        }
    }
    assert_eq!(seen, expected, "{list:?} by pages");
}

async fn check_range(buckets: &Buckets, model: &Model, key: &str, range: Option<(u64, Option<u64>)>) {
    let asked = range.map(|(first, last)| ByteRange::From(first, last));
    let given = get(buckets, key, asked).await;
    match (model.objects.get(key), range) {
        (None, _) => assert!(matches!(given, Err(BucketError::NoObject(_)))),
        (Some(content), None) => assert_eq!(&given.unwrap(), content),
        (Some(content), Some((first, last))) => {
            let size = content.len() as u64;
            let end = last.map_or(size, |last| (last + 1).min(size));
            if first < end {
                assert_eq!(given.unwrap(), content[first as usize..end as usize]);
            } else {
                assert!(matches!(given, Err(BucketError::Range { size: said }) if said == size));
            }
        }
    }
}

async fn run(fixture: Fixture, steps: Vec<Step>) {
    let mut buckets = fixture.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put { key, size, seed, expect } => {
                let content = bytes(size, seed);
                let put = ObjectPut { expect: model.expect(&key, expect), ..put_of(&key) };
                let done = buckets.put(put, body(&content)).await;
                assert_eq!(done.is_ok(), model.allows(&key, expect), "{key} {expect:?}: {done:?}");
                if done.is_ok() {
                    model.put(key, content);
                }
            }
            Step::Copy { from, to } => {
                let copied = buckets.copy(&object(&from), ObjectExpect::Any, put_of(&to), true).await;
                assert_eq!(copied.is_ok(), model.objects.contains_key(&from), "{copied:?}");
                if let Some(content) = model.objects.get(&from).cloned() {
                    model.put(to, content);
                }
            }
            Step::Delete { key, expect } => {
                let expected = model.expect(&key, expect);
                let done = buckets.delete(&object(&key), expected, by("DeleteObject")).await;
                assert_eq!(done.is_ok(), model.allows(&key, expect), "{key} {expect:?}: {done:?}");
                if let Ok(was_there) = done {
                    assert_eq!(was_there, model.objects.remove(&key).is_some());
                    if was_there {
                        model.events.push((key, None));
                    }
                }
            }
            Step::Get { key, range } => check_range(&buckets, &model, &key, range).await,
            Step::List { prefix, delimiter, after, max } => {
                check_list(&buckets, &model, ObjectList { prefix, delimiter, after, max }).await;
            }
            Step::Reopen => {
                buckets.close().await.unwrap();
                buckets = fixture.open();
            }
        }
    }
    check_end(&fixture, &buckets, &model).await;
}

async fn check_end(fixture: &Fixture, buckets: &Buckets, model: &Model) {
    let stats = buckets.stats(bucket(1)).await.unwrap();
    let bytes = model.objects.values().map(|content| content.len() as u64).sum::<u64>();
    assert_eq!((stats.objects, stats.bytes), (model.objects.len() as u64, bytes));

    let mut events = Vec::new();
    while events.len() < model.events.len() {
        let some = buckets.events(0, 3).await.unwrap();
        buckets.forget_events(some.iter().map(|(number, _)| *number).collect()).await.unwrap();
        events.extend(some.into_iter().map(|(_, event)| event));
    }
    assert!(events.is_sorted_by(|one, next| one.sequencer < next.sequencer));
    let left = events.into_iter().map(|event| (event.object.key, event.created.map(|(size, _)| size)));
    assert_eq!(left.collect::<Vec<_>>(), model.events);

    for key in model.objects.keys() {
        buckets.delete(&object(key), ObjectExpect::Any, by("DeleteObject")).await.unwrap();
    }
    collect(buckets).await;
    collector::delete_left(&buckets.core).await;
    assert_eq!(fixture.count().await, 0, "blobs are left that nobody names");
    assert!(buckets.buckets().await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn buckets_are_as_a_map(steps in prop::collection::vec(step(), 1..40), is_remote in any::<bool>()) {
        let fixture = if is_remote { Fixture::in_memory() } else { Fixture::on_folder() };
        tokio::runtime::Runtime::new().unwrap().block_on(run(fixture, steps));
    }
}
