//! Roles and access keys: made, changed and held through the API, and what follows from them for who asks the ports.

use crate::fixture::{Platform, name, namespace, refused, registration};
use serde_json::{Value, json};
use skiff_api::{
    AccessQuery, ClientError, CreateAccessKey, ErrorCode, PageQuery, RegisterTaskDefinition, Role,
};
use skiff_ports::access::{AccessKeys, Authorizer};
use skiff_types::{AccessAction, AccessResource, QualifiedName, ResourceKind};

async fn put(platform: &Platform, role: &str, body: Value) -> Result<Role, ClientError> {
    let body = serde_json::from_value(body).unwrap();
    platform.client.put_role(&namespace(), &name(role), &body, None).await
}

fn role(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

fn object(key: &str) -> AccessResource {
    AccessResource::at(ResourceKind::Bucket, role("default/uploads"), key)
}

#[tokio::test]
async fn a_change_of_a_role_holds_from_the_next_question_on() {
    let platform = Platform::start().await;
    let (access, thumbs) = (platform.handle.access(), role("default/thumbs"));
    let read = |role: Option<&QualifiedName>| access.check(role, AccessAction::BucketRead, &object("a"));
    let denied = read(Some(&thumbs)).unwrap_err();
    assert_eq!(denied.grant, "bucket:read uploads/a");
    assert!(denied.message.starts_with("there is no role default/thumbs"), "{denied}");
    assert!(read(None).unwrap_err().message.contains("skiff deploy --role NAME"));

    let made = put(&platform, "thumbs", json!({ "allow": ["bucket:read uploads/*"] })).await.unwrap();
    assert_eq!(read(Some(&thumbs)), Ok(()));
    assert!(read(None).is_err() && read(Some(&role("shop/thumbs"))).is_err());
    let again = put(&platform, "thumbs", json!({ "allow": ["bucket:read uploads/*"] })).await.unwrap();
    assert_eq!(again.revision, made.revision, "nothing changed");
    put(&platform, "thumbs", json!({ "allow": ["bucket:write uploads"] })).await.unwrap();
    let denied = read(Some(&thumbs)).unwrap_err();
    assert_eq!(
        denied.message,
        "role default/thumbs may not bucket:read uploads/a: allow it with: skiff role put thumbs --add \"bucket:read \
         uploads/a\""
    );

    platform.client.delete_role(&namespace(), &name("thumbs"), None).await.unwrap();
    assert!(access.check(Some(&thumbs), AccessAction::BucketWrite, &object("a")).is_err());
}

#[tokio::test]
async fn a_role_is_held_by_definitions_and_keys() {
    let platform = Platform::start().await;
    platform.push("job", "exit 0").await;
    let with_role = || RegisterTaskDefinition { role: Some(name("thumbs")), ..registration("job", "job") };
    let register = async || platform.client.register_task_definition(&namespace(), &with_role()).await;
    refused(register().await, ErrorCode::NotFound, "make it with `skiff role put thumbs`");
    put(&platform, "thumbs", json!({})).await.unwrap();
    let registered = register().await.unwrap();
    assert_eq!((registered.id.revision, registered.role), (1, Some(name("thumbs"))));
    assert_eq!(register().await.unwrap().id, registered.id, "it says the same");
    let bare = platform.register("job", "job").await;
    assert_eq!((bare.id.revision, bare.role), (2, None));

    let acts_as = |task| platform.handle.access().role_of(task);
    assert_eq!(acts_as(platform.run("job:1").await.id), Some(role("default/thumbs")));
    assert_eq!(acts_as(platform.run("job:2").await.id), None);

    let remove = async || platform.client.delete_role(&namespace(), &name("thumbs"), None).await;
    refused(remove().await, ErrorCode::FailedPrecondition, "is named by the task definition job:1");
    let key = CreateAccessKey { role: name("thumbs") };
    let key = platform.client.create_access_key(&namespace(), &key).await.unwrap();
    for task in platform.tasks(None).await {
        platform.reaches(task.id, skiff_types::TaskStatus::Stopped).await;
    }
    platform.client.deregister_task_definition(&namespace(), &registered.id).await.unwrap();
    refused(remove().await, ErrorCode::FailedPrecondition, "is named by the access key SKIF");
    platform.client.delete_access_key(&namespace(), &key.id).await.unwrap();
    remove().await.unwrap();
    refused(remove().await, ErrorCode::NotFound, "there is no role thumbs");
}

#[tokio::test]
async fn a_key_and_its_secret_outlive_the_platform() {
    let platform = Platform::start().await;
    put(&platform, "uploader", json!({ "allow": ["bucket:* uploads"] })).await.unwrap();
    let create = async |role: &str| {
        platform.client.create_access_key(&namespace(), &CreateAccessKey { role: name(role) }).await
    };
    refused(create("nobody").await, ErrorCode::NotFound, "there is no role nobody");
    let (one, two) = (create("uploader").await.unwrap(), create("uploader").await.unwrap());
    assert!(one.id != two.id && one.secret != two.secret);
    let platform = Platform::start_on(platform.stop().await).await;
    let access = platform.handle.access();
    let found = access.access_key(one.id.as_str()).unwrap();
    assert_eq!((found.secret, found.role), (one.secret, role("default/uploader")));
    assert!(!format!("{:?}", access.access_key(two.id.as_str())).contains(&two.secret));
    for unknown in ["", "SKIFAAAAAAAAAAAAAAAA", "..", "SKIF/../x"] {
        assert!(access.access_key(unknown).is_none(), "{unknown:?}");
    }
    assert_eq!(
        access.check(Some(&role("default/uploader")), AccessAction::BucketDelete, &object("a")),
        Ok(())
    );
    let elsewhere = "shop".parse().unwrap();
    refused(
        platform.client.delete_access_key(&elsewhere, &one.id).await,
        ErrorCode::NotFound,
        "there is no access key",
    );
    platform.client.delete_access_key(&namespace(), &one.id).await.unwrap();
    assert!(access.access_key(one.id.as_str()).is_none());
    let left = platform.client.list_access_keys(&namespace(), &PageQuery::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|key| &key.id).collect::<Vec<_>>(), [&two.id]);
}

#[tokio::test]
async fn what_a_role_can_not_say_is_refused() {
    let platform = Platform::start().await;
    let invalid = ErrorCode::InvalidArgument;
    let policy = |text: &str| json!({ "policy": text });
    refused(
        put(&platform, "a", policy("\n\npermit all")).await,
        invalid,
        "line 3 of the policy is not Cedar",
    );
    let unknown = "permit (principal, action == Skiff::Action::\"bucket:get\", resource);";
    refused(put(&platform, "a", policy(unknown)).await, invalid, "line 1 of the policy can't be judged by");
    refused(put(&platform, "a", policy(&"(".repeat(20_000))).await, invalid, "brackets in each other");
    refused(
        put(&platform, "a", policy(&" //".repeat(20_000))).await,
        invalid,
        "a policy of 60000 bytes is too long",
    );
    let grants: Vec<String> = (0..101).map(|number| format!("bus:put b{number}")).collect();
    refused(put(&platform, "a", json!({ "allow": grants })).await, invalid, "101 grants");
    refused(
        platform.client.get_role(&namespace(), &name("a")).await,
        ErrorCode::NotFound,
        "make it with `skiff role put a`",
    );
    let query = AccessQuery { action: AccessAction::BusPut, name: name("default"), path: None, list: None };
    refused(
        platform.client.explain_access(&namespace(), &name("a"), &query).await,
        ErrorCode::NotFound,
        "there is no role a",
    );
}
