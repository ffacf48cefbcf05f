//! How large a target's share of its group's requests is: whole but for who has just begun, and for who answers worse than
//! the others.
//!
//! Pure arithmetic, as [`crate::outlier`], whose average word it reads. A share is a number from 1 to [`WHOLE`]; it is never
//! 0, since who gets nothing could not show that it is well again.
//!
//! Sources: ELBv2's slow start mode (a target's share grows linearly from when it is healthy), and its automatic target
//! weights with anomaly mitigation (a target that answers worse than the others has fewer requests, and more again as it
//! answers well).
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html>

use crate::outlier::Average;

/// The share of a target that has all that is due to it.
pub const WHOLE: u64 = 1 << 10;
/// The share of a target that has just begun.
const BEGINNING: u64 = WHOLE / 16;
/// The share of a target that fails far more than the others.
const LEAST: u64 = WHOLE / 32;
/// A target whose average of failures is so much above the others' has the least share; below, it falls evenly.
const EXCESS_MAX: u64 = Average::ALL / 4;

/// The share of a target that began at `began_ms` and whose share grows for so long; all of the monotonic clock. Of one that
/// has not begun (0), the whole: it has requests only where nobody may have any.
pub fn grown(began_ms: u64, slow_start_ms: u64, now_ms: u64) -> u64 {
    let since_ms = now_ms.saturating_sub(began_ms);
    if began_ms == 0 || since_ms >= slow_start_ms {
        return WHOLE;
    }
    BEGINNING + (WHOLE - BEGINNING) * since_ms / slow_start_ms
}

/// The share of a target by its average word and the others'. What asks for those is called only if it fails at all.
pub fn by_failures<I>(average: u64, others: impl FnOnce() -> I, now_ms: u64) -> u64
where
    I: Iterator<Item = u64>,
{
    let failures = |word: u64| Average::of(word, now_ms).failures();
    let Some(own) = failures(average).filter(|own| *own > 0) else { return WHOLE };
    let (sum, count) =
        others().filter_map(failures).fold((0, 0), |(sum, count), others| (sum + others, count + 1));
    // With nobody to compare with, it is as good as any.
    let usual = sum.checked_div(count).unwrap_or(own);
    let excess = own.saturating_sub(usual).min(EXCESS_MAX);
    WHOLE - (WHOLE - LEAST) * excess / EXCESS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlier::averaged;
    use proptest::prelude::*;

    const NOW_MS: u64 = 1_000_000;

    /// The average of a target of whose answers, the last first, these bits say which failed.
    fn average(bits: u64, count: u32) -> u64 {
        (0..count).rev().fold(0, |word, bit| averaged(word, bits >> bit & 1 == 1, Some(1_000), NOW_MS))
    }

    fn share(own: u64, others: &[u64]) -> u64 {
        by_failures(own, || others.iter().copied(), NOW_MS)
    }

    #[test]
    fn a_share_grows_evenly_from_a_sixteenth() {
        let shares = [0, 15_000, 30_000, 59_999, 60_000, 90_000].map(|ms| grown(500, 60_000, 500 + ms));
        assert_eq!(shares, [64, 304, 544, 1_023, WHOLE, WHOLE]);
        assert_eq!(grown(0, 60_000, 500), WHOLE, "it has not begun");
        assert_eq!((grown(900, 60_000, 500), grown(500, 0, 500)), (BEGINNING, WHOLE));
    }

    #[test]
    fn who_fails_more_than_the_others_has_less_and_gets_it_back() {
        let (good, half, bad) = (average(0, 40), average(0x5555_5555, 40), average(u64::MAX, 40));
        assert_eq!(share(good, &[good, bad]), WHOLE);
        assert_eq!(share(bad, &[good, good]), LEAST);
        assert_eq!(share(half, &[good, good]), LEAST);
        assert_eq!(share(bad, &[bad, bad]), WHOLE, "all are the same");
        assert_eq!(share(bad, &[]), WHOLE, "there is nobody to compare with");
        let once = share(average(1, 40), &[good, good]);
        assert!((WHOLE / 2..WHOLE).contains(&once), "{once}");
        let (mut word, mut before, mut answers) = (bad, LEAST, 0);
        while before < WHOLE {
            word = averaged(word, false, Some(1_000), NOW_MS);
            let now = share(word, &[good, good]);
            assert!(now >= before, "{now} after {before}");
            (before, answers) = (now, answers + 1);
        }
        assert!((20..300).contains(&answers), "back after {answers} answers");
    }

    #[test]
    fn a_few_answers_say_nothing() {
        assert_eq!(share(average(u64::MAX, 9), &[average(0, 40)]), WHOLE);
        assert!(share(average(u64::MAX, 10), &[average(0, 40)]) < WHOLE);
        assert_eq!(share(average(u64::MAX, 40), &[average(0, 9)]), WHOLE);
    }

    proptest! {
        #[test]
        fn a_share_is_never_nothing_and_never_more_than_the_whole(
            own in any::<u64>(),
            others in any::<Vec<u64>>(),
            began_ms in any::<u64>(),
            slow_start_ms in 0..1_u64 << 40,
            now_ms in 0..1_u64 << 50,
        ) {
            let by_failures = by_failures(own, || others.into_iter(), now_ms);
            let grown = grown(began_ms, slow_start_ms, now_ms);
            for share in [by_failures, grown] {
                prop_assert!((LEAST..=WHOLE).contains(&share), "{share}");
            }
        }
    }
}
