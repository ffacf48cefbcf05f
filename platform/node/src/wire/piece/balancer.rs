//! What a difference says of the load balancer, cut into pieces: as much at a time as a piece has room for.
//!
//! What always holds: what comes is taken in the order in which it is to be carried out, and so is what leaves; nothing that
//! leaves is taken before all that comes, since room ends only where a piece does.

use super::{ITEM_BYTES, Room};
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::tls::CertificateTold;
use skiff_types::{Action, ListenerSpec, Name, Pattern, QualifiedName, RuleSpec, TargetGroupSpec, Targets};
use std::iter::from_fn;
use std::sync::Arc;
use std::vec::IntoIter;

/// What is not in a piece yet.
pub(super) struct Unsent {
    meters: IntoIter<(Metered, u32)>,
    groups: IntoIter<Arc<TargetGroupSpec>>,
    dissolved: IntoIter<QualifiedName>,
    certificates: IntoIter<Arc<CertificateTold>>,
    revoked: IntoIter<Name>,
    listeners: IntoIter<Arc<ListenerSpec>>,
    closed: IntoIter<Name>,
    rules: IntoIter<Arc<RuleSpec>>,
    dropped: IntoIter<QualifiedName>,
}

impl Unsent {
    pub(super) fn new(change: BalancerChange) -> Self {
        Self {
            meters: change.meters.into_iter(),
            groups: change.groups.into_iter(),
            dissolved: change.dissolved.into_iter(),
            certificates: change.certificates.into_iter(),
            revoked: change.revoked.into_iter(),
            listeners: change.listeners.into_iter(),
            closed: change.closed.into_iter(),
            rules: change.rules.into_iter(),
            dropped: change.dropped.into_iter(),
        }
    }

    pub(super) fn take_what_comes(&mut self, room: &mut Room, piece: &mut BalancerChange) {
        piece.meters.extend(from_fn(|| room.take(&mut self.meters, |(metered, _)| metered_bytes(metered))));
        piece.groups.extend(from_fn(|| room.take(&mut self.groups, |spec| target_group_bytes(spec))));
        piece
            .certificates
            .extend(from_fn(|| room.take(&mut self.certificates, |told| certificate_bytes(told))));
        piece.listeners.extend(from_fn(|| room.take(&mut self.listeners, |spec| listener_bytes(spec))));
        piece.rules.extend(from_fn(|| room.take(&mut self.rules, |spec| rule_bytes(spec))));
    }

    pub(super) fn take_what_leaves(&mut self, room: &mut Room, piece: &mut BalancerChange) {
        piece.dropped.extend(from_fn(|| room.take(&mut self.dropped, |_| 0)));
        piece.closed.extend(from_fn(|| room.take(&mut self.closed, |_| 0)));
        piece.revoked.extend(from_fn(|| room.take(&mut self.revoked, |_| 0)));
        piece.dissolved.extend(from_fn(|| room.take(&mut self.dissolved, |_| 0)));
    }

    /// Whether all was taken.
    pub(super) fn is_empty(&self) -> bool {
        let Self { meters, groups, dissolved, certificates, revoked, listeners, closed, rules, dropped } =
            self;
        let come = meters.len() + groups.len() + certificates.len() + listeners.len() + rules.len();
        let leave = dropped.len() + closed.len() + revoked.len() + dissolved.len();
        come + leave == 0
    }
}

fn metered_bytes(metered: &Metered) -> usize {
    match metered {
        Metered::Listener(_) | Metered::Rule(_) | Metered::Group(_) => ITEM_BYTES,
        Metered::Target { target, .. } => ITEM_BYTES + target.len(),
    }
}

fn target_group_bytes(group: &TargetGroupSpec) -> usize {
    let targets_bytes = match &group.targets {
        Targets::Service(_) => ITEM_BYTES,
        Targets::Virtual(addresses) => ITEM_BYTES * addresses.len(),
        Targets::Outside(hosts) => hosts.iter().map(|outside| ITEM_BYTES + outside.host.len()).sum(),
    };
    let path = group.health_check.as_ref().and_then(|check| check.path.as_deref());
    ITEM_BYTES + targets_bytes + path.map_or(0, str::len)
}

fn certificate_bytes(told: &CertificateTold) -> usize {
    let domains = told.domains.iter().map(|domain| ITEM_BYTES + domain.len());
    let chain = told.chain.iter().map(|certificate| ITEM_BYTES + certificate.len());
    domains.chain(chain).sum::<usize>() + told.key.len()
}

fn listener_bytes(listener: &ListenerSpec) -> usize {
    ITEM_BYTES * listener.certificates.len() + action_bytes(&listener.default_action)
}

fn rule_bytes(rule: &RuleSpec) -> usize {
    let values = rule.conditions.iter().map(|condition| condition.values()).sum::<usize>();
    ITEM_BYTES * rule.conditions.len() + Pattern::LENGTH_MAX * values + action_bytes(&rule.action)
}

fn action_bytes(action: &Action) -> usize {
    match action {
        Action::Forward(forward) => 2 * ITEM_BYTES * forward.groups.len(),
        Action::Redirect(redirect) => {
            ITEM_BYTES + redirect.host.len() + redirect.path.len() + redirect.query.len()
        }
        Action::FixedResponse(response) => ITEM_BYTES + response.body.len(),
    }
}
