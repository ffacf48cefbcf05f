//! Numbers by the beginnings of texts: all those that a text begins with are found without asking the others.

use super::work::{TooMuchWork, Work};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Ids by prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefixes(BTreeMap<Box<str>, Vec<u32>>);

impl Prefixes {
    /// The ids of a prefix; none of them is empty.
    pub(super) fn get(&self, prefix: &str) -> Option<&Vec<u32>> {
        self.0.get(prefix)
    }

    /// The ids of a prefix, to add one.
    pub(super) fn entry(&mut self, prefix: &str) -> &mut Vec<u32> {
        self.0.entry(prefix.into()).or_default()
    }

    /// Forgets an id of a prefix.
    pub(super) fn remove(&mut self, prefix: &str, id: u32) {
        if let Some(ids) = self.0.get_mut(prefix) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.0.remove(prefix);
            }
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `found` with the ids of each prefix of a text, the longest first.
    ///
    /// Each step goes to the last prefix at or before what is left of the text, which is one, or has less in common with the
    /// text; so there are at most as many steps as the text has bytes, and in practice a handful. Each is counted.
    pub(super) fn of<'a>(
        &'a self,
        text: &str,
        work: &Work,
        mut found: impl FnMut(&'a Vec<u32>),
    ) -> Result<(), TooMuchWork> {
        let mut bound = Bound::Included(text);
        while let Some((prefix, ids)) = self.0.range::<str, _>((Bound::Unbounded, bound)).next_back() {
            let common = common(prefix, text);
            work.spend_on(common)?;
            if common == prefix.len() {
                found(ids);
                bound = Bound::Excluded(&text[..common]);
            } else {
                bound = Bound::Included(&text[..common]);
            }
        }
        Ok(())
    }
}

/// Bytes of whole characters that two texts have in common at their beginnings.
fn common(left: &str, right: &str) -> usize {
    let mut common = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    while !left.is_char_boundary(common) || !right.is_char_boundary(common) {
        common -= 1;
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_prefixes_of_a_text_are_found(
            prefixes in proptest::collection::vec("[abä]{0,4}", 0..12), text in "[abä]{0,6}"
        ) {
            let mut index = Prefixes::default();
            for (id, prefix) in (0..).zip(&prefixes) {
                index.entry(prefix).push(id);
            }
            let mut found: Vec<u32> = Vec::new();
            prop_assert_eq!(index.of(&text, &Work::new(100), |ids| found.extend(ids)), Ok(()));
            found.sort_unstable();
            let naive: Vec<u32> = (0..).zip(&prefixes).filter(|(_, prefix)| text.starts_with(prefix.as_str())).map(|(id, _)| id).collect();
            prop_assert_eq!(found, naive);
        }
    }

    #[test]
    fn a_text_that_begins_with_very_many_costs_as_many_steps() {
        let mut index = Prefixes::default();
        let text = "a".repeat(1_000);
        (1..=1_000).for_each(|length| index.entry(&text[..length]).push(7));
        let mut found = 0;
        assert!(index.of(&text, &Work::new(1_000), |_| found += 1).is_err());
        assert!((1..1_000).contains(&found), "{found}");
        assert_eq!(index.of(&text, &Work::new(10_000), |_| found += 1), Ok(()));
    }
}
