//! The edge's certificates by host name: issued and renewed ahead of need, looked up by SNI during handshakes.
//! A handshake only reads a finished table; it never issues, waits for an issuance, or grows anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use malha_proto::HostName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::served::Served;
use crate::{Authority, PkiError};

/// A table from host name to certificate, for rustls.
///
/// One exists per edge. [`Self::set_hosts`] follows the route table, [`Self::renew_due`] is called on a timer; both build
/// a new table beside the old one and swap it in, so handshakes go on undisturbed. A wildcard answers for one label, and
/// an exact name goes before it. A client without SNI, or with a name that is not in the table, gets no certificate.
#[derive(Debug)]
pub struct EdgeCertificates {
    authority: Arc<Authority>,
    days: u16,
    /// Held for as long as it takes to clone or store the `Arc`: rustls resolves in a synchronous call from any thread.
    table: RwLock<Arc<Table>>,
    /// One writer at a time, or the slower of two would undo the other.
    writing: Mutex<()>,
}

/// What [`EdgeCertificates::set_hosts`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsChange {
    pub issued: usize,
    pub removed: usize,
}

/// What [`EdgeCertificates::renew_due`] did, and when it is needed again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    pub renewed: usize,
    /// The earliest renewal time in the table; None when the table is empty.
    pub next: Option<OffsetDateTime>,
}

impl EdgeCertificates {
    /// An empty table. Certificates will come from `authority` and last `days`.
    #[must_use]
    pub fn new(authority: Arc<Authority>, days: u16) -> Self {
        Self {
            authority,
            days,
            table: RwLock::default(),
            writing: Mutex::default(),
        }
    }

    /// Makes the table hold exactly `hosts`: issues what is missing, drops what is gone, keeps the rest. It signs once for
    /// each new host (a fraction of a millisecond), so call it where blocking is allowed.
    ///
    /// # Errors
    /// On any error, of which [`PkiError::TooManyHosts`] is one, the table stays as it was.
    pub fn set_hosts(
        &self,
        hosts: impl IntoIterator<Item = HostName>,
        now: OffsetDateTime,
    ) -> Result<HostsChange, PkiError> {
        let mut wanted = BTreeSet::new();
        for host in hosts {
            wanted.insert(host);
            if wanted.len() > MAX_HOSTS {
                return Err(PkiError::TooManyHosts);
            }
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.table();
        let mut table = Table::new();
        let mut change = HostsChange::default();
        for host in wanted {
            let entry = match old.get(host.as_str()) {
                Some(entry) => entry.clone(),
                None => {
                    change.issued += 1;
                    self.issue(host, now)?
                }
            };
            table.insert(entry.host.as_str().to_owned(), entry);
        }
        change.removed = old.keys().filter(|host| !table.contains_key(*host)).count();
        self.swap(table);
        Ok(change)
    }

    /// Renews every certificate that [is due](crate::Validity::needs_successor).
    ///
    /// # Errors
    /// [`PkiError::AuthorityEnded`] and other failures leave the table as it was: old certificates serve until they end.
    pub fn renew_due(&self, now: OffsetDateTime) -> Result<Renewal, PkiError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table();
        let due: Vec<HostName> = table
            .values()
            .filter(|entry| entry.served.is_due(&self.authority, now))
            .map(|entry| entry.host.clone())
            .collect();
        let renewed = due.len();
        if renewed > 0 {
            let mut renewing = Table::clone(&table);
            for host in due {
                renewing.insert(host.as_str().to_owned(), self.issue(host, now)?);
            }
            table = self.swap(renewing);
        }
        let next = table.values().map(|it| it.served.validity.renew_at()).min();
        Ok(Renewal { renewed, next })
    }

    /// The certificate for a lower-case name: its own, or that of the wildcard one label above.
    #[must_use]
    pub fn certificate_for(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let table = self.table();
        let entry = table.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            table.get(&format!("*.{parent}"))
        })?;
        Some(entry.served.certified.clone())
    }

    /// How many hosts have a certificate.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn issue(&self, host: HostName, now: OffsetDateTime) -> Result<Entry, PkiError> {
        let issued = self
            .authority
            .issue_edge(std::slice::from_ref(&host), now, self.days)?;
        Ok(Entry {
            served: Served::new(&issued)?,
            host,
        })
    }

    fn table(&self) -> Arc<Table> {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn swap(&self, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        table
    }
}

impl ResolvesServerCert for EdgeCertificates {
    /// rustls has checked the name and folded its case.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate_for(hello.server_name()?)
    }
}

type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
struct Entry {
    host: HostName,
    served: Served,
}

