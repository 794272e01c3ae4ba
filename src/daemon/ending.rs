//! The end in order.

use std::time::Duration;

use super::signals::Signals;
use crate::executor::Executor;
use crate::hooks::Hooks;
use crate::server::Ending;

/// Ends what runs, and lets hooks tell what they are telling; a second signal makes the grace 0.
pub(super) async fn end(
    executor: &Executor,
    hooks: &Hooks,
    grace: Duration,
    grace_ms: Option<i64>,
    signals: &mut Signals,
) {
    let ending = async { tokio::join!(executor.shut_down(grace_ms), hooks.finish(grace)).0 };
    tokio::pin!(ending);
    loop {
        tokio::select! {
            ended = &mut ending => {
                if let Err(error) = ended {
                    tracing::error!(err = %error, "not everything that ran could be ended in order");
                }
                return;
            }
            told = signals.next() => if told != Ending::Replace {
                hooks.hurry();
                executor.hurry().await;
            },
        }
    }
}
