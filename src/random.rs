//! Chance without a dependency: std seeds each hasher from the operating system's random numbers.

use std::hash::{BuildHasher, RandomState};

/// 64 bits that differ from call to call, thread to thread and process to process. Not for secrets.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// A number from 0 up to, and without, 1.
pub(crate) fn fraction() -> f64 {
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_does_not_repeat_itself() {
        let drawn: std::collections::HashSet<u64> = (0..1000).map(|_| bits()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!((0..1000).map(|_| fraction()).all(|f| (0.0..1.0).contains(&f)));
    }
}
