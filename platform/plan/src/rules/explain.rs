//! Why rules do not take a request.
//!
//! It deliberately asks all of them one by one: it is for a user who wonders, not for requests.

use super::{Request, Rules};
use skiff_types::{Condition, Priority, QualifiedName};

/// The rules that were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// In order; if one takes the request, it is the last.
    pub steps: Vec<Step<'a>>,
}

/// A rule that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// Which.
    pub rule: &'a QualifiedName,
    /// Its priority.
    pub priority: Priority,
    /// Its first condition that does not hold; `None` if it takes the request.
    pub failed: Option<&'a Condition>,
}

/// Why each rule does not take a request, up to the first that does.
pub fn explain<'a, T>(rules: &'a Rules<T>, request: &Request<'_>) -> Explanation<'a> {
    let mut steps = Vec::new();
    for entry in rules.entries() {
        let failed = entry.failed(request);
        steps.push(Step { rule: &entry.name, priority: entry.priority, failed });
        if failed.is_none() {
            break;
        }
    }
    Explanation { steps }
}
