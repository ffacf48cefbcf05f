//! A role's policy, compiled, and its verdicts.
//!
//! Of all that it says, only what can be about an action is asked about it. Verdicts on things without a path are remembered, as
//! there are few and a guest asks the same again and again: a queue that it sends to, a bus that it puts on. Those on paths are not:
//! keys seldom come twice.
//!
//! A policy that forbids and can't be judged forbids; one that permits and can't be judged permits nothing.

use crate::bounds::{STACK_BYTES, is_shallow};
use crate::cedar_text::policy_of;
use crate::error::PolicyError;
use crate::vocabulary::{action as action_uid, question, role as role_uid, validator};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision, Effect, EntityUid, Policy as CedarPolicy,
    PolicyId, PolicySet, Response, ValidationMode,
};
use skiff_types::{AccessAction, AccessResource, Name, QualifiedName, RoleSpec};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Verdicts of one policy that are remembered; beyond that all are forgotten.
const REMEMBERED_MAX: usize = 256;

/// What a role may, compiled.
pub struct Policy {
    role: QualifiedName,
    uid: EntityUid,
    authorizer: Authorizer,
    /// What can be about each action. Their ids are places in `says`.
    about: BTreeMap<AccessAction, PolicySet>,
    /// What each policy is called, for people, and whether it forbids.
    says: Vec<(String, Effect)>,
    remembered: Mutex<HashMap<(AccessAction, Name), Outcome>>,
}

/// Whether something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may.
    Allowed {
        /// By what: a grant, or what a policy in Cedar is called.
        by: &'a str,
    },
    /// It may not, whatever allows it.
    Forbidden {
        /// By what, likewise.
        by: &'a str,
    },
    /// It may not, since nothing allows it.
    NotAllowed,
}

/// A verdict with the place of what it follows from.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Allowed(usize),
    Forbidden(usize),
    NotAllowed,
}

impl Policy {
    /// Compiles what a role allows and forbids.
    ///
    /// # Errors
    /// What is wrong with its policy in Cedar; grants are never wrong.
    pub fn compile(role: &RoleSpec) -> Result<Self, PolicyError> {
        let mut policies = Vec::new();
        let mut says = Vec::new();
        for grant in &role.allow {
            let text = policy_of(&role.name.name, grant);
            let id = PolicyId::new(says.len().to_string());
            let policy =
                CedarPolicy::parse(Some(id), &text).map_err(|error| PolicyError::syntax(&error, &text))?;
            says.push((grant.to_string(), policy.effect()));
            policies.push(policy);
        }
        for policy in role.policy.as_deref().map_or(Ok(vec![]), parsed)? {
            says.push((called(&policy), policy.effect()));
            policies.push(policy.new_id(PolicyId::new((says.len() - 1).to_string())));
        }
        Ok(Self {
            role: role.name.clone(),
            uid: role_uid(&role.name.name),
            authorizer: Authorizer::new(),
            about: AccessAction::ALL.map(|action| (action, about(action, &policies))).into(),
            says,
            remembered: Mutex::default(),
        })
    }

