//! What is wrong with a role's policy in Cedar, with the line and what to do.

use miette::Diagnostic;

/// Why a policy can't be compiled. Prints as a sentence for who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It can't be read.
    #[error(
        "line {line} of the policy is not Cedar: {message}; a policy is like: permit (principal, action == \
         Skiff::Action::\"bucket:read\", resource in Skiff::Bucket::\"uploads\");"
    )]
    Syntax {
        /// From 1.
        line: usize,
        /// In Cedar's words.
        message: String,
    },
    /// It speaks of what there is not.
    #[error(
        "line {line} of the policy can't be judged by: {message}; what policies can speak of is in the help of `skiff role put`"
    )]
    Invalid {
        /// From 1.
        line: usize,
        /// In Cedar's words.
        message: String,
    },
    /// It is a template.
    #[error(
        "the policy has a slot, ?principal or ?resource, which nobody fills: write `principal` there, which is the role, or the \
         resource that is meant"
    )]
    Template,
    /// It is too deep.
    #[error(
        "the policy has more than {depth} brackets in each other, or more than {operators} operators: say it in several policies",
        depth = crate::bounds::DEPTH_MAX,
        operators = crate::bounds::OPERATORS_MAX
    )]
    TooDeep,
    /// Nothing is wrong with it.
    #[error("the policy could not be compiled, since the system gives no thread at present: try again")]
    NoThread,
}

impl PolicyError {
    pub(crate) fn syntax(error: &dyn Diagnostic, text: &str) -> Self {
        Self::Syntax { line: line(error, text), message: message(error) }
    }

    pub(crate) fn invalid(error: &dyn Diagnostic, text: &str) -> Self {
        Self::Invalid { line: line(error, text), message: message(error) }
    }
}

/// The line that an error is in; the first, where it does not say.
fn line(error: &dyn Diagnostic, text: &str) -> usize {
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// What it says, and what it advises, in one line.
fn message(error: &dyn Diagnostic) -> String {
    let said = match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
