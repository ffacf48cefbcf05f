//! Who may do what: the ports of access, over the roles and keys in the view.
//!
//! It knows no policy's language, and keeps nothing of its own: a change of a role holds from the next question on. What always
//! holds: where there is no role, or none that can be judged by, all is denied; what a denial says has no control characters, and the
//! command in it is one word for word, whatever a guest has asked for.

use crate::keys;
use crate::model::RolePolicy;
use crate::objects::Objects;
use skiff_access::{PolicyError, Verdict};
use skiff_ports::access::{AccessKey, AccessKeys, Authorizer, Denied};
use skiff_types::{AccessAction, AccessKeyId, AccessResource, Grant, QualifiedName, ResourceKind, TaskId};
use std::sync::Arc;

/// Judges by the roles that there are at each moment, and knows the keys. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    objects: Arc<Objects>,
}

/// What became of a question.
enum Judged<'a> {
    /// By the role's policy.
    By(Verdict<'a>),
    /// The policy can't be judged by.
    Broken(&'a PolicyError),
    /// There is no such role.
    NoRole,
    /// Its record can't be read.
    Unreadable,
}

impl Access {
    pub(crate) fn new(objects: Arc<Objects>) -> Self {
        Self { objects }
    }

    /// The role that a task acts as, by its definition; none where that names none, or the task is not there. Whether there is
    /// such a role is another question.
    pub fn role_of(&self, task: TaskId) -> Option<QualifiedName> {
        self.objects.read(|view| view.role_of_task(task))
    }

    /// Whether a role may allow anything of what can be done to a thing or to something in it: what its policy says in Cedar might.
    /// It says no more than that it is worth asking.
    pub(crate) fn may_touch(
        &self,
        role: Option<&QualifiedName>,
        kind: ResourceKind,
        name: &QualifiedName,
    ) -> bool {
        let Some(role) = role.filter(|role| role.namespace == name.namespace) else { return false };
        let found = self.objects.read(|view| view.role(role).map(|held| held.value.spec.clone()));
        let Some(policy) = found.filter(|policy| policy.error().is_none()) else { return false };
        let is_of = |grant: &Grant| {
            grant.action().kind().is_none_or(|one| one == kind) && grant.name().is_of(name.name.as_str())
        };
        policy.spec.policy.is_some() || policy.spec.allow.iter().any(is_of)
    }

    /// By what a role may do this.
    pub(crate) fn explain(
        &self,
        role: &QualifiedName,
        action: AccessAction,
        resource: &AccessResource,
    ) -> Result<String, Denied> {
        self.judge(role, action, resource, |by| by.to_owned())
    }

    /// What `allowed` makes of what allows this; else why it is denied.
    fn judge<R>(
        &self,
        role: &QualifiedName,
        action: AccessAction,
        resource: &AccessResource,
        allowed: impl FnOnce(&str) -> R,
    ) -> Result<R, Denied> {
        // Judging may take longer than every change of the view should wait.
        let (found, is_unreadable) = self.objects.read(|view| {
            let found = view.role(role).map(|held| held.value.spec.clone());
            let is_unreadable = found.is_none() && view.unreadable.contains(&keys::role(role));
            (found, is_unreadable)
        });
        let judged = match &found {
            Some(policy) => judged(policy, action, resource),
            None if is_unreadable => Judged::Unreadable,
            None => Judged::NoRole,
        };
        match judged {
            Judged::By(Verdict::Allowed { by }) => Ok(allowed(by)),
            judged => Err(denied(role, &judged, &Grant::of(action, resource), resource)),
        }
    }
}

fn judged<'p>(policy: &'p RolePolicy, action: AccessAction, resource: &AccessResource) -> Judged<'p> {
    policy.verdict(action, resource).map_or_else(Judged::Broken, Judged::By)
}

impl Authorizer for Access {
    fn check(
        &self,
        role: Option<&QualifiedName>,
        action: AccessAction,
        resource: &AccessResource,
    ) -> Result<(), Denied> {
        match role {
            Some(role) => self.judge(role, action, resource, |_| ()),
            None => Err(without_role(&Grant::of(action, resource), resource)),
        }
    }
}

impl AccessKeys for Access {
    fn access_key(&self, id: &str) -> Option<AccessKey> {
        let id: AccessKeyId = id.parse().ok()?;
        self.objects.read(|view| {
            let key = &view.access_key(&id)?.value;
            Some(AccessKey {
                id: id.to_string(),
                secret: key.secret.as_ref().to_owned(),
                role: key.role.clone(),
            })
        })
    }
}

