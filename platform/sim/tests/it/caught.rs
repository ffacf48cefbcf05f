//! No check is one that can't fail: what is wrong on purpose is found, by the check that is for it.

use skiff_sim::{Options, Sabotage, run};

/// Seeds that are tried: not in each does the wrong matter.
const SEEDS: u64 = 40;

/// What is said of what is wrong: one of these.
fn said_of(sabotage: Sabotage) -> &'static [&'static str] {
    match sabotage {
        Sabotage::NoMinimum => &["serve where"],
        Sabotage::NoMaximum => &["are the most"],
        Sabotage::SharedAddress => &["has the address"],
        Sabotage::DeafWorkers => &["a request to", "were cut"],
        Sabotage::NoHealth => &["does not come to rest"],
        Sabotage::Flapping => &["does not come to rest", "although nothing had changed"],
        Sabotage::Undead => &["runs although it was to end"],
        Sabotage::Unwanted => &["requests wait"],
        Sabotage::Twins => &["times at once"],
        Sabotage::Uncounted => &["has not its most tasks", "came to stay"],
        Sabotage::Unanswered => &["no task said that it is done"],
        Sabotage::Twice => &["ran 2 times"],
    }
}

#[test]
fn what_is_wrong_on_purpose_is_found() {
    for sabotage in Sabotage::ALL {
        let violations = |seed| run(&Options { seed, trace: false, sabotage: Some(sabotage) }).violations;
        let found = (0..SEEDS).map(violations).find(|violations| !violations.is_empty()).unwrap_or_default();
        let is_by = |violation: &String| said_of(sabotage).iter().any(|said| violation.contains(said));
        assert!(found.iter().any(is_by), "{sabotage:?} was not found by its check, but: {found:#?}");
    }
}
