//! The bill: takes what was used from the node, and keeps it in the usage log.
//!
//! What always holds: a charge that the node handed over is either in the log or here, and counted once; one that could
//! not be written is written with the next.

use crate::meters::Meters;
use skiff_ports::store::StoreError;
use skiff_ports::usage::{Fold, UsageLog, UsageQuery, UsageSums};
use skiff_types::{Account, Charge, Usage};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Accounts that wait to be written; where the disk fails for so long that there are more, tasks are not told apart.
const PENDING_MAX: usize = 50_000;

/// What was used, on its way to the log.
pub(crate) struct Bill {
    meters: Arc<dyn Meters>,
    log: Arc<dyn UsageLog>,
    taken: Mutex<Taken>,
    /// Held from before charges are taken until they are in the log, so that who reads the log after misses none.
    writing: tokio::sync::Mutex<()>,
}

/// What the node handed over.
#[derive(Default)]
struct Taken {
    pending: HashMap<Account, Usage>,
    since_start: SinceStart,
}

/// What was used since this process started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SinceStart {
    /// By the platform itself.
    pub(crate) platform: Usage,
    /// By the platform and all tasks.
    pub(crate) total: Usage,
}

impl Bill {
    pub(crate) fn new(meters: Arc<dyn Meters>, log: Arc<dyn UsageLog>) -> Self {
        Self { meters, log, taken: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// Takes what was used since, and says what it all comes to since this process started.
    pub(crate) fn since_start(&self) -> SinceStart {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.add(self.meters.charges());
        taken.since_start
    }

    /// Writes what was used up to now into the record of `now_ms`.
    pub(crate) async fn record(&self, now_ms: u64) -> Result<(), StoreError> {
        let _alone = self.writing.lock().await;
        let pending = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.add(self.meters.charges());
            std::mem::take(&mut taken.pending)
        };
        let charge = |(account, used): (&Account, &Usage)| Charge { account: account.clone(), used: *used };
        let written = self.log.add(now_ms, pending.iter().map(charge).collect()).await;
        if written.is_err() {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            pending.into_iter().for_each(|(account, used)| taken.put(account, used));
        }
        written
    }

    /// Makes coarser records of old ones.
    pub(crate) async fn fold(&self, now_ms: u64) -> Result<(), StoreError> {
        let folds = skiff_plan::usage::folds(now_ms);
        self.log.fold(folds.map(|(from, to, before_ms)| Fold { from, to, before_ms }).to_vec()).await
    }

    /// The sums of what was used, up to now.
    pub(crate) async fn read(&self, now_ms: u64, query: UsageQuery) -> Result<UsageSums, StoreError> {
        self.record(now_ms).await?;
        self.log.read(query).await
    }
}

impl Taken {
    fn add(&mut self, charges: Vec<Charge>) {
        for Charge { account, used } in charges.into_iter().filter(|charge| !charge.used.is_zero()) {
            self.since_start.total += used;
            if account == Account::Platform {
                self.since_start.platform += used;
            }
            self.put(account, used);
        }
    }

    fn put(&mut self, account: Account, used: Usage) {
        let has_room = self.pending.len() < PENDING_MAX || self.pending.contains_key(&account);
        let account = if has_room { account } else { account.of_all_tasks() };
        *self.pending.entry(account).or_default() += used;
    }
}
