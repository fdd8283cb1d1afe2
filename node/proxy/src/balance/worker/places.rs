//! How many workers all balancers of a process may have together, and how the next balancer shares in what is left. It starts none.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for workers. A balancer that finds none is carried by the runtime's own threads.
#[derive(Debug)]
pub(in super::super) struct Places(Semaphore);

impl Places {
    pub(in super::super) const fn new(count: usize) -> Self {
        Self(Semaphore::const_new(count))
    }

    /// Places for at most so many workers, each held by one: at least one while there is any, and never so many that later
    /// balancers would get none.
    pub(super) fn share(&'static self, wanted: usize) -> Vec<SemaphorePermit<'static>> {
        let left = self.0.available_permits();
        let share = left.saturating_sub(FOR_ONE_EACH) / TAKEN_OF;
        let count = share.clamp(1, MAX_WORKERS).min(wanted);
        // Fewer, should another balancer have been quicker.
        let taken = (0..count).map_while(|_| self.0.try_acquire().ok());
        taken.collect()
    }
}

/// Of this process.
pub(in super::super) static PLACES: Places = Places::new(MAX_ALL_WORKERS);

/// Of all balancers of a process.
const MAX_ALL_WORKERS: usize = 96;
/// Of one balancer.
const MAX_WORKERS: usize = 16;
/// This many places are given out singly, so that so many balancers of one process have a worker: no fewer than a controller gives one
/// node, which it sees to.
pub const FOR_ONE_EACH: usize = 32;
/// A balancer takes one in so many of the other places.
const TAKEN_OF: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(wanted: usize) -> Vec<usize> {
        let places: &'static Places = Box::leak(Box::new(Places::new(MAX_ALL_WORKERS)));
        let mut held = Vec::new();
        let each = (0..40).map(|_| {
            let share = places.share(wanted);
            let count = share.len();
            held.push(share);
            count
        });
        each.collect()
    }

    #[test]
    fn every_balancer_of_a_node_has_a_worker_and_all_together_no_more_than_the_limit() {
        for (cores, first) in [(1, 1), (2, 2), (8, 8), (64, 16)] {
            let shares = shares(cores);
            assert_eq!(shares[0], first);
            assert!(shares[..FOR_ONE_EACH].iter().all(|share| *share > 0));
            assert!(shares.iter().sum::<usize>() <= MAX_ALL_WORKERS);
        }
    }

    #[test]
    fn a_small_machine_gives_each_of_its_balancers_all_they_want() {
        assert!(shares(2)[..25].iter().all(|share| *share == 2));
    }
}
