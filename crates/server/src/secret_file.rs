//! Files that hold secrets: who else may read them, and that they are files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What files with users hold.
pub(crate) const PASSWORDS: &str = "passwords or their digests";
/// Of the mode of a file: everybody may read it.
const READ_BY_OTHERS: u32 = 0o004;

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) text: Vec<u8>,
    /// The permissions of the file.
    pub(crate) mode: u32,
}

impl Read {
    /// What to tell the operator of the file of this name, if others may read it.
    pub(crate) fn warning(&self, name: &str) -> Option<String> {
        warning(name, PASSWORDS, self.mode)
    }
}

/// What to tell the operator of a file of this name and what it `holds`, if others may read it.
pub(crate) fn warning(name: &str, holds: &str, mode: u32) -> Option<String> {
    (mode & READ_BY_OTHERS != 0).then(|| {
        format!(
            "{name} holds {holds} and every user of this machine may read it \
            (mode {mode:04o}): chmod 640 it, or 600"
        )
    })
}

/// Returns the permissions of an open file.
pub(crate) fn mode(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o7777)
}

/// Reads a regular file. Anything else is refused before it is read: it may be without an end, or wait for a writer.
///
/// # Errors
/// Of the system, or if it is no regular file.
pub(crate) fn read(path: &Path) -> io::Result<Read> {
    let mut options = OpenOptions::new();
    options.read(true);
    // For a regular file it has no meaning; a pipe without a writer would be waited for here.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let mut file = options.custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        let error = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let mode = mode(&file)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(Read { text, mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn a_file_that_others_may_read_is_named_with_its_mode() {
        assert_eq!(warning("users.acl", PASSWORDS, 0o640), None);
        let text = warning("users.acl", PASSWORDS, 0o644).expect("others may read it");
        assert!(
            text.contains("users.acl") && text.contains("0644"),
            "{text}"
        );
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("users.acl");
        std::fs::write(&path, "user bob on").expect("written");
        for (mode, warns) in [(0o600, false), (0o604, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("changed");
            let read = read(&path).expect("a file");
            assert_eq!(read.text, b"user bob on");
            assert_eq!(read.warning("it").is_some(), warns, "{mode:o}");
        }
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        for path in [&path, dir.path()] {
            let error = read(path).expect_err("no file").to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
        assert!(read(&dir.path().join("missing")).is_err());
    }
}
