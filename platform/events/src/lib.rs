//! Events: buses, rules, schedules' deliveries, and queues.

pub mod buses;
mod decimal;
pub mod envelope;
pub mod input;
mod json;
mod log;
pub mod pattern;
pub mod queues;

pub use json::JsonError;
