//! The error page for people: one self-contained HTML document. Loads nothing and runs no script.

use std::sync::LazyLock;

use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::hop::Hop;
use crate::preference::Language;
use crate::text::{self, hop_name};

/// What a page shows besides the failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) language: Language,
    pub(crate) request_id: &'a str,
    pub(crate) utc_offset_min: i16,
    /// Unix time in milliseconds.
    pub(crate) now_ms: u64,
}

/// The `Content-Security-Policy` that lets the page have its own style sheet and nothing else.
pub(crate) fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = BASE64.encode(&Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    });
    &POLICY
}

pub(crate) fn page(failure: &Failure, setting: Setting<'_>) -> String {
    let words = text::wording(failure.fault, setting.language);
    let labels = text::labels(setting.language);
    let status = failure.fault.status().as_u16();
    let document = html! {
        (DOCTYPE)
        html lang=(setting.language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (words.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header { (mark()) span.brand { "Malha" } span.status { (status) } }
                    h1 { (words.title) }
                    @if let Some(place) = &failure.place {
                        p.place { bdi { (place.site_name) } " · " bdi { (place.org_name) } }
                    }
                    p { (words.explanation) }
                    (since(failure, setting))
                    (way(failure.fault.hop(), setting.language))
                    p.advice { (words.advice) }
                    a.again href="" { (labels.again) }
                    footer { (labels.reference) ": " code { (setting.request_id) } }
                }
            }
        }
    };
    document.into_string()
}

fn since(failure: &Failure, setting: Setting<'_>) -> Markup {
    let told = failure.since_ms.and_then(|since_ms| {
        let moment = text::moment(since_ms, setting.utc_offset_min, setting.language)?;
        let elapsed_s = setting.now_ms.saturating_sub(since_ms) / 1000;
        let elapsed = text::elapsed(elapsed_s, setting.language);
        Some((elapsed, moment, text::timestamp(since_ms)?))
    });
    html! {
        @if let Some((elapsed, moment, timestamp)) = told {
            p.since {
                strong { (text::labels(setting.language).since) " " (elapsed) }
                br;
                time datetime=(timestamp) { (moment) }
            }
        }
    }
}

/// The hops as a chain; the state of each is a sign and a word, never a colour alone. A wrong request broke no hop.
fn way(broken: Hop, language: Language) -> Markup {
    if broken == Hop::Client {
        return html! {};
    }
    let labels = text::labels(language);
    html! {
        ol.way aria-label=(labels.way) {
            @for hop in Hop::ALL {
                @let (class, sign, state) = match hop.cmp(&broken) {
                    std::cmp::Ordering::Less => ("works", "✓", labels.works),
                    std::cmp::Ordering::Equal => ("broken", "✕", labels.broken),
                    std::cmp::Ordering::Greater => ("beyond", "·", labels.not_reached),
                };
                li class=(class) {
                    span.sign aria-hidden="true" { (sign) }
                    span.hop { (hop_name(hop, language)) }
                    span.state { (state) }
                }
            }
        }
    }
}

fn mark() -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" {
            g fill="none" stroke="currentColor" stroke-width="1.6" {
                path d="M5 6 12 4l7 4-1 9-8 3-6-6Z M5 6l7 6 7-4 M12 12l6 5 M12 12l-2 8 M12 12l-8 2 M12 4v8";
            }
            g fill="currentColor" {
                circle cx="5" cy="6" r="2"; circle cx="12" cy="4" r="2"; circle cx="19" cy="8" r="2";
                circle cx="18" cy="17" r="2"; circle cx="10" cy="20" r="2"; circle cx="4" cy="14" r="2";
                circle cx="12" cy="12" r="2.4";
            }
        }
    }
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Fault, Place};

    fn rendered(fault: Fault, language: Language) -> String {
        let failure = Failure {
            fault,
            place: Some(Place {
                site_name: "Garagem 01".into(),
                org_name: "<script>alert(1)</script>\u{202e}".into(),
            }),
            since_ms: Some(1_795_362_120_000),
        };
        let setting = Setting {
            language,
            request_id: "0123456789abcdef0123456789abcdef",
            utc_offset_min: -180,
            now_ms: 1_795_362_840_000,
        };
        page(&failure, setting)
    }

    #[test]
    fn a_page_tells_the_site_since_when_and_which_hop_broke() {
        let page = rendered(Fault::TunnelDown, Language::Portuguese);
        assert!(page.contains("lang=\"pt-BR\""));
        assert!(page.contains("Este local está fora do ar"));
        assert!(page.contains("Fora do ar há 12 minutos"));
        assert!(page.contains("desde 22/11/2026 12:42 (UTC−3)"));
        let broken = page.split("class=\"broken\"").nth(1).unwrap();
        assert!(broken.split("</li>").next().unwrap().contains("Túnel"));
        let page = rendered(Fault::UnknownHost, Language::Portuguese);
        assert!(!page.contains("class=\"broken\""), "no hop is broken");
        let page = rendered(Fault::TunnelDown, Language::English);
        assert!(page.contains("This site is offline"));
        assert!(page.contains("Offline for 12 minutes"));
    }

    #[test]
    fn no_page_holds_a_script_or_a_foreign_resource() {
        for fault in Fault::ALL {
            let page = rendered(fault, Language::English);
            assert!(!page.contains("<script"), "names are escaped");
            assert!(page.contains("<bdi>"), "names can't turn the text around");
            for loader in ["src=", "http://", "https://", "url(", "style=\"", "@import"] {
                assert!(!page.contains(loader), "{fault:?}: {loader}");
            }
        }
    }

    #[test]
    fn the_policy_allows_exactly_the_style_sheet_of_the_page() {
        let page = rendered(Fault::OriginDown, Language::Portuguese);
        let style = page.split("<style>").nth(1).unwrap();
        let style = style.split("</style>").next().unwrap();
        let hash = BASE64.encode(&Sha256::digest(style));
        assert!(content_security_policy().contains(&hash));
    }
}
