//! Quotas that are switched off, to measure what each costs. Never for serving: a guest can then harm its neighbours.

use std::str::FromStr;
use std::sync::OnceLock;

/// What is switched off, in this process and its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    /// Code that looks whether its slice is over.
    pub(crate) epoch: bool,
    /// Counting CPU time, and holding it to the task's share.
    pub(crate) cpu: bool,
    /// Holding memories and tables to the task's limit.
    pub(crate) memory: bool,
    /// Counting what the host allocates for a guest.
    pub(crate) heap: bool,
}

static WITHOUT: OnceLock<Without> = OnceLock::new();

impl Without {
    /// Switches it off for as long as the process lives; to be called before anything else of this crate.
    pub fn switch_off(self) {
        WITHOUT.set(self).expect("it is said once");
    }

    pub(crate) fn get() -> Self {
        WITHOUT.get().copied().unwrap_or_default()
    }
}

impl FromStr for Without {
    type Err = String;

    /// Names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut without = Self::default();
        for name in text.split(',') {
            match name {
                "epoch" => without.epoch = true,
                "cpu" => without.cpu = true,
                "memory" => without.memory = true,
                "heap" => without.heap = true,
                _ => return Err(format!("{name:?} can't be switched off; epoch, cpu, memory and heap can")),
            }
        }
        Ok(without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_can_be_switched_off() {
        let two = Without { epoch: true, heap: true, ..Without::default() };
        assert_eq!("epoch,heap".parse(), Ok(two));
        assert!("epoch,walls".parse::<Without>().unwrap_err().contains("walls"));
        assert!("".parse::<Without>().is_err());
    }
}
