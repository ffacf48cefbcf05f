//! One life of the control plane. When it ends, by a crash, whatever is left of it can do nothing any more: each of its ports
//! asks here first.

use skiff_kit::Watermark;
use skiff_ports::store::StoreError;

/// Whether a control plane lives.
pub(crate) struct Life {
    /// 1 once it is over.
    ended: Watermark,
}

impl Life {
    /// One that has begun.
    pub(crate) fn new() -> Self {
        Self { ended: Watermark::default() }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.ended.rise_to(1);
    }

    /// Whether it goes on.
    pub(crate) fn goes_on(&self) -> bool {
        self.ended.get() == 0
    }

    /// What a port of a control plane answers that is dead.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.goes_on() { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// Ends with it.
    pub(crate) async fn ended(&self) {
        self.ended.reached(1).await;
    }
}
