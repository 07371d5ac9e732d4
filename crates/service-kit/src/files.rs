//! Files and folders that are their owner's alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Makes a folder, and those above it that are missing, for its owner alone. One
/// that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes an empty file for its owner alone, unless there is one.
///
/// # Errors
/// When it cannot be made.
pub fn private_file(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file for its owner alone: aside, then moved into place, so that
/// whoever sees the file sees all of it.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    let aside = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    written.write_all(content)?;
    std::fs::rename(&aside, file)
}

/// A file that one process holds; the operating system lets go of it when the
/// process ends, however that happens.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes it and writes the process's id into it; `Err` with what the holder
    /// wrote when another process has it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn take(path: &Path) -> io::Result<Result<Self, String>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(std::fs::read_to_string(path)?.trim().to_owned())),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Held still: whoever comes now finds either this file locked, or none.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_look() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        private_folder(&folder).unwrap();
        private_folder(&folder).unwrap();
        private_file(&folder.join("empty")).unwrap();
        private_file(&folder.join("empty")).unwrap();
        write_private(&folder.join("full"), b"1").unwrap();
        write_private(&folder.join("full"), b"2").unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("empty")), mode(&folder.join("full"))), (0o700, 0o600, 0o600));
        assert_eq!(std::fs::read(folder.join("full")).unwrap(), b"2");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left aside");
    }

    #[test]
    fn a_lock_has_one_holder_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("running");
        let lock = Lock::take(&path).unwrap().unwrap();
        assert_eq!(Lock::take(&path).unwrap().unwrap_err(), std::process::id().to_string());
        drop(lock);
        assert!(!path.exists());
        drop(Lock::take(&path).unwrap().unwrap());
    }
}
