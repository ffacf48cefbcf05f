//! What policies can speak of: Cedar's schema of Skiff, and the entities of one question.
//!
//! The names of buckets, tables, queues, buses and secrets are those of the role's own namespace: no policy can say another, and no
//! question about another gets here.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
    Validator,
};
use skiff_types::{AccessAction, AccessResource, Name, ResourceKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

/// The schema, in Cedar's own language.
const SCHEMA: &str = r#"
namespace Skiff {
  entity Role;
  entity Bucket { name: String };
  entity Object in [Bucket] { name: String, key: String };
  entity Table { name: String };
  entity Item in [Table] { name: String, key: String };
  entity Listing in [Bucket, Table] { name: String, prefix: String };
  entity Queue { name: String };
  entity Bus { name: String };
  entity Secret { name: String };
  action "bucket:read", "bucket:write", "bucket:delete", "bucket:manage"
    appliesTo { principal: [Role], resource: [Bucket, Object, Listing] };
  action "table:read", "table:write" appliesTo { principal: [Role], resource: [Table, Item, Listing] };
  action "queue:send", "queue:receive" appliesTo { principal: [Role], resource: [Queue] };
  action "bus:put" appliesTo { principal: [Role], resource: [Bus] };
  action "secret:read" appliesTo { principal: [Role], resource: [Secret] };
}
"#;

/// The words, read once.
static WORDS: LazyLock<Words> = LazyLock::new(Words::read);

struct Words {
    validator: Validator,
    role: EntityTypeName,
    object: EntityTypeName,
    item: EntityTypeName,
    listing: EntityTypeName,
    kinds: BTreeMap<ResourceKind, EntityTypeName>,
    actions: BTreeMap<AccessAction, EntityUid>,
}

impl Words {
    fn read() -> Self {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the schema is one, as a test sees");
        let type_of = |word: &str| -> EntityTypeName {
            format!("Skiff::{word}").parse().expect("a type's name is one, as a test sees")
        };
        let action = |action: AccessAction| {
            EntityUid::from_type_name_and_id(type_of("Action"), EntityId::new(action.to_string()))
        };
        Self {
            validator: Validator::new(schema),
            role: type_of("Role"),
            object: type_of("Object"),
            item: type_of("Item"),
            listing: type_of("Listing"),
            kinds: ResourceKind::ALL.map(|kind| (kind, type_of(word(kind)))).into(),
            actions: AccessAction::ALL.map(|one| (one, action(one))).into(),
        }
    }
}

/// What a kind of resource is called in policies, behind `Skiff::`.
pub(crate) fn word(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Bucket => "Bucket",
        ResourceKind::Table => "Table",
        ResourceKind::Queue => "Queue",
        ResourceKind::Bus => "Bus",
        ResourceKind::Secret => "Secret",
    }
}

/// Finds out whether policies speak of what there is.
pub(crate) fn validator() -> &'static Validator {
    &WORDS.validator
}

/// A role, as policies call it.
pub(crate) fn role(name: &Name) -> EntityUid {
    EntityUid::from_type_name_and_id(WORDS.role.clone(), EntityId::new(name.as_str()))
}

/// An action, as policies call it.
pub(crate) fn action(action: AccessAction) -> &'static EntityUid {
    &WORDS.actions[&action]
}

/// Whether a role (as [`role`] has it) may do this, as Cedar asks it; none where it can't be asked: an action is done to another
/// kind of thing, or a thing has no paths.
pub(crate) fn question(
    role: &EntityUid,
    action: AccessAction,
    resource: &AccessResource,
) -> Option<(Request, Entities)> {
    if action.kind() != resource.kind {
        return None;
    }
    let name = resource.name.name.as_str();
    let thing = EntityUid::from_type_name_and_id(WORDS.kinds[&resource.kind].clone(), EntityId::new(name));
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut attributes = HashMap::from([("name".to_owned(), text(name))]);
    let (uid, parents) = match &resource.path {
        None => (thing, HashSet::new()),
        Some(path) => {
            let (kind, attribute) = match (resource.kind, resource.listing) {
                (ResourceKind::Bucket | ResourceKind::Table, true) => (&WORDS.listing, "prefix"),
                (ResourceKind::Bucket, false) => (&WORDS.object, "key"),
                (ResourceKind::Table, false) => (&WORDS.item, "key"),
                (ResourceKind::Queue | ResourceKind::Bus | ResourceKind::Secret, _) => return None,
            };
            attributes.insert(attribute.to_owned(), text(path));
            let id = EntityId::new(format!("{name}/{path}"));
            (EntityUid::from_type_name_and_id(kind.clone(), id), HashSet::from([thing]))
        }
    };
    let entity = Entity::new(uid.clone(), attributes, parents).ok()?;
    let entities = Entities::from_entities([entity], None).ok()?;
    let action = WORDS.actions[&action].clone();
    let request = Request::new(role.clone(), action, uid, Context::empty(), None).ok()?;
    Some((request, entities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_a_type_and_actions_for_each_kind() {
        let schema = validator().schema();
        assert_eq!(schema.actions().count(), AccessAction::ALL.len());
        for one in AccessAction::ALL {
            let mut resources = schema.resources_for_action(action(one)).expect("the schema has it");
            assert!(resources.any(|kind| *kind == WORDS.kinds[&one.kind()]), "{one}");
        }
    }

    #[test]
    fn what_is_asked_fits_the_schema() {
        let thumbs: Name = "thumbs".parse().unwrap();
        for one in AccessAction::ALL {
            let name = "default/a".parse().unwrap();
            let mut resources = vec![AccessResource::new(one.kind(), name)];
            if matches!(one.kind(), ResourceKind::Bucket | ResourceKind::Table) {
                let name = || "default/a".parse().unwrap();
                resources.push(AccessResource::at(one.kind(), name(), "k"));
                resources.push(AccessResource::listing(one.kind(), name(), "p"));
            }
            for resource in resources {
                let (request, entities) = question(&role(&thumbs), one, &resource).unwrap();
                let schema = Some(validator().schema());
                let uids = [request.principal(), request.action(), request.resource()];
                let [Some(principal), Some(action), Some(uid)] = uids.map(|uid| uid.cloned()) else {
                    panic!()
                };
                assert!(
                    Request::new(principal, action, uid, Context::empty(), schema).is_ok(),
                    "{one} {resource}"
                );
                let entities: Vec<Entity> = entities.into_iter().collect();
                assert!(Entities::from_entities(entities, schema).is_ok(), "{one} {resource}");
            }
        }
    }
}
