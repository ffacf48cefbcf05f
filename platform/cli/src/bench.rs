//! `skiff bench cold-start`: how long the stages of a cold start take.
//!
//! A service is measured as it stands. A component's file is deployed several times under names of its own, each time
//! with other bytes so that it is compiled anew, and timed from its pushed bytes to its first answer through the load
//! balancer; then the last of them is measured like any service, and all are removed, after Ctrl-C as well.

mod page;
mod report;
mod trial;

use crate::args::ColdStartArgs;
use crate::artifact::{self, Source};
use crate::context::Context;
use crate::failure::usage;
use crate::progress;
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use report::Report;
use skiff_api::{Client, ColdStartRequest, ColdStartSample};
use skiff_types::{Kind, Name};
use std::path::Path;
use trial::{Trial, Trials};

pub(crate) async fn cold_start(context: &Context, args: &ColdStartArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let (samples, trials) = match subject(&args.source)? {
        Subject::Service(name) => (measure(context, &client, args, &name).await?, Vec::new()),
        Subject::File(path) => measure_file(context, &client, args, &path).await?,
    };
    let report = Report { source: &args.source, path: &args.path, deploys: &trials, requests: &samples };
    context.output.print(&report.summary(), || report.text())?;
    if let Some(file) = &args.html {
        std::fs::write(file, page::render(&report)?)
            .with_context(|| format!("the report can't be written to {}", file.display()))?;
        progress::note(format!("wrote {}", file.display()));
    }
    Ok(())
}

enum Subject {
    Service(Name),
    File(std::path::PathBuf),
}

fn subject(text: &str) -> anyhow::Result<Subject> {
    match Source::find(text)? {
        Source::File(path) => Ok(Subject::File(path)),
        _ => text.parse().map(Subject::Service).map_err(|error| usage(format!("{error}, nor is it a file"))),
    }
}

async fn measure(
    context: &Context,
    client: &Client,
    args: &ColdStartArgs,
    name: &Name,
) -> anyhow::Result<Vec<ColdStartSample>> {
    let step = progress::step(format!("measuring {} cold starts of {name}", args.requests));
    let body = ColdStartRequest { path: args.path.clone(), requests: args.requests };
    let report = client.measure_cold_starts(&context.namespace, name, &body).await?;
    step.done(format!("measured {} cold starts of {name}", report.samples.len()));
    Ok(report.samples)
}

async fn measure_file(
    context: &Context,
    client: &Client,
    args: &ColdStartArgs,
    path: &Path,
) -> anyhow::Result<(Vec<ColdStartSample>, Vec<Trial>)> {
    let component = artifact::read_component(path)?;
    if component.report.kind != Kind::Http {
        let kind = component.report.kind;
        return Err(usage(format!(
            "{} is of kind {kind}; only http components have cold starts",
            path.display()
        )));
    }
    let mut trials = Trials::new(context, client, &args.path).await?;
    let measured = tokio::select! {
        measured = deploy_and_measure(context, client, args, &component.bytes, &mut trials) => measured,
        error = interrupted() => Err(error),
    };
    let step = progress::step("removing what was deployed");
    let removed = tokio::select! {
        removed = trials.remove() => removed,
        error = interrupted() => return Err(error.context("what was deployed is not all removed")),
    };
    drop(step);
    let measured = measured?;
    removed?;
    Ok(measured)
}

async fn deploy_and_measure(
    context: &Context,
    client: &Client,
    args: &ColdStartArgs,
    component: &Bytes,
    trials: &mut Trials<'_>,
) -> anyhow::Result<(Vec<ColdStartSample>, Vec<Trial>)> {
    let mut results = Vec::new();
    for round in 1..=args.deploys {
        let step = progress::step(format!("deploying, {round} of {}", args.deploys));
        results.push(trials.run(component).await?);
        drop(step);
    }
    let name = trials.last().expect("there is at least one deploy");
    Ok((measure(context, client, args, name).await?, results))
}

/// Waits for Ctrl-C, as an error to end with.
async fn interrupted() -> anyhow::Error {
    match tokio::signal::ctrl_c().await {
        Ok(()) => anyhow!("interrupted"),
        Err(error) => anyhow::Error::new(error).context("signals can't be received"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_a_file_are_told_apart() {
        assert!(matches!(subject("hello").unwrap(), Subject::Service(name) if name.as_str() == "hello"));
        assert!(matches!(subject("hello.wasm").unwrap(), Subject::File(_)));
        assert!(subject("team/hello:v2").is_err(), "an image is neither");
    }
}
