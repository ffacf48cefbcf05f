//! A consumer of messages without the SDK, by the contract alone: it says of as many messages that they are done as its queue's
//! name says.

wit_bindgen::generate!({
    path: "../../../../../sdk/wit/deps/skiff-queues-0.1.0.wit",
    world: "exports",
});

use exports::skiff::queues::consumer::{Guest, Message, Outcome};

struct Component;

impl Guest for Component {
    fn consume(queue: String, messages: Vec<Message>) -> Vec<Outcome> {
        match queue.parse::<usize>() {
            Ok(count) => (0..count).map(|_| Outcome::Done).collect(),
            Err(_) => {
                let outcome = |message: Message| match message.body.as_slice() {
                    b"retry" => Outcome::Retry(Some(message.sent_at_ms + u64::from(message.receives))),
                    _ => Outcome::Reject(format!(
                        "{} {:?} {:?}",
                        message.id, message.attributes, message.group
                    )),
                };
                messages.into_iter().map(outcome).collect()
            }
        }
    }
}

export!(Component);
