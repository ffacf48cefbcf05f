//! How many of a worker's connections may carry bytes without HTTP: TCP connections, and tunnels.
//!
//! Such a one lasts for as long as its two sides keep it barely alive. None is ever idle, so none can go to make room for
//! others. They have a share of the room, so that whoever holds many of them shuts out no client of HTTP; who comes past
//! it is refused.

use std::cell::Cell;
use std::rc::Rc;

/// They may be one in so many of the connections that a worker holds open at once (`Limits::connections_max`), rounded up.
const SHARE: usize = 2;

/// The places that there are.
#[derive(Debug)]
pub(crate) struct Share {
    taken: Rc<Cell<usize>>,
    places: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Share {
    /// Of so many connections.
    pub(crate) fn of(connections_max: usize) -> Self {
        Self { taken: Rc::default(), places: connections_max.div_ceil(SHARE) }
    }

    /// Whether no place is left.
    pub(crate) fn is_full(&self) -> bool {
        self.taken.get() >= self.places
    }

    /// A place, if there is one.
    pub(crate) fn take(&self) -> Option<Place> {
        if self.is_full() {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        Some(Place(self.taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_connections_have_a_place() {
        for (connections_max, places) in [(0, 0), (1, 1), (2, 1), (5, 3), (10_000, 5_000)] {
            let share = Share::of(connections_max);
            let mut taken: Vec<Place> = std::iter::from_fn(|| share.take()).collect();
            assert_eq!((taken.len(), share.is_full()), (places, true), "{connections_max}");
            if taken.pop().is_some() {
                assert!(share.take().is_some(), "one has ended");
            }
        }
    }
}
