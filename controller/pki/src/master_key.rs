//! The master key: the one secret that opens every sealed record, read from a private file, the environment or a
//! passphrase. It is never printed, and its file is never accepted when others may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{hmac, rand};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::PkiError;

/// Thirty-two secret bytes under which records are sealed; wiped from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`PkiError::Random`] when the system has no randomness.
    pub fn generate() -> Result<Self, PkiError> {
        let mut key = Self([0; KEY_BYTES]);
        rand::fill(&mut key.0).map_err(|_| PkiError::Random)?;
        Ok(key)
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the one-line text form, as it stands in a key file or an environment variable. `origin` names the source in
    /// the error, which never repeats the text.
    ///
    /// # Errors
    /// [`PkiError::MasterKeyText`] when the text is anything else.
    pub fn from_text(text: &str, origin: &str) -> Result<Self, PkiError> {
        let refused = || PkiError::MasterKeyText {
            origin: origin.to_owned(),
        };
        let digits = text
            .trim_end_matches(['\r', '\n'])
            .strip_prefix(TEXT_PREFIX)
            .ok_or_else(refused)?;
        let mut key = Self([0; KEY_BYTES]);
        if digits.len() != 2 * KEY_BYTES {
            return Err(refused());
        }
        HEXLOWER_PERMISSIVE
            .decode_mut(digits.as_bytes(), &mut key.0)
            .map_err(|_| refused())?;
        Ok(key)
    }

    /// Stretches a passphrase with Argon2id (64 MiB, 3 passes, RFC 9106 §4). The same salt gives the same key; the caller
    /// stores the salt beside the data.
    ///
    /// # Errors
    /// [`PkiError::PassphraseTooShort`] for a passphrase that could be guessed by its length alone.
    pub fn from_passphrase(
        passphrase: &[u8],
        salt: &[u8; PASSPHRASE_SALT_BYTES],
    ) -> Result<Self, PkiError> {
        if passphrase.len() < MIN_PASSPHRASE_BYTES {
            return Err(PkiError::PassphraseTooShort);
        }
        let params = Params::new(
            ARGON2_MEMORY_KIB,
            ARGON2_PASSES,
            ARGON2_LANES,
            Some(KEY_BYTES),
        )
        .map_err(PkiError::Passphrase)?;
        let mut key = Self([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, &mut key.0)
            .map_err(PkiError::Passphrase)?;
        Ok(key)
    }

    /// Reads a key file that must exist, be a regular file and be closed to group and world.
    ///
    /// # Errors
    /// [`PkiError::MasterKeyFileMode`] names the `chmod` that mends a readable file; the other variants name the file.
    pub fn from_file(path: &Path) -> Result<Self, PkiError> {
        let failed = |source| file_error("read", path, source);
        // Looked at before it is opened: opening a FIFO would wait for ever.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(PkiError::MasterKeyNotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PkiError::MasterKeyFileMode {
                path: path.into(),
                mode,
            });
        }
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES));
        file.take(MAX_FILE_BYTES as u64)
            .read_to_end(&mut content)
            .map_err(failed)?;
        let origin = path.display().to_string();
        let text = str::from_utf8(&content).map_err(|_| PkiError::MasterKeyText {
            origin: origin.clone(),
        })?;
        Self::from_text(text, &origin)
    }

    /// Makes a fresh key and writes it to a new file of mode 0600, whole and synced before it gets its name. An existing
    /// file is left alone and is an error.
    ///
    /// # Errors
    /// [`PkiError::MasterKeyFile`] with the failing step.
    pub fn create_file(path: &Path) -> Result<Self, PkiError> {
        let key = Self::generate()?;
        write_new(path, &key.text()).map_err(|source| file_error("create", path, source))?;
        Ok(key)
    }

    /// Reads the key file, or creates it on first use. Two processes that start together agree on one key.
    ///
    /// # Errors
    /// As [`Self::from_file`] and [`Self::create_file`].
    pub fn from_file_or_create(path: &Path) -> Result<Self, PkiError> {
        if !path.try_exists().map_err(|e| file_error("find", path, e))? {
            match Self::create_file(path) {
                Err(PkiError::MasterKeyFile { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
        Self::from_file(path)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Tells two master keys apart without revealing either.
    pub(crate) fn id(&self) -> [u8; KEY_ID_BYTES] {
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &self.0),
            b"malha master key id",
        );
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&tag.as_ref()[..KEY_ID_BYTES]);
        id
    }

    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES));
        text.push_str(TEXT_PREFIX);
        HEXLOWER.encode_append(&self.0, &mut text);
        text.push('\n');
        text
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// Writes under a random name beside `path`, then links: the final name never shows a half-written key, and never
/// replaces an older one.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let draft = draft_beside(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    File::open(folder)?.sync_all()
}

