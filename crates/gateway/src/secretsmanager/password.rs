//! GetRandomPassword. Its randomness is the system's, not the request's seed.

use super::{client, invalid_parameter};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use crate::vault::{self, Vault};
use wharf_wire::secretsmanager::types::{GetRandomPasswordRequest, GetRandomPasswordResponse};
use zeroize::Zeroizing;

/// The longest password.
const MAX_LENGTH: i64 = 4096;
const DEFAULT_LENGTH: i64 = 32;

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// A password of the kinds of characters that are asked for.
pub(super) fn get_random_password(
    context: &Context<'_>,
    input: &GetRandomPasswordRequest,
) -> Result<GetRandomPasswordResponse> {
    let length = input.password_length.unwrap_or(DEFAULT_LENGTH);
    if !(1..=MAX_LENGTH).contains(&length) {
        return Err(invalid_parameter(format!(
            "Password length must be between 1 and {MAX_LENGTH}."
        )));
    }
    let length = usize::try_from(length).unwrap_or(1);
    let excluded = input.exclude_characters.as_deref().unwrap_or_default();
    let kinds = [
        (LOWERCASE, input.exclude_lowercase != Some(true)),
        (UPPERCASE, input.exclude_uppercase != Some(true)),
        (NUMBERS, input.exclude_numbers != Some(true)),
        (PUNCTUATION, input.exclude_punctuation != Some(true)),
        (" ", input.include_space == Some(true)),
    ];
    let kinds: Vec<Vec<char>> = kinds
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(all, _)| all.chars().filter(|c| !excluded.contains(*c)).collect())
        .filter(|kind: &Vec<char>| !kind.is_empty())
        .collect();
    if kinds.is_empty() {
        return Err(invalid_parameter(
            "The password can't be generated because all characters are excluded.",
        ));
    }
    let each = input.require_each_included_type != Some(false);
    if each && length < kinds.len() {
        return Err(invalid_parameter(format!(
            "Password length {length} is too short to have a character of each of {} types.",
            kinds.len()
        )));
    }
    let password = password(context.vault, &kinds, length, each).map_err(failed)?;
    Ok(Outcome::read(GetRandomPasswordResponse { random_password: Some(password) }))
}

fn failed(error: vault::Error) -> ApiError {
    tracing::error!(%error, "no password can be made");
    ApiError { status: 500, ..client("InternalServiceError", error.to_string()) }
}

fn password(
    vault: &Vault,
    kinds: &[Vec<char>],
    length: usize,
    each: bool,
) -> std::result::Result<String, vault::Error> {
    let all: Vec<char> = kinds.concat();
    let mut chosen: Zeroizing<Vec<char>> = Zeroizing::new(Vec::with_capacity(length));
    for kind in kinds.iter().filter(|_| each) {
        chosen.push(kind[below(vault, kind.len())?]);
    }
    while chosen.len() < length {
        chosen.push(all[below(vault, all.len())?]);
    }
    // Fisher-Yates: those of each kind don't stand in front.
    for index in (1..chosen.len()).rev() {
        let other = below(vault, index + 1)?;
        chosen.swap(index, other);
    }
    Ok(chosen.iter().collect())
}

/// A number below `bound`, each as likely as the other.
fn below(vault: &Vault, bound: usize) -> std::result::Result<usize, vault::Error> {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX).max(1);
    let whole = u32::MAX - u32::MAX % bound;
    loop {
        let mut bytes = [0; 4];
        vault.fill_random(&mut bytes)?;
        let number = u32::from_ne_bytes(bytes);
        if number < whole {
            return Ok(usize::try_from(number % bound).unwrap_or(0));
        }
    }
}
