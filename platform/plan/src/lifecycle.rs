//! The life of a task: which step comes next, given what is known.
//!
//! It deliberately does not know how a step is carried out, nor that a task may be assigned to one node or another.
//!
//! What always holds: a task only moves forward ([`TaskStatus`] is ordered), but for [`restart`], by which a one-off task
//! that has ended begins anew, and for [`resume`], which a platform that starts again applies once to what it had promised.

use crate::service::{backoff_ms, ended_by_itself, ran_well, unhealthy};
use skiff_types::{Group, Health, Kind, Restart, StopCode, StoppedReason, Task, TaskStatus};

/// What is known of a task beside its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What its component's exports make of it.
    pub kind: Kind,
    /// It is a daemon: a `command` that has a port.
    pub daemon: bool,
    /// What becomes of it once its program has ended, if it is a one-off task.
    pub restart: Restart,
    /// Its native code is ready.
    pub prepared: bool,
    /// Every living worker acts on the status that the task has now.
    pub acknowledged: bool,
    /// Requests that it still has, or connections.
    pub outstanding: u64,
    /// Until when it may finish what it has, in milliseconds since 1970.
    pub drain_until_ms: u64,
}

/// What comes next for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its status is to become this one.
    Advance(TaskStatus),
    /// It is to begin anew: see [`restart`].
    Restart,
    /// Its native code is to be made ready.
    Prepare,
    /// Nothing before this time, in milliseconds since 1970.
    WaitUntil(u64),
    /// Nothing until the workers acknowledge what they were told.
    WaitForWorkers,
    /// Nothing until it has no more requests or connections, or until this time, in milliseconds since 1970.
    Drain(u64),
    /// Nothing until somebody or something ends it.
    Rest,
}

/// The step that a task is to take next.
pub fn next(task: &Task, known: &Known, now_ms: u64) -> Step {
    let stop = task.stop.is_some();
    match task.status {
        TaskStatus::Provisioning | TaskStatus::Pending if stop => ended(task, known),
        // It has nothing to finish; one that is called may have calls as soon as a worker has it.
        TaskStatus::Activating if stop && !known.kind.is_called() => {
            Step::Advance(TaskStatus::Deprovisioning)
        }
        TaskStatus::Activating | TaskStatus::Running if stop => Step::Advance(match finishes(task, known) {
            true => TaskStatus::Deactivating,
            false => TaskStatus::Deprovisioning,
        }),
        TaskStatus::Provisioning if now_ms < task.start_after_ms => Step::WaitUntil(task.start_after_ms),
        TaskStatus::Provisioning => Step::Advance(TaskStatus::Pending),
        TaskStatus::Pending | TaskStatus::Activating if !known.prepared => Step::Prepare,
        TaskStatus::Pending => Step::Advance(TaskStatus::Activating),
        TaskStatus::Activating => match known.kind {
            Kind::Http | Kind::Event => once_acknowledged(known, TaskStatus::Running),
            // Its worker says when its program runs.
            Kind::Command => Step::Rest,
        },
        TaskStatus::Running => Step::Rest,
        TaskStatus::Deactivating => once_acknowledged(known, TaskStatus::Stopping),
        TaskStatus::Stopping
            if known.outstanding > 0 && now_ms < known.drain_until_ms && task.exit_code.is_none() =>
        {
            Step::Drain(known.drain_until_ms)
        }
        TaskStatus::Stopping => Step::Advance(TaskStatus::Deprovisioning),
        TaskStatus::Deprovisioning if known.acknowledged => ended(task, known),
        TaskStatus::Deprovisioning => Step::WaitForWorkers,
        TaskStatus::Stopped => Step::Rest,
    }
}

