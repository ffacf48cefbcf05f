//! The table of programs that misbehave: what they do, and how their task ends.

/// Components that run them, one for each generation of WASI.
pub(crate) const COMPONENTS: [&str; 2] = ["misbehave-job", "job-p3"];

/// The end of a program that ends only when it is stopped.
pub(crate) const STOPPED: (&str, &str) = ("UserInitiated", "");

/// One program.
pub(crate) struct Program {
    pub(crate) arguments: &'static [&'static str],
    /// How its task ends: the code and a part of the reason.
    pub(crate) ends: (&'static str, &'static str),
}

/// All of them.
pub(crate) const PROGRAMS: [Program; 6] = [
    Program { arguments: &["spin"], ends: STOPPED },
    Program { arguments: &["sleep"], ends: STOPPED },
    Program { arguments: &["flood", "1048576"], ends: STOPPED },
    Program { arguments: &["stack"], ends: ("Trapped", "recursion") },
    Program { arguments: &["grow-forever"], ends: ("OutOfMemory", "out of memory") },
    Program { arguments: &["trap"], ends: ("Trapped", "unreachable") },
];
