//! Parameters: each request with its answer.

use super::{delete, get, history, labels, list, put, tags};
use crate::ecs::world::{World, contains};
use serde_json::{Value, json};
use wharf_wire::ssm::operation as op;

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
        PutParameter => put::put_parameter;
        GetParameter => get::get_parameter;
        GetParameters => get::get_parameters;
        GetParametersByPath => list::get_parameters_by_path;
        GetParameterHistory => history::get_parameter_history;
        DescribeParameters => list::describe_parameters;
        DeleteParameter => delete::delete_parameter;
        DeleteParameters => delete::delete_parameters;
        LabelParameterVersion => labels::label_parameter_version;
        UnlabelParameterVersion => labels::unlabel_parameter_version;
        AddTagsToResource => tags::add;
        RemoveTagsFromResource => tags::remove;
        ListTagsForResource => tags::list;
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

    fn put(&mut self, name: &str, kind: &str, value: &str) {
        self.ok("PutParameter", json!({"Name": name, "Type": kind, "Value": value}));
    }
}

#[test]
fn versions_labels_and_selectors() {
    let mut store = Store(World::new());
    store.put("/app/db", "SecureString", "one");
    for value in ["two", "three"] {
        let input = json!({"Name": "/app/db", "Value": value, "Overwrite": true});
        store.ok("PutParameter", input);
    }
    let label = json!({"Name": "/app/db", "ParameterVersion": 2, "Labels": ["prod", "9x", "awsy"]});
    let labelled = store.ok("LabelParameterVersion", label);
    assert_eq!(labelled, json!({"InvalidLabels": ["9x", "awsy"], "ParameterVersion": 2}));
    let arn = "arn:aws:ssm:us-east-1:123456789012:parameter/app/db";
    for (name, value, version) in [
        ("/app/db".to_owned(), "three", 3),
        ("/app/db:1".to_owned(), "one", 1),
        ("/app/db:prod".to_owned(), "two", 2),
        (format!("{arn}:prod"), "two", 2),
        (arn.to_owned(), "three", 3),
    ] {
        let answer = store.ok("GetParameter", json!({"Name": name, "WithDecryption": true}));
        let part = json!({"Parameter": {"Value": value, "Version": version, "ARN": arn}});
        assert!(contains(&answer, &part), "{name}: {answer}");
    }
    let sealed = store.ok("GetParameter", json!({"Name": "/app/db"}));
    assert!(!sealed.to_string().contains("three"));
    assert_eq!(
        store.error("GetParameter", json!({"Name": "/app/db:9"})),
        "ParameterVersionNotFound: Systems Manager could not find version 9 of /app/db. Verify the \
         version and try again."
    );
    assert_eq!(
        store.error("GetParameter", json!({"Name": "/app/db:test"})),
        "ParameterVersionNotFound: Systems Manager could not find label test of /app/db. Verify \
         the label and try again."
    );
    let many = json!({"Names": ["/app/db:1", "gone"], "WithDecryption": true});
    let many = store.ok("GetParameters", many);
    assert!(contains(
        &many,
        &json!({"InvalidParameters": ["gone"], "Parameters": [{"Selector": ":1"}]})
    ));
    // A label moves; another version's label isn't taken off.
    store.ok("LabelParameterVersion", json!({"Name": "/app/db", "Labels": ["prod"]}));
    let off = json!({"Name": "/app/db", "ParameterVersion": 2, "Labels": ["prod"]});
    let off = store.ok("UnlabelParameterVersion", off);
    assert_eq!(off, json!({"RemovedLabels": [], "InvalidLabels": ["prod"]}));
    let history = json!({"Name": "/app/db", "WithDecryption": true, "MaxResults": 2});
    let history = store.ok("GetParameterHistory", history);
    assert!(contains(&history["Parameters"], &json!([{"Value": "one"}, {"Value": "two"}])));
    let rest = json!({"Name": "/app/db", "NextToken": history["NextToken"]});
    let rest = store.ok("GetParameterHistory", rest);
    assert!(contains(&rest["Parameters"], &json!([{"Version": 3, "Labels": ["prod"]}])));
}

#[test]
fn a_hundred_versions_are_kept() {
    let mut store = Store(World::new());
    store.put("p", "String", "0");
    let next = |n: u32| json!({"Name": "p", "Value": n.to_string(), "Overwrite": true});
    for n in 1..=100 {
        store.ok("PutParameter", next(n));
    }
    let history = store.ok("GetParameterHistory", json!({"Name": "p"}));
    assert_eq!(history["Parameters"][0]["Version"], 2);
    store.ok("LabelParameterVersion", json!({"Name": "p", "ParameterVersion": 2, "Labels": ["a"]}));
    let error = store.error("PutParameter", next(101));
    assert!(error.starts_with("ParameterMaxVersionLimitExceeded: You attempted"), "{error}");
}