/// Whether a task that is to stop has something to finish before: one that is called its calls, a daemon its connections,
/// unless its program is gone. What was on a node that is gone finishes nothing.
fn finishes(task: &Task, known: &Known) -> bool {
    let runs = task.stop.as_ref().is_some_and(|stop| match stop.code {
        StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated | StopCode::Unhealthy => {
            task.exit_code.is_none()
        }
        StopCode::TaskFailedToStart
        | StopCode::Exited
        | StopCode::Trapped
        | StopCode::OutOfMemory
        | StopCode::WorkerLost
        | StopCode::NodeLost
        | StopCode::PlatformStopped => false,
    });
    let is_lost = task.stop.as_ref().is_some_and(|stop| stop.code == StopCode::NodeLost);
    !is_lost && (known.kind.is_called() || (known.daemon && runs))
}

/// What becomes of a task that no worker has any more.
fn ended(task: &Task, known: &Known) -> Step {
    if is_restarted(task, known.restart) { Step::Restart } else { Step::Advance(TaskStatus::Stopped) }
}

/// Whether a task that ends begins anew, by what was said of it.
pub fn is_restarted(task: &Task, restart: Restart) -> bool {
    task.stop.as_ref().is_some_and(|stop| begins_anew(task, stop.code, restart))
}

/// Whether a task that ends for this reason begins anew. One of a service never does: the service starts another.
fn begins_anew(task: &Task, code: StopCode, restart: Restart) -> bool {
    match (restart, code) {
        _ if matches!(task.group, Group::Service(_)) => false,
        (Restart::Never, _) | (_, StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated) => false,
        (Restart::OnFailure, StopCode::Exited) => task.exit_code != Some(0),
        (
            Restart::OnFailure,
            StopCode::TaskFailedToStart
            | StopCode::Trapped
            | StopCode::OutOfMemory
            | StopCode::WorkerLost
            | StopCode::NodeLost
            | StopCode::PlatformStopped
            | StopCode::Unhealthy,
        )
        | (Restart::Always, _) => true,
    }
}

/// Whether a task may go from one status to another: only forward.
pub fn is_legal(from: TaskStatus, to: TaskStatus) -> bool {
    from < to
}

/// Whether a task in this status is among those that its node runs, once its code is ready.
pub fn is_assigned(status: TaskStatus) -> bool {
    (TaskStatus::Activating..TaskStatus::Deprovisioning).contains(&status)
}

/// Has a task begin anew under its id, with its address: no worker has it any more. It waits as long as a service would
/// before it started another in its place; the platform's own end is no failure of the task.
pub fn restart(task: &mut Task, now_ms: u64) {
    let by_itself = task.stop.as_ref().is_some_and(|stop| ended_by_itself(stop.code));
    let before = if ran_well(task, now_ms) { 0 } else { task.attempt };
    task.attempt = before.saturating_add(u32::from(by_itself));
    task.start_after_ms = now_ms.saturating_add(backoff_ms(task.attempt));
    task.restarts = task.restarts.saturating_add(1);
    task.last_stop = task.stop.take();
    task.status = TaskStatus::Provisioning;
    (task.exit_code, task.health, task.health_reason) = (None, Health::Unchecked, None);
    (task.started_at_ms, task.ready_at_ms, task.stopped_at_ms) = (None, None, None);
}

/// Asks for a task's end as [`stop`] does, and cuts what it has not finished; false if it ends at once already, or has
/// ended.
pub fn stop_now(task: &mut Task, reason: StoppedReason, restart: Restart, now_ms: u64) -> bool {
    let is_news = stop(task, reason, restart);
    let may_finish = (TaskStatus::Activating..TaskStatus::Deprovisioning).contains(&task.status);
    if may_finish {
        advance(task, TaskStatus::Deprovisioning, now_ms);
    }
    is_news || may_finish
}

/// Asks for a task's end; false if it ends already, or has ended. A user's word also ends one that ended by itself and is
/// about to begin anew.
pub fn stop(task: &mut Task, reason: StoppedReason, restart: Restart) -> bool {
    if task.stop.is_some() && (task.status == TaskStatus::Stopped || !is_restarted(task, restart)) {
        return false;
    }
    task.last_stop = task.stop.replace(reason).or(task.last_stop.take());
    true
}

