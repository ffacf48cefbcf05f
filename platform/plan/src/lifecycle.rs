//! The life of a task: which step comes next, given what is known.
//!
//! It deliberately does not know how a step is carried out, nor that a task may be assigned to one node or another.
//!
//! What always holds: a task only moves forward ([`TaskStatus`] is ordered), but for [`resume`], which a platform that
//! starts again applies once to what it had promised.

use skiff_types::{Kind, StopCode, StoppedReason, Task, TaskStatus};

/// What is known of a task beside its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What its component's exports make of it.
    pub kind: Kind,
    /// Its native code is ready.
    pub prepared: bool,
    /// Every living worker acts on the status that the task has now.
    pub acknowledged: bool,
    /// Requests that it still has.
    pub outstanding: u64,
    /// Until when it may finish what it has, in milliseconds since 1970.
    pub drain_until_ms: u64,
}

/// What comes next for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its status is to become this one.
    Advance(TaskStatus),
    /// Its native code is to be made ready.
    Prepare,
    /// Nothing before this time, in milliseconds since 1970.
    WaitUntil(u64),
    /// Nothing until the workers acknowledge what they were told.
    WaitForWorkers,
    /// Nothing until it has no more requests, or until this time, in milliseconds since 1970.
    Drain(u64),
    /// Nothing until somebody or something ends it.
    Rest,
}

