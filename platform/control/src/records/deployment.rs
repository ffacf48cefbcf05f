//! Records of how services are deployed, and how far their deployments are.

use serde::{Deserialize, Serialize};
use skiff_plan::rollout::Rollout;
use skiff_types::{
    CircuitBreaker, DeploymentConfiguration, DeploymentId, RolloutState, Span, TaskDefinitionId, TaskId,
};

/// How a service goes from one revision to the next; of a record that says nothing, as it was always done.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeploymentConfigurationRecord {
    min_healthy_percent: u16,
    max_percent: u16,
    circuit_breaker: CircuitBreaker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace: Option<Span>,
}

impl Default for DeploymentConfigurationRecord {
    fn default() -> Self {
        DeploymentConfiguration::default().into()
    }
}

impl From<DeploymentConfiguration> for DeploymentConfigurationRecord {
    fn from(configuration: DeploymentConfiguration) -> Self {
        Self {
            min_healthy_percent: configuration.min_healthy_percent,
            max_percent: configuration.max_percent,
            circuit_breaker: configuration.circuit_breaker,
            grace: configuration.grace,
        }
    }
}

impl From<DeploymentConfigurationRecord> for DeploymentConfiguration {
    fn from(record: DeploymentConfigurationRecord) -> Self {
        Self {
            min_healthy_percent: record.min_healthy_percent,
            max_percent: record.max_percent,
            circuit_breaker: record.circuit_breaker,
            grace: record.grace,
        }
    }
}

/// How far a deployment is.
#[derive(Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    id: DeploymentId,
    /// The deployment that its user asked for, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentId>,
    definition: TaskDefinitionId,
    state: RolloutState,
    reason: String,
    failed_tasks: u32,
    counted: Vec<TaskId>,
    failed_at_ms: u64,
    completed: Option<TaskDefinitionId>,
    began_at_ms: u64,
    changed_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rolled_back_from: Option<TaskDefinitionId>,
}

impl From<&Rollout> for RolloutRecord {
    fn from(rollout: &Rollout) -> Self {
        Self {
            id: rollout.id,
            deployment: Some(rollout.for_).filter(|deployment| *deployment != rollout.id),
            definition: rollout.definition.clone(),
            state: rollout.state,
            reason: rollout.reason.clone(),
            failed_tasks: rollout.failed_tasks,
            counted: rollout.counted.clone(),
            failed_at_ms: rollout.failed_at_ms,
            completed: rollout.completed.clone(),
            began_at_ms: rollout.began_at_ms,
            changed_at_ms: rollout.changed_at_ms,
            rolled_back_from: rollout.rolled_back_from.clone(),
        }
    }
}

impl From<RolloutRecord> for Rollout {
    fn from(record: RolloutRecord) -> Self {
        Self {
            id: record.id,
            for_: record.deployment.unwrap_or(record.id),
            definition: record.definition,
            state: record.state,
            reason: record.reason,
            failed_tasks: record.failed_tasks,
            counted: record.counted,
            failed_at_ms: record.failed_at_ms,
            completed: record.completed,
            began_at_ms: record.began_at_ms,
            changed_at_ms: record.changed_at_ms,
            rolled_back_from: record.rolled_back_from,
        }
    }
}
