//! The targets of a target group and how each of them is, as the node knows it; of the groups that services are, too.

use super::target_groups::no_group;
use crate::entrance::Entrance;
use crate::entrance::page::page;
use crate::error::ApiError;
use skiff_api::{Page, PageQuery, Target};
use skiff_ports::runtime::TargetReading;
use skiff_types::QualifiedName;

impl Entrance {
    /// Lists the targets of a group, by name.
    pub(crate) fn list_targets(
        &self,
        group: &QualifiedName,
        query: &PageQuery,
    ) -> Result<Page<Target>, ApiError> {
        self.context.objects.read(|view| {
            let is_there = view.target_group(group).is_some() || view.service(group).is_some();
            if is_there { Ok(()) } else { Err(no_group(view, group)) }
        })?;
        let readings = self.context.runtime.target_health(group);
        let placed = readings.into_iter().map(|reading| (reading.target.to_string(), reading));
        page(placed.collect(), query.limit, query.cursor.as_deref(), shown)
    }
}

fn shown(reading: TargetReading) -> Target {
    let TargetReading { target, task, health, outstanding } = reading;
    Target {
        target: target.to_string(),
        task,
        status: health.status,
        reason: health.reason,
        description: health.description.to_string(),
        outstanding,
    }
}
