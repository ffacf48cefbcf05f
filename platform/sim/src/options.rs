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
    /// No worker says that a request waits for a service that sleeps: nobody wakes it.
    Unwanted,
    /// A worker's program of a one-off task runs in its neighbour as well.
    Twins,
    /// No request counts: no alarm that watches them is ever in `ALARM`.
    Uncounted,
    /// Messages are taken for done whose task has said nothing of them.
    Unanswered,
    /// The buses deliver what is due a second time, under another id.
    Twice,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoMinimum,
        Self::NoMaximum,
        Self::SharedAddress,
        Self::DeafWorkers,
        Self::NoHealth,
        Self::Flapping,
        Self::Undead,
        Self::Unwanted,
        Self::Twins,
        Self::Uncounted,
        Self::Unanswered,
        Self::Twice,
    ];

    /// Whether it breaks what scenes are played for; others are played without any, so that what is found is theirs.
    #[must_use]
    pub fn is_of_scenes(self) -> bool {
        match self {
            Self::NoMinimum
            | Self::NoMaximum
            | Self::SharedAddress
            | Self::DeafWorkers
            | Self::NoHealth
            | Self::Flapping
            | Self::Undead => false,
            Self::Unwanted | Self::Twins | Self::Uncounted | Self::Unanswered | Self::Twice => true,
        }
    }
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
    /// Requests that were sent, and batches of messages.
    pub requests: u64,
    /// Requests that waited for a task, and got one.
    pub waited: u64,
    /// One-off tasks that ended.
    pub runs: u64,
    /// Scenes that had what they were to have, in time, with nothing going wrong.
    pub scenes: u64,
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
        self.waited += other.waited;
        self.runs += other.runs;
        self.scenes += other.scenes;
        self.deaths += other.deaths;
        self.elapsed_ms += other.elapsed_ms;
    }
}
