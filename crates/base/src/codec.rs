//! Reading untrusted bytes without panics: every read names what was missing.

use bytes::{Buf, BufMut, Bytes};

/// Bytes that do not mean what they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the field does.
    #[error("{field} needs {needed} bytes, {left} are left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// How many bytes it takes.
        needed: usize,
        /// How many there were.
        left: usize,
    },
    /// A tag byte or version that this build does not know.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// The field that was being read.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
    /// Bytes that follow the last field.
    #[error("{left} bytes follow the last field")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A field whose value is out of its range.
    #[error("{field} is invalid")]
    Invalid {
        /// The field that was being read.
        field: &'static str,
    },
}

/// A cursor over `Bytes`; slices that it returns share the buffer.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Starts at the first byte.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Returns how many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    fn need(&self, field: &'static str, needed: usize) -> Result<(), DecodeError> {
        if self.bytes.len() < needed {
            return Err(DecodeError::Truncated {
                field,
                needed,
                left: self.bytes.len(),
            });
        }
        Ok(())
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end of the bytes, as for all reads.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.need(field, 1)?;
        Ok(self.bytes.get_u8())
    }

    /// Reads a big-endian `u32`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.need(field, 4)?;
        Ok(self.bytes.get_u32())
    }

    /// Reads a big-endian `u64`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.need(field, 8)?;
        Ok(self.bytes.get_u64())
    }

    /// Reads a big-endian `i64`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(self.u64(field)?.cast_signed())
    }

    /// Reads a byte that is 0 or 1.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], or [`DecodeError::Invalid`] for another one.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid { field }),
        }
    }

    /// Reads a `u32` count and as many byte strings, shared with the buffer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; no more is allocated than the bytes that are left can hold.
    pub fn list(&mut self, field: &'static str) -> Result<Vec<Bytes>, DecodeError> {
        let count = self.u32(field)? as usize;
        let mut list = Vec::with_capacity(count.min(self.left() / 4));
        for _ in 0..count {
            list.push(self.bytes(field)?);
        }
        Ok(list)
    }

    /// Reads a big-endian `u128`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u128(&mut self, field: &'static str) -> Result<u128, DecodeError> {
        self.need(field, 16)?;
        Ok(self.bytes.get_u128())
    }

    /// Reads a `u32` length and as many bytes, shared with the buffer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; nothing is allocated from a declared length.
    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.u32(field)? as usize;
        self.need(field, len)?;
        Ok(self.bytes.split_to(len))
    }

    /// Reads a node id.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], or [`DecodeError::Invalid`] for 0.
    pub fn node_id(&mut self, field: &'static str) -> Result<crate::NodeId, DecodeError> {
        crate::NodeId::new(self.u64(field)?).ok_or(DecodeError::Invalid { field })
    }

    /// Returns all that is left.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }
}

/// Appends a `u32` length and the bytes.
///
/// # Panics
/// If there are 4 GiB or more: the caller's limits are far below.
pub fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("limits keep every field below 4 GiB");
    out.put_u32(len);
    out.put_slice(bytes);
}

/// Where fields are put: into bytes, or only to be counted, so that one description serves both.
pub trait Put {
    /// Puts bytes as they are.
    fn raw(&mut self, bytes: &[u8]);

    /// Puts one byte.
    fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    /// Puts a big-endian `u32`.
    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Puts a big-endian `u64`.
    fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// Puts a big-endian `i64`, as two's complement.
    fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// Puts 1 or 0.
    fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Puts a `u32` length and the bytes.
    ///
    /// # Panics
    /// If there are 4 GiB or more, as for [`put_bytes`].
    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("limits keep every field below 4 GiB"));
        self.raw(bytes);
    }

    /// Puts a `u32` count and as many byte strings.
    ///
    /// # Panics
    /// If there are 4 billion or more.
    fn list(&mut self, list: &[Bytes]) {
        self.u32(u32::try_from(list.len()).expect("limits keep every list below 4 billion"));
        list.iter().for_each(|bytes| self.bytes(bytes));
    }
}

/// Puts fields into a buffer.
#[derive(Debug)]
pub struct Out<'a, B>(pub &'a mut B);

impl<B: BufMut> Put for Out<'_, B> {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

/// Counts how many bytes fields take.
#[derive(Debug, Default)]
pub struct Length(pub usize);

impl Put for Length {
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}
