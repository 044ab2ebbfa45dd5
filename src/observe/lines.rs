//! Lines on their way out, written by a thread of its own: a slow disk, a full pipe or a reader
//! that has stopped reading never holds a request up. The queue is bounded; lines that do not fit
//! are counted, not waited for.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that may wait for the writer.
const QUEUE_LINES: usize = 8192;
/// The way to one file or stream.
#[derive(Debug)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
}

/// Ends the writer: after [`Lines::close`] joining this writes what is queued.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Waits until every queued line has been written. The [`Lines`] must be closed or gone.
    pub fn join(self) {
        let _ = self.0.join();
    }

    /// Whether every queued line has been written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Lines {
    /// Starts the writer, as a thread of this name. What was written is flushed once nothing has
    /// come for `quiet`: zero shows each line at once, more saves system calls.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        name: &str,
        sink: Box<dyn Write + Send>,
        quiet: Duration,
    ) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_all(&lines, BufWriter::with_capacity(64 * 1024, sink), quiet))?;
        Ok((Self { queue, dropped: AtomicU64::new(0) }, Writer(thread)))
    }

    /// Queues one line with its line break.
    pub fn push(&self, line: Vec<u8>) {
        if !line.is_empty() && self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the log: what is queued is still written, what comes later is not. Waits for room in
    /// the queue.
    pub fn close(&self) {
        let _ = self.queue.send(Vec::new());
    }

    /// As [`Lines::close`], unless the queue is full; whether it was closed.
    #[must_use]
    pub fn try_close(&self) -> bool {
        self.queue.try_send(Vec::new()).is_ok()
    }

    /// Lines that did not fit into the queue since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write_all(
    lines: &Receiver<Vec<u8>>,
    mut sink: BufWriter<Box<dyn Write + Send>>,
    quiet: Duration,
) {
    let mut dirty = false;
    loop {
        let next = if dirty {
            lines.recv_timeout(quiet)
        } else {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match next {
            Ok(line) if line.is_empty() => break,
            Ok(line) => dirty = sink.write_all(&line).is_ok(),
            Err(RecvTimeoutError::Timeout) => dirty = sink.flush().is_err(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let _ = sink.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A reader that reads nothing until it is told to.
    struct Stuck {
        go: Arc<Mutex<Receiver<()>>>,
        read: Sender<usize>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.lock().unwrap().recv();
            self.read.send(bytes.len()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nobody_up() {
        let (told, go) = channel();
        let (read, lengths) = channel();
        let sink = Stuck { go: Arc::new(Mutex::new(go)), read };
        let (lines, writer) = Lines::start("test", Box::new(sink), Duration::ZERO).unwrap();
        // More than queue and buffer hold together; every call returns at once.
        for _ in 0..2 * QUEUE_LINES {
            lines.push(vec![b'x'; 100]);
        }
        assert!(lines.dropped() > 0 && !lines.try_close());
        drop(told);
        lines.close();
        writer.join();
        let written: usize = lengths.iter().sum();
        assert_eq!(written as u64 / 100 + lines.dropped(), 2 * QUEUE_LINES as u64);
    }
}
