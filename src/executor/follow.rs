//! Looking on while an attempt runs.

use std::sync::PoisonError;

use tokio::sync::broadcast;

use super::{Executor, ExecutorError};
use crate::task::ClaimId;

/// Somebody who follows the output of a running attempt; the last one who leaves ends it.
pub struct Follower {
    executor: Executor,
    claim: ClaimId,
    grew: broadcast::Receiver<ClaimId>,
}

impl Executor {
    /// Follows a running attempt's output: its file is there from now on.
    ///
    /// # Errors
    /// When the daemon is ending.
    pub async fn follow(&self, claim: ClaimId) -> Result<Follower, ExecutorError> {
        let follower = Follower { executor: self.clone(), claim, grew: self.inner.grew.subscribe() };
        *self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner).entry(claim).or_default() += 1;
        self.with_backend(|backend| async move { backend.follow(claim).await }).await?;
        Ok(follower)
    }
}

impl Follower {
    /// The claim whose output it follows.
    pub const fn claim(&self) -> ClaimId {
        self.claim
    }

    /// Returns when there is more output, or may be.
    pub async fn grown(&mut self) {
        while matches!(self.grew.recv().await, Ok(claim) if claim != self.claim) {}
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let inner = &self.executor.inner;
        let mut followers = inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = followers.get_mut(&self.claim) {
            *count -= 1;
            if *count == 0 {
                followers.remove(&self.claim);
                if let Some(backend) = inner.backend.borrow().as_ref() {
                    backend.unfollow(self.claim);
                }
            }
        }
    }
}
