//! Security groups: created, shown, changed, removed. What a change means for open connections is the network's business.
//!
//! Every namespace has a group `default`, whether there is an object of it or not. What always holds: a group that a task
//! is in, or that a service or a rule of its namespace names, is not removed.

use super::page::page;
use super::{Entrance, IfMatch, WRITE_ATTEMPTS};
use crate::error::ApiError;
use crate::keys;
use crate::model::SecurityGroup;
use crate::objects::ObjectError;
use crate::view::{Held, View};
use skiff_api::{ErrorCode, Page, PageQuery, PutSecurityGroup};
use skiff_ports::store::Expect;
use skiff_types::{
    DEFAULT_GROUP, GROUPS_OF_TASK_MAX, Name, Namespace, Peer, QualifiedName, RESERVED_GROUP_NAMES, RULES_MAX,
    Rule, TaskStatus, default_group,
};
use std::collections::{BTreeSet, HashMap};
use tracing::info;

impl Entrance {
    /// Creates a security group, or changes all that it allows.
    pub(crate) async fn put_security_group(
        &self,
        group: &QualifiedName,
        request: PutSecurityGroup,
        if_match: IfMatch,
    ) -> Result<skiff_api::SecurityGroup, ApiError> {
        if RESERVED_GROUP_NAMES.contains(&group.name.as_str()) {
            return Err(ApiError::invalid(format!(
                "{} means something else in a rule; give the group another name",
                group.name
            )));
        }
        let rules = request.rules.map(|rules| unique(&rules));
        self.write_group(group, if_match, |present| {
            let present = present.map(|group| &group.rules);
            Ok(rules.as_ref().or(present).cloned().unwrap_or_else(Rule::defaults))
        })
        .await
    }

    /// Adds a rule to a group.
    pub(crate) async fn allow_rule(
        &self,
        group: &QualifiedName,
        rule: Rule,
        if_match: IfMatch,
    ) -> Result<skiff_api::SecurityGroup, ApiError> {
        self.write_group(group, if_match, |present| {
            let mut rules = existing_rules(present, group)?;
            if !rules.contains(&rule) {
                if rules.len() >= RULES_MAX {
                    return Err(ApiError::not_now(format!(
                        "{} has {RULES_MAX} rules, the most that a group can have; revoke one first",
                        group.name
                    )));
                }
                rules.push(rule.clone());
            }
            Ok(rules)
        })
        .await
    }

    /// Takes a rule from a group.
    pub(crate) async fn revoke_rule(
        &self,
        group: &QualifiedName,
        rule: Rule,
        if_match: IfMatch,
    ) -> Result<skiff_api::SecurityGroup, ApiError> {
        self.write_group(group, if_match, |present| {
            let mut rules = existing_rules(present, group)?;
            let before = rules.len();
            rules.retain(|other| *other != rule);
            if rules.len() == before {
                return Err(ApiError::not_found(format!(
                    "{} has no rule \"{rule}\"; it must be named as `skiff sg show {}` prints it",
                    group.name, group.name
                )));
            }
            Ok(rules)
        })
        .await
    }

