//! Queue time: the clock of everything that is due.
//!
//! Advances with `CLOCK_BOOTTIME` within a boot and by `max(0, wall difference)` across boots, so a
//! clock that is set by a year fires nothing and parks nothing.

use sqlx::SqliteConnection;

use super::error::QueueError;
use crate::time;

/// Translates boot time to queue time in this process.
#[derive(Debug, Clone)]
pub struct QueueClock {
    boot: String,
    /// Queue time at boot time 0 of this boot, in ms.
    offset_ms: i64,
}

impl QueueClock {
    /// Reads the stored row and finds the present from it.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, QueueError> {
        let stored: Option<(i64, String, i64, i64)> =
            sqlx::query_as("SELECT queue_ms, boot, boottime_ms, wall_ms FROM clock WHERE id = 1")
                .fetch_optional(&mut *connection)
                .await?;
        let boot = time::boot_id();
        let boottime = time::boottime_ms();
        let now = match stored {
            None => 0,
            Some((queue, stored_boot, stored_boottime, _)) if stored_boot == boot => {
                queue + (boottime - stored_boottime).max(0)
            }
            Some((queue, _, _, wall)) => queue + (time::wall_ms() - wall).max(0),
        };
        Ok(Self { boot, offset_ms: now - boottime })
    }

    /// The boot that the stored row was written in, if any.
    pub(super) async fn stored_boot(connection: &mut SqliteConnection) -> Result<Option<String>, QueueError> {
        Ok(sqlx::query_scalar("SELECT boot FROM clock WHERE id = 1").fetch_optional(connection).await?)
    }

    /// Now, in queue time.
    pub fn now(&self) -> i64 {
        time::boottime_ms() + self.offset_ms
    }

    /// The boot time (ms) at which it will be `queue_ms`; for a timer on `CLOCK_BOOTTIME`.
    pub fn boottime_of(&self, queue_ms: i64) -> i64 {
        queue_ms - self.offset_ms
    }

    /// The wall clock's reading at `queue_ms`, if it is not set until then; for display.
    pub fn wall_of(&self, queue_ms: i64) -> i64 {
        time::wall_ms() + (queue_ms - self.now())
    }

    pub(super) async fn store(&self, connection: &mut SqliteConnection) -> Result<(), QueueError> {
        sqlx::query(
            "INSERT INTO clock (id, queue_ms, boot, boottime_ms, wall_ms) VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET queue_ms = ?1, boot = ?2, boottime_ms = ?3, wall_ms = ?4",
        )
        .bind(self.now())
        .bind(&self.boot)
        .bind(time::boottime_ms())
        .bind(time::wall_ms())
        .execute(connection)
        .await?;
        Ok(())
    }
}
