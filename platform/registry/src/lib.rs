//! Images on this machine: content-addressed blobs, a component and an OCI manifest for it.
//!
//! An image is an OCI artifact as the CNCF's "Wasm OCI Artifact layout" has it: a manifest, a config that says what the
//! component imports and exports, and one layer, the component. Tags and repositories are not here, they are objects
//! of the store; nor is the network.
//!
//! What always holds: a blob under its digest is whole and durable, and no manifest is there before all it names.

mod blobs;
mod images;
mod interface;
mod manifest;

pub use images::{COMPONENT_BYTES_MAX, GRACE_MS, LocalImages};

#[cfg(test)]
mod tests;
