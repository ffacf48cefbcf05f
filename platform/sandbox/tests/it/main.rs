//! Sandboxes with real guests, compiled and run as in a worker, and what is made of damaged bytes.

mod cache;
mod calls;
mod commands;
mod compile;
mod inspect;
mod quotas;
mod support;
