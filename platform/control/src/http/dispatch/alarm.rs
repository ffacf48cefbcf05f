//! The operations on alarms.

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
        Op::PutAlarm => {
            let (alarm, if_match) = (call.qualified("alarm")?, call.if_match()?);
            respond::revised(status, &entrance.put_alarm(&alarm, call.json().await?, if_match).await?)
        }
        Op::ListAlarms => respond::json(status, &entrance.list_alarms(&call.namespace()?, &call.query()?)?),
        Op::GetAlarm => respond::revised(status, &entrance.get_alarm(&call.qualified("alarm")?)?),
        Op::ListAlarmHistory => {
            respond::json(status, &entrance.list_alarm_history(&call.qualified("alarm")?, &call.query()?)?)
        }
        Op::DeleteAlarm => {
            entrance.delete_alarm(&call.qualified("alarm")?, call.if_match()?).await?;
            respond::empty(status)
        }
        other => unreachable!("{other:?} is no operation on alarms"),
    })
}
