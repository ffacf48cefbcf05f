//! How long records of usage are kept apart: the newest by the minute, older ones by the hour, then by the day, and
//! what is older than that as one sum.
//!
//! Nothing is ever dropped from the sums; only what can be told apart gets less.

use skiff_types::Grain;

/// How often charges are written down, in milliseconds: what a `kill -9` can lose.
pub const RECORD_INTERVAL_MS: u64 = 5_000;
/// Records of a minute are kept this long, in milliseconds.
pub const MINUTES_KEPT_MS: u64 = 2 * Grain::Hour.span_ms();
/// Records of an hour are kept this long, in milliseconds; tasks are told apart until then.
pub const HOURS_KEPT_MS: u64 = 7 * Grain::Day.span_ms();
/// Records of a day are kept this long, in milliseconds; services are told apart until then.
pub const DAYS_KEPT_MS: u64 = 400 * Grain::Day.span_ms();

/// Records of the first grain that began before the time (in milliseconds since 1970) become part of the second's.
pub type Fold = (Grain, Grain, u64);

/// What is to be folded at `now_ms`: whole records of the coarser grain alone, so that each is made once.
pub fn folds(now_ms: u64) -> [Fold; 3] {
    let fold = |from, to: Grain, kept_ms| {
        // What has no span of its own takes whole days.
        let whole = if to == Grain::Ever { Grain::Day } else { to };
        (from, to, whole.start_ms(now_ms.saturating_sub(kept_ms)))
    };
    [
        fold(Grain::Minute, Grain::Hour, MINUTES_KEPT_MS),
        fold(Grain::Hour, Grain::Day, HOURS_KEPT_MS),
        fold(Grain::Day, Grain::Ever, DAYS_KEPT_MS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_records_of_the_coarser_grain_are_folded() {
        let day_ms = Grain::Day.span_ms();
        let now_ms = 500 * day_ms + 5 * Grain::Hour.span_ms() + 59 * 60_000;
        let [minutes, hours, days] = folds(now_ms);
        assert_eq!(minutes, (Grain::Minute, Grain::Hour, 500 * day_ms + 3 * Grain::Hour.span_ms()));
        assert_eq!(hours, (Grain::Hour, Grain::Day, 493 * day_ms));
        assert_eq!(days, (Grain::Day, Grain::Ever, 100 * day_ms));
    }

    #[test]
    fn a_clock_that_was_never_set_folds_nothing() {
        assert!(folds(0).iter().all(|(_, _, before_ms)| *before_ms == 0));
    }
}
