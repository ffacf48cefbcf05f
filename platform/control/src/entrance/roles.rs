//! Roles: made, changed, shown as Cedar, explained, removed. What they may then is judged where it is done.
//!
//! What always holds: a role that is written can be judged by; one that a task definition or an access key names stays.

use super::balancer::not_there;
use super::page::page;
use super::{Entrance, IfMatch};
use crate::access::Access;
use crate::error::ApiError;
use crate::keys;
use crate::model::{Role, RolePolicy};
use crate::view::{Held, View};
use skiff_access::to_cedar;
use skiff_api::{AccessExplanation, AccessQuery, ErrorCode, Page, PageQuery, PutRole};
use skiff_types::{AccessResource, Name, Namespace, QualifiedName};
use tracing::info;

/// The most roles: as many as IAM gives an account.
const ROLES_MAX: usize = 1_000;

impl Entrance {
    /// Creates a role, or replaces all that it allows.
    pub(crate) async fn put_role(
        &self,
        name: &QualifiedName,
        request: PutRole,
        if_match: IfMatch,
    ) -> Result<skiff_api::Role, ApiError> {
        let policy = RolePolicy::new(request.to_domain(name.clone()).map_err(ApiError::invalid)?);
        if let Some(error) = policy.error() {
            return Err(ApiError::invalid(error));
        }
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&RolePolicy>| -> Result<RolePolicy, ApiError> {
            let count = self.context.objects.read(|view| view.access.roles.all().count());
            if present.is_none() && count >= ROLES_MAX {
                return Err(ApiError::new(
                    ErrorCode::ResourceExhausted,
                    format!(
                        "there are {count} roles, and {ROLES_MAX} are the most: remove one that nobody acts as, with `skiff role \
                         rm`"
                    ),
                ));
            }
            Ok(policy.clone())
        };
        let held = self.declare(&keys::role(name), if_match, spec).await?;
        info!(role = %name, grants = held.value.spec.spec.allow.len(), "wanted");
        Ok(shown_whole(&held))
    }

    /// Lists roles by name.
    pub(crate) fn list_roles(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Role>, ApiError> {
        self.context.objects.read(|view| {
            let roles = view.access.roles.under(&keys::in_namespace("role", namespace));
            let roles = roles.map(|held| (held.value.spec.spec.name.name.to_string(), held)).collect();
            page(roles, query.limit, query.cursor.as_deref(), shown)
        })
    }

    /// Shows a role.
    pub(crate) fn get_role(&self, name: &QualifiedName) -> Result<skiff_api::Role, ApiError> {
        self.context.objects.read(|view| {
            let held = view.role(name).ok_or_else(|| no_role(view, name))?;
            Ok(shown_whole(held))
        })
    }

    /// Removes a role that nobody holds.
    pub(crate) async fn delete_role(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_role(view, name);
        let check = |view: &View| check_unheld(view, name);
        self.withdraw::<RolePolicy>(&keys::role(name), if_match, missing, check).await?;
        info!(role = %name, "the role is removed");
        Ok(())
    }

    /// Says whether a role may do something, and why.
    pub(crate) fn explain_access(
        &self,
        role: &QualifiedName,
        query: &AccessQuery,
    ) -> Result<AccessExplanation, ApiError> {
        self.context.objects.read(|view| match view.role(role) {
            Some(_) => Ok(()),
            None => Err(no_role(view, role)),
        })?;
        let AccessQuery { action, name, path, list } = query;
        let name = QualifiedName::new(role.namespace.clone(), name.clone());
        let listing = list.unwrap_or(false);
        let path = path.clone().or_else(|| listing.then(String::new));
        let resource = AccessResource { kind: action.kind(), name, path, listing };
        let access = Access::new(self.context.objects.clone());
        Ok(match access.explain(role, *action, &resource) {
            Ok(by) => AccessExplanation { allowed: true, by: Some(by), reason: None, grant: None },
            Err(denied) => AccessExplanation {
                allowed: false,
                by: None,
                grant: denied.grant.parse().ok(),
                reason: Some(denied.message),
            },
        })
    }

    /// Refuses a role that there is not.
    pub(super) fn check_role(&self, namespace: &Namespace, role: Option<&Name>) -> Result<(), ApiError> {
        let Some(role) = role else { return Ok(()) };
        let name = QualifiedName::new(namespace.clone(), role.clone());
        self.context.objects.read(|view| match view.role(&name) {
            Some(_) => Ok(()),
            None => Err(no_role(view, &name)),
        })
    }
}

/// As it is listed.
fn shown(held: &Held<Role>) -> skiff_api::Role {
    let policy = &held.value.spec;
    skiff_api::Role::new(
        &policy.spec,
        held.revision,
        policy.error().map(ToString::to_string),
        (held.value.created_at_ms, held.value.updated_at_ms),
    )
}

/// With what it is in Cedar.
fn shown_whole(held: &Held<Role>) -> skiff_api::Role {
    skiff_api::Role { cedar: Some(to_cedar(&held.value.spec.spec)), ..shown(held) }
}

/// Refuses the removal of a role that somebody holds, or may hold whose record can't be read.
fn check_unheld(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    if let Some(holder) = view.holder_of_role(name) {
        return Err(ApiError::not_now(format!("the role {name} is named by {holder}")));
    }
    match view.unreadable_that_may_hold_role(name) {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may name the role {name}, which stays until it can be; see the platform's log"
        ))),
        None => Ok(()),
    }
}

fn no_role(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: role } = name;
    let missing = format!(
        "there is no role {role} in the namespace {namespace}; make it with `skiff role put {role}`, `skiff role ls` lists those \
         that there are"
    );
    not_there(view, &keys::role(name), missing)
}
