//! A run: one thread that sends what is due, reads what comes, and waits for whichever is next.
//!
//! What always holds: a request is sent at the first moment at which it is due and a connection is free; which one is
//! the one that has been free for longest.

use crate::connection::{Connection, Progress};
use crate::outcome::{DriverReport, Errors, Latency, Outcome};
use crate::schedule::{Pace, Schedule};
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// So close to a due time the driver does not sleep: waking up takes the kernel longer than a request may be late.
const SPIN: Duration = Duration::from_micros(200);
/// After this long, a connection that could not be opened is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// Latencies are kept to three digits, up to this one, in nanoseconds: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;

/// What to send, where, how fast, for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub target: SocketAddr,
    /// The path of every request.
    pub path: String,
    /// The `Host` of the requests, in turn; at least one.
    pub hosts: Vec<String>,
    /// Connections held open; at least one.
    pub connections: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long requests are due.
    pub duration: Duration,
    /// How many at most.
    pub requests_max: Option<u64>,
    /// How long the last answers may take once no more requests are due.
    pub grace: Duration,
}

/// Runs a load.
///
/// # Errors
/// If the server can't be connected to at the start. What happens later is counted.
pub fn run(load: &Load) -> anyhow::Result<Outcome> {
    if load.hosts.is_empty() || load.connections == 0 {
        bail!("a load needs a host and a connection");
    }
    let mut driver = Driver::connect(load)?;
    driver.run()?;
    Ok(driver.outcome())
}

struct Driver<'a> {
    load: &'a Load,
    requests: Vec<Vec<u8>>,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Free connections, the one that is so for longest first.
    free: VecDeque<usize>,
    /// Connections that could not be opened again, and when they are tried next.
    down: Vec<usize>,
    retry_at: Duration,
    schedule: Option<Schedule>,
    started: Instant,
    in_flight: usize,
    sent: u64,
    answered: u64,
    errors: Errors,
    latency_ns: Histogram<u64>,
    late_ns: Histogram<u64>,
    idle: Duration,
    /// When the last answer came.
    last: Duration,
}

