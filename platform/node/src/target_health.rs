//! How the targets of a target group are, read from the ledger: there the workers write down what their checks found, and
//! what requests showed. An address that has left is among them for as long as something goes on at its meter.
//!
//! It deliberately checks nobody and asks no worker; what the words in the ledger mean is `plan`'s to say. Reading makes no
//! memory in the ledger.

use crate::node::Shared;
use crate::world::{Place, Targets};
use skiff_ledger::{Ledger, TargetState};
use skiff_plan::outlier;
use skiff_plan::target_health::{Judge, told, unaccounted};
use skiff_ports::runtime::TargetReading;
use skiff_types::{QualifiedName, TargetHealth};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Shared {
    /// The targets of a group, each as it is at present.
    pub(crate) fn target_health(&self, group: &QualifiedName) -> Vec<TargetReading> {
        let targets = {
            // Both as of one moment, so that no address has left and is there.
            let world = self.world.lock().expect("no holder panics");
            let draining = self.meters.lock().expect("no holder panics").draining(group);
            world.targets(group).and_leaving(draining)
        };
        read(&self.ledger, &targets)
    }
}

fn read(ledger: &Ledger, targets: &Targets) -> Vec<TargetReading> {
    let present = targets.present.iter().map(|place| (place, false));
    let leaving = targets.leaving.iter().map(|place| (place, true));
    present.chain(leaving).map(|(place, is_leaving)| reading(ledger, targets, place, is_leaving)).collect()
}

fn reading(ledger: &Ledger, targets: &Targets, place: &Place, is_leaving: bool) -> TargetReading {
    let health = |target: &str, state: Option<&TargetState>, unchecked: Judge| {
        let word = state.map_or(0, |state| state.health.load(Relaxed));
        let is_ejected = state.is_some_and(|state| !outlier::is_whole(state.outlier.load(Relaxed)));
        let judge = if targets.are_checked { Judge::Checks } else { unchecked };
        told(target, word, judge, targets.are_used, is_leaving, is_ejected)
    };
    match place {
        Place::Task { task, slot } => {
            let slot = ledger.task(*slot);
            let target: Arc<str> = task.to_string().into();
            let health = health(&target, slot.is_used().then(|| slot.target()), Judge::Requests);
            TargetReading { target, task: Some(*task), health, outstanding: slot.outstanding() }
        }
        Place::Address { address, meter } => {
            let meter = meter.map(|slot| ledger.meter(slot));
            let state = meter.as_ref().filter(|meter| meter.is_used()).map(|meter| meter.target());
            let health: TargetHealth = match &meter {
                None if targets.are_checked && targets.are_used => unaccounted(),
                Some(_) | None => health(address, state, Judge::RequestsAlone),
            };
            let outstanding = meter.as_ref().map_or(0, |meter| meter.outstanding() + meter.connections());
            TargetReading { target: address.clone(), task: None, health, outstanding }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kit::clock;
    use skiff_plan::target_health::{Outcome, note};
    use skiff_types::{TargetHealthCheck, TargetReason, TargetStatus, TaskId};

    fn place(slot: u32) -> Place {
        Place::Task { task: TaskId::from_parts(1, [slot as u8; 10]), slot }
    }

    fn address(meter: Option<u32>) -> Place {
        Place::Address { address: "192.0.2.7:80".into(), meter }
    }

    fn statuses(ledger: &Ledger, targets: &Targets) -> Vec<TargetStatus> {
        read(ledger, targets).into_iter().map(|reading| reading.health.status).collect()
    }

    #[test]
    fn a_target_is_as_the_ledger_says_it_is() {
        use TargetStatus::{Draining, Healthy, Initial, Unavailable, Unhealthy, Unused};
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let check = TargetHealthCheck { unhealthy: 1, ..TargetHealthCheck::default() };
        let failed = note(0, Outcome::Answered(503), &check);
        let slot = ledger.task(1);
        slot.row(0).in_flight.add(2);
        slot.target().health.store(failed, Relaxed);
        let meter = ledger.meter(5);
        meter.row(0).outstanding.add(2);
        meter.row(0).connections.add(1);
        meter.target().health.store(note(0, Outcome::Connected, &check), Relaxed);
        let mut targets = Targets {
            are_checked: true,
            are_used: true,
            present: vec![place(1), place(2), address(Some(5)), address(Some(6)), address(None)],
            leaving: vec![place(3)],
        };
        targets = targets.and_leaving([("192.0.2.8:80".into(), 5), ("192.0.2.7:80".into(), 5)].into());
        let readings = read(&ledger, &targets);
        let outstanding: Vec<u64> = readings.iter().map(|reading| reading.outstanding).collect();
        assert_eq!(outstanding, [2, 0, 3, 0, 0, 0, 3]);
        assert_eq!(&*readings[6].target, "192.0.2.8:80", "the other is there again");
        assert_eq!(readings[6].health.reason, Some(TargetReason::DeregistrationInProgress));
        assert_eq!(readings[0].health.reason, Some(TargetReason::ResponseCodeMismatch));
        assert_eq!(readings[4].health.reason, Some(TargetReason::InternalError));
        assert_eq!(
            statuses(&ledger, &targets),
            [Unhealthy, Initial, Healthy, Initial, Unavailable, Draining, Draining]
        );
        targets.are_checked = false;
        assert_eq!(
            statuses(&ledger, &targets),
            [Healthy, Healthy, Unavailable, Unavailable, Unavailable, Draining, Draining]
        );
        targets.are_used = false;
        assert_eq!(statuses(&ledger, &targets)[..5], [Unused; 5]);
        assert_eq!(ledger.used().collect::<Vec<_>>(), [1], "reading uses nothing");
        assert_eq!(ledger.used_meters().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_target_that_requests_failed_on_is_unhealthy_until_one_succeeds() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let slot = ledger.task(1);
        slot.row(0);
        let word = outlier::eject(0, clock::monotonic_ns() / 1_000_000).expect("it was whole");
        slot.target().outlier.store(word, Relaxed);
        let targets = Targets { are_used: true, present: vec![place(1)], ..Targets::default() };
        let health = read(&ledger, &targets).remove(0).health;
        assert_eq!((health.status, health.reason), (TargetStatus::Unhealthy, Some(TargetReason::Ejected)));
    }
}
