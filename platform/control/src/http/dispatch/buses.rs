//! The operations on buses, their rules and targets, on schedules, and on the events that are put.

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
        Op::PutBus => {
            let (bus, if_match) = (call.qualified("bus")?, call.if_match()?);
            respond::revised(status, &entrance.put_bus(&bus, call.json().await?, if_match).await?)
        }
        Op::ListBuses => respond::json(status, &entrance.list_buses(&call.namespace()?, &call.query()?)?),
        Op::GetBus => respond::revised(status, &entrance.get_bus(&call.qualified("bus")?)?),
        Op::DeleteBus => {
            entrance.delete_bus(&call.qualified("bus")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::PutEvents => {
            let bus = call.qualified("bus")?;
            let (body, _places) = call.whole(entrance.room_for_events(&call.caller)).await?;
            let put = entrance.put_events(&bus, &call.caller, &call.parts.headers, body).await?;
            respond::json(status, &put)
        }
        Op::TestEventPattern => respond::json(status, &entrance.test_event_pattern(&call.json().await?)?),
        _ => rules_and_schedules(operation, entrance, call).await?,
    })
}

async fn rules_and_schedules(
    operation: Operation,
    entrance: &Entrance,
    call: &mut Call,
) -> Result<Response, ApiError> {
    use Operation as Op;
    let status = operation.success_status();
    Ok(match operation {
        Op::PutEventRule => {
            let (rule, if_match) = (call.qualified("event_rule")?, call.if_match()?);
            respond::revised(status, &entrance.put_event_rule(&rule, call.json().await?, if_match).await?)
        }
        Op::ListEventRules => {
            respond::json(status, &entrance.list_event_rules(&call.namespace()?, &call.query()?)?)
        }
        Op::GetEventRule => {
            respond::revised(status, &entrance.get_event_rule(&call.qualified("event_rule")?)?)
        }
        Op::DeleteEventRule => {
            entrance.delete_event_rule(&call.qualified("event_rule")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::PutEventTarget => {
            let (rule, target, if_match) =
                (call.qualified("event_rule")?, call.path("target")?, call.if_match()?);
            let rule = entrance.put_event_target(&rule, &target, call.json().await?, if_match).await?;
            respond::revised(status, &rule)
        }
        Op::DeleteEventTarget => {
            let (rule, target, if_match) =
                (call.qualified("event_rule")?, call.path("target")?, call.if_match()?);
            respond::revised(status, &entrance.delete_event_target(&rule, &target, if_match).await?)
        }
        Op::PutEventSchedule => {
            let (schedule, if_match) = (call.qualified("event_schedule")?, call.if_match()?);
            let schedule = entrance.put_event_schedule(&schedule, call.json().await?, if_match).await?;
            respond::revised(status, &schedule)
        }
        Op::ListEventSchedules => {
            respond::json(status, &entrance.list_event_schedules(&call.namespace()?, &call.query()?)?)
        }
        Op::GetEventSchedule => {
            respond::revised(status, &entrance.get_event_schedule(&call.qualified("event_schedule")?)?)
        }
        Op::DeleteEventSchedule => {
            entrance.delete_event_schedule(&call.qualified("event_schedule")?, call.if_match()?).await?;
            respond::empty(status)
        }
        other => unreachable!("{other:?} is no operation on buses"),
    })
}
