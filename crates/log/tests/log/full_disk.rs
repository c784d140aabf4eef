//! A disk that takes no more: the write is an error, no write after it succeeds, and nothing that was
//! acknowledged is lost.
//!
//! The full disk is a limit on the size of a file, which the operating system enforces in the same calls.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::common::{all_up_to, batch_write, open_dir};
use corgi_base::LogIndex;
use corgi_consensus::storage::LogWriter as _;
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

/// Tells the test binary that it is the process with the full disk, and in which folder.
const CHILD: &str = "CORGI_LOG_FULL_DISK_TEST_DIR";
/// The largest file, in units of the shell: 512 or 1024 bytes.
const LIMIT: u64 = 2000;

fn child(path: &Path) {
    let mut stores = open_dir(path).unwrap().open_stores().unwrap();
    let mut acknowledged = 0;
    let error = loop {
        let next = acknowledged + 1;
        match stores
            .writer
            .write(&[batch_write(next..=next + 9, 1, acknowledged)])
        {
            Ok(()) => acknowledged = next + 9,
            Err(error) => break error,
        }
    };
    let again = stores
        .writer
        .write(&[batch_write(acknowledged + 1..=acknowledged + 1, 1, 0)]);
    assert_eq!(
        again,
        Err(error.clone()),
        "a failed log is not written again"
    );
    let truncated = stores.writer.truncate(&all_up_to(1));
    assert_eq!(truncated, Err(error.clone()), "nor truncated");

    let row = |applied| StateWrite {
        applied: LogIndex(applied),
        puts: vec![(applied.to_string().into(), vec![b'x'; 1 << 20].into())],
        deletes: Vec::new(),
    };
    for applied in 1..=8 {
        stores.state.write(&row(applied)).unwrap();
    }
    let refused = stores.state.flush().unwrap_err();
    assert_eq!(refused.action, "flush");
    assert_eq!(
        stores.state.write(&row(9)),
        Err(refused.clone()),
        "not written again"
    );
    assert_eq!(stores.state.flushed().unwrap().get(), LogIndex(0));
    assert!(stores.state.reader().background_errors() > 0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {acknowledged}\nerror {}", error.what).unwrap();
    out.flush().unwrap();
    // As the server does: no destructor may try again what has failed.
    std::process::abort();
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    if let Some(path) = std::env::var_os(CHILD) {
        child(Path::new(&path));
        return;
    }
    let root = TempDir::new().unwrap();
    let script = format!("trap '' XFSZ; ulimit -c 0; ulimit -f {LIMIT}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "full_disk::a_full_disk_is_an_error_and_loses_nothing",
            "--nocapture",
        ])
        .env(CHILD, root.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = |word: &str| text.lines().find_map(|line| line.strip_prefix(word));
    let Some(acknowledged) = said("acknowledged ") else {
        panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    assert!(
        said("error ").unwrap().contains("raft"),
        "the error names the file: {text}"
    );
    let acknowledged: u64 = acknowledged.parse().unwrap();
    let stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let last = stores.writer.bounds().unwrap().last_index.0;
    assert!(
        last >= acknowledged && acknowledged > 0,
        "{last} entries, {acknowledged} acknowledged"
    );
    assert_eq!(stores.reader.verify(), Ok(last));
    assert_eq!(stores.state.applied(), LogIndex(0));
}
