//! `skiff apply`: makes the platform's resources what a document says.
//!
//! The document is validated whole, then compared with what is, then carried out, in an order in which each resource finds
//! what it names. Nothing is removed that a document does not name, and what a resource leaves out stays as its call of the
//! API has it. It pushes no images. In the end it is looked whether the listeners that were written are reached. What always
//! holds: nothing is written before everything is found sound, nor without a difference.

mod carry_out;
mod certificate;
mod difference;
mod document;
mod fields;
mod format;
mod order;
mod plan;
mod present;
mod reached;
mod resource;
mod retry;
mod settle;
mod tree;

pub(crate) mod export;

use crate::args::ApplyArgs;
use crate::context::Context;
use crate::{human, output, progress};
use carry_out::Work;
use difference::{Change, Field};
use order::Step;
use plan::Item;
use present::Platform;
use serde::Serialize;
use std::process::ExitCode;

/// The exit code of `--dry-run --exit-code` where something would change.
const DIFFERENT: u8 = 3;

/// A resource, as programs are told of it.
#[derive(Serialize)]
struct Outcome<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    /// `create`, `change` or `unchanged`.
    change: &'static str,
    /// Which fields change.
    fields: &'a [Field],
    /// Whether it is as it is to be now.
    done: bool,
}

pub(crate) async fn run(context: &Context, args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let resources = document::read(&args.files, &context.namespace)?;
    let client = context.client()?;
    let mut platform = Platform::new(&client);
    let items = plan::plan(&mut platform, resources).await?;
    let steps = order::steps(&items)?;
    if !context.output.is_json() {
        output::line(&difference(&items, &steps))?;
    }
    let mut work = Work::new(&mut platform, &items);
    let carried = match args.dry_run {
        true => Ok(()),
        false => work.all(&steps).await,
    };
    if context.output.is_json() {
        let outcomes: Vec<Outcome<'_>> =
            items.iter().zip(&work.done).map(|(item, done)| outcome(item, *done)).collect();
        context.output.print(&outcomes, String::new)?;
    }
    carried?;
    progress::note(summary(&items, args.dry_run));
    if !args.dry_run {
        reached::check(&client, &items).await?;
    }
    Ok(match args.exit_code && !steps.is_empty() {
        true => ExitCode::from(DIFFERENT),
        false => ExitCode::SUCCESS,
    })
}

fn outcome(item: &Item, done: bool) -> Outcome<'_> {
    let id = &item.resource.id;
    Outcome {
        kind: id.kind.word(),
        namespace: id.kind.is_namespaced().then(|| id.namespace.as_str()),
        name: id.name.as_str(),
        change: item.change.word(),
        fields: item.change.fields(),
        done,
    }
}

/// What becomes of each resource: first what stays, then what is written, in its order.
fn difference(items: &[Item], steps: &[Step]) -> String {
    let unchanged = items.iter().filter(|item| item.change == Change::Nothing);
    let written = steps.iter().filter_map(|step| match step {
        Step::Bare(_) => None,
        Step::Whole(at) => Some(&items[*at]),
    });
    let shown = |item: &Item| item.change.shown(&item.resource.id.to_string());
    unchanged.chain(written).map(shown).collect::<Vec<_>>().join("\n")
}

fn summary(items: &[Item], dry_run: bool) -> String {
    let count = |wanted: &str| items.iter().filter(|item| item.change.word() == wanted).count() as u64;
    let (created, changed, unchanged) = (count("create"), count("change"), count("unchanged"));
    if created + changed == 0 {
        return format!("nothing to do: {} as the document says", resources(unchanged));
    }
    match dry_run {
        true => {
            format!("nothing is done yet: {created} to create, {changed} to change, {unchanged} unchanged")
        }
        false => format!("{created} created, {changed} changed, {unchanged} unchanged"),
    }
}

fn resources(count: u64) -> String {
    human::count(count, "resource") + if count == 1 { " is" } else { " are" }
}
