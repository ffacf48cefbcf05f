//! Checks the daemons that live in this worker: connects to their ports, and tells when their health changes.
//!
//! A check begins with the task's program and ends with it. It deliberately decides nothing: when a result makes a task
//! healthy or not, and how long to wait for the next, is `plan::health`.
//!
//! What always holds: nothing is told of a task's health before it is told that it started, nor after that it ended.

use skiff_net::{NetError, Network};
use skiff_plan::health::Checks;
use skiff_ports::runtime::TaskEvent;
use skiff_ports::snapshot::Assignment;
use skiff_types::{HealthCheck, TaskId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// What is told of tasks, with what is found out of their health.
pub(crate) struct Health {
    network: Network,
    tell: Rc<dyn Fn(TaskEvent)>,
    daemons: RefCell<HashMap<TaskId, Daemon>>,
}

/// A task with a port.
struct Daemon {
    life: u32,
    port: u16,
    rules: HealthCheck,
    /// While its program runs.
    prober: Option<Prober>,
}

/// Checks a daemon until this is dropped.
struct Prober(JoinHandle<()>);

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Health {
    /// Of the tasks in a network; `tell` takes what happens to them.
    pub(crate) fn new(network: Network, tell: Rc<dyn Fn(TaskEvent)>) -> Rc<Self> {
        Rc::new(Self { network, tell, daemons: RefCell::default() })
    }

    /// Where the sandboxes report what happens to tasks.
    pub(crate) fn events(self: &Rc<Self>) -> Rc<dyn Fn(TaskEvent)> {
        let health = self.clone();
        Rc::new(move |event| health.pass_on(event))
    }

    /// Gets to know a task before it runs.
    pub(crate) fn watch(&self, assignment: &Assignment) {
        if let Some(port) = assignment.spec.port {
            let (life, rules) = (assignment.life, assignment.spec.health_check);
            let daemon = || Daemon { life, port, rules, prober: None };
            self.daemons.borrow_mut().entry(assignment.task).or_insert_with(daemon);
        }
    }

    /// Checks a task no more.
    pub(crate) fn forget(&self, task: TaskId) {
        self.daemons.borrow_mut().remove(&task);
    }

    fn pass_on(&self, event: TaskEvent) {
        match event {
            TaskEvent::Started { task, .. } => {
                (self.tell)(event);
                self.begin(task);
            }
            TaskEvent::Ended { task, .. } => {
                self.forget(task);
                (self.tell)(event);
            }
            TaskEvent::Health { .. } => (self.tell)(event),
        }
    }

    fn begin(&self, task: TaskId) {
        let mut daemons = self.daemons.borrow_mut();
        let Some(daemon) = daemons.get_mut(&task) else { return };
        let (life, port, rules) = (daemon.life, daemon.port, daemon.rules);
        let (network, tell) = (self.network.clone(), self.tell.clone());
        let checking = async move {
            let probe = async || network.probe(task, port).await;
            let said = |healthy, reason| tell(TaskEvent::Health { task, life, healthy, reason });
            keep_checking(rules, port, probe, said).await;
        };
        daemon.prober = Some(Prober(spawn_local(checking)));
    }
}

/// Checks again and again, and says when the health changes; why, where it is bad.
async fn keep_checking(
    rules: HealthCheck,
    port: u16,
    probe: impl AsyncFn() -> Result<(), NetError>,
    said: impl Fn(bool, String),
) {
    let began = Instant::now();
    let mut checks = Checks::new(rules, 0);
    loop {
        let probed = timeout(rules.timeout.duration(), probe()).await;
        let result = probed.unwrap_or(Err(NetError::TimedOut));
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(healthy) = checks.note(result.is_ok(), now_ms) {
            let reason = result.err().map(|error| reason(&rules, port, &error));
            said(healthy, reason.unwrap_or_default());
        }
        sleep(Duration::from_millis(checks.pause_ms())).await;
    }
}

fn reason(rules: &HealthCheck, port: u16, error: &NetError) -> String {
    let why = match error {
        NetError::Refused => "nothing listens there".to_owned(),
        NetError::TimedOut => format!("its program takes no connections, waited {}", rules.timeout),
        error => error.to_string(),
    };
    format!("port {port} was not reached, {} checks in a row: {why}", rules.unhealthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Span;

    /// What is said within some time, and after how many milliseconds, if checks come to these results; the last of them
    /// is that of all further ones.
    async fn said(within: Duration, results: &[Result<(), NetError>]) -> Vec<(u64, bool, String)> {
        let began = Instant::now();
        let (next, said) = (RefCell::new(results.iter()), RefCell::new(Vec::new()));
        let probe = async || {
            let result = next.borrow_mut().next().or(results.last()).cloned();
            match result {
                // What never answers.
                Some(Err(NetError::TimedOut)) | None => std::future::pending().await,
                Some(result) => result,
            }
        };
        let note = |healthy, reason| {
            said.borrow_mut().push((began.elapsed().as_millis() as u64, healthy, reason));
        };
        let _ = timeout(within, keep_checking(rules(), 6379, probe, note)).await;
        said.into_inner()
    }

    fn rules() -> HealthCheck {
        HealthCheck { start_period: Span::from_ms(5_000), ..HealthCheck::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_is_healthy_as_soon_as_it_is_reached() {
        let refused = Err(NetError::Refused);
        let said = said(Duration::from_secs(60), &[refused.clone(), refused.clone(), refused, Ok(())]).await;
        let [(at_ms, healthy, reason)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((*healthy, reason.as_str()), (true, ""));
        assert!((70..90).contains(at_ms), "{at_ms}: after 10, 20 and 40 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_reached_any_more_is_said_once_and_why() {
        let said = said(Duration::from_secs(120), &[Ok(()), Err(NetError::Refused)]).await;
        let [(_, true, _), (_, false, reason)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(reason, "port 6379 was not reached, 3 checks in a row: nothing listens there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_gets_no_answer_fails() {
        let said = said(Duration::from_secs(120), &[Err(NetError::TimedOut)]).await;
        let [(_, false, reason)] = &said[..] else { panic!("{said:?}") };
        assert!(reason.ends_with("its program takes no connections, waited 2s"), "{reason}");
    }
}
