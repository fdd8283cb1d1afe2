//! The HTML document around a page: head, navigation, account. Nothing inline: scripts and styles
//! are assets.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::asset;
use crate::console::Role;
use crate::form::CSRF_FIELD;
use crate::language::Language;
use crate::text::Text;
use crate::visit::Visit;

/// A page for a signed-in operator.
pub(super) fn signed_in(visit: &Visit, section: &str, title: &Markup, content: Markup) -> Markup {
    let body = html! {
        div.frame {
            header.top {
                (brand())
                button.button.menu-button type="button" popovertarget="menu" {
                    (icon_menu()) (visit.say(Text::Menu))
                }
            }
            nav #menu popover="auto" aria-label=(visit.say(Text::MainNavigation)) {
                ul {
                    @for (address, text) in SECTIONS {
                        li {
                            a href=(address) aria-current=[(address == section).then_some("page")] {
                                (visit.say(text))
                            }
                        }
                    }
                }
                (account(visit))
            }
            main #main tabindex="-1" { (content) }
        }
    };
    document(visit.language, title, "", body)
}

/// A page for anyone: the login, an error.
pub(super) fn stranger(language: Language, title: &str, back: &str, content: Markup) -> Markup {
    let body = html! {
        main #main.stranger tabindex="-1" {
            (brand())
            p.tagline { (language.say(Text::Tagline)) }
            (content)
            (language_switch(language, back))
        }
    };
    document(language, &html! { (title) }, "stranger-page", body)
}

fn document(language: Language, title: &Markup, body_class: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language.tag()) data-ago=(language.say(Text::Ago)) data-ahead=(language.say(Text::Ahead))
            data-just-now=(language.say(Text::JustNow)) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX_CONFIG);
                title { (title) " · Malha" }
                link rel="icon" type="image/svg+xml" href=(asset::icon().href());
                link rel="stylesheet" href=(asset::stylesheet().href());
                script src=(asset::htmx().href()) defer {}
                script src=(asset::script().href()) defer {}
            }
            body class=(body_class) {
                a.skip href="#main" { (language.say(Text::SkipToContent)) }
                (body)
            }
        }
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/" { img src=(asset::icon().href()) alt="" width="32" height="32"; span { "Malha" } }
    }
}

fn account(visit: &Visit) -> Markup {
    let role = match visit.viewer.role {
        Role::Owner => Text::RoleOwner,
        Role::Operator => Text::RoleOperator,
        Role::SiteTechnician => Text::RoleSiteTechnician,
        Role::Auditor => Text::RoleAuditor,
    };
    html! {
        div.account {
            p {
                span.muted { (visit.say(Text::SignedInAs)) } " " strong { (visit.viewer.user) } br;
                span.muted { (visit.say(role)) }
            }
            div.account-buttons {
                (language_switch(visit.language, &visit.here))
                form method="post" action="/logout" {
                    input type="hidden" name=(CSRF_FIELD) value=(visit.viewer.csrf.reveal());
                    button.button.small type="submit" { (visit.say(Text::SignOut)) }
                }
            }
        }
    }
}

fn language_switch(language: Language, back: &str) -> Markup {
    let other = language.other();
    html! {
        form.language method="post" action="/language" {
            input type="hidden" name="back" value=(back);
            button.button.small type="submit" name="language" value=(other.tag()) lang=(other.tag()) {
                (other.own_name())
            }
        }
    }
}

fn icon_menu() -> Markup {
    html! {
        svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
            (PreEscaped(r#"<path d="M2 4h12M2 8h12M2 12h12" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round"/>"#))
        }
    }
}

const SECTIONS: [(&str, Text); 11] = [
    ("/", Text::NavOverview),
    ("/nodes", Text::NavNodes),
    ("/sites", Text::NavSites),
    ("/tokens", Text::NavTokens),
    ("/services", Text::NavServices),
    ("/balancers", Text::NavBalancers),
    ("/policy", Text::NavPolicy),
    ("/profiles", Text::NavProfiles),
    ("/compliance", Text::NavCompliance),
    ("/dns", Text::NavDns),
    ("/activity", Text::NavActivity),
];

/// Only our extension; no style of its own; no history, for links are plain; an opened `<details>`
/// stays open when its surroundings are drawn again; a lost stream is tried again at least every 8
/// s.
const HTMX_CONFIG: &str = r#"{"extensions":"sse","includeIndicatorCSS":false,"history":false,
"morphIgnore":["data-htmx-powered","open","hidden"],"sse":{"reconnectMaxDelay":8000}}"#;
