//! What the journal forgets: what is too old, and what is too much, of those first who have the most of it.
//!
//! What always holds: what is still to be read stays, as long as that is not too much by itself; what is forgotten of it is counted.
//! It takes no room of what was read: while nobody reads on, the past of others is not forgotten for it.

use super::text;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use skiff_ports::journal::Forget;

/// Says how many were forgotten that were still to be read.
pub(super) fn forget(transaction: &Transaction<'_>, forget: &Forget) -> rusqlite::Result<u64> {
    let Forget { before_ms, events_max, read_to, unread_max } = *forget;
    let mut read_to = text(read_to.as_ref());
    let mut lost = 0;
    if let Some(id) = last_but(transaction, &read_to, unread_max)? {
        let forgotten = transaction
            .prepare_cached("DELETE FROM event WHERE id > ?1 AND id <= ?2")?
            .execute(params![read_to, id])?;
        lost = u64::try_from(forgotten).unwrap_or(u64::MAX);
        read_to = id;
    }
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("DELETE FROM event WHERE at_ms < ?1 AND id <= ?2")?
        .execute(params![before_ms, read_to])?;
    let services = services(transaction, &read_to)?;
    if let Some(share) = share(services.iter().map(|service| service.events).collect(), events_max) {
        for service in services.iter().filter(|service| service.events > share) {
            service.forget_all_but(transaction, share, &read_to)?;
        }
    }
    // Where there are more services than events may be.
    transaction
        .prepare_cached(
            "DELETE FROM event WHERE id <= (SELECT id FROM event WHERE id <= ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![read_to, events_max])?;
    Ok(lost)
}

/// The newest event behind another one but for so many that are newer.
fn last_but(transaction: &Transaction<'_>, after: &str, newer: u32) -> rusqlite::Result<Option<String>> {
    transaction
        .prepare_cached("SELECT id FROM event WHERE id > ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2")?
        .query_row(params![after, newer], |row| row.get(0))
        .optional()
}

/// A service, or all of a namespace that is about none, and how many events there are of it that were read.
struct Noted {
    namespace: String,
    service: String,
    events: u32,
}

impl Noted {
    fn forget_all_but(
        &self,
        transaction: &Transaction<'_>,
        newest: u32,
        read_to: &str,
    ) -> rusqlite::Result<()> {
        let Self { namespace, service, events: _ } = self;
        transaction
            .prepare_cached(
                "DELETE FROM event WHERE namespace = ?1 AND service = ?2 AND id <= (
                    SELECT id FROM event WHERE namespace = ?1 AND service = ?2 AND id <= ?4
                    ORDER BY id DESC LIMIT 1 OFFSET ?3
                )",
            )?
            .execute(params![namespace, service, newest, read_to])
            .map(drop)
    }
}

fn services(transaction: &Transaction<'_>, read_to: &str) -> rusqlite::Result<Vec<Noted>> {
    // With the sign the ids are compared, and not looked up: in the index by service all lies in the order of the groups.
    let counts = "SELECT namespace, service, count(*) FROM event WHERE +id <= ?1 GROUP BY namespace, service";
    let noted = |row: &Row<'_>| -> rusqlite::Result<Noted> {
        Ok(Noted { namespace: row.get(0)?, service: row.get(1)?, events: row.get(2)? })
    };
    let mut statement = transaction.prepare_cached(counts)?;
    statement.query_map([read_to], noted)?.collect()
}

/// How many events each may keep so that all have `most` together, if they have more: who has few keeps them, whatever
/// others have. 1 at least.
fn share(mut counts: Vec<u32>, most: u32) -> Option<u32> {
    counts.sort_unstable();
    let mut left = most;
    for (place, count) in counts.iter().enumerate() {
        let each = left / u32::try_from(counts.len() - place).unwrap_or(u32::MAX);
        if *count > each {
            return Some(each.max(1));
        }
        left -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_few_keeps_them_and_all_that_may_be_is_used() {
        assert_eq!(share(vec![3, 4, 5], 12), None);
        assert_eq!(share(vec![100, 2, 100], 12), Some(5));
        assert_eq!(share(vec![9, 9, 9], 9), Some(3));
        assert_eq!(share(vec![1; 10], 3), Some(1));
        assert_eq!(share(vec![], 0), None);
        assert_eq!(share(vec![1], 0), Some(1));
        for most in 0..60 {
            let counts = [1, 1, 7, 20, 20];
            let kept = |share: u32| counts.iter().map(|count| share.min(*count)).sum::<u32>();
            match share(counts.to_vec(), most) {
                None => assert!(most >= 49),
                Some(share) => {
                    assert!(share == 1 || kept(share) <= most, "{most}");
                    assert!(kept(share + 1) > most, "{most}");
                }
            }
        }
    }
}
