//! Secrets: each request with its answer.

use super::{batch, create, delete, describe, get, list, password, put, stage, tags, update};
use crate::ecs::world::{World, contains};
use serde_json::{Value, json};
use std::time::Duration;
use wharf_wire::secretsmanager::operation as op;

fn run(world: &mut World, name: &str, input: &Value) -> Result<Value, String> {
    macro_rules! table {
        ($( $name:ident => $function:path; )*) => {
            match name {
                $( stringify!($name) => world.call::<op::$name>($function, input), )*
                other => panic!("no operation {other}"),
            }
        };
    }
    table! {
        CreateSecret => create::create_secret;
        PutSecretValue => put::put_secret_value;
        GetSecretValue => get::get_secret_value;
        BatchGetSecretValue => batch::batch_get_secret_value;
        UpdateSecret => update::update_secret;
        UpdateSecretVersionStage => stage::update_secret_version_stage;
        DescribeSecret => describe::describe_secret;
        ListSecretVersionIds => describe::list_secret_version_ids;
        ListSecrets => list::list_secrets;
        DeleteSecret => delete::delete_secret;
        RestoreSecret => delete::restore_secret;
        TagResource => tags::tag;
        UntagResource => tags::untag;
        GetRandomPassword => password::get_random_password;
    }
}

struct Store(World);

impl Store {
    fn ok(&mut self, name: &str, input: Value) -> Value {
        run(&mut self.0, name, &input).unwrap_or_else(|error| panic!("{name} {input}: {error}"))
    }

    fn error(&mut self, name: &str, input: Value) -> String {
        run(&mut self.0, name, &input).unwrap_err()
    }

    fn value(&mut self, input: Value) -> String {
        self.ok("GetSecretValue", input)["SecretString"].as_str().unwrap().to_owned()
    }
}

const NOT_FOUND: &str =
    "ResourceNotFoundException: Secrets Manager can't find the specified secret.";

