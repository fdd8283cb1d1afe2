//! Zones under edit, told as an operator would meet them: what is refused and why, what a serial does,
//! and that the journal tells the whole story.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use malha_zone::{
    DomainName, Edit, RecordName, RecordSet, RecordType, Serial, Soa, Source, Zone, ZoneChange,
    ZoneError,
};
use proptest::prelude::*;

fn domain(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn soa() -> Soa {
    Soa::new(
        domain("ns1.example.org."),
        domain("hostmaster.example.org."),
    )
}

fn zone() -> Zone {
    Zone::new(
        "example.org".parse().unwrap(),
        soa(),
        vec![domain("ns1.example.org.")],
    )
    .unwrap()
}

fn set(name: &str, rtype: RecordType, data: &[&str], source: Source) -> RecordSet {
    RecordSet::from_text(name.parse().unwrap(), rtype, 300, data, source).unwrap()
}

fn put(name: &str, rtype: RecordType, data: &str) -> Edit {
    Edit::Put(set(name, rtype, &[data], Source::Operator))
}

fn delete(name: &str, rtype: RecordType) -> Edit {
    Edit::Delete {
        name: name.parse().unwrap(),
        rtype,
        source: Source::Operator,
    }
}

fn edited(zone: &Zone, edits: &[Edit]) -> Zone {
    zone.edit(edits).unwrap().0
}

/// The edit that takes `change` back.
fn inverse(change: &ZoneChange) -> Vec<Edit> {
    let mut edits: Vec<Edit> = change
        .added
        .iter()
        .map(|set| Edit::Delete {
            name: set.name().clone(),
            rtype: set.rtype(),
            source: set.source(),
        })
        .collect();
    edits.extend(change.removed.iter().cloned().map(Edit::Put));
    edits
}

#[test]
fn an_edit_bumps_the_serial_once_and_tells_what_changed() {
    let old = edited(&zone(), &[put("www", RecordType::A, "192.0.2.1")]);
    let (new, change) = old
        .edit(&[
            put("WWW.example.org.", RecordType::A, "192.0.2.2"),
            put("api", RecordType::A, "192.0.2.3"),
        ])
        .unwrap();
    assert_eq!(new.serial(), old.serial().next());
    assert_eq!(
        (change.old_serial, change.new_serial),
        (old.serial(), new.serial())
    );
    assert_eq!(
        change.removed,
        [set("www", RecordType::A, &["192.0.2.1"], Source::Operator)]
    );
    let added: Vec<String> = change
        .added
        .iter()
        .map(|set| set.name().to_string())
        .collect();
    assert_eq!(added, ["api", "www"]);
}

#[test]
fn an_edit_without_effect_bumps_nothing() {
    let old = edited(&zone(), &[put("www", RecordType::A, "192.0.2.1")]);
    let edits = [
        put("www", RecordType::A, "192.0.2.1"),
        delete("nowhere", RecordType::A),
        put("tmp", RecordType::A, "192.0.2.9"),
        delete("tmp", RecordType::A),
    ];
    let (new, change) = old.edit(&edits).unwrap();
    assert!(change.is_empty());
    assert_eq!(new, old);
}

#[test]
fn a_refused_batch_leaves_the_zone_as_it_was() {
    let old = zone();
    let edits = [
        put("www", RecordType::A, "192.0.2.1"),
        delete("@", RecordType::Ns),
    ];
    assert_eq!(old.edit(&edits).unwrap_err(), ZoneError::ApexNsRequired);
    assert_eq!(old, zone());
}

#[test]
fn a_cname_stands_alone_and_never_at_the_apex() {
    let target = "www.example.net.";
    assert_eq!(
        zone()
            .edit(&[put("@", RecordType::Cname, target)])
            .unwrap_err(),
        ZoneError::CnameAtApex
    );
    let with_address = edited(&zone(), &[put("www", RecordType::A, "192.0.2.1")]);
    let error = with_address
        .edit(&[put("www", RecordType::Cname, target)])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`www` has a CNAME and a A set; a CNAME stands alone at its name. Delete one of them"
    );
    let swap = [
        put("www", RecordType::Cname, target),
        delete("www", RecordType::A),
    ];
    assert!(
        with_address.edit(&swap).is_ok(),
        "in either order within one batch"
    );
}

