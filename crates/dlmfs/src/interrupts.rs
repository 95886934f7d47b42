//! Requests that wait, and signals that end the waiting.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The requests that a signal can end, by the number that the kernel gave them.
#[derive(Debug, Default)]
pub(crate) struct Interrupts(Mutex<HashMap<u64, oneshot::Sender<()>>>);

impl Interrupts {
    /// From now on the request can be interrupted. To be called before the request waits for the first
    /// time: the kernel sends an interrupt after the request, never before.
    pub(crate) fn of(&self, request: u64) -> Interrupt<'_> {
        let (sender, interrupted) = oneshot::channel();
        self.0.lock().insert(request, sender);
        Interrupt { interrupts: self, request, interrupted }
    }

    /// A signal came for who waits for that request.
    pub(crate) fn interrupt(&self, request: u64) {
        if let Some(sender) = self.0.lock().remove(&request) {
            // The request may be over.
            let _ = sender.send(());
        }
    }
}

/// One request that can be interrupted, until dropped.
#[derive(Debug)]
pub(crate) struct Interrupt<'a> {
    interrupts: &'a Interrupts,
    request: u64,
    interrupted: oneshot::Receiver<()>,
}

impl Interrupt<'_> {
    /// Resolves when a signal comes.
    pub(crate) async fn comes(&mut self) {
        if (&mut self.interrupted).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Interrupt<'_> {
    fn drop(&mut self) {
        self.interrupts.0.lock().remove(&self.request);
    }
}