    /// Lists groups by name.
    pub(crate) fn list_security_groups(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::SecurityGroup>, ApiError> {
        let (members, groups) = self.context.objects.read(|view| {
            let prefix = keys::in_namespace("sg", namespace);
            let held = view.security_groups.under(&prefix).cloned();
            let mut groups: Vec<(Name, Option<Held<SecurityGroup>>)> =
                held.map(|held| (held.value.name.clone(), Some(held))).collect();
            let default = QualifiedName::new(namespace.clone(), default_group());
            if view.has_group(&default) && view.security_group(&default).is_none() {
                groups.push((default.name, None));
            }
            (members(view, namespace), groups)
        });
        let groups = groups.into_iter().map(|(name, held)| (name.to_string(), (name, held))).collect();
        page(groups, query.limit, query.cursor.as_deref(), |(name, held)| {
            let tasks = members.get(&name).copied().unwrap_or(0);
            group_view(&QualifiedName::new(namespace.clone(), name), held.as_ref(), tasks)
        })
    }

    /// Shows a group.
    pub(crate) fn get_security_group(
        &self,
        group: &QualifiedName,
    ) -> Result<skiff_api::SecurityGroup, ApiError> {
        self.context.objects.read(|view| match view.has_group(group) {
            true => Ok(shown(view, group, view.security_group(group))),
            false => Err(not_there(view, group)),
        })
    }

    /// Removes a group that nothing uses.
    pub(crate) async fn delete_security_group(
        &self,
        group: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        if is_default(&group.name) {
            return Err(ApiError::not_now(format!(
                "every namespace has the group {DEFAULT_GROUP}; change its rules with `skiff sg allow` and `revoke`"
            )));
        }
        // So that no service and no task is put into it at the same time.
        let _alone = self.context.routing.lock().await;
        self.context.objects.read(|view| match view.unreadable_that_may_name_groups(&group.namespace) {
            Some(key) => Err(ApiError::not_now(format!(
                "the record {key} can't be read, and may name the group {}: no security group of the namespace is \
                 removed until it can be; see the platform's log",
                group.name
            ))),
            None => Ok(()),
        })?;
        let key = keys::security_group(group);
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<SecurityGroup>(&key).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let held = present.ok_or_else(|| no_group(&group.namespace, &group.name))?;
            if let Some(user) = self.context.objects.read(|view| user(view, group)) {
                return Err(ApiError::not_now(format!("the group {} is in use by {user}", group.name)));
            }
            match self.context.objects.delete::<SecurityGroup>(&key, Expect::Revision(held.revision)).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    info!(%group, "the security group is removed");
                    return result.map_err(ApiError::from);
                }
            }
        }
        Err(contended(group))
    }

    /// Refuses groups that a task can't be in: unknown ones, or too many. Sorts them, each once.
    pub(super) fn check_groups(&self, namespace: &Namespace, groups: &[Name]) -> Result<Vec<Name>, ApiError> {
        let groups: BTreeSet<Name> = groups.iter().cloned().collect();
        if groups.len() > GROUPS_OF_TASK_MAX {
            let count = groups.len();
            return Err(ApiError::invalid(format!(
                "{count} security groups are more than a task can be in: {GROUPS_OF_TASK_MAX}"
            )));
        }
        self.context.objects.read(|view| {
            groups.iter().try_for_each(|group| {
                let group = QualifiedName::new(namespace.clone(), group.clone());
                view.has_group(&group).then_some(()).ok_or_else(|| not_there(view, &group))
            })
        })?;
        Ok(groups.into_iter().collect())
    }

    /// Writes what `rules` answers for the group as it is; nothing if that is what it allows already.
    async fn write_group(
        &self,
        group: &QualifiedName,
        if_match: IfMatch,
        rules: impl Fn(Option<&SecurityGroup>) -> Result<Vec<Rule>, ApiError>,
    ) -> Result<skiff_api::SecurityGroup, ApiError> {
        // So that no group that a rule names goes at the same time.
        let _alone = self.context.routing.lock().await;
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<SecurityGroup>(&keys::security_group(group)).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let before = present.as_ref().map(|held| &*held.value);
            let rules = rules(before)?;
            self.check_rules(group, &rules)?;
            let held = match &present {
                Some(held) if held.value.rules == rules => held.clone(),
                present => match self.write_rules(group, present.as_ref(), rules).await {
                    Err(error) if error.is_conflict() => continue,
                    result => result?,
                },
            };
            info!(%group, rules = held.value.rules.len(), "wanted");
            return Ok(self.context.objects.read(|view| shown(view, group, Some(&held))));
        }
        Err(contended(group))
    }

    async fn write_rules(
        &self,
        group: &QualifiedName,
        present: Option<&Held<SecurityGroup>>,
        rules: Vec<Rule>,
    ) -> Result<Held<SecurityGroup>, ObjectError> {
        let now_ms = self.context.now_ms();
        let object = SecurityGroup {
            namespace: group.namespace.clone(),
            name: group.name.clone(),
            rules,
            created_at_ms: present.map_or(now_ms, |held| held.value.created_at_ms),
            updated_at_ms: now_ms,
        };
        let expect = present.map_or(Expect::Absent, |held| Expect::Revision(held.revision));
        self.context.objects.put(object, expect).await
    }

    /// Refuses too many rules, and new ones for a group that there is not.
    fn check_rules(&self, group: &QualifiedName, rules: &[Rule]) -> Result<(), ApiError> {
        if rules.len() > RULES_MAX {
            let count = rules.len();
            return Err(ApiError::invalid(format!(
                "{count} rules are more than a group can have: {RULES_MAX}"
            )));
        }
        self.context.objects.read(|view| {
            let known = view.security_group(group).map(|held| held.value.rules.as_slice());
            let new = rules.iter().filter(|rule| known.is_none_or(|known| !known.contains(rule)));
            for rule in new {
                let Peer::Group(peer) = &rule.peer else { continue };
                let peer = peer.qualified(&group.namespace);
                if peer != *group && !view.has_group(&peer) {
                    return Err(not_there(view, &peer));
                }
            }
            Ok(())
        })
    }
}

