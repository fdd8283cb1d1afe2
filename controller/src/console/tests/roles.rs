//! Who may ask for what: every write, by every role.

use malha_web::model::{
    Decision, Exposure, Keep, NewOrganization, NewPolicy, NewRecordSet, NewSite, NewToken, Profile,
    RecordSetKey, RefusalKind, Refused, ServerMode,
};
use malha_web::{Console, PolicyConsole, Role, Viewer};

use super::rig::{Rig, new_route, new_service, viewer};

const WRITES: [&str; 20] = [
    "create_organization",
    "create_site",
    "create_token",
    "revoke_token",
    "replace_node",
    "remove_node",
    "resolve_quarantine",
    "add_service",
    "remove_service",
    "add_route",
    "remove_route",
    "put_record_set",
    "delete_record_set",
    "review_policy",
    "apply_policy",
    "confirm_policy",
    "roll_back_policy",
    "approve_proposal",
    "reject_proposal",
    "set_server_mode",
];

const TECHNICIANS: [&str; 3] = ["create_token", "revoke_token", "replace_node"];

/// Asks for a write that nothing but its role check can let pass: it names what does not exist.
async fn ask(rig: &Rig, viewer: &Viewer, write: &str) -> Option<Refused> {
    let console = &rig.console;
    let (name, missing) = ("-".to_owned(), "missing");
    let node = malha_proto::NodeId(999);
    let key = || RecordSetKey {
        zone: missing.to_owned(),
        name: "a".to_owned(),
        record_type: "A".to_owned(),
    };
    match write {
        "create_organization" => console
            .create_organization(viewer, NewOrganization { name })
            .await
            .err(),
        "create_site" => console
            .create_site(
                viewer,
                NewSite {
                    organization: missing.to_owned(),
                    name,
                },
            )
            .await
            .err(),
        "create_token" => {
            let new = NewToken {
                site: missing.to_owned(),
                profile: Profile::Garage,
                lifetime_s: 60,
                uses: 1,
            };
            console.create_token(viewer, new).await.err()
        }
        "revoke_token" => console.revoke_token(viewer, &missing.into()).await.err(),
        "replace_node" => console.replace_node(viewer, &missing.into()).await.err(),
        "remove_node" => console
            .remove_node(viewer, &missing.into(), &[])
            .await
            .err(),
        "resolve_quarantine" => console
            .resolve_quarantine(viewer, &missing.into(), Keep::This)
            .await
            .err(),
        "add_service" => console
            .add_service(viewer, new_service(node, "a", 1, Exposure::Tunnel))
            .await
            .err(),
        "remove_service" => console.remove_service(viewer, &missing.into()).await.err(),
        "add_route" => console
            .add_route(viewer, new_route("a.example.org", "/", &[]))
            .await
            .err(),
        "remove_route" => console.remove_route(viewer, &missing.into()).await.err(),
        "put_record_set" => {
            let new = NewRecordSet {
                key: key(),
                ttl_s: 60,
                values: vec!["192.0.2.1".to_owned()],
            };
            console.put_record_set(viewer, new).await.err()
        }
        "delete_record_set" => console.delete_record_set(viewer, key()).await.err(),
        "review_policy" => console.review_policy(viewer, missing).await.err(),
        "apply_policy" => {
            let new = NewPolicy {
                text: missing.to_owned(),
                hash: missing.to_owned(),
                confirm_within_s: None,
                emergency: None,
            };
            console.apply_policy(viewer, new).await.err()
        }
        "confirm_policy" => console.confirm_policy(viewer, 9).await.err(),
        "roll_back_policy" => console.roll_back_policy(viewer, 9).await.err(),
        "approve_proposal" => {
            let hash = "0".repeat(64);
            let decision = Decision::Approve { hash };
            console.decide_proposal(viewer, 9, decision).await.err()
        }
        "reject_proposal" => {
            let decided = console.decide_proposal(viewer, 9, Decision::Reject).await;
            decided.err()
        }
        "set_server_mode" => console
            .set_server_mode(viewer, &missing.into(), &missing.into(), ServerMode::Drain)
            .await
            .err(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_role_may_ask_for_its_writes_and_for_no_other() {
    let rig = Rig::new().await;
    let before = rig.revision();
    for write in WRITES {
        for role in [
            Role::Owner,
            Role::Operator,
            Role::SiteTechnician,
            Role::Auditor,
        ] {
            let may = match role {
                Role::Owner | Role::Operator => true,
                Role::SiteTechnician => TECHNICIANS.contains(&write),
                Role::Auditor => false,
            };
            let kind = ask(&rig, &viewer(role), write)
                .await
                .map(|refused| refused.kind);
            assert_eq!(
                kind != Some(RefusalKind::Forbidden),
                may,
                "{write} by {role:?}: {kind:?}"
            );
            assert!(kind.is_some(), "{write} names what does not exist");
        }
    }
    assert_eq!(rig.revision(), before);
}
