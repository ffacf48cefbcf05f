//! What was recorded is read as it was, in its order, by any filter, over a restart, with the marks of those it is about; and the
//! space is bounded, without what is still to be read.

use super::*;
use skiff_types::{
    AlarmMoment, AlarmState, AlarmStateChange, DeploymentEventName, DeploymentStateChange, EventDetail,
    EventId, EventType, Group, Health, Name, Resource, ScalingActivity, ServiceAction, ServiceActionName,
    StopCode, StoppedReason, TaskId, TaskStateChange, TaskStatus,
};
use tempfile::TempDir;

fn journal(folder: &TempDir) -> SqliteJournal {
    SqliteJournal::open(&folder.path().join("events.db")).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn task(number: u64) -> TaskId {
    TaskId::from_parts(number, [3; 10])
}

fn details() -> [EventDetail; 5] {
    let moment = |state, since_ms| AlarmMoment { state, reason: "it was".to_owned(), since_ms };
    [
        EventDetail::TaskStateChange(TaskStateChange {
            task: task(1),
            group: Group::Service(name("web")),
            definition: "web:3".parse().unwrap(),
            status: TaskStatus::Stopped,
            health: Health::Unhealthy,
            stop: Some(StoppedReason { code: StopCode::Trapped, message: "it trapped".to_owned() }),
            exit_code: Some(-1),
            created_at_ms: 1,
            started_at_ms: Some(2),
            stopped_at_ms: None,
        }),
        EventDetail::DeploymentStateChange(DeploymentStateChange {
            deployment: "0193f0c5c0007000800000005e8f01b2".to_owned(),
            name: DeploymentEventName::Failed,
            reason: "three tasks failed".to_owned(),
        }),
        EventDetail::ServiceAction(ServiceAction { name: ServiceActionName::SteadyState }),
        EventDetail::AlarmStateChange(AlarmStateChange {
            alarm: name("high"),
            before: moment(AlarmState::InsufficientData, 1),
            after: moment(AlarmState::Ok, 2),
        }),
        EventDetail::ScalingActivity(ScalingActivity {
            before: 2,
            after: 40,
            min: 1,
            max: 40,
            began_at_ms: 5,
            ended_at_ms: 6,
            cause: "requests per target were 400".to_owned(),
        }),
    ]
}

/// Events of all types, services and namespaces in turn; what happened may be recorded a little later.
fn events(count: u64) -> Vec<Event> {
    let mut last = None;
    let event = |number: u64| {
        let id = EventId::following(last, 1_000 + number / 3, [number as u8; 8]);
        last = Some(id);
        let namespace: skiff_types::Namespace = ["default", "shop"][number as usize % 2].parse().unwrap();
        let service =
            skiff_types::QualifiedName::new(namespace.clone(), name(["a", "b", "c"][number as usize % 3]));
        let mut resources = vec![Resource::Service(service)];
        if number.is_multiple_of(4) {
            resources.insert(0, Resource::Task(namespace.clone(), task(number % 8)));
        }
        Event {
            id,
            at_ms: 1_000 + number / 3 - number % 2,
            namespace,
            resources,
            message: format!("number {number}, \"quoted\""),
            detail: details()[number as usize % 5].clone(),
        }
    };
    (0..count).map(event).collect()
}

fn takes(filter: &EventFilter, event: &Event) -> bool {
    filter.namespace.as_ref().is_none_or(|namespace| *namespace == event.namespace)
        && (filter.services.is_empty() || filter.services.iter().any(|one| Some(one) == event.service()))
        && filter.task.is_none_or(|task| Some(task) == event.task())
        && (filter.types.is_empty() || filter.types.contains(&event.detail.event_type()))
        && filter.since_ms.is_none_or(|since_ms| since_ms <= event.at_ms)
}

fn all() -> JournalQuery {
    JournalQuery { after: None, filter: EventFilter::default(), take: Take::Oldest(u32::MAX) }
}

/// Each of another object.
fn told(events: &[Event]) -> Vec<Note> {
    let note = |event: &Event| Note::Told {
        object: object(&event.id.to_string()),
        mark: Mark(event.at_ms),
        events: vec![event.clone()],
    };
    events.iter().map(note).collect()
}

fn object(name: &str) -> Key {
    Key::new(["task", name]).unwrap()
}

/// To forget what is too old or too much, where all was read.
fn read(before_ms: u64, events_max: u32) -> Forget {
    let read_to = Some(EventId::following(None, 1 << 40, [0; 8]));
    Forget { before_ms, events_max, read_to, unread_max: 0 }
}

#[tokio::test]
async fn every_type_of_event_comes_back_as_it_was_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(60);
    for batch in events.chunks(7) {
        journal(&folder).append(told(batch)).await.unwrap();
    }
    assert_eq!(journal(&folder).read(all()).await.unwrap(), events);
}

