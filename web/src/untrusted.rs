//! Text that came from outside (host names, operators' names, record values), shown so that it
//! can't lie about itself. It never renders a control, invisible or direction-changing character as
//! such.

use std::fmt;

use maud::{Escaper, Render};

/// Text whose author is not trusted. Rendering it escapes HTML and replaces every character that is
/// invisible, moves the cursor or changes the writing direction (Unicode bidi controls among them)
/// by its code, as in `[U+202E]`.
///
/// The replacement is plain text, so it is as safe inside an attribute as it is between tags. Where
/// the exact value has to survive a round trip (a hidden field, a link), use [`Untrusted::as_str`],
/// which maud escapes like any other string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// The text exactly as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Untrusted {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Render for Untrusted {
    fn render_to(&self, buffer: &mut String) {
        Visible(&self.0).render_to(buffer);
    }
}

/// A borrowed [`Untrusted`].
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl Render for Visible<'_> {
    fn render_to(&self, buffer: &mut String) {
        // Writing into a String can't fail.
        let _ = fmt::write(&mut Escaper::new(buffer), format_args!("{self}"));
    }
}

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if deceives(character) {
                write!(f, "[U+{:04X}]", u32::from(character))?;
            } else {
                fmt::Write::write_char(f, character)?;
            }
        }
        Ok(())
    }
}

/// Control characters, Unicode's bidi and other format characters, invisible fillers, and line or
/// paragraph separators.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Untrusted::from(text).render().into_string()
    }

    #[test]
    fn ordinary_names_are_shown_as_they_are() {
        assert_eq!(shown("Garagem São João №5"), "Garagem São João №5");
    }

    #[test]
    fn a_right_to_left_override_is_spelled_out() {
        assert_eq!(shown("garagem\u{202E}exe"), "garagem[U+202E]exe");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(shown("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn no_text_can_open_a_tag_leave_an_attribute_or_hide_a_character(text in any::<String>()) {
            let shown = shown(&text);
            prop_assert!(!shown.contains(['<', '>', '"']));
            prop_assert!(!shown.chars().any(deceives));
        }
    }
}
