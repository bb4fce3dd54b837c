//! Packages and where they come from.

use std::cmp::Ordering;

use crate::version;

/// Whose package it is, as OSV names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    /// Debian, by its release: `12`.
    Debian(String),
    /// Ubuntu, by its release: `24.04`.
    Ubuntu(String),
    /// Alpine, by its release: `v3.20`.
    Alpine(String),
    /// npm.
    Npm,
    /// PyPI.
    PyPi,
    /// crates.io.
    CratesIo,
    /// Go's modules.
    Go,
    /// RubyGems.
    RubyGems,
    /// Packagist.
    Packagist,
}

impl Ecosystem {
    /// OSV's name without a release.
    pub(crate) fn base(&self) -> &'static str {
        match self {
            Self::Debian(_) => "Debian",
            Self::Ubuntu(_) => "Ubuntu",
            Self::Alpine(_) => "Alpine",
            Self::Npm => "npm",
            Self::PyPi => "PyPI",
            Self::CratesIo => "crates.io",
            Self::Go => "Go",
            Self::RubyGems => "RubyGems",
            Self::Packagist => "Packagist",
        }
    }

    /// True if a record's `ecosystem` means this one.
    pub(crate) fn is(&self, text: &str) -> bool {
        let (base, rest) = text.split_once(':').unwrap_or((text, ""));
        if base != self.base() {
            return false;
        }
        match self {
            Self::Debian(release) | Self::Alpine(release) => rest == release,
            // `Ubuntu:Pro:…` are fixes that not everybody gets.
            Self::Ubuntu(release) => rest == release || rest.strip_suffix(":LTS") == Some(release),
            _ => true,
        }
    }

    /// Compares versions as this ecosystem does; none where one of them is no version there.
    pub(crate) fn compare(&self, a: &str, b: &str) -> Option<Ordering> {
        match self {
            Self::Debian(_) | Self::Ubuntu(_) => Some(version::debian(a, b)),
            Self::Alpine(_) => version::alpine(a, b),
            Self::Npm | Self::CratesIo | Self::Go => version::semantic(a, b),
            Self::PyPi => version::python(a, b),
            Self::RubyGems => Some(version::ruby(a, b)),
            Self::Packagist => Some(version::php(a, b)),
        }
    }
}

/// A package at a version. Of distributions it is the source package: their advisories name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Whose.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}
