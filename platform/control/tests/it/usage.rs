//! The bill: what the node handed over is on the disk without being asked for, once, whatever fails in between.

use crate::fixture::{Disk, Platform, until};
use async_trait::async_trait;
use skiff_api::UsageQuery;
use skiff_ports::store::StoreError;
use skiff_ports::usage::{Fold, UsageLog, UsageSums};
use skiff_types::{Account, Charge, TaskId, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn charge(service: &str, requests: u64) -> Charge {
    let account = Account::Group {
        namespace: Default::default(),
        group: format!("service:{service}").parse().unwrap(),
        task: Some(TaskId::from_parts(requests, [1; 10])),
    };
    Charge { account, used: Usage { requests, cpu_ns: requests * 1_000_000_000, ..Usage::default() } }
}

fn platform_charge(cpu_ns: u64) -> Charge {
    Charge { account: Account::Platform, used: Usage { cpu_ns, ..Usage::default() } }
}

async fn recorded(log: &dyn UsageLog) -> u64 {
    let sums = log.read(skiff_ports::usage::UsageQuery::default()).await.unwrap();
    sums.charges.iter().map(|charge| charge.used.requests).sum()
}

#[tokio::test]
async fn a_report_has_all_up_to_now_and_adds_up() {
    let platform = Platform::start().await;
    let set = |charges| *platform.meters.1.lock().unwrap() = charges;
    set(vec![charge("a", 1), charge("a", 2), charge("b", 4), platform_charge(500_000_000)]);
    let report = platform.client.usage(&UsageQuery::default()).await.unwrap();
    let listed: Vec<_> =
        report.items.iter().map(|item| (item.group.to_string(), item.used.cpu_seconds)).collect();
    assert_eq!(listed, [("service:b".to_owned(), 4.0), ("service:a".to_owned(), 3.0)]);
    assert_eq!((report.platform.cpu_seconds, report.total.cpu_seconds), (0.5, 7.5));
    assert!(report.from_ms <= report.until_ms);

    set(vec![charge("a", 8)]);
    let query = UsageQuery {
        service: Some("a".parse().unwrap()),
        by_task: Some(true),
        since_ms: Some(report.until_ms - 1_000),
        ..UsageQuery::default()
    };
    let report = platform.client.usage(&query).await.unwrap();
    assert_eq!(report.items.iter().map(|item| item.used.requests).collect::<Vec<_>>(), [8, 2, 1]);
    assert_eq!((report.others.requests, report.total.requests), (4, 15));

    let text = reqwest::get(format!("http://{}/metrics", platform.handle.api())).await.unwrap();
    let text = text.text().await.unwrap();
    for line in ["skiff_node_cpu_seconds_total 15.5", "skiff_platform_cpu_seconds_total 0.5"] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_was_used_is_written_down_unasked_and_in_the_end() {
    let platform = Platform::start().await;
    let (usage, meters) = (platform.disk.usage.clone(), platform.meters.clone());
    *meters.1.lock().unwrap() = vec![charge("a", 1)];
    until("the charge is on the disk", || async { (recorded(&*usage).await == 1).then_some(()) }).await;
    *meters.1.lock().unwrap() = vec![charge("a", 2)];
    platform.stop().await;
    assert_eq!(recorded(&*usage).await, 3);
}

/// A log whose disk fails while it is told to.
struct Failing {
    log: Arc<dyn UsageLog>,
    fails: AtomicBool,
}

#[async_trait]
impl UsageLog for Failing {
    async fn add(&self, at_ms: u64, charges: Vec<Charge>) -> Result<(), StoreError> {
        match self.fails.load(SeqCst) {
            true => Err(StoreError::Storage("the disk is full".into())),
            false => self.log.add(at_ms, charges).await,
        }
    }

    async fn fold(&self, folds: Vec<Fold>) -> Result<(), StoreError> {
        self.log.fold(folds).await
    }

    async fn read(&self, query: skiff_ports::usage::UsageQuery) -> Result<UsageSums, StoreError> {
        self.log.read(query).await
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_with_the_next() {
    let disk = Disk::new();
    let log = disk.usage.clone();
    let failing = Arc::new(Failing { log: log.clone(), fails: AtomicBool::new(true) });
    let platform = Platform::start_on(Disk { usage: failing.clone(), ..disk }).await;
    *platform.meters.1.lock().unwrap() = vec![charge("a", 1)];
    platform.client.usage(&UsageQuery::default()).await.unwrap_err();
    assert_eq!(recorded(&*log).await, 0);
    failing.fails.store(false, SeqCst);
    *platform.meters.1.lock().unwrap() = vec![charge("a", 2)];
    let report = platform.client.usage(&UsageQuery::default()).await.unwrap();
    assert_eq!((report.total.requests, recorded(&*log).await), (3, 3));
}
