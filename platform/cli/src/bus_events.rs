//! `skiff event …`: events are put on a bus, seen on one, and tried on a pattern. What happened in the past is `events`.

use crate::args::{EventCommand, EventPutArgs};
use crate::context::Context;
use crate::failure::usage;
use crate::{human, input, output, progress};
use anyhow::Context as _;
use futures::StreamExt;
use serde_json::{Value, json};
use skiff_api::{ClientError, JsonText, TailQuery, TailedEvent, TestEventPattern};
use skiff_types::Name;
use std::path::Path;
use std::process::ExitCode;

/// What is put as EventBridge's entries.
const JSON: &str = "application/json";
/// What is put as a CloudEvent.
const CLOUDEVENT: &str = "application/cloudevents+json";
/// What is put as several.
const CLOUDEVENTS: &str = "application/cloudevents-batch+json";

pub(crate) async fn run(context: &Context, command: &EventCommand) -> anyhow::Result<ExitCode> {
    match command {
        EventCommand::Put(args) => put(context, args).await?,
        EventCommand::Tail { bus, pattern } => tail(context, bus, pattern.as_deref()).await?,
        EventCommand::TestPattern { pattern, event } => return test_pattern(context, pattern, event).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn put(context: &Context, args: &EventPutArgs) -> anyhow::Result<()> {
    let (content_type, body) = match (&args.file, &args.source) {
        (Some(file), _) => {
            let bytes = if file == Path::new("-") { input::standard()? } else { input::file(file)? };
            let json: Value = serde_json::from_slice(&bytes).context("what is to be put is not JSON")?;
            form(json, bytes)?
        }
        (None, Some(source)) => {
            let detail = input::json_or_file(args.detail.as_deref().unwrap_or("{}"))?;
            let mut entry = json!({ "Source": source, "DetailType": args.detail_type, "Detail": detail });
            if !args.resources.is_empty() {
                entry["Resources"] = json!(args.resources);
            }
            (JSON, json!({ "Entries": [entry] }).to_string().into_bytes())
        }
        (None, None) => return Err(usage("say what is put: --source and --type, or --file")),
    };
    let client = context.client()?;
    let put = client.put_events(&context.namespace, &args.bus, content_type, body.into()).await?;
    progress::note(format!("put {} on {}", human::count(put.event_ids.len() as u64, "event"), args.bus));
    context.output.print(&put, || put.event_ids.join("\n"))?;
    Ok(())
}

/// As what a file's content is put, by what is in it.
fn form(json: Value, bytes: Vec<u8>) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let is_cloudevent = |value: &Value| value.get("specversion").is_some();
    match &json {
        Value::Object(_) if is_cloudevent(&json) => Ok((CLOUDEVENT, bytes)),
        Value::Array(events) if events.first().is_some_and(is_cloudevent) => Ok((CLOUDEVENTS, bytes)),
        Value::Object(fields) if fields.contains_key("Entries") => Ok((JSON, bytes)),
        Value::Array(events) if events.first().is_some_and(|entry| entry.get("Source").is_some()) => {
            Ok((JSON, bytes))
        }
        Value::Array(events) => {
            let entries = events.iter().map(entry).collect::<anyhow::Result<Vec<Value>>>()?;
            Ok((JSON, json!({ "Entries": entries }).to_string().into_bytes()))
        }
        one => Ok((JSON, json!({ "Entries": [entry(one)?] }).to_string().into_bytes())),
    }
}

/// An event in EventBridge's envelope as an entry.
fn entry(event: &Value) -> anyhow::Result<Value> {
    let (Some(source), Some(detail_type)) = (event.get("source"), event.get("detail-type")) else {
        return Err(usage(
            "this is no event: it has neither \"specversion\", as CloudEvents have, nor \"source\" and \"detail-type\", as \
             EventBridge's have, nor \"Entries\"",
        ));
    };
    let detail = event.get("detail").unwrap_or(&Value::Null).to_string();
    let mut entry = json!({ "Source": source, "DetailType": detail_type, "Detail": detail });
    for (name, field) in [("Time", "time"), ("Resources", "resources")] {
        if let Some(value) = event.get(field) {
            entry[name] = value.clone();
        }
    }
    Ok(entry)
}

async fn tail(context: &Context, bus: &Name, pattern: Option<&str>) -> anyhow::Result<()> {
    let client = context.client()?;
    let query = TailQuery { pattern: pattern.map(input::json_or_file).transpose()? };
    let mut events = client.tail_events(&context.namespace, bus, &query).await?;
    while let Some(tailed) = events.next().await {
        let TailedEvent { event, missed } = tailed?;
        if let Some(missed) = missed {
            progress::note(format!(
                "{} came faster than they are printed, and are left out",
                human::count(missed, "event")
            ));
        }
        if let Some(event) = event {
            output::line(&if context.output.is_json() { event.to_string() } else { line(&event) })?;
        }
    }
    Err(ClientError::StreamEnded { url: client.url().to_owned(), source: None }.into())
}

async fn test_pattern(context: &Context, pattern: &str, event: &str) -> anyhow::Result<ExitCode> {
    let body = TestEventPattern {
        pattern: JsonText(input::json_or_file(pattern)?),
        event: JsonText(input::json_or_file(event)?),
    };
    let test = context.client()?.test_event_pattern(&body).await?;
    let said =
        if test.matches { "the pattern takes the event" } else { "the pattern does not take the event" };
    context.output.print(&test, || said.to_owned())?;
    Ok(if test.matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An event as one line: when, where it comes from, what it is, and what there is to say of it.
fn line(event: &Value) -> String {
    let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or("-").to_owned();
    let detail = event.get("detail").unwrap_or(&Value::Null);
    human::harmless(&format!("{} {} {:?} {detail}", text("time"), text("source"), text("detail-type")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formed(json: Value) -> (&'static str, Value) {
        let bytes = serde_json::to_vec(&json).unwrap();
        let (form, bytes) = form(json, bytes).unwrap();
        (form, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn what_a_file_has_is_put_as_what_it_is() {
        let cloudevent = json!({ "specversion": "1.0", "id": "1", "source": "web", "type": "a" });
        assert_eq!(formed(cloudevent.clone()), (CLOUDEVENT, cloudevent.clone()));
        assert_eq!(formed(json!([cloudevent])).0, CLOUDEVENTS);
        let entries = json!({ "Entries": [{ "Source": "web", "DetailType": "a", "Detail": "{}" }] });
        assert_eq!(formed(entries.clone()), (JSON, entries.clone()));
        assert_eq!(formed(entries["Entries"].clone()).0, JSON);
        let event = json!({ "source": "web", "detail-type": "a", "detail": { "b": 1 }, "resources": ["r"], "id": "7" });
        let entry = json!({ "Source": "web", "DetailType": "a", "Detail": "{\"b\":1}", "Resources": ["r"] });
        let expected = json!({ "Entries": [entry] });
        assert_eq!(formed(event.clone()), (JSON, expected.clone()));
        assert_eq!(formed(json!([event])), (JSON, expected));
        assert!(form(json!({ "hello": 1 }), vec![]).is_err());
    }

    #[test]
    fn an_event_is_a_line() {
        let event = json!({ "time": "2026-11-29T10:23:40.000Z", "source": "web", "detail-type": "Order Placed", "detail": { "a": 1 } });
        assert_eq!(line(&event), "2026-11-29T10:23:40.000Z web \"Order Placed\" {\"a\":1}");
    }
}