/// The rules that a group has; those of the default group where nobody has changed them yet.
fn existing_rules(present: Option<&SecurityGroup>, group: &QualifiedName) -> Result<Vec<Rule>, ApiError> {
    match present {
        Some(present) => Ok(present.rules.clone()),
        None if is_default(&group.name) => Ok(Rule::defaults()),
        None => Err(no_group(&group.namespace, &group.name)),
    }
}

fn is_default(name: &Name) -> bool {
    name.as_str() == DEFAULT_GROUP
}

/// How many living tasks of a namespace are in each group.
fn members(view: &View, namespace: &Namespace) -> HashMap<Name, u32> {
    let mut members = HashMap::new();
    let tasks = view.tasks.under(&keys::in_namespace("task", namespace));
    for held in tasks.filter(|held| held.value.task.status != TaskStatus::Stopped) {
        for group in view.groups_of(&held.value.task) {
            *members.entry(group).or_default() += 1;
        }
    }
    members
}

/// Who uses a group, as the end of a sentence that says what to do about it.
fn user(view: &View, group: &QualifiedName) -> Option<String> {
    let QualifiedName { namespace, name } = group;
    let mut services = view.services.under(&keys::in_namespace("service", namespace)).map(|held| &held.value);
    let service = services.find(|service| !service.removed && view.groups_of_service(service).contains(name));
    if let Some(service) = service {
        let service = &service.spec.name;
        return Some(format!("the service {service}; deploy it with another --security-group, or remove it"));
    }
    if let Some(held) = view.tasks_in_group(group).next() {
        return Some(format!("the task {}; stop it, or wait for its end", held.value.task.id));
    }
    let mut groups = view.security_groups.under(&keys::in_namespace("sg", namespace)).map(|held| &held.value);
    let names_it = |rule: &&Rule| match &rule.peer {
        Peer::Group(peer) => peer.qualified(namespace) == *group,
        Peer::LoadBalancer | Peer::Itself | Peer::Platform | Peer::Network(_) | Peer::Host(_) => false,
    };
    groups.find_map(|other| {
        let rule = other.rules.iter().find(names_it).filter(|_| other.name != *name)?;
        Some(format!("a rule of {}; take it away with: skiff sg revoke {} {rule}", other.name, other.name))
    })
}

fn shown(view: &View, group: &QualifiedName, held: Option<&Held<SecurityGroup>>) -> skiff_api::SecurityGroup {
    let tasks = u32::try_from(view.tasks_in_group(group).count()).unwrap_or(u32::MAX);
    group_view(group, held, tasks)
}

fn group_view(
    group: &QualifiedName,
    held: Option<&Held<SecurityGroup>>,
    tasks: u32,
) -> skiff_api::SecurityGroup {
    let object = held.map(|held| &*held.value);
    skiff_api::SecurityGroup {
        name: group.name.clone(),
        namespace: group.namespace.clone(),
        revision: held.map_or(0, |held| held.revision),
        rules: object.map_or_else(Rule::defaults, |object| object.rules.clone()),
        tasks,
        created_at_ms: object.map(|object| object.created_at_ms),
        updated_at_ms: object.map(|object| object.updated_at_ms),
    }
}

/// Each once, in the order given.
fn unique(rules: &[Rule]) -> Vec<Rule> {
    let mut seen = BTreeSet::new();
    rules.iter().filter(|rule| seen.insert(*rule)).cloned().collect()
}

/// Why a group can't be used: there is none, or its record can't be read.
fn not_there(view: &View, group: &QualifiedName) -> ApiError {
    match view.unreadable.contains(&keys::security_group(group)) {
        true => ApiError::new(
            ErrorCode::Internal,
            format!(
                "the record of the security group {} can't be read, so it allows nothing; see the platform's log",
                group.name
            ),
        ),
        false => no_group(&group.namespace, &group.name),
    }
}

fn no_group(namespace: &Namespace, name: &Name) -> ApiError {
    ApiError::not_found(format!(
        "there is no security group {name} in the namespace {namespace}; make it with `skiff sg create {name}`"
    ))
}

fn contended(group: &QualifiedName) -> ApiError {
    let message = format!("others keep changing the security group {}; try again", group.name);
    ApiError::new(ErrorCode::Unavailable, message)
}
