//! The name of a pair: two nodes in no order.

use std::fmt;
use std::str::FromStr;

use malha_proto::NodeId;

/// Two different nodes, the lower one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairId {
    low: NodeId,
    high: NodeId,
}

impl PairId {
    #[must_use]
    pub fn of(one: NodeId, other: NodeId) -> Self {
        Self {
            low: one.min(other),
            high: one.max(other),
        }
    }

    /// Both ends, the lower one first.
    #[must_use]
    pub fn ends(self) -> [NodeId; 2] {
        [self.low, self.high]
    }
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl FromStr for PairId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a pair looks like \"n2-n12\", not {text:?}");
        let (low, high) = text.split_once('-').ok_or_else(wrong)?;
        let ends = low.parse().ok().zip(high.parse().ok());
        let (low, high) = ends.filter(|(low, high)| low < high).ok_or_else(wrong)?;
        Ok(Self { low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_back_what_it_prints_and_has_one_name() {
        let pair = PairId::of(NodeId(12), NodeId(2));
        assert_eq!(pair, PairId::of(NodeId(2), NodeId(12)));
        assert_eq!(pair.to_string(), "n2-n12");
        assert_eq!(pair.to_string().parse(), Ok(pair));
        for text in ["n12-n2", "n2-n2", "n2", "n2-", "2-12"] {
            assert!(text.parse::<PairId>().is_err(), "{text}");
        }
    }
}
