//! Frames on a peer connection: `[length:u32][crc32c of the payload:u32][payload]`, big-endian.
//!
//! A length is checked before anything is reserved for it, and a large payload is collected as its
//! bytes arrive, so that a declared length costs nothing.

use super::stream::NoTls;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The bytes before the payload.
pub(super) const HEAD_BYTES: usize = 8;
/// How much is read at once: many small frames, or a good part of a large one.
const READ_BYTES: usize = 64 << 10;

/// Why no more frames can be read. The connection is useless after any of these.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The declared length is over the limit.
    #[error("a frame of {bytes} bytes is over the limit of {bytes_max}")]
    TooLong { bytes: usize, bytes_max: usize },
    /// The payload is not what was sent.
    #[error("the checksum of a frame of {bytes} bytes is wrong")]
    Checksum { bytes: usize },
    /// The connection ended within a frame.
    #[error("the connection ended within a frame, after {bytes} bytes of it")]
    Cut { bytes: usize },
    /// The other side speaks TLS, and we do not.
    #[error("the other side speaks TLS: tls-cluster must be the same on all nodes")]
    SpeaksTls,
    /// There is no TLS with the other side.
    #[error(transparent)]
    Tls(NoTls),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns the bytes to put before a payload that consists of two parts.
pub(super) fn head(first: &[u8], second: &[u8]) -> [u8; HEAD_BYTES] {
    let bytes = u32::try_from(first.len() + second.len()).expect("frames are far below 4 GiB");
    let crc = crc32c::crc32c_append(crc32c::crc32c(first), second);
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&bytes.to_be_bytes());
    head[4..].copy_from_slice(&crc.to_be_bytes());
    head
}

/// Sends a frame; for the small ones of the handshake.
pub(super) async fn send<W: AsyncWrite + Unpin>(writer: &mut W, payload: &[u8]) -> io::Result<()> {
    writer.write_all(&encode(payload)).await?;
    // With TLS, what was written may wait for this.
    writer.flush().await
}

/// Returns a whole frame.
pub(super) fn encode(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload, &[]).to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Refuses frames with more than `bytes_max` bytes of payload.
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            bytes_max,
        }
    }

    /// Changes the limit for the frames that follow.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Returns the reader. What was read beyond the last frame is lost.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// Returns the next payload, or `None` if the connection ended between two frames.
    ///
    /// May be dropped and called again: nothing that was read gets lost.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(payload) = self.buffered()? {
                return Ok(Some(payload));
            }
            // Doubles as bytes arrive, whatever the head declares.
            self.buffer.reserve(READ_BYTES);
            let read = match self.reader.read_buf(&mut self.buffer).await {
                // TLS that ends without a word.
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => 0,
                read => read?,
            };
            if read == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    _ if is_tls(&self.buffer) => Err(FrameError::SpeaksTls),
                    bytes => Err(FrameError::Cut { bytes }),
                };
            }
        }
    }

    /// Takes a frame that is there as a whole.
    fn buffered(&mut self) -> Result<Option<Bytes>, FrameError> {
        let mut head = &self.buffer[..];
        if head.len() < HEAD_BYTES {
            return Ok(None);
        }
        let (bytes, crc) = (head.get_u32() as usize, head.get_u32());
        if bytes > self.bytes_max && is_tls(&self.buffer) {
            return Err(FrameError::SpeaksTls);
        }
        if bytes > self.bytes_max {
            return Err(FrameError::TooLong {
                bytes,
                bytes_max: self.bytes_max,
            });
        }
        if head.len() < bytes {
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        let payload = self.buffer.split_to(bytes).freeze();
        if crc32c::crc32c(&payload) != crc {
            return Err(FrameError::Checksum { bytes });
        }
        Ok(Some(payload))
    }
}

/// Whether bytes are the head of a record of TLS: of its handshake, or a refusal.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 3, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(stream: &[u8], bytes_max: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let mut reader = FrameReader::new(stream, bytes_max);
        let mut frames = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, None),
                Err(err) => return (frames, Some(err)),
            }
        }
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let large = vec![7; 3 * READ_BYTES];
        let mut stream = Vec::new();
        for payload in [&b"one"[..], b"", &large, b"last"] {
            stream.extend_from_slice(&encode(payload));
        }
        let (read, err) = frames(&stream, large.len()).await;
        assert!(err.is_none());
        assert_eq!(read, [&b"one"[..], b"", &large, b"last"]);
        let two_parts = head(b"on", b"e");
        assert_eq!(two_parts, stream[..HEAD_BYTES]);
    }

    #[tokio::test]
    async fn a_cut_at_any_place_is_noticed() {
        let mut stream = encode(b"whole");
        let whole = stream.len();
        stream.extend_from_slice(&encode(b"cut"));
        for len in whole + 1..stream.len() {
            let (read, err) = frames(&stream[..len], 100).await;
            assert_eq!(read, [&b"whole"[..]]);
            assert!(matches!(err, Some(FrameError::Cut { bytes }) if bytes == len - whole));
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_is_noticed() {
        let stream = encode(b"payload");
        for bit in 0..stream.len() * 8 {
            let mut damaged = stream.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (read, err) = frames(&damaged, 100).await;
            assert!(err.is_some() && read.is_empty(), "bit {bit}");
        }
    }

    #[tokio::test]
    async fn tls_is_told_from_a_frame_that_is_too_long() {
        let (_, err) = frames(&[0x16, 3, 1, 2, 0, 1, 0, 1], 100).await;
        assert!(matches!(err, Some(FrameError::SpeaksTls)));
        let (_, err) = frames(&[0x15, 3, 3, 0, 2, 2, 50], 100).await;
        assert!(matches!(err, Some(FrameError::SpeaksTls)), "a refusal");
        let (_, err) = frames(&[0x16, 4, 1, 2, 0, 1, 0, 1], 100).await;
        assert!(matches!(err, Some(FrameError::TooLong { .. })));
    }

    #[tokio::test]
    async fn a_declared_length_reserves_nothing() {
        let mut reader = FrameReader::new(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], 100);
        assert!(matches!(
            reader.next().await,
            Err(FrameError::TooLong { .. })
        ));
        let mut reader = FrameReader::new(&[0x40, 0, 0, 0, 0, 0, 0, 0][..], usize::MAX);
        assert!(matches!(reader.next().await, Err(FrameError::Cut { .. })));
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES);
    }
}
