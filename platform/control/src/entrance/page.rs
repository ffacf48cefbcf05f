//! Pages of a list: a bounded count of items, and a cursor that says behind which item the next page starts.
//!
//! A cursor holds the last item's place in the list's order, not a count: what comes or goes meanwhile moves nothing.

use crate::error::ApiError;
use skiff_api::{Page, PageQuery};

/// Longest cursor, in bytes.
const CURSOR_BYTES_MAX: usize = 2_048;

/// Cuts a page out of a list. Each item comes with its place in the list's order; `show` is called for those shown.
pub(super) fn page<T, U>(
    mut items: Vec<(String, T)>,
    limit: Option<u32>,
    cursor: Option<&str>,
    show: impl FnMut(T) -> U,
) -> Result<Page<U>, ApiError> {
    let limit = limit.unwrap_or(PageQuery::LIMIT_DEFAULT);
    if !(1..=PageQuery::LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is {limit}; it must be 1 to {}", PageQuery::LIMIT_MAX)));
    }
    if let Some(cursor) = cursor {
        let after = decode(cursor)?;
        items.retain(|(place, _)| *place > after);
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|(place, _)| hex::encode(place));
    Ok(Page { items: items.into_iter().map(|(_, item)| item).map(show).collect(), next_cursor })
}

fn decode(cursor: &str) -> Result<String, ApiError> {
    let bytes = if cursor.len() <= CURSOR_BYTES_MAX { hex::decode(cursor).ok() } else { None };
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::invalid("cursor is not one that a page before answered with"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_through_the_list_once() {
        let items = || (0..25).map(|n| (format!("{n:03}"), n)).rev().collect::<Vec<_>>();
        let (mut seen, mut cursor) = (vec![], None);
        loop {
            let page = page(items(), Some(10), cursor.as_deref(), |n| n).unwrap();
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_cursor_and_no_limit_is_refused() {
        let none = || Vec::<(String, u8)>::new();
        for cursor in ["x", "abc", "ff", &"a".repeat(5_000)] {
            assert!(page(none(), None, Some(cursor), |n| n).is_err(), "{cursor} was taken");
        }
        for limit in [0, 1_001, u32::MAX] {
            assert!(page(none(), Some(limit), None, |n| n).is_err(), "{limit} was taken");
        }
    }
}
