//! Form fields: a label for each, the wrong one marked beside its words, and what the operator
//! typed kept.

use std::cell::Cell;

use maud::{Markup, html};

use super::aftermath::{Attempt, refusal};
use crate::form::CSRF_FIELD;
use crate::text::{Text, Words};
use crate::visit::Visit;

/// One form of a page, blank or as it was refused.
pub(super) struct FormView<'a> {
    visit: &'a Visit,
    name: &'static str,
    attempt: Option<&'a Attempt>,
    /// Whether a field has shown the refusal; if none has, the form does.
    told: Cell<bool>,
}

/// A field's fixed parts.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: Text,
    pub(super) hint: Option<Text>,
    /// An example, or for a number its first value.
    pub(super) example: &'static str,
}

/// A choice: the value that is sent and the words that are shown.
pub(super) type Choice = (String, Markup);

impl<'a> FormView<'a> {
    pub(super) fn new(visit: &'a Visit, name: &'static str, attempt: Option<&'a Attempt>) -> Self {
        Self {
            visit,
            name,
            attempt,
            told: Cell::new(false),
        }
    }

    /// The form inside a panel that opens on demand: at once if it was refused or is the next step.
    pub(super) fn panel(
        &self,
        title: Text,
        action: &str,
        button: Text,
        next_step: bool,
        fields: Markup,
    ) -> Markup {
        html! {
            details.panel id=(format!("form-{}", self.name)) open[next_step || self.attempt.is_some()] {
                summary { h2 { (self.visit.say(title)) } }
                (self.form(action, button, fields))
            }
        }
    }

    /// The form around its `fields`, which this form has drawn.
    fn form(&self, action: &str, button: Text, fields: Markup) -> Markup {
        html! {
            form.stack method="post" action=(action) novalidate[self.attempt.is_some()] {
                (csrf(self.visit))
                @if let Some(attempt) = self.attempt && !self.told.get() {
                    p.problem.whole role="alert" { (refusal(self.visit, &attempt.refused.text)) }
                }
                (fields)
                div { button.button.primary type="submit" { (self.visit.say(button)) } }
            }
        }
    }

    pub(super) fn text(&self, field: Field) -> Markup {
        self.labelled(field, |id, value, described| html! {
            input type="text" id=(id) name=(field.name) value=(value) placeholder=(field.example) required
                autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby=[described]
                aria-invalid=[self.invalid(field)] autofocus[self.is_wrong(field.name)];
        })
    }

    /// A text field that starts with its example as its value.
    pub(super) fn text_or(&self, field: Field) -> Markup {
        self.labelled(field, |id, value, described| html! {
            input type="text" id=(id) name=(field.name) required autocomplete="off" autocapitalize="none" spellcheck="false"
                value=(if self.attempt.is_some() { value } else { field.example }) aria-describedby=[described]
                aria-invalid=[self.invalid(field)] autofocus[self.is_wrong(field.name)];
        })
    }

    pub(super) fn number(&self, field: Field, min: u64, max: u64) -> Markup {
        self.labelled(field, |id, value, described| html! {
            input type="number" id=(id) name=(field.name) min=(min) max=(max) required inputmode="numeric"
                value=(if self.attempt.is_some() { value } else { field.example }) aria-describedby=[described]
                aria-invalid=[self.invalid(field)] autofocus[self.is_wrong(field.name)];
        })
    }

    pub(super) fn lines(&self, field: Field) -> Markup {
        self.labelled(field, |id, value, described| html! {
            textarea id=(id) name=(field.name) rows="3" placeholder=(field.example) required autocomplete="off"
                spellcheck="false" aria-describedby=[described] aria-invalid=[self.invalid(field)]
                autofocus[self.is_wrong(field.name)] {
                // The parser drops one newline after the tag; without this one, input that begins
                // with one would lose it.
                "\n" (value)
            }
        })
    }

