//! A browser without a screen: it keeps cookies, follows redirects, fills forms as the page gave
//! them. It speaks to the router directly and runs no script, so what it can do works without
//! JavaScript.
#![allow(dead_code)] // Each test crate uses a part of it.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use malha_web::{Console, WebConfig};
use tower::ServiceExt;

use crate::memory_console::{MemoryConsole, PASSWORD, USER};

pub(crate) struct Browser {
    router: Router,
    cookies: BTreeMap<String, String>,
    pub(crate) language: &'static str,
    /// The page that is open.
    pub(crate) page: Page,
}

#[derive(Default)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new(console: &Arc<MemoryConsole>) -> Self {
        Self::with(
            console,
            WebConfig {
                secure_cookies: false,
                ..WebConfig::default()
            },
        )
    }

    pub(crate) fn with(console: &Arc<MemoryConsole>, config: WebConfig) -> Self {
        let console: Arc<dyn Console> = console.clone();
        let router = malha_web::router(console, config);
        Self {
            router,
            cookies: BTreeMap::new(),
            language: "en",
            page: Page::default(),
        }
    }

    /// A browser whose operator has signed in.
    pub(crate) async fn signed_in(console: &Arc<MemoryConsole>) -> Self {
        let mut browser = Self::new(console);
        browser.sign_in().await;
        browser
    }

    pub(crate) async fn sign_in(&mut self) {
        self.get("/login").await;
        self.submit("/login", &[("user", USER), ("password", PASSWORD)])
            .await;
        assert_eq!(self.page.status, StatusCode::OK);
    }

    /// Opens a page, following redirects.
    pub(crate) async fn get(&mut self, path: &str) -> &Page {
        self.send(self.request("GET", path).body(Body::empty()).unwrap())
            .await;
        self.follow().await
    }

    /// Sends the open page's form with this action, its hidden fields kept, then follows redirects.
    pub(crate) async fn submit(&mut self, action: &str, fields: &[(&str, &str)]) -> &Page {
        let mut all = self.page.hidden_fields(action);
        all.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self.post(action, &encoded(&all), &[("sec-fetch-site", "same-origin")])
            .await;
        self.follow().await
    }

    /// Posts a raw form with just these extra headers.
    pub(crate) async fn post(&mut self, path: &str, form: &str, headers: &[(&str, &str)]) -> &Page {
        let mut request = self
            .request("POST", path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(form.to_owned())).unwrap())
            .await
    }

    /// Opens a live stream; its body is read frame by frame.
    pub(crate) async fn stream(&self, path: &str) -> axum::response::Response {
        let request = self.request("GET", path).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) fn cookie_header(&self) -> String {
        self.cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "malha.test")
            .header(header::ACCEPT_LANGUAGE, self.language)
            .header(header::COOKIE, self.cookie_header())
    }

    async fn send(&mut self, request: Request<Body>) -> &Page {
        let path = request.uri().to_string();
        let response = self.router.clone().oneshot(request).await.unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let (name, value) = cookie
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .split_once('=')
                .unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.page = Page {
            path,
            status: parts.status,
            headers: parts.headers,
            body,
        };
        &self.page
    }

    async fn follow(&mut self) -> &Page {
        for _ in 0..5 {
            let Some(target) = self.page.headers.get(header::LOCATION) else {
                break;
            };
            let target = target.to_str().unwrap().to_owned();
            self.send(self.request("GET", &target).body(Body::empty()).unwrap())
                .await;
        }
        &self.page
    }
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    /// The forms of the page that write, by their action.
    pub(crate) fn post_actions(&self) -> Vec<String> {
        self.tags("form")
            .into_iter()
            .filter(|form| attribute(form, "method") == Some("post"))
            .map(|form| unescaped(attribute(form, "action").unwrap()))
            .collect()
    }

    /// The inside of every opening tag of this element.
    pub(crate) fn tags(&self, element: &str) -> Vec<&str> {
        let open = format!("<{element}");
        self.body
            .match_indices(&open)
            .map(|(at, _)| &self.body[at + open.len()..])
            .filter(|rest| rest.starts_with([' ', '>']))
            .map(|rest| &rest[..rest.find('>').unwrap()])
            .collect()
    }

    fn hidden_fields(&self, action: &str) -> Vec<(String, String)> {
        let forms: Vec<&str> = self.body.split("<form").skip(1).collect();
        let form = forms
            .iter()
            .find(|form| attribute(form, "action").map(unescaped).as_deref() == Some(action));
        let form = form.unwrap_or_else(|| panic!("no form for {action} on {}", self.path));
        let form = &form[..form.find("</form>").unwrap()];
        form.split("<input")
            .skip(1)
            .filter(|input| attribute(input, "type") == Some("hidden"))
            .map(|input| {
                (
                    unescaped(attribute(input, "name").unwrap()),
                    unescaped(attribute(input, "value").unwrap()),
                )
            })
            .collect()
    }
}

/// The value of an attribute in the text that follows a tag's name.
pub(crate) fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[start..].split('"').next()
}

pub(crate) fn encoded(fields: &[(String, String)]) -> String {
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<String>()
    };
    fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
