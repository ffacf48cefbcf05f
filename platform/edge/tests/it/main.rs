//! The edge at its boundary: real sockets, hyper's clients and raw bytes, and fake tasks behind it.

mod accounts;
mod daemons;
mod drain;
mod errors;
mod h2spec;
mod hand_over;
mod http1;
mod http2;
mod listeners;
mod malformed;
mod outside;
mod rules;
mod slow;
mod smuggling;
mod streaming;
mod support;
mod tcp;
mod tls;
mod told;
mod traces;
