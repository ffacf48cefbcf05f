//! `skiff usage`: the bill.

use crate::args::{UsageArgs, UsageBy};
use crate::context::Context;
use crate::{human, output};
use skiff_api::{Usage, UsageItem, UsageQuery, UsageReport};

pub(crate) async fn run(context: &Context, args: &UsageArgs) -> anyhow::Result<()> {
    let query = UsageQuery {
        since_ms: args.since.map(|since| human::now_ms().saturating_sub(since.ms())),
        namespace: (!args.all_namespaces).then(|| context.namespace.clone()),
        service: args.service.clone(),
        by_task: Some(args.by == UsageBy::Task),
    };
    let report = context.client()?.usage(&query).await?;
    context.output.print(&report, || text(&report, args.by))?;
    Ok(())
}

/// The rows that add up, under what they are of.
fn text(report: &UsageReport, by: UsageBy) -> String {
    let items = report.items.iter().map(|item| row(name(item, by), &item.used));
    // What is not listed has a row only where there is some of it.
    let others = (report.others != Usage::default()).then(|| row("others".to_owned(), &report.others));
    let sums = [row("platform".to_owned(), &report.platform), row("total".to_owned(), &report.total)];
    let header = ["NAME", "REQUESTS", "CPU", "GB-SECONDS", "IN", "OUT", "COLD STARTS"];
    format!(
        "from {} to {}\n{}",
        human::timestamp(report.from_ms),
        human::timestamp(report.until_ms),
        output::columns(header, items.chain(others).chain(sums))
    )
}

/// `default/service:hello`, and its task where tasks have rows.
fn name(item: &UsageItem, by: UsageBy) -> String {
    let group = format!("{}/{}", item.namespace.as_str(), item.group);
    match (by, item.task) {
        (UsageBy::Service, _) => group,
        (UsageBy::Task, Some(task)) => format!("{group} {}", task.short()),
        (UsageBy::Task, None) => format!("{group} (tasks not told apart)"),
    }
}

fn row(name: String, used: &Usage) -> [String; 7] {
    [
        name,
        used.requests.to_string(),
        human::cpu(used.cpu_seconds),
        format!("{:.3}", used.gb_seconds),
        human::bytes(used.received_bytes),
        human::bytes(used.sent_bytes),
        used.cold_starts.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(requests: u64) -> Usage {
        Usage {
            requests,
            cpu_seconds: requests as f64 / 100.0,
            gb_seconds: requests as f64 / 1_000.0,
            received_bytes: requests * 10,
            sent_bytes: requests * 1_000,
            cold_starts: requests / 2,
        }
    }

    fn report(task: Option<&str>, others: Usage) -> UsageReport {
        let item = |group: &str, requests| UsageItem {
            namespace: Default::default(),
            group: group.parse().unwrap(),
            task: task.map(|id| id.parse().unwrap()),
            used: used(requests),
        };
        UsageReport {
            from_ms: 1_700_000_000_000,
            until_ms: 1_700_000_060_000,
            items: vec![item("service:hello", 1_200), item("family:job", 2)],
            others,
            platform: used(20),
            total: used(1_222),
        }
    }

    #[test]
    fn the_bill_by_service() {
        insta::assert_snapshot!(text(&report(None, Usage::default()), UsageBy::Service));
    }

    #[test]
    fn the_bill_by_task_with_what_is_not_listed() {
        let task = "0190000000007000800000005e8f01b2";
        insta::assert_snapshot!(text(&report(Some(task), used(7)), UsageBy::Task));
    }
}
