//! `skiff target-group targets`: who a group's targets are, and how each of them is.

use crate::context::{Context, all_pages};
use crate::output::{self, or_none};
use skiff_api::{PageQuery, Target};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, group: &Name) -> anyhow::Result<()> {
    let client = &context.client()?;
    let targets = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_targets(&context.namespace, group, &query).await
    })
    .await?;
    context.output.print(&targets, || table(&targets))?;
    Ok(())
}

fn table(targets: &[Target]) -> String {
    let row = |target: &Target| {
        [
            target.target.clone(),
            target.status.to_string(),
            or_none(target.reason),
            target.outstanding.to_string(),
            target.description.clone(),
        ]
    };
    output::columns(["TARGET", "STATUS", "REASON", "OUTSTANDING", "WHY"], targets.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_a_table() {
        let targets: Vec<Target> = serde_json::from_value(serde_json::json!([
            { "target": "192.0.2.7:80", "status": "healthy", "outstanding": 3 },
            {
                "target": "192.0.2.8:80", "status": "unhealthy", "reason": "Target.ResponseCodeMismatch",
                "description": "Health checks failed with these codes: [503]", "outstanding": 0,
            },
        ]))
        .unwrap();
        let expected = "TARGET         STATUS      REASON                        OUTSTANDING   WHY\n\
             192.0.2.7:80   healthy     -                             3\n\
             192.0.2.8:80   unhealthy   Target.ResponseCodeMismatch   0             Health checks failed with these codes: [503]";
        assert_eq!(table(&targets), expected);
    }
}
