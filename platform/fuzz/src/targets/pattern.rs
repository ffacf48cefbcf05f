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
    let mut taken = Vec::new();
    for (key, pattern) in patterns.iter().enumerate() {
        match pattern.as_ref().map(|pattern| pattern.matches(event)) {
            Some(Ok(true)) => taken.push(key),
            Some(Ok(false)) | None => {}
            // Beyond the bound nothing is said.
            Some(Err(_)) => return,
        }
    }
    let found =
        |matcher: &Matcher<usize>| parsed.as_ref().map_or(Ok(Vec::new()), |event| matcher.matching(event));
    // All together they may cost too much, though none does by itself.
    let Ok(all) = found(&matcher) else { return };
    assert_eq!(all, taken, "the matcher finds others than those that take the event");
    for key in (0..patterns.len()).step_by(2) {
        matcher.remove(&key);
    }
    let stay: Vec<usize> = taken.into_iter().filter(|key| key % 2 == 1).collect();
    assert_eq!(found(&matcher), Ok(stay), "what was removed is found, or what was not is lost");
}
