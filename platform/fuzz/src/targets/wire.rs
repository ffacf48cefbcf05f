//! Frames between supervisor and worker: whatever bytes come over the socket, each is a message or an error, and a
//! message that was read says the same once it is sent again.
//!
//! The first byte of an input says in which direction the rest goes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_node::wire::{FromWorker, ToWorker, frames};
use std::fmt::Debug;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Reads the input as what came over the socket.
pub(crate) fn run(input: &[u8]) {
    let Some((&direction, bytes)) = input.split_first() else { return };
    RUNTIME.with(|runtime| match direction % 2 {
        0 => runtime.block_on(read::<ToWorker>(bytes)),
        _ => runtime.block_on(read::<FromWorker>(bytes)),
    });
}

async fn read<M: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let (mut sender, receiver) = UnixStream::pair().expect("a pair of sockets");
    let (mut reader, _) = frames(receiver);
    let sending = async move {
        // Fails if the reader has had enough.
        let _ = sender.write_all(bytes).await;
    };
    let reading = async move {
        while let Ok(Some((message, descriptors))) = reader.next::<M>().await {
            assert!(descriptors.is_empty(), "nobody sent any");
            let again = sent(&message).await;
            assert_eq!(format!("{message:?}"), format!("{again:?}"));
        }
    };
    tokio::join!(sending, reading);
}

/// The message as it comes out of another pair of sockets.
async fn sent<M: Serialize + DeserializeOwned>(message: &M) -> M {
    let (left, right) = UnixStream::pair().expect("a pair of sockets");
    let ((_, mut writer), (mut reader, _)) = (frames(left), frames(right));
    let (sent, read) = tokio::join!(writer.send(message, &[]), reader.next::<M>());
    sent.expect("what was read can be sent");
    read.expect("a sound frame").expect("a message").0
}
