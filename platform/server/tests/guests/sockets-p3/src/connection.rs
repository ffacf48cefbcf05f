//! One connection: a socket, the streams of both of its halves, and the futures that say how those ended.

use crate::address::to_std;
use std::net::SocketAddr;
use wasip3::sockets::types::{ErrorCode, TcpSocket};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::wit_stream;

/// Bytes that are read or written at a time.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// How a half ended.
type End = FutureReader<Result<(), ErrorCode>>;

/// A socket that is connected.
pub(crate) struct Connection {
    output: Option<(StreamWriter<u8>, End)>,
    input: Option<(StreamReader<u8>, End)>,
    socket: TcpSocket,
}

impl Connection {
    pub(crate) fn new(socket: TcpSocket) -> Self {
        let (writer, data) = wit_stream::new();
        let sent = socket.send(data);
        Self { output: Some((writer, sent)), input: Some(socket.receive()), socket }
    }

    pub(crate) fn local(&self) -> Result<SocketAddr, ErrorCode> {
        self.socket.get_local_address().map(to_std)
    }

    pub(crate) fn remote(&self) -> Result<SocketAddr, ErrorCode> {
        self.socket.get_remote_address().map(to_std)
    }

    /// Reads at most so many bytes; none at the end.
    pub(crate) async fn read(&mut self, bytes_max: usize) -> Result<Vec<u8>, ErrorCode> {
        let Some((reader, _)) = &mut self.input else { return Ok(Vec::new()) };
        let (result, bytes) = reader.read(Vec::with_capacity(bytes_max)).await;
        if let StreamResult::Complete(_) = result {
            return Ok(bytes);
        }
        if let Some((reader, end)) = self.input.take() {
            drop(reader);
            end.await?;
        }
        Ok(Vec::new())
    }

    /// Reads so many bytes, or fewer where the end comes first.
    pub(crate) async fn read_exact(&mut self, count: usize) -> Result<Vec<u8>, ErrorCode> {
        let mut all = Vec::new();
        while all.len() < count {
            let bytes = self.read(count - all.len()).await?;
            if bytes.is_empty() {
                break;
            }
            all.extend(bytes);
        }
        Ok(all)
    }

    /// Reads to the end.
    pub(crate) async fn read_to_end(&mut self) -> Result<Vec<u8>, ErrorCode> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(CHUNK_BYTES).await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend(bytes);
        }
    }

    /// Reads to the end, and says how many bytes came.
    pub(crate) async fn count_to_end(&mut self) -> Result<u64, ErrorCode> {
        let mut count = 0;
        loop {
            let bytes = self.read(CHUNK_BYTES).await?;
            if bytes.is_empty() {
                return Ok(count);
            }
            count += bytes.len() as u64;
        }
    }

    /// Writes all.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ErrorCode> {
        let Some((writer, _)) = &mut self.output else { return Err(ErrorCode::ConnectionBroken) };
        if writer.write_all(bytes).await.is_empty() {
            return Ok(());
        }
        self.finish().await?;
        Err(ErrorCode::ConnectionBroken)
    }

    /// Writes so many bytes, and ends this half.
    pub(crate) async fn write_count(&mut self, bytes: u64) -> Result<(), ErrorCode> {
        let mut left = bytes;
        while left > 0 {
            let count = left.min(CHUNK_BYTES as u64);
            self.write(vec![b'x'; count as usize]).await?;
            left -= count;
        }
        self.finish().await
    }

    /// Ends this half.
    pub(crate) async fn finish(&mut self) -> Result<(), ErrorCode> {
        let Some((writer, end)) = self.output.take() else { return Ok(()) };
        drop(writer);
        end.await
    }
}
