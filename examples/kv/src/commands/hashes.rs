//! Hashes: values by field.

use super::{Call, Outcome, Problem};
use crate::database::{Change, ELEMENT_BYTES, Hash};

pub(super) fn hset(call: &mut Call<'_>) -> Outcome {
    let count = put(call, "hset")?;
    call.reply.count(count);
    Ok(())
}

pub(super) fn hmset(call: &mut Call<'_>) -> Outcome {
    put(call, "hmset")?;
    call.reply.simple("OK");
    Ok(())
}

/// Sets fields; how many are new.
fn put(call: &mut Call<'_>, name: &'static str) -> Result<usize, Problem> {
    let [key, pairs @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let (pairs, []) = pairs.as_chunks::<2>() else { return Err(Problem::Arguments(name)) };
    let more_max = pairs.iter().map(|[field, value]| ELEMENT_BYTES + field.len() + value.len()).sum();
    call.database.change(key, more_max, |hash: &mut Hash| {
        let (mut count, mut change) = (0, Change::default());
        for [field, value] in pairs {
            change.more += value.len();
            match hash.get_mut(*field) {
                Some(before) => {
                    change.less += before.len();
                    *before = (*value).into();
                }
                None => {
                    hash.insert((*field).into(), (*value).into());
                    change.more += ELEMENT_BYTES + field.len();
                    count += 1;
                }
            }
        }
        (count, change)
    })
}

pub(super) fn hget(call: &mut Call<'_>) -> Outcome {
    let hash = call.database.find::<Hash>(call.arguments[0])?;
    let value = hash.and_then(|hash| hash.get(call.arguments[1]));
    call.reply.bulk_or_null(value.map(|value| &**value));
    Ok(())
}

pub(super) fn hmget(call: &mut Call<'_>) -> Outcome {
    let [key, fields @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let hash = call.database.find::<Hash>(key)?;
    call.reply.array(fields.len());
    for field in fields {
        let value = hash.and_then(|hash| hash.get(*field));
        call.reply.bulk_or_null(value.map(|value| &**value));
    }
    Ok(())
}

pub(super) fn hdel(call: &mut Call<'_>) -> Outcome {
    let [key, fields @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let count = call.database.change(key, 0, |hash: &mut Hash| {
        let (mut count, mut less) = (0, 0);
        for field in fields {
            if let Some(value) = hash.remove(*field) {
                count += 1;
                less += ELEMENT_BYTES + field.len() + value.len();
            }
        }
        (count, Change { more: 0, less })
    })?;
    call.reply.count(count);
    Ok(())
}

pub(super) fn hexists(call: &mut Call<'_>) -> Outcome {
    let hash = call.database.find::<Hash>(call.arguments[0])?;
    call.reply.integer(hash.is_some_and(|hash| hash.contains_key(call.arguments[1])).into());
    Ok(())
}

pub(super) fn hlen(call: &mut Call<'_>) -> Outcome {
    let hash = call.database.find::<Hash>(call.arguments[0])?;
    call.reply.count(hash.map_or(0, Hash::len));
    Ok(())
}

pub(super) fn hgetall(call: &mut Call<'_>) -> Outcome {
    let hash = call.database.find::<Hash>(call.arguments[0])?;
    call.reply.array(2 * hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flatten() {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    Ok(())
}