fn draft_beside(path: &Path) -> io::Result<PathBuf> {
    let mut suffix = [0; 8];
    rand::fill(&mut suffix).map_err(|_| io::Error::other("no random bytes"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", HEXLOWER.encode(&suffix)));
    Ok(path.with_file_name(name))
}

fn file_error(attempt: &'static str, path: &Path, source: io::Error) -> PkiError {
    PkiError::MasterKeyFile {
        attempt,
        path: path.into(),
        source,
    }
}

/// The salt of [`MasterKey::from_passphrase`].
pub const PASSPHRASE_SALT_BYTES: usize = 16;
pub(crate) const KEY_ID_BYTES: usize = 8;
pub(crate) const MIN_PASSPHRASE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
const TEXT_PREFIX: &str = "malha-master-key-1 ";
/// One line with room to notice a longer file.
const MAX_FILE_BYTES: usize = 128;
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_use_creates_a_private_file_and_the_second_reads_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");

        let first = MasterKey::from_file_or_create(&path).unwrap();
        let second = MasterKey::from_file_or_create(&path).unwrap();

        assert_eq!(first.bytes(), second.bytes());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::create_file(&path).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = MasterKey::from_file(&path).unwrap_err();
            assert!(matches!(error, PkiError::MasterKeyFileMode { mode: m, .. } if m == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        MasterKey::from_file(&path).unwrap();
    }

    #[test]
    fn an_existing_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let kept = MasterKey::create_file(&path).unwrap();

        let error = MasterKey::create_file(&path).unwrap_err();

        assert!(error.to_string().contains("can't create"), "{error}");
        assert_eq!(MasterKey::from_file(&path).unwrap().bytes(), kept.bytes());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_an_error_that_never_repeats_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let digits = "ab".repeat(KEY_BYTES);
        for content in [
            String::new(),
            digits.clone(),
            format!("{TEXT_PREFIX}{}", &digits[1..]),
            format!("{TEXT_PREFIX}{digits}0"),
            format!("{TEXT_PREFIX}{digits}\nmore"),
            format!("malha-master-key-2 {digits}"),
            "x".repeat(10_000),
        ] {
            fs::write(&path, &content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = MasterKey::from_file(&path).unwrap_err();
            assert!(
                matches!(error, PkiError::MasterKeyText { .. }),
                "{content:?}"
            );
            assert!(!error.to_string().contains("abab"));
        }
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = MasterKey::from_file(folder.path()).unwrap_err();
        assert!(
            matches!(error, PkiError::MasterKeyNotAFile { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_passphrase_and_its_salt_give_one_key_and_another_salt_another() {
        let phrase = b"correct horse battery staple";
        let key = MasterKey::from_passphrase(phrase, &[1; 16]).unwrap();
        assert_eq!(
            MasterKey::from_passphrase(phrase, &[1; 16])
                .unwrap()
                .bytes(),
            key.bytes()
        );
        assert_ne!(
            MasterKey::from_passphrase(phrase, &[2; 16])
                .unwrap()
                .bytes(),
            key.bytes()
        );
        assert!(matches!(
            MasterKey::from_passphrase(b"short", &[1; 16]),
            Err(PkiError::PassphraseTooShort)
        ));
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        assert_eq!(
            format!("{:?}", MasterKey::from_bytes([7; 32])),
            "MasterKey(..)"
        );
    }

    proptest! {
        #[test]
        fn every_key_reads_back_from_its_text(bytes: [u8; 32]) {
            let key = MasterKey::from_bytes(bytes);
            let read = MasterKey::from_text(&key.text(), "test").unwrap();
            prop_assert_eq!(read.bytes(), &bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,120}") {
            let _refused_or_read = MasterKey::from_text(&text, "test");
        }
    }
}
