//! Licence expressions (SPDX, annex D of its specification 2.3), as far as crates use them.

/// Whether someone who has these licences only may use what the expression covers: one side of each OR, all of each AND.
pub(crate) fn allows(expression: &str, allowed: &[&str]) -> bool {
    // Crates from before 2017 write a stroke for OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        words: &words,
        allowed,
    };
    let verdict = reader.any();
    verdict && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> bool {
        let mut verdict = self.all();
        while self.takes("OR") {
            verdict |= self.all();
        }
        verdict
    }

    fn all(&mut self) -> bool {
        let mut verdict = self.one();
        while self.takes("AND") {
            verdict &= self.one();
        }
        verdict
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let verdict = self.any();
            return verdict & self.takes(")");
        }
        let Some(name) = self.next() else {
            return false;
        };
        match self.takes("WITH") {
            true => {
                let exception = self.next().unwrap_or_default();
                self.allowed
                    .contains(&format!("{name} WITH {exception}").as_str())
            }
            false => self.allowed.contains(&name),
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[test]
fn one_side_of_an_or_is_enough_and_an_and_needs_both() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, verdict) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("MIT OR GPL-3.0 AND GPL-2.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH Other-exception", false),
        ("(MIT", false),
        ("MIT MIT", false),
        ("", false),
    ] {
        assert_eq!(allows(expression, &allowed), verdict, "{expression:?}");
    }
}
