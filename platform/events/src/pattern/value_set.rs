//! The values of which a field may have one, filed so that a value is found among thousands in a few steps.
//!
//! Whole texts, in any case or not, beginnings of texts, and numbers lie in order. What else there is (ends, wildcards, ranges,
//! blocks of addresses, what is not to be) is asked one by one, and counted.
//!
//! What always holds: it takes what one of the values that it was made of takes.

use super::index::{Hook, hook};
use super::values::{Leaf, ValuePattern, folded_beginning};
use super::work::{TooMuchWork, Work};
use crate::decimal::Decimal;

/// Values; see above. All lists but that of the others are sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueSet {
    texts: Box<[Box<str>]>,
    /// As [`super::values::folded`].
    ignoring_case: Box<[Box<str>]>,
    /// The bytes of the longest of these.
    ignoring_case_bytes_max: usize,
    /// None begins with another one.
    prefixes: Box<[Box<str>]>,
    numbers: Box<[Decimal]>,
    others: Box<[ValuePattern]>,
}

impl ValueSet {
    /// Files values.
    pub(super) fn new(values: Vec<ValuePattern>) -> Self {
        let (mut texts, mut ignoring_case, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        for value in values {
            match value {
                ValuePattern::Text(text) => texts.push(text),
                ValuePattern::IgnoreCase(text) => ignoring_case.push(text),
                ValuePattern::Prefix(prefix) => prefixes.push(prefix),
                ValuePattern::Number(number) => numbers.push(number),
                other => others.push(other),
            }
        }
        let mut prefixes = sorted(prefixes);
        // What begins with another one stands behind it, with nothing between them that does not.
        prefixes.dedup_by(|next, before| next.starts_with(&**before));
        Self {
            texts: sorted(texts).into(),
            ignoring_case_bytes_max: ignoring_case.iter().map(|text| text.len()).max().unwrap_or_default(),
            ignoring_case: sorted(ignoring_case).into(),
            prefixes: prefixes.into(),
            numbers: sorted(numbers).into(),
            others: others.into(),
        }
    }

    /// Whether one of the values takes this.
    pub(super) fn takes(&self, leaf: Leaf<'_>, work: &Work) -> Result<bool, TooMuchWork> {
        work.spend(1)?;
        let is_filed = match leaf {
            Leaf::Number(number) => self.numbers.binary_search(number).is_ok(),
            Leaf::Text(text) => self.has_text(text, work)?,
            Leaf::Null | Leaf::Boolean(_) => false,
        };
        if is_filed {
            return Ok(true);
        }
        for other in &self.others {
            if other.takes(leaf, work)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_text(&self, text: &str, work: &Work) -> Result<bool, TooMuchWork> {
        work.spend_on(text.len())?;
        // The only one that it can begin with is the last that is not behind it.
        let behind = self.prefixes.partition_point(|prefix| **prefix <= *text);
        let before = behind.checked_sub(1).map(|at| &self.prefixes[at]);
        if has(&self.texts, text) || before.is_some_and(|prefix| text.starts_with(&**prefix)) {
            return Ok(true);
        }
        if self.ignoring_case.is_empty() {
            return Ok(false);
        }
        // One letter more than any of them has tells that it is none of them, however long it is.
        let bytes_max = self.ignoring_case_bytes_max;
        work.spend_on_letters(bytes_max.min(text.len()))?;
        Ok(has(&self.ignoring_case, &folded_beginning(text, bytes_max + 1)))
    }

    /// What each of the values leaves in a matcher.
    pub(super) fn hooks(&self) -> impl Iterator<Item = Hook> {
        let texts = self.texts.iter().cloned().map(Hook::Text);
        let ignoring_case = self.ignoring_case.iter().cloned().map(Hook::IgnoreCase);
        let prefixes = self.prefixes.iter().map(|prefix| match prefix.is_empty() {
            true => Hook::Present,
            false => Hook::Prefix(prefix.clone()),
        });
        let numbers = self.numbers.iter().cloned().map(Hook::Number);
        texts.chain(ignoring_case).chain(prefixes).chain(numbers).chain(self.others.iter().map(hook))
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

fn has(texts: &[Box<str>], text: &str) -> bool {
    texts.binary_search_by(|own| (**own).cmp(text)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::values::folded;
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = ValuePattern> {
        let text = || "[abA]{0,3}".prop_map(|text| text.into_boxed_str());
        prop_oneof![
            text().prop_map(ValuePattern::Text),
            text().prop_map(ValuePattern::Prefix),
            text().prop_map(ValuePattern::Suffix),
            text().prop_map(|text| ValuePattern::IgnoreCase(folded(&text).into())),
            (0..9_u8).prop_map(|number| ValuePattern::Number(Decimal::of(&number.to_string()))),
            Just(ValuePattern::Null),
        ]
    }

    proptest! {
        #[test]
        fn it_takes_what_one_of_its_values_takes(
            values in proptest::collection::vec(value(), 0..9), text in "[abA]{0,4}", number in 0..9_u8
        ) {
            let set = ValueSet::new(values.clone());
            let number = Decimal::of(&number.to_string());
            let work = Work::new(10_000);
            for leaf in [Leaf::Text(&text), Leaf::Number(&number), Leaf::Null, Leaf::Boolean(true)] {
                let naive = values.iter().any(|value| value.takes(leaf, &work) == Ok(true));
                prop_assert_eq!(set.takes(leaf, &work), Ok(naive), "{:?} of {:?}", leaf, values);
            }
        }
    }

    #[test]
    fn thousands_of_values_cost_a_step_or_two() {
        let texts = (0..4_000).map(|number| ValuePattern::Text(format!("t{number}").into()));
        let numbers = (0..4_000).map(|number| ValuePattern::Number(Decimal::of(&number.to_string())));
        let prefixes = (0..4_000).map(|number| ValuePattern::Prefix(format!("p{number}-").into()));
        let set = ValueSet::new(texts.chain(numbers).chain(prefixes).collect());
        for (text, is_taken) in [("t3999", true), ("p77-x", true), ("p77", false), ("x", false)] {
            assert_eq!(set.takes(Leaf::Text(text), &Work::new(2)), Ok(is_taken), "{text}");
        }
        assert_eq!(set.takes(Leaf::Number(&Decimal::of("5000")), &Work::new(2)), Ok(false));
    }

    #[test]
    fn letters_in_any_case_cost_more_but_not_by_how_long_a_text_is() {
        let set = |own: &str| ValueSet::new(vec![ValuePattern::IgnoreCase(folded(own).into())]);
        let long = "A".repeat(6_400);
        // To look at the text; and at the letters that tell.
        assert_eq!(set("aa").takes(Leaf::Text(&long), &Work::new(102)), Ok(false));
        assert_eq!(set(&long).takes(Leaf::Text(&long), &Work::new(902)), Ok(true));
        assert!(set(&long).takes(Leaf::Text(&long), &Work::new(901)).is_err());
        let prefix = ValuePattern::PrefixIgnoreCase(folded(&long).into());
        assert_eq!(prefix.takes(Leaf::Text(&long), &Work::new(901)), Ok(true));
        assert!(prefix.takes(Leaf::Text(&long), &Work::new(900)).is_err());
    }
}
