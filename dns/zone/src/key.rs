//! The lookup form of a name: labels from the root down, so that plain byte order is the canonical
//! DNS order (RFC 4034 section 6.1) and an ancestor is a prefix. It never leaves this crate.

use std::borrow::Borrow;

use hickory_proto::rr::Name;

/// Each label lower-cased and closed by a zero byte; bytes 0 and 1 inside a label are escaped, which
/// only names in queries can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameKey(Box<[u8]>);

impl NameKey {
    pub(crate) fn of(name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(name.len());
        for label in name.iter().rev() {
            push_label(&mut bytes, label);
        }
        Self(bytes.into())
    }

    /// From labels in text order, the leftmost first.
    pub(crate) fn of_labels<'a>(labels: impl DoubleEndedIterator<Item = &'a str>) -> Self {
        let mut bytes = Vec::new();
        for label in labels.rev() {
            push_label(&mut bytes, label.as_bytes());
        }
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for NameKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The ends of the labels of `key`: every prefix up to one of them is an ancestor or the name itself.
pub(crate) fn label_ends(key: &[u8]) -> impl Iterator<Item = usize> + '_ {
    key.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == LABEL_END)
        .map(|(at, _)| at + 1)
}

/// The key of the name one label up; the root has none.
pub(crate) fn parent(key: &[u8]) -> Option<&[u8]> {
    let (_, inner) = key.split_last()?;
    let end = label_ends(inner).last().unwrap_or(0);
    Some(&key[..end])
}

/// The key of the wildcard directly below `encloser`.
pub(crate) fn wildcard_below(encloser: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(encloser.len() + 2);
    key.extend_from_slice(encloser);
    push_label(&mut key, b"*");
    key
}

/// The longest key that is an ancestor of, or equal to, both.
pub(crate) fn common_ancestor<'a>(a: &'a [u8], b: &[u8]) -> &'a [u8] {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let end = label_ends(&a[..same]).last().unwrap_or(0);
    &a[..end]
}

fn push_label(bytes: &mut Vec<u8>, label: &[u8]) {
    for byte in label {
        match byte.to_ascii_lowercase() {
            low @ (LABEL_END | ESCAPE) => bytes.extend([ESCAPE, low + 1]),
            plain => bytes.push(plain),
        }
    }
    bytes.push(LABEL_END);
}

const LABEL_END: u8 = 0;
const ESCAPE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn name_strategy() -> impl Strategy<Value = Name> {
        let label = vec(
            prop_oneof![0_u8..3, Just(b'a'), Just(b'B'), any::<u8>()],
            1..5,
        );
        vec(label, 0..5)
            .prop_map(|labels| Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn byte_order_is_canonical_order(a in name_strategy(), b in name_strategy()) {
            prop_assert_eq!(NameKey::of(&a).cmp(&NameKey::of(&b)), a.cmp(&b));
        }

        #[test]
        fn a_prefix_is_an_ancestor(a in name_strategy(), b in name_strategy()) {
            let prefix = NameKey::of(&b).bytes().starts_with(NameKey::of(&a).bytes());
            prop_assert_eq!(prefix, a.zone_of(&b));
        }
    }
}
