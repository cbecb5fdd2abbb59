//! The device under test, as a search sees it.

use std::time::Duration;

use serde::Serialize;

use super::{Ceiling, TrialResult};
use crate::Error;

/// Something that can be offered frames at a rate, and says what came back.
pub trait DeviceUnderTest {
    /// One trial: offers `rate` frames per second in each direction for `duration`, waits for stragglers, and counts.
    ///
    /// # Errors
    /// The trial could not be made or was interrupted. The search ends with what it has.
    fn measure(&mut self, rate: u64, duration: Duration) -> Result<TrialResult, Error>;

    /// Offers `frames` in each direction at `rate`, and counts.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    fn burst(&mut self, rate: u64, frames: u64) -> Result<TrialResult, Error> {
        self.measure(rate, Duration::from_secs_f64(frames as f64 / rate.max(1) as f64))
    }

    /// Offers `overload` for `duration`, then `reduced` for the same time without a pause.
    ///
    /// # Errors
    /// As [`measure`](Self::measure); [`Error::Usage`] where the rate cannot change within a trial, which is what this
    /// does unless it is written for a device.
    fn recover(
        &mut self,
        overload: u64,
        reduced: u64,
        duration: Duration,
    ) -> Result<RecoveryTimes, Error> {
        let _ = (overload, reduced, duration);
        Err(Error::Usage("this device cannot change its rate in the middle of a trial".into()))
    }

    /// What is asked for next may take so long and no longer, the wait for a device that is not there yet aside; `None`:
    /// as long as it takes. What takes longer may be ended with [`Error::OutOfTime`].
    fn end_within(&mut self, left: Option<Duration>) {
        let _ = left;
    }

    /// The trials that follow shall measure latency, as far as the device can.
    fn want_latency(&mut self) {}

    /// What the generator could send if the device took everything; `None`: not known.
    ///
    /// # Errors
    /// It could not be measured.
    fn ceiling(&mut self) -> Result<Option<Ceiling>, Error> {
        Ok(None)
    }
}

/// What an overload left behind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecoveryTimes {
    /// Frames lost of those sent during the overload.
    pub lost_overloaded: u64,
    /// Frames lost of those sent after it.
    pub lost_after: u64,
    /// Seconds from the end of the overload to the departure of the last frame that was lost; 0: none was.
    pub last_loss_s: f64,
    /// Whether the generator kept both rates.
    pub rates_kept: bool,
    /// Seconds that all of it took.
    pub took_s: f64,
}
