//! Bodies, queries and path parts as handlers take them: parsed into types that can't be wrong, or refused with the place
//! that is wrong. It never lets an unknown field pass.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{header, request::Parts};
use malha_proto::{HostName, Label};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::Segment;

use crate::api::problem::{Kind, Problem};
use crate::refusals::{self, Refusal};

/// A JSON body. Broken JSON is a 400 that names line and column, a wrong value a 422 that names the field.
pub(super) struct Body<T>(pub(super) T);

/// The query of the URL.
pub(super) struct Query<T>(pub(super) T);

/// The variable parts of the path, percent-decoded.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            return Err(Problem::of(Kind::MediaType, &Refusal::BodyType));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unread(&rejection))?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                let text = rejection.body_text();
                let problem = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text);
                let at =
                    quoted(problem).or_else(|| problem.split_once(": ").map(|(field, _)| field));
                let unread = Refusal::QueryUnread {
                    problem: problem.to_owned(),
                };
                let document = Problem::of(Kind::Syntax, &unread);
                at.map_or(document.clone(), |field| document.at(field))
            })
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| {
                let problem = rejection.body_text();
                Problem::of(Kind::Syntax, &Refusal::PathUnread { problem })
            })
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn unread(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        _ => Problem::of(Kind::Syntax, &Refusal::BodyCut),
    }
}

pub(super) fn too_large() -> Problem {
    let most_kib = super::MAX_BODY_BYTES / 1_024;
    Problem::of(Kind::TooLarge, &Refusal::BodyLarge { most_kib })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would also take a list of the fields' values.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| refuse(&error, "."))?;
        return Err(Problem::of(Kind::Invalid, &Refusal::BodyNoObject));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let problem = refuse(error.inner(), &error.path().to_string());
        match name_words(bytes, error.path(), &error.inner().to_string()) {
            Some(words) => problem
                .in_portuguese(&format!("{}: {}", error.path(), words.pt))
                .because(NAME),
            None => problem,
        }
    })?;
    json.end().map_err(|error| refuse(&error, "."))?;
    Ok(value)
}

/// The words for a text that should be a name. The reader of JSON keeps only the English ones, so the name is read again.
fn name_words(
    bytes: &[u8],
    path: &serde_path_to_error::Path,
    problem: &str,
) -> Option<malha_web::Bilingual> {
    let body: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let mut at = &body;
    for segment in path.iter() {
        at = match segment {
            Segment::Map { key } => at.get(key)?,
            Segment::Seq { index } => at.get(index)?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    let text = at.as_str()?;
    let errors = [text.parse::<Label>().err(), text.parse::<HostName>().err()];
    let mut fitting = errors.into_iter().flatten();
    let error = fitting.find(|error| problem.starts_with(&error.to_string()))?;
    Some(refusals::name(&error))
}

fn refuse(error: &serde_json::Error, path: &str) -> Problem {
    let text = error.to_string();
    let named = (path != ".").then_some(path).or_else(|| quoted(&text));
    match (error.classify(), named) {
        (Category::Data, Some(field)) => Problem::invalid(field, &data(without_place(&text))),
        (Category::Data, None) => Problem::of(Kind::Invalid, &data(&text)),
        (Category::Syntax | Category::Eof | Category::Io, named) => {
            let problem = match named {
                Some(field) => format!("{field}: {text}"),
                None => text.clone(),
            };
            let problem = Problem::of(Kind::Syntax, &Refusal::NoJson { problem });
            named.map_or(problem.clone(), |field| problem.at(field))
        }
    }
}

/// Without the line and column of the JSON: the field is named, and whoever used the CLI wrote no JSON.
fn without_place(text: &str) -> &str {
    text.rfind(" at line ").map_or(text, |at| &text[..at])
}

/// What the reader of JSON says most often; the rest stays in its words.
fn data(text: &str) -> Refusal {
    let problem = text.to_owned();
    match text {
        "invalid socket address syntax" => return Refusal::NoSocketAddress,
        "invalid IP address syntax" => return Refusal::NoAddress,
        _ => {}
    }
    let Some(field) = quoted(text).map(str::to_owned) else {
        return Refusal::Value { problem };
    };
    match text {
        text if text.contains("missing field `") => Refusal::MissingField { field, problem },
        text if text.contains("duplicate field `") => Refusal::FieldTwice { field, problem },
        _ => Refusal::UnknownField { field, problem },
    }
}

/// The field that serde names when it misses it, does not know it, or met it twice.
fn quoted(text: &str) -> Option<&str> {
    let after = ["missing field `", "unknown field `", "duplicate field `"]
        .into_iter()
        .find_map(|start| text.split_once(start).map(|(_, rest)| rest))?;
    after.split_once('`').map(|(field, _)| field)
}

/// As other bad names are called.
const NAME: &str = "name";

#[cfg(test)]
mod tests {
    use super::*;
    use malha_proto::Label;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        name: Label,
        #[serde(default)]
        tags: Vec<Label>,
    }

    fn problem(body: &str) -> Problem {
        parse::<New>(body.as_bytes())
            .map(|new| (new.name, new.tags))
            .unwrap_err()
    }

    #[test]
    fn broken_json_is_named_with_line_and_column() {
        let problem = problem("{\n \"name\": \"a\",\n}");
        assert_eq!(problem.status, 400);
        assert!(
            problem.detail.contains("line 3 column 1"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_its_path() {
        let problem = problem(r#"{"name":"a","tags":["b","C"]}"#);
        assert_eq!(
            (problem.status, problem.field.as_deref()),
            (422, Some("tags[1]"))
        );
        assert!(problem.detail.contains("'C'"), "{}", problem.detail);
    }

    #[test]
    fn missing_unknown_and_repeated_fields_are_named() {
        for (body, field) in [
            ("{}", "name"),
            (r#"{"name":"a","nome":1}"#, "nome"),
            (r#"{"name":"a","name":"b"}"#, "name"),
        ] {
            let problem = problem(body);
            assert_eq!(
                (problem.status, problem.field.as_deref()),
                (422, Some(field)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_list_of_values_is_no_object() {
        for body in ["[\"a\"]", " [\"a\", []]", "null", "\"a\"", "1"] {
            assert_eq!(problem(body).status, 422, "{body}");
        }
    }

    #[test]
    fn what_follows_the_body_is_refused() {
        assert_eq!(problem(r#"{"name":"a"} {}"#).status, 400);
    }
}
