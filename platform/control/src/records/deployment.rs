//! Records of how services are deployed, and how far their deployments are.

use serde::{Deserialize, Serialize};
use skiff_plan::rollout::Rollout;
use skiff_plan::shift::{Shift, Stage};
use skiff_types::{
    CircuitBreaker, DeploymentConfiguration, DeploymentId, HostPattern, Name, RolloutState, Span, Strategy,
    TaskDefinitionId, TaskId,
};

/// How a service goes from one revision to the next; of a record that says nothing, as it was always done.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeploymentConfigurationRecord {
    min_healthy_percent: u16,
    max_percent: u16,
    circuit_breaker: CircuitBreaker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace: Option<Span>,
    #[serde(default, skip_serializing_if = "StrategyRecord::is_rolling")]
    strategy: StrategyRecord,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alarms: Vec<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    test_hosts: Vec<HostPattern>,
}

/// How a service's requests come to the next revision.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StrategyRecord {
    #[default]
    Rolling,
    BlueGreen {
        bake: Span,
    },
    Canary {
        percent: u16,
        canary_bake: Span,
        bake: Span,
    },
    Linear {
        step_percent: u16,
        step_bake: Span,
        bake: Span,
    },
}

impl StrategyRecord {
    fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling)
    }
}

impl From<Strategy> for StrategyRecord {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Rolling => Self::Rolling,
            Strategy::BlueGreen { bake } => Self::BlueGreen { bake },
            Strategy::Canary { percent, canary_bake, bake } => Self::Canary { percent, canary_bake, bake },
            Strategy::Linear { step_percent, step_bake, bake } => {
                Self::Linear { step_percent, step_bake, bake }
            }
        }
    }
}

impl From<StrategyRecord> for Strategy {
    fn from(record: StrategyRecord) -> Self {
        match record {
            StrategyRecord::Rolling => Self::Rolling,
            StrategyRecord::BlueGreen { bake } => Self::BlueGreen { bake },
            StrategyRecord::Canary { percent, canary_bake, bake } => {
                Self::Canary { percent, canary_bake, bake }
            }
            StrategyRecord::Linear { step_percent, step_bake, bake } => {
                Self::Linear { step_percent, step_bake, bake }
            }
        }
    }
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
            strategy: configuration.strategy.into(),
            alarms: configuration.alarms,
            test_hosts: configuration.test_hosts,
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
            strategy: record.strategy.into(),
            alarms: record.alarms,
            test_hosts: record.test_hosts,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_paused: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unwatched: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shift: Option<ShiftRecord>,
}

/// How far the weight of a deployment is.
#[derive(Serialize, Deserialize)]
struct ShiftRecord {
    blue: TaskDefinitionId,
    green: TaskDefinitionId,
    stage: StageRecord,
    percent: u16,
    step: u16,
    stepped_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageRecord {
    Forward,
    CleanUp,
    Back,
}

impl From<&Shift> for ShiftRecord {
    fn from(shift: &Shift) -> Self {
        let Shift { blue, green, stage, percent, step, stepped_at_ms, held_ms } = shift.clone();
        let stage = match stage {
            Stage::Forward => StageRecord::Forward,
            Stage::CleanUp => StageRecord::CleanUp,
            Stage::Back => StageRecord::Back,
        };
        Self { blue, green, stage, percent, step, stepped_at_ms, held_ms }
    }
}

impl From<ShiftRecord> for Shift {
    fn from(record: ShiftRecord) -> Self {
        let ShiftRecord { blue, green, stage, percent, step, stepped_at_ms, held_ms } = record;
        let stage = match stage {
            StageRecord::Forward => Stage::Forward,
            StageRecord::CleanUp => Stage::CleanUp,
            StageRecord::Back => Stage::Back,
        };
        Self { blue, green, stage, percent, step, stepped_at_ms, held_ms }
    }
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
            is_paused: rollout.is_paused,
            unwatched: rollout.unwatched.clone(),
            shift: rollout.shift.as_ref().map(ShiftRecord::from),
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
            is_paused: record.is_paused,
            unwatched: record.unwatched,
            shift: record.shift.map(Shift::from),
        }
    }
}
