//! What was charged is in the sums, however it is folded, and whatever the process did in between.

use super::*;
use rusqlite::Connection;
use skiff_types::{Group, TaskId};
use tempfile::TempDir;

const MINUTE_MS: u64 = Grain::Minute.span_ms();
const HOUR_MS: u64 = Grain::Hour.span_ms();
const DAY_MS: u64 = Grain::Day.span_ms();

struct World {
    folder: TempDir,
    log: SqliteUsage,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteUsage::open(&folder.path().join("usage.db")).unwrap();
        Self { folder, log }
    }

    /// The same file, opened anew.
    fn again(self) -> Self {
        let Self { folder, log } = self;
        drop(log);
        let log = SqliteUsage::open(&folder.path().join("usage.db")).unwrap();
        Self { folder, log }
    }

    async fn read(&self, since_ms: Option<u64>, by_task: bool) -> UsageSums {
        let mut sums = self.log.read(UsageQuery { since_ms, by_task }).await.unwrap();
        sums.charges.sort_by_key(|charge| columns(&charge.account));
        sums
    }

    async fn requests(&self, since_ms: Option<u64>) -> u64 {
        self.read(since_ms, false).await.charges.iter().map(|charge| charge.used.requests).sum()
    }

    /// How many rows the table has.
    async fn rows(&self) -> u32 {
        let count = |transaction: &Transaction<'_>| {
            transaction.query_row("SELECT count(*) FROM used", [], |row| row.get(0))
        };
        self.log.file.transact(count).await.unwrap()
    }
}

fn task(number: u64) -> TaskId {
    TaskId::from_parts(number, [7; 10])
}

fn charged(account: Account, requests: u64) -> Charge {
    let used = Usage {
        requests,
        cpu_ns: requests * 1_000,
        memory_kib_ms: requests * 3,
        received_bytes: requests * 5,
        sent_bytes: requests * 7,
        cold_starts: requests * 2,
    };
    Charge { account, used }
}

fn of(group: &str, task: Option<TaskId>) -> Account {
    Account::Group { namespace: Default::default(), group: group.parse::<Group>().unwrap(), task }
}

fn fold(from: Grain, to: Grain, before_ms: u64) -> Vec<Fold> {
    vec![Fold { from, to, before_ms }]
}

#[tokio::test]
async fn charges_add_up_by_group_and_by_task_over_a_restart() {
    let world = World::new();
    let charges = |number| {
        vec![
            charged(of("service:a", Some(task(number))), number),
            charged(of("family:a", Some(task(9))), 10),
            charged(Account::Platform, 100),
        ]
    };
    world.log.add(0, charges(1)).await.unwrap();
    world.log.add(MINUTE_MS, charges(2)).await.unwrap();
    let world = world.again();
    world.log.add(MINUTE_MS, charges(2)).await.unwrap();
    let sums = world.read(None, false).await;
    let expected = [
        charged(Account::Platform, 300),
        charged(of("family:a", None), 30),
        charged(of("service:a", None), 5),
    ];
    assert_eq!(sums.charges, expected);
    let by_task = world.read(None, true).await.charges;
    assert!(by_task.contains(&charged(of("service:a", Some(task(2))), 4)), "{by_task:?}");
    assert_eq!(by_task.len(), 4);
}

#[tokio::test]
async fn a_sum_since_a_moment_begins_with_the_record_that_it_falls_into() {
    let world = World::new();
    let at = |ms: u64| 100 * DAY_MS * 365 + ms;
    for minute in 0..3 {
        let charges = vec![charged(Account::Platform, 1)];
        world.log.add(at(minute * MINUTE_MS), charges).await.unwrap();
    }
    let sums = world.read(Some(at(MINUTE_MS + 1)), false).await;
    assert_eq!((sums.from_ms, sums.charges[0].used.requests), (at(MINUTE_MS), 2));
    let sums = world.read(Some(at(HOUR_MS)), false).await;
    assert_eq!((sums.from_ms, sums.charges.len()), (at(HOUR_MS), 0), "nothing was used since");
    assert_eq!(world.requests(None).await, 3);
}

#[tokio::test]
async fn folding_changes_no_sum_and_tells_less_apart() {
    let world = World::new();
    for minute in 0..120 {
        let charges = (0..3).map(|number| charged(of("service:a", Some(task(number))), 1 + number));
        let charges = charges.chain([charged(Account::Platform, 50)]).collect();
        world.log.add(minute * MINUTE_MS, charges).await.unwrap();
    }
    assert_eq!(world.rows().await, 120 * 4);
    let whole = world.read(None, false).await;

    world.log.fold(fold(Grain::Minute, Grain::Hour, HOUR_MS)).await.unwrap();
    assert_eq!(world.rows().await, 4 + 60 * 4);
    assert_eq!(world.read(None, false).await, whole);
    assert_eq!(world.read(None, true).await.charges.len(), 4, "tasks are told apart");
    let world = world.again();
    world.log.fold(fold(Grain::Minute, Grain::Hour, 2 * HOUR_MS)).await.unwrap();
    world.log.fold(fold(Grain::Minute, Grain::Hour, 2 * HOUR_MS)).await.unwrap();
    assert_eq!(world.requests(Some(HOUR_MS)).await, 60 * (6 + 50));

    world.log.fold(fold(Grain::Hour, Grain::Day, DAY_MS)).await.unwrap();
    assert_eq!(world.rows().await, 2);
    assert_eq!(world.read(None, false).await, whole);
    assert_eq!(world.read(None, true).await.charges.len(), 2, "tasks are not told apart any more");

    world.log.fold(fold(Grain::Day, Grain::Ever, DAY_MS)).await.unwrap();
    let sums = world.read(None, false).await;
    assert_eq!(sums.charges, [charged(Account::Earlier, 120 * 6), charged(Account::Platform, 120 * 50)]);
    assert_eq!(world.requests(Some(1)).await, 0, "it is before every moment");
}

#[tokio::test]
async fn what_is_charged_late_is_added_to_what_was_folded() {
    let world = World::new();
    for requests in [1, 2] {
        world.log.add(5, vec![charged(of("service:a", Some(task(1))), requests)]).await.unwrap();
        world.log.fold(fold(Grain::Minute, Grain::Hour, HOUR_MS)).await.unwrap();
    }
    assert_eq!((world.rows().await, world.requests(None).await), (1, 3));
}

#[tokio::test]
async fn a_flood_of_tasks_is_summed_up_beyond_a_bound() {
    let world = World::new();
    let most = u64::from(TASKS_PER_GROUP_MAX);
    let flood =
        |from: u64| (from..from + most + 5).map(|number| charged(of("family:job", Some(task(number))), 1));
    world.log.add(0, flood(0).collect()).await.unwrap();
    assert_eq!(u64::from(world.rows().await), most + 1);
    world.log.add(MINUTE_MS, flood(most + 5).collect()).await.unwrap();
    world.log.fold(fold(Grain::Minute, Grain::Hour, HOUR_MS)).await.unwrap();
    assert!(u64::from(world.rows().await) <= most + 1);
    assert_eq!(world.requests(None).await, 2 * (most + 5));
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteUsage::open(&path).map(drop);
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 99, known: 1 })), "{refused:?}");
}
