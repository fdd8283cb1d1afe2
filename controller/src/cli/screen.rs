//! What the terminal shows: tables, details and ages. Nothing from outside reaches it raw: control characters and marks
//! that turn text around are written out.

use std::io::Write;

use serde_json::Value;

use crate::api::is_direction_mark;
use crate::cli::text::{self, Lang, Word};
use crate::clock::now_ms;

/// The way to the terminal.
pub(super) struct Screen {
    pub(super) json: bool,
    pub(super) lang: Lang,
}

impl Screen {
    /// A line of the answer.
    pub(super) fn line(&self, line: &str) {
        // Whoever closed the pipe has read enough.
        let _ = writeln!(std::io::stdout().lock(), "{}", safe(line));
    }

    /// A line about the answer, for people, on standard error.
    pub(super) fn note(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", safe(line));
    }

    /// One JSON document. Its strings are escaped by JSON itself, marks that turn text around by us.
    pub(super) fn json(&self, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        let _ = writeln!(std::io::stdout().lock(), "{}", json_safe(&text));
    }

    /// Rows under their headings, columns aligned.
    pub(super) fn table(&self, columns: &[Word], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.note(Word::Nothing.text(self.lang));
        }
        let heads: Vec<String> = columns
            .iter()
            .map(|word| word.text(self.lang).to_uppercase())
            .collect();
        for line in aligned(&heads, rows) {
            self.line(&line);
        }
    }

    /// One thing, a line per property; empty ones are left out.
    pub(super) fn details(&self, columns: &[Word], cells: &[String]) {
        let width = columns
            .iter()
            .map(|word| word.text(self.lang).chars().count())
            .max()
            .unwrap_or(0);
        for (word, cell) in columns
            .iter()
            .zip(cells)
            .filter(|(_, cell)| !cell.is_empty())
        {
            let head = word.text(self.lang);
            self.line(&format!(
                "{head}{}  {cell}",
                " ".repeat(width - head.chars().count())
            ));
        }
    }

    /// How long ago, or how far ahead.
    pub(super) fn moment(&self, at_ms: u64) -> String {
        let now_ms = now_ms();
        match at_ms.checked_sub(now_ms) {
            Some(ahead_ms) if ahead_ms > 0 => text::ahead(self.lang, span(ahead_ms)),
            _ if now_ms - at_ms < 1_000 => Word::Now.text(self.lang).to_owned(),
            _ => text::ago(self.lang, span(now_ms - at_ms)),
        }
    }

    /// How long something has been so.
    pub(super) fn age(&self, since_ms: u64) -> String {
        span(now_ms().saturating_sub(since_ms))
    }

    pub(super) fn word(&self, word: Word) -> String {
        word.text(self.lang).to_owned()
    }
}

/// `42 s`, `7 min`, `3 h`, `12 d`: the largest unit that fits twice, so that the error is at most half.
pub(super) fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Bytes in the unit that people use.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (0..units.len() - 1)
        .find(|step| bytes >> (10 * (step + 1)) == 0)
        .unwrap_or(units.len() - 1);
    format!("{} {}", bytes >> (10 * step), units[step])
}

fn aligned(heads: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> = std::iter::once(heads)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|row| row.iter().map(|cell| safe(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The text with everything written out that a terminal would obey.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction_mark(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON leaves C1 controls, DEL and direction marks as they are; as escapes they mean the same.
fn json_safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n') || is_direction_mark(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_cells_are_written_out() {
        let rows = [
            vec!["a\u{1b}[2J".to_owned(), "1".to_owned()],
            vec!["á".to_owned(), "2".to_owned()],
        ];
        let lines = aligned(&["NOME".to_owned(), "ID".to_owned()], &rows);
        assert_eq!(lines, ["NOME        ID", "a\\u{1b}[2J  1", "á           2"]);
    }

    #[test]
    fn json_stays_json_and_harmless() {
        let text = serde_json::to_string(&"a\u{202e}\u{9b}\u{7f}\n").unwrap();
        let safe = json_safe(&text);
        assert!(safe.is_ascii());
        assert_eq!(
            serde_json::from_str::<String>(&safe).unwrap(),
            "a\u{202e}\u{9b}\u{7f}\n"
        );
    }

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!(
            [
                span(1_500),
                span(180_000),
                span(7_300_000),
                span(172_800_000)
            ],
            ["1 s", "3 min", "2 h", "2 d"]
        );
        assert_eq!(
            [size(0), size(1_023), size(2_048), size(u64::MAX)],
            ["0 B", "1023 B", "2 KiB", "16777215 TiB"]
        );
    }
}
