//! What a client wants its error pages to be: a page or a problem document, Portuguese or English.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_LANGUAGE};

/// Form and language of an answer that the edge makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preference {
    pub(crate) form: Form,
    pub(crate) language: Language,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Page,
    /// RFC 9457.
    Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Portuguese,
    English,
}

impl Language {
    /// The tag in `lang` and `Content-Language`.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Portuguese => "pt-BR",
            Self::English => "en",
        }
    }
}

impl Preference {
    /// A page only for clients that name `text/html`; Portuguese unless English ranks higher.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = ranked(headers, &ACCEPT);
        let page = rank_of(&accepted, |range| {
            range == "text/html" || range == "application/xhtml+xml"
        });
        let problem = rank_of(&accepted, |range| {
            range == "application/problem+json" || range == "application/json"
        });
        let form = match page {
            0 => Form::Problem,
            page if page < problem => Form::Problem,
            _ => Form::Page,
        };
        let spoken = ranked(headers, &ACCEPT_LANGUAGE);
        let english = rank_of(&spoken, |tag| primary(tag) == "en");
        let portuguese = rank_of(&spoken, |tag| primary(tag) == "pt" || tag == "*");
        let language = if english > portuguese {
            Language::English
        } else {
            Language::Portuguese
        };
        Self { form, language }
    }
}

/// Most entries of an `Accept` header that are looked at.
const MAX_RANGES: usize = 32;

/// Entries in lower case with their quality in thousandths and their place.
fn ranked(headers: &HeaderMap, name: &http::HeaderName) -> Vec<(String, u32)> {
    let texts = headers.get_all(name).iter();
    texts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .take(MAX_RANGES)
        .enumerate()
        .map(|(place, entry)| {
            let mut parts = entry.split(';').map(str::trim);
            let range = parts.next().unwrap_or("").to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |text| text.parse::<f32>().unwrap_or(0.0));
            (range, rank(quality, place))
        })
        .collect()
}

/// Quality first, then the order in which the client wrote; 0 means not acceptable.
fn rank(quality: f32, place: usize) -> u32 {
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
    match thousandths {
        0 => 0,
        quality => quality * MAX_RANGES as u32 + (MAX_RANGES - place) as u32,
    }
}

fn rank_of(ranked: &[(String, u32)], wanted: impl Fn(&str) -> bool) -> u32 {
    let ranks = ranked.iter().filter(|(range, _)| wanted(range));
    ranks.map(|(_, rank)| *rank).max().unwrap_or(0)
}

fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preference(accept: &str, language: &str) -> Preference {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        headers.insert(ACCEPT_LANGUAGE, language.parse().unwrap());
        Preference::of(&headers)
    }

    #[test]
    fn browsers_get_pages_and_programs_get_problem_documents() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(preference(browser, "").form, Form::Page);
        for program in [
            "*/*",
            "",
            "application/json",
            "text/html;q=0.1, application/json",
            "text/html;q=0",
            "text/html;q=NaN",
        ] {
            assert_eq!(preference(program, "").form, Form::Problem, "{program}");
        }
    }

    #[test]
    fn portuguese_is_the_default_and_the_higher_rank_wins() {
        let cases = [
            ("", Language::Portuguese),
            ("fr", Language::Portuguese),
            ("*", Language::Portuguese),
            ("en", Language::English),
            ("en-US,en;q=0.9,pt;q=0.8", Language::English),
            ("pt-BR,pt;q=0.9,en;q=0.8", Language::Portuguese),
            ("fr, en;q=0.5", Language::English),
            ("pt;q=0.5, en;q=0.7", Language::English),
        ];
        for (header, language) in cases {
            assert_eq!(preference("", header).language, language, "{header}");
        }
    }
}
