//! A command on WASI 0.2 that an event starts: it looks at the clock before anything else, and writes that to the table `stamps`,
//! under the key that the event's detail names.

use serde::Deserialize;
use skiff_sdk::events;
use skiff_sdk::tables::Table;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Deserialize)]
struct Sent {
    key: String,
}

#[skiff_sdk::main]
fn main() -> skiff_sdk::Result<()> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let event = events::from_stdin::<Sent>()?;
    Table::new("stamps").put(event.data.key, began.as_nanos().to_string())?;
    Ok(())
}
