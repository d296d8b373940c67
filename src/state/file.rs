//! The state file in the `--state` folder.
//!
//! It is written to a temporary file, synced and renamed. So after any crash of the agent or the
//! machine, a reader finds the previous file or the next one, complete. The file records its format
//! version, its length and its checksum, so that half a file is never taken for a small one.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `pointsman state` and a line feed |
//! | 4 | version of the format, little endian |
//! | 8 | bytes that follow this head, little endian |
//! | 8 | their XXH3, 64 bits, little endian |
//! | ... | [`record::State`] as protobuf |

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::record;

/// The file's name in the folder.
pub const NAME: &str = "last-known-good";
/// Its name until it is complete.
const UNFINISHED: &str = ".last-known-good.new";

const MAGIC: &[u8; 16] = b"pointsman state\n";
/// Grows when an older agent can no longer read the file. A new field is no such change.
const VERSION: u32 = 1;
const HEAD: usize = 16 + 4 + 8 + 8;
/// The largest file that is read: ten times what 100,000 endpoints take. A mistaken path must not
/// fill memory.
const MOST_BYTES: u64 = 256 << 20;

/// Why a state file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("it is not a state that an agent wrote")]
    Foreign,
    /// Another version of the agent wrote it.
    #[error("it has version {found} of the format, and this agent reads version {VERSION}")]
    OtherVersion {
        /// The version in the file.
        found: u32,
    },
    /// The file is incomplete.
    #[error("it is cut short: {there} bytes of {whole}")]
    Cut {
        /// Bytes in the file.
        there: usize,
        /// Bytes there should be.
        whole: u64,
    },
    /// The checksum is wrong, or the content is invalid.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Why a file could not be written. The previous one is still there.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {reason}")]
pub struct WriteError {
    doing: &'static str,
    path: PathBuf,
    reason: io::Error,
}

/// Reads the state of a folder. None: there is none.
///
/// # Errors
/// See [`ReadError`].
pub fn read(folder: &Path) -> Result<Option<record::State>, ReadError> {
    let path = folder.join(NAME);
    match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => return Err(ReadError::Foreign),
        Ok(metadata) if metadata.len() > MOST_BYTES => return Err(ReadError::Foreign),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    parse(fs::read(&path)?.into()).map(Some)
}

fn parse(mut bytes: Bytes) -> Result<record::State, ReadError> {
    let there = bytes.len();
    if !bytes.starts_with(&MAGIC[..there.min(MAGIC.len())]) {
        return Err(ReadError::Foreign);
    }
    if there < HEAD {
        return Err(ReadError::Cut { there, whole: HEAD as u64 });
    }
    bytes.advance(MAGIC.len());
    let found = bytes.get_u32_le();
    if found != VERSION {
        return Err(ReadError::OtherVersion { found });
    }
    let length = bytes.get_u64_le();
    let sum = bytes.get_u64_le();
    if (bytes.len() as u64) < length {
        return Err(ReadError::Cut { there, whole: length.saturating_add(HEAD as u64) });
    }
    if bytes.len() as u64 > length || xxh3_64(&bytes) != sum {
        return Err(ReadError::Damaged("its checksum is wrong".to_owned()));
    }
    record::State::decode(bytes).map_err(|error| ReadError::Damaged(error.to_string()))
}

/// Replaces the state of a folder, which may not exist yet.
///
/// # Errors
/// The file can't be written.
pub fn write(folder: &Path, state: &record::State) -> Result<(), WriteError> {
    replace(folder, NAME, UNFINISHED, &serialized(state))
}

/// Replaces a file of a folder, which may not exist yet. `unfinished`: its name until it is
/// complete.
pub(super) fn replace(
    folder: &Path,
    name: &str,
    unfinished: &str,
    bytes: &[u8],
) -> Result<(), WriteError> {
    fs::create_dir_all(folder).map_err(failed("creating the folder", folder))?;
    let unfinished = folder.join(unfinished);
    let written = write_to(&unfinished, bytes).and_then(|()| {
        let path = folder.join(name);
        fs::rename(&unfinished, &path).map_err(failed("renaming a file to", &path))
    });
    if written.is_err() {
        // Frees the space of a full disk. If the removal fails, the next write overwrites the file.
        fs::remove_file(&unfinished).ok();
        return written;
    }
    // Syncs the folder too, so that the name survives a power loss.
    File::open(folder).and_then(|it| it.sync_all()).map_err(failed("syncing the folder", folder))
}

fn write_to(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // Names and addresses of services are not for every user.
        .mode(0o600)
        .open(path)
        .map_err(failed("creating", path))?;
    file.write_all(bytes).map_err(failed("writing", path))?;
    file.sync_all().map_err(failed("syncing", path))
}

fn serialized(state: &record::State) -> Vec<u8> {
    let body = state.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |reason| WriteError { doing, path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> record::State {
        record::State { texts: vec!["a".to_owned(), "b".to_owned()], ..Default::default() }
    }

    fn written() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &state()).unwrap();
        let bytes = fs::read(folder.path().join(NAME)).unwrap();
        (folder, bytes)
    }

    fn error_of(folder: &Path, bytes: &[u8]) -> String {
        fs::write(folder.join(NAME), bytes).unwrap();
        read(folder).unwrap_err().to_string()
    }

    #[test]
    fn a_state_reads_back_and_nothing_is_left_beside_it() {
        let (folder, _) = written();
        assert_eq!(read(folder.path()).unwrap(), Some(state()));
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1);
    }

    #[test]
    fn a_folder_without_a_state_is_no_error_and_is_made_when_it_is_written() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("var/lib");
        assert_eq!(read(&folder).unwrap(), None);
        write(&folder, &state()).unwrap();
        assert_eq!(read(&folder).unwrap(), Some(state()));
    }

    #[test]
    fn every_shorter_file_is_refused_as_cut_short() {
        let (folder, bytes) = written();
        for length in 0..bytes.len() {
            let error = error_of(folder.path(), &bytes[..length]);
            assert!(error.starts_with("it is cut short"), "{length}: {error}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (folder, bytes) = written();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            error_of(folder.path(), &changed);
        }
    }

    #[test]
    fn another_version_and_another_file_are_told_apart() {
        let (folder, mut bytes) = written();
        bytes[16] = 9;
        let error = error_of(folder.path(), &bytes);
        assert!(error.contains("version 9 of the format, and this agent reads version 1"));
        let error = error_of(folder.path(), b"services:\n  - name: cart.shop\n");
        assert_eq!(error, "it is not a state that an agent wrote");
    }

    #[test]
    fn a_state_that_can_not_be_written_leaves_the_one_before() {
        let (folder, bytes) = written();
        // A folder with the name of the unfinished file: no user can open it as a file.
        fs::create_dir(folder.path().join(UNFINISHED)).unwrap();
        let error = write(folder.path(), &record::State::default()).unwrap_err().to_string();
        assert!(error.contains("creating") && error.contains(UNFINISHED), "{error}");
        assert_eq!(fs::read(folder.path().join(NAME)).unwrap(), bytes);
    }
}
