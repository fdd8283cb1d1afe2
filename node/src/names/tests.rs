//! The names of a machine as a whole: what is answered follows the map, and which programs are led here follows its owner.

use malha_tunnel::Engine;

use super::*;
use crate::testbed;
use crate::text::Lang;

fn names(choice: NamesChoice) -> Names {
    let config = NamesConfig {
        choice,
        engine: Engine::Netstack,
        interface: "malha0".to_owned(),
    };
    Names {
        config,
        table: None,
        zones: watch::channel(Arc::default()).0,
        doors: Doors::default(),
        told: None,
        system: SystemStatus::default(),
        retry_at: None,
    }
}

fn known(revision: u64) -> Known {
    Known {
        map: Some(Arc::new(testbed::netmap(revision))),
        controllers: vec![],
    }
}

#[tokio::test]
async fn answers_follow_the_map_and_not_its_revision() {
    let mut names = names(NamesChoice::Auto);
    names.follow(&known(1), None).await;
    let zones = names.zones.borrow().clone();
    assert_eq!(zones.len(), 3, "names, and addresses of both families");
    names.follow(&known(2), None).await;
    assert!(
        Arc::ptr_eq(&zones, &names.zones.borrow()),
        "nothing changed"
    );
    let mut held = known(3);
    if let Some(map) = held.map.as_mut().map(Arc::make_mut) {
        map.peers.clear();
    }
    names.follow(&held, None).await;
    assert_eq!(names.view().status.nodes, 1);
    names.follow(&Known::default(), None).await;
    assert!(names.zones.borrow().is_empty());
    names.end().await;
}

#[tokio::test]
async fn who_turned_names_off_answers_nothing() {
    let mut names = names(NamesChoice::Off);
    names.follow(&known(1), None).await;
    let status = names.view().status;
    assert!(names.zones.borrow().is_empty());
    assert!(status.listen.is_empty() && status.closed.is_empty());
    assert_eq!(status.system, SystemStatus::Off);
}

#[test]
fn only_machines_of_x_road_lead_programs_to_declared_names_by_themselves() {
    let leads = |choice: NamesChoice| {
        let all = [
            Profile::Garage,
            Profile::SecurityServer,
            Profile::Balancer,
            Profile::Central,
            Profile::Edge,
        ];
        all.map(|profile| choice.leads_to_declared(profile))
    };
    assert_eq!(leads(NamesChoice::Auto), [false, true, true, true, false]);
    assert_eq!(leads(NamesChoice::Declared), [true; 5]);
    assert_eq!(leads(NamesChoice::Overlay), [false; 5]);
}

#[test]
fn what_is_shown_says_in_both_languages_where_names_are_answered_and_who_asks() {
    let server = "100.64.0.2".parse().unwrap();
    let mut status = NamesStatus {
        zone: Some("malha.internal".to_owned()),
        nodes: 2,
        declared: vec!["xvia.sedec.example".to_owned()],
        listen: vec!["127.0.77.53:53".parse().unwrap()],
        closed: vec![Closed {
            address: "100.64.0.2:53".parse().unwrap(),
            why: ClosedWhy::Taken,
        }],
        system: SystemStatus::NotTold {
            program: Program::Dnsmasq,
            servers: vec![server],
            domains: vec!["malha.internal".to_owned()],
        },
    };
    let page = |status: &NamesStatus, lang| status.lines(lang).join("\n");
    for (lang, words) in [
        (
            Lang::Pt,
            ["respondidas aqui", "outro programa", "não pergunta aqui"],
        ),
        (
            Lang::En,
            ["answered here", "another program", "does not ask here"],
        ),
    ] {
        let said = page(&status, lang);
        let fixed = ["xvia.sedec.example", "server=/malha.internal/100.64.0.2"];
        for word in words.into_iter().chain(fixed) {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
    }
    status.system = SystemStatus::NoInterface;
    status.listen.clear();
    assert!(page(&status, Lang::Pt).contains("NÃO respondidos"));
}
