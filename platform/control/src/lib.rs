//! The control plane: the API's handlers, and the reconcilers that carry out what `plan` decides.
//!
//! It knows the store, the images, the node, the logs and the meters by ports alone, so that it links no compiler and
//! runs under any of them. [`start`] is the way in: it takes up what the platform had promised before, starts the
//! reconcilers and serves the API; [`Plane`] is the same without a socket, whose time, order and randomness are the runtime's
//! and the ports' alone.
//!
//! What always holds: what a call was answered is in the store; each object is consistent by itself, and reconciling
//! mends what stands between them; nothing that is done may not be done twice.

mod access;
mod addresses;
mod alarms;
mod bill;
mod catalog;
mod certificates;
mod consumers;
mod context;
mod entrance;
mod error;
mod events;
mod guest_calls;
mod http;
mod keys;
mod meters;
mod metrics;
mod model;
mod network;
mod objects;
mod placement;
mod reconcile;
mod recorded;
mod records;
mod series;
mod start;
mod targets;
mod view;
mod wanted;

pub use access::Access;
pub use addresses::establish_node;
pub use context::{Config, Deps, Token};
pub use meters::{
    MeterReading, MeterReadings, Meters, NodeReading, Readings, S3Reading, S3Requests, TaskReading,
    WorkerReading, WorkerState,
};
pub use network::{AskedNetwork, NetworkError, establish_network};
pub use recorded::{Recorded, RecordedService, recorded};
pub use start::{Api, CallError, Handle, Plane, StartError, start};
