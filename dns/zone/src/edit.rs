//! Edits of a zone: a batch becomes a new zone and the journal entry that leads there, or is refused
//! as a whole. It never bumps a serial for an edit that changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::ZoneChange;
use crate::key::NameKey;
use crate::name::RecordName;
use crate::rdata::RecordData;
use crate::rtype::RecordType;
use crate::rules;
use crate::set::{RecordSet, Source};
use crate::soa::Soa;
use crate::zone::{Zone, ZoneError};

/// Most edits of one batch.
pub const MAX_EDITS: usize = 10_000;

/// One wish of an operator or a route. Its source must own the set it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Makes this the set of its name and type; its own [`RecordSet::source`] is who asks.
    Put(RecordSet),
    /// Removes the set of this name and type; nothing happens when there is none.
    Delete {
        name: RecordName,
        #[serde(rename = "type")]
        rtype: RecordType,
        #[serde(default)]
        source: Source,
    },
}

impl Zone {
    /// The zone after all `edits`, with its serial bumped once if anything differs.
    ///
    /// Ownership is checked edit by edit; the rules of DNS on the result, so a batch may swap a
    /// CNAME for addresses in either order: a CNAME stands alone and never at the apex, the apex keeps
    /// an NS set, below a delegation stands only glue, every name is inside the zone.
    pub fn edit(&self, edits: &[Edit]) -> Result<(Self, ZoneChange), ZoneError> {
        if edits.len() > MAX_EDITS {
            return Err(ZoneError::TooManyEdits { count: edits.len() });
        }
        let mut draft = Draft::of(self);
        for edit in edits {
            draft.apply(edit)?;
        }
        rules::check_touched(&draft.zone, &draft.touched())?;
        Ok(draft.finish(self))
    }

    /// The zone with other SOA settings.
    pub fn with_soa(&self, soa: Soa) -> Result<(Self, ZoneChange), ZoneError> {
        rules::check_soa(&soa)?;
        let mut change = no_change(self);
        if soa == *self.soa {
            return Ok((self.clone(), change));
        }
        let mut zone = self.clone();
        zone.soa = Arc::new(soa);
        zone.serial = self.serial.next();
        change.new_serial = zone.serial;
        change.removed.push(self.soa_set());
        change.added.push(zone.soa_set());
        Ok((zone, change))
    }

    /// The zone after a journal entry that was made from exactly this state.
    pub fn replay(&self, change: &ZoneChange) -> Result<Self, ZoneError> {
        if change.zone != *self.origin {
            return Err(ZoneError::OtherZone {
                zone: self.origin.to_string(),
                found: change.zone.to_string(),
            });
        }
        let moves_on = change.is_empty() || change.new_serial.is_newer_than(change.old_serial);
        if change.old_serial != self.serial || !moves_on {
            return Err(ZoneError::JournalGap {
                old: change.old_serial,
                new: change.new_serial,
                current: self.serial,
            });
        }
        let mut draft = Draft::of(self);
        for set in &change.removed {
            draft.replay_removed(set)?;
        }
        for set in &change.added {
            draft.replay_added(set)?;
        }
        rules::check_touched(&draft.zone, &draft.touched())?;
        draft.zone.serial = change.new_serial;
        Ok(draft.zone)
    }
}

/// A zone under edit and, for each set touched, what stood there before.
struct Draft {
    zone: Zone,
    before: BTreeMap<(NameKey, RecordType), Option<Arc<RecordSet>>>,
}

impl Draft {
    fn of(zone: &Zone) -> Self {
        Self {
            zone: zone.clone(),
            before: BTreeMap::new(),
        }
    }

    fn apply(&mut self, edit: &Edit) -> Result<(), ZoneError> {
        match edit {
            Edit::Put(set) => {
                let set = set.clone().relative_to(&self.zone.origin)?;
                self.check_owner(set.name(), set.rtype(), set.source())?;
                self.put(set);
            }
            Edit::Delete {
                name,
                rtype,
                source,
            } => {
                let name = name.relative_to(&self.zone.origin)?;
                self.check_owner(&name, *rtype, *source)?;
                self.delete(&name, *rtype);
            }
        }
        Ok(())
    }

    fn check_owner(
        &self,
        name: &RecordName,
        rtype: RecordType,
        source: Source,
    ) -> Result<(), ZoneError> {
        if rtype == RecordType::Soa {
            return Err(ZoneError::SoaIsDerived {
                zone: self.zone.origin.to_string(),
            });
        }
        let owner = self.zone.set(name, rtype).map(RecordSet::source);
        let name = name.clone();
        match (owner, source) {
            (Some(Source::Route), Source::Operator) => {
                Err(ZoneError::ManagedByRoute { name, rtype })
            }
            (Some(Source::Operator), Source::Route) => {
                Err(ZoneError::KeptByOperator { name, rtype })
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, set: RecordSet) {
        let (key, rtype) = (set.name().key(), set.rtype());
        let before = self.zone.insert(key.clone(), Arc::new(set));
        self.before.entry((key, rtype)).or_insert(before);
    }

    fn delete(&mut self, name: &RecordName, rtype: RecordType) {
        let key = name.key();
        let before = self.zone.remove(&key, rtype);
        self.before.entry((key, rtype)).or_insert(before);
    }

    fn replay_removed(&mut self, set: &RecordSet) -> Result<(), ZoneError> {
        let standing = match set.rtype() {
            RecordType::Soa => self.zone.soa_set() == *set,
            rtype => self.zone.set(set.name(), rtype) == Some(set),
        };
        if !standing {
            return Err(mismatch(set));
        }
        if set.rtype() != RecordType::Soa {
            self.delete(set.name(), set.rtype());
        }
        Ok(())
    }

    fn replay_added(&mut self, set: &RecordSet) -> Result<(), ZoneError> {
        if let [RecordData::Soa(data)] = set.data() {
            let soa = Soa::from_data(data, set.ttl_s());
            rules::check_soa(&soa)?;
            self.zone.soa = Arc::new(soa);
            return Ok(());
        }
        if self.zone.set(set.name(), set.rtype()).is_some() {
            return Err(mismatch(set));
        }
        self.put(set.clone().relative_to(&self.zone.origin)?);
        Ok(())
    }

    fn touched(&self) -> BTreeSet<(NameKey, RecordType)> {
        self.before.keys().cloned().collect()
    }

    fn finish(mut self, old: &Zone) -> (Zone, ZoneChange) {
        let mut change = no_change(old);
        for ((key, rtype), before) in self.before {
            let after = self
                .zone
                .nodes
                .get(&key)
                .and_then(|node| node.shared(rtype))
                .cloned();
            if before != after {
                change.removed.extend(before.map(|set| (*set).clone()));
                change.added.extend(after.map(|set| (*set).clone()));
            }
        }
        if change.is_empty() {
            return (old.clone(), change);
        }
        self.zone.serial = old.serial.next();
        change.new_serial = self.zone.serial;
        (self.zone, change)
    }
}

fn no_change(zone: &Zone) -> ZoneChange {
    ZoneChange {
        zone: (*zone.origin).clone(),
        old_serial: zone.serial,
        new_serial: zone.serial,
        removed: Vec::new(),
        added: Vec::new(),
    }
}

fn mismatch(set: &RecordSet) -> ZoneError {
    ZoneError::JournalMismatch {
        name: set.name().clone(),
        rtype: set.rtype(),
    }
}