#[test]
fn below_a_delegation_stands_only_glue() {
    let ns = put("sub", RecordType::Ns, "ns.sub.example.org.");
    let glue = put("ns.sub", RecordType::A, "192.0.2.54");
    let delegated = edited(&zone(), &[ns.clone(), glue]);
    for stray in [
        put("www.sub", RecordType::Cname, "www.example.net."),
        put("sub", RecordType::Txt, "x"),
        put("deeper.sub", RecordType::Ns, "ns1.example.org."),
        put("*.sub", RecordType::A, "192.0.2.1"),
    ] {
        let error = delegated.edit(&[stray]).unwrap_err();
        assert!(
            matches!(error, ZoneError::BelowDelegation { .. }),
            "{error}"
        );
    }
    let occupied = edited(&zone(), &[put("a.b.sub", RecordType::Txt, "x")]);
    let error = occupied.edit(&[ns]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the TXT set of `a.b.sub` is below the delegation of `sub`; only A and AAAA (glue) may stand there"
    );
    let wildcard = put("*", RecordType::Ns, "ns1.example.org.");
    assert!(matches!(
        zone().edit(&[wildcard]),
        Err(ZoneError::WildcardDelegation { .. })
    ));
}

#[test]
fn a_record_of_a_route_is_changed_by_the_route_alone() {
    let managed = Edit::Put(set(
        "garagem-01",
        RecordType::A,
        &["192.0.2.1"],
        Source::Route,
    ));
    let with_route = edited(&zone(), &[managed]);
    for edit in [
        put("garagem-01", RecordType::A, "192.0.2.66"),
        delete("garagem-01", RecordType::A),
    ] {
        let error = with_route.edit(&[edit]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the A set of `garagem-01` is managed by a route; change or remove the route, and the record follows"
        );
    }
    let kept = edited(&zone(), &[put("www", RecordType::A, "192.0.2.1")]);
    let route = Edit::Put(set("www", RecordType::A, &["192.0.2.2"], Source::Route));
    assert!(matches!(
        kept.edit(&[route]),
        Err(ZoneError::KeptByOperator { .. })
    ));
}

#[test]
fn names_outside_the_zone_and_the_soa_are_refused() {
    let outside = put("www.example.net.", RecordType::A, "192.0.2.1");
    assert!(matches!(zone().edit(&[outside]), Err(ZoneError::Name(_))));
    let soa = put(
        "@",
        RecordType::Soa,
        "ns1.example.org. h.example.org. 9 1 1 1 1",
    );
    assert!(matches!(
        zone().edit(&[soa]),
        Err(ZoneError::SoaIsDerived { .. })
    ));
}

#[test]
fn soa_settings_are_checked_and_journalled() {
    let mut wild = soa();
    wild.refresh_s = u32::MAX;
    assert!(matches!(
        zone().with_soa(wild),
        Err(ZoneError::SoaTime {
            field: "refresh_s",
            ..
        })
    ));
    let mut calm = soa();
    calm.minimum_s = 60;
    let (new, change) = zone().with_soa(calm).unwrap();
    assert_eq!(change.added, [new.soa_set()]);
    assert_eq!(zone().replay(&change), Ok(new));
    assert!(zone().with_soa(soa()).unwrap().1.is_empty());
}

#[test]
fn a_stored_zone_that_breaks_a_rule_is_refused_whole() {
    let ns = set("@", RecordType::Ns, &["ns1.example.org."], Source::Operator);
    let www = set("www", RecordType::A, &["192.0.2.1"], Source::Operator);
    let alias = set(
        "www",
        RecordType::Cname,
        &["a.example.net."],
        Source::Operator,
    );
    let restore = |sets: Vec<RecordSet>| {
        Zone::restore("example.org".parse().unwrap(), soa(), Serial::new(7), sets)
    };
    assert_eq!(
        restore(vec![ns.clone(), www.clone()]).unwrap().serial(),
        Serial::new(7)
    );
    assert!(matches!(
        restore(vec![www.clone()]),
        Err(ZoneError::ApexNsRequired)
    ));
    assert!(matches!(
        restore(vec![ns.clone(), ns.clone()]),
        Err(ZoneError::StoredTwice { .. })
    ));
    assert!(matches!(
        restore(vec![ns, www, alias]),
        Err(ZoneError::CnameNotAlone { .. })
    ));
}

