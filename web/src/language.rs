//! Which of the two languages a page speaks: the operator's choice (a cookie), else the browser's
//! wish, else Portuguese.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use crate::cookie;
use crate::text::Words;

/// A sentence in both languages, for texts that the catalogue can't know in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bilingual {
    pub pt: String,
    pub en: String,
}

impl Bilingual {
    pub(crate) fn of(text: impl Words) -> Self {
        let (pt, en) = text.both();
        Self {
            pt: pt.to_owned(),
            en: en.to_owned(),
        }
    }

    #[must_use]
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::Portuguese => &self.pt,
            Language::English => &self.en,
        }
    }
}

/// One of the two languages that people are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Portuguese,
    English,
}

impl Language {
    /// The language for a request.
    pub(crate) fn of_request(headers: &HeaderMap) -> Language {
        cookie::value(headers, COOKIE)
            .and_then(Language::parse)
            .or_else(|| {
                headers
                    .get(ACCEPT_LANGUAGE)?
                    .to_str()
                    .ok()
                    .and_then(preferred)
            })
            .unwrap_or(Language::Portuguese)
    }

    /// The language by its tag in forms, cookies and `lang` attributes.
    pub(crate) fn parse(tag: &str) -> Option<Language> {
        [Language::Portuguese, Language::English]
            .into_iter()
            .find(|language| language.tag() == tag)
    }

    pub(crate) fn tag(self) -> &'static str {
        match self {
            Language::Portuguese => "pt-BR",
            Language::English => "en",
        }
    }

    /// The other one, which the switch offers.
    pub(crate) fn other(self) -> Language {
        match self {
            Language::Portuguese => Language::English,
            Language::English => Language::Portuguese,
        }
    }

    /// Its own name for itself.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Language::Portuguese => "Português",
            Language::English => "English",
        }
    }

    pub(crate) fn say(self, text: impl Words) -> &'static str {
        let (pt, en) = text.both();
        match self {
            Language::Portuguese => pt,
            Language::English => en,
        }
    }

    /// The text with its `{}` replaced in order.
    pub(crate) fn fill(self, text: impl Words, values: &[&dyn std::fmt::Display]) -> String {
        let mut filled = String::new();
        let mut values = values.iter();
        let mut rest = self.say(text);
        while let Some((before, after)) = rest.split_once("{}") {
            filled.push_str(before);
            if let Some(value) = values.next() {
                filled.push_str(&value.to_string());
            }
            rest = after;
        }
        filled + rest
    }
}

/// The better liked of our languages in an `Accept-Language` (RFC 9110 §12.5.4); Portuguese wins a
/// tie. None where it names neither.
#[must_use]
pub fn preferred(header: &str) -> Option<Language> {
    let weight_of = |primary: &str| {
        header
            .split(',')
            .take(RANGES_MAX)
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let tag = parts.next()?;
                let matches = tag.split('-').next()?.eq_ignore_ascii_case(primary);
                let weight = parts
                    .find_map(|parameter| parameter.strip_prefix("q="))
                    .map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
                matches.then_some(weight)
            })
            .fold(0.0_f32, f32::max)
    };
    let (portuguese, english) = (weight_of("pt"), weight_of("en"));
    if english > portuguese {
        Some(Language::English)
    } else if portuguese > 0.0 {
        Some(Language::Portuguese)
    } else {
        None
    }
}

/// The cookie that keeps the operator's choice.
pub(crate) const COOKIE: &str = "malha-language";

/// Ranges beyond this many in an `Accept-Language` are not read.
const RANGES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    fn asked(header: &'static str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, http::HeaderValue::from_static(header));
        Language::of_request(&headers)
    }

    #[test]
    fn portuguese_is_spoken_to_who_asks_for_nothing_or_for_something_else() {
        assert_eq!(
            Language::of_request(&HeaderMap::new()),
            Language::Portuguese
        );
        assert_eq!(asked("de-DE,fr;q=0.8"), Language::Portuguese);
        assert_eq!(asked("pt,en"), Language::Portuguese);
    }

    #[test]
    fn the_better_liked_language_wins() {
        assert_eq!(asked("en-US,en;q=0.9,pt-BR;q=0.5"), Language::English);
        assert_eq!(asked("en;q=0.3, pt-BR"), Language::Portuguese);
        assert_eq!(asked("en;q=0, pt;q=0.1"), Language::Portuguese);
    }

    #[test]
    fn the_choice_in_the_cookie_beats_the_browser() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, http::HeaderValue::from_static("pt-BR"));
        headers.insert(
            http::header::COOKIE,
            http::HeaderValue::from_static("a=b; malha-language=en"),
        );
        assert_eq!(Language::of_request(&headers), Language::English);
    }

    #[test]
    fn values_fill_the_gaps_in_order() {
        let text = Language::English.fill(Text::AppliedBy, &[&3, &7]);
        assert_eq!(text, "Applied by 3 of 7 nodes");
    }
}
