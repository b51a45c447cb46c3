//! Threads that run blocking calls, so that the caller can stop waiting for them.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// A pool of threads, which end when the pool is dropped. Clones share it.
///
/// One thread is enough for a caller that makes one call after another. It is kept, since starting a thread for each
/// poll would cost about as much as the poll itself.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Idle>);

/// The threads that wait for a job.
type Idle = Mutex<Vec<SyncSender<Job>>>;

/// The most threads that are kept. Others end with their job.
const MAX_IDLE: usize = 4;

/// Runs a call, then the argument, and then delivers the result of the call.
type Run = Box<dyn FnOnce(&mut dyn FnMut()) + Send>;

struct Job {
    run: Run,
    /// The thread's own channel. It travels with the job, so that the channel closes when the pool is dropped.
    worker: SyncSender<Job>,
}

/// Where a call leaves its result: the result itself, or `None` inside if the call has panicked.
///
/// A channel for each type of result would take much longer to compile.
struct Delivery<T> {
    result: Mutex<Option<Option<T>>>,
    ready: Condvar,
}

/// Delivers when it is dropped, so that a call that panics delivers as well.
struct Sender<T> {
    delivery: Arc<Delivery<T>>,
    result: Option<T>,
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // The caller may have stopped waiting.
        *self.delivery.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.result.take());
        self.delivery.ready.notify_one();
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The limit has passed. The call may still be running.
    TimedOut,
    /// The operating system has no thread for it. It was not started.
    NoThread(io::Error),
    /// It panicked.
    Panicked,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::TimedOut => f.write_str("timed out before the response was complete"),
            Stopped::NoThread(error) => write!(f, "failed to start a thread for the request: {error}"),
            Stopped::Panicked => f.write_str("the HTTP library panicked"),
        }
    }
}

impl Workers {
    /// Runs a call on another thread, and returns its result, unless the limit passes before.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let delivery = Arc::new(Delivery { result: Mutex::new(None), ready: Condvar::new() });
        let mut sender = Sender { delivery: Arc::clone(&delivery), result: None };
        self.submit(Box::new(move |release| {
            sender.result = Some(call());
            // Return to the pool first, so that the caller's next call finds this thread idle.
            release();
            drop(sender);
        }))
        .map_err(Stopped::NoThread)?;
        let result = delivery.result.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = delivery.ready.wait_timeout_while(result, limit, |result| result.is_none());
        let (mut result, _) = waited.unwrap_or_else(PoisonError::into_inner);
        result.take().ok_or(Stopped::TimedOut)?.ok_or(Stopped::Panicked)
    }

    fn submit(&self, run: Run) -> io::Result<()> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let run = match idle {
            Some(worker) => match worker.clone().send(Job { run, worker }) {
                Ok(()) => return Ok(()),
                Err(refused) => refused.0.run,
            },
            None => run,
        };
        let (worker, jobs) = mpsc::sync_channel(1);
        let idle = Arc::downgrade(&self.0);
        let first = Job { run, worker };
        let work = move || std::iter::once(first).chain(jobs).for_each(|job| job.run(&idle));
        thread::Builder::new().name("kling".to_owned()).spawn(work).map(drop)
    }
}

impl Job {
    fn run(self, idle: &Weak<Idle>) {
        let Job { run, worker } = self;
        let mut worker = Some(worker);
        run(&mut || {
            let Some(idle) = idle.upgrade() else { return worker = None };
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            let has_room = idle.len() < MAX_IDLE;
            idle.extend(worker.take().filter(|_| has_room));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn calls_in_turn_run_on_one_thread() {
        let workers = Workers::default();
        let threads = [(); 3].map(|()| workers.run(LONG, || thread::current().id()).unwrap());
        assert!(threads.iter().all(|id| *id == threads[0] && *id != thread::current().id()), "{threads:?}");
    }

    #[test]
    fn a_call_that_takes_too_long_does_not_hold_up_the_next_one() {
        let workers = Workers::default();
        let (end, ended) = channel::<()>();
        let stopped = workers.run(Duration::from_millis(1), move || ended.recv());
        assert!(matches!(stopped, Err(Stopped::TimedOut)), "{stopped:?}");
        assert_eq!(workers.run(LONG, || 7).unwrap(), 7);
        drop(end);
    }

    #[test]
    fn a_call_that_panics_does_not_hold_up_the_next_one() {
        let workers = Workers::default();
        let stopped = workers.run(LONG, || std::panic::resume_unwind(Box::new("a bug")));
        assert!(matches!(stopped, Err::<(), _>(Stopped::Panicked)), "{stopped:?}");
        assert_eq!(workers.run(LONG, || 7).unwrap(), 7);
    }

    #[test]
    fn a_few_threads_are_kept() {
        let workers = Workers::default();
        let all = std::sync::Barrier::new(MAX_IDLE + 2);
        let all = Arc::new(all);
        thread::scope(|scope| {
            for _ in 0..MAX_IDLE + 2 {
                let all = Arc::clone(&all);
                scope.spawn(|| workers.run(LONG, move || drop(all.wait())).unwrap());
            }
        });
        assert_eq!(workers.0.lock().unwrap().len(), MAX_IDLE);
    }

    #[test]
    fn idle_threads_end_with_the_pool() {
        struct Notify(mpsc::Sender<()>);
        impl Drop for Notify {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        thread_local!(static AT_EXIT: std::cell::RefCell<Option<Notify>> = const { std::cell::RefCell::new(None) });
        let (sender, ended) = channel();
        let workers = Workers::default();
        workers.run(LONG, || AT_EXIT.set(Some(Notify(sender)))).unwrap();
        assert!(ended.try_recv().is_err());
        drop(workers);
        ended.recv_timeout(LONG).unwrap();
    }
}
