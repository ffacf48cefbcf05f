//! `skiff scale`, `skiff rollback` and `skiff rm`.

use crate::args::{RollbackArgs, ScaleArgs};
use crate::context::Context;
use crate::{deploy, progress, rollout};
use skiff_api::{Client, RollbackService, ScaleService, Service};
use skiff_types::Name;

pub(crate) async fn scale(context: &Context, args: &ScaleArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let body = ScaleService { desired: args.desired };
    let service = client.scale_service(&context.namespace, &args.name, &body, None).await?;
    finish(context, &client, service, args.no_wait).await
}

pub(crate) async fn rollback(context: &Context, args: &RollbackArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let body = RollbackService { revision: args.to };
    let service = client.rollback_service(&context.namespace, &args.name, &body, None).await?;
    progress::note(format!("{} goes back to {}", service.name, service.spec.definition));
    finish(context, &client, service, args.no_wait).await
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
