//! A well-behaved neighbour's client: asks at a constant rate, whatever the answers do, and writes down how long each took
//! from when it was due.
//!
//! A machine that stands still, as virtual ones do at times, is no guest's doing: a thread that only sleeps notices, and
//! what was asked meanwhile does not count.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that the requests are spread over. One that waits for a slow answer is behind its schedule then, and says
/// so of all that was due meanwhile.
const CONNECTIONS: u32 = 2;
/// The thread that only sleeps does so for so long at a time; if it wakes so much later, the machine stood still.
const NAP: Duration = Duration::from_millis(10);
const STALL: Duration = Duration::from_millis(200);
/// How long it waits for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client, at work until it is dropped.
pub(crate) struct Neighbour {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: Mutex<Vec<Answer>>,
    /// From when to when the machine stood still.
    stalls: Mutex<Vec<(Instant, Instant)>>,
}

struct Answer {
    due: Instant,
    latency: Duration,
    failure: Option<String>,
}

/// What it felt in some span of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Felt {
    pub(crate) answers: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl fmt::Display for Felt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, failures, p50, p99, max } = self;
        write!(
            f,
            "{answers} answers, p50 {p50:.1?}, p99 {p99:.1?}, at most {max:.1?}, failures: {failures:?}"
        )
    }
}

impl Neighbour {
    /// Asks `service` behind the load balancer at `http` so often per second.
    pub(crate) fn start(http: &str, service: &str, per_second: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let interval = Duration::from_secs(1) / per_second;
        let began = Instant::now();
        let threads = (0..CONNECTIONS).map(|number| {
            let (shared, http, service) = (shared.clone(), http.to_owned(), service.to_owned());
            let first = began + interval * number;
            std::thread::spawn(move || shared.ask(&http, &service, first, interval * CONNECTIONS))
        });
        let observer = shared.clone();
        let threads = threads.chain([std::thread::spawn(move || observer.notice_stalls())]).collect();
        Self { shared, threads }
    }

    /// What it has felt of all that was due since then, and has come to an end.
    pub(crate) fn felt_since(&self, since: Instant) -> Felt {
        let answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let stalls = self.shared.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = |answer: &&Answer| {
            let end = answer.due + answer.latency;
            answer.due >= since && !stalls.iter().any(|stall| answer.due < stall.1 && stall.0 < end)
        };
        let these: Vec<&Answer> = answers.iter().filter(counts).collect();
        let mut latencies: Vec<Duration> = these.iter().map(|answer| answer.latency).collect();
        latencies.sort();
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share).ceil() as usize;
            latencies.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Felt {
            answers: these.len(),
            failures: these.iter().filter_map(|answer| answer.failure.clone()).collect(),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn notice_stalls(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let before = Instant::now();
            std::thread::sleep(NAP);
            let after = Instant::now();
            if after - before > NAP + STALL {
                self.stalls.lock().unwrap_or_else(PoisonError::into_inner).push((before, after));
            }
        }
    }

    /// When the machine went on, if it stood still at this time or after.
    fn stall_after(&self, due: Instant) -> Option<Instant> {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.last().map(|stall| stall.1).filter(|end| *end > due)
    }

    fn ask(&self, http: &str, service: &str, first: Instant, interval: Duration) {
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().new_agent();
        let (url, host) = (format!("http://{http}/"), format!("{service}.localhost"));
        let mut due = first;
        while !self.stop.load(Ordering::Relaxed) {
            // What was due while the machine stood still would only hold up what is due after it.
            if let Some(end) = self.stall_after(due) {
                due = end;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = agent.get(&url).header("host", &host).call();
            let whole = answer.and_then(|mut answer| answer.body_mut().read_to_string());
            let answer =
                Answer { due, latency: due.elapsed(), failure: whole.err().map(|error| error.to_string()) };
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            due += interval;
        }
    }
}
