//! Brings the API server to other clusters: each has the same addresses, and the API server is in the router of one of them.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use integration::control_plane::PORT;
use integration::place::Place;
use integration::topology::addresses::ROUTER4;

/// Takes connections in one router and makes them in another, until dropped.
#[derive(Debug)]
pub(super) struct Relay {
    near: Place,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// From `near`'s router to `far`'s.
    pub(super) fn start(near: &Place, far: &Place) -> Result<Self> {
        let listener = near
            .enter(|| TcpListener::bind((ROUTER4, PORT)))?
            .with_context(|| format!("listen in {}", near.name))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, far) = (Arc::clone(&stop), far.clone());
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away, or an API server that is not there: its client sees a closed connection.
                let _closed = connection
                    .map_err(anyhow::Error::from)
                    .and_then(|near| carry(near, &far));
            }
        });
        Ok(Self {
            near: near.clone(),
            stop,
            thread: Some(thread),
        })
    }
}

fn carry(near: TcpStream, far: &Place) -> Result<()> {
    let far = far.enter(|| TcpStream::connect((ROUTER4, PORT)))??;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let pairs = [(near.try_clone()?, far.try_clone()?), (far, near)];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            // Either end may go at any time.
            let _ended = std::io::copy(&mut from, &mut to);
            let _closed = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread; where that fails the listener is broken, and the thread gone.
        let _woken = self.near.enter(|| TcpStream::connect((ROUTER4, PORT)));
        if let Some(thread) = self.thread.take() {
            // It does not panic, and nobody could do anything about it here.
            let _ended = thread.join();
        }
    }
}
