//! Both languages say the same, as far as a program can see.

use super::*;

#[test]
fn every_text_speaks_both_languages_and_has_the_same_gaps() {
    let pages = Text::ALL.iter().map(|text| text.both());
    let compliance = ComplianceText::ALL.iter().map(|text| text.both());
    let organization = OrganizationText::ALL.iter().map(|text| text.both());
    let profile = ProfileText::ALL.iter().map(|text| text.both());
    for (pt, en) in pages.chain(compliance).chain(organization).chain(profile) {
        assert!(
            !pt.trim().is_empty() && !en.trim().is_empty(),
            "a text is empty beside {pt:?} and {en:?}"
        );
        assert_eq!(
            pt.matches("{}").count(),
            en.matches("{}").count(),
            "{pt:?} and {en:?} have different gaps"
        );
    }
}