impl<'a> Driver<'a> {
    fn connect(load: &'a Load) -> anyhow::Result<Self> {
        let request =
            |host: &String| format!("GET {} HTTP/1.1\r\nhost: {host}\r\n\r\n", load.path).into_bytes();
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("sound bounds");
        let mut driver = Self {
            load,
            requests: load.hosts.iter().map(request).collect(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: (0..load.connections).map(|_| None).collect(),
            free: (0..load.connections).collect(),
            down: Vec::new(),
            retry_at: Duration::ZERO,
            schedule: Schedule::of(load.pace),
            started: Instant::now(),
            in_flight: 0,
            sent: 0,
            answered: 0,
            errors: Errors::default(),
            latency_ns: histogram(),
            late_ns: histogram(),
            idle: Duration::ZERO,
            last: Duration::ZERO,
        };
        for index in 0..load.connections {
            driver
                .open(index)
                .with_context(|| format!("connection {} to {} can't be opened", index + 1, load.target))?;
        }
        driver.started = Instant::now();
        Ok(driver)
    }

    fn open(&mut self, index: usize) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.load.target)?;
        connection.idle_since_ns = nanoseconds(self.started.elapsed());
        let event = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &connection.stream, event, epoll::EventFlags::IN)?;
        self.connections[index] = Some(connection);
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut scratch = vec![0; SCRATCH_BYTES];
        loop {
            let now = self.started.elapsed();
            let more = self.send_what_is_due(now);
            if now >= self.load.duration + self.load.grace || (!more && self.in_flight == 0) {
                return Ok(());
            }
            let wait = whole_milliseconds(self.until_next(now));
            let timeout = Timespec::try_from(wait).context("a wait that the kernel can be told")?;
            let before = Instant::now();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("the kernel says nothing of the connections"),
            }
            self.idle += before.elapsed();
            for event in events.drain(..) {
                self.read(event.data.u64() as usize, &mut scratch);
            }
            self.reopen();
        }
    }

    /// Sends all that can be; whether more is to come.
    fn send_what_is_due(&mut self, now: Duration) -> bool {
        while let Some(due) = self.next_due(now) {
            if due > now {
                return true;
            }
            let Some(index) = self.free.pop_front() else { return true };
            if let Some(schedule) = &mut self.schedule {
                schedule.take();
            }
            self.send(index, due);
        }
        false
    }

    /// When the next request is due; `None` if there is none any more.
    fn next_due(&self, now: Duration) -> Option<Duration> {
        let due = self.schedule.as_ref().map_or(now, Schedule::next_due);
        let allowed = self.load.requests_max.is_none_or(|most| self.sent < most);
        (due < self.load.duration && allowed).then_some(due)
    }

    fn send(&mut self, index: usize, due: Duration) {
        let connection = self.connections[index].as_mut().expect("what is free is open");
        let now_ns = nanoseconds(self.started.elapsed());
        let due_ns = match self.schedule {
            Some(_) => {
                self.late_ns
                    .saturating_record(now_ns.saturating_sub(nanoseconds(due).max(connection.idle_since_ns)));
                nanoseconds(due)
            }
            None => now_ns,
        };
        let request = &self.requests[(self.sent % self.requests.len() as u64) as usize];
        self.sent += 1;
        self.in_flight += 1;
        if connection.send(request, due_ns).is_err() {
            self.lose(index, |errors| &mut errors.closed);
        }
    }

    /// How long nothing need be done unless something comes.
    fn until_next(&self, now: Duration) -> Duration {
        let mut until = (self.load.duration + self.load.grace).saturating_sub(now);
        if let Some(due) = self.next_due(now)
            && !self.free.is_empty()
        {
            let wait = due.saturating_sub(now);
            until = until.min(wait.saturating_sub(SPIN));
        }
        if !self.down.is_empty() {
            until = until.min(self.retry_at.saturating_sub(now));
        }
        until
    }

    fn read(&mut self, index: usize, scratch: &mut [u8]) {
        // An event may be of a connection that was given up since.
        let Some(connection) = &mut self.connections[index] else { return };
        match connection.read(scratch) {
            Progress::Waiting => {}
            Progress::Malformed => self.lose(index, |errors| &mut errors.malformed),
            Progress::Closed if connection.due_ns.is_none() => {
                // The server need not keep what is not used.
                self.free.retain(|free| *free != index);
                self.give_up(index);
            }
            Progress::Closed => self.lose(index, |errors| &mut errors.closed),
            Progress::Answered(answer) => {
                let now = self.started.elapsed();
                let due_ns = connection.due_ns.take().expect("an answer to a request");
                connection.idle_since_ns = nanoseconds(now);
                self.in_flight -= 1;
                self.last = now;
                match answer.status {
                    200..=299 => {
                        self.answered += 1;
                        self.latency_ns.saturating_record(nanoseconds(now).saturating_sub(due_ns));
                    }
                    status => *self.errors.status.entry(status).or_default() += 1,
                }
                if answer.close {
                    self.give_up(index);
                } else {
                    self.free.push_back(index);
                }
            }
        }
    }

    /// Counts the request that was under way as lost, and its connection with it.
    fn lose(&mut self, index: usize, kind: impl FnOnce(&mut Errors) -> &mut u64) {
        let connection = self.connections[index].as_mut().expect("it is open");
        if connection.due_ns.take().is_some() {
            self.in_flight -= 1;
            *kind(&mut self.errors) += 1;
        }
        self.give_up(index);
    }

    fn give_up(&mut self, index: usize) {
        self.connections[index] = None;
        self.down.push(index);
    }

    /// Opens again what was given up; where that fails, not before a while has passed.
    fn reopen(&mut self) {
        if self.down.is_empty() || self.started.elapsed() < self.retry_at {
            return;
        }
        for index in std::mem::take(&mut self.down) {
            match self.open(index) {
                Ok(()) => self.free.push_back(index),
                Err(_) => {
                    self.errors.connect += 1;
                    self.down.push(index);
                    self.retry_at = self.started.elapsed() + RETRY;
                }
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let end = self.started.elapsed();
        let waiting = self.connections.iter().flatten().filter_map(|connection| connection.due_ns);
        for due_ns in waiting {
            self.errors.unanswered += 1;
            self.latency_ns.saturating_record(nanoseconds(end).saturating_sub(due_ns));
        }
        let mut due = self.sent;
        // What was due and never sent for want of a free connection waits as well.
        while self.schedule.is_some()
            && let Some(due_at) = self.next_due(end)
            && let Some(schedule) = &mut self.schedule
            && self.load.requests_max.is_none_or(|most| due < most)
        {
            schedule.take();
            due += 1;
            self.errors.unanswered += 1;
            self.latency_ns.saturating_record(nanoseconds(end.saturating_sub(due_at)));
        }
        let seconds = if self.answered > 0 { self.last } else { end }.as_secs_f64();
        Outcome {
            seconds,
            due,
            sent: self.sent,
            answered: self.answered,
            answered_per_second: self.answered as f64 / seconds,
            errors: self.errors,
            latency: Latency::new(&self.latency_ns),
            driver: DriverReport::new(&self.late_ns, self.idle.as_secs_f64() / end.as_secs_f64()),
        }
    }
}

/// The part of a wait that is slept: kernels without `epoll_pwait2` round up to milliseconds, and would wake the driver
/// late. What is left of the wait is spun.
fn whole_milliseconds(wait: Duration) -> Duration {
    Duration::from_millis(wait.as_millis().try_into().unwrap_or(u64::MAX))
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_is_longer_than_its_wait() {
        let slept = |us| whole_milliseconds(Duration::from_micros(us));
        assert_eq!([0, 999, 1_000, 2_500].map(slept), [0, 0, 1, 2].map(Duration::from_millis));
    }
}