/// A `command` task's program runs; `checked` says whether its health is. False if that is no news.
pub fn started(task: &mut Task, checked: bool, now_ms: u64) -> bool {
    let starts = task.status == TaskStatus::Activating;
    if starts {
        task.health = if checked { Health::Starting } else { Health::Unchecked };
        advance(task, TaskStatus::Running, now_ms);
    }
    starts
}

/// A daemon is reached at its port, or a task passes its group's checks; or it has not for at most `notice_ms` milliseconds,
/// and why. False if that is no news.
/// A one-off task that begins anew when it fails is stopped for that; of a service's task its service decides.
pub fn checked(
    task: &mut Task,
    healthy: bool,
    reason: &str,
    restart: Restart,
    notice_ms: u64,
    now_ms: u64,
) -> bool {
    let health = if healthy { Health::Healthy } else { Health::Unhealthy };
    // An `http` task is checked as soon as a worker has it.
    let is_served = matches!(task.status, TaskStatus::Activating | TaskStatus::Running);
    if !is_served || task.stop.is_some() || task.health == health {
        return false;
    }
    task.health = health;
    task.health_reason = (!healthy).then(|| reason.to_owned());
    if healthy {
        task.ready_at_ms.get_or_insert(now_ms);
        return true;
    }
    was_ready_until(task, now_ms.saturating_sub(notice_ms));
    if begins_anew(task, StopCode::Unhealthy, restart) {
        task.stop = Some(unhealthy(task));
    }
    true
}

/// A task was ready until this time and no longer: what comes after, until that is noticed and its connections have ended,
/// is not to count as having run well.
fn was_ready_until(task: &mut Task, until_ms: u64) {
    if task.health != Health::Unchecked && !ran_well(task, until_ms) {
        task.ready_at_ms = None;
    }
}

/// Moves a task to a status and writes the times down.
///
/// # Panics
/// If the move is not legal.
pub fn advance(task: &mut Task, to: TaskStatus, now_ms: u64) {
    assert!(is_legal(task.status, to), "{} to {to}", task.status);
    if task.status == TaskStatus::Running {
        was_ready_until(task, now_ms);
    }
    task.status = to;
    if to == TaskStatus::Running {
        task.started_at_ms.get_or_insert(now_ms);
        if task.is_ready() {
            task.ready_at_ms.get_or_insert(now_ms);
        }
    }
    if to == TaskStatus::Stopped {
        task.stopped_at_ms = Some(now_ms);
    }
}

/// What becomes of a task that lived when the platform ended, now that it starts again; false if it stays as it is.
///
/// One that is called is brought back under its id. A `command` task may have run, and nobody knows how far: it has ended, and
/// begins anew if that was said of it. Where it is not known what was said (`None`) and that matters, it is left on the
/// threshold, for [`next`] to decide.
pub fn resume(task: &mut Task, kind: Kind, restart: Option<Restart>, now_ms: u64) -> bool {
    match (kind, task.status) {
        (_, TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Stopped) => false,
        (Kind::Http | Kind::Event, TaskStatus::Running) if task.stop.is_none() => {
            task.status = TaskStatus::Activating;
            true
        }
        (Kind::Http | Kind::Event, TaskStatus::Activating) if task.stop.is_none() => false,
        _ => {
            task.stop.get_or_insert_with(|| StoppedReason {
                code: StopCode::PlatformStopped,
                message: "the platform stopped while the task ran".to_owned(),
            });
            match restart {
                None if is_restarted(task, Restart::Always) => {
                    if task.status == TaskStatus::Deprovisioning {
                        return false;
                    }
                    advance(task, TaskStatus::Deprovisioning, now_ms);
                }
                Some(restart) if is_restarted(task, restart) => self::restart(task, now_ms),
                None | Some(_) => advance(task, TaskStatus::Stopped, now_ms),
            }
            true
        }
    }
}

