//! `skiff bucket …`.

use crate::args::BucketCommand;
use crate::context::{Context, all_pages};
use crate::output::or_none;
use crate::{human, output, progress};
use skiff_api::{Bucket, DeleteBucketQuery, PageQuery, PutBucket};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &BucketCommand) -> anyhow::Result<()> {
    match command {
        BucketCommand::Create(args) => {
            let body = PutBucket { bus: args.bus.clone() };
            let bucket = context.client()?.put_bucket(&context.namespace, &args.name, &body, None).await?;
            context.output.print(&bucket, || details(&bucket))?;
        }
        BucketCommand::Ls => list(context).await?,
        BucketCommand::Show { name } => {
            let bucket = context.client()?.get_bucket(&context.namespace, name).await?;
            context.output.print(&bucket, || details(&bucket))?;
        }
        BucketCommand::Rm { names, force } => remove(context, names, *force).await?,
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let buckets = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_buckets(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&buckets, || table(&buckets, human::now_ms()))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name], force: bool) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_bucket(&context.namespace, name, &DeleteBucketQuery { force }, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(buckets: &[Bucket], now_ms: u64) -> String {
    let row = |bucket: &Bucket| {
        [bucket.name.to_string(), bucket.bus.to_string(), human::age(bucket.created_at_ms, now_ms)]
    };
    output::columns(["NAME", "BUS", "AGE"], buckets.iter().map(row))
}

fn details(bucket: &Bucket) -> String {
    output::properties([
        ("Name", bucket.name.to_string()),
        ("Namespace", bucket.namespace.to_string()),
        ("Bus", bucket.bus.to_string()),
        ("Objects", or_none(bucket.status.map(|status| status.objects))),
        ("Size", or_none(bucket.status.map(|status| human::bytes(status.bytes)))),
        ("Revision", bucket.revision.to_string()),
        ("Created", human::timestamp(bucket.created_at_ms)),
        ("Changed", human::timestamp(bucket.updated_at_ms)),
    ])
}
