//! Fuzzing without instrumentation, for machines that have only a stable compiler: inputs of the committed corpora, mutated
//! from a seed. It finds less per second than libFuzzer does with the same targets, and needs nothing installed.

mod campaign;
mod mutation;
mod target;

pub use campaign::{Outcome, campaign};
pub use mutation::Mutator;
pub use target::{Target, targets};
