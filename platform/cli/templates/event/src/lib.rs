//! {{name}}: an event task. It takes what happens to the objects of a bucket, and notes each once in a table.

use skiff_sdk::events::Event;
use skiff_sdk::tables::{Table, Write};
use skiff_sdk::{Result, env, log};

/// What an event of a bucket says.
#[derive(serde::Deserialize)]
struct Happened {
    bucket: Bucket,
    object: Object,
}

#[derive(serde::Deserialize)]
struct Bucket {
    name: String,
}

#[derive(serde::Deserialize)]
struct Object {
    key: String,
}

#[skiff_sdk::event]
fn handle(event: Event<Happened>) -> Result<()> {
    let Happened { bucket, object } = &event.data;
    let name = format!("{}/{}", bucket.name, object.key);
    let table = Table::new(env::get("TABLE")?.unwrap_or_else(|| "happened".into()));
    // An event may come again: what it changes, it changes once.
    let note =
        || Ok::<_, std::convert::Infallible>(vec![Write::put(format!("object/{name}"), event.kind.clone())]);
    let is_first = skiff_sdk::once(&table, &format!("event/{}", event.id), note)?;
    log::info!("{}: {name}{}", event.kind, if is_first { "" } else { " (again)" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_noted() {
        let table = Table::new("happened");
        let data =
            Happened { bucket: Bucket { name: "uploads".into() }, object: Object { key: "cat.png".into() } };
        let event = Event {
            id: "1".into(),
            source: "skiff.s3".into(),
            kind: "Object Created".into(),
            subject: None,
            time: None,
            data,
        };
        handle(event).unwrap();
        let item = table.get("object/uploads/cat.png").unwrap().unwrap();
        assert_eq!(item.value, b"Object Created");
    }
}
