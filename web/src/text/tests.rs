//! Both languages say the same, as far as a program can see.

use super::*;

#[test]
fn every_text_speaks_both_languages_and_has_the_same_gaps() {
    for text in Text::ALL {
        let (pt, en) = text.both();
        assert!(
            !pt.trim().is_empty() && !en.trim().is_empty(),
            "{text:?} is empty"
        );
        assert_eq!(
            pt.matches("{}").count(),
            en.matches("{}").count(),
            "{text:?} has different gaps"
        );
    }
}
