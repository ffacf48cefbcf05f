//! `skiff scale`, `skiff rollback` and `skiff rm`.

use crate::args::{RollbackArgs, ScaleArgs};
use crate::context::Context;
use crate::{deploy, human, progress, rollout};
use skiff_api::{Client, DeploymentState, RollbackService, ScaleService, Service};
use skiff_types::Name;

pub(crate) async fn scale(context: &Context, args: &ScaleArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let body = ScaleService { desired: args.desired };
    let service = client.scale_service(&context.namespace, &args.name, &body, None).await?;
    if service.spec.desired != args.desired {
        progress::note(beyond_bounds(&service, args.desired));
    }
    let has_failed = service.status.deployment.state == DeploymentState::Failed;
    if has_failed {
        progress::note(failed_before(&service));
    }
    finish(context, &client, service, args.no_wait || has_failed).await
}

pub(crate) async fn rollback(context: &Context, args: &RollbackArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let body = RollbackService { revision: args.to };
    let service = client.rollback_service(&context.namespace, &args.name, &body, None).await?;
    progress::note(format!("{} goes back to {}", service.name, service.spec.definition));
    finish(context, &client, service, args.no_wait).await
}

/// A deployment that has failed starts nothing of its revision, so it is not waited for that.
fn failed_before(service: &Service) -> String {
    let (name, definition) = (&service.name, &service.status.deployment.definition);
    format!(
        "{name} is to have {} now, which are not waited for: the deployment of {definition} failed before, so those that \
         are missing are of the last revision that completed, if there is one; to go on, deploy again or `skiff rollback \
         {name}`",
        human::count(service.spec.desired.into(), "task")
    )
}

/// What is said where a service that is scaled was to have more or fewer tasks than its bounds allow.
fn beyond_bounds(service: &Service, asked: u32) -> String {
    let (name, desired) = (&service.name, service.spec.desired);
    let bounds = service.status.scaling.as_ref().map(|scaling| (scaling.min, scaling.max));
    let bounds = bounds.map(|(min, max)| format!(" of {min} to {max} tasks")).unwrap_or_default();
    format!(
        "{asked} is beyond the bounds of its scaling{bounds}, so {name} is to have {desired}; to have others, use `skiff \
         scaling put {name}`"
    )
}

async fn finish(context: &Context, client: &Client, service: Service, no_wait: bool) -> anyhow::Result<()> {
    let service = if no_wait { service } else { rollout::wait(context, client, &service).await? };
    context.output.print(&service, || deploy::line(&service))?;
    Ok(())
}

pub(crate) async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_service(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}
