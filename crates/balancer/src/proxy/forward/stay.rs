//! Which group and which target a client stays with, and the cookies that say so.

use super::{Exchange, Group, GroupCell, TargetState, unix_seconds};
use crate::live::Stickiness;
use crate::rules::Choice;
use crate::targets::{CookieKind, cookie_value, set_cookies};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Where a request goes, by its cookies.
pub(super) struct Stay {
    pub(super) group: Option<Arc<GroupCell>>,
    /// The mark of the target that it asks for.
    pub(super) target: Option<[u8; 16]>,
    group_duration: Option<Duration>,
}

/// Chooses the group, by its cookie or its weight.
pub(super) fn choose(
    exchange: &Exchange,
    choice: &Choice<Arc<GroupCell>>,
    headers: &HeaderMap,
) -> Stay {
    let stamp = &exchange.client.worker.shared.stamp;
    let read = |kind: CookieKind| {
        let (name, other) = kind.names();
        let value = cookie_value(headers, name).or_else(|| cookie_value(headers, other?))?;
        stamp.read(value, unix_seconds())
    };
    let several = choice.groups.len() > 1;
    let sticky = choice.stickiness.filter(|_| several).and_then(|_| {
        let mark = read(CookieKind::Group)?;
        // A group whose weight is 0 gets nothing, cookie or not.
        let live = choice.groups.iter().filter(|(_, weight)| *weight > 0);
        live.map(|(cell, _)| cell).find(|cell| cell.mark == mark)
    });
    let group = sticky.or_else(|| choice.pick(fastrand::u64(..))).cloned();
    let settings =
        group.as_ref().and_then(|cell| cell.load()).map(|group| Arc::clone(&group.settings));
    let target = match settings.as_ref().and_then(|settings| settings.stickiness.as_ref()) {
        Some(Stickiness::Duration(_)) => read(CookieKind::Target),
        // The application's cookie must be there, too: without it the session is over.
        Some(Stickiness::Application(name, _)) => {
            cookie_value(headers, name).and_then(|_| read(CookieKind::Application))
        }
        _ => None,
    };
    Stay { group, target, group_duration: choice.stickiness.filter(|_| several) }
}

impl Stay {
    /// The cookies of an answer.
    pub(super) fn cookies(
        &self,
        exchange: &Exchange,
        group: &Group,
        target: &TargetState,
        answered: &HeaderMap,
    ) -> Vec<HeaderValue> {
        let now = unix_seconds();
        let stamp = &exchange.client.worker.shared.stamp;
        let mut cookies = Vec::new();
        let mut add = |kind, mark: &[u8; 16], seconds: u64| {
            let value = stamp.write(mark, now.saturating_add(seconds));
            cookies.extend(set_cookies(kind, &value, now));
        };
        if let (Some(duration), Some(cell)) = (self.group_duration, &self.group) {
            add(CookieKind::Group, &cell.mark, duration.as_secs());
        }
        match &group.settings.stickiness {
            Some(Stickiness::Duration(seconds)) => add(CookieKind::Target, &target.mark, *seconds),
            Some(Stickiness::Application(name, seconds)) => {
                let set = answered.get_all(SET_COOKIE).iter().any(|cookie| {
                    let pair = cookie.as_bytes().split(|byte| *byte == b'=').next();
                    pair.is_some_and(|found| found.trim_ascii() == name.as_bytes())
                });
                // It lasts as long as the application says anew.
                if set || self.target == Some(target.mark) {
                    add(CookieKind::Application, &target.mark, *seconds);
                }
            }
            _ => {}
        }
        cookies.into_iter().filter_map(|cookie| HeaderValue::from_str(&cookie).ok()).collect()
    }
}
