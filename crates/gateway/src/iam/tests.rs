//! Operations of IAM against a small world.

use super::{access_keys, attachments, inline, instance_profiles, policies, roles};
use super::{service_linked, tags, users, versions};
use crate::ecs::world::World;
use serde_json::{Value, json};
use wharf_wire::iam::operation as op;

macro_rules! call {
    ($world:expr, $name:ident, $function:path, $($request:tt)+) => {
        $world.call::<op::$name>($function, &json!($($request)+))
    };
}

fn trust(service: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Principal": { "Service": service }, "Action": "sts:AssumeRole" }] })
    .to_string()
}

fn allow(action: &str) -> String {
    json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] })
    .to_string()
}

fn role(world: &mut World, name: &str) -> Value {
    let document = trust("ecs-tasks.amazonaws.com");
    call!(world, CreateRole, roles::create, {"RoleName": name, "AssumeRolePolicyDocument": document})
        .unwrap()["Role"]
        .clone()
}

fn policy(world: &mut World, name: &str) -> String {
    let made = call!(world, CreatePolicy, policies::create,
        {"PolicyName": name, "PolicyDocument": allow("ecs:*")})
    .unwrap();
    made["Policy"]["Arn"].as_str().unwrap().to_owned()
}

#[test]
fn a_roles_life() {
    let mut world = World::new();
    let made = role(&mut world, "web");
    assert_eq!(made["Arn"], "arn:aws:iam::123456789012:role/web");
    assert_eq!(
        (made["Path"].as_str(), made["MaxSessionDuration"].as_i64()),
        (Some("/"), Some(3600))
    );
    assert!(made["RoleId"].as_str().unwrap().starts_with("AROA"));
    assert!(made["RoleId"].as_str().unwrap().len() == 21);
    let policy = policy(&mut world, "p");
    let of = json!({"RoleName": "WEB"});
    call!(world, PutRolePolicy, inline::put_of_role,
        {"RoleName": "web", "PolicyName": "in", "PolicyDocument": allow("logs:*")})
    .unwrap();
    call!(world, AttachRolePolicy, attachments::attach_to_role,
        {"RoleName": "web", "PolicyArn": policy})
    .unwrap();
    call!(world, AttachRolePolicy, attachments::attach_to_role,
        {"RoleName": "web", "PolicyArn": policy})
    .unwrap();
    let shown = call!(world, GetPolicy, policies::get, {"PolicyArn": policy}).unwrap();
    assert_eq!(shown["Policy"]["AttachmentCount"], 1);
    let attached =
        world.call::<op::ListAttachedRolePolicies>(attachments::list_of_role, &of).unwrap();
    assert_eq!(attached["AttachedPolicies"], json!([{"PolicyName": "p", "PolicyArn": policy}]));
    let delete = |world: &mut World| world.call::<op::DeleteRole>(roles::delete, &of);
    let conflict = |text: &str| Err(format!("DeleteConflict: Cannot delete entity, {text}"));
    assert_eq!(delete(&mut world), conflict("must detach all policies first."));
    assert_eq!(
        call!(world, DeletePolicy, policies::delete, {"PolicyArn": policy}),
        Err("DeleteConflict: Cannot delete a policy attached to entities.".to_owned())
    );
    call!(world, DetachRolePolicy, attachments::detach_from_role,
        {"RoleName": "web", "PolicyArn": policy})
    .unwrap();
    assert_eq!(
        call!(world, DetachRolePolicy, attachments::detach_from_role,
            {"RoleName": "web", "PolicyArn": policy}),
        Err(format!("NoSuchEntity: Policy {policy} was not found."))
    );
    assert_eq!(delete(&mut world), conflict("must delete policies first."));
    call!(world, DeleteRolePolicy, inline::delete_of_role,
        {"RoleName": "web", "PolicyName": "in"})
    .unwrap();
    call!(world, CreateInstanceProfile, instance_profiles::create,
        {"InstanceProfileName": "ip"})
    .unwrap();
    call!(world, AddRoleToInstanceProfile, instance_profiles::add_role,
        {"InstanceProfileName": "ip", "RoleName": "web"})
    .unwrap();
    assert_eq!(delete(&mut world), conflict("must remove roles from instance profile first."));
    assert_eq!(
        call!(world, AddRoleToInstanceProfile, instance_profiles::add_role,
            {"InstanceProfileName": "ip", "RoleName": "web"}),
        Err("LimitExceeded: Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"
            .to_owned())
    );
    call!(world, RemoveRoleFromInstanceProfile, instance_profiles::remove_role,
        {"InstanceProfileName": "ip", "RoleName": "web"})
    .unwrap();
    delete(&mut world).unwrap();
    assert_eq!(
        delete(&mut world),
        Err("NoSuchEntity: The role with name WEB cannot be found.".to_owned())
    );
    call!(world, DeletePolicy, policies::delete, {"PolicyArn": policy}).unwrap();
}

