//! An attempt's way through its processes: from its slot over the reading of its secrets to its end.

use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use serde_bytes::ByteBuf;

use super::Core;
use crate::failpoint;
use crate::keeper::capture::Capture;
use crate::keeper::pipes;
use crate::keeper::process::{self, signal_group};
use crate::keeper::protocol::{How, KeeperEnd, KeeperEvent, Launch, LaunchWork};
use crate::keeper::slots;
use crate::keeper::suspension::Suspension;
use crate::keeper::table::{BEGINS, Pipe, Running, StartedAhead};
use crate::keeper::warm::Worker;
use crate::output;
use crate::secret::{self, Mask, Value};
use crate::sys;
use crate::task::{ClaimId, Limits, Prepared};
use crate::time;

impl Core {
    pub(super) fn start(&mut self, launch: Launch) {
        let claim = launch.claim;
        let path = output::log_file(&self.home.output_dir(), launch.task_id, launch.attempt);
        failpoint::reach("keeper-before-start");
        let mut running = Box::new(Running {
            pid: None,
            pipes: Vec::new(),
            capture: Capture::new(path, self.log_cap),
            reading: None,
            worker: None,
            ahead: None,
            cold: false,
            order: None,
            kill_at: None,
            group: None,
            suspension: Suspension::default(),
            started_at: time::wall_ms(),
            started_mono: time::monotonic_ms(),
            launch,
        });
        self.table.untaken.push(KeeperEvent::Started {
            claim,
            task_id: running.launch.task_id,
            started_at: running.started_at,
        });
        match &running.launch.work {
            LaunchWork::Simulate { .. } => self.adopt(running),
            LaunchWork::Unrunnable { error } => {
                let how = How::NotRun { error: error.clone(), permanent: true };
                self.ended(running, how);
            }
            LaunchWork::Process(process) => {
                running.reading = (!process.secrets.is_empty()).then(ByteBuf::new);
                self.begin(running, &[]);
            }
        }
    }

    /// Starts the process of an attempt that has its slot: the one that reads its secrets, or its own with them.
    fn begin(&mut self, running: Box<Running>, secrets: &[Value]) {
        let Some(mut running) = self.hand_over(running) else { return };
        let LaunchWork::Process(own) = &running.launch.work else { return };
        let reader = running.reading.as_ref().map(|_| process::secrets_reader(own, &self.home));
        let launch = reader.as_ref().unwrap_or(own);
        let mark = match launch.prepared {
            Some(Prepared::Worker) => self.table.next_mark(),
            _ => running.launch.claim,
        };
        // What was there before has none.
        let wants_group = launch.prepared.is_none();
        let made = if wants_group { self.groups.make(running.launch.claim, &launch.limits) } else { Ok(None) };
        let (group, members) = match made {
            Ok(made) => made.unzip(),
            Err(error) => {
                let error = format!("no control group can be made: {error}");
                return self.ended(running, How::NotRun { error, permanent: false });
            }
        };
        let environment = self.table.environments.get(&launch.environment);
        self.slots.put(running.launch.claim);
        let before = slots::tick();
        let spare = if running.cold { None } else { self.warm.take(launch) };
        // One that waited was there before.
        let since = spare.as_ref().and_then(|spare| slots::start_time(spare.pid)).unwrap_or(before);
        match process::start(launch, environment, mark, secrets, &self.nothing, members.as_ref(), spare) {
            Ok(mut started) => {
                running.group = group;
                failpoint::reach("keeper-after-start");
                let (claim, since) = (running.launch.claim, since..=slots::tick());
                self.slots.started(claim, started.pid, &since);
                running.worker = Worker::of(launch, &mut started, mark, since);
                running.pid = Some(started.pid);
                running.ahead = started.mark.map(|mark| StartedAhead { mark, has_begun: false });
                running.pipes = started.pipes.into_iter().map(|(stream, fd)| (stream, Pipe(fd))).collect();
                // What it says that it begins on was polled for its being ready.
                let new = running.pipes.iter().filter(|(stream, _)| *stream != BEGINS);
                self.opened.extend(new.map(|(_, pipe)| pipe.as_raw_fd()));
                if running.worker.is_some() {
                    self.warm.workers.came(started.pid, mark);
                }
                if running.suspension.lasts() {
                    running.hold_still(true);
                }
                self.adopt(running);
                self.feed(claim);
            }
            Err(failed) => {
                if let Some(group) = group {
                    self.groups.end(group);
                }
                let error = running.capture.masked(failed.error);
                self.ended(running, How::NotRun { error, permanent: failed.permanent });
            }
        }
    }

