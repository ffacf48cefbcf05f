//! The traits that the upper tiers meet at, and what crosses them. No implementation lives here.
//!
//! | port | asked by | carried out by |
//! | --- | --- | --- |
//! | [`store::Store`] | `control` | `store` |
//! | [`images::Images`] | `control`, `node` | `registry` |
//! | [`runtime::Runtime`] | `control` | `node`, and in simulation `sim` |
//! | [`logs::Logs`] | `control` | `node` |
//! | [`native::NativeCode`] | `node` | `sandbox` |
//! | [`flows::Flows`] | `control` | `node` |
//! | [`invoke::Invoke`] | `edge` | `sandbox`, wired in `worker` |
//! | [`connect::Connect`] | `edge`, `worker` | `worker`, over `net` |
//! | [`internal::InternalListeners`] | `net` | `edge`, wired in `worker` |
//! | [`usage::UsageLog`] | `control` | `store` |
//! | [`journal::Journal`] | `control` | `store` |
//! | [`series::SeriesLog`] | `control` | `store` |
//! | [`nodes::Nodes`] | `control` | `server`, and in simulation `sim` |
//! | [`spans::SpanSink`] | `edge` | `worker` |
//! | [`metrics::MetricSink`] | `host-metrics` | `worker` |
//! | [`wake::Wake`] | `host-net` | `edge`, wired in `worker` |
//! | [`webhook::Webhooks`] | `control` | `server`, and in simulation `sim` |
//! | [`access::Authorizer`], [`access::AccessKeys`] | `control`, `data` | `control`, over `access` |
//! | [`catalog::Catalog`] | `control`, `data` | `control` |
//! | [`buckets::Buckets`], [`tables::Tables`] | `control` | `data` |
//! | [`queues::Queues`], [`buses::Buses`] | `control` | `events` |
//! | [`buses::Targets`] | `events` | `control` |
//! | [`guest_calls::GuestCalls`] | `node` | `control` |
//! | [`guest_calls::CallSink`] | `host-data`, `host-events` | `worker` |
//!
//! [`snapshot`], [`network`], [`balancer`], [`tls`] and [`cookie`] are what a worker must know. Bodies cross as `http` types with one
//! concrete [`body::Body`].

pub mod access;
pub mod balancer;
pub mod body;
pub mod buckets;
pub mod buses;
pub mod catalog;
pub mod connect;
pub mod cookie;
pub mod flows;
pub mod guest_calls;
pub mod guest_deliveries;
pub mod images;
pub mod internal;
pub mod invoke;
pub mod journal;
pub mod lease;
pub mod logs;
pub mod metrics;
pub mod native;
pub mod network;
pub mod nodes;
pub mod queues;
pub mod runtime;
pub mod series;
pub mod snapshot;
pub mod spans;
pub mod store;
pub mod tables;
pub mod tls;
pub mod usage;
pub mod wake;
pub mod webhook;
