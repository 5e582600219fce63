//! Asking the process to replace itself by the program that lies on the disk now. What does it is the
//! binary's: here is only the way to it, for the admin API.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::live::{Actor, Control};

/// Requests that may wait; there is never more than one upgrade.
const REQUESTS_MAX: usize = 4;

/// An upgrade that was asked for.
#[derive(Debug)]
pub struct UpgradeRequest {
    /// Who asks.
    pub by: Actor,
    /// To be told the new process's id, or why there is none.
    pub done: oneshot::Sender<Result<u32, String>>,
}

/// The way of requests to the binary.
#[derive(Debug)]
pub(crate) struct Upgrades {
    sender: mpsc::Sender<UpgradeRequest>,
    requests: Mutex<Option<mpsc::Receiver<UpgradeRequest>>>,
}

impl Upgrades {
    pub(crate) fn new() -> Upgrades {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        Upgrades {
            sender,
            requests: Mutex::new(Some(requests)),
        }
    }

    fn take(&self) -> Option<mpsc::Receiver<UpgradeRequest>> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.take()
    }

    async fn ask(&self, by: Actor) -> Result<u32, String> {
        let (done, outcome) = oneshot::channel();
        let request = UpgradeRequest { by, done };
        if let Err(refused) = self.sender.try_send(request) {
            return Err(match refused {
                mpsc::error::TrySendError::Full(_) => "an upgrade is going on already".to_owned(),
                mpsc::error::TrySendError::Closed(_) => "the process stops".to_owned(),
            });
        }
        outcome
            .await
            .unwrap_or_else(|_| Err("the process stops".to_owned()))
    }
}

impl Control {
    /// Replaces this process by a new one, and gives its id once it serves. This process drains then.
    ///
    /// # Errors
    /// Why the new process does not serve; this one goes on then.
    pub async fn upgrade(&self, by: Actor) -> Result<u32, String> {
        self.0.upgrades.ask(by).await
    }

    /// Counts an upgrade that failed. One that was done is counted by the new process.
    pub fn upgrade_failed(&self) {
        self.0.tally.upgrade_failed();
    }

    /// Where upgrades that were asked for arrive; given out once. Whoever takes it answers each, and
    /// requests are refused once it is dropped.
    pub fn take_upgrade_requests(&self) -> Option<mpsc::Receiver<UpgradeRequest>> {
        self.0.upgrades.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_request_is_answered_and_without_a_process_it_is_refused() {
        let upgrades = Arc::new(Upgrades::new());
        let mut requests = upgrades.take().unwrap();
        assert!(upgrades.take().is_none());
        let asks = tokio::spawn({
            let upgrades = upgrades.clone();
            async move { upgrades.ask(Actor::new("test")).await }
        });
        let request = requests.recv().await.unwrap();
        assert_eq!(request.by.to_string(), "test");
        request.done.send(Ok(7)).unwrap();
        assert_eq!(asks.await.unwrap(), Ok(7));
        drop(requests);
        let late = upgrades.ask(Actor::new("late")).await;
        assert_eq!(late, Err("the process stops".to_owned()));
    }
}
