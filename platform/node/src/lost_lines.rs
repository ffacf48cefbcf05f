//! Lines of guests that whoever was to take them had no room for: counted by task, and spoken of once there is room.

use skiff_kit::clock;
use skiff_ports::logs::{LogLine, LogStream};
use skiff_types::{QualifiedName, TaskId};
use std::collections::BTreeMap;

/// How many lines each task lost since it was last said.
#[derive(Debug, Default)]
pub struct LostLines(BTreeMap<(QualifiedName, TaskId), u64>);

impl LostLines {
    /// Counts one more.
    pub fn note(&mut self, owner: &QualifiedName, task: TaskId) {
        *self.0.entry((owner.clone(), task)).or_default() += 1;
    }

    /// A remark for each task that lost any, to stand where its lines would have stood.
    pub fn remarks(&self) -> Vec<(QualifiedName, LogLine)> {
        let at_ms = clock::unix_ms();
        let remark = |((owner, task), lines): (&(QualifiedName, TaskId), &u64)| {
            let lines = if *lines == 1 { "1 line was".to_owned() } else { format!("{lines} lines were") };
            let text = format!("{lines} lost here: the node's tasks write more than it can keep up with");
            (owner.clone(), LogLine { at_ms, task: *task, stream: LogStream::Skiff, text })
        };
        self.0.iter().map(remark).collect()
    }

    /// The remarks are where they belong.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
