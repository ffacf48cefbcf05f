//! What room a call of a guest takes on its worker's data socket, as both ends count it: the worker has calls wait that would be
//! more than their task's share, and the supervisor reads no more than there is room for.
//!
//! It is no measure of what a call takes, but the most that it may with its answer. What always holds: a task's share is a small
//! part of the room, and no single call is more than that.

use skiff_ports::guest_calls::{GuestCall, PIECE_BYTES_MAX};
use skiff_ports::tables::{ITEM_VALUE_BYTES_MAX, ITEMS_BYTES_MAX, ITEMS_MAX};

/// What calls of one worker may hold at once, with their answers, in KiB.
pub(crate) const ROOM_KIB: u32 = 256 << 10;
/// How much of it calls of one task may: the others keep seven eighths.
pub const TASK_ROOM_KIB: u32 = ROOM_KIB / 8;
/// What each call counts for at least, in KiB: so there are 16,384 at once at most.
pub(crate) const CALL_KIB_MIN: u32 = 16;

/// What a call of so many bytes may hold with its answer, in KiB; a task's share at most.
pub fn room_kib(bytes: usize, call: &GuestCall) -> u32 {
    let answer_bytes = match call {
        GuestCall::Get { keys, .. } => {
            (keys.len().min(ITEMS_MAX) * ITEM_VALUE_BYTES_MAX).min(ITEMS_BYTES_MAX)
        }
        GuestCall::Keys { .. } | GuestCall::Scan { .. } | GuestCall::List { .. } => ITEMS_BYTES_MAX,
        GuestCall::Read { .. } | GuestCall::ReadMore(_) => PIECE_BYTES_MAX,
        GuestCall::OpenTable(_)
        | GuestCall::Write { .. }
        | GuestCall::Increment { .. }
        | GuestCall::Bucket(_)
        | GuestCall::CreateBucket(_)
        | GuestCall::RemoveBucket(_)
        | GuestCall::Head { .. }
        | GuestCall::Put { .. }
        | GuestCall::PutMore(..)
        | GuestCall::PutEnd(_)
        | GuestCall::Stop(_)
        | GuestCall::Delete { .. }
        | GuestCall::Clear(_)
        | GuestCall::Copy { .. }
        | GuestCall::Send { .. }
        | GuestCall::PutEvents { .. } => 0,
    };
    let kib = u32::try_from(bytes.saturating_add(answer_bytes) >> 10).unwrap_or(TASK_ROOM_KIB);
    kib.clamp(CALL_KIB_MIN, TASK_ROOM_KIB)
}

#[cfg(test)]
mod tests {
    use super::super::CALL_BYTES_MAX;
    use super::*;

    #[test]
    fn a_call_counts_for_what_it_may_hold() {
        let table = || "rows".parse().unwrap();
        let increment = GuestCall::Increment { table: table(), key: "n".to_owned(), delta: 1 };
        assert_eq!(room_kib(100, &increment), CALL_KIB_MIN);
        let get = |count| GuestCall::Get { table: table(), keys: vec![String::new(); count] };
        assert_eq!(room_kib(100, &get(1)), 1_024);
        assert_eq!(room_kib(100, &get(1_000)), 4 << 10);
        assert_eq!(room_kib(1 << 40, &get(1)), TASK_ROOM_KIB);
        // So the longest call is told from one that is cut to the share.
        assert!(room_kib(CALL_BYTES_MAX, &get(1_000)) < TASK_ROOM_KIB);
    }
}
