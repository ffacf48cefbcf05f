//! What the OpenAPI document says of an operation, and how the table's entries are put together.

use crate::{ErrorCode, text};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes a type's schema.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request or an answer carries.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON of this schema.
    Json(SchemaOf),
    /// Newline-delimited JSON, each line of this schema.
    JsonLines(SchemaOf),
    /// Anything of this media type.
    Raw(&'static str),
}

/// A part of a path that the caller fills in.
#[derive(Debug, Clone, Copy)]
pub struct PathParameter {
    /// As it stands between braces in the path.
    pub name: &'static str,
    pub(crate) schema: SchemaOf,
}

/// All that the OpenAPI document says of an operation.
pub(crate) struct Spec {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) request: Body,
    pub(crate) status: u16,
    pub(crate) response: Body,
    pub(crate) if_match: bool,
    pub(crate) errors: &'static [ErrorCode],
}

impl Spec {
    pub(super) fn new(method: Method, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let (query, request, response) = (None, Body::Empty, Body::Empty);
        Self {
            method,
            path,
            tag,
            summary,
            query,
            request,
            status: 200,
            response,
            if_match: false,
            errors: &[],
        }
    }

    pub(super) fn query(self, schema: SchemaOf) -> Self {
        Self { query: Some(schema), ..self }
    }

    pub(super) fn request(self, request: Body) -> Self {
        Self { request, ..self }
    }

    pub(super) fn response(self, status: u16, response: Body) -> Self {
        Self { status, response, ..self }
    }

    pub(super) fn if_match(self) -> Self {
        Self { if_match: true, ..self }
    }

    pub(super) fn errors(self, errors: &'static [ErrorCode]) -> Self {
        Self { errors, ..self }
    }
}

/// The schema of a type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The schema of a path's parameter.
pub(super) fn parameter_schema(name: &'static str) -> SchemaOf {
    match name {
        "namespace" => of::<text::Namespace>,
        "reference" => of::<text::ImageReference>,
        "definition" => of::<text::TaskDefinitionReferenceText>,
        "service" | "security_group" | "listener" | "rule" | "target_group" | "certificate" | "alarm"
        | "role" => of::<text::Name>,
        "bucket" | "table" | "queue" | "consumer" | "bus" | "event_rule" | "target" | "event_schedule" => {
            of::<text::Name>
        }
        "access_key" => of::<text::AccessKeyId>,
        "metric" => of::<text::MetricName>,
        "task" => of::<text::TaskId>,
        other => unreachable!("{other} is no parameter of a path"),
    }
}
