//! Keys, whatever they lead to.

use super::{Call, Outcome};
use crate::database::Value;

pub(super) fn del(call: &mut Call<'_>) -> Outcome {
    let count = call.arguments.iter().filter(|key| call.database.remove(key)).count();
    call.reply.count(count);
    Ok(())
}

pub(super) fn exists(call: &mut Call<'_>) -> Outcome {
    let count = call.arguments.iter().filter(|key| call.database.get(key).is_some()).count();
    call.reply.count(count);
    Ok(())
}

pub(super) fn kind(call: &mut Call<'_>) -> Outcome {
    call.reply.simple(match call.database.get(call.arguments[0]) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::List(_)) => "list",
        Some(Value::Set(_)) => "set",
        Some(Value::Hash(_)) => "hash",
    });
    Ok(())
}

pub(super) fn dbsize(call: &mut Call<'_>) -> Outcome {
    call.reply.count(call.database.len());
    Ok(())
}

pub(super) fn flush(call: &mut Call<'_>) -> Outcome {
    call.database.clear();
    call.reply.simple("OK");
    Ok(())
}
