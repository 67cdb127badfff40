//! The control thread's letters: a channel that a poll can wait for.

use crossbeam::channel::{Receiver, Sender, unbounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Where letters arrive.
pub(super) struct Mailbox<T> {
    letters: Receiver<T>,
    bell: Arc<OwnedFd>,
}

/// Where letters are posted; nobody waits there.
pub(super) struct Post<T> {
    letters: Sender<T>,
    bell: Arc<OwnedFd>,
}

/// Returns both ends. There is no limit: whoever posts waits for an answer before the next letter.
pub(super) fn mailbox<T>() -> io::Result<(Mailbox<T>, Post<T>)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = unbounded();
    let mailbox = Mailbox {
        letters: receiver,
        bell: Arc::clone(&bell),
    };
    let post = Post {
        letters: sender,
        bell,
    };
    Ok((mailbox, post))
}

impl<T> Post<T> {
    /// Posts a letter. When nobody is there to read it any more, it is lost.
    pub(super) fn send(&self, letter: T) {
        if self.letters.send(letter).is_ok() {
            // It only fails where the bell rings anyway.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<T> Mailbox<T> {
    /// Returns the descriptor that is readable while there may be letters.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes all letters out.
    pub(super) fn take(&self) -> Vec<T> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.letters.try_iter().collect()
    }
}
