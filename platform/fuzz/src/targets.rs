//! The targets: for each a function of bytes that panics if the code under test breaks a promise.

pub(crate) mod api;
pub(crate) mod calls;
pub(crate) mod component;
pub(crate) mod connection;
pub(crate) mod cookie;
pub(crate) mod envelope;
pub(crate) mod guard;
pub(crate) mod headers;
pub(crate) mod input;
pub(crate) mod manifest;
pub(crate) mod native_cache;
pub(crate) mod pattern;
pub(crate) mod rules;
pub(crate) mod sockets;
pub(crate) mod tcp;
pub(crate) mod wire;
