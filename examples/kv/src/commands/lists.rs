//! Lists.

use super::{Call, Outcome, Problem, integer};
use crate::database::{Change, ELEMENT_BYTES, List};

/// One of the two ends.
#[derive(Clone, Copy)]
enum End {
    Head,
    Tail,
}

pub(super) fn lpush(call: &mut Call<'_>) -> Outcome {
    push(call, End::Head)
}

pub(super) fn rpush(call: &mut Call<'_>) -> Outcome {
    push(call, End::Tail)
}

fn push(call: &mut Call<'_>, end: End) -> Outcome {
    let [key, items @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let more = items.iter().map(|item| ELEMENT_BYTES + item.len()).sum();
    let length = call.database.change(key, more, |list: &mut List| {
        for item in items {
            match end {
                End::Head => list.push_front((*item).into()),
                End::Tail => list.push_back((*item).into()),
            }
        }
        (list.len(), Change { more, less: 0 })
    })?;
    call.reply.count(length);
    Ok(())
}

pub(super) fn lpop(call: &mut Call<'_>) -> Outcome {
    pop(call, End::Head)
}

pub(super) fn rpop(call: &mut Call<'_>) -> Outcome {
    pop(call, End::Tail)
}

fn pop(call: &mut Call<'_>, end: End) -> Outcome {
    let [key, counts @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let count = match counts {
        [] => None,
        [count] => Some(usize::try_from(integer(count)?).map_err(|_| Problem::NoInteger)?),
        _ => return Err(Problem::Syntax),
    };
    let is_there = call.database.find::<List>(key)?.is_some();
    let popped = call.database.change(key, 0, |list: &mut List| {
        let count = count.unwrap_or(1).min(list.len());
        let items: Vec<_> = (0..count)
            .filter_map(|_| match end {
                End::Head => list.pop_front(),
                End::Tail => list.pop_back(),
            })
            .collect();
        let less = items.iter().map(|item| ELEMENT_BYTES + item.len()).sum();
        (items, Change { more: 0, less })
    })?;
    match count {
        None => call.reply.bulk_or_null(popped.first().map(|item| &**item)),
        Some(_) if !is_there => call.reply.no_array(),
        Some(_) => {
            call.reply.array(popped.len());
            popped.iter().for_each(|item| call.reply.bulk(item));
        }
    }
    Ok(())
}

pub(super) fn llen(call: &mut Call<'_>) -> Outcome {
    let list = call.database.find::<List>(call.arguments[0])?;
    call.reply.count(list.map_or(0, List::len));
    Ok(())
}

pub(super) fn lindex(call: &mut Call<'_>) -> Outcome {
    let index = integer(call.arguments[1])?;
    let list = call.database.find::<List>(call.arguments[0])?;
    let item = list.and_then(|list| list.get(usize::try_from(from_head(index, list.len())).ok()?));
    call.reply.bulk_or_null(item.map(|item| &**item));
    Ok(())
}

pub(super) fn lrange(call: &mut Call<'_>) -> Outcome {
    let (first, last) = (integer(call.arguments[1])?, integer(call.arguments[2])?);
    let Some(list) = call.database.find::<List>(call.arguments[0])? else {
        call.reply.array(0);
        return Ok(());
    };
    let length = list.len() as i64;
    let first = from_head(first, list.len()).max(0);
    let last = from_head(last, list.len()).min(length - 1);
    if first > last {
        call.reply.array(0);
        return Ok(());
    }
    call.reply.array((last - first + 1) as usize);
    list.range(first as usize..=last as usize).for_each(|item| call.reply.bulk(item));
    Ok(())
}

/// An index from the head, where a negative one counts from the tail.
fn from_head(index: i64, length: usize) -> i64 {
    if index < 0 { index.saturating_add(length as i64) } else { index }
}