fn once_acknowledged(known: &Known, to: TaskStatus) -> Step {
    if known.acknowledged { Step::Advance(to) } else { Step::WaitForWorkers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_types::{Group, Namespace, TaskId};

    fn task(status: TaskStatus, stop: bool) -> Task {
        Task {
            id: TaskId::from_parts(1, [1; 10]),
            namespace: Namespace::default(),
            definition: "hello:1".parse().unwrap(),
            group: Group::Family("hello".parse().unwrap()),
            overrides: None,
            node: None,
            address: None,
            status,
            stop: stop.then(|| StoppedReason { code: StopCode::UserInitiated, message: String::new() }),
            exit_code: None,
            health: Health::Unchecked,
            health_reason: None,
            restarts: 0,
            last_stop: None,
            attempt: 0,
            created_at_ms: 1,
            start_after_ms: 10,
            started_at_ms: None,
            ready_at_ms: None,
            stopped_at_ms: None,
        }
    }

    const KNOWN: Known = Known {
        kind: Kind::Command,
        daemon: false,
        restart: Restart::Never,
        prepared: true,
        acknowledged: true,
        outstanding: 0,
        drain_until_ms: u64::MAX,
    };

    fn path(kind: Kind, stop: bool, from: TaskStatus) -> Vec<TaskStatus> {
        path_of(task(from, stop), Known { kind, ..KNOWN })
    }

    fn path_of(mut task: Task, known: Known) -> Vec<TaskStatus> {
        let mut seen = vec![];
        while let Step::Advance(to) = next(&task, &known, 20) {
            advance(&mut task, to, 20);
            seen.push(to);
        }
        seen
    }

    #[test]
    fn an_http_task_that_its_group_finds_unhealthy_has_not_run_well_unless_it_had_before() {
        for (running_ms, ran_well) in [(60_000, false), (120_000, true)] {
            let mut task = task(TaskStatus::Activating, false);
            advance(&mut task, TaskStatus::Running, 1_000);
            let now_ms = 1_000 + running_ms;
            assert!(checked(&mut task, false, "Request timed out", Restart::Never, 50_000, now_ms));
            assert_eq!((task.health, task.stop.is_some()), (Health::Unhealthy, false));
            assert_eq!(super::ran_well(&task, now_ms), ran_well);
            assert!(checked(&mut task, true, "", Restart::Never, 50_000, now_ms + 1));
            assert!(task.is_ready() && task.health_reason.is_none());
        }
    }

    #[test]
    fn the_ways_through_life() {
        use TaskStatus::*;
        assert_eq!(path(Kind::Http, false, Provisioning), [Pending, Activating, Running]);
        assert_eq!(path(Kind::Event, false, Provisioning), [Pending, Activating, Running]);
        assert_eq!(path(Kind::Event, true, Running), [Deactivating, Stopping, Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Http, true, Running), [Deactivating, Stopping, Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Command, false, Provisioning), [Pending, Activating]);
        assert_eq!(path(Kind::Command, true, Running), [Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Http, true, Pending), [Stopped]);
        assert_eq!(path(Kind::Command, true, Activating), [Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Http, true, Activating), [Deactivating, Stopping, Deprovisioning, Stopped]);
    }

    #[test]
    fn a_task_drains_until_it_is_empty_or_out_of_time() {
        let known = |outstanding| Known { kind: Kind::Http, outstanding, drain_until_ms: 100, ..KNOWN };
        let task = task(TaskStatus::Stopping, true);
        assert_eq!(next(&task, &known(1), 99), Step::Drain(100));
        assert_eq!(next(&task, &known(0), 99), Step::Advance(TaskStatus::Deprovisioning));
        assert_eq!(next(&task, &known(1), 100), Step::Advance(TaskStatus::Deprovisioning));
    }

    #[test]
    fn a_daemon_finishes_its_connections_unless_its_program_is_gone() {
        use TaskStatus::*;
        let known = Known { daemon: true, ..KNOWN };
        let ending = |code, exit_code| {
            let reason = StoppedReason { code, message: String::new() };
            Task { stop: Some(reason), exit_code, ..task(Running, false) }
        };
        let in_order = [Deactivating, Stopping, Deprovisioning, Stopped];
        for code in [StopCode::UserInitiated, StopCode::ServiceSchedulerInitiated, StopCode::Unhealthy] {
            assert_eq!(path_of(ending(code, None), known), in_order, "{code}");
            assert_eq!(path_of(ending(code, Some(0)), known), [Deprovisioning, Stopped], "{code}");
        }
        for code in [StopCode::Exited, StopCode::Trapped, StopCode::WorkerLost, StopCode::NodeLost] {
            assert_eq!(path_of(ending(code, None), known), [Deprovisioning, Stopped], "{code}");
        }
        let http = Known { kind: Kind::Http, ..known };
        assert_eq!(path_of(ending(StopCode::WorkerLost, None), http), in_order);
        assert_eq!(path_of(ending(StopCode::NodeLost, None), http), [Deprovisioning, Stopped]);
        let full = Known { outstanding: 1, drain_until_ms: 100, ..known };
        let draining = Task { status: Stopping, ..ending(StopCode::UserInitiated, None) };
        assert_eq!(next(&draining, &full, 99), Step::Drain(100));
        let gone = Task { exit_code: Some(1), ..draining };
        assert_eq!(next(&gone, &full, 99), Step::Advance(Deprovisioning));
    }

    #[test]
    fn who_is_started_again() {
        let ending = |code, exit_code| {
            let stop = Some(StoppedReason { code, message: String::new() });
            Task { stop, exit_code, ..task(TaskStatus::Deprovisioning, false) }
        };
        let failed = ending(StopCode::Exited, Some(3));
        let well = ending(StopCode::Exited, Some(0));
        let lost = ending(StopCode::WorkerLost, None);
        let by_user = ending(StopCode::UserInitiated, None);
        let cases = [
            (Restart::Never, [false, false, false, false]),
            (Restart::OnFailure, [true, false, true, false]),
            (Restart::Always, [true, true, true, false]),
        ];
        for (restart, expected) in cases {
            let restarted = [&failed, &well, &lost, &by_user].map(|task| is_restarted(task, restart));
            assert_eq!(restarted, expected, "{restart}");
            let known = Known { restart, ..KNOWN };
            assert_eq!(next(&failed, &known, 20) == Step::Restart, expected[0]);
            assert_eq!(next(&failed, &Known { acknowledged: false, ..known }, 20), Step::WaitForWorkers);
        }
        let of_service = Task { group: Group::Service("hello".parse().unwrap()), ..failed };
        assert!(!is_restarted(&of_service, Restart::Always), "its service starts another");
    }

    #[test]
    fn a_task_that_begins_anew_waits_longer_each_time_until_it_ran_well() {
        let mut task = task(TaskStatus::Activating, false);
        let mut waits = vec![];
        let mut now_ms = 1_000;
        for _ in 0..5 {
            assert!(started(&mut task, false, now_ms));
            let reason = StoppedReason { code: StopCode::Trapped, message: "it trapped".to_owned() };
            assert!(stop(&mut task, reason, Restart::OnFailure));
            task.status = TaskStatus::Deprovisioning;
            restart(&mut task, now_ms);
            assert_eq!((task.status, task.stop.as_ref()), (TaskStatus::Provisioning, None));
            waits.push(task.start_after_ms - now_ms);
            now_ms = task.start_after_ms;
            task.status = TaskStatus::Activating;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600]);
        assert_eq!((task.restarts, task.last_stop.as_ref().unwrap().code), (5, StopCode::Trapped));
        started(&mut task, false, now_ms);
        now_ms += crate::service::RAN_WELL_MS;
        task.stop = task.last_stop.clone();
        restart(&mut task, now_ms);
        assert_eq!(task.start_after_ms - now_ms, 100);
    }

    #[test]
    fn a_users_word_ends_what_would_begin_anew() {
        let by_user = StoppedReason { code: StopCode::UserInitiated, message: "enough".to_owned() };
        let ended = StoppedReason { code: StopCode::Trapped, message: "it trapped".to_owned() };
        let mut task = Task { stop: Some(ended.clone()), ..task(TaskStatus::Deprovisioning, false) };
        assert!(!stop(&mut task, by_user.clone(), Restart::Never), "it ends as it is");
        assert!(stop(&mut task, by_user.clone(), Restart::Always));
        assert_eq!((&task.stop, &task.last_stop), (&Some(by_user.clone()), &Some(ended)));
        assert_eq!(
            next(&task, &Known { restart: Restart::Always, ..KNOWN }, 20),
            Step::Advance(TaskStatus::Stopped)
        );
        assert!(!stop(&mut task, by_user, Restart::Always), "said twice");
    }

    #[test]
    fn an_unhealthy_task_is_not_ready_and_its_policy_decides() {
        let daemon = || {
            let mut task = task(TaskStatus::Activating, false);
            started(&mut task, true, 20);
            task
        };
        let mut never = daemon();
        assert!(!never.is_ready() && never.ready_at_ms.is_none());
        assert!(checked(&mut never, true, "", Restart::Never, 0, 30));
        assert!(never.is_ready() && never.ready_at_ms == Some(30));
        assert!(!checked(&mut never, true, "", Restart::Never, 0, 40), "no news");
        assert!(checked(&mut never, false, "refused", Restart::Never, 0, 50));
        assert!(!never.is_ready() && never.stop.is_none());
        assert!(checked(&mut never, true, "", Restart::Never, 0, 60));
        assert_eq!((never.ready_at_ms, never.health_reason.as_ref()), (Some(60), None));

        let mut again = daemon();
        assert!(checked(&mut again, false, "refused", Restart::OnFailure, 0, 50));
        let expected = StoppedReason { code: StopCode::Unhealthy, message: "refused".to_owned() };
        assert_eq!(again.stop, Some(expected));
        assert!(!checked(&mut again, true, "", Restart::OnFailure, 0, 60), "it is to stop");
    }

    #[test]
    fn neither_what_it_took_to_notice_nor_what_it_took_to_finish_counts_as_having_run_well() {
        const NOTICE_MS: u64 = 36_000;
        for (listened_ms, attempt) in [(1_000, 3), (crate::service::RAN_WELL_MS, 1)] {
            let mut task = Task { attempt: 2, ..task(TaskStatus::Activating, false) };
            started(&mut task, true, 20);
            checked(&mut task, true, "", Restart::OnFailure, NOTICE_MS, 20);
            let mut now_ms = 20 + listened_ms + NOTICE_MS;
            assert!(checked(&mut task, false, "refused", Restart::OnFailure, NOTICE_MS, now_ms));
            for status in [TaskStatus::Deactivating, TaskStatus::Stopping, TaskStatus::Deprovisioning] {
                advance(&mut task, status, now_ms);
                now_ms += 60_000;
            }
            restart(&mut task, now_ms);
            assert_eq!(task.attempt, attempt, "it listened for {listened_ms} ms");
        }
        let mut lost = Task { attempt: 2, ..task(TaskStatus::Activating, false) };
        started(&mut lost, true, 20);
        checked(&mut lost, true, "", Restart::OnFailure, NOTICE_MS, 20);
        lost.stop = Some(StoppedReason { code: StopCode::ServiceSchedulerInitiated, message: String::new() });
        advance(&mut lost, TaskStatus::Deactivating, 1_000);
        assert!(!ran_well(&lost, u64::MAX), "however long it finishes");
    }

    #[test]
    fn what_is_stopped_now_finishes_nothing() {
        use TaskStatus::*;
        let by_user = || StoppedReason { code: StopCode::UserInitiated, message: "enough".to_owned() };
        for (status, then) in [
            (Pending, Pending),
            (Activating, Deprovisioning),
            (Running, Deprovisioning),
            (Deactivating, Deprovisioning),
            (Stopping, Deprovisioning),
        ] {
            for stops_already in [false, true] {
                let mut task = task(status, stops_already);
                let is_news = stop_now(&mut task, by_user(), Restart::Always, 20);
                assert_eq!((is_news, task.status), (!stops_already || status != Pending, then), "{status}");
                assert_eq!(task.stop.as_ref().map(|stop| stop.code), Some(StopCode::UserInitiated));
            }
        }
        for status in [Deprovisioning, Stopped] {
            assert!(!stop_now(&mut task(status, true), by_user(), Restart::Always, 20), "{status}");
        }
    }

    #[test]
    fn what_may_begin_anew_is_left_on_the_threshold_while_nobody_knows_whether_it_does() {
        let mut lost = task(TaskStatus::Running, false);
        assert!(resume(&mut lost, Kind::Command, None, 50));
        assert_eq!(lost.status, TaskStatus::Deprovisioning);
        assert!(!resume(&mut lost.clone(), Kind::Command, None, 60), "not idempotent");
        assert!(resume(&mut lost, Kind::Command, Some(Restart::Always), 70));
        assert_eq!((lost.status, lost.restarts), (TaskStatus::Provisioning, 1));
        let mut stopped = task(TaskStatus::Running, true);
        assert!(resume(&mut stopped, Kind::Command, None, 50));
        assert_eq!(stopped.status, TaskStatus::Stopped, "by its user: whatever was said");
    }

    fn status() -> impl Strategy<Value = TaskStatus> {
        prop::sample::select(TaskStatus::ALL.to_vec())
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![Kind::Http, Kind::Command, Kind::Event])
    }

    fn restarts() -> impl Strategy<Value = Restart> {
        prop::sample::select(vec![Restart::Never, Restart::OnFailure, Restart::Always])
    }

    proptest! {
        #[test]
        fn every_step_is_legal_and_none_skips_the_workers(
            status in status(),
            kind in kind(),
            restart in restarts(),
            flags in any::<[bool; 4]>(),
            outstanding in 0..3u64,
            now_ms in 0..20u64,
        ) {
            let [stop, prepared, acknowledged, daemon] = flags;
            let known =
                Known { kind, daemon, restart, prepared, acknowledged, outstanding, drain_until_ms: 15 };
            let task = task(status, stop);
            let step = next(&task, &known, now_ms);
            prop_assert!(step != Step::Restart, "started again what its user stopped");
            if let Step::Advance(to) = step {
                prop_assert!(is_legal(status, to));
                prop_assert!(prepared || to != TaskStatus::Running, "ran without code");
                let told = matches!(status, TaskStatus::Deactivating | TaskStatus::Deprovisioning);
                prop_assert!(acknowledged || !told, "went on although a worker may still use it");
                let in_use = status == TaskStatus::Stopping && outstanding > 0 && now_ms < 15;
                prop_assert!(!in_use, "ended with requests in flight");
            }
        }

        #[test]
        fn a_platform_that_starts_again_finds_nothing_running(
            status in status(),
            kind in kind(),
            restart in restarts(),
            stop: bool,
        ) {
            let mut task = task(status, stop);
            let restart_said = Some(restart);
            let changed = resume(&mut task, kind, restart_said, 50);
            prop_assert_eq!(changed, task.status != status);
            let begins_anew = changed && task.status == TaskStatus::Provisioning;
            prop_assert_eq!(task.restarts > 0, begins_anew);
            prop_assert!(!begins_anew || (!stop && restart != Restart::Never), "against its user's word");
            prop_assert!(task.status <= TaskStatus::Activating || task.status == TaskStatus::Stopped);
            prop_assert!(kind.is_called() || task.status != TaskStatus::Activating, "ran a second time");
            prop_assert!(task.status != TaskStatus::Stopped || status == TaskStatus::Stopped
                || (task.stop.is_some() && task.stopped_at_ms.is_some()));
            prop_assert!(!resume(&mut task, kind, restart_said, 50), "not idempotent");
        }
    }
}
