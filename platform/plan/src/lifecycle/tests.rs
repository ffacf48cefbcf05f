//! The ways of tasks through their life, and who is started again.

use super::*;
use proptest::prelude::*;
use skiff_types::{Group, Namespace, TaskId};

fn task(status: TaskStatus, stop: bool) -> Task {
    Task {
        status,
        stop: stop.then(|| StoppedReason { code: StopCode::UserInitiated, message: String::new() }),
        start_after_ms: 10,
        ..Task::new(
            TaskId::from_parts(1, [1; 10]),
            Namespace::default(),
            Group::Family("hello".parse().unwrap()),
            "hello:1".parse().unwrap(),
            1,
        )
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
fn a_task_only_moves_forward() {
    for pair in TaskStatus::ALL.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        assert!(is_legal(before, after) && !is_legal(after, before) && !is_legal(before, before), "{before}");
    }
}

#[test]
#[should_panic(expected = "RUNNING to ACTIVATING")]
fn a_move_backwards_is_a_mistake() {
    advance(&mut task(TaskStatus::Running, false), TaskStatus::Activating, 20);
}

#[test]
fn a_task_that_is_to_wait_begins_when_its_time_has_come() {
    let task = task(TaskStatus::Provisioning, false);
    assert_eq!(next(&task, &KNOWN, task.start_after_ms - 1), Step::WaitUntil(task.start_after_ms));
    assert_eq!(next(&task, &KNOWN, task.start_after_ms), Step::Advance(TaskStatus::Pending));
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
fn what_is_called_comes_back_under_its_id_when_the_platform_starts_again() {
    for kind in [Kind::Http, Kind::Event] {
        for restart in [None, Some(Restart::Never), Some(Restart::Always)] {
            let before = Task { ready_at_ms: Some(15), ..task(TaskStatus::Running, false) };
            let mut task = before.clone();
            assert!(resume(&mut task, kind, restart, 50));
            assert_eq!(task, Task { status: TaskStatus::Activating, ..before }, "all else stays");
        }
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
