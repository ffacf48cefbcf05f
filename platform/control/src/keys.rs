//! The keys under which objects lie in the store. The one place that says so.
//!
//! A repository or a tag holds characters that a token may not, and both together can be longer than a key: their
//! tokens are truncated SHA-256 hashes, and the record holds the names.

use sha2::{Digest as _, Sha256};
use skiff_ports::store::Key;
use skiff_types::{AccessKeyId, Name, Namespace, QualifiedName, TaskDefinitionId, TaskId};

/// Bytes of a hash that stand for a name: enough that nobody finds two names with the same.
const HASH_BYTES: usize = 20;

/// A prefix of one token.
pub(crate) fn prefix(token: &'static str) -> Key {
    key([token])
}

/// `taskdef.NAMESPACE.FAMILY`: the revisions of a family.
pub(crate) fn family(namespace: &Namespace, family: &Name) -> Key {
    key(["taskdef", namespace.as_str(), family.as_str()])
}

/// `taskdef.NAMESPACE.FAMILY.REVISION`; the revision is padded, so that keys order as revisions do.
pub(crate) fn definition(namespace: &Namespace, id: &TaskDefinitionId) -> Key {
    key(["taskdef", namespace.as_str(), id.family.as_str(), &format!("{:010}", id.revision)])
}

/// `service.NAMESPACE.NAME`.
pub(crate) fn service(name: &QualifiedName) -> Key {
    key(["service", name.namespace.as_str(), name.name.as_str()])
}

/// `status.NAMESPACE.NAME`: what Skiff notes of a service, apart from what its user said.
pub(crate) fn service_status(name: &QualifiedName) -> Key {
    key(["status", name.namespace.as_str(), name.name.as_str()])
}

/// `task.NAMESPACE.ID`.
pub(crate) fn task(namespace: &Namespace, id: TaskId) -> Key {
    key(["task", namespace.as_str(), &id.to_string()])
}

/// `image.NAMESPACE.REPOSITORY.TAG`, the last two as hashes.
pub(crate) fn image(namespace: &Namespace, repository: &str, tag: &str) -> Key {
    key(["image", namespace.as_str(), &hash(repository), &hash(tag)])
}

/// `sg.NAMESPACE.NAME`: a security group.
pub(crate) fn security_group(name: &QualifiedName) -> Key {
    key(["sg", name.namespace.as_str(), name.name.as_str()])
}

/// `listener.NAME`: a listener of the load balancer.
pub(crate) fn listener(name: &Name) -> Key {
    key(["listener", name.as_str()])
}

/// `rule.NAMESPACE.NAME`: a rule of a listener.
pub(crate) fn rule(name: &QualifiedName) -> Key {
    key(["rule", name.namespace.as_str(), name.name.as_str()])
}

/// `targetgroup.NAMESPACE.NAME`.
pub(crate) fn target_group(name: &QualifiedName) -> Key {
    key(["targetgroup", name.namespace.as_str(), name.name.as_str()])
}

/// `alarm.NAMESPACE.NAME`.
pub(crate) fn alarm(name: &QualifiedName) -> Key {
    key(["alarm", name.namespace.as_str(), name.name.as_str()])
}

/// `alarmnotes.NAMESPACE.NAME`: what Skiff notes of an alarm, apart from what its user said.
pub(crate) fn alarm_notes(name: &QualifiedName) -> Key {
    key(["alarmnotes", name.namespace.as_str(), name.name.as_str()])
}

/// `scaling.NAMESPACE.NAME`: what moves a service's count.
pub(crate) fn scaling(service: &QualifiedName) -> Key {
    key(["scaling", service.namespace.as_str(), service.name.as_str()])
}

/// `scalingnotes.NAMESPACE.NAME`: what Skiff notes of that, apart from what its user said.
pub(crate) fn scaling_notes(service: &QualifiedName) -> Key {
    key(["scalingnotes", service.namespace.as_str(), service.name.as_str()])
}

/// `bucket.NAMESPACE.NAME`.
pub(crate) fn bucket(name: &QualifiedName) -> Key {
    key(["bucket", name.namespace.as_str(), name.name.as_str()])
}

/// `table.NAMESPACE.NAME`.
pub(crate) fn table(name: &QualifiedName) -> Key {
    key(["table", name.namespace.as_str(), name.name.as_str()])
}

/// `queue.NAMESPACE.NAME`.
pub(crate) fn queue(name: &QualifiedName) -> Key {
    key(["queue", name.namespace.as_str(), name.name.as_str()])
}

/// `bus.NAMESPACE.NAME`.
pub(crate) fn bus(name: &QualifiedName) -> Key {
    key(["bus", name.namespace.as_str(), name.name.as_str()])
}

