//! Receipts: a queue, a message's place there, and the tag of one receive of it, in hexadecimal digits.

use skiff_ports::queues::{MessageError, Receipt};
use skiff_types::ResourceId;

const BYTES: usize = 20;

/// One receive of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receive {
    /// Its sequence.
    pub(super) sequence: u64,
    /// Of this receive; never 0.
    pub(super) tag: u32,
}

impl Receive {
    /// As its receiver is given it.
    pub(super) fn receipt(self, queue: ResourceId) -> Receipt {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&queue.to_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.tag.to_be_bytes());
        Receipt(hex::encode(bytes))
    }

    /// As its receiver gives it back.
    pub(super) fn parse(queue: ResourceId, receipt: &Receipt) -> Result<Self, MessageError> {
        let invalid = |why: &str| MessageError::Invalid(format!("this is no receipt of this queue: {why}"));
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(&receipt.0, &mut bytes)
            .map_err(|_| invalid("give what a receive gave, as it is"))?;
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _] = bytes;
        if id != queue.to_bytes() {
            return Err(invalid("it is of another one"));
        }
        let [_, _, _, _, _, _, _, _, sequence @ .., _, _, _, _] = bytes;
        let [.., a, b, c, d] = bytes;
        let tag = u32::from_be_bytes([a, b, c, d]);
        if tag == 0 {
            // As that of what nobody has.
            return Err(invalid("give what a receive gave, as it is"));
        }
        Ok(Self { sequence: u64::from_be_bytes(sequence), tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_of_its_queue_alone() {
        let (queue, other) = (ResourceId::from_bytes([1; 8]), ResourceId::from_bytes([2; 8]));
        let receive = Receive { sequence: 0x0123_4567_89ab_cdef, tag: 77 };
        let receipt = receive.receipt(queue);
        assert_eq!(Receive::parse(queue, &receipt), Ok(receive));
        for bad in [receipt.0.clone() + "00", receipt.0[1..].to_owned(), String::new(), "ä".repeat(20)] {
            assert!(Receive::parse(queue, &Receipt(bad)).is_err());
        }
        assert!(matches!(Receive::parse(other, &receipt), Err(MessageError::Invalid(_))));
        let nobody = Receive { tag: 0, ..receive }.receipt(queue);
        assert!(matches!(Receive::parse(queue, &nobody), Err(MessageError::Invalid(_))));
    }
}
