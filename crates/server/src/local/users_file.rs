//! `aclfile`: what `ACL LOAD` reads and `ACL SAVE` writes, on the node that is asked.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corgi_session::{Acl, Reply, Users};

const NOT_CONFIGURED: &str = "ERR This instance is not configured to use an ACL file: set aclfile. \
     Users that ACL SETUSER makes are kept by the cluster without one";

/// The file, and the users that it is compared with.
#[derive(Debug, Default)]
pub(crate) struct UsersFile {
    path: Option<PathBuf>,
    users: Users,
    all_channels: bool,
}

impl UsersFile {
    /// `all_channels` is what a user of the file begins with.
    pub(crate) fn new(path: Option<PathBuf>, users: Users, all_channels: bool) -> Self {
        Self {
            path,
            users,
            all_channels,
        }
    }

    /// Returns the definitions of the users in the file, by name.
    ///
    /// # Errors
    /// A whole error text; nothing has changed then.
    pub(crate) fn load(&self) -> Result<Vec<(Bytes, Bytes)>, Reply> {
        let Some(path) = &self.path else {
            return Err(Reply::error(NOT_CONFIGURED));
        };
        let name = path.display().to_string();
        let read = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"));
        let users = read.and_then(|text| Acl::from_file(&name, &text, self.all_channels));
        users.map_err(|why| {
            Reply::error(format!(
                "ERR {why} WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            ))
        })
    }

    /// Writes the users as this node knows them.
    pub(crate) fn save(&self) -> Reply {
        let Some(path) = &self.path else {
            return Reply::error(NOT_CONFIGURED);
        };
        match replace(path, &self.users.load().to_file()) {
            Ok(()) => Reply::ok(),
            Err(error) => Reply::error(format!(
                "ERR There was an error trying to save the ACLs to {}: {error}",
                path.display()
            )),
        }
    }
}

/// Puts a new file in the place of the old one, as a whole or not at all. Only its owner may read it: it holds digests
/// of passwords.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }();
    if written.is_err() {
        // Not there if it could not be made, and in nobody's way otherwise.
        let _left_behind = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_loaded_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("users.acl");
        let definition = Bytes::from_static(b"on nopass ~* &* +@all");
        let bob = (Bytes::from_static(b"bob"), definition);
        let users = Users::new(Acl::stored(1, [bob.clone()].into_iter()));
        let file = UsersFile::new(Some(path.clone()), users, false);
        assert_eq!(file.save(), Reply::ok());
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let loaded = file.load().expect("its own file");
        assert!(loaded.contains(&bob) && loaded.len() == 2, "{loaded:?}");
        std::fs::write(&path, "user bob +nosuch").expect("write");
        assert!(matches!(file.load(), Err(Reply::Error(text)) if text.starts_with(b"ERR ")));
        assert!(matches!(UsersFile::default().save(), Reply::Error(_)));
    }
}
