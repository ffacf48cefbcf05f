//! The keys of TLS session tickets: made when the node starts, renewed from time to time, told to every worker.
//!
//! They are in memory alone and nobody else is told them, so a node that starts anew takes up no session from before: its
//! clients agree on new ones. What always holds: a ticket is opened for at least as long as one key lasts.

use skiff_kit::{Drain, random};
use skiff_ports::tls::TicketKeys;
use std::time::Duration;
use tokio::sync::watch;

/// How long a key makes tickets; it opens them for as long again.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// The keys of a node.
#[derive(Debug)]
pub(crate) struct Tickets(watch::Sender<TicketKeys>);

impl Tickets {
    /// With a key that nobody had before.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(TicketKeys { current: random::bytes(), previous: None }))
    }

    /// The keys, whenever they change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<TicketKeys> {
        self.0.subscribe()
    }

    /// Renews them until the drain begins.
    pub(crate) async fn keep(&self, drain: &Drain) {
        loop {
            tokio::select! {
                () = drain.begun() => return,
                () = tokio::time::sleep(RENEWAL_INTERVAL) => self.renew(),
            }
        }
    }

    fn renew(&self) {
        self.0.send_modify(|keys| *keys = keys.renewed(random::bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_told_the_new_key_and_the_one_before() {
        let tickets = Tickets::new();
        let mut told = tickets.subscribe();
        let first = told.borrow_and_update().clone();
        assert!(first.previous.is_none() && first.current != Tickets::new().subscribe().borrow().current);
        tickets.renew();
        assert!(told.has_changed().unwrap());
        let second = told.borrow_and_update().clone();
        assert!(second.previous == Some(first.current) && second.current != first.current);
    }
}
