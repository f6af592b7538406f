//! What files are called in tables and reports: paths with `/` on every system, and names that tell nothing.

use crate::files::hex;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The name of an image in reports: 12 digits of SHA-256 over the file's digest and its path.
///
/// A hash of the path alone could be undone by trying all numbers of patients (NIH has 30,805); with the digest in it only
/// who has the image can.
pub fn hashed_name(file_sha256: Option<&[u8; 32]>, path: &Path) -> String {
    let mut h = Sha256::new();
    h.update(b"radiograd-name-1");
    h.update(file_sha256.copied().unwrap_or_default());
    h.update(slashed(path).as_bytes());
    format!("img-{}", &hex(&h.finalize())[..12])
}

/// A path below the root as files have it on every system, with `/`.
pub fn slashed(path: &Path) -> String {
    path.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_nothing_and_differ() {
        let path = Path::new("images/00001280_004.png");
        let (a, b) = (hashed_name(Some(&[1; 32]), path), hashed_name(Some(&[2; 32]), path));
        assert!(a != b && !a.contains("1280") && a.len() == 16, "{a}");
        assert_ne!(a, hashed_name(Some(&[1; 32]), Path::new("images/x.png")));
        assert_eq!(a, hashed_name(Some(&[1; 32]), path));
    }
}
