//! A command at work: the state as it is becoming, and which entities were touched on the way. Dropping it undoes
//! everything.

use std::collections::BTreeSet;

use malha_zone::{Zone, ZoneChange};

use crate::change::{Change, Entity, EntityKey};
use crate::command::{Answer, Context, Rejection};
use crate::limits::MAX_CHANGES;
use crate::model::{RecordSource, Settings};
use crate::noun::Plenty;
use crate::state::State;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The state after it; the same revision as before if nothing had to change.
    pub state: State,
    /// What the store must write, each entity at most once, in the order of [`EntityKey`].
    pub changes: Vec<Change>,
    pub answer: Answer,
}

pub(crate) struct Draft<'a> {
    pub(crate) state: State,
    pub(crate) context: &'a Context,
    touched: BTreeSet<EntityKey>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(state: &State, context: &'a Context) -> Self {
        Self {
            state: state.clone(),
            context,
            touched: BTreeSet::new(),
        }
    }

    pub(crate) fn put(&mut self, entity: impl Into<Entity>) {
        let entity = entity.into();
        self.touched.insert(entity.key());
        self.state.put(entity);
    }

    pub(crate) fn delete(&mut self, key: EntityKey) {
        self.state.delete(&key);
        self.touched.insert(key);
    }

    /// Puts a whole zone; `change` says which of its sets differ.
    pub(crate) fn put_zone(&mut self, zone: Zone, change: &ZoneChange) {
        let origin = zone.origin().clone();
        let differing = change.removed.iter().chain(&change.added);
        for set in differing.filter(|set| set.source() == RecordSource::Operator) {
            self.touched.insert(EntityKey::RecordSet {
                zone: origin.clone(),
                name: set.name().clone(),
                rtype: set.rtype(),
            });
        }
        self.touched.insert(EntityKey::Zone(origin));
        self.state.zones = self.state.zones.with(zone);
    }

    /// A zone with all its sets comes or goes.
    pub(crate) fn touch_zone(&mut self, zone: &Zone) {
        let origin = zone.origin();
        self.touched.insert(EntityKey::Zone(origin.clone()));
        for set in zone
            .sets()
            .filter(|set| set.source() == RecordSource::Operator)
        {
            self.touched.insert(EntityKey::RecordSet {
                zone: origin.clone(),
                name: set.name().clone(),
                rtype: set.rtype(),
            });
        }
    }

    /// A number that no entity had before.
    pub(crate) fn next_id(&mut self) -> u64 {
        let mut settings: Settings = (*self.state.settings).clone();
        let id = settings.next_id;
        settings.next_id += 1;
        self.put(settings);
        id
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    pub(crate) fn finish(mut self, before: &State, answer: Answer) -> Result<Outcome, Rejection> {
        crate::policy::follow(&mut self.state, before, &self.touched);
        let changes: Vec<Change> = self
            .touched
            .iter()
            .filter_map(|key| change(before.entity(key), self.state.entity(key), key))
            .collect();
        if changes.len() > MAX_CHANGES {
            return Err(Rejection::Limit {
                what: Plenty::RecordsAtOnce,
                limit: MAX_CHANGES,
            });
        }
        if changes.is_empty() {
            return Ok(Outcome {
                state: before.clone(),
                changes,
                answer,
            });
        }
        self.state.revision = before.revision.next();
        Ok(Outcome {
            state: self.state,
            changes,
            answer,
        })
    }
}

fn change(before: Option<Entity>, after: Option<Entity>, key: &EntityKey) -> Option<Change> {
    match after {
        Some(after) => (before.as_ref() != Some(&after)).then_some(Change::Put(after)),
        None => before.map(|_| Change::Delete(key.clone())),
    }
}
