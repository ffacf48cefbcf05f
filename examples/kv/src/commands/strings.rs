//! Strings, and numbers that are written as strings.

use super::{Call, Outcome, Problem, integer};
use crate::database::{Change, Text};

/// Bytes that a string may become by appending: what one request may have.
const TEXT_BYTES_MAX: usize = crate::request::REQUEST_BYTES_MAX;

pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    let text = call.database.find::<Text>(call.arguments[0])?;
    call.reply.bulk_or_null(text.map(Vec::as_slice));
    Ok(())
}

pub(super) fn set(call: &mut Call<'_>) -> Outcome {
    let [key, text, options @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let exists = || call.database.get(key).is_some();
    let is_wanted = match options {
        [] => true,
        [option] if option.eq_ignore_ascii_case(b"nx") => !exists(),
        [option] if option.eq_ignore_ascii_case(b"xx") => exists(),
        _ => return Err(Problem::Syntax),
    };
    if !is_wanted {
        call.reply.bulk_or_null(None);
        return Ok(());
    }
    call.database.set(key, text)?;
    call.reply.simple("OK");
    Ok(())
}

pub(super) fn setnx(call: &mut Call<'_>) -> Outcome {
    let is_new = call.database.get(call.arguments[0]).is_none();
    if is_new {
        call.database.set(call.arguments[0], call.arguments[1])?;
    }
    call.reply.integer(is_new.into());
    Ok(())
}

pub(super) fn mget(call: &mut Call<'_>) -> Outcome {
    call.reply.array(call.arguments.len());
    for key in call.arguments {
        // What is no string counts as not there.
        let text = call.database.find::<Text>(key).unwrap_or(None);
        call.reply.bulk_or_null(text.map(Vec::as_slice));
    }
    Ok(())
}

pub(super) fn mset(call: &mut Call<'_>) -> Outcome {
    let (pairs, []) = call.arguments.as_chunks::<2>() else { return Err(Problem::Arguments("mset")) };
    for [key, text] in pairs {
        call.database.set(key, text)?;
    }
    call.reply.simple("OK");
    Ok(())
}

pub(super) fn append(call: &mut Call<'_>) -> Outcome {
    let (key, more) = (call.arguments[0], call.arguments[1]);
    let length = call.database.find::<Text>(key)?.map_or(0, Vec::len) + more.len();
    if length > TEXT_BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    call.database.change(key, more.len(), |text: &mut Text| {
        text.extend_from_slice(more);
        ((), Change { more: more.len(), less: 0 })
    })?;
    call.reply.count(length);
    Ok(())
}

pub(super) fn strlen(call: &mut Call<'_>) -> Outcome {
    let text = call.database.find::<Text>(call.arguments[0])?;
    call.reply.count(text.map_or(0, Vec::len));
    Ok(())
}

pub(super) fn incr(call: &mut Call<'_>) -> Outcome {
    add(call, 1)
}

pub(super) fn decr(call: &mut Call<'_>) -> Outcome {
    add(call, -1)
}

pub(super) fn incrby(call: &mut Call<'_>) -> Outcome {
    let by = integer(call.arguments[1])?;
    add(call, by)
}

pub(super) fn decrby(call: &mut Call<'_>) -> Outcome {
    let by = integer(call.arguments[1])?.checked_neg().ok_or(Problem::Overflow)?;
    add(call, by)
}

fn add(call: &mut Call<'_>, by: i64) -> Outcome {
    let key = call.arguments[0];
    let before = call.database.find::<Text>(key)?.map_or(Ok(0), |text| integer(text))?;
    let number = before.checked_add(by).ok_or(Problem::Overflow)?;
    call.database.set(key, number.to_string().as_bytes())?;
    call.reply.integer(number);
    Ok(())
}