/// The step that a task is to take next.
pub fn next(task: &Task, known: &Known, now_ms: u64) -> Step {
    let stop = task.stop.is_some();
    match task.status {
        TaskStatus::Provisioning | TaskStatus::Pending if stop => Step::Advance(TaskStatus::Stopped),
        TaskStatus::Activating if stop => Step::Advance(TaskStatus::Deprovisioning),
        TaskStatus::Running if stop => Step::Advance(match known.kind {
            Kind::Http => TaskStatus::Deactivating,
            Kind::Command => TaskStatus::Deprovisioning,
        }),
        TaskStatus::Provisioning if now_ms < task.start_after_ms => Step::WaitUntil(task.start_after_ms),
        TaskStatus::Provisioning => Step::Advance(TaskStatus::Pending),
        TaskStatus::Pending | TaskStatus::Activating if !known.prepared => Step::Prepare,
        TaskStatus::Pending => Step::Advance(TaskStatus::Activating),
        TaskStatus::Activating => match known.kind {
            Kind::Http => once_acknowledged(known, TaskStatus::Running),
            // Its worker says when its program runs.
            Kind::Command => Step::Rest,
        },
        TaskStatus::Running => Step::Rest,
        TaskStatus::Deactivating => once_acknowledged(known, TaskStatus::Stopping),
        TaskStatus::Stopping if known.outstanding > 0 && now_ms < known.drain_until_ms => {
            Step::Drain(known.drain_until_ms)
        }
        TaskStatus::Stopping => Step::Advance(TaskStatus::Deprovisioning),
        TaskStatus::Deprovisioning => once_acknowledged(known, TaskStatus::Stopped),
        TaskStatus::Stopped => Step::Rest,
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

/// Moves a task to a status and writes the times down.
///
/// # Panics
/// If the move is not legal.
pub fn advance(task: &mut Task, to: TaskStatus, now_ms: u64) {
    assert!(is_legal(task.status, to), "{} to {to}", task.status);
    task.status = to;
    if to == TaskStatus::Running {
        task.started_at_ms.get_or_insert(now_ms);
    }
    if to == TaskStatus::Stopped {
        task.stopped_at_ms = Some(now_ms);
    }
}

/// What becomes of a task that lived when the platform ended, now that it starts again; false if it stays as it is.
///
/// An `http` task is brought back under its id. A `command` task may have run, and nobody knows how far: it has ended.
pub fn resume(task: &mut Task, kind: Kind, now_ms: u64) -> bool {
    match (kind, task.status) {
        (_, TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Stopped) => false,
        (Kind::Http, TaskStatus::Running) if task.stop.is_none() => {
            task.status = TaskStatus::Activating;
            true
        }
        (Kind::Http, TaskStatus::Activating) if task.stop.is_none() => false,
        _ => {
            task.stop.get_or_insert_with(|| StoppedReason {
                code: StopCode::PlatformStopped,
                message: "the platform stopped while the task ran".to_owned(),
            });
            advance(task, TaskStatus::Stopped, now_ms);
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
            address: None,
            status,
            stop: stop.then(|| StoppedReason { code: StopCode::UserInitiated, message: String::new() }),
            exit_code: None,
            attempt: 0,
            created_at_ms: 1,
            start_after_ms: 10,
            started_at_ms: None,
            stopped_at_ms: None,
        }
    }

    fn path(kind: Kind, stop: bool, from: TaskStatus) -> Vec<TaskStatus> {
        let known =
            Known { kind, prepared: true, acknowledged: true, outstanding: 0, drain_until_ms: u64::MAX };
        let (mut task, mut seen) = (task(from, stop), vec![]);
        while let Step::Advance(to) = next(&task, &known, 20) {
            advance(&mut task, to, 20);
            seen.push(to);
        }
        seen
    }

    #[test]
    fn the_ways_through_life() {
        use TaskStatus::*;
        assert_eq!(path(Kind::Http, false, Provisioning), [Pending, Activating, Running]);
        assert_eq!(path(Kind::Http, true, Running), [Deactivating, Stopping, Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Command, false, Provisioning), [Pending, Activating]);
        assert_eq!(path(Kind::Command, true, Running), [Deprovisioning, Stopped]);
        assert_eq!(path(Kind::Http, true, Pending), [Stopped]);
        assert_eq!(path(Kind::Http, true, Activating), [Deprovisioning, Stopped]);
    }

    #[test]
    fn a_task_drains_until_it_is_empty_or_out_of_time() {
        let known = |outstanding| Known {
            kind: Kind::Http,
            prepared: true,
            acknowledged: true,
            outstanding,
            drain_until_ms: 100,
        };
        let task = task(TaskStatus::Stopping, true);
        assert_eq!(next(&task, &known(1), 99), Step::Drain(100));
        assert_eq!(next(&task, &known(0), 99), Step::Advance(TaskStatus::Deprovisioning));
        assert_eq!(next(&task, &known(1), 100), Step::Advance(TaskStatus::Deprovisioning));
    }

    fn status() -> impl Strategy<Value = TaskStatus> {
        prop::sample::select(TaskStatus::ALL.to_vec())
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![Kind::Http, Kind::Command])
    }

    proptest! {
        #[test]
        fn every_step_is_legal_and_none_skips_the_workers(
            status in status(),
            kind in kind(),
            flags in any::<[bool; 3]>(),
            outstanding in 0..3u64,
            now_ms in 0..20u64,
        ) {
            let [stop, prepared, acknowledged] = flags;
            let known = Known { kind, prepared, acknowledged, outstanding, drain_until_ms: 15 };
            let task = task(status, stop);
            if let Step::Advance(to) = next(&task, &known, now_ms) {
                prop_assert!(is_legal(status, to));
                prop_assert!(prepared || to != TaskStatus::Running, "ran without code");
                let told = matches!(status, TaskStatus::Deactivating | TaskStatus::Deprovisioning);
                prop_assert!(acknowledged || !told, "went on although a worker may still use it");
                let in_use = status == TaskStatus::Stopping && outstanding > 0 && now_ms < 15;
                prop_assert!(!in_use, "ended with requests in flight");
            }
        }

        #[test]
        fn a_platform_that_starts_again_finds_nothing_running(status in status(), kind in kind(), stop: bool) {
            let mut task = task(status, stop);
            let changed = resume(&mut task, kind, 50);
            prop_assert_eq!(changed, task.status != status);
            prop_assert!(task.status <= TaskStatus::Activating || task.status == TaskStatus::Stopped);
            prop_assert!(kind == Kind::Http || task.status != TaskStatus::Activating, "ran a second time");
            prop_assert!(task.status != TaskStatus::Stopped || status == TaskStatus::Stopped
                || (task.stop.is_some() && task.stopped_at_ms.is_some()));
            prop_assert!(!resume(&mut task, kind, 50), "not idempotent");
        }
    }
}