#[tokio::test]
async fn a_filter_takes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, events) = (journal(&folder), events(120));
    journal.append(told(&events)).await.unwrap();
    let none = EventFilter::default;
    let filters = [
        none(),
        EventFilter { namespace: Some("shop".parse().unwrap()), ..none() },
        EventFilter { services: vec![name("b")], ..none() },
        EventFilter { services: vec![name("c"), name("a"), name("nobody")], ..none() },
        EventFilter { task: Some(task(4)), ..none() },
        EventFilter { types: vec![EventType::Alarm], ..none() },
        EventFilter { types: vec![EventType::Scaling, EventType::Task], ..none() },
        EventFilter { since_ms: Some(1_020), ..none() },
        EventFilter { since_ms: Some(u64::MAX), ..none() },
        EventFilter {
            namespace: Some("default".parse().unwrap()),
            services: vec![name("a")],
            types: vec![EventType::Task],
            since_ms: Some(1_005),
            task: None,
        },
    ];
    for filter in filters {
        for after in [None, Some(events[50].id), Some(events[119].id)] {
            let such = events.iter().filter(|event| Some(event.id) > after && takes(&filter, event));
            let such: Vec<Event> = such.cloned().collect();
            for most in [0, 3, 1_000] {
                let count = such.len().min(most as usize);
                let query = |take| JournalQuery { after, filter: filter.clone(), take };
                let oldest = journal.read(query(Take::Oldest(most))).await.unwrap();
                assert_eq!(oldest, such[..count], "{filter:?} after {after:?}");
                let newest = journal.read(query(Take::Newest(most))).await.unwrap();
                assert_eq!(newest, such[such.len() - count..], "{filter:?} after {after:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_old_and_the_too_many_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, events) = (journal(&folder), events(90));
    journal.append(told(&events)).await.unwrap();
    journal.forget(read(0, 90)).await.unwrap();
    assert_eq!(journal.read(all()).await.unwrap(), events, "nothing is too old, nor too much");
    journal.forget(read(1_010, 90)).await.unwrap();
    let young: Vec<Event> = events.into_iter().filter(|event| event.at_ms >= 1_010).collect();
    assert_eq!(journal.read(all()).await.unwrap(), young);
    journal.forget(read(0, 5)).await.unwrap();
    assert_eq!(journal.read(all()).await.unwrap(), young[young.len() - 5..]);
    journal.forget(read(0, 0)).await.unwrap();
    assert!(journal.read(all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, events) = (journal(&folder), events(4));
    journal.append(told(&events[3..])).await.unwrap();
    assert!(journal.append(told(&events)).await.is_err(), "the last of them is there already");
    assert_eq!(journal.read(all()).await.unwrap(), events[3..]);
    assert_eq!(
        journal.marks().await.unwrap().objects.len(),
        1,
        "a mark is there with its events or not at all"
    );
}

#[tokio::test]
async fn marks_are_new_until_something_is_noted_and_go_with_their_objects() {
    let folder = tempfile::tempdir().unwrap();
    let marks = || async { journal(&folder).marks().await.unwrap() };
    assert_eq!(marks().await, Marks { are_new: true, ..Marks::default() });
    journal(&folder).append(vec![]).await.unwrap();
    assert_eq!(marks().await, Marks::default());
    let tell = |name, mark| Note::Told { object: object(name), mark: Mark(mark), events: vec![] };
    let notes = vec![tell("a", 1), tell("b", u64::MAX), tell("c", 3), tell("a", 4)];
    journal(&folder).append(notes).await.unwrap();
    journal(&folder).append(vec![Note::Gone { object: object("c") }]).await.unwrap();
    let known = [(object("a"), Mark(4)), (object("b"), Mark(u64::MAX))];
    assert_eq!(marks().await.objects, std::collections::HashMap::from(known));
    journal(&folder).sync().await.unwrap();
}

#[tokio::test]
async fn a_journal_of_before_there_were_marks_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, events) = (folder.path().join("events.db"), events(3));
    let old = LogFile::open(&path, &MIGRATIONS[..2], &Tuning::default()).unwrap();
    for event in events.clone() {
        old.transact_here(|transaction| append_event(transaction, event)).unwrap();
    }
    drop(old);
    let journal = journal(&folder);
    assert_eq!(journal.marks().await.unwrap(), Marks { are_new: true, ..Marks::default() });
    assert_eq!(journal.read(all()).await.unwrap(), events);
}

#[tokio::test]
async fn what_is_still_to_be_read_stays_and_what_is_too_much_of_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, events) = (journal(&folder), events(90));
    journal.append(told(&events)).await.unwrap();
    let all_too_old = Forget { read_to: None, unread_max: 90, ..read(u64::MAX, 0) };
    assert_eq!(journal.forget(all_too_old).await.unwrap(), 0);
    assert_eq!(journal.read(all()).await.unwrap(), events, "nothing was read");
    let read_to = Some(events[29].id);
    assert_eq!(journal.forget(Forget { read_to, unread_max: 60, ..all_too_old }).await.unwrap(), 0);
    assert_eq!(journal.read(all()).await.unwrap(), events[30..]);
    assert_eq!(journal.forget(Forget { read_to, unread_max: 45, ..read(0, 90) }).await.unwrap(), 15);
    assert_eq!(journal.read(all()).await.unwrap(), events[45..], "the oldest of what is too much");
    let read_to = Some(events[89].id);
    assert_eq!(journal.forget(Forget { read_to, unread_max: 0, ..read(0, 5) }).await.unwrap(), 0);
    assert_eq!(journal.read(all()).await.unwrap(), events[85..]);
}

