//! Whether the state folder is its owner's alone, and whole.

use std::io;
use std::path::Path;

use super::report::Finding;
use super::subject::Subject;
use crate::state::{Exposed, exposed};
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

pub(super) fn look(subject: &Subject, lang: Lang) -> Finding {
    let folder = &subject.settings.state;
    if let Some(why) = &subject.damage {
        return Finding::problem("files-damaged", trouble::files_damaged(lang, why));
    }
    judge(folder, exposed(folder), lang)
}

fn judge(folder: &Path, exposed: io::Result<Vec<Exposed>>, lang: Lang) -> Finding {
    let place = folder.display();
    match exposed {
        Ok(found) if found.is_empty() => {
            Finding::ok("files-private", text::files_private(lang, place))
        }
        Ok(found) => {
            let files = found.iter().take(SHOWN);
            let files: Vec<String> = files
                .map(|it| format!("{} ({:o})", it.path.display(), it.mode))
                .collect();
            let trouble = trouble::files_exposed(lang, files.join(", "), place);
            Finding::problem("files-exposed", trouble)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::could_not_test("files-none", text::not_enrolled(lang))
        }
        Err(error) => Finding::could_not_test("files-unread", text::unreadable(lang, error)),
    }
}

const SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_named_with_its_mode() {
        let folder = Path::new("/var/lib/malha-node");
        let key = Exposed {
            path: folder.join("wg.key"),
            mode: 0o644,
        };
        let said = judge(folder, Ok(vec![key]), Lang::En);
        assert_eq!(
            (said.verdict, said.code),
            (Verdict::Problem, "files-exposed")
        );
        assert!(said.observed.contains("wg.key (644)"), "{}", said.observed);
        assert_eq!(judge(folder, Ok(vec![]), Lang::En).verdict, Verdict::Ok);
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            let said = judge(folder, Err(kind.into()), Lang::En);
            assert_eq!(said.verdict, Verdict::CouldNotTest);
        }
    }
}
