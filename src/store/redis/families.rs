//! Refresh families in Redis: one hash per family, and one script for each thing that can happen to
//! it, by the store's own clock. A script reads and writes the family, the revocations that speak
//! about its login, the subject's list of sessions and the browser's session together, so that
//! nothing comes in between.
//!
//! Nothing is decided on a server that may have forgotten revocations which this gateway remembers:
//! a question waits until they are written back, and is asked again when a connection was made
//! meanwhile.
//!
//! A step whose answer was lost may have happened. Asked again, it recognises itself by its attempt
//! and answers what it did; a client's own retry is what the grace is for.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Script, Value};
use tokio::time::Instant;

use self::reading::{Reply, login_of};
use super::Redis;
use super::answer;
use super::keys::Names;
use super::link::{Arrivals, Link};
use crate::store::Error;
use crate::store::family::{
    AHEAD_MAX, Advanced, BY, Begun, Dead, Entries, FREE, KeptSession, Live, Login, NewFamily,
    RETRIES_MAX, Step, Terms, WAIT_MAX, why,
};
use crate::token::sha256_hex;

mod reading;
mod scripts;

/// The fields that say what a family is about; see [`login_of`].
const LOGIN: [&str; 7] = ["state", "subject", "client", "account", "known", "begun", "session"];

static SCRIPTS: LazyLock<Arc<Scripts>> = LazyLock::new(|| Arc::new(Scripts::on(scripts::CLOCK)));

/// Every script with the clock that it goes by.
struct Scripts {
    begin: Source,
    advance: Source,
    end: Source,
    look: Source,
    keep: Source,
}

/// A script's text and the name that a server knows it by once it has seen it.
struct Source {
    text: String,
    name: Script,
}

impl Scripts {
    fn on(clock: &str) -> Self {
        let ahead = format!("local AHEAD_MAX = {}\n", AHEAD_MAX.as_millis());
        let source = |parts: &[&str]| {
            let text = [&[clock, ahead.as_str()], parts].concat().concat();
            Source { name: Script::new(&text), text }
        };
        Self {
            begin: source(&[scripts::FAMILY, scripts::BEGIN]),
            advance: source(&[scripts::FAMILY, scripts::ADVANCE]),
            end: source(&[scripts::FAMILY, scripts::END]),
            look: source(&[scripts::FAMILY, scripts::LOOK]),
            keep: source(&[scripts::KEEP]),
        }
    }
}

/// The way to families, on a connection of its own.
pub(in crate::store) struct Families {
    link: Link,
    arrivals: Arc<Arrivals>,
    names: Arc<Names>,
    timeout: Duration,
    scripts: Arc<Scripts>,
}

impl Redis {
    /// The way to families; see [`crate::store::Store::families`].
    pub(in crate::store) fn families(&self) -> Families {
        let (connector, arrivals) = (Arc::clone(&self.connector), Arc::clone(&self.arrivals));
        Families {
            link: Link::start(connector, Arc::clone(&arrivals), self.timeout, false),
            arrivals,
            names: Arc::clone(&self.names),
            timeout: self.timeout,
            scripts: Arc::clone(&SCRIPTS),
        }
    }
}

impl Families {
    pub(in crate::store) async fn begin(
        &self,
        new: &NewFamily,
        terms: &Terms,
    ) -> Result<Begun, Error> {
        let mut call = Call::new(self, &self.scripts.begin, &new.login, terms);
        call.attempt(&new.current).text(&new.current);
        call.millis(terms.idle).millis(terms.lifetime).millis(WAIT_MAX);
        call.text(&terms.per_subject.to_string());
        let login = &new.login;
        for text in [&login.subject, &login.client, &login.account, &login.known] {
            call.text(text);
        }
        call.trace(&new.trace).text(new.login.session.as_deref().unwrap_or_default());
        call.bytes(new.refresh.as_deref().unwrap_or_default());
        Reply::of(call.run().await?)?.begun()
    }