    /// Whether the role may do this.
    pub fn decide(&self, action: AccessAction, resource: &AccessResource) -> Verdict<'_> {
        let outcome = match self.role.namespace == resource.name.namespace {
            true => self.outcome(action, resource),
            false => Outcome::NotAllowed,
        };
        let by = |place: usize| self.says.get(place).map_or("", |(name, _)| name.as_str());
        match outcome {
            Outcome::Allowed(place) => Verdict::Allowed { by: by(place) },
            Outcome::Forbidden(place) => Verdict::Forbidden { by: by(place) },
            Outcome::NotAllowed => Verdict::NotAllowed,
        }
    }

    /// The verdict on something of the role's namespace, as it was or anew.
    fn outcome(&self, action: AccessAction, resource: &AccessResource) -> Outcome {
        if resource.path.is_some() || action.kind() != resource.kind {
            return self.judge(action, resource);
        }
        let key = (action, resource.name.name.clone());
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = remembered().get(&key) {
            return *outcome;
        }
        let outcome = self.judge(action, resource);
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key, outcome);
        outcome
    }

    fn judge(&self, action: AccessAction, resource: &AccessResource) -> Outcome {
        let Some(policies) = self.about.get(&action).filter(|policies| !policies.is_empty()) else {
            return Outcome::NotAllowed;
        };
        let Some((request, entities)) = question(&self.uid, action, resource) else {
            return Outcome::NotAllowed;
        };
        let response = self.authorizer.is_authorized(&request, policies, &entities);
        if let Some(place) = self.unjudged_that_forbids(&response) {
            return Outcome::Forbidden(place);
        }
        // The first, as there may be several in any order.
        let reason = response.diagnostics().reason().filter_map(place_of).min();
        match (response.decision(), reason) {
            (Decision::Allow, Some(place)) => Outcome::Allowed(place),
            (Decision::Deny, Some(place)) => Outcome::Forbidden(place),
            (Decision::Allow | Decision::Deny, None) => Outcome::NotAllowed,
        }
    }

    /// The first policy that forbids something, nobody can say what.
    fn unjudged_that_forbids(&self, response: &Response) -> Option<usize> {
        let places = response.diagnostics().errors().filter_map(|error| {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            place_of(error.policy_id())
        });
        places.filter(|place| self.says.get(*place).is_none_or(|(_, effect)| *effect == Effect::Forbid)).min()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The policies that can be about an action.
fn about(action: AccessAction, policies: &[CedarPolicy]) -> PolicySet {
    let uid = action_uid(action);
    let is_about = |policy: &&CedarPolicy| match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.contains(uid),
        ActionConstraint::Eq(one) => one == *uid,
    };
    let about = policies.iter().filter(is_about).cloned();
    PolicySet::from_policies(about).expect("each has an id of its own, and none is a template")
}

fn place_of(id: &PolicyId) -> Option<usize> {
    let text: &str = id.as_ref();
    text.parse().ok()
}

/// What a policy of a text is called: as its annotation `@id` says, else by its number.
fn called(policy: &CedarPolicy) -> String {
    match policy.annotation("id") {
        Some(id) if !id.is_empty() => format!("the policy {id:?}"),
        // Cedar counts them from 0.
        _ => match policy
            .id()
            .to_string()
            .strip_prefix("policy")
            .and_then(|number| number.parse::<usize>().ok())
        {
            Some(number) => format!("policy {} of its Cedar", number + 1),
            None => "a policy of its Cedar".to_owned(),
        },
    }
}

/// The policies of a text in Cedar that can be judged by, in their order. Runs on a stack of its own: see [`crate::bounds`].
fn parsed(text: &str) -> Result<Vec<CedarPolicy>, PolicyError> {
    if !is_shallow(text) {
        return Err(PolicyError::TooDeep);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy".to_owned()).stack_size(STACK_BYTES);
        let parsing = thread.spawn_scoped(scope, || parse(text)).map_err(|_| PolicyError::NoThread)?;
        parsing.join().map_err(|_| PolicyError::NoThread)?
    })
}

fn parse(text: &str) -> Result<Vec<CedarPolicy>, PolicyError> {
    let set: PolicySet =
        text.parse().map_err(|error: cedar_policy::ParseErrors| PolicyError::syntax(&error, text))?;
    if set.num_of_templates() > 0 {
        return Err(PolicyError::Template);
    }
    let checked = validator().validate(&set, ValidationMode::Strict);
    if let Some(error) = checked.validation_errors().next() {
        return Err(PolicyError::invalid(error, text));
    }
    let mut policies: Vec<CedarPolicy> = set.policies().cloned().collect();
    policies.sort_by_key(|policy| (policy.id().to_string().len(), policy.id().to_string()));
    Ok(policies)
}
