//! Things by keys that are never given twice: a key of something that is gone finds nothing, even when its place is taken
//! again. It forgets nothing by itself.

/// Names one thing in one [`Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    held: Option<T>,
}

impl Key {
    /// In 62 bits.
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << INDEX_BITS | u64::from(self.index)
    }

    pub(super) fn from_number(number: u64) -> Self {
        let low = |bits: u64| (bits & u64::from(MASK)) as u32;
        Self {
            index: low(number),
            generation: low(number >> INDEX_BITS),
        }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, held: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                held: None,
            });
            // A process has fewer descriptors than this has numbers.
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.held = Some(held);
        Key {
            index,
            generation: slot.generation,
        }
    }

    pub(super) fn find(&mut self, key: Key) -> Option<&mut T> {
        self.slot(key)?.held.as_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slot(key)?;
        let held = slot.held.take()?;
        slot.generation = slot.generation.wrapping_add(1) & MASK;
        self.free.push(key.index);
        Some(held)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// The keys of all that are so.
    pub(super) fn keys_of(&mut self, mut are_so: impl FnMut(&mut T) -> bool) -> Vec<Key> {
        let slots = self.slots.iter_mut().zip(0..);
        let keys = slots.filter_map(|(slot, index)| {
            let generation = slot.generation;
            let held = slot.held.as_mut()?;
            are_so(held).then_some(Key { index, generation })
        });
        keys.collect()
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(key.index as usize);
        slot.filter(|it| it.generation == key.generation)
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

const INDEX_BITS: u32 = 31;
const MASK: u32 = (1 << INDEX_BITS) - 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a map that never uses a key again.
        #[test]
        fn a_key_finds_what_it_was_given_for_or_nothing(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)) {
            let (mut slots, mut held, mut given) = (Slots::default(), BTreeMap::new(), Vec::new());
            for (number, (inserts, at)) in steps.into_iter().enumerate() {
                if inserts || given.is_empty() {
                    let key = slots.insert(number);
                    prop_assert_eq!(Key::from_number(key.number()), key);
                    prop_assert!(held.insert(key.number(), number).is_none());
                    given.push(key);
                } else {
                    let key = given[at.index(given.len())];
                    prop_assert_eq!(slots.remove(key), held.remove(&key.number()));
                }
                for key in &given {
                    prop_assert_eq!(slots.find(*key).copied(), held.get(&key.number()).copied());
                }
                prop_assert_eq!(slots.is_empty(), held.is_empty());
                prop_assert_eq!(slots.keys_of(|_| true).len(), held.len());
            }
        }
    }
}
