//! The last valid configuration, as it was written. An agent that starts with an invalid one serves
//! by it.

use std::{io, path::Path};

use super::file::{WriteError, replace};
use crate::{config::MOST_BYTES, source::yaml::document};

/// The file's name in the folder.
pub const NAME: &str = "last-good-configuration.yaml";
/// Its name until it is complete.
const UNFINISHED: &str = ".last-good-configuration.yaml.new";

/// Reads the configuration of a folder. None: there is none.
///
/// # Errors
/// The file can't be read.
pub fn read(folder: &Path) -> io::Result<Option<String>> {
    match document::bytes(&folder.join(NAME), MOST_BYTES) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the configuration of a folder, which may not exist yet.
///
/// # Errors
/// The file can't be written.
pub fn write(folder: &Path, text: &str) -> Result<(), WriteError> {
    if read(folder).is_ok_and(|before| before.as_deref() == Some(text)) {
        return Ok(());
    }
    replace(folder, NAME, UNFINISHED, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        assert_eq!(read(&folder).unwrap(), None);
        for text in ["zone: a\n", "zone: b\n", "zone: b\n"] {
            write(&folder, text).unwrap();
            assert_eq!(read(&folder).unwrap().as_deref(), Some(text));
        }
        let names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, [NAME], "nothing unfinished is left");
    }
}
