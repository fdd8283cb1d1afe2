//! What a store may hold after damage or by hand, and how loading refuses it.

use malha_proto::{
    Fingerprint, Label, MachineId, OrganizationId, OverlayPools, Profile, RouteId, ServiceId,
    SiteId, TokenId, WgKey,
};

use super::*;
use crate::model::{NodeState, Organization, Settings, Site};
use malha_proto::NodeId;

fn settings() -> Settings {
    let pools = OverlayPools::with_random_v6([1; 5]);
    Settings {
        next_id: 100,
        ..Settings::new(MachineId([0; 16]), pools, "malha.internal".parse().unwrap())
    }
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn organization(id: u64, name: &str) -> Entity {
    let id = OrganizationId(id);
    Entity::Organization(Organization {
        id,
        name: label(name),
        display_name: String::new(),
        created_ms: 0,
        second_approver: false,
    })
}

fn site(id: u64, organization: u64) -> Entity {
    let organization = OrganizationId(organization);
    let name = label("centro");
    Entity::Site(Site {
        id: SiteId(id),
        organization,
        name,
        display_name: String::new(),
        created_ms: 0,
        xroad: None,
        balanced: Vec::new(),
    })
}

fn node(id: u64, key: u8, offset: u32) -> Entity {
    Entity::Node(Node {
        id: NodeId(id),
        site: SiteId(2),
        name: label(&format!("node-{id}")),
        profile: Profile::Garage,
        tags: Default::default(),
        hub: false,
        wg_key: WgKey([key; 32]),
        tls_key: Fingerprint([id as u8; 32]),
        former_tls_keys: vec![],
        past_tls_keys: vec![],
        token: Some(TokenId(50)),
        addresses: settings().pools.at(offset).unwrap(),
        endpoints: vec![],
        state: NodeState::Active,
        machine: MachineId([1; 16]),
        host_name: String::new(),
        agent_version: String::new(),
        os: String::new(),
        enrolled_ms: 0,
    })
}

fn restore(entities: impl IntoIterator<Item = Entity>) -> Result<State, RestoreError> {
    State::restore(
        Revision(7),
        std::iter::once(Entity::Settings(settings())).chain(entities),
    )
}

fn refused(entities: impl IntoIterator<Item = Entity>) -> String {
    restore(entities).unwrap_err().to_string()
}

#[test]
fn the_order_of_records_does_not_matter() {
    let entities = [organization(1, "acme"), site(2, 1), node(3, 3, 3)];
    let reversed: Vec<Entity> = entities.iter().rev().cloned().collect();
    let state = restore(entities).unwrap();
    assert_eq!(state, restore(reversed).unwrap());
    assert_eq!(state.revision(), Revision(7));
}

#[test]
fn a_store_without_settings_is_no_state() {
    assert_eq!(
        State::restore(Revision(7), [organization(1, "acme")]),
        Err(RestoreError::NoSettings)
    );
}

#[test]
fn a_dangling_reference_is_refused_with_the_record_and_what_is_missing() {
    assert_eq!(
        refused([site(2, 1)]),
        "record e/site/00000000000000000002 refers to o1, which does not exist"
    );
    let route = Route {
        id: RouteId(9),
        host: "www.example.org".parse().unwrap(),
        path: "/".to_owned(),
        services: [ServiceId(8)].into(),
        created_ms: 0,
    };
    assert!(refused([Entity::Route(route)]).contains("refers to v8"));
}

#[test]
fn what_may_stand_once_is_refused_twice() {
    assert!(refused([organization(1, "acme"), organization(1, "acme")]).contains("stands twice"));
    assert!(refused([organization(1, "acme"), organization(2, "acme")]).contains("same name"));
    let base = || [organization(1, "acme"), site(2, 1), node(3, 3, 3)];
    assert!(refused(base().into_iter().chain([node(4, 3, 4)])).contains("same WireGuard key"));
    assert!(refused(base().into_iter().chain([node(4, 4, 3)])).contains("same address"));
}

#[test]
fn a_number_that_was_never_given_is_refused() {
    assert!(refused([organization(100, "acme")]).contains("the next one is 100"));
}

#[test]
fn a_record_under_another_key_or_of_another_version_is_refused() {
    let (key, value) = crate::Change::Put(organization(1, "acme")).record();
    let value = value.unwrap();
    assert_eq!(
        Entity::decode(&key, &value).unwrap(),
        organization(1, "acme")
    );
    assert!(Entity::decode("e/organization/00000000000000000002", &value).is_err());
    assert!(Entity::decode(&key, &[]).is_err());
    assert!(
        Entity::decode(&key, &[&[2], &value[1..]].concat())
            .unwrap_err()
            .to_string()
            .contains("version 2")
    );
    assert!(Entity::decode(&key, &value[..value.len() - 1]).is_err());
}
