//! Random numbers without a dependency, from the seeds that std gives its hashers.

use std::hash::{BuildHasher, RandomState};

/// Returns 64 bits that differ in each call, thread and process. Not suitable for secrets.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// Returns a number from 0 (inclusive) to 1 (exclusive).
pub(crate) fn fraction() -> f64 {
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_do_not_repeat() {
        let numbers: std::collections::HashSet<u64> = (0..1000).map(|_| bits()).collect();
        assert_eq!(numbers.len(), 1000);
        let fractions: Vec<f64> = (0..1000).map(|_| fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(fractions.iter().any(|f| *f < 0.5) && fractions.iter().any(|f| *f > 0.5));
    }
}
