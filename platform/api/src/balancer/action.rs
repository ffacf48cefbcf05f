//! What a rule or a listener does with a request.

use super::InvalidSpec;
use super::invalid::check_time;
use crate::text::{self, NameReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Action as DomainAction, FixedResponse as DomainFixedResponse, Forward as DomainForward, Namespace,
    ParseError, Redirect as DomainRedirect, RedirectStatus, Span, TargetGroupSpec, WEIGHT_MAX,
    WeightedGroup as DomainWeightedGroup,
};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What becomes of a request, or of a TCP connection (which can only be forwarded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A target group answers.
    Forward(Forward),
    /// The client is told to go elsewhere.
    Redirect(Redirect),
    /// The load balancer answers.
    FixedResponse(FixedResponse),
}

/// Where to forward to: one target group of these, as often as its weight says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// 1 to 8 target groups, each once. Where all weights are 0, 503 is the answer.
    pub groups: Vec<WeightedGroup>,
    /// How long a client stays with the target group that it came to first, by a cookie: 1 second to 7 days; not at all
    /// where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub stickiness: Option<Span>,
}

/// A target group among those of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedGroup {
    /// Which; a service is a target group of its own name.
    #[schemars(with = "text::NameReferenceText")]
    pub group: NameReference,
    /// From 0 to 999; 1 where not given.
    #[serde(default = "weight_default")]
    #[schemars(range(max = 999))]
    pub weight: u16,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to, like `https://#{host}:443/#{path}?#{query}`, `https://example.org` or `/new/#{path}`. `#{protocol}`,
    /// `#{host}`, `#{port}`, `#{path}` (without its first `/`) and `#{query}` are the request's; what is left out
    /// stays as the request had it.
    pub to: String,
    /// 301 or 302; 301 where not given.
    #[serde(default = "redirect_status_default")]
    pub status: u16,
}

/// What the load balancer answers by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedResponse {
    /// 200 to 299 or 400 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// `text/plain`, `text/css`, `text/html`, `application/javascript` or `application/json`; the first where not
    /// given.
    #[serde(default = "content_type_default")]
    pub content_type: String,
    /// At most 1024 bytes; empty where not given.
    #[serde(default)]
    pub body: String,
}

fn weight_default() -> u16 {
    1
}

fn redirect_status_default() -> u16 {
    RedirectStatus::default().code()
}

fn content_type_default() -> String {
    DomainFixedResponse::CONTENT_TYPES[0].to_owned()
}

impl Action {
    /// What this means in the namespace `here`; an error says what to do.
    pub fn to_domain(&self, here: &Namespace) -> Result<DomainAction, InvalidSpec> {
        match self {
            Self::Forward(forward) => forward.to_domain(here).map(DomainAction::Forward),
            Self::Redirect(redirect) => DomainRedirect::try_from(redirect).map(DomainAction::Redirect),
            Self::FixedResponse(response) => {
                DomainFixedResponse::try_from(response).map(DomainAction::FixedResponse)
            }
        }
    }
}

impl From<&DomainAction> for Action {
    fn from(action: &DomainAction) -> Self {
        match action {
            DomainAction::Forward(forward) => Self::Forward(forward.into()),
            DomainAction::Redirect(redirect) => Self::Redirect(redirect.into()),
            DomainAction::FixedResponse(response) => Self::FixedResponse(response.into()),
        }
    }
}

impl Forward {
    /// What this means in the namespace `here`; an error says what to do.
    pub fn to_domain(&self, here: &Namespace) -> Result<DomainForward, InvalidSpec> {
        if self.groups.is_empty() {
            return Err(InvalidSpec::NoGroups);
        }
        if self.groups.len() > DomainForward::GROUPS_MAX {
            return Err(InvalidSpec::TooManyGroups { count: self.groups.len() });
        }
        let mut seen = BTreeSet::new();
        let mut groups = Vec::with_capacity(self.groups.len());
        for WeightedGroup { group, weight } in &self.groups {
            let (group, weight) = (group.qualified(here), *weight);
            if weight > WEIGHT_MAX {
                return Err(InvalidSpec::Weight { group, weight });
            }
            if !seen.insert(group.clone()) {
                return Err(InvalidSpec::GroupTwice { group });
            }
            groups.push(DomainWeightedGroup { group, weight });
        }
        if let Some(stickiness) = self.stickiness {
            let (least, most) = (TargetGroupSpec::TIME_MIN, TargetGroupSpec::STICKINESS_MAX);
            check_time("the stickiness of an action", stickiness, least, most)?;
        }
        Ok(DomainForward { groups, stickiness: self.stickiness })
    }
}

impl From<&DomainForward> for Forward {
    fn from(forward: &DomainForward) -> Self {
        let shown = |group: &DomainWeightedGroup| WeightedGroup {
            group: group.group.clone().into(),
            weight: group.weight,
        };
        Self { groups: forward.groups.iter().map(shown).collect(), stickiness: forward.stickiness }
    }
}

/// As people write it in a command: `web`, `web=90` or `shop/web=90`.
impl FromStr for WeightedGroup {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (group, weight) = match text.rsplit_once('=') {
            Some((group, weight)) => (group, weight.parse::<u16>().ok()),
            None => (text, Some(weight_default())),
        };
        let expected =
            "a target group and its weight from 0 to 999, like \"web\", \"web=90\" or \"shop/web=90\"";
        let weight = weight.filter(|weight| *weight <= WEIGHT_MAX);
        let weight = weight.ok_or_else(|| text::parse_error(text, expected))?;
        Ok(Self { group: group.parse()?, weight })
    }
}

impl fmt::Display for WeightedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.group, self.weight)
    }
}

impl TryFrom<&Redirect> for DomainRedirect {
    type Error = InvalidSpec;

    fn try_from(redirect: &Redirect) -> Result<Self, InvalidSpec> {
        let status = RedirectStatus::try_from(redirect.status)?;
        Ok(Self { status, ..redirect.to.parse::<Self>()? })
    }
}

impl From<&DomainRedirect> for Redirect {
    fn from(redirect: &DomainRedirect) -> Self {
        Self { to: redirect.to_string(), status: redirect.status.code() }
    }
}

impl TryFrom<&FixedResponse> for DomainFixedResponse {
    type Error = InvalidSpec;

    fn try_from(response: &FixedResponse) -> Result<Self, InvalidSpec> {
        let FixedResponse { status, content_type, body } = response;
        if !matches!(status, 200..=299 | 400..=599) {
            return Err(InvalidSpec::Status { status: *status });
        }
        if !Self::CONTENT_TYPES.contains(&content_type.as_str()) {
            let expected = "a content type of a fixed response: \"text/plain\", \"text/css\", \"text/html\", \
                            \"application/javascript\" or \"application/json\"";
            return Err(text::parse_error(content_type, expected).into());
        }
        if body.len() > Self::BODY_BYTES_MAX {
            return Err(InvalidSpec::Body { bytes: body.len() });
        }
        let (content_type, body) = (content_type.as_str().into(), body.as_str().into());
        Ok(Self { status: *status, content_type, body })
    }
}

impl From<&DomainFixedResponse> for FixedResponse {
    fn from(response: &DomainFixedResponse) -> Self {
        let DomainFixedResponse { status, content_type, body } = response;
        Self { status: *status, content_type: content_type.to_string(), body: body.to_string() }
    }
}