fn token(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

#[test]
fn stages_follow_the_values() {
    let mut store = Store(World::new());
    let made = json!({"Name": "app/db", "SecretString": "one", "ClientRequestToken": token(1)});
    let secret = store.ok("CreateSecret", made.clone());
    let arn = secret["ARN"].as_str().unwrap().to_owned();
    let (partial, suffix) = arn.rsplit_once('-').unwrap();
    assert_eq!(partial, "arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db");
    assert!(suffix.len() == 6 && suffix.bytes().all(|b| b.is_ascii_alphanumeric()), "{suffix}");
    // The same request is the same secret; with another value it isn't.
    assert_eq!(store.ok("CreateSecret", made.clone()), secret);
    let mut other = made;
    other["SecretString"] = json!("other");
    assert!(
        store
            .error("CreateSecret", other.clone())
            .starts_with("ResourceExistsException: You can't use ClientRequestToken")
    );
    other["ClientRequestToken"] = json!(token(9));
    assert_eq!(
        store.error("CreateSecret", other),
        "ResourceExistsException: The operation failed because the secret app/db already exists."
    );
    let put = json!({"SecretId": arn, "SecretString": "two", "ClientRequestToken": token(2)});
    let put = store.ok("PutSecretValue", put);
    assert_eq!(put["VersionStages"], json!(["AWSCURRENT"]));
    for (input, value) in [
        (json!({"SecretId": "app/db"}), "two"),
        (json!({"SecretId": arn}), "two"),
        (json!({"SecretId": partial}), "two"),
        (json!({"SecretId": arn, "VersionStage": "AWSPREVIOUS"}), "one"),
        (json!({"SecretId": arn, "VersionId": token(1)}), "one"),
    ] {
        assert_eq!(store.value(input.clone()), value, "{input}");
    }
    let pending = json!({"SecretId": arn, "SecretString": "three", "ClientRequestToken": token(3),
        "VersionStages": ["AWSPENDING"]});
    store.ok("PutSecretValue", pending);
    assert_eq!(store.value(json!({"SecretId": arn})), "two");
    assert_eq!(store.value(json!({"SecretId": arn, "VersionStage": "AWSPENDING"})), "three");
    // The end of a rotation.
    let error = store.error(
        "UpdateSecretVersionStage",
        json!({"SecretId": arn, "VersionStage": "AWSCURRENT", "MoveToVersionId": token(3)}),
    );
    assert!(
        error.contains("must explicitly reference that version in RemoveFromVersionId"),
        "{error}"
    );
    store.ok(
        "UpdateSecretVersionStage",
        json!({"SecretId": arn, "VersionStage": "AWSCURRENT", "MoveToVersionId": token(3),
            "RemoveFromVersionId": token(2)}),
    );
    let described = store.ok("DescribeSecret", json!({"SecretId": "app/db"}));
    let stages = json!({token(2): ["AWSPREVIOUS"], token(3): ["AWSPENDING", "AWSCURRENT"]});
    assert_eq!(described["VersionIdsToStages"], stages);
    assert!(described["LastAccessedDate"].is_number() && described["DeletedDate"].is_null());
    let all = json!({"SecretId": arn, "IncludeDeprecated": true});
    assert_eq!(store.ok("ListSecretVersionIds", all)["Versions"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_not_there_is_told_in_its_words() {
    let mut store = Store(World::new());
    let secret = store.ok("CreateSecret", json!({"Name": "n"}));
    let arn = secret["ARN"].as_str().unwrap().to_owned();
    let other = format!("{}-AAAAAA", arn.rsplit_once('-').unwrap().0);
    let elsewhere = arn.replace("us-east-1", "eu-west-1");
    for id in ["m", other.as_str(), elsewhere.as_str(), "arn:aws:ecs:x", "n-"] {
        assert_eq!(store.error("GetSecretValue", json!({"SecretId": id})), NOT_FOUND, "{id}");
    }
    let cases = [
        (
            "GetSecretValue",
            json!({"SecretId": "n"}),
            "ResourceNotFoundException: Secrets Manager can't find the specified secret value for \
             staging label: AWSCURRENT",
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "n"}),
            "InvalidRequestException: You must provide either SecretString or SecretBinary.",
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "n", "SecretString": "a", "SecretBinary": "YQ=="}),
            "InvalidParameterException: You can't specify both a binary secret value and a string \
             secret value in the same secret.",
        ),
        (
            "DeleteSecret",
            json!({"SecretId": "n", "RecoveryWindowInDays": 3}),
            "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 \
             days (inclusive).",
        ),
        (
            "CreateSecret",
            json!({"Name": "a b"}),
            "ValidationException: Invalid name. Must be a valid name containing alphanumeric \
             characters, or any of the following: -/_+=.@!",
        ),
        (
            "CreateSecret",
            json!({"Name": "a", "AddReplicaRegions": [{"Region": "eu-west-1"}]}),
            "InvalidParameterException: AddReplicaRegions is not supported by this server.",
        ),
    ];
    for (operation, input, text) in cases {
        assert_eq!(store.error(operation, input), text);
    }
    store.ok("PutSecretValue", json!({"SecretId": "n", "SecretBinary": "AAEC"}));
    let value = store.ok("GetSecretValue", json!({"SecretId": "n"}));
    assert!(value["SecretBinary"] == "AAEC" && value["SecretString"].is_null(), "{value}");
    let batch = store.ok("BatchGetSecretValue", json!({"SecretIdList": ["n", "m"]}));
    let part = json!({"SecretValues": [{"Name": "n"}],
        "Errors": [{"SecretId": "m", "ErrorCode": "ResourceNotFoundException"}]});
    assert!(contains(&batch, &part), "{batch}");
}

