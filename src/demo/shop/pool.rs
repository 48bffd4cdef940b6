//! The shop's workers: a fixed number of threads fed by one queue, first come, first served.
//!
//! A worker is held for as long as its request's database query takes, and prepares the page meanwhile.
//! So the highest rate is the number of workers over the mean length of a query, whatever else the
//! machine does, as long as preparing a page takes less time than its query.
//!
//! A query begins when its worker was due to be free, not when the machine got round to waking it: a worker
//! that overslept has its database's answer the sooner next time. So other work on the machine does not
//! lower the ceiling, up to [`FORGIVEN`].
//!
//! Invariant: never more than [`QUEUE_LIMIT`] requests wait; what comes then is refused at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use axum::response::Response;
use tokio::sync::oneshot;

use super::super::clock;

/// How many requests may wait for a worker.
pub(crate) const QUEUE_LIMIT: usize = 20_000;

/// How much a worker may oversleep before it counts.
const FORGIVEN: Duration = Duration::from_millis(20);

/// A request for a worker.
pub(crate) struct Job {
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// How long the database takes, and so the least time for which a worker is held.
    pub(crate) query: Duration,
    /// Prepares the answer.
    pub(crate) work: Box<dyn FnOnce() -> Response + Send>,
    /// Where the answer goes when the database is done.
    pub(crate) reply: oneshot::Sender<Response>,
}

/// The pool. It lives as long as the process.
#[derive(Clone)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    arrived: Condvar,
}

impl Pool {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// When the machine gives no more threads.
    pub(crate) fn start(workers: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for number in 0..workers {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || queue.serve())?;
        }
        Ok(Self { queue })
    }

    /// Queues a job; `false` when the queue is full, and the job is dropped.
    pub(crate) fn submit(&self, job: Job) -> bool {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= QUEUE_LIMIT {
            return false;
        }
        waiting.push_back(job);
        drop(waiting);
        self.queue.arrived.notify_one();
        true
    }
}

impl Queue {
    fn serve(&self) -> ! {
        let mut free_from = clock::now();
        loop {
            let job = self.next();
            let answered = free_from.max(job.asked) + job.query;
            let response = (job.work)();
            clock::sleep_until(answered);
            free_from = answered.max(clock::now() - FORGIVEN);
            // Who asked may have gone away; the worker was held all the same.
            let _ = job.reply.send(response);
        }
    }

    fn next(&self) -> Job {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = waiting.pop_front() {
                return job;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
