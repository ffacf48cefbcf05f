//! Target groups: made, changed, shown, removed. Those that services are without one of their name are nowhere written.

use super::{check_group, check_readable, check_service, living_service, not_there};
use crate::entrance::page::page;
use crate::entrance::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::TargetGroup;
use crate::view::{Held, User, View};
use skiff_api::{ErrorCode, Page, PageQuery, PutTargetGroup};
use skiff_types::{ListenerProtocol, Namespace, Outside, QualifiedName, TargetGroupSpec, Targets};
use std::net::IpAddr;
use tracing::info;

impl Entrance {
    /// Creates a target group, or changes it.
    pub(crate) async fn put_target_group(
        &self,
        name: &QualifiedName,
        request: PutTargetGroup,
        if_match: IfMatch,
    ) -> Result<skiff_api::TargetGroup, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&TargetGroupSpec>| -> Result<TargetGroupSpec, ApiError> {
            let before = present.cloned().unwrap_or_else(|| TargetGroupSpec::of_service(name.clone()));
            let spec = request.to_domain(before).map_err(ApiError::invalid)?;
            self.check_addresses(&spec.targets)?;
            self.context.objects.read(|view| check(view, &spec))?;
            Ok(spec)
        };
        let held = self.declare(&keys::target_group(name), if_match, spec).await?;
        info!(target_group = %name, "wanted");
        Ok(shown(&held))
    }

    /// Lists target groups by name.
    pub(crate) fn list_target_groups(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::TargetGroup>, ApiError> {
        let groups: Vec<(String, Held<TargetGroup>)> = self.context.objects.read(|view| {
            let groups = view.balancer.target_groups.under(&keys::in_namespace("targetgroup", namespace));
            groups.map(|held| (held.value.spec.name.name.to_string(), held.clone())).collect()
        });
        page(groups, query.limit, query.cursor.as_deref(), |held| shown(&held))
    }

    /// Shows a target group.
    pub(crate) fn get_target_group(&self, name: &QualifiedName) -> Result<skiff_api::TargetGroup, ApiError> {
        let objects = &self.context.objects;
        objects.read(|view| view.target_group(name).map(shown).ok_or_else(|| no_group(view, name)))
    }

    /// Removes a target group that nobody needs: what leads to it can lead to the service of its name instead.
    pub(crate) async fn delete_target_group(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_group(view, name);
        let check = |view: &View| check_unneeded(view, name);
        self.withdraw::<TargetGroupSpec>(&keys::target_group(name), if_match, missing, check).await?;
        info!(target_group = %name, "the target group is removed");
        Ok(())
    }

    /// Refuses addresses that are on the other side of the virtual network's edge, and those of the platform itself.
    fn check_addresses(&self, targets: &Targets) -> Result<(), ApiError> {
        let network = self.context.addresses.spec();
        match targets {
            Targets::Service(_) => Ok(()),
            Targets::Virtual(addresses) => {
                let astray = addresses.iter().find(|address| !network.contains(address.0.ip()));
                astray.map_or(Ok(()), |address| {
                    Err(ApiError::invalid(format!(
                        "{address} is no address of the virtual network, which spans {} and {}; name it as one outside",
                        network.ipv4, network.ipv6
                    )))
                })
            }
            Targets::Outside(hosts) => hosts.iter().try_for_each(|host| {
                let Ok(address) = host.host.parse::<IpAddr>() else { return Ok(()) };
                // IPv4 may be written as IPv6, and leads to the same.
                let address = address.to_canonical();
                if network.contains(address) {
                    return Err(ApiError::invalid(format!(
                        "{host} is an address of the virtual network; name it as one of a task"
                    )));
                }
                self.check_not_own(host, address)
            }),
        }
    }

    /// Refuses what would lead back to the platform itself.
    fn check_not_own(&self, host: &Outside, address: IpAddr) -> Result<(), ApiError> {
        let config = &self.context.config;
        let mut doors = config.network.own_doors.iter().chain([&config.http]);
        let is_host = address.is_loopback() || config.host_addresses.contains(&address);
        // Who connects to the unspecified address comes to the host itself.
        let is_there =
            |door: IpAddr| door == address || address.is_unspecified() || (door.is_unspecified() && is_host);
        match doors.any(|door| door.port() == host.port && is_there(door.ip())) {
            true => Err(ApiError::invalid(format!(
                "Skiff itself listens at {host}; name another target, or a service"
            ))),
            false => Ok(()),
        }
    }
}

/// Refuses a group by whose name others are meant, one of a service that is not there, and one that can't take what leads
/// to it already.
fn check(view: &View, spec: &TargetGroupSpec) -> Result<(), ApiError> {
    let is_services = view.service(&spec.name).is_some_and(|held| !held.value.removed);
    if is_services && !spec.is_of_own_service() {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{} is a service, and its tasks are meant by whatever forwards to that name; give the target group of other \
                 targets another name",
                spec.name
            ),
        ));
    }
    if let Targets::Service(service) = &spec.targets {
        living_service(view, service)?;
    }
    check_users(view, &spec.name, |protocol| check_group(view, protocol, spec))
}

/// Refuses the removal of a group that is needed.
fn check_unneeded(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    check_readable(view, &format!("the target group {name}"))?;
    match living_service(view, name) {
        Ok(_) => check_users(view, name, |protocol| check_service(view, protocol, name)),
        Err(_) => view.users_of_group(name).next().map_or(Ok(()), |user| {
            Err(ApiError::not_now(format!(
                "{user} leads to the target group {name}; change it to lead elsewhere, or remove it first"
            )))
        }),
    }
}

/// Asks `check` about the listeners of all who lead to a group; what it refuses, it is said for whom.
fn check_users(
    view: &View,
    name: &QualifiedName,
    check: impl Fn(ListenerProtocol) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let check_user = |user: &User| {
        let Some(protocol) = view.protocol_of(user) else { return Ok(()) };
        check(protocol).map_err(|error| {
            ApiError::not_now(format!("{user} leads to the target group {name}: {}", error.message))
        })
    };
    view.users_of_group(name).try_for_each(check_user)
}

/// Says that there is no such group, and what to do.
pub(super) fn no_group(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: group } = name;
    let missing = format!("there is no target group {group} in the namespace {namespace}");
    let missing = match view.service(name) {
        Some(_) => format!("{missing}; the service of that name is one without more, of its tasks"),
        None => format!("{missing}; make it with `skiff target-group create {group}`"),
    };
    not_there(view, &keys::target_group(name), missing)
}

fn shown(held: &Held<TargetGroup>) -> skiff_api::TargetGroup {
    let spec = &*held.value.spec;
    skiff_api::TargetGroup {
        name: spec.name.name.clone(),
        namespace: spec.name.namespace.clone(),
        revision: held.revision,
        targets: (&spec.targets).into(),
        protocol: spec.protocol,
        tls: spec.tls,
        algorithm: spec.algorithm,
        stickiness: spec.stickiness,
        slow_start: spec.slow_start,
        deregistration_delay: match spec.targets {
            Targets::Service(_) => spec.deregistration_delay,
            Targets::Virtual(_) | Targets::Outside(_) => Some(spec.delay()),
        },
        health_check: spec.health_check.as_ref().map(Into::into),
        limit: spec.limit.map(Into::into),
        created_at_ms: held.value.created_at_ms,
        updated_at_ms: held.value.updated_at_ms,
    }
}
