//! What was used: the bill's sums, listed as they were asked for.

use super::Entrance;
use crate::error::ApiError;
use crate::objects::ObjectError;
use skiff_api::{UsageItem, UsageQuery, UsageReport};
use skiff_types::{Account, Charge, Group, Usage};

impl Entrance {
    /// What services, their tasks and the platform used.
    pub(crate) async fn usage(&self, query: &UsageQuery) -> Result<UsageReport, ApiError> {
        let now_ms = self.context.now_ms();
        let by_task = query.by_task.unwrap_or(false);
        let sums = skiff_ports::usage::UsageQuery { since_ms: query.since_ms, by_task };
        let sums = self.context.bill.read(now_ms, sums).await.map_err(ObjectError::Store)?;
        Ok(UsageReport { from_ms: sums.from_ms, until_ms: now_ms, ..report(sums.charges, query) })
    }
}

/// Puts each charge where it belongs; every one is in exactly one place, and in the total.
fn report(mut charges: Vec<Charge>, query: &UsageQuery) -> UsageReport {
    charges.sort_by_cached_key(|charge| {
        (std::cmp::Reverse(charge.used.cpu_ns), format!("{:?}", charge.account))
    });
    let total: Usage = charges.iter().map(|charge| charge.used).sum();
    let (mut items, mut others, mut platform) = (Vec::new(), Usage::default(), Usage::default());
    for Charge { account, used } in charges {
        match account {
            Account::Platform => platform += used,
            Account::Group { namespace, group, task }
                if query.namespace.as_ref().is_none_or(|asked| *asked == namespace)
                    && query.service.as_ref().is_none_or(|asked| asked == name(&group))
                    && items.len() < UsageReport::ITEMS_MAX =>
            {
                items.push(UsageItem { namespace, group, task, used: wire(used) });
            }
            Account::Group { .. } | Account::Earlier => others += used,
        }
    }
    let [others, platform, total] = [others, platform, total].map(wire);
    UsageReport { from_ms: 0, until_ms: 0, items, others, platform, total }
}

fn name(group: &Group) -> &skiff_types::Name {
    match group {
        Group::Service(name) | Group::Family(name) => name,
    }
}

fn wire(used: Usage) -> skiff_api::Usage {
    skiff_api::Usage {
        requests: used.requests,
        cpu_seconds: used.cpu_seconds(),
        gb_seconds: used.gb_seconds(),
        received_bytes: used.received_bytes,
        sent_bytes: used.sent_bytes,
        cold_starts: used.cold_starts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(account: Account, requests: u64) -> Charge {
        Charge { account, used: Usage { requests, cpu_ns: requests, ..Usage::default() } }
    }

    fn of(namespace: &str, group: &str) -> Account {
        Account::Group { namespace: namespace.parse().unwrap(), group: group.parse().unwrap(), task: None }
    }

    fn charges() -> Vec<Charge> {
        vec![
            charge(of("default", "service:small"), 1),
            charge(Account::Platform, 10),
            charge(of("default", "service:large"), 100),
            charge(of("team", "service:small"), 1_000),
            charge(of("default", "family:small"), 10_000),
            charge(Account::Earlier, 100_000),
        ]
    }

    #[track_caller]
    fn check(namespace: Option<&str>, service: Option<&str>, items: &[u64], others: u64) {
        let query = UsageQuery {
            namespace: namespace.map(|text| text.parse().unwrap()),
            service: service.map(|text| text.parse().unwrap()),
            ..UsageQuery::default()
        };
        let report = report(charges(), &query);
        let listed: Vec<_> = report.items.iter().map(|item| item.used.requests).collect();
        assert_eq!((&listed[..], report.others.requests), (items, others));
        assert_eq!((report.platform.requests, report.total.requests), (10, 111_111));
    }

    #[test]
    fn what_was_not_asked_for_is_with_the_others_and_all_of_it_in_the_total() {
        check(None, None, &[10_000, 1_000, 100, 1], 100_000);
        check(Some("default"), None, &[10_000, 100, 1], 101_000);
        check(Some("default"), Some("small"), &[10_000, 1], 101_100);
        check(None, Some("nobody"), &[], 111_101);
    }

    #[test]
    fn more_than_a_report_lists_are_with_the_others() {
        let name = |number: usize| of("default", &format!("service:a{number}"));
        let charges = (0..UsageReport::ITEMS_MAX + 2).map(|number| charge(name(number), 1)).collect();
        let report = report(charges, &UsageQuery::default());
        assert_eq!((report.items.len(), report.others.requests), (UsageReport::ITEMS_MAX, 2));
    }
}