#[test]
fn a_journal_entry_fits_only_where_it_was_made() {
    let first = zone();
    let (second, change) = first
        .edit(&[put("www", RecordType::A, "192.0.2.1")])
        .unwrap();
    assert!(matches!(
        second.replay(&change),
        Err(ZoneError::JournalGap { .. })
    ));
    let mut foreign = change.clone();
    foreign.removed = foreign.added.clone();
    assert!(matches!(
        first.replay(&foreign),
        Err(ZoneError::JournalMismatch { .. })
    ));
    let json = serde_json::to_string(&change).unwrap();
    assert_eq!(serde_json::from_str::<ZoneChange>(&json).unwrap(), change);
}

#[test]
fn sets_come_in_canonical_order() {
    let names = ["z", "a.b", "b", "*.b", "yljkjljk.a", "a"];
    let edits: Vec<Edit> = names
        .map(|name| put(name, RecordType::A, "192.0.2.1"))
        .into();
    let zone = edited(&zone(), &edits);
    let order: Vec<String> = zone.sets().map(|set| set.name().to_string()).collect();
    assert_eq!(order, ["@", "a", "yljkjljk.a", "b", "*.b", "a.b", "z"]);
    assert_eq!(zone.len(), order.len());
}

fn edit_strategy() -> impl Strategy<Value = Edit> {
    let name = prop_oneof![
        Just("@"),
        Just("www"),
        Just("sub"),
        Just("ns.sub"),
        Just("*.b"),
        Just("a.b"),
        Just("b"),
    ];
    let data = prop_oneof![
        (0..4_u8).prop_map(|n| (RecordType::A, format!("192.0.2.{n}"))),
        (0..2_u8).prop_map(|n| (RecordType::Txt, format!("text-{n}"))),
        (0..2_u8).prop_map(|n| (RecordType::Ns, format!("ns{n}.example.org."))),
        Just((RecordType::Cname, "www.example.net.".to_owned())),
    ];
    let source = prop_oneof![4 => Just(Source::Operator), 1 => Just(Source::Route)];
    (name, data, source, any::<bool>()).prop_map(|(name, (rtype, data), source, keep)| {
        let name: RecordName = name.parse().unwrap();
        if keep {
            Edit::Put(RecordSet::from_text(name, rtype, 300, [data], source).unwrap())
        } else {
            Edit::Delete {
                name,
                rtype,
                source,
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn history_can_be_replayed_and_taken_back(
        start: u32,
        batches in proptest::collection::vec(proptest::collection::vec(edit_strategy(), 1..5), 1..12),
    ) {
        let ns: Vec<RecordSet> = zone().sets().cloned().collect();
        let origin = "example.org".parse().unwrap();
        let mut current = Zone::restore(origin, soa(), Serial::new(start), ns).unwrap();
        for batch in batches {
            let Ok((next, change)) = current.edit(&batch) else {
                continue;
            };
            prop_assert_eq!(change.is_empty(), next == current);
            if !change.is_empty() {
                prop_assert!(next.serial().is_newer_than(current.serial()));
                let (back, undone) = next.edit(&inverse(&change)).unwrap();
                prop_assert!(back.sets().eq(current.sets()));
                prop_assert!(undone.new_serial.is_newer_than(change.new_serial));
            }
            let replayed = current.replay(&change);
            prop_assert_eq!(replayed.as_ref(), Ok(&next));
            let sets: Vec<RecordSet> = next.sets().cloned().collect();
            prop_assert_eq!(next.len(), sets.len());
            let restored = Zone::restore(next.origin().clone(), soa(), next.serial(), sets);
            prop_assert_eq!(restored.as_ref(), Ok(&next));
            current = next;
        }
    }
}
