//! The endpoint over a real socket, on real buckets, with a client that signs by itself.

mod bodies;
mod client;
mod fixture;
mod listing;
mod objects;
mod roles;
mod signatures;
mod uploads;
