//! The operations on roles and access keys.

use super::{Body, Operation, Spec, of};
use crate::{
    AccessExplanation, AccessKey, AccessQuery, CreateAccessKey, CreatedAccessKey, ErrorCode, Page, PageQuery,
    PutRole, Role,
};
use http::Method;

impl Operation {
    pub(super) fn access_spec(self) -> Spec {
        const ROLES: &str = "/v1/namespaces/{namespace}/roles";
        const ROLE: &str = "/v1/namespaces/{namespace}/roles/{role}";
        const ACCESS: &str = "/v1/namespaces/{namespace}/roles/{role}/access";
        const KEYS: &str = "/v1/namespaces/{namespace}/access-keys";
        const KEY: &str = "/v1/namespaces/{namespace}/access-keys/{access_key}";
        let spec = |method, path, summary| Spec::new(method, path, "roles", summary);
        match self {
            Self::PutRole => spec(Method::PUT, ROLE, "Creates a role, or replaces all that it allows.")
                .if_match()
                .request(Body::Json(of::<PutRole>))
                .response(200, Body::Json(of::<Role>))
                .errors(&[ErrorCode::ResourceExhausted]),
            Self::ListRoles => spec(Method::GET, ROLES, "Lists roles by name.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Role>>)),
            Self::GetRole => spec(Method::GET, ROLE, "Shows a role: what it allows, and that in Cedar.")
                .response(200, Body::Json(of::<Role>))
                .errors(&[ErrorCode::NotFound]),
            Self::ExplainAccess => {
                spec(Method::GET, ACCESS, "Says whether a role may do something, and why.")
                    .query(of::<AccessQuery>)
                    .response(200, Body::Json(of::<AccessExplanation>))
                    .errors(&[ErrorCode::NotFound])
            }
            Self::DeleteRole => {
                spec(Method::DELETE, ROLE, "Removes a role that no task definition and no access key names.")
                    .if_match()
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition])
            }
            Self::CreateAccessKey => spec(
                Method::POST,
                KEYS,
                "Makes a key by which an outside client acts as a role. Its secret is in this answer alone.",
            )
            .request(Body::Json(of::<CreateAccessKey>))
            .response(200, Body::Json(of::<CreatedAccessKey>))
            .errors(&[ErrorCode::NotFound, ErrorCode::ResourceExhausted]),
            Self::ListAccessKeys => {
                spec(Method::GET, KEYS, "Lists access keys by id, without their secrets.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<AccessKey>>))
            }
            Self::DeleteAccessKey => {
                spec(Method::DELETE, KEY, "Removes an access key: what it signs from now on is refused.")
                    .response(204, Body::Empty)
                    .errors(&[ErrorCode::NotFound])
            }
            other => unreachable!("{other:?} is no operation on roles and access keys"),
        }
    }
}
