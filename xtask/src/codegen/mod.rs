//! `cargo xtask codegen`: botocore's service models to Rust.
//!
//! The generated files are committed, so that a build needs neither Python nor the models; CI runs
//! `--check`. No prose of the models gets into the output. The generator does not depend on
//! wharf-wire: a broken generated file can always be generated again.

mod emit;
mod model;
mod names;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Model;

/// Why the generator stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag that isn't known.
    #[error("unknown argument {0}")]
    Argument(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be run or failed.
    #[error("{0}")]
    Program(String),
    /// The model has something that the generator doesn't know.
    #[error("model of {service}: {text}")]
    Model {
        /// The service.
        service: &'static str,
        /// What it is.
        text: String,
    },
    /// The committed files are not what the generator writes.
    #[error("generated files differ ({0}): run `cargo xtask codegen`")]
    Stale(String),
}

/// A service to generate.
pub struct Service {
    /// The module's and the model's name.
    pub name: &'static str,
    /// The model's version.
    pub version: &'static str,
    /// The operations; empty for all.
    pub operations: &'static [&'static str],
}

const SERVICES: &[Service] = &[
    Service { name: "ecs", version: "2014-11-13", operations: &[] },
    Service {
        name: "sts",
        version: "2011-06-15",
        operations: &["AssumeRole", "GetAccessKeyInfo", "GetCallerIdentity"],
    },
    Service {
        name: "iam",
        version: "2010-05-08",
        operations: &[
            "AddRoleToInstanceProfile",
            "AttachRolePolicy",
            "AttachUserPolicy",
            "CreateAccessKey",
            "CreateInstanceProfile",
            "CreatePolicy",
            "CreatePolicyVersion",
            "CreateRole",
            "CreateServiceLinkedRole",
            "CreateUser",
            "DeleteAccessKey",
            "DeleteInstanceProfile",
            "DeletePolicy",
            "DeletePolicyVersion",
            "DeleteRole",
            "DeleteRolePolicy",
            "DeleteUser",
            "DeleteUserPolicy",
            "DetachRolePolicy",
            "DetachUserPolicy",
            "GetInstanceProfile",
            "GetPolicy",
            "GetPolicyVersion",
            "GetRole",
            "GetRolePolicy",
            "GetUser",
            "GetUserPolicy",
            "ListAccessKeys",
            "ListAttachedRolePolicies",
            "ListAttachedUserPolicies",
            "ListEntitiesForPolicy",
            "ListGroupsForUser",
            "ListInstanceProfileTags",
            "ListInstanceProfiles",
            "ListInstanceProfilesForRole",
            "ListPolicies",
            "ListPolicyTags",
            "ListPolicyVersions",
            "ListRolePolicies",
            "ListRoleTags",
            "ListRoles",
            "ListUserPolicies",
            "ListUserTags",
            "ListUsers",
            "PutRolePolicy",
            "PutUserPolicy",
            "RemoveRoleFromInstanceProfile",
            "SetDefaultPolicyVersion",
            "TagInstanceProfile",
            "TagPolicy",
            "TagRole",
            "TagUser",
            "UntagInstanceProfile",
            "UntagPolicy",
            "UntagRole",
            "UntagUser",
            "UpdateAccessKey",
            "UpdateAssumeRolePolicy",
            "UpdateRole",
            "UpdateRoleDescription",
        ],
    },
    Service {
        name: "ec2",
        version: "2016-11-15",
        operations: &[
            "AssociateRouteTable",
            "AttachInternetGateway",
            "AuthorizeSecurityGroupEgress",
            "AuthorizeSecurityGroupIngress",
            "CreateInternetGateway",
            "CreateRoute",
            "CreateRouteTable",
            "CreateSecurityGroup",
            "CreateSubnet",
            "CreateTags",
            "CreateVpc",
            "DeleteInternetGateway",
            "DeleteRoute",
            "DeleteRouteTable",
            "DeleteSecurityGroup",
            "DeleteSubnet",
            "DeleteTags",
            "DeleteVpc",
            "DescribeAvailabilityZones",
            "DescribeInstances",
            "DescribeInternetGateways",
            "DescribeNetworkAcls",
            "DescribeNetworkInterfaces",
            "DescribeRegions",
            "DescribeRouteTables",
            "DescribeSecurityGroupRules",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeTags",
            "DescribeVpcAttribute",
            "DescribeVpcs",
            "DetachInternetGateway",
            "DisassociateRouteTable",
            "ModifySecurityGroupRules",
            "ModifySubnetAttribute",
            "ModifyVpcAttribute",
            "ReplaceRoute",
            "ReplaceRouteTableAssociation",
            "RevokeSecurityGroupEgress",
            "RevokeSecurityGroupIngress",
            "UpdateSecurityGroupRuleDescriptionsEgress",
            "UpdateSecurityGroupRuleDescriptionsIngress",
        ],
    },
    Service {
        name: "ecr",
        version: "2015-09-21",
        operations: &[
            "BatchCheckLayerAvailability",
            "BatchDeleteImage",
            "BatchGetImage",
            "BatchGetRepositoryScanningConfiguration",
            "CompleteLayerUpload",
            "CreatePullThroughCacheRule",
            "CreateRepository",
            "CreateRepositoryCreationTemplate",
            "DeleteLifecyclePolicy",
            "DeletePullThroughCacheRule",
            "DeleteRegistryPolicy",
            "DeleteRepository",
            "DeleteRepositoryCreationTemplate",
            "DeleteRepositoryPolicy",
            "DescribeImageReplicationStatus",
            "DescribeImageScanFindings",
            "DescribeImages",
            "DescribePullThroughCacheRules",
            "DescribeRegistry",
            "DescribeRepositories",
            "DescribeRepositoryCreationTemplates",
            "GetAccountSetting",
            "GetAuthorizationToken",
            "GetDownloadUrlForLayer",
            "GetLifecyclePolicy",
            "GetLifecyclePolicyPreview",
            "GetRegistryPolicy",
            "GetRegistryScanningConfiguration",
            "GetRepositoryPolicy",
            "InitiateLayerUpload",
            "ListImageReferrers",
            "ListImages",
            "ListTagsForResource",
            "PutAccountSetting",
            "PutImage",
            "PutImageScanningConfiguration",
            "PutImageTagMutability",
            "PutLifecyclePolicy",
            "PutRegistryPolicy",
            "PutRegistryScanningConfiguration",
            "PutReplicationConfiguration",
            "SetRepositoryPolicy",
            "StartImageScan",
            "StartLifecyclePolicyPreview",
            "TagResource",
            "UntagResource",
            "UpdateImageStorageClass",
            "UpdatePullThroughCacheRule",
            "UpdateRepositoryCreationTemplate",
            "UploadLayerPart",
            "ValidatePullThroughCacheRule",
        ],
    },
    Service {
        name: "logs",
        version: "2014-03-28",
        operations: &[
            "CreateLogGroup",
            "CreateLogStream",
            "DeleteLogGroup",
            "DeleteLogStream",
            "DeleteRetentionPolicy",
            "DescribeLogGroups",
            "DescribeLogStreams",
            "FilterLogEvents",
            "GetLogEvents",
            "ListTagsForResource",
            "ListTagsLogGroup",
            "PutLogEvents",
            "PutRetentionPolicy",
            "StartLiveTail",
            "TagLogGroup",
            "TagResource",
            "UntagLogGroup",
            "UntagResource",
        ],
    },
    Service {
        name: "ssm",
        version: "2014-11-06",
        operations: &[
            "AddTagsToResource",
            "DeleteParameter",
            "DeleteParameters",
            "DescribeParameters",
            "GetParameter",
            "GetParameterHistory",
            "GetParameters",
            "GetParametersByPath",
            "LabelParameterVersion",
            "ListTagsForResource",
            "PutParameter",
            "RemoveTagsFromResource",
            "UnlabelParameterVersion",
        ],
    },
    Service {
        name: "secretsmanager",
        version: "2017-10-17",
        operations: &[
            "BatchGetSecretValue",
            "CreateSecret",
            "DeleteSecret",
            "DescribeSecret",
            "GetRandomPassword",
            "GetResourcePolicy",
            "GetSecretValue",
            "ListSecretVersionIds",
            "ListSecrets",
            "PutSecretValue",
            "RestoreSecret",
            "TagResource",
            "UntagResource",
            "UpdateSecret",
            "UpdateSecretVersionStage",
        ],
    },
    Service {
        name: "elbv2",
        version: "2015-12-01",
        operations: &[
            "AddListenerCertificates",
            "AddTags",
            "AddTrustStoreRevocations",
            "CreateListener",
            "CreateLoadBalancer",
            "CreateRule",
            "CreateTargetGroup",
            "CreateTrustStore",
            "DeleteListener",
            "DeleteLoadBalancer",
            "DeleteRule",
            "DeleteTargetGroup",
            "DeleteTrustStore",
            "DeregisterTargets",
            "DescribeAccountLimits",
            "DescribeCapacityReservation",
            "DescribeListenerAttributes",
            "DescribeListenerCertificates",
            "DescribeListeners",
            "DescribeLoadBalancerAttributes",
            "DescribeLoadBalancers",
            "DescribeRules",
            "DescribeSSLPolicies",
            "DescribeTags",
            "DescribeTargetGroupAttributes",
            "DescribeTargetGroups",
            "DescribeTargetHealth",
            "DescribeTrustStoreAssociations",
            "DescribeTrustStoreRevocations",
            "DescribeTrustStores",
            "ModifyListener",
            "ModifyListenerAttributes",
            "ModifyLoadBalancerAttributes",
            "ModifyRule",
            "ModifyTargetGroup",
            "ModifyTargetGroupAttributes",
            "ModifyTrustStore",
            "RegisterTargets",
            "RemoveListenerCertificates",
            "RemoveTags",
            "RemoveTrustStoreRevocations",
            "SetIpAddressType",
            "SetRulePriorities",
            "SetSecurityGroups",
            "SetSubnets",
        ],
    },
    Service {
        name: "acm",
        version: "2015-12-08",
        operations: &[
            "AddTagsToCertificate",
            "DeleteCertificate",
            "DescribeCertificate",
            "GetCertificate",
            "ImportCertificate",
            "ListCertificates",
            "ListTagsForCertificate",
            "RemoveTagsFromCertificate",
            "RequestCertificate",
        ],
    },
];