#[test]
fn deletion_waits_and_can_be_taken_back() {
    let mut store = Store(World::new());
    store.ok("CreateSecret", json!({"Name": "n", "SecretString": "v"}));
    store.ok("DeleteSecret", json!({"SecretId": "n", "RecoveryWindowInDays": 7}));
    for (operation, input) in [
        ("GetSecretValue", json!({"SecretId": "n"})),
        ("PutSecretValue", json!({"SecretId": "n", "SecretString": "w"})),
    ] {
        assert_eq!(
            store.error(operation, input),
            "InvalidRequestException: You can't perform this operation on the secret because it \
             was marked for deletion."
        );
    }
    assert_eq!(
        store.error("CreateSecret", json!({"Name": "n"})),
        "InvalidRequestException: You can't create this secret because a secret with this name is \
         already scheduled for deletion."
    );
    assert!(store.ok("DescribeSecret", json!({"SecretId": "n"}))["DeletedDate"].is_number());
    assert_eq!(store.ok("ListSecrets", json!({}))["SecretList"], json!([]));
    let planned = store.ok("ListSecrets", json!({"IncludePlannedDeletion": true}));
    assert!(contains(&planned["SecretList"], &json!([{"Name": "n"}])));
    store.ok("RestoreSecret", json!({"SecretId": "n"}));
    assert_eq!(store.value(json!({"SecretId": "n"})), "v");
    // For good: at the end of its window, and at once by force.
    store.ok("DeleteSecret", json!({"SecretId": "n"}));
    store.0.now = store.0.now.plus(Duration::from_secs(31 * 24 * 3600));
    assert_eq!(store.error("RestoreSecret", json!({"SecretId": "n"})), NOT_FOUND);
    let force = json!({"SecretId": "n", "ForceDeleteWithoutRecovery": true});
    let first = store.ok("CreateSecret", json!({"Name": "n", "SecretString": "w"}));
    store.ok("DeleteSecret", force.clone());
    assert_eq!(store.error("GetSecretValue", json!({"SecretId": "n"})), NOT_FOUND);
    store.ok("DeleteSecret", force);
    let second = store.ok("CreateSecret", json!({"Name": "n", "SecretString": "w"}));
    assert_ne!(first["ARN"], second["ARN"]);
    assert_eq!(store.error("GetSecretValue", json!({"SecretId": first["ARN"]})), NOT_FOUND);
    // What is left of those that are gone is swept away, and nothing else.
    loop {
        let sweep = wharf_scheduler::expiry::sweep(&store.0.snapshot, store.0.now);
        if sweep.is_empty() {
            break;
        }
        store.0.commit(&sweep);
    }
    assert_eq!(store.0.snapshot.secret_versions().count(), 1);
    assert_eq!(store.value(json!({"SecretId": "n"})), "w");
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let mut store = Store(World::new());
    for (name, description, team) in
        [("prod/db", "the Database", "a"), ("prod/web", "", "b"), ("test/db", "Old database", "a")]
    {
        store.0.now = store.0.now.plus(Duration::from_secs(1));
        let tags = json!([{"Key": "team", "Value": team}]);
        store.ok("CreateSecret", json!({"Name": name, "Description": description, "Tags": tags}));
    }
    let names = |answer: &Value| -> Vec<String> {
        let list = answer["SecretList"].as_array().unwrap();
        list.iter().map(|s| s["Name"].as_str().unwrap().to_owned()).collect()
    };
    let mut filtered = |key: &str, values: Value| {
        names(&store.ok("ListSecrets", json!({"Filters": [{"Key": key, "Values": values}]})))
    };
    assert_eq!(filtered("name", json!(["prod/"])), ["prod/db", "prod/web"]);
    assert_eq!(filtered("name", json!(["!prod/"])), ["test/db"]);
    assert_eq!(filtered("description", json!(["database"])), ["prod/db", "test/db"]);
    assert_eq!(filtered("tag-value", json!(["b"])), ["prod/web"]);
    assert_eq!(filtered("all", json!(["old"])), ["test/db"]);
    let sorted = json!({"SortBy": "name", "SortOrder": "desc", "MaxResults": 2});
    let page = store.ok("ListSecrets", sorted);
    assert_eq!(names(&page), ["test/db", "prod/web"]);
    let rest = json!({"SortBy": "name", "SortOrder": "desc", "NextToken": page["NextToken"]});
    assert_eq!(names(&store.ok("ListSecrets", rest)), ["prod/db"]);
    store.ok("UntagResource", json!({"SecretId": "prod/db", "TagKeys": ["team"]}));
    store.ok("TagResource", json!({"SecretId": "prod/db", "Tags": [{"Key": "k", "Value": "v"}]}));
    let described = store.ok("DescribeSecret", json!({"SecretId": "prod/db"}));
    assert_eq!(described["Tags"], json!([{"Key": "k", "Value": "v"}]));
    let updated = json!({"SecretId": "prod/db", "Description": "new", "SecretString": "v"});
    store.ok("UpdateSecret", updated);
    assert_eq!(store.value(json!({"SecretId": "prod/db"})), "v");
}

#[test]
fn passwords_have_what_was_asked_for() {
    let mut store = Store(World::new());
    let mut password = |input: Value| {
        store.ok("GetRandomPassword", input)["RandomPassword"].as_str().unwrap().to_owned()
    };
    let (one, two) = (password(json!({})), password(json!({})));
    assert!(one.len() == 32 && one != two);
    for _ in 0..20 {
        let short = password(json!({"PasswordLength": 4}));
        for kind in [char::is_lowercase, char::is_uppercase, |c: char| c.is_ascii_digit()] {
            assert!(short.contains(kind), "{short}");
        }
        let plain = password(json!({"PasswordLength": 40, "ExcludePunctuation": true,
            "ExcludeUppercase": true, "ExcludeCharacters": "abc123"}));
        assert!(plain.chars().all(|c| "defghijklmnopqrstuvwxyz0456789".contains(c)), "{plain}");
    }
    let none = json!({"ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludeNumbers": true,
        "ExcludePunctuation": true});
    assert!(store.error("GetRandomPassword", none).starts_with("InvalidParameterException"));
}
