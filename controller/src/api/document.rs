//! The OpenAPI document of the API and its form for people, both made from the handlers themselves. What all operations
//! share is added here once.

mod markdown;

pub use markdown::markdown;
#[cfg(test)]
pub(super) use markdown::operations as operations_of;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, PathItem, Ref,
    RefOr, Required, ResponseBuilder, Type,
};
use utoipa_axum::router::OpenApiRouter;

use crate::api::problem::ProblemDocument;
use crate::api::{Api, PREFIX, operations};

/// The document as `/api/openapi.json` serves it and `docs/openapi.json` holds it.
#[must_use]
pub fn openapi_json() -> String {
    json(&described(operations()).into_openapi())
}

pub(super) fn json(document: &OpenApi) -> String {
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn response(document: &str) -> Response {
    let headers = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (headers, document.to_owned()).into_response()
}

/// The same operations with everything in the document that all of them share.
pub(super) fn described(mut operations: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    let document = operations.get_openapi_mut();
    document.info = InfoBuilder::new()
        .title("Malha")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("malha_key_…")
        .description(Some(
            "An API key; every scope may read, write includes enrol and dns, admin is all.",
        ))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(API_KEY, SecurityScheme::Http(scheme));
    components
        .schemas
        .insert(PROBLEM.to_owned(), ProblemDocument::schema());
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        let path = format!("{PREFIX}{path}");
        describe_item(&path, &mut item);
        document.paths.paths.insert(path, item);
    }
    operations
}

fn describe_item(path: &str, item: &mut PathItem) {
    let methods = [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("delete", &mut item.delete),
    ];
    for (method, operation) in methods {
        if let Some(operation) = operation {
            describe(path, method, operation);
        }
    }
}

fn describe(path: &str, method: &str, operation: &mut Operation) {
    let words = path.trim_start_matches("/api/v1").replace(['{', '}'], "");
    operation.operation_id = Some(format!("{method}{}", words.replace(['/', '-'], "_")));
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(PROBLEM)))
        .build();
    let refused = ResponseBuilder::new()
        .description("What was wrong")
        .content(PROBLEM_TYPE, problem)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(refused));
    if method == "post" {
        operation
            .parameters
            .get_or_insert_default()
            .push(RefOr::T(idempotency_key()));
        if let Some(RefOr::T(created)) = operation.responses.responses.get("201").cloned() {
            let again = ResponseBuilder::from(created)
                .description("The same Idempotency-Key created this before; header `Idempotent-Replay: true`")
                .build();
            operation
                .responses
                .responses
                .insert("200".to_owned(), RefOr::T(again));
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "Done".to_owned();
        }
    }
}

fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("A repetition with the same key within a day creates nothing and names what was created"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128))))
        .build()
}

const DESCRIPTION: &str = "\
Every request shows an API key: `Authorization: Bearer malha_key_…`. Bodies are JSON; unknown fields are refused. Times are \
milliseconds of the Unix epoch.

**Names.** A resource is named by its id (`n12`) or by the path of names (`org/site/node`), in URLs percent-encoded \
(`org%2Fsite%2Fnode`). What looks like an id is one.

**Writes** answer the revision that holds them; they are durable then. `?wait=applied` waits until the online nodes that the \
change touches run with it, and says how many do and who lags. A creation with an `Idempotency-Key` can be repeated safely \
for a day.

**Lists** come in pages: `?limit=` and `?after=`, the latter from `next` of the page before.

**Problems** are RFC 9457 documents (`application/problem+json`) with `type`, `title`, `status`, `detail`, `instance` and, \
where one is to blame, `field`. Limits: 256 KiB for a body, 200 requests at once and 50 each second for a key; 429 and 503 \
carry `Retry-After`.";
const API_KEY: &str = "api_key";
const PROBLEM: &str = "Problem";
const PROBLEM_TYPE: &str = "application/problem+json";
