//! The OpenAPI document as a page for people, `docs/API.md`. It adds nothing that the document does not say.

use std::fmt::Write;

use serde_json::Value;

/// The page of an OpenAPI document.
#[must_use]
pub fn markdown(openapi_json: &str) -> String {
    let document: Value = serde_json::from_str(openapi_json).unwrap_or_default();
    let mut page = format!(
        "# The HTTP API\n\nMade by `malha openapi --markdown`; the machine's form is `openapi.json`, served at \
         `/api/openapi.json`.\n\n{}\n",
        text(&document["info"]["description"])
    );
    for tag in tags(&document) {
        line(&mut page, &format!("\n## {tag}"));
        for (path, method, operation) in
            operations(&document).filter(|(_, _, operation)| operation["tags"][0] == tag)
        {
            write_operation(&mut page, path, method, operation);
        }
    }
    line(&mut page, "\n## Documents");
    let schemas = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten();
    for (name, schema) in
        schemas.filter(|(name, _)| !name.starts_with(PAGE) && !name.starts_with(WRITTEN))
    {
        write_schema(&mut page, &document, name, schema);
    }
    page
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    line(page, &format!("\n### `{} {path}`\n", method.to_uppercase()));
    let scope = text(&operation["security"][0]["api_key"][0]);
    line(
        page,
        &format!("{}. Scope: `{scope}`.", text(&operation["summary"])),
    );
    if let Some(description) = operation["description"].as_str() {
        line(page, &format!("\n{description}"));
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let rows: Vec<String> = parameters
        .map(|parameter| {
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            format!(
                "| `{name}` | {place} | {} |",
                cell(&parameter["description"])
            )
        })
        .collect();
    if !rows.is_empty() {
        line(page, "\n| parameter | in | meaning |\n|---|---|---|");
        rows.iter().for_each(|row| line(page, row));
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        line(page, &format!("\nBody: {}.", shape(body)));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let schema = &response["content"]["application/json"]["schema"];
        if !schema.is_null() {
            line(page, &format!("\nAnswer {status}: {}.", shape(schema)));
        }
    }
}

fn write_schema(page: &mut String, document: &Value, name: &str, schema: &Value) {
    line(page, &format!("\n### {name}\n"));
    if let Some(description) = schema["description"].as_str() {
        line(page, description);
    }
    let values: Vec<String> = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| format!("`{}`", text(v)))
        .collect();
    if !values.is_empty() {
        line(page, &format!("\nOne of {}.", values.join(", ")));
    }
    let fields = fields(document, schema);
    if fields.is_empty() {
        return;
    }
    line(page, "\n| field | type | meaning |\n|---|---|---|");
    for (field, about, required) in fields {
        let optional = if required { "" } else { ", optional" };
        line(
            page,
            &format!(
                "| `{field}` | {}{optional} | {} |",
                shape(about),
                cell(&about["description"])
            ),
        );
    }
}

/// The fields of an object, those of the parts that it is put together from first.
fn fields<'a>(document: &'a Value, schema: &'a Value) -> Vec<(&'a str, &'a Value, bool)> {
    let mut found = Vec::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(fields(document, resolved(document, part)));
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let own = schema["properties"].as_object().into_iter().flatten();
    found
        .extend(own.map(|(name, about)| (name.as_str(), about, required.contains(&name.as_str()))));
    found
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
    {
        Some(pointer) => document.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

/// A type in words.
fn shape(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return named(reference.rsplit('/').next().unwrap_or_default());
    }
    if !schema["items"].is_null() {
        return format!("list of {}", shape(&schema["items"]));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[choice].as_array() {
            let parts = parts
                .iter()
                .filter(|part| part["type"] != "null")
                .map(shape);
            return parts.collect::<Vec<_>>().join(if choice == "allOf" {
                " with "
            } else {
                " or "
            });
        }
    }
    match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
            .unwrap_or("any")
            .to_owned(),
        Value::String(name) => name.clone(),
        _ => "any".to_owned(),
    }
}

/// A document by its name; pages and writes are told by what they hold.
fn named(name: &str) -> String {
    if let Some(item) = name.strip_prefix(PAGE) {
        return format!("`items`, a list of {}, and `next`", named(item));
    }
    if let Some(resource) = name.strip_prefix(WRITTEN) {
        return format!(
            "{} with `revision` and, when it was waited for, `applied` ({})",
            named(resource),
            named("Applied")
        );
    }
    format!("[{name}](#{})", name.to_lowercase())
}

fn tags(document: &Value) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for (_, _, operation) in operations(document) {
        let tag = text(&operation["tags"][0]);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

/// Every operation as path, method and description, in the order of the document.
pub(in crate::api) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        let methods = methods
            .filter(|(method, _)| ["get", "post", "put", "delete"].contains(&method.as_str()));
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn cell(value: &Value) -> String {
    text(value).replace('\n', " ").replace('|', "\\|")
}

fn line(page: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(page, "{text}");
}

/// What utoipa puts before the name of what a generic document holds.
const PAGE: &str = "Page_";
const WRITTEN: &str = "Written_";