    pub(in crate::store) async fn find(&self, sid: &str) -> Result<Result<Login, Dead>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(self.fields(sid));
        let answer = self.ask(&pipeline).await?.pop().unwrap_or_default();
        login_of(sid, answer)
    }

    pub(in crate::store) async fn advance(
        &self,
        login: &Login,
        step: &Step,
        terms: &Terms,
    ) -> Result<Advanced, Error> {
        let mut call = Call::new(self, &self.scripts.advance, login, terms);
        call.attempt(&step.next).text(&step.presented).text(&step.next).bytes(&step.sealed);
        call.millis(terms.grace).millis(FREE).text(&RETRIES_MAX.to_string());
        call.millis(terms.idle).millis(terms.lifetime);
        call.trace(&step.trace).text(&entry_head(Dead::Reused));
        Reply::of(call.run().await?)?.advanced()
    }

    pub(in crate::store) async fn end(&self, login: &Login, terms: &Terms) -> Result<bool, Error> {
        let mut call = Call::new(self, &self.scripts.end, login, terms);
        call.attempt(&format!("{:032x}", fastrand::u128(..))).text(&entry_head(Dead::Ended));
        Reply::of(call.run().await?)?.ended()
    }

    pub(in crate::store) async fn look(
        &self,
        sid: &str,
        terms: &Terms,
    ) -> Result<Result<Live, Dead>, Error> {
        let login = match self.find(sid).await? {
            Ok(login) => login,
            Err(dead) => return Ok(Err(dead)),
        };
        Reply::of(self.looking(&login, terms).run().await?)?.live(login)
    }

    pub(in crate::store) async fn sids(&self, subject: &str) -> Result<Vec<String>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("ZRANGE").arg(self.subject_key(subject)).arg(0).arg(-1);
        reading::texts(self.ask(&pipeline).await?.pop().unwrap_or_default())
    }

    pub(in crate::store) async fn list(
        &self,
        subject: &str,
        terms: &Terms,
    ) -> Result<Vec<Live>, Error> {
        let sids = self.sids(subject).await?;
        if sids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(sids.len());
        sids.iter().for_each(|sid| {
            pipeline.add_command(self.fields(sid));
        });
        let mut logins = Vec::with_capacity(sids.len());
        for (sid, answer) in sids.iter().zip(self.ask(&pipeline).await?) {
            // The list is a way to find families; whose one is, is the family's own word.
            logins.extend(login_of(sid, answer)?.ok().filter(|login| login.subject == subject));
        }
        let look = &self.scripts.look;
        let mut pipeline = Pipeline::with_capacity(logins.len() + 1);
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&look.text);
        for login in &logins {
            pipeline
                .add_command(self.looking(login, terms).command("EVALSHA", look.name.get_hash()));
        }
        let answers = self.ask(&pipeline).await?.into_iter().skip(1);
        let mut live = Vec::with_capacity(logins.len());
        for (login, answer) in logins.into_iter().zip(answers) {
            live.extend(Reply::of(answer::checked(answer)?)?.live(login)?.ok());
        }
        Ok(live)
    }

    pub(in crate::store) async fn session(&self, hash: &str) -> Result<Option<KeptSession>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        let key = format!("{}{hash}", self.names.session);
        pipeline.cmd("HMGET").arg(key).arg(&["sid", "turn", "refresh", "access"]);
        reading::session(self.ask(&pipeline).await?.pop().unwrap_or_default())
    }

    pub(in crate::store) async fn keep_access(
        &self,
        hash: &str,
        turn: u64,
        access: &[u8],
    ) -> Result<bool, Error> {
        let key = format!("{}{hash}", self.names.session);
        let script = &self.scripts.keep;
        let command = |verb: &str, script: &str| {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(1).arg(&key).arg(turn).arg(access);
            command
        };
        Ok(answer::count(self.run(script, command).await?)? > 0)
    }

    /// A run that changes nothing.
    fn looking<'c>(&'c self, login: &Login, terms: &Terms) -> Call<'c> {
        let mut call = Call::new(self, &self.scripts.look, login, terms);
        call.attempt("").millis(terms.lifetime);
        call
    }

    fn fields(&self, sid: &str) -> Cmd {
        let mut command = redis::cmd("HMGET");
        command.arg(format!("{}{sid}", self.names.family)).arg(&LOGIN);
        command
    }

    fn subject_key(&self, subject: &str) -> String {
        format!("{}{}", self.names.subject, sha256_hex(subject.as_bytes()))
    }

    /// Runs a script by its name, and by its text where the server does not know it.
    async fn run(
        &self,
        script: &Source,
        command: impl Fn(&str, &str) -> Cmd,
    ) -> Result<Value, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command("EVALSHA", script.name.get_hash()));
        let single = |mut answers: Vec<Value>| answer::checked(answers.pop().unwrap_or_default());
        match self.ask(&pipeline).await.and_then(single) {
            Err(Error::Answer(code)) if &*code == "NOSCRIPT" => {}
            answer => return answer,
        }
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command("EVAL", &script.text));
        self.ask(&pipeline).await.and_then(single)
    }

    async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut lost = false;
        loop {
            self.link.settled()?;
            let arrivals = self.arrivals.asserted(deadline).await?;
            match self.link.ask(pipeline, deadline).await {
                // The server restarted or closed an idle connection. Every script bears repetition.
                Err(Error::Lost) if !lost => lost = true,
                Ok(_) if self.arrivals.count() != arrivals => {}
                answers => return answers,
            }
        }
    }
}