/// The most host names of one edge; each holds a certificate and a key in memory.
pub const MAX_HOSTS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuthorityProfile, x509};
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn edge() -> EdgeCertificates {
        let profile = AuthorityProfile {
            name: "Edge".to_owned(),
            years: 10,
        };
        EdgeCertificates::new(Arc::new(Authority::create(&profile, NOW).unwrap()), 30)
    }

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    fn serial(certified: &CertifiedKey) -> Vec<u8> {
        let parsed = x509::parse_certificate(&certified.cert[0]).unwrap();
        parsed.raw_serial().to_vec()
    }

    #[test]
    fn a_wildcard_answers_for_exactly_one_label_and_after_the_exact_name() {
        let edge = edge();
        edge.set_hosts([host("*.garagem.example"), host("a.garagem.example")], NOW)
            .unwrap();

        let wildcard = serial(&edge.certificate_for("b.garagem.example").unwrap());
        let exact = serial(&edge.certificate_for("a.garagem.example").unwrap());

        assert_ne!(wildcard, exact);
        for unknown in [
            "garagem.example",
            "x.y.garagem.example",
            "b.other.example",
            "example",
            "",
            ".",
        ] {
            assert!(edge.certificate_for(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn hosts_that_stay_keep_their_certificate_and_hosts_that_go_lose_it() {
        let edge = edge();
        edge.set_hosts([host("a.example"), host("b.example")], NOW)
            .unwrap();
        let before = serial(&edge.certificate_for("b.example").unwrap());

        let change = edge
            .set_hosts([host("b.example"), host("c.example")], NOW)
            .unwrap();

        assert_eq!(
            change,
            HostsChange {
                issued: 1,
                removed: 1
            }
        );
        assert_eq!(serial(&edge.certificate_for("b.example").unwrap()), before);
        assert!(edge.certificate_for("a.example").is_none());
        assert!(edge.certificate_for("c.example").is_some());
    }

    #[test]
    fn certificates_are_renewed_when_a_third_of_their_life_is_left_and_not_before() {
        let edge = edge();
        edge.set_hosts([host("a.example")], NOW).unwrap();
        let first = serial(&edge.certificate_for("a.example").unwrap());

        let early = edge.renew_due(NOW + Duration::days(19)).unwrap();
        assert_eq!(early.renewed, 0);
        assert_eq!(serial(&edge.certificate_for("a.example").unwrap()), first);

        let due = early.next.unwrap();
        let late = edge.renew_due(due).unwrap();
        assert_eq!(late.renewed, 1);
        assert!(late.next.unwrap() > due + Duration::days(19));
        assert_ne!(serial(&edge.certificate_for("a.example").unwrap()), first);
    }

    #[test]
    fn certificates_that_have_not_begun_are_renewed() {
        let edge = edge();
        let set_back = NOW + Duration::days(365);
        edge.set_hosts([host("a.example")], set_back).unwrap();

        assert_eq!(edge.renew_due(NOW).unwrap().renewed, 1);
        assert_eq!(edge.renew_due(NOW).unwrap().renewed, 0);
    }

    #[test]
    fn before_the_authoritys_own_time_nothing_is_renewed_again_and_again() {
        let edge = edge();
        edge.set_hosts([host("a.example")], NOW).unwrap();

        let before = edge.renew_due(NOW - Duration::days(1)).unwrap();

        assert_eq!(before.renewed, 0);
    }

    #[test]
    fn one_host_too_many_is_refused_and_changes_nothing() {
        let edge = edge();
        edge.set_hosts([host("a.example")], NOW).unwrap();
        let many = (0..=MAX_HOSTS).map(|n| host(&format!("h{n}.example")));

        assert!(matches!(
            edge.set_hosts(many, NOW),
            Err(PkiError::TooManyHosts)
        ));
        assert_eq!(edge.len(), 1);
        assert!(edge.certificate_for("a.example").is_some());
    }

    #[test]
    fn a_failing_issuance_leaves_the_old_certificates_in_service() {
        let edge = edge();
        edge.set_hosts([host("a.example")], NOW).unwrap();
        let after_the_authority = NOW + Duration::days(20 * 365);

        assert!(matches!(
            edge.renew_due(after_the_authority),
            Err(PkiError::AuthorityEnded { .. })
        ));
        assert!(matches!(
            edge.set_hosts([host("b.example")], after_the_authority),
            Err(PkiError::AuthorityEnded { .. })
        ));
        assert!(edge.certificate_for("a.example").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn after_any_sequence_of_changes_the_table_holds_exactly_the_last_hosts(
            steps in proptest::collection::vec(proptest::collection::btree_set(0_u8..12, 0..6), 1..6),
        ) {
            let edge = edge();
            for step in &steps {
                let hosts = step.iter().map(|n| host(&format!("h{n}.example")));
                edge.set_hosts(hosts, NOW).unwrap();
                for n in 0..12 {
                    let found = edge.certificate_for(&format!("h{n}.example")).is_some();
                    prop_assert_eq!(found, step.contains(&n));
                }
            }
        }
    }
}
