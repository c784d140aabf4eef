//! `aclfile`: what `ACL LOAD` reads and `ACL SAVE` writes, on the node that is asked.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use corgi_session::{Acl, Reply, Users};
use slog::{Discard, Logger, o, warn};

use crate::secret_file;

const NOT_CONFIGURED: &str = "ERR This instance is not configured to use an ACL file: set aclfile. \
     Users that ACL SETUSER makes are kept by the cluster without one";

/// The file, and the users that it is compared with.
pub(crate) struct UsersFile {
    path: Option<PathBuf>,
    users: Users,
    all_channels: bool,
    /// Held by whoever writes: all write the new file under the same name.
    writes: Mutex<()>,
    log: Logger,
}

impl UsersFile {
    /// `all_channels` is what a user of the file begins with.
    pub(crate) fn new(
        path: Option<PathBuf>,
        users: Users,
        all_channels: bool,
        log: &Logger,
    ) -> Self {
        Self {
            path,
            users,
            all_channels,
            writes: Mutex::default(),
            log: log.clone(),
        }
    }

    /// Returns the definitions of the users in the file, by name. Waits for the disk.
    ///
    /// # Errors
    /// A whole error text; nothing has changed then.
    pub(crate) fn load(&self) -> Result<Vec<(Bytes, Bytes)>, Reply> {
        let Some(path) = &self.path else {
            return Err(Reply::error(NOT_CONFIGURED));
        };
        let name = path.display().to_string();
        let read = secret_file::read(path).map_err(|error| format!("cannot read {name}: {error}"));
        let users = read.and_then(|read| {
            if let Some(warning) = read.warning(&name) {
                warn!(self.log, "about aclfile"; "warning" => warning);
            }
            Acl::from_file(&name, &read.text, self.all_channels)
        });
        users.map_err(|why| {
            Reply::error(format!(
                "ERR {why} WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            ))
        })
    }

    /// Writes the users as this node knows them. Waits for the disk, and for others that write.
    pub(crate) fn save(&self) -> Reply {
        let Some(path) = &self.path else {
            return Reply::error(NOT_CONFIGURED);
        };
        let _alone = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        match replace(path, &self.users.load().to_file()) {
            Ok(()) => Reply::ok(),
            Err(error) => Reply::error(format!(
                "ERR There was an error trying to save the ACLs to {}: {error}",
                path.display()
            )),
        }
    }
}

impl Default for UsersFile {
    /// Without a file.
    fn default() -> Self {
        let log = Logger::root(Discard, o!());
        Self::new(None, Users::default(), false, &log)
    }
}

impl fmt::Debug for UsersFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsersFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
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

    fn file(path: &Path, users: Users) -> UsersFile {
        let log = Logger::root(Discard, o!());
        UsersFile::new(Some(path.to_owned()), users, false, &log)
    }

    #[test]
    fn several_may_save_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("users.acl");
        let definition = Bytes::from_static(b"on nopass ~* &* +@all");
        let users = (0..200).map(|k| (Bytes::from(format!("user-{k}")), definition.clone()));
        let file = file(&path, Users::new(Acl::stored(1, users)));
        let replies = std::thread::scope(|scope| {
            let savers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..20).map(|_| file.save()).collect::<Vec<_>>()))
                .collect();
            let joined = savers.into_iter().map(|saver| saver.join().expect("saved"));
            joined.flatten().collect::<Vec<_>>()
        });
        assert_eq!(replies, vec![Reply::ok(); 80]);
        assert_eq!(file.load().expect("its own file").len(), 201);
        let left = std::fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_file_is_not_loaded() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = |path: &Path| match file(path, Users::default()).load() {
            Err(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{other:?}"),
        };
        for path in [dir.path(), Path::new("/dev/zero")] {
            let text = refusal(path);
            assert!(text.contains("not a regular file"), "{text}");
        }
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("users.acl");
        let definition = Bytes::from_static(b"on nopass ~* &* +@all");
        let bob = (Bytes::from_static(b"bob"), definition);
        let users = Users::new(Acl::stored(1, [bob.clone()].into_iter()));
        let file = file(&path, users);
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
