//! The fail-static file: the last route table a process applied, on its own disk.
//!
//! Owns the file's form and its checks. It exists so that a process starts and serves when the store is
//! away. What must stay true: the file is replaced whole (temporary file, sync, rename), and a file that is
//! torn, foreign or from a newer release is refused by name, never half believed.
//!
//! Form: one line of JSON that says what follows (`format`, `version`, `bytes`, `sha256`), then the table as JSON.

use banyan_domain::RouteTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What the file calls itself.
const FORMAT: &str = "banyan.route-table";
/// The newest form of the file this release knows.
const VERSION: u32 = 1;
/// A file larger than this is not ours.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a fail-static file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It cannot be read or written.
    #[error("the fail-static file `{}` cannot be {act}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        act: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is cut off, changed or something else.
    #[error("the fail-static file `{}` is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A newer release wrote it.
    #[error("the fail-static file `{}` has version {found}, this release knows {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    bytes: u64,
    sha256: String,
}

/// Reads the table; nothing when there is no file.
pub(crate) fn load(path: &Path) -> Result<Option<RouteTable>, SnapshotError> {
    let unreadable = |source| SnapshotError::Io { path: path.to_owned(), act: "read", source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(data) if data.len() > BYTES_MAX => {
            let why = format!("{} bytes are too many", data.len());
            return Err(SnapshotError::Damaged { path: path.to_owned(), why });
        }
        Ok(_) => {}
    }
    let content = fs::read(path).map_err(unreadable)?;
    parse(&content, path).map(Some)
}

fn parse(content: &[u8], path: &Path) -> Result<RouteTable, SnapshotError> {
    let damaged = |why: String| SnapshotError::Damaged { path: path.to_owned(), why };
    let end = content.iter().position(|byte| *byte == b'\n');
    let (header, body) = match end {
        Some(end) => (content.get(..end), content.get(end + 1..)),
        None => (None, None),
    };
    let (Some(header), Some(body)) = (header, body) else {
        return Err(damaged("there is no header line".to_owned()));
    };
    let header: Header = serde_json::from_slice(header)
        .map_err(|error| damaged(format!("the header line is not ours ({error})")))?;
    if header.format != FORMAT {
        return Err(damaged(format!("it calls itself `{}`, not `{FORMAT}`", header.format)));
    }
    if header.version > VERSION {
        return Err(SnapshotError::Newer { path: path.to_owned(), found: header.version });
    }
    if header.bytes != body.len() as u64 {
        let found = body.len();
        return Err(damaged(format!("{} bytes were written, {found} are there", header.bytes)));
    }
    if header.sha256 != checksum(body) {
        return Err(damaged("the checksum does not fit".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| damaged(format!("no route table ({error})")))
}

/// Writes the table in place of the old file.
pub(crate) fn save(path: &Path, table: &RouteTable) -> Result<(), SnapshotError> {
    write(path, table).map_err(|source| SnapshotError::Io {
        path: path.to_owned(),
        act: "written",
        source,
    })
}

fn write(path: &Path, table: &RouteTable) -> io::Result<()> {
    let body = serde_json::to_vec(table)?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        bytes: body.len() as u64,
        sha256: checksum(&body),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = temporary(path);
    let mut file = fs::File::create(&temporary)?;
    serde_json::to_writer(&mut file, &header)?;
    file.write_all(b"\n")?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename itself must survive a power cut.
    fs::File::open(folder)?.sync_all()
}

/// A neighbour of `path` that no other process uses.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn checksum(body: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let digest = Sha256::digest(body);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_domain::Generation;

    fn table(generation: u64) -> RouteTable {
        RouteTable { generation: Generation(generation), ..RouteTable::default() }
    }

    #[test]
    fn a_saved_table_comes_back_and_replaces_the_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/route-table.json");
        assert!(load(&path).unwrap().is_none());
        save(&path, &table(1)).unwrap();
        save(&path, &table(2)).unwrap();
        assert_eq!(load(&path).unwrap(), Some(table(2)));
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays");
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        save(&path, &table(7)).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            let result = parse(&whole[..length], &path);
            assert!(matches!(result, Err(SnapshotError::Damaged { .. })), "cut at {length}");
        }
    }

    #[test]
    fn changed_foreign_and_newer_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        save(&path, &table(7)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let changed = whole.replace("\"generation\":7", "\"generation\":8");
        assert!(parse(changed.as_bytes(), &path).unwrap_err().to_string().contains("checksum"));
        assert!(parse(b"garbage\n\x00\xff", &path).is_err());
        let foreign = whole.replace(FORMAT, "something.else");
        assert!(parse(foreign.as_bytes(), &path).unwrap_err().to_string().contains("something"));
        let newer = whole.replace("\"version\":1", "\"version\":9");
        let error = parse(newer.as_bytes(), &path).unwrap_err();
        assert!(matches!(error, SnapshotError::Newer { found: 9, .. }), "{error}");
    }
}
