//! What the API says to people in their language; what programs read stays the same.

use axum::http::Method;
use malha_core::Scope;
use serde_json::{Value, json};

use super::rig::{Reply, Rig};

async fn refused(rig: &Rig, path: &str, body: &Value, languages: &str) -> Reply {
    let headers = [("accept-language", languages)];
    let caller = Some(rig.key(Scope::Write));
    rig.call_as(caller, Method::POST, path, Some(body.clone()), &headers)
        .await
}

#[tokio::test]
async fn a_refusal_is_english_unless_portuguese_is_liked_better() {
    let rig = Rig::furnished().await;
    let wrong = [
        (
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage", "uses": 0}),
            "token-uses",
            "uses: Um token vale para 1 a",
            "uses: a token is for 1 to",
        ),
        (
            "/organizations",
            json!({"name": "sefaz"}),
            "exists",
            "Já existe a organização “sefaz”",
            "organization sefaz exists already",
        ),
        (
            "/organizations",
            json!({"name": "Órgão"}),
            "invalid",
            "name: “",
            "name: \"",
        ),
        (
            "/sites",
            json!({"organization": "nobody", "name": "a"}),
            "not-found",
            "Não existe a organização “nobody”",
            "there is no organization nobody",
        ),
    ];
    for (path, body, code, portuguese, english) in wrong {
        for (languages, tag, begin) in [
            ("pt-BR,pt;q=0.9,en;q=0.5", "pt-BR", portuguese),
            ("en-US", "en", english),
            ("de", "en", english),
        ] {
            let reply = refused(&rig, path, &body, languages).await;
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.starts_with(begin), "{detail}");
            assert_eq!(reply.body["code"], code, "{detail}");
            assert_eq!(reply.headers["content-language"], tag, "{detail}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_may_not_come_in_force_says_why_in_the_readers_language() {
    let rig = Rig::furnished().await;
    let mistaken =
        json!({"text": "version = 1\n[[grant]]\nname = \"a\"\nfrom = []\nto = [\"edge\"]\n"});
    let reply = refused(&rig, "/policy/check", &mistaken, "pt-BR").await;
    assert_eq!(
        reply.body["mistake"]["problem"],
        "grant a: from: A lista está vazia; escreva ao menos um."
    );
    let untested = json!({"text": "version = 1\n[[grant]]\nname = \"a\"\nfrom = [\"edge\"]\nto = [\"edge\"]\nprotocol = \"icmp\"\n"});
    let reply = refused(&rig, "/policy/check", &untested, "pt-BR").await;
    let refusal = reply.body["refusal"].as_str().unwrap();
    assert!(refusal.starts_with("Nenhum [[test]] fala de"), "{refusal}");
}
