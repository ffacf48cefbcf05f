//! The operations on consumers of queues.

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
        Op::PutConsumer => {
            let (consumer, if_match) = (call.qualified("consumer")?, call.if_match()?);
            respond::revised(status, &entrance.put_consumer(&consumer, call.json().await?, if_match).await?)
        }
        Op::ListConsumers => {
            respond::json(status, &entrance.list_consumers(&call.namespace()?, &call.query()?)?)
        }
        Op::GetConsumer => respond::revised(status, &entrance.get_consumer(&call.qualified("consumer")?)?),
        Op::DeleteConsumer => {
            entrance.delete_consumer(&call.qualified("consumer")?, call.if_match()?).await?;
            respond::empty(status)
        }
        other => unreachable!("{other:?} is no operation on consumers"),
    })
}
