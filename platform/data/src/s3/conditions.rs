//! Conditions in headers: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since` (RFC 9110, section 13), of what is
//! read, of what is copied, and of what is written over.

use super::content::timestamp_of_second;
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};
use skiff_ports::buckets::{ObjectExpect, ObjectInfo};

/// What a reader expects of an object that is there.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) matches_none: Option<ETagCondition>,
    pub(super) modified_since: Option<Timestamp>,
    pub(super) unmodified_since: Option<Timestamp>,
}

/// Whether an object is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// It is.
    Yes,
    /// The reader has it already.
    NotModified,
    /// It is not.
    No,
}

impl Conditions {
    /// Judges in the order of RFC 9110, section 13.2.2: a time counts only where no ETag was said.
    pub(super) fn judge(&self, info: &ObjectInfo) -> Holds {
        let modified = timestamp_of_second(info.modified_at_ms);
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == info.etag,
        };
        // A weak ETag never matches as strongly as `If-Match` asks for.
        let is_strongly = |condition: &ETagCondition| {
            is(condition) && !matches!(condition, ETagCondition::ETag(ETag::Weak(_)))
        };
        let held = match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) => is_strongly(condition),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        if !held {
            return Holds::No;
        }
        let known = match (&self.matches_none, &self.modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if known { Holds::NotModified } else { Holds::Yes }
    }

    /// Whether there are any but an ETag that is to be there, which can be asked for as a write does.
    pub(super) fn need_a_look(&self) -> bool {
        self.matches_none.is_some() || self.modified_since.is_some() || self.unmodified_since.is_some()
    }
}

/// What a write expects to find.
///
/// # Errors
/// If it is something that S3 does not have either.
pub(super) fn expected(
    matches: Option<ETagCondition>,
    matches_none: Option<ETagCondition>,
) -> S3Result<ObjectExpect> {
    match (matches, matches_none) {
        (None, None) => Ok(ObjectExpect::Any),
        (Some(ETagCondition::ETag(etag)), None) => Ok(ObjectExpect::ETag(match etag {
            ETag::Strong(value) => value,
            // No object has such a one.
            ETag::Weak(value) => format!("W/{value}"),
        })),
        (None, Some(ETagCondition::Any)) => Ok(ObjectExpect::Absent),
        (Some(ETagCondition::Any), None) => {
            Err(s3_error!(NotImplemented, "a write takes If-Match with an ETag alone, not with \"*\""))
        }
        (None, Some(ETagCondition::ETag(_))) => {
            Err(s3_error!(NotImplemented, "a write takes If-None-Match with \"*\" alone, not with an ETag"))
        }
        (Some(_), Some(_)) => {
            Err(s3_error!(InvalidArgument, "a write takes If-Match or If-None-Match, not both"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::buckets::ObjectContent;

    fn judged(conditions: Conditions) -> Holds {
        let info = ObjectInfo {
            key: "k".into(),
            size: 1,
            etag: "abc".into(),
            modified_at_ms: 10_999,
            content: ObjectContent::default(),
        };
        conditions.judge(&info)
    }

    fn etag(text: &str) -> Option<ETagCondition> {
        Some(text.parse().unwrap())
    }

    fn second(second: u64) -> Option<Timestamp> {
        Some(timestamp_of_second(second * 1_000))
    }

    #[test]
    fn an_etag_counts_before_a_time() {
        let matches = |text| Conditions { matches: etag(text), ..Conditions::default() };
        assert_eq!(judged(matches("\"abc\"")), Holds::Yes);
        assert_eq!(judged(matches("*")), Holds::Yes);
        assert_eq!(judged(matches("\"abd\"")), Holds::No);
        assert_eq!(judged(matches("W/\"abc\"")), Holds::No);
        let none = |text| Conditions { matches_none: etag(text), ..Conditions::default() };
        assert_eq!(judged(none("W/\"abc\"")), Holds::NotModified);
        assert_eq!(judged(none("\"abd\"")), Holds::Yes);
        assert_eq!(judged(Conditions { unmodified_since: second(9), ..matches("\"abc\"") }), Holds::Yes);
        assert_eq!(judged(Conditions { modified_since: second(11), ..none("\"abd\"") }), Holds::Yes);
    }

    #[test]
    fn times_are_of_whole_seconds() {
        let since = |at| judged(Conditions { modified_since: second(at), ..Conditions::default() });
        assert_eq!((since(9), since(10), since(11)), (Holds::Yes, Holds::NotModified, Holds::NotModified));
        let unmodified = |at| judged(Conditions { unmodified_since: second(at), ..Conditions::default() });
        assert_eq!((unmodified(9), unmodified(10)), (Holds::No, Holds::Yes));
    }

    #[test]
    fn a_write_expects_what_s3_can_say() {
        assert_eq!(expected(etag("\"a\""), None).unwrap(), ObjectExpect::ETag("a".into()));
        assert_eq!(expected(None, etag("*")).unwrap(), ObjectExpect::Absent);
        assert_eq!(expected(None, None).unwrap(), ObjectExpect::Any);
        for (matches, none) in [(etag("*"), None), (None, etag("\"a\"")), (etag("\"a\""), etag("*"))] {
            assert!(expected(matches, none).is_err());
        }
    }
}
