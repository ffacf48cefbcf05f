//! Patterns of events: whatever is one, alone or among others, says the same of an event.

use skiff_events::pattern::{Matcher, Parsed, Pattern};

/// Patterns of one input.
const PATTERNS_MAX: usize = 32;

/// Each line of the input is a pattern, the last an event.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (patterns, event) = text.rsplit_once('\n').unwrap_or((text, "{}"));
    let parsed = patterns.lines().take(PATTERNS_MAX).map(Pattern::parse);
    let patterns: Vec<Option<Pattern>> = parsed.map(Result::ok).collect();
    let mut matcher = Matcher::new();
    for (key, pattern) in patterns.iter().enumerate() {
        pattern.iter().for_each(|pattern| matcher.insert(key, pattern));
    }
    let parsed = Parsed::parse(event).ok();
    let taken: Vec<usize> = (0..patterns.len())
        .filter(|&key| patterns[key].as_ref().is_some_and(|pattern| pattern.matches(event)))
        .collect();
    let found =
        |matcher: &Matcher<usize>| parsed.as_ref().map_or_else(Vec::new, |event| matcher.matching(event));
    assert_eq!(found(&matcher), taken, "the matcher finds others than those that take the event");
    for key in (0..patterns.len()).step_by(2) {
        matcher.remove(&key);
    }
    let stay: Vec<usize> = taken.into_iter().filter(|key| key % 2 == 1).collect();
    assert_eq!(found(&matcher), stay, "what was removed is found, or what was not is lost");
}
