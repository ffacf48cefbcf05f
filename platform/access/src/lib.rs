//! Access: what a role allows, as policies in Cedar.
//!
//! A role's short form ([`skiff_types::Grant`]) is written as Cedar ([`to_cedar`]), and all its policies are compiled together into a
//! [`Policy`], which decides. Nothing here knows which roles there are, or who acts as one.
//!
//! What always holds: what no policy allows is denied, and so is what any forbids; a role reaches nothing of another namespace,
//! whatever its policies say; a path is judged byte for byte as it is told; and deciding never fails: where something could not be
//! judged, it is denied.

mod bounds;
mod cedar_text;
mod error;
mod policy;
mod vocabulary;

pub use cedar_text::to_cedar;
pub use error::PolicyError;
pub use policy::{Policy, Verdict};

#[cfg(test)]
mod tests;
