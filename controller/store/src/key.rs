//! Keys, prefixes and values as types that can't be wrong. Keys may appear in errors, so they never carry a secret;
//! values never show their bytes.

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;
use crate::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// The name of a record: 1 to [`MAX_KEY_BYTES`] bytes of UTF-8 without control characters, ordered by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Parses a key; [`StoreError::InvalidKey`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        checked(text).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The start of keys; the empty prefix is the start of every key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Parses a prefix under the rules of a key, except that it may be empty.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        checked(text).map(Self)
    }

    /// The prefix of every key.
    pub fn all() -> Self {
        Self(Arc::from(""))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` starts with this prefix.
    pub fn covers(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of a record, at most [`MAX_VALUE_BYTES`]. Cloning shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// Takes the bytes; [`StoreError::ValueTooLarge`] if there are too many.
    pub fn new(bytes: &[u8]) -> Result<Self, StoreError> {
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(StoreError::ValueTooLarge { bytes: bytes.len() });
        }
        Ok(Self(Arc::from(bytes)))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

fn checked(text: &str) -> Result<Arc<str>, StoreError> {
    if text.len() > MAX_KEY_BYTES {
        return Err(invalid(&format!(
            "it has {} bytes and the limit is {MAX_KEY_BYTES}",
            text.len()
        )));
    }
    if let Some(at) = text.chars().position(char::is_control) {
        return Err(invalid(&format!(
            "character {} is a control character",
            at + 1
        )));
    }
    Ok(Arc::from(text))
}

fn invalid(problem: &str) -> StoreError {
    StoreError::InvalidKey {
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_longest_length_is_accepted_and_one_byte_more_is_refused() {
        assert!(Key::new(&"k".repeat(MAX_KEY_BYTES)).is_ok());
        let refusal = Key::new(&"k".repeat(MAX_KEY_BYTES + 1)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "key refused: it has 1025 bytes and the limit is 1024"
        );
    }

    #[test]
    fn empty_keys_and_control_characters_are_refused_by_name() {
        assert_eq!(
            Key::new("").unwrap_err().to_string(),
            "key refused: it is empty"
        );
        assert_eq!(
            Key::new("node\n1").unwrap_err().to_string(),
            "key refused: character 5 is a control character"
        );
        assert!(Prefix::new("\u{7f}").is_err());
    }

    #[test]
    fn a_value_shows_its_length_and_never_its_bytes() {
        let value = Value::new(b"hunter2").unwrap();
        assert_eq!(format!("{value:?}"), "Value(7 bytes)");
    }

    #[test]
    fn a_value_of_the_longest_length_is_accepted_and_one_byte_more_is_refused() {
        assert!(Value::new(&vec![0; MAX_VALUE_BYTES]).is_ok());
        assert!(Value::new(&vec![0; MAX_VALUE_BYTES + 1]).is_err());
    }
}
