//! Declarations as an operator meets them: they are kept as they were written, and go with their organization.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use malha_core::declaration::Stage;
use malha_core::{Command, Rejection, State, Topic, affected};
use malha_proto::OrganizationId;
use world::{World, label};

const TEXT: &str =
    "version = 1\n[production]\n# the two servers\nnames = [\"xvia.sedec.mt.gov.br\"]\n";

fn declare(organization: OrganizationId, text: &str) -> Command {
    Command::Declare {
        organization,
        text: text.to_owned(),
        author: "key:test".to_owned(),
    }
}

fn organization(world: &mut World) -> OrganizationId {
    let command = Command::CreateOrganization {
        name: label("sedec"),
        display_name: String::new(),
    };
    world.run(command).unwrap();
    world.state.organization_by_name("sedec").unwrap().id
}

#[test]
fn a_declaration_is_kept_as_it_was_written_and_touches_no_node() {
    let mut world = World::furnished();
    let sedec = organization(&mut world);
    let before = world.state.clone();
    let outcome = world.run(declare(sedec, TEXT)).unwrap();
    let touched = affected(&before, &outcome.state, &outcome.changes);
    assert!(touched.nodes.is_empty() && touched.topics.contains(&Topic::Declarations));
    let declared = world.state.declaration(sedec).unwrap();
    assert_eq!(declared.text, TEXT);
    let production = declared.statement.stage(Stage::Production).unwrap();
    assert_eq!(production.names[0].as_str(), "xvia.sedec.mt.gov.br");
    let again = world.run(declare(sedec, TEXT)).unwrap();
    assert!(again.changes.is_empty());
}

#[test]
fn a_wrong_text_changes_nothing_and_is_named_with_its_place() {
    let mut world = World::furnished();
    let sedec = organization(&mut world);
    world.run(declare(sedec, TEXT)).unwrap();
    let wrong = TEXT.replace("sedec.mt.gov.br", "sedec..br");
    match world.run(declare(sedec, &wrong)) {
        Err(Rejection::Text(error)) => {
            let said = error.to_string();
            assert!(
                said.starts_with("line 4, column 10: production: names"),
                "{said}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.state.declaration(sedec).unwrap().text, TEXT);
}

#[test]
fn addresses_to_which_the_internet_does_not_lead_are_refused_with_their_place() {
    let mut world = World::furnished();
    let sedec = organization(&mut world);
    for private in [
        "10.0.0.1",
        "192.168.7.2",
        "100.64.0.9",
        "169.254.1.1",
        "fd00::1",
        "fe80::1",
    ] {
        let text = format!("{TEXT}addresses = [\"203.0.113.10\", \"{private}\"]\n");
        match world.run(declare(sedec, &text)) {
            Err(Rejection::Text(error)) => {
                let said = error.to_string();
                let place = "line 5, column 30: production: addresses: ";
                assert!(said.starts_with(place), "{said}");
                assert!(
                    said.contains(private) && said.contains("no public address"),
                    "{said}"
                );
            }
            other => panic!("{private}: {other:?}"),
        }
    }
    let text = format!("{TEXT}addresses = [\"203.0.113.10\", \"2001:db8::10\"]\n");
    world.run(declare(sedec, &text)).unwrap();
}

#[test]
fn a_declaration_comes_back_from_the_store_and_goes_with_its_organization() {
    let mut world = World::furnished();
    let sedec = organization(&mut world);
    world.run(declare(sedec, TEXT)).unwrap();
    let restored = State::restore(world.state.revision(), world.state.entities()).unwrap();
    assert_eq!(restored, world.state);
    world
        .run(Command::RemoveOrganization { id: sedec })
        .unwrap();
    assert!(world.state.declaration(sedec).is_none());
    let nobody = Command::WithdrawDeclaration {
        organization: sedec,
    };
    assert!(matches!(world.run(nobody), Err(Rejection::NotFound { .. })));
}
