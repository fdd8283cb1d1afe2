//! Bodies, queries and path parts as handlers take them: parsed into types that can't be wrong, or refused with the place
//! that is wrong. It never lets an unknown field pass.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{header, request::Parts};
use malha_proto::{HostName, Label};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
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
        if let Some(problem) = no_word::<T>(bytes, error.path(), error.inner().classify()) {
            return problem;
        }
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
    let mut body = serde_json::from_slice(bytes).ok()?;
    let text = value_at(&mut body, path)?.as_str()?;
    let errors = [text.parse::<Label>().err(), text.parse::<HostName>().err()];
    let mut fitting = errors.into_iter().flatten();
    let error = fitting.find(|error| problem.starts_with(&error.to_string()))?;
    Some(refusals::name(&error))
}

/// A number, say, where one of a few words belongs. The reader of JSON calls that broken JSON and names no word, so that it is asked
/// what it thinks of an empty one.
fn no_word<T: DeserializeOwned>(
    bytes: &[u8],
    path: &serde_path_to_error::Path,
    category: Category,
) -> Option<Problem> {
    let mut body: Value = serde_json::from_slice(bytes).ok()?;
    let value = value_at(&mut body, path).filter(|_| category == Category::Syntax)?;
    let found = std::mem::replace(value, Value::String(String::new()));
    let error = serde_path_to_error::deserialize::<_, T>(body).err();
    let error = error.filter(|error| error.path().to_string() == path.to_string());
    let error = error.map(|error| error.inner().to_string());
    let expected = error.as_deref().and_then(|it| it.split_once("expected "));
    let expected = expected.map_or("a string", |(_, words)| words);
    let problem = format!("invalid type: {}, expected {expected}", kind(&found));
    Some(Problem::invalid(
        path.to_string(),
        &Refusal::Value { problem },
    ))
}

fn value_at<'a>(body: &'a mut Value, path: &serde_path_to_error::Path) -> Option<&'a mut Value> {
    path.iter().try_fold(body, |at, segment| match segment {
        Segment::Map { key } => at.get_mut(key),
        Segment::Seq { index } => at.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn refuse(error: &serde_json::Error, path: &str) -> Problem {
    let text = error.to_string();
    let named = (path != ".").then_some(path).or_else(|| quoted(&text));
    match (error.classify(), named) {
        (Category::Data, Some(field)) => Problem::invalid(field, &data(without_place(&text))),
        (Category::Data, None) => Problem::of(Kind::Invalid, &data(without_place(&text))),
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
    let problem = in_field_words(text);
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

/// What would be right, for who writes JSON and no Rust.
fn in_field_words(text: &str) -> String {
    let Some((found, expected)) = text.rsplit_once("expected ") else {
        return text.to_owned();
    };
    let most = |most: u64| format!("a whole number from 0 to {most}");
    let expected = match expected {
        "u8" => most(u8::MAX.into()),
        "u16" => most(u16::MAX.into()),
        "u32" => most(u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0 on".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        expected if expected.starts_with("struct ") => "an object".to_owned(),
        expected => expected.to_owned(),
    };
    format!("{found}expected {expected}")
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

    #[derive(Debug, Deserialize)]
    struct Wide {
        #[serde(rename = "profile")]
        _profile: malha_proto::Profile,
        #[serde(default, rename = "uses")]
        _uses: u16,
        #[serde(default, rename = "inner")]
        _inner: Vec<malha_proto::Exposure>,
    }

    #[test]
    fn a_wrong_kind_of_value_is_named_with_its_path_and_what_would_be_right() {
        for (body, field, right) in [
            (
                r#"{"profile":5}"#,
                "profile",
                "number, expected one of `garage`",
            ),
            (
                r#"{"profile":null}"#,
                "profile",
                "null, expected one of `garage`",
            ),
            (
                r#"{"profile":["garage"]}"#,
                "profile",
                "expected one of `garage`",
            ),
            (r#"{"profile":"x"}"#, "profile", "expected one of `garage`"),
            (
                r#"{"profile":"garage","inner":["tunnel",7]}"#,
                "inner[1]",
                "number, expected `tunnel`",
            ),
            (
                r#"{"profile":"garage","inner":7}"#,
                "inner",
                "expected a list",
            ),
            (
                r#"{"profile":"garage","uses":"7"}"#,
                "uses",
                "a whole number from 0 to 65535",
            ),
            (
                r#"{"profile":"garage","uses":70000}"#,
                "uses",
                "a whole number from 0 to 65535",
            ),
        ] {
            let problem = parse::<Wide>(body.as_bytes()).unwrap_err();
            let (status, at) = (problem.status, problem.field.as_deref());
            assert_eq!(
                (status, at),
                (422, Some(field)),
                "{body}: {}",
                problem.detail
            );
            assert!(problem.detail.contains(right), "{body}: {}", problem.detail);
            assert!(!problem.detail.contains(" column "), "{}", problem.detail);
        }
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
