//! The options of sockets, for either generation of `wasi:sockets`: checked, kept, and told again.
//!
//! They change nothing else: within the platform there is no wire whose silence would have to be probed, and no router that a
//! packet passes; and how much may wait where is bounded by `net`. A program that sets them goes on as it would elsewhere.
//! What is out of range is put in range, as kernels do.

use skiff_net::NetError;

const SECOND_NS: u64 = 1_000_000_000;
/// Linux counts these times in seconds, and no further.
const KEEP_ALIVE_TIME_NS_MAX: u64 = i16::MAX as u64 * SECOND_NS;
/// Linux sends no more probes.
const KEEP_ALIVE_COUNT_MAX: u32 = i8::MAX as u32;
/// The most that is told of a buffer, in bytes; by default Linux lets one of TCP grow to so many.
const BUFFER_BYTES_MAX: u64 = 4 << 20;

/// Those that sockets of both kinds have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    hop_limit: u8,
    receive_buffer_bytes: u64,
    send_buffer_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { hop_limit: 64, receive_buffer_bytes: 64 << 10, send_buffer_bytes: 64 << 10 }
    }
}

impl Options {
    pub(crate) fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    pub(crate) fn set_hop_limit(&mut self, value: u8) -> Result<(), NetError> {
        self.hop_limit = positive(value)?;
        Ok(())
    }

    pub(crate) fn receive_buffer_bytes(&self) -> u64 {
        self.receive_buffer_bytes
    }

    pub(crate) fn set_receive_buffer_bytes(&mut self, value: u64) -> Result<(), NetError> {
        self.receive_buffer_bytes = positive(value)?.min(BUFFER_BYTES_MAX);
        Ok(())
    }

    pub(crate) fn send_buffer_bytes(&self) -> u64 {
        self.send_buffer_bytes
    }

    pub(crate) fn set_send_buffer_bytes(&mut self, value: u64) -> Result<(), NetError> {
        self.send_buffer_bytes = positive(value)?.min(BUFFER_BYTES_MAX);
        Ok(())
    }
}

/// Those of a stream's socket; one that is accepted has them from its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    pub(crate) common: Options,
    pub(crate) keep_alive: bool,
    keep_alive_idle_ns: u64,
    keep_alive_interval_ns: u64,
    keep_alive_count: u32,
}

impl Default for StreamOptions {
    /// As Linux has them.
    fn default() -> Self {
        Self {
            common: Options::default(),
            keep_alive: false,
            keep_alive_idle_ns: 7_200 * SECOND_NS,
            keep_alive_interval_ns: 75 * SECOND_NS,
            keep_alive_count: 9,
        }
    }
}

impl StreamOptions {
    pub(crate) fn keep_alive_idle_ns(&self) -> u64 {
        self.keep_alive_idle_ns
    }

    pub(crate) fn set_keep_alive_idle_ns(&mut self, value: u64) -> Result<(), NetError> {
        self.keep_alive_idle_ns = positive(value)?.clamp(SECOND_NS, KEEP_ALIVE_TIME_NS_MAX);
        Ok(())
    }

    pub(crate) fn keep_alive_interval_ns(&self) -> u64 {
        self.keep_alive_interval_ns
    }

    pub(crate) fn set_keep_alive_interval_ns(&mut self, value: u64) -> Result<(), NetError> {
        self.keep_alive_interval_ns = positive(value)?.clamp(SECOND_NS, KEEP_ALIVE_TIME_NS_MAX);
        Ok(())
    }

    pub(crate) fn keep_alive_count(&self) -> u32 {
        self.keep_alive_count
    }

    pub(crate) fn set_keep_alive_count(&mut self, value: u32) -> Result<(), NetError> {
        self.keep_alive_count = positive(value)?.min(KEEP_ALIVE_COUNT_MAX);
        Ok(())
    }
}

/// What WASI says of every one of these: 0 is wrong, and nothing else is.
fn positive<T: Default + PartialEq>(value: T) -> Result<T, NetError> {
    if value == T::default() { Err(NetError::InvalidArgument) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_and_nothing_else() {
        let (mut options, before) = (StreamOptions::default(), StreamOptions::default());
        let refused = Err(NetError::InvalidArgument);
        assert_eq!(options.set_keep_alive_idle_ns(0), refused);
        assert_eq!(options.set_keep_alive_interval_ns(0), refused);
        assert_eq!(options.set_keep_alive_count(0), refused);
        assert_eq!(options.common.set_hop_limit(0), refused);
        assert_eq!(options.common.set_receive_buffer_bytes(0), refused);
        assert_eq!(options.common.set_send_buffer_bytes(0), refused);
        assert_eq!(options, before);
        options.set_keep_alive_idle_ns(1).unwrap();
        options.set_keep_alive_interval_ns(u64::MAX).unwrap();
        options.set_keep_alive_count(u32::MAX).unwrap();
        options.common.set_receive_buffer_bytes(u64::MAX).unwrap();
        assert_eq!(options.keep_alive_idle_ns(), SECOND_NS);
        assert_eq!(options.keep_alive_interval_ns(), KEEP_ALIVE_TIME_NS_MAX);
        assert_eq!(options.keep_alive_count(), KEEP_ALIVE_COUNT_MAX);
        assert_eq!(options.common.receive_buffer_bytes(), BUFFER_BYTES_MAX);
    }

    #[test]
    fn what_is_in_range_is_told_as_it_was_set() {
        let mut options = StreamOptions::default();
        options.set_keep_alive_idle_ns(42 * SECOND_NS).unwrap();
        options.set_keep_alive_interval_ns(43 * SECOND_NS).unwrap();
        options.set_keep_alive_count(44).unwrap();
        options.common.set_hop_limit(45).unwrap();
        options.common.set_send_buffer_bytes(46).unwrap();
        assert_eq!(options.keep_alive_idle_ns(), 42 * SECOND_NS);
        assert_eq!(options.keep_alive_interval_ns(), 43 * SECOND_NS);
        assert_eq!(options.keep_alive_count(), 44);
        assert_eq!((options.common.hop_limit(), options.common.send_buffer_bytes()), (45, 46));
    }
}