/// Why a role may not do what a grant would allow, and what to do about it.
fn denied(role: &QualifiedName, judged: &Judged<'_>, grant: &Grant, resource: &AccessResource) -> Denied {
    let grant = grant.to_string();
    let message = match judged {
        Judged::NoRole => format!(
            "there is no role {role}, so nothing allows to {grant}: make it with: {}",
            put_command(role, "--allow", &grant)
        ),
        Judged::Unreadable => format!(
            "the record of the role {role} can't be read, so it allows nothing, and not to {grant}; see the platform's log"
        ),
        Judged::Broken(error) => format!(
            "the policy of the role {role} can't be judged by, so it allows nothing, and not to {grant}: {error}"
        ),
        Judged::By(_) if role.namespace != resource.name.namespace => format!(
            "role {role} may not {grant} in the namespace {}: a role reaches what is in its own namespace, and nothing else",
            resource.name.namespace
        ),
        Judged::By(Verdict::Forbidden { by }) => format!(
            "role {role} may not {grant}: {by} forbids it, whatever allows it; `skiff role show {} --cedar` prints what it says",
            role.name
        ),
        Judged::By(Verdict::Allowed { .. } | Verdict::NotAllowed) => {
            format!("role {role} may not {grant}: allow it with: {}", put_command(role, "--add", &grant))
        }
    };
    Denied { message, grant }
}

/// The same of somebody who has no role.
fn without_role(grant: &Grant, resource: &AccessResource) -> Denied {
    let grant = grant.to_string();
    let name = "NAME";
    let namespace = namespace_option(&resource.name);
    let message = format!(
        "without a role nothing allows to {grant}: make one with: skiff role put {name}{namespace} --allow {}, and have the task \
         definition name it, as skiff deploy --role {name} does",
        in_quotes(&grant)
    );
    Denied { message, grant }
}

fn put_command(role: &QualifiedName, option: &str, grant: &str) -> String {
    format!("skiff role put {}{} {option} {}", role.name, namespace_option(role), in_quotes(grant))
}

fn namespace_option(name: &QualifiedName) -> String {
    match name.namespace.is_default() {
        true => String::new(),
        false => format!(" --namespace {}", name.namespace),
    }
}

/// As a shell takes it for one word, and does nothing else with it: a guest may have chosen what stands there.
fn in_quotes(text: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || " :/*._-@=+,%".contains(char);
    match text.chars().all(is_plain) {
        true => format!("\"{text}\""),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads(path: &str) -> AccessResource {
        AccessResource::at(ResourceKind::Bucket, "default/uploads".parse().unwrap(), path)
    }

    fn said(role: &str, judged: &Judged<'_>, resource: &AccessResource) -> String {
        let grant = Grant::of(AccessAction::BucketRead, resource);
        denied(&role.parse().unwrap(), judged, &grant, resource).to_string()
    }

    #[test]
    fn a_denial_says_what_to_do() {
        let not_allowed = || Judged::By(Verdict::NotAllowed);
        assert_eq!(
            said("default/thumbs", &not_allowed(), &uploads("a.png")),
            "role default/thumbs may not bucket:read uploads/a.png: allow it with: skiff role put thumbs --add \"bucket:read \
             uploads/a.png\""
        );
        let elsewhere = AccessResource::new(ResourceKind::Bucket, "shop/uploads".parse().unwrap());
        assert!(
            said("shop/a", &not_allowed(), &elsewhere)
                .contains("put a --namespace shop --add \"bucket:read uploads\"")
        );
        assert!(
            said("default/a", &not_allowed(), &elsewhere).contains("in the namespace shop: a role reaches")
        );
        assert!(
            said("default/a", &Judged::NoRole, &uploads("b"))
                .contains("skiff role put a --allow \"bucket:read")
        );
        let forbidden = Judged::By(Verdict::Forbidden { by: "policy 1 of its Cedar" });
        assert!(said("default/a", &forbidden, &uploads("b")).contains("policy 1 of its Cedar forbids it"));
        assert!(
            said("default/a", &Judged::Broken(&PolicyError::Template), &uploads("b"))
                .contains("allows nothing")
        );
        let denied = without_role(&Grant::of(AccessAction::BucketRead, &uploads("b")), &uploads("b"));
        assert!(denied.message.contains("skiff deploy --role NAME"), "{denied}");
        assert_eq!(denied.grant, "bucket:read uploads/b");
    }

    #[test]
    fn a_command_is_one_word_for_word_whatever_a_guest_asks_for() {
        for (path, expected) in [
            ("$(reboot)", "'bucket:read uploads/$(reboot)'"),
            ("`reboot`", "'bucket:read uploads/`reboot`'"),
            ("a'; reboot '", r"'bucket:read uploads/a'\''; reboot '\'''"),
            ("a\" && reboot \"", "'bucket:read uploads/a\" && reboot \"'"),
            ("a\nreboot", "\"bucket:read uploads/a*\""),
            ("ä ö", "\"bucket:read uploads/ä ö\""),
        ] {
            let message = said("default/a", &Judged::By(Verdict::NotAllowed), &uploads(path));
            assert!(message.ends_with(&format!("--add {expected}")), "{path:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