    /// A choice of one. With several choices none is made beforehand, unless `first` says so.
    pub(super) fn select(&self, field: Field, choices: &[Choice], first: bool) -> Markup {
        self.labelled(field, |id, value, described| html! {
            select id=(id) name=(field.name) required aria-describedby=[described] aria-invalid=[self.invalid(field)]
                autofocus[self.is_wrong(field.name)] {
                @if !first && choices.len() != 1 { option value="" { (self.visit.say(Text::NoneOption)) } }
                @for (choice, words) in choices {
                    option value=(choice) selected[choice == value] { (words) }
                }
            }
        })
    }

    /// A choice of any.
    pub(super) fn checkboxes(&self, field: Field, choices: &[Choice]) -> Markup {
        let chosen: Vec<&str> = self
            .attempt
            .map(|attempt| attempt.fields.all(field.name).collect())
            .unwrap_or_default();
        html! {
            fieldset.field {
                legend { (self.visit.say(field.label)) }
                div.checkboxes {
                    @for (choice, words) in choices {
                        label.checkbox {
                            input type="checkbox" name=(field.name) value=(choice)
                                checked[choices.len() == 1 || chosen.contains(&choice.as_str())];
                            span { (words) }
                        }
                    }
                }
                @if let Some(problem) = self.problem(field.name) { (problem) }
            }
        }
    }

    fn labelled(
        &self,
        field: Field,
        control: impl FnOnce(&str, &str, Option<String>) -> Markup,
    ) -> Markup {
        let id = format!("{}-{}", self.name, field.name);
        let hint_id = field.hint.map(|_| format!("{id}-hint"));
        let problem = self.problem(field.name);
        let problem_id = problem.is_some().then(|| format!("{id}-problem"));
        let described: Vec<String> = hint_id.iter().chain(&problem_id).cloned().collect();
        let value = self
            .attempt
            .map_or("", |attempt| attempt.fields.exact(field.name));
        html! {
            div.field {
                label for=(id) { (self.visit.say(field.label)) }
                (control(&id, value, (!described.is_empty()).then(|| described.join(" "))))
                @if let Some(hint) = field.hint { p.hint id=[hint_id] { (self.visit.say(hint)) } }
                @if let Some(problem) = problem { div id=[problem_id] { (problem) } }
            }
        }
    }

    fn problem(&self, field: &str) -> Option<Markup> {
        let attempt = self.attempt.filter(|_| self.is_wrong(field))?;
        self.told.set(true);
        Some(html! { p.problem { (refusal(self.visit, &attempt.refused.text)) } })
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.attempt
            .is_some_and(|attempt| attempt.refused.field.as_deref() == Some(field))
    }

    fn invalid(&self, field: Field) -> Option<&'static str> {
        self.is_wrong(field.name).then_some("true")
    }
}

/// The proof that a form is from a page of this session.
pub(super) fn csrf(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(CSRF_FIELD) value=(visit.viewer.csrf.reveal()); }
}

/// A write that needs a second thought and works without scripts: the button opens the question,
/// the question holds the form.
pub(super) struct Confirmed<'a, W> {
    /// Unique on the page; keeps the question open while its surroundings are drawn again.
    pub(super) id: &'a str,
    pub(super) ask: W,
    /// What it does that the operator should weigh.
    pub(super) hint: W,
    pub(super) yes: W,
    pub(super) action: &'a str,
    pub(super) hidden: &'a [(&'a str, &'a str)],
}

/// See [`Confirmed`].
pub(super) fn confirmed<W: Words>(visit: &Visit, write: &Confirmed<'_, W>) -> Markup {
    html! {
        details.confirm id=(write.id) {
            summary.button.small.danger { (visit.say(write.ask)) }
            form method="post" action=(write.action) {
                (csrf(visit))
                @for (name, value) in write.hidden { input type="hidden" name=(name) value=(value); }
                p { (visit.say(write.hint)) }
                button.button.small.danger-strong type="submit" { (visit.say(write.yes)) }
            }
        }
    }
}
