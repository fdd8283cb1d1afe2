//! What an operator should not overlook: said beside the answer, or refused with the way to go on.

use malha_proto::EnrolToken;

use crate::rig::Stage;

/// Two servers, each with a service, behind the balancer `lb/xroad`.
pub(crate) async fn balanced() -> Stage {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    stage.json("site add sefaz/producao");
    let machines = [
        (1, "ss-1", "security-server"),
        (2, "ss-2", "security-server"),
        (3, "lb", "balancer"),
    ];
    for (machine, name, profile) in machines {
        let made = stage.run(&format!("token add sefaz/producao --profile {profile}"));
        let token: EnrolToken = made.ok().stdout.trim().parse().unwrap();
        stage.enrol(&token, name, machine).await;
    }
    for server in ["ss-1", "ss-2"] {
        stage.json(&format!(
            "service add {server} web --port 80 --target 127.0.0.1:8080 --exposure public"
        ));
    }
    stage.json("balancer add lb xroad --port 80 --backend ss-1/web,ss-2/web");
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drains_the_last_server_is_told_that_nobody_serves() {
    let stage = balanced().await;
    let first = stage.run("balancer drain lb/xroad ss-1/web").ok();
    assert!(!first.stderr.contains("Warning"), "{}", first.stderr);
    let last = stage.run("balancer maintenance lb/xroad ss-2/web").ok();
    assert!(
        last.stderr
            .contains("Warning: all servers of sefaz/producao/lb/xroad drain"),
        "{}",
        last.stderr
    );
    let listed = stage.run("balancer list --lang pt-BR").ok().stdout;
    assert!(listed.contains("nenhum servidor em serviço"), "{listed}");
    assert_eq!(stage.json("balancer show lb/xroad")["serving"], false);
    let back = stage.run("balancer resume lb/xroad ss-1/web").ok();
    assert!(!back.stderr.contains("Warning"), "{}", back.stderr);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_balancer_is_removed_only_with_the_word_for_it() {
    let stage = balanced().await;
    let refused = stage.run("node remove ss-1 --lang pt-BR");
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for said in ["sefaz/producao/lb/xroad", "malha balancer set", "--detach"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    stage.run("node remove ss-1 --detach --wait").ok();
    let left = stage.json("balancer show lb/xroad");
    assert_eq!(left["backends"].as_array().unwrap().len(), 1);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_ends_with_its_node_only_with_the_word_for_it() {
    let stage = balanced().await;
    stage.json("balancer remove lb/xroad");
    stage.json("zone add example.com");
    stage.json("route add one.example.com --service ss-1/web");
    stage.json("route add both.example.com --service ss-1/web,ss-2/web");
    let refused = stage.run("node remove ss-1 --lang en");
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for said in [
        "route one.example.com/ (no other server",
        "route both.example.com/\n",
        "malha route remove",
        "--detach",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    assert_eq!(
        stage.json("route list")["items"].as_array().unwrap().len(),
        2
    );
    stage.run("node remove ss-1 --detach").ok();
    let left = stage.json("route list");
    let hosts = left["items"].as_array().unwrap().iter();
    assert!(
        hosts.map(|it| &it["host"]).eq(["both.example.com"]),
        "{left}"
    );
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_in_nobodys_zone_names_the_records_to_make() {
    let stage = balanced().await;
    stage.json("zone add example.com");
    let inside = stage.run("route add a.example.com --service ss-1/web").ok();
    assert!(!inside.stderr.contains("Warning"), "{}", inside.stderr);
    let outside = stage.run("route add a.example.net --service ss-1/web").ok();
    assert!(
        outside
            .stderr
            .contains("a.example.net lies in no zone of this controller"),
        "{}",
        outside.stderr
    );
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_policies_says_what_a_version_waits_for() {
    let stage = balanced().await;
    let text = stage.run("policy show").ok().stdout;
    let file = stage.place.path("policy.toml");
    std::fs::write(&file, text).unwrap();
    let apply = format!("policy apply {} --yes --confirm-within 10m", file.display());
    stage.run(&apply).ok();
    let history = stage.run("policy history").ok().stdout;
    assert!(
        history.contains("in force; unconfirmed, version 1 comes back in "),
        "{history}"
    );
    stage.run("policy confirm 2").ok();
    let history = stage.run("policy history").ok().stdout;
    assert!(
        history.contains("in force") && !history.contains("unconfirmed"),
        "{history}"
    );
    stage.api.finish().await;
}
