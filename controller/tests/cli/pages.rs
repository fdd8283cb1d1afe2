//! Lists that are longer than anybody would make by hand.

use axum::Json;
use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::warnings::balanced;

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_behind_ten_thousand_others_is_exported() {
    let stage = balanced().await;
    stage.json("balancer remove lb/xroad");
    stage.json("balancer add lb xroad --port 80 --backend ss-1/web --exposure public");
    let (site, balancer) = (
        stage.json("site show sefaz/producao"),
        stage.json("balancer show lb/xroad"),
    );
    let url = serve(site, balancer).await;
    let words = ["export", "haproxy", "sefaz/producao", "--api", &url];
    let exported = stage.place.malha(&words).ok();
    assert!(exported.stdout.contains("frontend"), "{}", exported.stdout);
    stage.api.finish().await;
}

/// An API with this site and, behind many balancers of others, this one.
async fn serve(site: Value, own: Value) -> String {
    let mut other = own.clone();
    other["path"] = json!("other/producao/lb/xroad");
    other["backends"] = json!([]);
    let page = move |Query(query): Query<Vec<(String, String)>>| {
        let after = query.iter().find(|(name, _)| name == "after");
        let number: usize = after.map_or(0, |(_, after)| after.parse().unwrap());
        let page = match number {
            PAGES => json!({ "items": [own] }),
            _ => json!({ "items": vec![other.clone(); 1_000], "next": (number + 1).to_string() }),
        };
        async { Json(page) }
    };
    let router = Router::new()
        .route("/api/v1/balancers", get(page))
        .route("/api/v1/sites/{site}", get(async || Json(site)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

const PAGES: usize = 10;
