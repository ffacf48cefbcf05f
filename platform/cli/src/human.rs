//! Numbers as people read them: sizes, times, ages.

use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// Bytes with three digits and a binary unit: `72.3KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{}{}", three_digits(value), UNITS[unit]) }
}

/// Nanoseconds with three digits and a unit: `58.0µs`.
pub(crate) fn nanoseconds(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", three_digits(nanoseconds as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", three_digits(nanoseconds as f64 / 1e6)),
        _ => format!("{}s", three_digits(nanoseconds as f64 / 1e9)),
    }
}

/// A time that something took: `0.3s`, `2m05s`.
pub(crate) fn elapsed(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..60 => format!("{:.1}s", elapsed.as_secs_f64()),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

/// CPU time: `0.004s`, `12.3s`.
pub(crate) fn cpu(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.3}s") } else { format!("{seconds:.1}s") }
}

/// How long ago, in its largest unit: `5m`.
pub(crate) fn age(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A point in time as RFC 3339, in UTC, to the millisecond.
pub(crate) fn timestamp(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match at {
        Some(at) => format!("{at:.3}"),
        None => format!("{at_ms}ms"),
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// `1 task`, `2 tasks`, `2 sandboxes`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    let plural = if noun.ends_with('x') { "es" } else { "s" };
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}{plural}") }
}

/// The first of them, `most` at most, and how many more there are: `a, b, and 3 more`.
pub(crate) fn first(items: &[String], most: usize, between: &str) -> String {
    let (shown, left) = items.split_at(items.len().min(most));
    let shown = shown.join(between);
    if left.is_empty() { shown } else { format!("{shown}{between}and {} more", left.len()) }
}

/// What somebody else chose to say, as a terminal may have it: without characters that move its cursor, or worse. Lines stay lines.
pub(crate) fn harmless(text: &str) -> String {
    text.replace(|char: char| char.is_control() && !matches!(char, '\n' | '\t'), " ")
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_how_many_more() {
        let items = ["a", "b", "c"].map(str::to_owned);
        let shown = [1, 2, 3, 4].map(|most| first(&items, most, ", "));
        assert_eq!(shown, ["a, and 2 more", "a, b, and 1 more", "a, b, c", "a, b, c"]);
    }

    #[test]
    fn sizes() {
        let printed = [0, 1023, 1024, 74_000, 128 << 20, 5 << 40].map(bytes);
        assert_eq!(printed, ["0B", "1023B", "1.00KiB", "72.3KiB", "128MiB", "5.00TiB"]);
    }

    #[test]
    fn times() {
        let printed = [999, 58_000, 1_234_567, 99_960_000, 2_500_000_000].map(nanoseconds);
        assert_eq!(printed, ["999ns", "58.0µs", "1.23ms", "100ms", "2.50s"]);
        assert_eq!(elapsed(Duration::from_millis(310)), "0.3s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2m05s");
        assert_eq!([cpu(0.0042), cpu(123.45)], ["0.004s", "123.5s"]);
        assert_eq!(timestamp(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(timestamp(u64::MAX), format!("{}ms", u64::MAX));
    }

    #[test]
    fn ages() {
        let printed = [0, 119, 120, 7_199, 7_200, 172_800].map(|seconds| age(0, seconds * 1_000));
        assert_eq!(printed, ["0s", "119s", "2m", "119m", "2h", "2d"]);
        assert_eq!(age(5_000, 1_000), "0s", "a clock that runs ahead is no reason to fail");
    }

    #[test]
    fn what_others_say_is_text_alone() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\u{9b}c\n\td é"), "a [2Jb  c\n\td é");
    }

    #[test]
    fn counts() {
        assert_eq!([count(0, "task"), count(1, "task"), count(2, "task")], ["0 tasks", "1 task", "2 tasks"]);
        assert_eq!(count(14, "sandbox"), "14 sandboxes");
    }
}
