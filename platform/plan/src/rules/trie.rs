//! A radix tree of texts, with the rules that are filed under each.
//!
//! It deliberately does not know what a text is of: bytes of a path, of a host from its end, or bits of an address.
//!
//! What always holds: no branch is without rules, and none but the root with neither rules nor a fork; so a text is
//! walked along in as many steps as it has bytes, and taking a rule out leaves nothing behind.

use super::bucket::{Bucket, Filed};
use std::iter::zip;
use std::mem;

/// How a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// It is all.
    Whole,
    /// Anything may follow.
    Beginning,
}

/// The tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Trie {
    root: Node,
}

impl Trie {
    pub(super) fn add(&mut self, text: &[u8], extent: Extent, filed: Filed) {
        let mut node = &mut self.root;
        let mut rest = text;
        while let Some(first) = rest.first() {
            let index = match node.child(*first) {
                Ok(index) => {
                    node.children[index].split_from(rest);
                    index
                }
                Err(index) => {
                    node.children.insert(index, Node { label: rest.into(), ..Node::default() });
                    index
                }
            };
            node = &mut node.children[index];
            rest = &rest[node.label.len()..];
        }
        node.bucket_mut(extent).add(filed);
    }

    pub(super) fn remove(&mut self, text: &[u8], extent: Extent, filed: Filed) {
        self.root.remove(text, extent, filed);
    }

    /// How many rules are filed under a text.
    pub(super) fn count(&self, text: &[u8], extent: Extent) -> usize {
        let mut node = &self.root;
        let mut rest = text;
        while let Some(first) = rest.first() {
            let Ok(index) = node.child(*first) else { return 0 };
            node = &node.children[index];
            let Some(after) = rest.strip_prefix(&*node.label) else { return 0 };
            rest = after;
        }
        node.bucket(extent).len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_bare() && self.root.children.is_empty()
    }

    /// Calls `found` with the rules that are filed under a text, and under each beginning of it.
    pub(super) fn reach<'a>(
        &'a self,
        mut text: impl Iterator<Item = u8>,
        found: &mut dyn FnMut(&'a [Filed]),
    ) {
        let mut node = &self.root;
        loop {
            if !node.beginning.is_empty() {
                found(node.beginning.in_order());
            }
            let Some(first) = text.next() else { break };
            let Ok(index) = node.child(first) else { return };
            node = &node.children[index];
            if !node.label[1..].iter().all(|byte| text.next() == Some(*byte)) {
                return;
            }
        }
        if !node.whole.is_empty() {
            found(node.whole.in_order());
        }
    }
}

/// Where the texts that begin alike go apart, or one ends.
#[derive(Debug, Clone, Default)]
struct Node {
    /// What is between its parent and it; empty for the root alone.
    label: Box<[u8]>,
    whole: Bucket,
    beginning: Bucket,
    /// In the order of their first bytes, which differ.
    children: Vec<Node>,
}

impl Node {
    /// Where the child is, or would be, whose label begins with this byte.
    fn child(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |child| child.label[0])
    }

    fn bucket(&self, extent: Extent) -> &Bucket {
        match extent {
            Extent::Whole => &self.whole,
            Extent::Beginning => &self.beginning,
        }
    }

    fn bucket_mut(&mut self, extent: Extent) -> &mut Bucket {
        match extent {
            Extent::Whole => &mut self.whole,
            Extent::Beginning => &mut self.beginning,
        }
    }

    /// Whether nothing is filed right here.
    fn is_bare(&self) -> bool {
        self.whole.is_empty() && self.beginning.is_empty()
    }

    /// Becomes two, one above the other, if a text leaves its label midway.
    fn split_from(&mut self, text: &[u8]) {
        let shared = zip(&self.label, text).take_while(|(one, other)| one == other).count();
        if shared == self.label.len() {
            return;
        }
        let (above, below) = self.label.split_at(shared);
        let (above, below) = (Box::from(above), Box::from(below));
        let whole = mem::replace(self, Self { label: above, ..Self::default() });
        self.children.push(Self { label: below, ..whole });
    }

    /// As deep as a text is long, at most: 257 bytes.
    fn remove(&mut self, text: &[u8], extent: Extent, filed: Filed) {
        let Some(first) = text.first() else {
            self.bucket_mut(extent).remove(filed);
            return;
        };
        let Ok(index) = self.child(*first) else { return };
        let child = &mut self.children[index];
        let Some(rest) = text.strip_prefix(&*child.label) else { return };
        child.remove(rest, extent, filed);
        if child.is_bare() && child.children.is_empty() {
            self.children.remove(index);
        } else if child.is_bare() && child.children.len() == 1 {
            child.join_only_child();
        }
    }

    fn join_only_child(&mut self) {
        if let Some(only) = self.children.pop() {
            let label = [&*self.label, &*only.label].concat().into();
            *self = Self { label, ..only };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: &[(&str, Extent)] = &[
        ("/api/users", Extent::Whole),
        ("/api/", Extent::Beginning),
        ("/api/users/", Extent::Beginning),
        ("/api", Extent::Whole),
        ("/apx", Extent::Whole),
        ("/", Extent::Beginning),
        ("b", Extent::Whole),
        ("", Extent::Whole),
    ];

    fn filed(slot: usize) -> Filed {
        Filed { priority: "1".parse().unwrap(), slot }
    }

    fn filled() -> Trie {
        let mut trie = Trie::default();
        for (slot, (text, extent)) in TEXTS.iter().enumerate() {
            trie.add(text.as_bytes(), *extent, filed(slot));
        }
        trie
    }

    #[track_caller]
    fn check(trie: &Trie, text: &str, expected: &[&str]) {
        let mut reached = Vec::new();
        trie.reach(text.bytes(), &mut |list| reached.extend(list.iter().map(|filed| TEXTS[filed.slot].0)));
        assert_eq!(reached, expected, "{text}");
    }

    #[test]
    fn a_text_reaches_itself_and_its_beginnings() {
        let trie = filled();
        check(&trie, "/api/users", &["/", "/api/", "/api/users"]);
        check(&trie, "/api/users/7", &["/", "/api/", "/api/users/"]);
        check(&trie, "/api", &["/", "/api"]);
        check(&trie, "/ap", &["/"]);
        check(&trie, "/apxy", &["/"]);
        check(&trie, "b", &["b"]);
        check(&trie, "ba", &[]);
        check(&trie, "", &[""]);
        assert_eq!(trie.count(b"/api/", Extent::Beginning), 1);
        assert_eq!(trie.count(b"/api/", Extent::Whole), 0);
        assert_eq!(trie.count(b"/a", Extent::Beginning), 0);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut trie = filled();
        for (slot, (text, extent)) in TEXTS.iter().enumerate() {
            trie.remove(text.as_bytes(), *extent, filed(slot));
            for (later, (text, extent)) in TEXTS.iter().enumerate() {
                assert_eq!(trie.count(text.as_bytes(), *extent), usize::from(later > slot), "{text}");
            }
        }
        assert!(trie.is_empty());
    }

    #[test]
    fn a_fork_that_is_none_any_more_is_joined() {
        let mut trie = Trie::default();
        trie.add(b"/api", Extent::Whole, filed(0));
        trie.add(b"/apx", Extent::Whole, filed(1));
        trie.remove(b"/apx", Extent::Whole, filed(1));
        assert_eq!(trie.root.children.len(), 1);
        assert_eq!(&*trie.root.children[0].label, b"/api");
    }
}