/// The JSON of a blocklist entry up to the time at which it was made.
fn entry_head(dead: Dead) -> String {
    format!(r#"{{"reason":"{}","by":"{BY}","at":"#, why(dead))
}

/// One run of a script on a family, with the keys and arguments that all of them take.
struct Call<'c> {
    families: &'c Families,
    script: &'c Source,
    keys: [String; 9],
    arguments: Vec<Vec<u8>>,
}

impl<'c> Call<'c> {
    fn new(families: &'c Families, script: &'c Source, login: &Login, terms: &Terms) -> Self {
        let names = &families.names;
        let entries = Entries::of(login, terms);
        let family = format!("{}{}", names.family, login.sid);
        let session = match &login.session {
            Some(hash) => format!("{}{hash}", names.session),
            None => family.clone(),
        };
        let entry = |suffix: &str| format!("{}{suffix}", names.entry);
        let answer = format!("{family}:answer");
        let keys = [
            family,
            entry(&entries.sub),
            entry(&entries.client),
            entry(&entries.sid),
            entry(&entries.issuer),
            names.index.clone(),
            families.subject_key(&login.subject),
            session,
            answer,
        ];
        // Whole seconds, upwards: the entry must not end before the last access token.
        let barred = terms.barred.as_secs().saturating_add(1).to_string();
        let has_session = if login.session.is_some() { "1" } else { "" };
        let arguments = [login.sid.as_str(), &entries.sid, &barred, has_session];
        let arguments = arguments.map(|argument| argument.as_bytes().to_vec()).to_vec();
        Self { families, script, keys, arguments }
    }

    /// What this attempt is recognised by, should it have to be made again.
    fn attempt(&mut self, id: &str) -> &mut Self {
        self.text(id)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.arguments.push(bytes.to_vec());
        self
    }

    fn millis(&mut self, span: Duration) -> &mut Self {
        self.text(&span.as_millis().to_string())
    }

    fn trace(&mut self, trace: &crate::store::family::Trace) -> &mut Self {
        self.text(&trace.mark).text(&trace.address).text(&trace.user_agent)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }

    async fn run(&self) -> Result<Value, Error> {
        let command = |verb: &str, script: &str| self.command(verb, script);
        self.families.run(self.script, command).await
    }
}

#[cfg(test)]
impl Families {
    /// The same on a clock that a test sets: milliseconds under the key `clock`.
    pub(in crate::store) fn on_clock_of_test(mut self) -> Self {
        self.scripts = Arc::new(Scripts::on(scripts::CLOCK_OF_TEST));
        self
    }
}
