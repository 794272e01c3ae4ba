//! An attempt on a worker: handing it over, and what becomes of the worker after its answer.

use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;

use super::Core;
use crate::failpoint;
use crate::keeper::pipes;
use crate::keeper::process::signal_group;
use crate::keeper::protocol::{How, LaunchWork};
use crate::keeper::table::Running;
use crate::keeper::warm::{Free, Worker};
use crate::output::{STDERR, STDOUT, VALUE};
use crate::sys::Reaped;
use crate::task::{ClaimId, Prepared};

/// What is kept of an answer at a time, in bytes.
const PART: usize = 64 * 1024;

impl Core {
    /// Gives the attempt to a worker that is free; back where there is none.
    pub(super) fn hand_over(&mut self, mut running: Box<Running>) -> Option<Box<Running>> {
        let free = match &running.launch.work {
            LaunchWork::Process(own) if own.prepared == Some(Prepared::Worker) => self.warm.workers.take(own),
            _ => None,
        };
        let Some(Free { pid, pipes, worker }) = free else { return Some(running) };
        let claim = running.launch.claim;
        self.slots.started(claim, pid, &worker.started);
        (running.pid, running.pipes, running.worker) = (Some(pid), pipes, Some(worker));
        self.adopt(running);
        self.feed(claim);
        None
    }

    /// Reads what the worker of an attempt has answered.
    pub(super) fn listen(&mut self, claim: ClaimId) {
        let worked_on = self.table.running.get(&claim).filter(|running| running.worker.is_some());
        let answers = worked_on.and_then(|running| running.pipes.iter().find(|(stream, _)| *stream == STDOUT));
        if let Some((_, pipe)) = answers {
            self.readable(pipe.as_raw_fd());
        }
    }

    /// Gives the worker of an attempt more of its line.
    pub(super) fn feed(&mut self, claim: ClaimId) {
        let Some(running) = self.table.running.get_mut(&claim) else { return };
        let (Some(worker), LaunchWork::Process(own)) = (&mut running.worker, &running.launch.work) else { return };
        match worker.feed(own) {
            Ok(Some(fd)) => {
                self.by_pipe.insert(fd, claim);
                self.opened.push(fd);
            }
            Ok(None) => {}
            Err(error) => running.give_up(format!("the worker cannot be given its task: {error}")),
        }
    }

    /// Looks whether a worker has answered: then the attempt has ended, and the worker is free.
    pub(super) fn hear(&mut self, claim: ClaimId) {
        let Some(running) = self.table.running.get_mut(&claim) else { return };
        let (Some(worker), Some(pid)) = (&running.worker, running.pid) else { return };
        if !worker.has_answered() {
            if !running.pipes.iter().any(|(stream, _)| *stream == STDOUT) {
                running.give_up("the worker closed its standard output before it answered".to_owned());
            }
            return;
        }
        let is_sound = matches!(&running.launch.work, LaunchWork::Process(own) if worker.is_sound(own));
        if running.order.is_some() || !is_sound {
            // Its death ends the attempt.
            return signal_group(pid, Signal::SIGKILL);
        }
        self.mains.remove(&pid);
        let Some(mut running) = self.release(claim) else { return };
        let room = self.has_memory();
        // What it wrote before it answered.
        let pipes = std::mem::take(&mut running.pipes);
        for (_, pipe) in pipes.iter().filter(|(stream, _)| *stream == STDERR) {
            pipes::drain(pipe, &mut self.buffer, |bytes| running.take(STDERR, bytes, room), || {});
        }
        let Some(mut worker) = running.worker.take() else { return };
        if let Ok(line) = worker.take_answer() {
            running.answered(&line, room);
        }
        self.warm.workers.rest(Free { pid, pipes, worker });
        failpoint::reach("keeper-before-end");
        self.ended(running, How::Answered);
        failpoint::reach("keeper-after-end");
    }

    /// What an attempt came to whose worker has died; none: as for any process.
    pub(super) fn last_words(
        &mut self,
        running: &mut Running,
        mut worker: Worker,
        reaped: Option<&Reaped>,
    ) -> Option<How> {
        self.closed.extend(worker.take_stdin());
        let fault = worker.fault.take();
        let room = self.has_memory();
        match worker.take_answer() {
            Ok(line) => {
                running.answered(&line, room);
                return Some(How::Answered);
            }
            Err(line) => running.capture.take(STDOUT, &line, room),
        }
        let failed = |error| How::NotRun { error, permanent: false };
        match (reaped?, fault) {
            (Reaped { signal: Some(by), .. }, Some(fault))
                if *by == Signal::SIGKILL as i32 && running.order.is_none() =>
            {
                Some(failed(fault))
            }
            (Reaped { exit_code: Some(0), .. }, _) => {
                Some(failed("the worker ended with exit code 0 before it answered".to_owned()))
            }
            _ => None,
        }
    }
}

impl Running {
    /// Ends a worker of which no answer can come.
    fn give_up(&mut self, fault: String) {
        if let (Some(worker), Some(pid)) = (&mut self.worker, self.pid) {
            worker.fault.get_or_insert(fault);
            signal_group(pid, Signal::SIGKILL);
        }
    }

    /// Keeps what a worker answered.
    fn answered(&mut self, line: &[u8], room: bool) {
        for part in line.chunks(PART) {
            self.capture.take(VALUE, part, room);
        }
    }
}
