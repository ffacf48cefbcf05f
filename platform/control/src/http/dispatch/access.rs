//! The operations on roles and access keys.

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
        Op::PutRole => {
            let (role, if_match) = (call.qualified("role")?, call.if_match()?);
            respond::revised(status, &entrance.put_role(&role, call.json().await?, if_match).await?)
        }
        Op::ListRoles => respond::json(status, &entrance.list_roles(&call.namespace()?, &call.query()?)?),
        Op::GetRole => respond::revised(status, &entrance.get_role(&call.qualified("role")?)?),
        Op::ExplainAccess => {
            respond::json(status, &entrance.explain_access(&call.qualified("role")?, &call.query()?)?)
        }
        Op::DeleteRole => {
            entrance.delete_role(&call.qualified("role")?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::CreateAccessKey => {
            let namespace = call.namespace()?;
            respond::json(status, &entrance.create_access_key(&namespace, call.json().await?).await?)
        }
        Op::ListAccessKeys => {
            respond::json(status, &entrance.list_access_keys(&call.namespace()?, &call.query()?)?)
        }
        Op::DeleteAccessKey => {
            entrance.delete_access_key(&call.namespace()?, &call.path("access_key")?).await?;
            respond::empty(status)
        }
        other => unreachable!("{other:?} is no operation on roles and access keys"),
    })
}
