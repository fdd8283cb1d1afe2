//! Zones and record sets: what their forms write and refuse, and what their rows say.

use malha_web::Console;
use malha_web::model::RefusalKind::{Conflict, Invalid, NotFound};
use malha_web::model::{Exposure, NewRecordSet, RecordSetKey, RecordSource};

use super::rig::{Rig, at, new_route, owner, refusal};

fn key(name: &str, record_type: &str) -> RecordSetKey {
    RecordSetKey {
        zone: "example.org".to_owned(),
        name: name.to_owned(),
        record_type: record_type.to_owned(),
    }
}

fn set(name: &str, record_type: &str, values: &[&str]) -> NewRecordSet {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    NewRecordSet {
        key: key(name, record_type),
        ttl_s: 300,
        values,
    }
}

#[tokio::test]
async fn a_record_set_is_put_replaced_whole_and_deleted() {
    let rig = Rig::new().await;
    rig.console
        .put_record_set(&owner(), set("www", "a", &["192.0.2.7", "192.0.2.8"]))
        .await
        .unwrap();
    rig.console
        .put_record_set(&owner(), set("www", "A", &["192.0.2.9"]))
        .await
        .unwrap();
    let zone = rig.console.zone(&owner(), "example.org").await.unwrap();
    let www: Vec<_> = zone
        .record_sets
        .rows
        .iter()
        .filter(|row| row.name.as_str() == "www")
        .collect();
    assert_eq!((www.len(), &www[0].values), (1, &vec!["192.0.2.9".into()]));
    assert_eq!(www[0].source, RecordSource::Operator);
    rig.console
        .delete_record_set(&owner(), key("www", "A"))
        .await
        .unwrap();
    let after = rig.console.zone(&owner(), "example.org").await.unwrap();
    assert!(
        !after
            .record_sets
            .rows
            .iter()
            .any(|row| row.name.as_str() == "www")
    );
    assert_ne!(after.serial, zone.serial);
}

#[tokio::test]
async fn a_zone_shows_all_that_it_serves_and_what_is_not_to_be_edited() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    rig.console
        .add_route(&owner(), new_route("garagem.example.org", "/", &[web]))
        .await
        .unwrap();
    let zone = rig.console.zone(&owner(), "example.org").await.unwrap();
    let row = |name: &str, rtype: &str| {
        let mut rows = zone.record_sets.rows.iter();
        rows.find(|row| row.name.as_str() == name && row.record_type.as_str() == rtype)
            .map(|row| row.source)
    };
    assert_eq!(row("@", "SOA"), Some(RecordSource::Automatic));
    assert_eq!(row("@", "NS"), Some(RecordSource::Operator));
    assert_eq!(row("garagem", "A"), Some(RecordSource::Automatic));
    assert_eq!(zone.record_sets.total, zone.record_sets.rows.len());
    let listed = rig.console.zones(&owner()).await.unwrap().rows.remove(0);
    let state = rig.state();
    let counted = state.zones().iter().next().unwrap().sets().count();
    assert_eq!(
        (listed.serial, listed.record_sets as usize),
        (zone.serial, counted),
        "as the API counts: without the SOA"
    );
    assert_eq!(zone.record_sets.total, counted + 1);
}

#[tokio::test]
async fn each_wrong_field_of_a_record_set_is_named() {
    let rig = Rig::new().await;
    let node = rig.online("servidor").await.id;
    let web = rig.service(node, "web", 80, Exposure::Public).await;
    rig.console
        .add_route(&owner(), new_route("garagem.example.org", "/", &[web]))
        .await
        .unwrap();
    rig.console
        .put_record_set(&owner(), set("www", "A", &["192.0.2.7"]))
        .await
        .unwrap();
    let before = rig.revision();
    let long = "x".repeat(65_536);
    let address: &[&str] = &["192.0.2.7"];
    let lasting = NewRecordSet {
        ttl_s: u32::MAX,
        ..set("b", "A", address)
    };
    let wrong = [
        (set("", "A", address), "name", Invalid),
        (set("..", "A", address), "name", Invalid),
        (set("ção", "A", address), "name", Invalid),
        (set(&long, "A", address), "name", Invalid),
        (set("www.example.org", "A", address), "name", Invalid),
        (set("www.example.com.", "A", address), "name", Invalid),
        (set("b", "PTR\u{0}", &["a."]), "record_type", Invalid),
        (
            set("@", "CNAME", &["a.example.net."]),
            "record_type",
            Invalid,
        ),
        (
            set("@", "SOA", &["a. b. 1 1 1 1 1"]),
            "record_type",
            Invalid,
        ),
        (set("b", "A", &["2001:db8::1"]), "values", Invalid),
        (set("b", "A", &[]), "values", Invalid),
        (
            set("b", "A", &["192.0.2.7", "192.0.2.7"]),
            "values",
            Invalid,
        ),
        (set("b", "CNAME", &["sem-ponto"]), "values", Invalid),
        (set("b", "TXT", &[&long]), "values", Invalid),
        (lasting, "ttl_s", Invalid),
        (set("www", "CNAME", &["a.example.net."]), "name", Conflict),
        (set("garagem", "A", address), "name", Conflict),
    ];
    for (new, field, kind) in wrong {
        let shown: String = format!("{new:?}").chars().take(200).collect();
        let refused = rig.console.put_record_set(&owner(), new).await;
        assert_eq!(refusal(refused), at(field, kind), "{shown}");
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn what_is_not_there_or_must_stay_is_not_deleted() {
    let rig = Rig::new().await;
    let before = rig.revision();
    let delete = async |key| refusal(rig.console.delete_record_set(&owner(), key).await);
    assert_eq!(delete(key("nada", "A")).await, (None, NotFound));
    assert_eq!(
        delete(RecordSetKey {
            zone: "example.com".to_owned(),
            ..key("a", "A")
        })
        .await
        .1,
        NotFound
    );
    assert_eq!(delete(key("@", "NS")).await, (None, Conflict));
    assert_eq!(rig.revision(), before);
    assert!(rig.console.zone(&owner(), "example.com").await.is_err());
    assert!(rig.console.zone(&owner(), "..").await.is_err());
}
