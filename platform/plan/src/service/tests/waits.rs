//! How long a task waits that takes the place of one that failed: by how the latest one ended.

use super::*;

#[test]
fn waits_double_while_it_fails_and_start_over_once_it_ran_well() {
    let (mut model, spec) = (Model::new(), spec(1, 1));
    let mut waits = Vec::new();
    for _ in 0..15 {
        let actions = model.plan(&spec);
        let Action::Start { start_after_ms, .. } = actions[0] else { panic!("{actions:?}") };
        waits.push(start_after_ms - model.now_ms);
        model.apply(&spec, actions);
        model.now_ms = start_after_ms;
        model.live();
        model.fail(0);
        model.live();
    }
    assert_eq!(waits[..6], [0, 100, 200, 400, 800, 1_600]);
    assert_eq!(waits[14], BACKOFF_MOST_MS);

    let actions = model.plan(&spec);
    model.apply(&spec, actions);
    model.now_ms += BACKOFF_MOST_MS;
    model.live();
    model.now_ms += RAN_WELL_MS;
    model.fail(0);
    let after = model.plan(&spec);
    let start_after_ms = model.now_ms + BACKOFF_FIRST_MS;
    assert_eq!(after, [Action::Start { definition: definition(1), attempt: 1, start_after_ms }]);
}

#[test]
fn waits_double_although_one_that_was_stopped_still_finishes_what_it_has() {
    let cases = [(StopCode::UserInitiated, [0, 100, 200, 400]), (StopCode::Unhealthy, [100, 200, 400, 800])];
    for (code, expected) in cases {
        let (mut model, spec) = (Model::new(), spec(1, 1));
        let actions = model.plan(&spec);
        model.apply(&spec, actions);
        model.live();
        model.now_ms += RAN_WELL_MS;
        model.tasks[0].stop = Some(StoppedReason { code, message: String::new() });
        let mut waits = Vec::new();
        for _ in 0..expected.len() {
            let actions = model.plan(&spec);
            let Action::Start { start_after_ms, .. } = actions[0] else { panic!("{actions:?}") };
            waits.push(start_after_ms - model.now_ms);
            model.apply(&spec, actions);
            model.now_ms = start_after_ms;
            model.live();
            let finishing = &mut model.tasks[0];
            (finishing.status, finishing.stopped_at_ms) = (TaskStatus::Stopping, None);
            model.fail(0);
        }
        assert_eq!(waits, expected, "{code}");
    }
}

#[test]
fn an_unhealthy_task_is_stopped_with_its_reason_and_another_waits_to_be_started() {
    let (mut model, spec) = (Model::new(), spec(1, 1));
    for expected_ms in [100, 200] {
        let actions = model.plan(&spec);
        model.apply(&spec, actions);
        model.now_ms += 1_000;
        model.live();
        let task = model.tasks.last_mut().expect("it was started");
        // As a daemon that was never reached.
        (task.ready_at_ms, task.health) = (None, Health::Unhealthy);
        task.health_reason = Some("nothing listens at port 6379".to_owned());
        let (id, now_ms) = (task.id, model.now_ms + RAN_WELL_MS);
        model.now_ms = now_ms;
        let actions = model.plan(&spec);
        let [Action::Stop { task, reason }, Action::Start { start_after_ms, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!((*task, reason.code), (id, StopCode::Unhealthy));
        assert_eq!(reason.message, "nothing listens at port 6379");
        assert_eq!(
            start_after_ms - now_ms,
            expected_ms,
            "never reached is no good start, however long it ran"
        );
        model.apply(&spec, actions);
        model.live();
    }
}

#[test]
fn an_unhealthy_http_task_stays_until_another_serves_and_waits_double_all_the_same() {
    let (mut model, spec) = (Model::of(Kind::Http), spec(1, 1));
    let actions = model.plan(&spec);
    model.apply(&spec, actions);
    model.live();
    for expected_ms in [100, 200, 400] {
        let sick = model.tasks.last_mut().expect("it was started");
        (sick.ready_at_ms, sick.health) = (None, Health::Unhealthy);
        let sick = sick.id;
        let actions = model.plan(&spec);
        let [Action::Start { start_after_ms, .. }] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(start_after_ms - model.now_ms, expected_ms);
        model.apply(&spec, actions);
        model.now_ms = start_after_ms;
        model.live();
        let actions = model.plan(&spec);
        let [Action::Stop { task, reason }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((*task, reason.code), (sick, StopCode::Unhealthy));
        model.apply(&spec, actions);
        // It has ended after the one in its place has started.
        model.now_ms += 1;
        model.live();
    }
    model.tasks.last_mut().expect("it was started").health = Health::Unhealthy;
    let none = Spec { desired: 0, ..spec };
    assert!(matches!(model.plan(&none)[..], [Action::Stop { .. }]), "a service that is to go spares none");
}

/// A task of a service that began to run and has ended, or is about to.
#[derive(Debug, Clone, Copy)]
struct Ended {
    attempt: u32,
    status: TaskStatus,
    code: StopCode,
    started_at_ms: u64,
    stopped_at_ms: Option<u64>,
}

/// The attempt of the task that is started after these.
#[track_caller]
fn check_attempt(kind: Kind, ended: [Ended; 2], expected: u32) {
    let (mut model, spec) = (Model::of(kind), spec(1, 1));
    for Ended { attempt, status, code, started_at_ms, stopped_at_ms } in ended {
        let start = Action::Start { definition: definition(1), attempt, start_after_ms: started_at_ms };
        model.apply(&spec, vec![start]);
        let task = model.tasks.last_mut().expect("it was started");
        (task.status, task.started_at_ms, task.stopped_at_ms) = (status, Some(started_at_ms), stopped_at_ms);
        task.stop = Some(StoppedReason { code, message: String::new() });
    }
    let actions = model.plan(&spec);
    let [Action::Start { attempt, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(attempt, expected, "{kind:?} after {ended:?}");
}

#[test]
fn a_failure_is_hidden_by_none_that_began_before_and_is_stopped() {
    let failed = Ended {
        attempt: 2,
        status: TaskStatus::Stopped,
        code: StopCode::Exited,
        started_at_ms: 2_000,
        stopped_at_ms: Some(3_000),
    };
    let later = Ended { attempt: 0, started_at_ms: 1_000, stopped_at_ms: Some(9_000), ..failed };
    // What ended last says how it goes, whenever it began.
    for kind in [Kind::Http, Kind::Command] {
        check_attempt(kind, [later, failed], 1);
    }
    // One that finishes what it has began to end at a time that nobody knows.
    for status in [TaskStatus::Deactivating, TaskStatus::Stopping] {
        let finishing = Ended { status, code: StopCode::UserInitiated, stopped_at_ms: None, ..later };
        check_attempt(Kind::Command, [finishing, failed], 3);
        check_attempt(Kind::Http, [finishing, failed], 3);
    }
    // An unhealthy one of `http` stayed for the one that failed in its place; one of a program did not.
    let unhealthy = Ended { code: StopCode::Unhealthy, ..later };
    check_attempt(Kind::Http, [unhealthy, failed], 3);
    check_attempt(Kind::Command, [unhealthy, failed], 1);
}
