//! The question a batch asks, and what the answers say.
//!
//! First round: do any of the keys exist whose existence refuses, do any of those exist that
//! carry a date, the dated values, and the generation. The usual answer, nothing, needs no more.
//! Only when something stands against someone is a second question asked, per token. The
//! generation is always read last: a flush in the middle then shows as another generation, never
//! as an absence that looks like truth.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::answer;
use super::keys::{BatchKeys, KeySet, Names, TokenKeys};
use super::link::Link;
use crate::store::{Error, Found, Hit, Hits, Place};

/// The answers for every token of a batch.
#[derive(Debug)]
pub(super) struct Findings {
    generation: Option<Arc<str>>,
    /// Empty when nothing stands against anyone; else one list per token.
    hits: Vec<Vec<Hit>>,
}

impl Findings {
    /// What was found for the token at `place`.
    pub(super) fn of(&self, place: usize) -> Found {
        let hits = match self.hits.get(place) {
            Some(hits) if !hits.is_empty() => Hits::Some(hits.clone()),
            _ => Hits::None,
        };
        Found { generation: self.generation.clone(), hits }
    }
}

/// Asks for all tokens of a batch.
///
/// # Errors
///
/// Every way not to get exactly the answers that belong to the question.
pub(super) async fn ask(
    link: &Link,
    names: &Names,
    keys: &BatchKeys,
    deadline: Instant,
) -> Result<Findings, Error> {
    let first = link.ask(&first_question(names, keys), deadline).await?;
    if let Some(findings) = first_answer(keys, first)? {
        return Ok(findings);
    }
    let second = link.ask(&second_question(names, keys), deadline).await?;
    second_answer(keys, second)
}

fn first_question(names: &Names, keys: &BatchKeys) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(3);
    for set in [&keys.plain, &keys.dated] {
        if !set.is_empty() {
            pipeline.add_command(over("EXISTS", set, None));
        }
    }
    pipeline.add_command(over("MGET", &keys.dated, Some(&names.generation)));
    pipeline
}

/// `None` when the second question is needed.
fn first_answer(keys: &BatchKeys, values: Vec<Value>) -> Result<Option<Findings>, Error> {
    let mut values = Answers(values.into_iter());
    let plain = values.count_unless(keys.plain.is_empty())?;
    let dated = values.count_unless(keys.dated.is_empty())?;
    let (generation, strings) = values.dated_and_generation(keys)?;
    if plain > 0 {
        return Ok(None);
    }
    let present = strings.iter().flatten().count() as u64;
    if dated > present {
        return Ok(None); // A key exists whose value did not come back: find out whose.
    }
    let hits = if present == 0 {
        Vec::new()
    } else {
        keys.tokens().map(|token| dated_hits(&token, &strings)).collect()
    };
    Ok(Some(Findings { generation, hits }))
}

fn second_question(names: &Names, keys: &BatchKeys) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2 + 2 * keys.len());
    if !keys.plain.is_empty() {
        pipeline.add_command(over("MGET", &keys.plain, None));
    }
    for token in keys.tokens() {
        let plain = token.undated.iter().chain(token.extra);
        for (set, numbers) in
            [(&keys.plain, plain.copied().collect::<Vec<_>>()), (&keys.dated, token.dated.to_vec())]
        {
            if !numbers.is_empty() {
                let mut exists = redis::cmd("EXISTS");
                numbers.iter().filter_map(|number| set.key(*number)).for_each(|key| {
                    exists.arg(key);
                });
                pipeline.add_command(exists);
            }
        }
    }
    pipeline.add_command(over("MGET", &keys.dated, Some(&names.generation)));
    pipeline
}

fn second_answer(keys: &BatchKeys, values: Vec<Value>) -> Result<Findings, Error> {
    let mut values = Answers(values.into_iter());
    let plain = if keys.plain.is_empty() {
        Vec::new()
    } else {
        answer::strings(values.next()?, keys.plain.len())?
    };
    let mut counts = Vec::with_capacity(keys.len());
    for token in keys.tokens() {
        let plain = values.count_unless(token.undated.is_empty() && token.extra.is_empty())?;
        counts.push((plain, values.count_unless(token.dated.is_empty())?));
    }
    let (generation, dated) = values.dated_and_generation(keys)?;
    let hits = keys
        .tokens()
        .zip(counts)
        .map(|(token, (plain_count, dated_count))| {
            let mut hits = plain_hits(&token, &plain);
            let dated = dated_hits(&token, &dated);
            let unread = (plain_count > 0 && hits.is_empty()) || dated_count > dated.len() as u64;
            hits.extend(dated);
            if unread {
                hits.push(Hit { place: Place::Unknown, value: None });
            }
            hits
        })
        .collect();
    Ok(Findings { generation, hits })
}

fn plain_hits(token: &TokenKeys<'_>, values: &[Option<Vec<u8>>]) -> Vec<Hit> {
    let undated = hits(token.undated, values, Place::Undated);
    undated.chain(hits(token.extra, values, Place::Extra)).collect()
}

fn dated_hits(token: &TokenKeys<'_>, values: &[Option<Vec<u8>>]) -> Vec<Hit> {
    hits(token.dated, values, Place::Dated).collect()
}

fn hits<'a>(
    numbers: &'a [u32],
    values: &'a [Option<Vec<u8>>],
    place: fn(usize) -> Place,
) -> impl Iterator<Item = Hit> + 'a {
    numbers.iter().enumerate().filter_map(move |(i, number)| {
        let value = values.get(*number as usize)?.clone()?;
        Some(Hit { place: place(i), value: Some(value) })
    })
}

fn over(command: &str, keys: &KeySet, last: Option<&str>) -> Cmd {
    let mut cmd = Cmd::with_capacity(keys.len() + 2, keys.bytes() + 64);
    cmd.arg(command);
    for key in keys.iter() {
        cmd.arg(key);
    }
    if let Some(last) = last {
        cmd.arg(last);
    }
    cmd
}

/// The answers, read one after the other.
struct Answers(std::vec::IntoIter<Value>);

impl Answers {
    fn next(&mut self) -> Result<Value, Error> {
        self.0.next().ok_or(Error::Shape("an answer is missing"))
    }

    fn count_unless(&mut self, unasked: bool) -> Result<u64, Error> {
        if unasked { Ok(0) } else { answer::count(self.next()?) }
    }

    #[allow(clippy::type_complexity, reason = "two answers of one command")]
    fn dated_and_generation(
        &mut self,
        keys: &BatchKeys,
    ) -> Result<(Option<Arc<str>>, Vec<Option<Vec<u8>>>), Error> {
        let mut strings = answer::strings(self.next()?, keys.dated.len() + 1)?;
        let generation = strings.pop().flatten();
        Ok((generation.as_deref().map(generation_text), strings))
    }
}

/// A generation that is no text is still one, and differs from every id that we make.
pub(super) fn generation_text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
