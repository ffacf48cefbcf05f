//! The operations on images, task definitions and tasks.

use super::{Body, Operation, Spec, of};
use crate::{
    ErrorCode, ForwardQuery, Image, LogLine, LogQuery, Page, PageQuery, RegisterTaskDefinition, RunTask,
    StopTask, Task, TaskDefinition, TaskDefinitionListQuery, TaskDefinitionQuery, TaskListQuery,
};
use http::Method;

impl Operation {
    pub(super) fn image_spec(self) -> Spec {
        const ONE: &str = "/v1/namespaces/{namespace}/images/{reference}";
        let spec = |method, path, summary| Spec::new(method, path, "images", summary);
        match self {
            Self::PushImage => spec(
                Method::PUT,
                ONE,
                "Stores a component under a repository and tag; the tag is moved if it is there.",
            )
            .if_match()
            .request(Body::Raw("application/wasm"))
            .response(200, Body::Json(of::<Image>)),
            Self::ListImages => {
                spec(Method::GET, "/v1/namespaces/{namespace}/images", "Lists images by their tags.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<Image>>))
            }
            Self::GetImage => spec(Method::GET, ONE, "Shows an image, by tag or by digest.")
                .response(200, Body::Json(of::<Image>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteImage => spec(
                Method::DELETE,
                ONE,
                "Removes a tag. What a task definition still names stays until it is deregistered.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on images"),
        }
    }

    pub(super) fn definition_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/task-definitions";
        const ONE: &str = "/v1/namespaces/{namespace}/task-definitions/{definition}";
        let spec = |method, path, summary| Spec::new(method, path, "task definitions", summary);
        match self {
            Self::RegisterTaskDefinition => spec(
                Method::POST,
                ALL,
                "Checks and compiles an image's component and registers the next revision of a family.",
            )
            .request(Body::Json(of::<RegisterTaskDefinition>))
            .response(200, Body::Json(of::<TaskDefinition>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition, ErrorCode::ResourceExhausted]),
            Self::ListTaskDefinitions => {
                spec(Method::GET, ALL, "Lists task definitions by family, newest revision first.")
                    .query(of::<TaskDefinitionListQuery>)
                    .response(200, Body::Json(of::<Page<TaskDefinition>>))
            }
            Self::GetTaskDefinition => spec(Method::GET, ONE, "Shows a task definition.")
                .query(of::<TaskDefinitionQuery>)
                .response(200, Body::Json(of::<TaskDefinition>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeregisterTaskDefinition => spec(
                Method::DELETE,
                ONE,
                "Deregisters a revision that no service and no task uses. It must be named with its revision.",
            )
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            other => unreachable!("{other:?} is no operation on task definitions"),
        }
    }

    pub(super) fn task_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/tasks";
        let spec = |method, path, summary| Spec::new(method, path, "tasks", summary);
        match self {
            Self::RunTask => spec(Method::POST, ALL, "Runs a one-off task of a command to its end.")
                .request(Body::Json(of::<RunTask>))
                .response(200, Body::Json(of::<Task>))
                .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition, ErrorCode::ResourceExhausted]),
            Self::ListTasks => spec(Method::GET, ALL, "Lists tasks, newest first; ended ones for a while.")
                .query(of::<TaskListQuery>)
                .response(200, Body::Json(of::<Page<Task>>)),
            Self::GetTask => spec(Method::GET, "/v1/namespaces/{namespace}/tasks/{task}", "Shows a task.")
                .response(200, Body::Json(of::<Task>))
                .errors(&[ErrorCode::NotFound]),
            Self::StopTask => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tasks/{task}/stop",
                "Stops a task; one that has ended stays as it is.",
            )
            .request(Body::Json(of::<StopTask>))
            .response(200, Body::Json(of::<Task>))
            .errors(&[ErrorCode::NotFound]),
            Self::ForwardTask => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tasks/{task}/forward",
                "Makes this connection one to a port of a command's task: it is upgraded to `skiff-forward`.",
            )
            .query(of::<ForwardQuery>)
            .response(101, Body::Empty)
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::FailedPrecondition,
                ErrorCode::ResourceExhausted,
            ]),
            Self::ReadLogs => spec(
                Method::GET,
                "/v1/namespaces/{namespace}/logs",
                "Streams the lines that tasks wrote to stdout and stderr, oldest first.",
            )
            .query(of::<LogQuery>)
            .response(200, Body::JsonLines(of::<LogLine>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on tasks"),
        }
    }
}
