//! Waiting for conditions. Nothing in this crate sleeps for a fixed time and hopes; what tests timeouts says so with [`pass`].

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for anything that happens at all, on a machine that does ten other things. A condition that holds costs nothing of it.
pub const SOON: Duration = Duration::from_mins(2);

/// Polls `probe` until it returns a value, first often, then every 20 ms; fails after `limit` with the last complaint.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => bail!("{what}: not within {limit:?}: {error:#}"),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Lets `time` pass, for tests of what time alone does: timeouts.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the same clock in all processes of the machine.
///
/// # Panics
///
/// On a kernel without that clock; there is none.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec for the call to fill.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(failed, 0, "CLOCK_MONOTONIC always exists");
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_reported_with_its_last_complaint() {
        let error = until("the moon", Duration::from_millis(2), || -> Result<()> {
            bail!("no cheese")
        })
        .unwrap_err();
        assert!(
            error.to_string().contains("the moon") && error.to_string().contains("no cheese"),
            "{error}"
        );
    }

    #[test]
    fn a_condition_that_comes_true_is_returned() {
        let mut tries = 0;
        let value = until("third try", Duration::from_secs(5), || {
            tries += 1;
            if tries == 3 {
                Ok(tries)
            } else {
                bail!("not yet")
            }
        });
        assert_eq!(value.unwrap(), 3);
    }
}