    /// Goes on with an attempt whose secrets were read, or were not.
    fn secrets_read(&mut self, mut running: Box<Running>, said: &[u8]) {
        let error = match secret::answered(said) {
            _ if running.order.is_some() => "it was ended while its secrets were read".to_owned(),
            Ok(values) => {
                running.capture.mask(Mask::new(&values));
                return self.begin(running, &values);
            }
            Err(error) => error,
        };
        self.ended(running, How::NotRun { error, permanent: false });
    }

    /// Ends what the main process left behind, reads what it wrote, and goes on.
    pub(super) fn main_died(&mut self, pid: i32, claim: ClaimId) {
        // Before the pid is free: nothing of the group may stay.
        signal_group(pid, Signal::SIGKILL);
        let followed = self.table.followed.contains(&claim);
        let Some(mut running) = self.release(claim) else {
            sys::reap(pid);
            return;
        };
        if let Some(group) = running.group.take() {
            self.groups.end(group);
        }
        let room = self.has_memory();
        for (stream, pipe) in std::mem::take(&mut running.pipes) {
            let running = &mut running;
            let (orphans, mains, home, warm) = (&mut self.table.orphans, &self.mains, &self.home, &mut self.warm);
            pipes::drain(
                &pipe,
                &mut self.buffer,
                |bytes| running.take(stream, bytes, room),
                || orphans.sweep(mains, &home.lock(), warm),
            );
            self.closed.push(pipe);
        }
        let reaped = sys::reap(pid);
        let has_not_begun = running.order.is_none() && running.has_not_begun();
        running.cold |= has_not_begun && running.ahead.is_some();
        let said = match running.worker.take() {
            Some(worker) => self.last_words(&mut running, worker, reaped.as_ref()),
            None => None,
        };
        if running.reading.is_some() || has_not_begun {
            match running.reading.take() {
                Some(said) => self.secrets_read(running, &said),
                None => self.begin(running, &[]),
            }
            if followed && self.table.running.contains_key(&claim) {
                self.table.followed.insert(claim);
            }
            return;
        }
        let how = said.unwrap_or_else(|| match reaped {
            Some(reaped) => How::Process {
                exit_code: reaped.exit_code,
                signal: reaped.signal,
                cpu_us: reaped.cpu_us,
                max_rss: reaped.max_rss,
                // Only where it matters: the file is read.
                out_of_memory: running.order.is_none()
                    && reaped.signal == Some(Signal::SIGKILL as i32)
                    && self.oom_kills.any_since(),
            },
            None => How::NotRun { error: "the process was reaped by somebody else".to_owned(), permanent: false },
        });
        failpoint::reach("keeper-before-end");
        self.ended(running, how);
        failpoint::reach("keeper-after-end");
    }

    /// Notes the end of an attempt that has no slot any more.
    pub(super) fn ended(&mut self, running: Box<Running>, how: How) {
        let mut limits = Limits::default();
        if let LaunchWork::Process(process) = running.launch.work {
            limits = process.limits;
            for file in [process.script, process.stdin_file].into_iter().flatten() {
                // Left behind at worst: the folder is emptied when a keeper is proved dead.
                drop(std::fs::remove_file(file));
            }
        }
        let captured = running.capture.finish();
        let now = time::monotonic_ms();
        self.table.untaken.push(KeeperEvent::Ended(Box::new(KeeperEnd {
            claim: running.launch.claim,
            task_id: running.launch.task_id,
            attempt: running.launch.attempt,
            function: running.launch.function,
            started_at: running.started_at,
            finished_at: time::wall_ms(),
            run_ms: now - running.started_mono - running.suspension.total(now),
            timeout_ms: running.launch.timeout_ms,
            limits,
            order: running.order,
            how,
            frames: captured.frames,
            spilled: captured.spilled,
            dropped: i64::try_from(captured.dropped).unwrap_or(i64::MAX),
        })));
    }
}
