//! The OpenAPI 3.1 document, made from the table of operations and the wire types' schemas.

use crate::operation::{Body, Operation, Spec};
use crate::{ErrorBody, ErrorCode};
use http::Method;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The errors that any operation behind the token may answer with.
const COMMON_ERRORS: [ErrorCode; 4] =
    [ErrorCode::InvalidArgument, ErrorCode::Unauthenticated, ErrorCode::Unavailable, ErrorCode::Internal];

/// The document that `/openapi.json` answers with.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in Operation::ALL {
        let spec = operation.spec();
        let method = spec.method.as_str().to_ascii_lowercase();
        paths.entry(spec.path).or_default().insert(method, describe(operation, &spec, &mut generator));
    }
    generator.subschema_for::<ErrorBody>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skiff",
            "version": "v1",
            "description": "Runs WebAssembly components: images, task definitions, tasks, services.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn describe(operation: Operation, spec: &Spec, generator: &mut SchemaGenerator) -> Value {
    let mut description = json!({
        "operationId": operation_id(operation),
        "tags": [spec.tag],
        "summary": spec.summary,
        "parameters": parameters(operation, spec, generator),
        "responses": responses(operation, spec, generator),
    });
    if let Some(content) = content(spec.request, generator) {
        description["requestBody"] = json!({ "required": true, "content": content });
    }
    if operation.is_open() {
        description["security"] = json!([]);
    }
    description
}

/// The variant's name with a small first letter.
fn operation_id(operation: Operation) -> String {
    let name = format!("{operation:?}");
    name[..1].to_ascii_lowercase() + &name[1..]
}

fn parameters(operation: Operation, spec: &Spec, generator: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = operation.path_parameters();
    let mut parameters: Vec<Value> = in_path
        .iter()
        .map(|parameter| {
            let schema = (parameter.schema)(generator);
            json!({ "name": parameter.name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    if let Some(query) = spec.query {
        parameters.extend(query_parameters(query(generator).to_value(), generator));
    }
    if spec.if_match {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "description": "The revision that the object must still have, in quotes or without.",
            "schema": { "type": "string", "examples": ["\"17\""] },
        }));
    }
    parameters
}

/// Turns each property of a query's object into a parameter; the object itself is no component of the document.
fn query_parameters(reference: Value, generator: &mut SchemaGenerator) -> Vec<Value> {
    let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let name = name.expect("a query is a named object");
    let object = generator.definitions_mut().remove(&name).expect("its definition was just made");
    let properties = object["properties"].as_object().cloned().unwrap_or_default();
    let describe = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({ "name": name, "in": "query", "description": description, "schema": schema })
    };
    properties.into_iter().map(describe).collect()
}

fn responses(operation: Operation, spec: &Spec, generator: &mut SchemaGenerator) -> Value {
    let mut success = json!({ "description": "Done." });
    if let Some(content) = content(spec.response, generator) {
        success["content"] = content;
    }
    let mut responses = Map::from_iter([(spec.status.to_string(), success)]);
    let mut codes: Vec<ErrorCode> = spec.errors.to_vec();
    if !operation.is_open() {
        codes.extend(COMMON_ERRORS);
        if spec.method != Method::GET {
            codes.push(ErrorCode::StorageFull);
        }
    }
    if spec.if_match {
        codes.push(ErrorCode::PreconditionFailed);
    }
    if !matches!(spec.request, Body::Empty) {
        codes.push(ErrorCode::TooLarge);
    }
    for code in codes {
        let schema = generator.subschema_for::<ErrorBody>();
        let answer = json!({
            "description": code.to_string(),
            "content": { "application/json": { "schema": schema } },
        });
        responses.insert(code.status().as_u16().to_string(), answer);
    }
    if operation == Operation::GetHealth {
        let content = content(spec.response, generator);
        responses.insert("503".to_owned(), json!({ "description": "Not now.", "content": content }));
    }
    if operation == Operation::ForwardTask {
        let schema = generator.subschema_for::<ErrorBody>();
        let answer = json!({
            "description": "It does not ask for the upgrade.",
            "content": { "application/json": { "schema": schema } },
        });
        responses.insert("426".to_owned(), answer);
    }
    Value::Object(responses)
}

fn content(body: Body, generator: &mut SchemaGenerator) -> Option<Value> {
    match body {
        Body::Empty => None,
        Body::Json(schema) => Some(json!({ "application/json": { "schema": schema(generator) } })),
        Body::JsonLines(schema) => Some(json!({ "application/x-ndjson": { "schema": schema(generator) } })),
        Body::Raw(media_type) => Some(json!({ media_type: {} })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = openapi();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("references are local");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_is_in_the_document() {
        let document = openapi();
        for operation in Operation::ALL {
            let method = operation.method().as_str().to_ascii_lowercase();
            let described = &document["paths"][operation.path()][&method];
            assert_eq!(described["summary"], operation.summary(), "{operation:?}");
        }
    }

    #[test]
    fn requests_refuse_unknown_fields_and_answers_do_not() {
        let document = openapi();
        let schemas = &document["components"]["schemas"];
        for name in ["RegisterTaskDefinition", "PutService", "RunTask", "ScaleService", "StopTask"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        for name in ["PutListener", "PutListenerRule", "PutTargetGroup", "ExplainRequest", "FixedResponse"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        for name in ["PutRole", "CreateAccessKey", "PutCertificate", "PutAlarm"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        for name in
            ["Service", "Listener", "ListenerRule", "TargetGroup", "RequestExplanation", "Certificate"]
        {
            assert!(schemas[name].is_object(), "{name}");
            assert!(schemas[name].get("additionalProperties").is_none(), "{name}");
        }
    }

    #[test]
    fn the_document_changes_on_purpose_only() {
        insta::assert_json_snapshot!(openapi());
    }
}
