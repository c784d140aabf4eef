//! A change of the cluster's users, and its bytes.
//!
//! ```text
//! changes = replace:u8 count:u32 (name:bytes kept:u8 [definition:bytes])*
//! ```
//!
//! A user's definition is text that only sessions understand: this crate and the replicated state keep it as it is.

use crate::codec::{DecodeError, Reader, put_bytes};
use bytes::{BufMut, Bytes};

/// A change of users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChanges {
    /// Whether all users that are not among the changes go.
    pub replace: bool,
    /// Users by name, with their new definition, or without one when they go.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
}

impl UserChanges {
    /// Appends the change's bytes.
    ///
    /// # Panics
    /// If there are more than 4 billion users.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.replace.into());
        let count = u32::try_from(self.changes.len()).expect("far fewer than 4 billion users");
        out.put_u32(count);
        for (name, definition) in &self.changes {
            put_bytes(out, name);
            out.put_u8(definition.is_some().into());
            if let Some(definition) = definition {
                put_bytes(out, definition);
            }
        }
    }

    /// Returns how many bytes [`UserChanges::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let changes = self.changes.iter().map(|(name, definition)| {
            4 + name.len() + 1 + definition.as_ref().map_or(0, |text| 4 + text.len())
        });
        1 + 4 + changes.sum::<usize>()
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let replace = flag(reader, "users are replaced")?;
        let count = reader.u32("user count")?;
        let mut changes = Vec::new();
        for _ in 0..count {
            let name = reader.bytes("user name")?;
            let kept = flag(reader, "user is kept")?;
            let definition = if kept {
                Some(reader.bytes("user definition")?)
            } else {
                None
            };
            changes.push((name, definition));
        }
        Ok(Self { replace, changes })
    }
}

fn flag(reader: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}