#[test]
fn what_iam_refuses() {
    let mut world = World::new();
    role(&mut world, "web");
    let document = trust("ecs-tasks.amazonaws.com");
    let long = "x".repeat(2100);
    let cases: Vec<(Result<Value, String>, &str)> = vec![
        (
            call!(world, CreateRole, roles::create, {"RoleName": "Web", "AssumeRolePolicyDocument": document}),
            "EntityAlreadyExists: Role with name Web already exists.",
        ),
        (
            call!(world, CreateRole, roles::create, {"RoleName": "a", "AssumeRolePolicyDocument": "{"}),
            "MalformedPolicyDocument: This policy contains invalid Json",
        ),
        (
            call!(world, CreateRole, roles::create, {"RoleName": "a", "AssumeRolePolicyDocument": trust("ecs")}),
            "MalformedPolicyDocument: Invalid principal in policy: \"SERVICE\":\"ecs\"",
        ),
        (
            call!(world, CreateRole, roles::create, {"RoleName": "a", "AssumeRolePolicyDocument": long}),
            "LimitExceeded: Cannot exceed quota for ACLSizePerRole: 2048",
        ),
        (
            call!(world, CreateRole, roles::create,
            {"RoleName": "a", "AssumeRolePolicyDocument": document, "PermissionsBoundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
            "ValidationError: PermissionsBoundary is not supported by this server.",
        ),
        (
            call!(world, CreateRole, roles::create,
            {"RoleName": "a", "AssumeRolePolicyDocument": document, "Tags": [{"Key": "k", "Value": "1"}, {"Key": "K", "Value": "2"}]}),
            "InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        ),
        (
            call!(world, AttachRolePolicy, attachments::attach_to_role,
            {"RoleName": "web", "PolicyArn": "arn:aws:iam::aws:policy/NoSuchPolicy"}),
            "NoSuchEntity: Policy arn:aws:iam::aws:policy/NoSuchPolicy does not exist or is not attachable.",
        ),
        (
            call!(world, GetRolePolicy, inline::get_of_role, {"RoleName": "web", "PolicyName": "no"}),
            "NoSuchEntity: The role policy with name no cannot be found.",
        ),
        (
            call!(world, GetInstanceProfile, instance_profiles::get, {"InstanceProfileName": "no"}),
            "NoSuchEntity: Instance Profile no cannot be found.",
        ),
        (
            call!(world, GetUser, users::get, {"UserName": "no"}),
            "NoSuchEntity: The user with name no cannot be found.",
        ),
        (
            call!(world, CreateServiceLinkedRole, service_linked::create,
            {"AWSServiceName": "ecs.amazonaws.com", "CustomSuffix": "x"}),
            "InvalidInput: Custom suffix is not allowed for this service.",
        ),
    ];
    for (answer, expected) in cases {
        assert_eq!(answer, Err(expected.to_owned()));
    }
    for n in 0..10 {
        let arn = policy(&mut world, &format!("p{n}"));
        call!(world, AttachRolePolicy, attachments::attach_to_role, {"RoleName": "web", "PolicyArn": arn}).unwrap();
    }
    assert_eq!(
        call!(world, AttachRolePolicy, attachments::attach_to_role,
            {"RoleName": "web", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
        Err("LimitExceeded: Cannot exceed quota for PoliciesPerRole: 10".to_owned())
    );
    let inline = json!({"RoleName": "web", "PolicyName": "i", "PolicyDocument": format!(
        "{{\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":\"{}:x\",\"Resource\":\"*\"}}]}}", "a".repeat(10_300))});
    assert_eq!(
        world.call::<op::PutRolePolicy>(inline::put_of_role, &inline),
        Err("LimitExceeded: Maximum policy size of 10240 bytes exceeded for role web".to_owned())
    );
}

#[test]
fn a_service_linked_role_is_awss_own() {
    let mut world = World::new();
    let ask = json!({"AWSServiceName": "ecs.amazonaws.com"});
    let made = world.call::<op::CreateServiceLinkedRole>(service_linked::create, &ask).unwrap();
    assert_eq!(
        made["Role"]["Arn"],
        "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    );
    assert_eq!(
        world.call::<op::CreateServiceLinkedRole>(service_linked::create, &ask),
        Err(
            "InvalidInput: Service role name AWSServiceRoleForECS has been taken in this account, \
             please try a different suffix."
                .to_owned()
        )
    );
    assert_eq!(
        call!(world, DeleteRole, roles::delete, {"RoleName": "AWSServiceRoleForECS"}),
        Err("UnmodifiableEntity: Cannot perform the operation on the protected role \
             'AWSServiceRoleForECS' - this role is only modifiable by AWS"
            .to_owned())
    );
}

#[test]
fn versions_are_counted_on_and_the_default_one_counts() {
    let mut world = World::new();
    let arn = policy(&mut world, "p");
    for n in 2..=5 {
        let made = call!(world, CreatePolicyVersion, versions::create,
            {"PolicyArn": arn, "PolicyDocument": allow("logs:*"), "SetAsDefault": n == 3})
        .unwrap();
        assert_eq!(made["PolicyVersion"]["VersionId"], format!("v{n}"));
    }
    let refused = call!(world, CreatePolicyVersion, versions::create,
        {"PolicyArn": arn, "PolicyDocument": allow("logs:*")});
    assert!(
        refused
            .unwrap_err()
            .starts_with("LimitExceeded: A managed policy can have up to 5 versions.")
    );
    let shown = call!(world, GetPolicy, policies::get, {"PolicyArn": arn}).unwrap();
    assert_eq!(shown["Policy"]["DefaultVersionId"], "v3");
    assert_eq!(
        call!(world, DeletePolicyVersion, versions::delete, {"PolicyArn": arn, "VersionId": "v3"}),
        Err("DeleteConflict: Cannot delete the default version of a policy.".to_owned())
    );
    call!(world, DeletePolicyVersion, versions::delete, {"PolicyArn": arn, "VersionId": "v5"})
        .unwrap();
    let made = call!(world, CreatePolicyVersion, versions::create,
        {"PolicyArn": arn, "PolicyDocument": allow("logs:*")})
    .unwrap();
    assert_eq!(made["PolicyVersion"]["VersionId"], "v6");
    assert!(
        call!(world, DeletePolicy, policies::delete, {"PolicyArn": arn})
            .unwrap_err()
            .starts_with("DeleteConflict: This policy has more than one version.")
    );
}

#[test]
fn lists_come_in_pages_by_marker() {
    let mut world = World::new();
    for name in ["b", "A", "d", "C"] {
        role(&mut world, name);
    }
    let (mut names, mut marker) = (Vec::new(), Value::Null);
    loop {
        let mut ask = json!({"MaxItems": 3});
        if !marker.is_null() {
            ask["Marker"] = marker;
        }
        let page = world.call::<op::ListRoles>(roles::list, &ask).unwrap();
        let roles = page["Roles"].as_array().unwrap();
        names.extend(roles.iter().map(|r| r["RoleName"].as_str().unwrap().to_owned()));
        if page["IsTruncated"] == false {
            break;
        }
        marker = page["Marker"].clone();
    }
    assert_eq!(names, ["A", "b", "C", "d"]);
    let wrong = world.call::<op::ListRoles>(roles::list, &json!({"Marker": "%%%"}));
    assert!(wrong.is_err());
}

#[test]
fn a_users_keys_are_two_and_shown_once() {
    let mut world = World::new();
    call!(world, CreateUser, users::create, {"UserName": "jo", "Path": "/ops/"}).unwrap();
    let jo = json!({"UserName": "jo"});
    let first = world.call::<op::CreateAccessKey>(access_keys::create, &jo).unwrap();
    let second = world.call::<op::CreateAccessKey>(access_keys::create, &jo).unwrap();
    let secret = |key: &Value| key["AccessKey"]["SecretAccessKey"].as_str().unwrap().to_owned();
    assert_eq!(secret(&first).len(), 40);
    assert_ne!(secret(&first), secret(&second));
    assert_eq!(
        world.call::<op::CreateAccessKey>(access_keys::create, &jo),
        Err("LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2".to_owned())
    );
    let id = first["AccessKey"]["AccessKeyId"].clone();
    let record = world.snapshot.access_key(&id.as_str().unwrap().to_owned()).unwrap();
    assert!(!record.sealed_secret.contains(&secret(&first)));
    assert_eq!(record.principal, wharf_model::Principal::User("ops/jo".to_owned()));
    call!(world, UpdateAccessKey, access_keys::update,
        {"UserName": "jo", "AccessKeyId": id, "Status": "Inactive"})
    .unwrap();
    let listed = world.call::<op::ListAccessKeys>(access_keys::list, &jo).unwrap();
    assert_eq!(listed["AccessKeyMetadata"][0]["Status"], "Inactive");
    assert!(!listed.to_string().contains("Secret"));
    assert!(world.call::<op::DeleteUser>(users::delete, &jo).is_err());
    for key in [&first, &second] {
        let id = &key["AccessKey"]["AccessKeyId"];
        call!(world, DeleteAccessKey, access_keys::delete, {"UserName": "jo", "AccessKeyId": id})
            .unwrap();
    }
    world.call::<op::DeleteUser>(users::delete, &jo).unwrap();
    assert_eq!(world.snapshot.access_keys().count(), 0);
}

#[test]
fn tags_are_laid_over_and_taken_off() {
    let mut world = World::new();
    role(&mut world, "web");
    call!(world, TagRole, tags::tag_role,
        {"RoleName": "web", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]})
    .unwrap();
    call!(world, TagRole, tags::tag_role, {"RoleName": "web", "Tags": [{"Key": "a", "Value": "3"}]}).unwrap();
    call!(world, UntagRole, tags::untag_role, {"RoleName": "web", "TagKeys": ["b"]}).unwrap();
    let listed = call!(world, ListRoleTags, tags::list_of_role, {"RoleName": "web"}).unwrap();
    assert_eq!(listed["Tags"], json!([{"Key": "a", "Value": "3"}]));
}

#[test]
fn awss_own_policies_are_all_understood() {
    use wharf_model::policy::{Kind, Policy};
    for policy in super::built_in::ALL {
        Policy::parse(policy.document, Kind::Identity)
            .unwrap_or_else(|e| panic!("{}: {e}", policy.name));
        assert!(super::built_in::find(&policy.arn()).is_some(), "{}", policy.name);
    }
    assert!(
        super::built_in::find("arn:aws:iam::aws:policy/AmazonECSTaskExecutionRolePolicy").is_none()
    );
}
