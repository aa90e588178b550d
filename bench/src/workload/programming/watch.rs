//! Another client that watches the marker's slice: when an event is out in the world, whatever a proxy makes of it.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration::control_plane::client::Client;
use integration::control_plane::objects::SLICES;
use integration::wait::monotonic_ns;

use super::marker::{Marker, NAME};

/// An event is there long before.
const LIMIT: Duration = Duration::from_secs(20);

/// The watch; ends when dropped.
#[derive(Debug)]
pub(super) struct Events {
    curl: Child,
    seen: Receiver<(u64, u8)>,
    now: Cell<u8>,
}

impl Events {
    /// Watches from now on.
    pub(super) fn start(api: &Client) -> Result<Self> {
        let path = format!("{SLICES}?watch=1&fieldSelector=metadata.name={NAME}");
        let mut curl = api
            .follow(&path)?
            .stdout(Stdio::piped())
            .spawn()
            .context("run curl")?;
        let lines = BufReader::new(curl.stdout.take().context("curl has a standard output")?);
        let (tell, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let now = monotonic_ns();
                if let Some(index) = Marker::endpoint_in(&line)
                    && tell.send((now, index)).is_err()
                {
                    return;
                }
            }
        });
        let events = Self {
            curl,
            seen,
            now: Cell::default(),
        };
        // The state at the start comes as an event too.
        let (_at, now) = events.seen.recv_timeout(LIMIT).context("no watch")?;
        events.now.set(now);
        Ok(events)
    }

    /// The endpoint that is not the one now: what to change to.
    pub(super) fn other(&self) -> u8 {
        1 - self.now.get().min(1)
    }

    /// When the next event arrived that makes `index` the endpoint, in nanoseconds of the monotonic clock.
    pub(super) fn of(&self, index: u8) -> Result<u64> {
        loop {
            let (at, seen) = self.seen.recv_timeout(LIMIT).context("no event came")?;
            self.now.set(seen);
            if seen == index {
                return Ok(at);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Err(error) = self.curl.kill().and_then(|()| self.curl.wait()) {
            eprintln!("curl: {error}");
        }
    }
}
