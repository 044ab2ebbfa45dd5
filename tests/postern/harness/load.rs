//! Valid requests all the time: whatever is not 200 is a failure.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::Endpoint;
use super::eventually;
use super::gateway::Gateway;

#[derive(Default)]
struct Shared {
    /// Held for reading during a request, so that whoever writes knows that none is under way.
    tokens: RwLock<Vec<String>>,
    served: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Threads that send `GET /api/x`, each on a connection of its own, with every token in turn.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts it with the tokens that are valid at first.
    pub fn start(gateway: &Gateway, threads: usize, tokens: Vec<String>) -> Self {
        assert!(!tokens.is_empty());
        let shared = Arc::new(Shared { tokens: RwLock::new(tokens), ..Shared::default() });
        let threads = (0..threads)
            .map(|number| {
                let (shared, endpoint) = (shared.clone(), gateway.https());
                std::thread::spawn(move || send(&shared, &endpoint, number))
            })
            .collect();
        Self { shared, threads }
    }

    /// This token is valid now, too.
    pub fn add(&self, token: String) {
        self.shared.tokens.write().unwrap().push(token);
    }

    /// Only these tokens are valid from now on: no request with another is under way afterwards.
    pub fn replace(&self, tokens: Vec<String>) {
        assert!(!tokens.is_empty());
        *self.shared.tokens.write().unwrap() = tokens;
    }

    /// Waits for `count` further answers.
    pub fn flows(&self, count: usize) {
        let before = self.shared.served.load(Ordering::SeqCst);
        eventually("requests flow", Duration::from_secs(30), || {
            self.shared.served.load(Ordering::SeqCst) >= before + count
        });
    }

    /// Stops; how many requests were served. Fails when one of them was not.
    pub fn end(self) -> usize {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let wrong = self.shared.wrong.lock().unwrap();
        let served = self.shared.served.load(Ordering::SeqCst);
        assert!(wrong.is_empty(), "{} of {served} failed: {:#?}", wrong.len(), wrong.first());
        served
    }
}

fn send(shared: &Shared, endpoint: &Endpoint, number: usize) {
    let mut connection = None;
    let mut turn = number;
    while !shared.stop.load(Ordering::SeqCst) {
        // Many, but not all that the machine can do: other tests run as well.
        std::thread::sleep(Duration::from_millis(1));
        let tokens = shared.tokens.read().unwrap();
        let request = endpoint.request("GET", "/api/x").bearer(&tokens[turn % tokens.len()]);
        turn += 1;
        let answer = request.on(connection.get_or_insert_with(|| endpoint.connect()));
        drop(tokens);
        shared.served.fetch_add(1, Ordering::SeqCst);
        let problem = match answer {
            Ok(answer) if answer.status == 200 => continue,
            Ok(answer) => format!("{} {:?}", answer.status, answer.headers),
            Err(why) => why,
        };
        connection = None;
        shared.wrong.lock().unwrap().push(problem);
    }
}
