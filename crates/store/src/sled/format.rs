//! The version marker of the store's folder, so that a version of Relogin that does not know what a
//! later one has written leaves it alone: to its parsers a format from the future is damage, and
//! `relogin store repair` would drop what it cannot read. Must not read what it marks.
//!
//! One file, `format`, of one line: `relogin-sessions FORMAT VERSION`, the format of the folder and
//! the version of Relogin that first opened it so. A folder without it is from before there was a
//! marker. What an older format has is read as ever, and marked with the present one before
//! anything is written.

use std::path::{Path, PathBuf};

use super::{
    Damage, StoreError,
    vfs::{FileError, Fs, Kind},
};

/// The format of everything in the folder: of records, write-ahead log, snapshot and database.
/// Raise it with any change that makes a file which the last release cannot read.
pub(super) const FORMAT: u32 = 1;

/// The content of the marker of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// There is none: the folder is new, or from before there was one.
    None,
    /// The folder has this format, which this version knows.
    Known(u32),
}

/// Reads the marker of `folder`.
///
/// # Errors
/// [`StoreError::Newer`] if this version does not know the format, [`StoreError::Damaged`] if the
/// file is no marker.
pub(super) fn read(folder: &Path, fs: &Fs) -> Result<Marker, StoreError> {
    let path = path(folder);
    let Some(bytes) = fs.read_if_there(&path)? else { return Ok(Marker::None) };
    let (format, by) = parse(&bytes).ok_or_else(|| StoreError::Damaged(path, Damage::Unreadable))?;
    if format > FORMAT {
        return Err(StoreError::Newer { folder: folder.to_owned(), format, by, known: FORMAT });
    }
    Ok(Marker::Known(format))
}

/// Marks the folder with the present format, if it is not. Durable when this returns.
pub(super) fn mark(folder: &Path, fs: &Fs, marker: &Marker) -> Result<(), FileError> {
    if *marker == Marker::Known(FORMAT) {
        return Ok(());
    }
    let (path, new) = (path(folder), path(folder).with_extension("new"));
    fs.remove_if_there(&new)?;
    let file = fs.create(&new)?;
    let text = format!("{NAME} {FORMAT} {}\n", env!("CARGO_PKG_VERSION"));
    fs.write(Kind::Snapshot, &file, &new, text.as_bytes(), 0)?;
    fs.sync(Kind::Snapshot, &file, &new)?;
    fs.rename(&new, &path)?;
    fs.sync_folder(folder)
}

const NAME: &str = "relogin-sessions";

fn path(folder: &Path) -> PathBuf {
    folder.join("format")
}

/// The format and the version. What a later version may have added behind them is passed over.
fn parse(bytes: &[u8]) -> Option<(u32, String)> {
    let mut words = std::str::from_utf8(bytes).ok()?.lines().next()?.split_whitespace();
    if words.next() != Some(NAME) {
        return None;
    }
    let format = words.next()?.parse().ok()?;
    // It is shown on a terminal.
    let by = words.next().filter(|by| by.len() <= 40 && by.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some((format, by.to_owned()))
}

#[cfg(test)]
mod tests {
    use relogin_session::Record;

    use super::*;

    /// What an earlier release reads in a folder is settled by its number alone.
    #[test]
    fn a_new_format_of_records_is_a_new_format_of_the_folder() {
        assert_eq!((FORMAT, Record::FORMAT), (1, 3), "raise FORMAT as well, and give both numbers here");
    }

    #[test]
    fn a_marker_names_format_and_version() {
        let parsed = |text: &str| parse(text.as_bytes());
        assert_eq!(parsed("relogin-sessions 7 2.1.0-rc.1\n"), Some((7, "2.1.0-rc.1".to_owned())));
        assert_eq!(parsed("relogin-sessions 7 2.1.0 and more\nlines"), Some((7, "2.1.0".to_owned())));
        for text in ["", "\n", "relogin-sessions", "relogin-sessions 7", "relogin-sessions x 1.0", "other 1 1.0"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(parsed("relogin-sessions 7 \u{1b}[2J"), None);
        assert_eq!(parse(b"\xff\xfe"), None);
    }
}
