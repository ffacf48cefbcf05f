//! What a run is asked for.

/// How one seed is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// All that chance decides follows from it.
    pub seed: u64,
    /// Keep what happened, line by line.
    pub trace: bool,
    /// Something that is wrong on purpose, for which the run must fail.
    pub sabotage: Option<Sabotage>,
}

/// What is wrong on purpose: each breaks one promise, so that the check of it is seen to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Deployments are carried out by a minimum of 0 whatever their user said: what serves falls below what it was to be.
    NoMinimum,
    /// Deployments are carried out by a maximum of 400 whatever their user said: there are more tasks than there were to be.
    NoMaximum,
    /// The store gives all tasks the address of one.
    SharedAddress,
    /// Workers are taken to act on what they were told before they do: tasks end while requests are still sent to them.
    DeafWorkers,
    /// No daemon's health is ever told: no rollout of daemons ends.
    NoHealth,
    /// Nodes say now and then of a healthy task that it is not, and then that it is: nothing comes to rest.
    Flapping,
    /// Workers go on running what they were told to end.
    Undead,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoMinimum,
        Self::NoMaximum,
        Self::SharedAddress,
        Self::DeafWorkers,
        Self::NoHealth,
        Self::Flapping,
        Self::Undead,
    ];
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Which promises were broken, each with when; none if all was well.
    pub violations: Vec<String>,
    /// How many things happened, and what the lines about them hash to: the same for the same seed.
    pub steps: (u64, u64),
    /// The lines, where they were asked for.
    pub trace: String,
    /// What there was of each, so that nobody takes a run in which nothing happened for a good one.
    pub seen: Seen,
}

/// How much there was in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Writes to the store.
    pub writes: u64,
    /// Tasks that were made.
    pub tasks: u64,
    /// Rollouts that completed.
    pub completed: u64,
    /// Rollouts that failed, or went back.
    pub failed: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Deaths of the control plane.
    pub deaths: u64,
    /// Simulated time, in milliseconds.
    pub elapsed_ms: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.tasks += other.tasks;
        self.completed += other.completed;
        self.failed += other.failed;
        self.requests += other.requests;
        self.deaths += other.deaths;
        self.elapsed_ms += other.elapsed_ms;
    }
}