/// Where the generated files lie, below the workspace's root.
const TARGET: &str = "crates/wire/src/generated";

/// Runs the task.
///
/// # Errors
/// A missing model, a model with something unknown in it, or, with `--check`, a difference.
pub fn run(root: &Path, arguments: &[String]) -> Result<(), Error> {
    let mut check = false;
    let mut botocore = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--botocore" => botocore = rest.next().map(PathBuf::from),
            other => return Err(Error::Argument(other.to_owned())),
        }
    }
    let botocore = match botocore {
        Some(directory) => directory,
        None => installed_botocore()?,
    };
    let version = botocore_version(&botocore)?;
    let mut files = BTreeMap::new();
    for service in SERVICES {
        let text = read_model(&botocore, service)?;
        let model = Model::parse(service, &text)?;
        emit::service(&model, &version, &mut files)?;
    }
    emit::root(SERVICES, &version, &mut files);
    let formatted = format_all(root, files)?;
    if check {
        compare(&root.join(TARGET), &formatted)
    } else {
        write(&root.join(TARGET), &formatted)
    }
}

fn installed_botocore() -> Result<PathBuf, Error> {
    let program = "import botocore, os; print(os.path.dirname(botocore.__file__))";
    let output = Command::new("python3").args(["-c", program]).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        }
        _ => Err(Error::Program(
            "python3 doesn't know botocore: pip install botocore, or give --botocore DIR"
                .to_owned(),
        )),
    }
}

