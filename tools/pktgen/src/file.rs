//! Reading files that somebody names: regular ones, of a bounded size, so that no name makes the program wait or fills
//! the memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if about.len() > most {
        let what = format!("{} bytes; accepted: at most {most}", about.len());
        return Err(io::Error::other(what));
    }
    let mut bytes = Vec::new();
    // No more than the file had: one that grows while it is read, or /proc's kind, ends there.
    File::open(path)?.take(about.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`]; and bytes that are no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|error| io::Error::other(format!("no UTF-8 text: {}", error.utf8_error())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let path = std::env::temp_dir().join(format!("pktgen-file-{}", std::process::id()));
        fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"ab\xff");
        let words = |result: io::Result<_>| result.map(drop).unwrap_err().to_string();
        assert!(words(read(&path, 2)).contains("3 bytes; accepted: at most 2"));
        assert!(words(read_text(&path, 3).map(String::into_bytes)).contains("UTF-8"));
        for other in ["/dev/zero", "/", "/dev/tty"] {
            assert!(!words(read(Path::new(other), 9)).is_empty());
        }
        fs::remove_file(&path).unwrap();
        assert!(words(read(&path, 3)).contains("No such file"));
    }
}
