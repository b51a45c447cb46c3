//! Threads that run blocking calls, so that the caller can stop waiting for them.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// A pool of threads, which end when the pool is dropped. Clones share it.
///
/// One thread is enough for a caller that makes one call after another. It is kept, since starting a thread for each
/// poll would cost about as much as the poll itself.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Idle>);

/// The threads that wait for a job. All are dropped with the pool.
type Idle = Mutex<Vec<Sender<Job>>>;

/// The most threads that are kept. Others end with their job.
const MAX_IDLE: usize = 4;

/// Runs a call, then the argument, and then sends the result of the call.
type Job = Box<dyn FnOnce(&mut dyn FnMut()) + Send>;

/// A channel for one value: the result of a call, or the next job of a thread.
///
/// Those of the standard library would take much longer to compile, once more for each type of value.
struct Channel<T> {
    /// The value, or `None` inside if its sender was dropped without it.
    value: Mutex<Option<Option<T>>>,
    ready: Condvar,
}

struct Sender<T> {
    channel: Arc<Channel<T>>,
    value: Option<T>,
}

impl<T> Channel<T> {
    fn new() -> (Sender<T>, Arc<Self>) {
        let channel = Arc::new(Channel { value: Mutex::new(None), ready: Condvar::new() });
        (Sender { channel: Arc::clone(&channel), value: None }, channel)
    }

    /// Waits for the value. It is `None` inside if its sender was dropped without it.
    fn receive_within(&self, limit: Duration) -> Option<Option<T>> {
        let waited = self.ready.wait_timeout_while(lock(&self.value), limit, |value| value.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn receive(&self) -> Option<T> {
        let waited = self.ready.wait_while(lock(&self.value), |value| value.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).take().flatten()
    }
}

impl<T> Sender<T> {
    fn send(mut self, value: T) {
        self.value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    /// Sends, also if a call has panicked. The caller may have stopped waiting.
    fn drop(&mut self) {
        *lock(&self.channel.value) = Some(self.value.take());
        self.channel.ready.notify_one();
    }
}

/// Locks, also after a panic: no code of ours leaves a value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (sender, channel) = Channel::new();
        self.submit(Box::new(move |release| {
            let result = call();
            // Return to the pool first, so that the caller's next call finds this thread idle.
            release();
            sender.send(result);
        }))
        .map_err(Stopped::NoThread)?;
        channel.receive_within(limit).ok_or(Stopped::TimedOut)?.ok_or(Stopped::Panicked)
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        let worker = lock(&self.0).pop();
        if let Some(worker) = worker {
            worker.send(job);
            return Ok(());
        }
        let idle = Arc::downgrade(&self.0);
        thread::Builder::new().name("kling".to_owned()).spawn(move || work(job, &idle)).map(drop)
    }
}

/// Runs a job, and then the next ones, until no more can come.
fn work(first: Job, idle: &Weak<Idle>) {
    let mut job = Some(first);
    while let Some(run) = job {
        let mut next = None;
        run(&mut || next = return_to(idle));
        job = next.and_then(|channel| channel.receive());
    }
}

/// Returns to the pool, if there is room, and returns the channel for the next job.
fn return_to(idle: &Weak<Idle>) -> Option<Arc<Channel<Job>>> {
    let idle = idle.upgrade()?;
    let mut idle = lock(&idle);
    if idle.len() == MAX_IDLE {
        return None;
    }
    let (sender, channel) = Channel::new();
    idle.push(sender);
    Some(channel)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::{self, channel};

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
        let all = Arc::new(Barrier::new(MAX_IDLE + 2));
        thread::scope(|scope| {
            for _ in 0..MAX_IDLE + 2 {
                let all = Arc::clone(&all);
                scope.spawn(|| workers.run(LONG, move || all.wait()).unwrap());
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
