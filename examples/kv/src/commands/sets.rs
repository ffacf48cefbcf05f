//! Sets.

use super::{Call, Outcome, Problem};
use crate::database::{Change, ELEMENT_BYTES, Set};

pub(super) fn sadd(call: &mut Call<'_>) -> Outcome {
    let [key, members @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let more_max = members.iter().map(|member| ELEMENT_BYTES + member.len()).sum();
    let count = call.database.change(key, more_max, |set: &mut Set| {
        let (mut count, mut more) = (0, 0);
        for member in members {
            // Most that is added again and again is there already.
            if !set.contains(*member) {
                set.insert((*member).into());
                count += 1;
                more += ELEMENT_BYTES + member.len();
            }
        }
        (count, Change { more, less: 0 })
    })?;
    call.reply.count(count);
    Ok(())
}

pub(super) fn srem(call: &mut Call<'_>) -> Outcome {
    let [key, members @ ..] = call.arguments else { return Err(Problem::Syntax) };
    let count = call.database.change(key, 0, |set: &mut Set| {
        let removed = members.iter().filter(|member| set.remove(**member));
        let (count, less) =
            removed.fold((0, 0), |(count, less), member| (count + 1, less + ELEMENT_BYTES + member.len()));
        (count, Change { more: 0, less })
    })?;
    call.reply.count(count);
    Ok(())
}

pub(super) fn sismember(call: &mut Call<'_>) -> Outcome {
    let set = call.database.find::<Set>(call.arguments[0])?;
    call.reply.integer(set.is_some_and(|set| set.contains(call.arguments[1])).into());
    Ok(())
}

pub(super) fn scard(call: &mut Call<'_>) -> Outcome {
    let set = call.database.find::<Set>(call.arguments[0])?;
    call.reply.count(set.map_or(0, Set::len));
    Ok(())
}

pub(super) fn smembers(call: &mut Call<'_>) -> Outcome {
    let set = call.database.find::<Set>(call.arguments[0])?;
    call.reply.array(set.map_or(0, Set::len));
    set.into_iter().flatten().for_each(|member| call.reply.bulk(member));
    Ok(())
}
