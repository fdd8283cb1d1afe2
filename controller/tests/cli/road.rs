//! From the first organization to a route, and the question who may reach whom.

use malha_proto::EnrolToken;
use serde_json::{Value, json};

use crate::rig::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_main_road_from_organization_to_route() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.json("org add sefaz --display-name Fazenda")["name"],
        "sefaz"
    );
    assert_eq!(
        stage.json("site add sefaz/producao")["path"],
        "sefaz/producao"
    );
    let made = stage
        .run("token add sefaz/producao --profile security-server --uses 2")
        .ok();
    let token: EnrolToken = made.stdout.trim().parse().unwrap();
    assert_eq!(token.controllers, ["hub.example.com:443"]);
    stage.enrol(&token, "ss-1", 1).await;

    let service =
        stage.json("service add ss-1 web --port 80 --target 127.0.0.1:8080 --exposure public");
    assert_eq!(service["path"], "sefaz/producao/ss-1/web");
    stage.json("zone add example.com");
    let route = stage.json("route add a.example.com/painel --service ss-1/web --wait");
    assert_eq!(
        (&route["path"], &route["applied"]["of"]),
        (&json!("/painel"), &json!(0))
    );
    let grant = stage.json("grant add --from profile:central --to node:ss-1 --ports 5500-5577");
    assert_eq!(
        (&grant["from_port"], &grant["to_port"]),
        (&json!(5_500), &json!(5_577))
    );
    stage.json("record put example.com www A 192.0.2.1 192.0.2.2 --ttl 60");
    assert_eq!(
        stage.json("record show example.com www A")["data"],
        json!(["192.0.2.1", "192.0.2.2"])
    );
    assert_eq!(
        stage.json("node rename ss-1 ss-2")["path"],
        "sefaz/producao/ss-2"
    );
    assert_eq!(
        stage.json("node endpoints ss-2 192.0.2.7:51820")["endpoints"],
        json!(["192.0.2.7:51820"])
    );
    let replacement = stage.run("node replace ss-2").ok();
    assert!(replacement.stdout.trim().parse::<EnrolToken>().is_ok());

    let lists = [
        "org", "site", "token", "node", "service", "route", "grant", "zone", "operator", "key",
    ];
    for noun in lists {
        let listed = stage.json(&format!("{noun} list"));
        let first = &listed["items"][0];
        let id = first["id"].as_str().or(first["origin"].as_str()).unwrap();
        let shown = stage.json(&format!("{noun} show {id}"));
        assert_eq!(shown["id"], first["id"], "{noun}");
        for lang in ["pt-BR", "en"] {
            let table = stage.run(&format!("{noun} list --lang {lang}")).ok();
            assert!(
                table.stdout.lines().count() >= 2,
                "{noun}: {}",
                table.stdout
            );
            stage.run(&format!("{noun} show {id} --lang {lang}")).ok();
        }
    }
    assert!(
        stage
            .run("node show ss-2 --lang pt-BR")
            .ok()
            .stdout
            .contains("sem sinal ainda")
    );
    assert_eq!(
        stage.json("record list example.com")["items"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(stage.json("status")["nodes"]["all"], 1);
    assert!(
        stage
            .run("audit tail -n 3")
            .ok()
            .stdout
            .contains("node.replace")
    );

    for line in [
        "route remove a.example.com/painel",
        "service remove ss-2/web",
        "node remove ss-2",
        "zone remove example.com",
    ] {
        assert!(stage.json(line)["removed"].is_string(), "{line}");
    }
    assert_eq!(
        stage.json(&format!("token revoke {}", token.id))["state"],
        "revoked"
    );
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_names_the_rule_and_ends_with_the_verdict() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    stage.json("site add sefaz/producao");
    for (machine, name) in [(1, "ss-1"), (2, "ss-2")] {
        let made = stage.run("token add sefaz/producao --profile security-server");
        let token = made.ok().stdout.trim().parse().unwrap();
        stage.enrol(&token, name, machine).await;
    }
    let line = "trace --from ss-1 --to ss-2 --port 5500";
    let denied = stage.run(line);
    assert_eq!(denied.code, 9, "{}", denied.stderr);
    assert!(
        denied.stdout.contains("no grant joins them"),
        "{}",
        denied.stdout
    );
    assert!(denied.stderr.is_empty(), "{}", denied.stderr);
    let grant = stage.json("grant add --from node:ss-1 --to node:ss-2 --ports 5500-5577");
    let allowed = stage.run(line).ok().stdout;
    let rule = format!(
        "{}: node:sefaz/producao/ss-1 → node:sefaz/producao/ss-2, tcp 5500-5577",
        grant["id"].as_str().unwrap()
    );
    assert!(allowed.contains(&rule), "{allowed}");
    assert_eq!(stage.json(line)["rules"][0]["grant"]["id"], grant["id"]);
    let back = stage.run("trace --from ss-2 --to ss-1 --port 5500 --json");
    assert_eq!(back.code, 9, "{}", back.stderr);
    let back: Value = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!(
        (&back["reason"], &back["reverse"]),
        (&json!("no-rule"), &json!(true))
    );
    assert_eq!(stage.run("trace --from ss-1 --to nobody --port 1").code, 4);
    stage.api.finish().await;
}
