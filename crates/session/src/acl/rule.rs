//! What can be wrong with a rule, and how a list of words is cut into rules.

use super::patterns::has_spaces;
use bytes::Bytes;

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A client or a file: what it names must exist.
    Client,
    /// The cluster: another release may have written it, which knows other commands.
    Stored,
}

/// What is wrong with a rule, in Redis' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleError {
    #[error("Unknown command or category name in ACL")]
    Unknown,
    #[error("Syntax error")]
    Syntax,
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
         'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    BadHash,
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
}

/// Joins the words of a selector, which may have been given one by one: `(~a*`, `+get)`.
///
/// # Errors
/// The first word of a selector that is not closed.
pub(super) fn join_selectors(words: &[Bytes]) -> Result<Vec<Bytes>, Bytes> {
    let mut joined = Vec::with_capacity(words.len());
    let mut open: Option<(Bytes, Vec<u8>)> = None;
    for word in words {
        match &mut open {
            None if word.starts_with(b"(") && !word.ends_with(b")") => {
                open = Some((word.clone(), word.to_vec()));
            }
            None => joined.push(word.clone()),
            Some((_, text)) => {
                text.push(b' ');
                text.extend_from_slice(word);
                if word.ends_with(b")")
                    && let Some((_, text)) = open.take()
                {
                    joined.push(text.into());
                }
            }
        }
    }
    match open {
        None => Ok(joined),
        Some((first, _)) => Err(first),
    }
}

/// Cuts a line into words.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| has_spaces(&[*byte]))
        .filter(|word| !word.is_empty())
}
