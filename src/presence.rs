//! Notices when the home is taken away under the daemon: deleted, moved, or another queue put in the place of its own.
//!
//! The kernel tells of it (inotify) to a thread that sleeps else; what the kernel does not tell, a folder above that was
//! renamed, the next commit finds.

use std::io;
use std::thread;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::oneshot;

use crate::home::{Home, Place};

/// Resolves when the home, in which the queue is, is gone.
pub async fn ends(home: &Home) {
    match watch(home) {
        Ok(gone) => drop(gone.await),
        // It went before it could be watched.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(err = %error, "the home is not watched: that it is gone is noticed at the next commit");
            std::future::pending().await
        }
    }
}

/// What it gives is told when the home is gone; never where the watch breaks.
fn watch(home: &Home) -> io::Result<oneshot::Receiver<()>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let leaves = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
    let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(home.root(), leaves | itself)?;
    let queue = Place::of(&home.database())?;
    let (gone, told) = oneshot::channel();
    thread::Builder::new().name("presence".to_owned()).stack_size(64 * 1024).spawn(move || {
        while queue.is_kept() {
            match inotify.read_events() {
                // Any of them may have been the queue's.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!(err = %error, "the home is watched no more");
                    return std::mem::forget(gone);
                }
            }
        }
        // The daemon may be ending already.
        let _ = gone.send(());
    })?;
    Ok(told)
}