/// `eventrule.NAMESPACE.NAME`: a rule of a bus.
pub(crate) fn event_rule(name: &QualifiedName) -> Key {
    key(["eventrule", name.namespace.as_str(), name.name.as_str()])
}

/// `eventschedule.NAMESPACE.NAME`.
pub(crate) fn event_schedule(name: &QualifiedName) -> Key {
    key(["eventschedule", name.namespace.as_str(), name.name.as_str()])
}

/// `schedulenotes.NAMESPACE.NAME`: what Skiff notes of a schedule, apart from what its user said.
pub(crate) fn schedule_notes(name: &QualifiedName) -> Key {
    key(["schedulenotes", name.namespace.as_str(), name.name.as_str()])
}

/// `streamposition.buses`: how far the stream of events was put on the buses; there is one.
pub(crate) fn stream_position() -> Key {
    key(["streamposition", "buses"])
}

/// `sync.buses`: holds nothing, and is written so that all that was written before is on the drive.
pub(crate) fn sync() -> Key {
    key(["sync", "buses"])
}

/// `consumer.NAMESPACE.NAME`.
pub(crate) fn consumer(name: &QualifiedName) -> Key {
    key(["consumer", name.namespace.as_str(), name.name.as_str()])
}

/// `certificate.NAME`: a certificate with its private key.
pub(crate) fn certificate(name: &Name) -> Key {
    key(["certificate", name.as_str()])
}

/// `role.NAMESPACE.NAME`.
pub(crate) fn role(name: &QualifiedName) -> Key {
    key(["role", name.namespace.as_str(), name.name.as_str()])
}

/// `accesskey.ID`: an access key with its secret.
pub(crate) fn access_key(id: &AccessKeyId) -> Key {
    key(["accesskey", id.as_str()])
}

/// `network.platform`: the virtual network; there is one.
pub(crate) fn network() -> Key {
    key(["network", "platform"])
}

/// `subnet.INDEX`: the part of the network that a node has; the index is padded, so that keys order as indexes do.
pub(crate) fn node_subnet(index: u32) -> Key {
    key(["subnet", &format!("{index:010}")])
}

/// `released.ID`: when addresses came back.
pub(crate) fn released_addresses(id: &str) -> Key {
    key(["released", id])
}

/// The name in a key of the form `TOKEN.NAMESPACE.NAME`.
pub(crate) fn name_of(key: &Key) -> Option<QualifiedName> {
    let mut tokens = key.tokens().skip(1);
    let (namespace, name) = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
    Some(QualifiedName::new(namespace, name))
}

/// The name in a key of the form `TOKEN.NAME`, as listeners and certificates have.
pub(crate) fn platform_name_of(key: &Key) -> Option<Name> {
    key.tokens().nth(1)?.parse().ok()
}

/// All of one kind in a namespace.
pub(crate) fn in_namespace(token: &'static str, namespace: &Namespace) -> Key {
    key([token, namespace.as_str()])
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..HASH_BYTES])
}

/// Joins tokens that are valid by their types: DNS labels, digits and hexadecimal.
fn key<const N: usize>(tokens: [&str; N]) -> Key {
    Key::new(tokens).expect("DNS labels and hexadecimal digits are tokens, and few of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit_a_key() {
        let label: Name = "a".repeat(63).parse().unwrap();
        let namespace: Namespace = label.as_str().parse().unwrap();
        let id = TaskDefinitionId { family: label.clone(), revision: u32::MAX };
        assert!(definition(&namespace, &id).is_under(&family(&namespace, &label)));
        let name = QualifiedName::new(namespace.clone(), label);
        assert!(service(&name).is_under(&prefix("service")));
        assert_eq!(name_of(&service(&name)), Some(name.clone()));
        assert_eq!(name_of(&network()), None);
        assert_eq!(name_of(&target_group(&name)), Some(name.clone()));
        assert_eq!(name_of(&alarm(&name)), name_of(&alarm_notes(&name)));
        assert_eq!(platform_name_of(&listener(&name.name)), Some(name.name.clone()));
        assert_eq!(platform_name_of(&certificate(&name.name)), Some(name.name.clone()));
        let long = image(&namespace, &"r".repeat(128), &"t".repeat(128));
        assert!(long.is_under(&in_namespace("image", &namespace)));
        assert_ne!(image(&namespace, "a/b", "c"), image(&namespace, "a", "b.c"));
    }

    #[test]
    fn revisions_order_as_numbers() {
        let key = |revision| {
            definition(&Namespace::default(), &TaskDefinitionId { family: "a".parse().unwrap(), revision })
        };
        assert!(key(9) < key(10));
    }
}
