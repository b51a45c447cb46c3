//! Whether a broken download is worth another attempt, as pure arithmetic: bytes and time are handed in.

use std::time::Duration;

/// The number of attempts in a row without a new byte that end a download.
const FRUITLESS: u32 = 5;

/// An attempt that brings less than this is a meagre one, and so many of those end a download in any case: a server
/// that gives a byte and hangs up would keep it for ever.
const MEAGRE_BYTES: u64 = 64 * 1024;
const MEAGRE: u32 = 100;

/// A transfer below this many bytes a second is a broken one: at this speed the documented sample file of 20 MB takes
/// more than five hours.
const LOWEST_SPEED: f64 = 1024.0;

/// The attempts so far.
#[derive(Debug, Default)]
pub(crate) struct ResumeBudget {
    fruitless: u32,
    meagre: u32,
    /// The new bytes that this attempt has brought.
    brought: u64,
    /// The speed over a window of time, counting only the time spent waiting for bytes.
    bytes: u64,
    waited: Duration,
    too_slow: bool,
}

impl ResumeBudget {
    /// Counts bytes that came after this time, and how many of them were new. Tells whether they come too slowly.
    pub(crate) fn is_too_slow(&mut self, bytes: u64, new: u64, waited: Duration, window: Duration) -> bool {
        self.brought += new;
        self.bytes += bytes;
        self.waited += waited;
        if self.waited >= window {
            self.too_slow = (self.bytes as f64) < LOWEST_SPEED * self.waited.as_secs_f64();
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
        self.too_slow
    }

    /// Counts an attempt that broke. Returns the number of fruitless ones in a row, or `None` if that was the last.
    pub(crate) fn after_a_break(&mut self) -> Option<u32> {
        let fruitful = self.brought > 0 && !self.too_slow;
        self.fruitless = if fruitful { 0 } else { self.fruitless + 1 };
        self.meagre += u32::from(self.brought < MEAGRE_BYTES);
        *self = ResumeBudget { fruitless: self.fruitless, meagre: self.meagre, ..ResumeBudget::default() };
        (self.fruitless < FRUITLESS && self.meagre < MEAGRE).then_some(self.fruitless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    /// The breaks that are survived by a download whose attempts bring this many bytes each, in no time.
    fn survived(attempts: impl IntoIterator<Item = u64>) -> usize {
        let mut effort = ResumeBudget::default();
        let survives = |new: &u64| {
            effort.is_too_slow(*new, *new, Duration::ZERO, WINDOW);
            effort.after_a_break().is_some()
        };
        attempts.into_iter().take(10_000).take_while(survives).count()
    }

    #[test]
    fn five_fruitless_attempts_in_a_row_are_the_end() {
        assert_eq!(survived([0; 9]), 4);
        assert_eq!(survived([0, 0, 0, 0, 1, 0, 0, 0, 0, 0]), 9);
    }

    #[test]
    fn a_byte_an_attempt_does_not_go_on_for_ever_but_good_ones_do() {
        assert_eq!(survived(std::iter::repeat(1)), 99);
        assert_eq!(survived(std::iter::repeat(64 * 1024)), 10_000);
    }

    #[test]
    fn the_speed_is_measured_over_the_time_spent_waiting() {
        let mut effort = ResumeBudget::default();
        let second = Duration::from_secs(1);
        let slow = |effort: &mut ResumeBudget, bytes| (0..30).any(|_| effort.is_too_slow(bytes, bytes, second, WINDOW));
        assert!(!slow(&mut effort, 1024), "1 KiB/s");
        assert!(slow(&mut effort, 1023), "less");
        assert_eq!(effort.after_a_break(), Some(1), "bytes that came too slowly are no fruit");
        assert!(!slow(&mut effort, 5000), "the next attempt is judged anew");
        assert_eq!(effort.after_a_break(), Some(0));
    }
}
