//! The question a batch asks of a cluster, and what the answers say.
//!
//! One command per key, so that a slot on its way costs a redirection and not a refusal:
//! `EXISTS` for keys whose existence refuses, `GET` for those whose value decides; then, per slot,
//! its marker. A node that cannot be asked fails only the tokens that have a key there.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::generation::Markers;
use super::router::{Group, Kind, Router};
use super::slot;
use crate::store::redis::answer;
use crate::store::redis::keys::{BatchKeys, KeySet, TokenKeys};
use crate::store::redis::lookup::generation_text;
use crate::store::{Error, Found, Hit, Hits, Place};

/// Where a key is asked for: its group, and its command there.
type Spot = (usize, usize);

/// Which command asks for which key.
#[derive(Default)]
struct Plan {
    groups: Vec<Group>,
    by_slot: HashMap<u16, usize>,
    plain: Vec<Spot>,
    dated: Vec<Spot>,
}

/// What the groups answered: the marker comes last in each.
struct Answers<'a> {
    plan: &'a Plan,
    answers: Vec<Result<Vec<Value>, Error>>,
}

/// Asks for all tokens of a batch; the answers are in their order.
pub(in crate::store::redis) async fn ask(
    router: &Router,
    markers: &Markers,
    keys: &BatchKeys,
    deadline: Instant,
) -> Vec<Result<Found, Error>> {
    let plan = Plan::of(markers, keys);
    let answers = router.ask(&plan.groups, deadline).await;
    let answers = Answers { plan: &plan, answers };
    keys.tokens().map(|token| answers.of(&token)).collect()
}

impl Plan {
    fn of(markers: &Markers, keys: &BatchKeys) -> Self {
        let mut plan = Self::default();
        plan.plain = plan.add("EXISTS", &keys.plain);
        plan.dated = plan.add("GET", &keys.dated);
        for group in &mut plan.groups {
            group.commands.push(markers.read(group.slot));
        }
        plan
    }

    fn add(&mut self, command: &str, keys: &KeySet) -> Vec<Spot> {
        let mut spots = Vec::with_capacity(keys.len());
        for key in keys.iter() {
            let slot = slot::of(key);
            let place = *self.by_slot.entry(slot).or_insert(self.groups.len());
            if place == self.groups.len() {
                self.groups.push(Group { slot, commands: Vec::new(), kind: Kind::Lookup });
            }
            if let Some(group) = self.groups.get_mut(place) {
                spots.push((place, group.commands.len()));
                let mut cmd = Cmd::with_capacity(2, key.len() + command.len());
                cmd.arg(command).arg(key);
                group.commands.push(cmd);
            }
        }
        spots
    }
}

impl Answers<'_> {
    /// What stands against one token. A refusal holds even where another node cannot be asked.
    fn of(&self, token: &TokenKeys<'_>) -> Result<Found, Error> {
        let mut token = Reading { answers: self, keys: *token, hits: Vec::new(), trouble: None };
        let generation = token.read();
        match token.trouble {
            Some(error) if token.hits.is_empty() => Err(error),
            trouble => {
                let refuses = |hit: &Hit| !matches!(hit.place, Place::Dated(_));
                match trouble {
                    Some(error) if !token.hits.iter().any(refuses) => Err(error),
                    _ if token.hits.is_empty() => Ok(Found { generation, hits: Hits::None }),
                    _ => Ok(Found { generation, hits: Hits::Some(token.hits) }),
                }
            }
        }
    }

    fn value(&self, spot: Option<&Spot>) -> Result<&Value, Error> {
        let missing = || Error::Shape("an answer is missing");
        let (group, command) = spot.ok_or_else(missing)?;
        let answers = self.answers.get(*group).ok_or_else(missing)?;
        answers.as_ref().map_err(Clone::clone)?.get(*command).ok_or_else(missing)
    }

    /// The marker of the slot that the spot lies in.
    fn marker(&self, spot: Option<&Spot>) -> Result<Option<Arc<str>>, Error> {
        let last = spot.and_then(|(group, _)| {
            let commands = self.plan.groups.get(*group)?.commands.len();
            Some((*group, commands.checked_sub(1)?))
        });
        let value = self.value(last.as_ref())?.clone();
        Ok(answer::string(value)?.as_deref().map(generation_text))
    }
}

/// One token's answers being read.
struct Reading<'a> {
    answers: &'a Answers<'a>,
    keys: TokenKeys<'a>,
    hits: Vec<Hit>,
    trouble: Option<Error>,
}

impl Reading<'_> {
    /// Reads everything; the generation that all the token's slots agree on.
    fn read(&mut self) -> Option<Arc<str>> {
        let plan = self.answers.plan;
        let mut generations: Vec<Option<Arc<str>>> = Vec::new();
        let undated: fn(usize) -> Place = Place::Undated;
        let lists: [(&[u32], &[Spot], fn(usize) -> Place); 3] = [
            (self.keys.undated, &plan.plain, undated),
            (self.keys.extra, &plan.plain, Place::Extra),
            (self.keys.dated, &plan.dated, Place::Dated),
        ];
        for (numbers, spots, place) in lists {
            for (at, number) in numbers.iter().enumerate() {
                let spot = spots.get(*number as usize);
                match self.hit(spot, place(at)) {
                    Ok(hit) => self.hits.extend(hit),
                    Err(error) => self.trouble = Some(error),
                }
                match self.answers.marker(spot) {
                    Ok(generation) if generations.contains(&generation) => {}
                    Ok(generation) => generations.push(generation),
                    Err(error) => self.trouble = Some(error),
                }
            }
        }
        match generations.as_mut_slice() {
            [one] => one.take(),
            _ => None,
        }
    }

    fn hit(&self, spot: Option<&Spot>, place: Place) -> Result<Option<Hit>, Error> {
        match (place, self.answers.value(spot)?) {
            (_, Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                // It is there, and no value that could be read.
                Ok(Some(Hit { place, value: None }))
            }
            (Place::Dated(_), value) => {
                let value = answer::string(value.clone())?;
                Ok(value.map(|value| Hit { place, value: Some(value) }))
            }
            (_, value) => {
                let exists = answer::count(value.clone())? > 0;
                Ok(exists.then_some(Hit { place, value: None }))
            }
        }
    }
}
