//! Who looks on: events as they come, for each namespace apart. Costs an event next to nothing where nobody does.

use futures::StreamExt as _;
use skiff_ports::buses::{Tail, Tailed};
use skiff_types::{BusEvent, Namespace};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

/// Events of a namespace that are kept for who looks on; who is further behind misses some.
const EVENTS_MAX: usize = 256;

/// Those who look on.
#[derive(Default)]
pub(super) struct Tails {
    senders: Mutex<HashMap<Namespace, broadcast::Sender<Arc<BusEvent>>>>,
}

impl Tails {
    /// Somebody looks on from now on.
    pub(super) fn tail(&self, namespace: &Namespace) -> Tail {
        let mut senders = self.senders.lock().expect("nobody panics while holding the tails");
        let sender = senders.entry(namespace.clone()).or_insert_with(|| broadcast::Sender::new(EVENTS_MAX));
        let tailed = |received| match received {
            Ok(event) => Tailed::Event(event),
            Err(BroadcastStreamRecvError::Lagged(missed)) => Tailed::Missed(missed),
        };
        BroadcastStream::new(sender.subscribe()).map(tailed).boxed()
    }

    /// These came.
    pub(super) fn came(&self, events: Vec<Arc<BusEvent>>) {
        let mut senders = self.senders.lock().expect("nobody panics while holding the tails");
        if senders.is_empty() {
            return;
        }
        for event in events {
            let namespace = event.namespace.clone();
            if let Some(sender) = senders.get(&namespace)
                && sender.send(event).is_err()
            {
                // Nobody looks on any more.
                senders.remove(&namespace);
            }
        }
    }
}
