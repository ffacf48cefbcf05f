//! The operations on the load balancer's listeners, rules, target groups and certificates.

use super::Call;
use crate::entrance::Entrance;
use crate::error::ApiError;
use crate::http::respond;
use axum::response::Response;
use skiff_api::{ErrorCode, Operation};

/// Carries one of them out.
pub(super) async fn carry_out(
    operation: Operation,
    entrance: &Entrance,
    call: &mut Call,
) -> Result<Response, ApiError> {
    use Operation as Op;
    let status = operation.success_status();
    Ok(match operation {
        Op::PutListener => {
            let (listener, if_match) = (call.path("listener")?, call.if_match()?);
            respond::revised(status, &entrance.put_listener(&listener, call.json().await?, if_match).await?)
        }
        Op::ListListeners => respond::json(status, &entrance.list_listeners(&call.query()?)?),
        Op::GetListener => respond::revised(status, &entrance.get_listener(&call.path("listener")?)?),
        Op::DeleteListener => {
            entrance.delete_listener(&call.path("listener")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::ExplainRequest => {
            let listener = call.path("listener")?;
            respond::json(status, &entrance.explain_request(&listener, call.json().await?).await?)
        }
        Op::PutRule => {
            let (rule, if_match) = (call.qualified("rule")?, call.if_match()?);
            respond::revised(status, &entrance.put_rule(&rule, call.json().await?, if_match).await?)
        }
        Op::ListRules => respond::json(status, &entrance.list_rules(&call.namespace()?, &call.query()?)?),
        Op::GetRule => respond::revised(status, &entrance.get_rule(&call.qualified("rule")?)?),
        Op::DeleteRule => {
            entrance.delete_rule(&call.qualified("rule")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::PutTargetGroup => {
            let (group, if_match) = (call.qualified("target_group")?, call.if_match()?);
            respond::revised(status, &entrance.put_target_group(&group, call.json().await?, if_match).await?)
        }
        Op::ListTargetGroups => {
            respond::json(status, &entrance.list_target_groups(&call.namespace()?, &call.query()?)?)
        }
        Op::GetTargetGroup => {
            respond::revised(status, &entrance.get_target_group(&call.qualified("target_group")?)?)
        }
        Op::DeleteTargetGroup => {
            entrance.delete_target_group(&call.qualified("target_group")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::ListTargets => {
            respond::json(status, &entrance.list_targets(&call.qualified("target_group")?, &call.query()?)?)
        }
        Op::PutCertificate => {
            let (certificate, if_match) = (call.path("certificate")?, call.if_match()?);
            let request = call.json().await.map_err(without_details)?;
            respond::revised(status, &entrance.put_certificate(&certificate, request, if_match).await?)
        }
        Op::ListCertificates => respond::json(status, &entrance.list_certificates(&call.query()?)?),
        Op::GetCertificate => {
            respond::revised(status, &entrance.get_certificate(&call.path("certificate")?)?)
        }
        Op::DeleteCertificate => {
            entrance.delete_certificate(&call.path("certificate")?, call.if_match()?).await?;
            respond::empty(status)
        }
        other => unreachable!("{other:?} is no operation on the load balancer"),
    })
}

/// What is wrong with a body that may have a private key in it, without a word of that: errors are logged.
fn without_details(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::InvalidArgument => ApiError::invalid(
            "the body is not right: it has to be a JSON object with a certificate and its private_key, both texts in PEM",
        ),
        _ => error,
    }
}
