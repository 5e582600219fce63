//! Asking the process to replace itself by the program that lies on the disk now. What does it is the
//! binary's: here is only the way to it, for the admin API.

use tokio::sync::{mpsc, oneshot};

use crate::live::Actor;

/// Requests that may wait; there is never more than one upgrade.
const REQUESTS_MAX: usize = 4;

/// Asks for an upgrade. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upgrader(mpsc::Sender<UpgradeRequest>);

/// An upgrade that was asked for.
#[derive(Debug)]
pub struct UpgradeRequest {
    /// Who asks.
    pub by: Actor,
    /// To be told the new process's id, or why there is none.
    pub done: oneshot::Sender<Result<u32, String>>,
}

/// A way to ask, and where the requests arrive.
pub fn upgrades() -> (Upgrader, mpsc::Receiver<UpgradeRequest>) {
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    (Upgrader(sender), requests)
}

impl Upgrader {
    /// Replaces this process by a new one, and gives its id once it serves. This process drains then.
    ///
    /// # Errors
    /// Why the new process does not serve; this one goes on then.
    pub async fn upgrade(&self, by: Actor) -> Result<u32, String> {
        let (done, outcome) = oneshot::channel();
        let request = UpgradeRequest { by, done };
        let Ok(()) = self.0.try_send(request) else {
            return Err("an upgrade is going on already, or the process stops".to_owned());
        };
        outcome
            .await
            .unwrap_or_else(|_| Err("the process stops".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_and_without_a_process_it_is_refused() {
        let (upgrader, mut requests) = upgrades();
        let asks = tokio::spawn({
            let upgrader = upgrader.clone();
            async move { upgrader.upgrade(Actor::new("test")).await }
        });
        let request = requests.recv().await.unwrap();
        assert_eq!(request.by.to_string(), "test");
        request.done.send(Ok(7)).unwrap();
        assert_eq!(asks.await.unwrap(), Ok(7));
        drop(requests);
        assert!(upgrader.upgrade(Actor::new("late")).await.is_err());
    }
}
