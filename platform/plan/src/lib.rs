//! Every decision of the control plane as a pure function: what is wanted and what is there go in, actions come out.
//!
//! No clock, no random source and no I/O: the time is an argument, and ids are made by whoever carries the actions
//! out. Nothing here knows how a task is run or where an object is kept.

pub mod alarm;
pub mod capacity;
pub mod capacity_provider;
pub mod event_schedule;
pub mod health;
pub mod idle;
pub mod lifecycle;
pub mod outlier;
pub mod placement;
pub mod retention;
pub mod rollout;
pub mod routes;
pub mod rules;
pub mod scaling;
pub mod schedule;
pub mod security_groups;
pub mod series;
pub mod service;
pub mod share;
pub mod shed;
pub mod shift;
pub mod target_health;
pub mod target_use;
pub mod usage;

#[cfg(test)]
mod living;
