//! An event task on WASI 0.2 that does what an event's data or a message's body asks for.

use serde::Deserialize;
use skiff_sdk::events::Event;
use skiff_sdk::queues::{Message, Outcome};
use std::time::Duration;

#[derive(Deserialize)]
struct Todo {
    what: String,
}

#[skiff_sdk::event]
fn handle(event: Event<Todo>) -> Result<(), String> {
    skiff_sdk::log::info!("event {} of {} from {}", event.id, event.kind, event.source);
    match event.data.what.as_str() {
        "nothing" => Ok(()),
        "count" => Err(format!("called {} times", guest_common::count())),
        "complain" => Err("why ".repeat(1_000)),
        other => misbehave(other),
    }
}

#[skiff_sdk::queue]
fn consume(message: Message<String>) -> Outcome {
    skiff_sdk::log::info!("message {} of {}, received {} times", message.id, message.queue, message.receives);
    match message.body.as_str() {
        "done" => Outcome::Done,
        "retry" => Outcome::Retry,
        "later" => Outcome::RetryAfter(Duration::from_secs(3)),
        "attributes" => Outcome::Reject(format!("{:?} {:?}", message.attributes, message.group)),
        other => match misbehave(other) {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        },
    }
}

fn misbehave(what: &str) -> Result<(), String> {
    match what {
        "trap" => guest_common::trap(),
        "spin" => drop(guest_common::spin(None)),
        "sleep" => std::thread::sleep(Duration::MAX),
        "grow" => guest_common::grow_forever(),
        "exit" => std::process::exit(3),
        other => return Err(format!("{other:?} is nothing to do")),
    }
    Ok(())
}