/// `__version__` of the package.
fn botocore_version(botocore: &Path) -> Result<String, Error> {
    let path = botocore.join("__init__.py");
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "));
    let version = line.map(|value| value.trim().trim_matches(['\'', '"']).to_owned());
    version.ok_or_else(|| Error::Program(format!("{}: no __version__", path.display())))
}

fn read_model(botocore: &Path, service: &Service) -> Result<String, Error> {
    let directory = botocore.join("data").join(service.name).join(service.version);
    let plain = directory.join("service-2.json");
    if plain.exists() {
        return read(&plain);
    }
    let packed = directory.join("service-2.json.gz");
    let output = Command::new("gzip").arg("-dc").arg(&packed).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => Err(Error::Program(format!("{}: no model there", packed.display()))),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn format_all(
    root: &Path,
    files: BTreeMap<PathBuf, String>,
) -> Result<BTreeMap<PathBuf, String>, Error> {
    files.into_iter().map(|(path, text)| Ok((path, rustfmt(root, &text)?))).collect()
}

fn rustfmt(root: &Path, text: &str) -> Result<String, Error> {
    let failed = |what: String| Error::Program(format!("rustfmt: {what}"));
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut input = child.stdin.take().ok_or_else(|| failed("no stdin".to_owned()))?;
    let text = text.to_owned();
    // A thread of its own feeds it: rustfmt may write before it has read everything.
    let feeder = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let fed = feeder.join().map_err(|_| failed("feeding it panicked".to_owned()))?;
    fed.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn write(target: &Path, files: &BTreeMap<PathBuf, String>) -> Result<(), Error> {
    for stale in existing(target)?.into_iter().filter(|path| !files.contains_key(path)) {
        let path = target.join(stale);
        std::fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
    }
    for (path, text) in files {
        let path = target.join(path);
        if std::fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| Error::Io { path: parent.to_owned(), source })?;
        }
        std::fs::write(&path, text).map_err(|source| Error::Io { path, source })?;
    }
    println!("{} generated files are up to date", files.len());
    Ok(())
}

fn compare(target: &Path, files: &BTreeMap<PathBuf, String>) -> Result<(), Error> {
    let mut differing: Vec<String> = Vec::new();
    for (path, text) in files {
        if std::fs::read_to_string(target.join(path)).ok().as_ref() != Some(text) {
            differing.push(path.display().to_string());
        }
    }
    for path in existing(target)? {
        if !files.contains_key(&path) {
            differing.push(format!("{} (left over)", path.display()));
        }
    }
    if differing.is_empty() {
        println!("{} generated files are up to date", files.len());
        Ok(())
    } else {
        Err(Error::Stale(differing.join(", ")))
    }
}

/// All files below a directory, relative to it.
fn existing(target: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut pending = vec![target.to_owned()];
    while let Some(directory) = pending.pop() {
        if !directory.exists() {
            continue;
        }
        let failed = |source| Error::Io { path: directory.clone(), source };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(relative) = path.strip_prefix(target) {
                found.push(relative.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