#[tokio::test]
async fn what_is_still_to_be_read_pushes_nothing_out_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, events) = (journal(&folder), events(90));
    journal.append(told(&events)).await.unwrap();
    let behind = Forget { read_to: Some(events[19].id), unread_max: 90, ..read(0, 20) };
    assert_eq!(journal.forget(behind).await.unwrap(), 0);
    assert_eq!(journal.read(all()).await.unwrap(), events, "no more than may be were read");
    // One of each of six services.
    assert_eq!(journal.forget(Forget { events_max: 6, ..behind }).await.unwrap(), 0);
    assert_eq!(journal.read(all()).await.unwrap(), events[14..]);
}

#[tokio::test]
async fn a_noisy_service_pushes_no_other_out() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder);
    let events = events(600);
    let is_noisy = |event: &Event| event.service() == Some(&name("a")) && event.namespace.as_str() == "shop";
    // The others came first, and seldom.
    let (noisy, quiet): (Vec<Event>, Vec<Event>) = events.into_iter().partition(is_noisy);
    let quiet: Vec<Event> = quiet.into_iter().take(20).collect();
    let mut all_of_them: Vec<Event> = quiet.iter().chain(&noisy).cloned().collect();
    all_of_them.sort_by_key(|event| event.id);
    journal.append(told(&all_of_them)).await.unwrap();
    journal.forget(read(0, 50)).await.unwrap();
    let (kept, left): (Vec<Event>, Vec<Event>) =
        journal.read(all()).await.unwrap().into_iter().partition(is_noisy);
    assert_eq!(left, quiet);
    assert_eq!(kept, noisy[noisy.len() - 30..]);
}
