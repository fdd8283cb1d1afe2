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
            "name",
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
async fn how_a_request_is_written_is_told_in_portuguese_too_and_named_for_programs() {
    let rig = Rig::furnished().await;
    for (path, body, code, detail) in [
        (
            "/nodes?limit=0",
            None,
            "page-size",
            "limit: Informe de 1 a 1000; 0 não serve.",
        ),
        (
            "/nodes?after=x",
            None,
            "page-after",
            "after: Informe o que a página anterior",
        ),
        (
            "/nodes?first=1",
            None,
            "query",
            "Os parâmetros do URL não podem ser lidos",
        ),
        ("/nowhere", None, "no-such-path", "Não há nada em "),
        (
            "/sites?timeout_ms=0",
            Some(json!({"organization": "sefaz", "name": "a"})),
            "wait",
            "timeout_ms: A espera vai de 1 a",
        ),
        (
            "/organizations",
            Some(json!({"nome": "a"})),
            "unknown-field",
            "nome: O campo “nome” não existe aqui",
        ),
        (
            "/organizations",
            Some(json!({})),
            "missing-field",
            "name: Falta o campo “name”",
        ),
        (
            "/organizations",
            Some(json!([])),
            "body-no-object",
            "O corpo é um objeto JSON",
        ),
        (
            "/psk/rotate",
            Some(json!({"reason": "x".repeat(201)})),
            "reason-long",
            "reason: O motivo tem no máximo 200",
        ),
    ] {
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let headers = [("accept-language", "pt-BR")];
        let caller = Some(rig.key(Scope::Admin));
        let reply = rig.call_as(caller, method, path, body, &headers).await;
        let said = reply.body["detail"].as_str().unwrap();
        assert!(said.starts_with(detail), "{path}: {said}");
        assert_eq!(reply.body["code"], code, "{path}: {said}");
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