#[test]
fn what_is_refused_and_how() {
    let mut store = Store(World::new());
    store.put("p", "String", "v");
    let cases = [
        (
            json!({"Name": "p", "Value": "w"}),
            "ParameterAlreadyExists: The parameter already exists.",
        ),
        (json!({"Name": "q", "Value": "w"}), "ValidationException: A parameter type is required"),
        (
            json!({"Name": "p", "Type": "SecureString", "Value": "w", "Overwrite": true}),
            "HierarchyTypeMismatchException: ",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x1", "AllowedPattern": "[a-z]+"}),
            "ParameterPatternMismatchException: Parameter value, cannot be validated against \
             allowedPattern: [a-z]+",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x", "AllowedPattern": "["}),
            "InvalidAllowedPatternException: ",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x".repeat(4097)}),
            "ValidationException: Standard tier parameters support a maximum parameter value of 4096",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x".repeat(8193), "Tier": "Advanced"}),
            "ValidationException: Advanced tier parameters support",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x", "DataType": "aws:ec2:image"}),
            "ValidationException: DataType aws:ec2:image is not supported",
        ),
        (
            json!({"Name": "q", "Type": "String", "Value": "x", "KeyId": "k"}),
            "ValidationException: KeyId is required for SecureString",
        ),
        (
            json!({"Name": "p", "Value": "x", "Overwrite": true, "Tags": [{"Key": "a", "Value": "b"}]}),
            "ValidationException: Invalid request: tags and overwrite can't be used together.",
        ),
    ];
    for (input, text) in cases {
        let error = store.error("PutParameter", input.clone());
        assert!(error.starts_with(text), "{input}: {error}");
        assert!(!error.contains("x1"), "a value in an error: {error}");
    }
    let big = json!({"Name": "q", "Type": "String", "Value": "x".repeat(5000), "Tier": "Intelligent-Tiering"});
    assert_eq!(store.ok("PutParameter", big), json!({"Version": 1, "Tier": "Advanced"}));
    assert_eq!(
        store.error("DeleteParameter", json!({"Name": "r"})),
        "ParameterNotFound: Parameter r not found."
    );
    let deleted = store.ok("DeleteParameters", json!({"Names": ["p", "r"]}));
    assert_eq!(deleted, json!({"DeletedParameters": ["p"], "InvalidParameters": ["r"]}));
    // Of the name there is nothing left: counted from 1 again, with no old version.
    store.put("p", "String", "new");
    let history = store.ok("GetParameterHistory", json!({"Name": "p"}));
    assert!(contains(&history["Parameters"], &json!([{"Version": 1, "Value": "new"}])));
}

#[test]
fn paths_filters_and_tags() {
    let mut store = Store(World::new());
    for name in ["/a/x", "/a/y", "/a/b/z", "/ab/x", "flat"] {
        store.put(name, "String", name);
    }
    store.ok(
        "AddTagsToResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/a/y",
            "Tags": [{"Key": "team", "Value": "one"}, {"Key": "b", "Value": ""}]}),
    );
    let names = |answer: &Value| -> Vec<String> {
        let list = answer["Parameters"].as_array().unwrap();
        list.iter().map(|p| p["Name"].as_str().unwrap().to_owned()).collect()
    };
    let by_path = store.ok("GetParametersByPath", json!({"Path": "/a"}));
    assert_eq!(names(&by_path), ["/a/x", "/a/y"]);
    let deep = json!({"Path": "/a/", "Recursive": true, "MaxResults": 2});
    let page = store.ok("GetParametersByPath", deep);
    assert_eq!(names(&page), ["/a/b/z", "/a/x"]);
    let rest = json!({"Path": "/a/", "Recursive": true, "NextToken": page["NextToken"]});
    assert_eq!(names(&store.ok("GetParametersByPath", rest)), ["/a/y"]);
    let error = store.error("GetParametersByPath", json!({"Path": "/a", "NextToken": "?"}));
    assert_eq!(error, "InvalidNextToken: The specified token is not valid.");
    for (filter, expected) in [
        (json!({"Key": "Name", "Values": ["/a/x"]}), vec!["/a/x"]),
        (
            json!({"Key": "Name", "Option": "BeginsWith", "Values": ["/a"]}),
            vec!["/a/b/z", "/a/x", "/a/y", "/ab/x"],
        ),
        (json!({"Key": "Name", "Option": "Contains", "Values": ["la"]}), vec!["flat"]),
        (json!({"Key": "Path", "Option": "OneLevel", "Values": ["/a"]}), vec!["/a/x", "/a/y"]),
        (json!({"Key": "Type", "Values": ["SecureString"]}), vec![]),
        (json!({"Key": "tag:team", "Values": ["one", "two"]}), vec!["/a/y"]),
    ] {
        let answer = store.ok("DescribeParameters", json!({"ParameterFilters": [filter]}));
        assert_eq!(names(&answer), expected, "{filter}");
        assert!(answer.to_string().find("\"Value\"").is_none());
    }
    let error = store.error(
        "DescribeParameters",
        json!({"ParameterFilters": [{"Key": "Label", "Values": ["x"]}]}),
    );
    assert!(error.starts_with("InvalidFilterKey"), "{error}");
    let resource = json!({"ResourceType": "Parameter", "ResourceId": "/a/y"});
    let tags = store.ok("ListTagsForResource", resource.clone());
    assert_eq!(tags["TagList"].as_array().unwrap().len(), 2);
    store.ok(
        "RemoveTagsFromResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/a/y", "TagKeys": ["team"]}),
    );
    let tags = store.ok("ListTagsForResource", resource);
    assert_eq!(tags["TagList"], json!([{"Key": "b", "Value": ""}]));
    let error = store
        .error("ListTagsForResource", json!({"ResourceType": "Parameter", "ResourceId": "no"}));
    assert!(error.starts_with("InvalidResourceId"), "{error}");
}
