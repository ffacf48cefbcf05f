//! Whether a service could be so, asked before what it is to run is there: so that a deploy that will be refused leaves
//! nothing behind.
//!
//! It deliberately says nothing of what follows from the definition, which need not be registered yet; and it promises
//! nothing: whoever puts the service is asked again.

use super::{check_name, check_places, deployment_after};
use crate::entrance::Entrance;
use crate::error::ApiError;
use skiff_api::PutService;
use skiff_plan::routes::{Routed, Wishes};
use skiff_types::QualifiedName;

impl Entrance {
    /// Refuses what [`Entrance::put_service`] would refuse whatever the definition says; changes nothing.
    pub(crate) fn check_service(&self, name: &QualifiedName, request: &PutService) -> Result<(), ApiError> {
        request.check().map_err(ApiError::invalid)?;
        let present = self.context.objects.read(|view| view.service(name).cloned());
        let before = present.map(|held| held.value).filter(|service| !service.removed);
        let spec = before.as_ref().map(|service| &service.spec);
        let deployment = deployment_after(request, spec)?;
        self.check_groups(&name.namespace, request.security_groups.as_deref().unwrap_or_default())?;
        let listen = request.listen.as_deref().or(spec.map(|spec| &spec.listen[..])).unwrap_or_default();
        self.check_ports(listen)?;
        let hosts = request.hosts.as_deref().or(spec.map(|spec| &spec.hosts[..])).unwrap_or_default();
        let paths = request.paths.as_deref().or(spec.map(|spec| &spec.paths[..])).unwrap_or_default();
        // Without any, nothing may lead to it at all.
        let is_led_to = !(hosts.is_empty() && paths.is_empty() && listen.is_empty());
        self.context.objects.read(|view| {
            if before.is_none() {
                check_name(view, name)?;
            }
            if !is_led_to {
                return Ok(());
            }
            let wishes = Wishes { hosts, paths, listen, test_hosts: &deployment.test_hosts };
            let created_at_ms = before.as_ref().map_or(0, |service| service.created_at_ms);
            let (targets, split) = (vec![], None);
            check_places(view, Routed { service: name, wishes, created_at_ms, targets, split, wakes: false })
        })
    }
}
