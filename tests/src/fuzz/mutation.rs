//! Inputs made from inputs: cut, copied, joined and overwritten, all chance from one seed.

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// A stream of mutants of a corpus; the same seed gives the same stream.
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    chance: TestRng,
}

impl Mutator {
    /// None for a corpus without inputs.
    #[must_use]
    pub fn new(corpus: Vec<Vec<u8>>, seed: u64) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        (!corpus.is_empty()).then_some(Self { corpus, chance })
    }

    /// The next mutant: an input of the corpus with one to eight changes.
    pub fn mutant(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..self.chance.random_range(1..=MAX_CHANGES) {
            self.change(&mut input);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.chance.random_range(0..8) {
            0 => self.overwrite(input, from),
            1 => {
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= 1 << self.chance.random_range(0..8);
                }
            }
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                input.splice(to..to, copy);
            }
            4 => {
                let byte = self.byte();
                let count = self.chance.random_range(1..=MAX_INSERTED_BYTES);
                input.splice(from..from, std::iter::repeat_n(byte, count));
            }
            5 => {
                let other = self.pick();
                let (other_from, other_to) = self.range(other.len());
                input.splice(from..to, other[other_from..other_to].iter().copied());
            }
            6 => input.truncate(to),
            _ => {
                let byte = self.byte();
                input.insert(from, byte);
            }
        }
    }

    /// Puts a number where one may stand: limits are at the powers of two.
    fn overwrite(&mut self, input: &mut [u8], at: usize) {
        let number = match self.chance.random_range(0..3) {
            0 => 1_u64 << self.chance.random_range(0..64),
            1 => (1_u64 << self.chance.random_range(0..64)).wrapping_sub(1),
            _ => self.chance.random(),
        };
        let width = 1 << self.chance.random_range(0..4);
        let bytes = number.to_be_bytes();
        for (to, from) in input[at..].iter_mut().zip(&bytes[bytes.len() - width..]) {
            *to = *from;
        }
    }

    fn byte(&mut self) -> u8 {
        match self.chance.random_range(0..2) {
            0 => INTERESTING[self.chance.random_range(0..INTERESTING.len())],
            _ => self.chance.random(),
        }
    }

    /// A piece of `length` bytes, short ones more often.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.chance.random_range(0..=length);
        let longest = match self.chance.random_range(0..4) {
            0 => length - from,
            _ => (length - from).min(SHORT_BYTES),
        };
        (from, from + self.chance.random_range(0..=longest))
    }

    fn pick(&mut self) -> Vec<u8> {
        self.corpus[self.chance.random_range(0..self.corpus.len())].clone()
    }
}

/// Ends of ranges, signs, separators, and the first bytes of CBOR's kinds.
const INTERESTING: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, 0xc0, 0x3f, 0x40, b'.', b'-', b'\\', b'"', b' ', b'\n', 0x9f, 0xf7,
];
const MAX_CHANGES: usize = 8;
const MAX_INSERTED_BYTES: usize = 300;
const SHORT_BYTES: usize = 8;
/// Longer than any frame or datagram that is not mostly payload.
const MAX_INPUT_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn mutants(seed: u64) -> Vec<Vec<u8>> {
        let corpus = vec![vec![], b"malha".to_vec(), vec![7; 9_000]];
        let mut mutator = Mutator::new(corpus, seed).unwrap();
        (0..2_000).map(|_| mutator.mutant()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_mutants_again_and_another_seed_gives_others() {
        assert_eq!(mutants(1), mutants(1));
        assert_ne!(mutants(1), mutants(2));
    }

    #[test]
    fn mutants_are_many_and_none_is_longer_than_allowed() {
        let mutants = mutants(1);
        assert!(mutants.iter().all(|input| input.len() <= MAX_INPUT_BYTES));
        assert!(mutants.iter().collect::<BTreeSet<_>>().len() > 1_500);
    }
}
