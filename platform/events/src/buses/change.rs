//! What follows for deliveries from rules that changed: how many a target may have under way, and what is given up.

use super::known::Known;
use super::rules::{Change, Rules};

impl Known {
    /// Changes rules, at a cost that goes with what is changed: what is on its way to targets that were removed is given up.
    pub(super) fn change_rules(&mut self, rules: &mut Rules, change: Change) {
        let changed = rules.change(change);
        for aim in changed.aims {
            self.lanes.set_concurrency(&aim.key, aim.target.concurrency);
        }
        let there = self.lanes.close_those(&changed.gone);
        self.give_up_closed(there);
    }

    /// Gives up what is on its way to targets that none of the rules has: what was read from the log may be of rules that went
    /// meanwhile.
    pub(super) fn sweep(&mut self, rules: &Rules) {
        let there = self.lanes.close(|key| rules.want(key));
        self.give_up_closed(there);
    }
}
