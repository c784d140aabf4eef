//! Commands that are encoded once; only the head of the payload changes from one to the next.

/// Publisher and number, at the beginning of each payload.
pub const HEAD_LEN: usize = 12;

/// A command with a payload, ready to be sent again and again.
#[derive(Clone, Debug)]
pub struct Command {
    bytes: Vec<u8>,
    head_at: usize,
}

impl Command {
    /// Encodes `words` with a payload of `payload` bytes as the last argument of a Redis command.
    ///
    /// # Panics
    /// If the payload has no room for its head.
    pub fn resp(words: &[&str], payload: usize) -> Self {
        let mut bytes = format!("*{}\r\n", words.len() + 1).into_bytes();
        for word in words {
            push_bulk(&mut bytes, word.as_bytes());
        }
        bytes.extend_from_slice(format!("${payload}\r\n").as_bytes());
        Self::with_payload(bytes, payload)
    }

    /// Encodes a publish to `subject` of NATS whose acknowledgement is to come to `reply`.
    ///
    /// # Panics
    /// If the payload has no room for its head.
    pub fn nats(subject: &str, reply: &str, payload: usize) -> Self {
        let bytes = format!("PUB {subject} {reply} {payload}\r\n").into_bytes();
        Self::with_payload(bytes, payload)
    }

    fn with_payload(mut bytes: Vec<u8>, payload: usize) -> Self {
        assert!(
            payload >= HEAD_LEN,
            "a payload of {payload} bytes has no room for the {HEAD_LEN} of its head"
        );
        let head_at = bytes.len();
        // Text that a compressor would not shrink to nothing, and no line ends.
        bytes.extend((0..payload).map(|at| b'a' + u8::try_from(at * at % 23).unwrap_or(0)));
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, head_at }
    }

    /// Appends the command with the head of message `sequence` of `publisher`.
    pub fn write(&self, out: &mut Vec<u8>, publisher: u32, sequence: u64) {
        let at = out.len() + self.head_at;
        out.extend_from_slice(&self.bytes);
        out[at..at + 4].copy_from_slice(&publisher.to_be_bytes());
        out[at + 4..at + HEAD_LEN].copy_from_slice(&sequence.to_be_bytes());
    }
}

/// Reads the head of a payload: publisher and number.
pub fn head(payload: &[u8]) -> Option<(u32, u64)> {
    let (publisher, rest) = payload.split_first_chunk::<4>()?;
    let (sequence, _) = rest.split_first_chunk::<8>()?;
    Some((
        u32::from_be_bytes(*publisher),
        u64::from_be_bytes(*sequence),
    ))
}

/// Encodes a Redis command without a payload of ours.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        push_bulk(&mut bytes, word.as_ref());
    }
    bytes
}

fn push_bulk(bytes: &mut Vec<u8>, word: &[u8]) {
    bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
    bytes.extend_from_slice(word);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_redis_reads_and_its_head_can_be_read_back() {
        let command = Command::resp(&["PUBLISH", "news"], 20);
        let mut out = Vec::new();
        command.write(&mut out, 7, 3);
        command.write(&mut out, 7, 4);
        let one = out.len() / 2;
        let before = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$20\r\n";
        assert!(out.starts_with(before));
        assert_eq!(&out[one - 2..one], b"\r\n");
        assert_eq!(head(&out[before.len()..]), Some((7, 3)));
        assert_eq!(head(&out[one + before.len()..]), Some((7, 4)));
        assert_eq!(one, before.len() + 22);
        assert_eq!(head(b"short"), None);
    }

    #[test]
    fn plain_commands_and_those_of_nats() {
        assert_eq!(encode(&["PING"]), b"*1\r\n$4\r\nPING\r\n");
        let mut out = Vec::new();
        Command::nats("a.b", "r", 12).write(&mut out, 1, 2);
        assert!(out.starts_with(b"PUB a.b r 12\r\n\0\0\0\x01\0\0\0\0\0\0\0\x02\r\n"));
    }
}
