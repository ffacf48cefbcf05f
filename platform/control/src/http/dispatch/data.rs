//! The operations on buckets, tables and queues, on items and on messages.

use super::Call;
use crate::entrance::Entrance;
use crate::error::ApiError;
use crate::http::respond;
use axum::response::Response;
use skiff_api::Operation;

/// Carries one of them out.
pub(super) async fn carry_out(
    operation: Operation,
    entrance: &Entrance,
    call: &mut Call,
) -> Result<Response, ApiError> {
    use Operation as Op;
    let status = operation.success_status();
    Ok(match operation {
        Op::PutBucket => {
            let (bucket, if_match) = (call.qualified("bucket")?, call.if_match()?);
            respond::revised(status, &entrance.put_bucket(&bucket, call.json().await?, if_match).await?)
        }
        Op::ListBuckets => respond::json(status, &entrance.list_buckets(&call.namespace()?, &call.query()?)?),
        Op::GetBucket => respond::revised(status, &entrance.get_bucket(&call.qualified("bucket")?).await?),
        Op::DeleteBucket => {
            let (bucket, if_match) = (call.qualified("bucket")?, call.if_match()?);
            entrance.delete_bucket(&bucket, &call.query()?, if_match).await?;
            respond::empty(status)
        }
        Op::PutTable => {
            let (table, if_match) = (call.qualified("table")?, call.if_match()?);
            respond::revised(status, &entrance.put_table(&table, call.json().await?, if_match).await?)
        }
        Op::ListTables => respond::json(status, &entrance.list_tables(&call.namespace()?, &call.query()?)?),
        Op::GetTable => respond::revised(status, &entrance.get_table(&call.qualified("table")?).await?),
        Op::DeleteTable => {
            entrance.delete_table(&call.qualified("table")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::GetItems | Op::WriteItems | Op::IncrementItem | Op::ScanItems => {
            items(operation, entrance, call).await?
        }
        Op::PutQueue => {
            let (queue, if_match) = (call.qualified("queue")?, call.if_match()?);
            respond::revised(status, &entrance.put_queue(&queue, call.json().await?, if_match).await?)
        }
        Op::ListQueues => respond::json(status, &entrance.list_queues(&call.namespace()?, &call.query()?)?),
        Op::GetQueue => respond::revised(status, &entrance.get_queue(&call.qualified("queue")?)?),
        Op::DeleteQueue => {
            entrance.delete_queue(&call.qualified("queue")?, call.if_match()?).await?;
            respond::empty(status)
        }
        _ => messages(operation, entrance, call).await?,
    })
}

async fn items(operation: Operation, entrance: &Entrance, call: &mut Call) -> Result<Response, ApiError> {
    use Operation as Op;
    let (table, status) = (call.qualified("table")?, operation.success_status());
    Ok(match operation {
        Op::GetItems => respond::json(status, &entrance.get_items(&table, call.json().await?).await?),
        Op::WriteItems => respond::json(status, &entrance.write_items(&table, call.json().await?).await?),
        Op::IncrementItem => {
            respond::json(status, &entrance.increment_item(&table, call.json().await?).await?)
        }
        Op::ScanItems => respond::json(status, &entrance.scan_items(&table, call.query()?).await?),
        other => unreachable!("{other:?} is no operation on items"),
    })
}

/// Carries out one on messages.
pub(super) async fn messages(
    operation: Operation,
    entrance: &Entrance,
    call: &mut Call,
) -> Result<Response, ApiError> {
    use Operation as Op;
    let (queue, status) = (call.qualified("queue")?, operation.success_status());
    Ok(match operation {
        Op::SendMessages => respond::json(status, &entrance.send_messages(&queue, call.json().await?).await?),
        Op::ReceiveMessages => {
            respond::json(status, &entrance.receive_messages(&queue, call.json().await?).await?)
        }
        Op::DeleteMessages => {
            respond::json(status, &entrance.delete_messages(&queue, call.json().await?).await?)
        }
        Op::ChangeVisibility => {
            respond::json(status, &entrance.change_visibility(&queue, call.json().await?).await?)
        }
        Op::PurgeQueue => respond::json(status, &entrance.purge_queue(&queue).await?),
        Op::RedriveQueue => respond::json(status, &entrance.redrive_queue(&queue, call.json().await?).await?),
        other => unreachable!("{other:?} is no operation on buckets, tables and queues"),
    })
}
