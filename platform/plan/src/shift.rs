//! Shifts: how the weight of a service moves from the revision that served before (blue) to the one that comes (green), step
//! by step, and back. ECS's blue/green, canary and linear deployments.
//!
//! It deliberately starts and stops nothing (`service` keeps both sides whole), and does not say when a deployment is given up
//! (`rollout` does). How far a shift is, is kept with the rollout that it is of, and written before anything is done by it.
//!
//! What always holds: green has no weight before all of it serves, and takes no step while not all of it does; its weight only
//! grows until the shift is over or goes back; one that goes back has no weight on green from then on, and never again; a
//! halted one stays at its step, and the time that it is halted does not count as time at it.

use skiff_types::{Strategy, Task, TaskDefinitionId, TaskId};

/// How far a shift is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Weight goes from blue to green.
    Forward,
    /// All went to green for as long as it was to be looked at: blue goes.
    CleanUp,
    /// It was given up: all goes to blue.
    Back,
}

/// A shift: what is noted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The revision that served before.
    pub blue: TaskDefinitionId,
    /// The revision that comes.
    pub green: TaskDefinitionId,
    /// How far it is.
    pub stage: Stage,
    /// How many requests of a hundred go to green.
    pub percent: u16,
    /// How many steps were taken.
    pub step: u16,
    /// When the last of them was, or when it began, in milliseconds since 1970.
    pub stepped_at_ms: u64,
    /// How long it had been at its step, in milliseconds, when it was halted; none while it goes on.
    pub held_ms: Option<u64>,
}

/// What a shift is decided by.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// By which steps.
    pub strategy: Strategy,
    /// Whether all of green serves.
    pub is_whole: bool,
    /// Its user halted it.
    pub is_paused: bool,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
}

/// How the requests of a service are divided between two revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Who has the requests that do not go to green; never none.
    pub blue: Vec<TaskId>,
    /// Who has those that do; where there is none, blue has all.
    pub green: Vec<TaskId>,
    /// How many of a hundred these are.
    pub percent: u16,
}

impl Shift {
    /// One that begins.
    pub fn begin(blue: TaskDefinitionId, green: TaskDefinitionId, now_ms: u64) -> Self {
        Self { blue, green, stage: Stage::Forward, percent: 0, step: 0, stepped_at_ms: now_ms, held_ms: None }
    }

    /// The same that was given up: all weight is blue's. None where blue goes already: what is left of it can't have all
    /// requests, and comes back task by task.
    pub fn back(self) -> Option<Self> {
        let is_blue_kept = self.stage != Stage::CleanUp;
        is_blue_kept.then_some(Self { stage: Stage::Back, percent: 0, held_ms: None, ..self })
    }

    /// Takes the step that is due, if one is.
    pub fn advance(&mut self, seen: &Seen) {
        if self.stage != Stage::Forward {
            return;
        }
        // Where the clock was put back, it has just begun.
        self.stepped_at_ms = self.stepped_at_ms.min(seen.now_ms);
        match (seen.is_paused, self.held_ms) {
            (true, None) => self.held_ms = Some(seen.now_ms - self.stepped_at_ms),
            (true, Some(_)) => {}
            (false, held_ms) => {
                if let Some(held_ms) = held_ms {
                    self.stepped_at_ms = seen.now_ms.saturating_sub(held_ms);
                    self.held_ms = None;
                }
                if seen.is_whole && self.due_at_ms(&seen.strategy) <= seen.now_ms {
                    self.take_step(seen);
                }
            }
        }
    }

    fn take_step(&mut self, seen: &Seen) {
        if self.percent >= 100 {
            self.stage = Stage::CleanUp;
            return;
        }
        // Where its user took the strategy away meanwhile, what is left is one step.
        self.percent = seen.strategy.percent_after(self.percent);
        self.step = self.step.saturating_add(1);
        self.stepped_at_ms = seen.now_ms;
    }

    /// When the next step is due, in milliseconds since 1970: the first one at once.
    fn due_at_ms(&self, strategy: &Strategy) -> u64 {
        let bake_ms = if self.percent == 0 { 0 } else { strategy.bake_at(self.percent).ms() };
        self.stepped_at_ms.saturating_add(bake_ms)
    }

    /// When the next step is due, or blue goes, in milliseconds since 1970; none where that does not hang on the time.
    pub fn next_at_ms(&self, strategy: &Strategy) -> Option<u64> {
        let waits = self.stage == Stage::Forward && self.held_ms.is_none() && self.percent > 0;
        waits.then(|| self.due_at_ms(strategy))
    }

    /// How the requests of a service that is to have so many tasks are divided among those of its `tasks` that can take them;
    /// not at all while blue has none, since anybody is better than nobody then.
    ///
    /// Those of neither revision, of a deployment that was superseded, have requests in blue's stead as long as not all of blue
    /// can.
    pub fn divide(&self, desired: u32, tasks: &[&Task]) -> Option<Division> {
        let of = |definition: &TaskDefinitionId| -> Vec<TaskId> {
            tasks.iter().filter(|task| task.definition == *definition).map(|task| task.id).collect()
        };
        let (mut blue, green) = (of(&self.blue), of(&self.green));
        if blue.len() < desired as usize {
            let others = tasks.iter().filter(|task| !self.is_of(&task.definition));
            blue.extend(others.map(|task| task.id));
        }
        (!blue.is_empty()).then_some(Division { blue, green, percent: self.percent })
    }

    fn is_of(&self, definition: &TaskDefinitionId) -> bool {
        self.blue == *definition || self.green == *definition
    }
}

#[cfg(test)]
mod tests;
