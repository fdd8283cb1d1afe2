//! Tags: short names that operators give to nodes, for policies to speak of them. A tag means nothing by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use malha_proto::{Label, NodeId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::apply::{check_count, found};
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_TAGS;
use crate::model::Node;
use crate::noun::{Noun, Plenty};

/// A label of at most 32 characters. It is kept in place, so that a selector stays a plain value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; MAX_TAG_CHARS]);

/// Why a text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TagError {
    #[error(transparent)]
    Label(#[from] malha_proto::NameError),
    #[error("{0:?} is too long; a tag has at most {MAX_TAG_CHARS} characters")]
    TooLong(String),
}

pub(crate) fn set(
    draft: &mut Draft,
    id: NodeId,
    tags: &BTreeSet<Tag>,
) -> Result<Answer, Rejection> {
    check_count(Plenty::TagsOnNode, tags.len(), MAX_TAGS)?;
    let node = found(draft.state.node(id), Noun::Node, id)?.clone();
    draft.put(Node {
        tags: tags.clone(),
        ..node
    });
    Ok(Answer::Done)
}

impl Tag {
    /// The tag of the machines from which operators work: what `operator` means in a policy.
    #[must_use]
    pub fn operator() -> Self {
        let mut bytes = [0; MAX_TAG_CHARS];
        bytes[..OPERATOR.len()].copy_from_slice(OPERATOR.as_bytes());
        Self(bytes)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0);
        // Only a label's ASCII bytes ever get in.
        std::str::from_utf8(&self.0[..end.unwrap_or(MAX_TAG_CHARS)]).unwrap_or_default()
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let label: Label = text.parse()?;
        let text = label.as_str();
        if text.len() > MAX_TAG_CHARS {
            return Err(TagError::TooLong(text.to_owned()));
        }
        let mut bytes = [0; MAX_TAG_CHARS];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

impl Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

pub(crate) const MAX_TAG_CHARS: usize = 32;
const OPERATOR: &str = "operator";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_short_label_and_keeps_its_text() {
        let longest = "a".repeat(MAX_TAG_CHARS);
        for text in ["db", "operator", &longest] {
            assert_eq!(text.parse::<Tag>().unwrap().to_string(), text);
        }
        assert_eq!("operator".parse(), Ok(Tag::operator()));
        for text in ["", "a b", "-a", "a/b", &"a".repeat(MAX_TAG_CHARS + 1)] {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
    }
}
